use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rheostat_reading::Clock;
use serde::Deserialize;

use crate::counters::Counters;
use crate::engines::Engines;
use crate::liveness::Liveness;
use crate::metrics::{self, MetricNames};
use crate::publisher::Latest;

/// `/metrics`, `/healthz` and `/readyz`, all answered from memory.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) latest: Latest,
    pub(crate) counters: Arc<Counters>,
    pub(crate) engines: Option<Engines>,
    pub(crate) liveness: Liveness,
    pub(crate) clock: Clock,
    pub(crate) names: MetricNames,
}

impl Pages {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(show_metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Arc::new(self))
    }
}

#[derive(Deserialize)]
struct Wanted {
    names: Option<String>,
}

async fn show_metrics(
    State(pages): State<Arc<Pages>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let names = match wanted.names.as_deref().map(str::parse) {
        None => pages.names,
        Some(Ok(names)) => names,
        Some(Err(error)) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let latest = pages.latest.borrow().clone();
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let page = metrics::page(
        latest.as_deref(),
        &pages.counters,
        pages.engines.as_ref(),
        names,
        accept,
    );
    ([(header::CONTENT_TYPE, page.content_type)], page.text).into_response()
}

/// Whether the loops go round: what a liveness probe asks.
async fn healthz(State(pages): State<Arc<Pages>>) -> Response {
    match pages.liveness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Whether there is a snapshot. An agent without a driver or a kubelet is ready too: it has
/// something to tell, and only a ready pod is found by the scaler. The page says how both fare.
async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let latest = pages.latest.borrow().clone();
    let Some(snapshot) = latest else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "no snapshot has been taken yet\n",
        )
            .into_response();
    };
    let age = pages.clock.now().since(snapshot.built_at);
    let source = |name: &str, source: &crate::SourceState| {
        let reason = source
            .reason()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        format!("{name}: {}{reason}\n", source.name())
    };
    let gpus = source("gpus", &snapshot.gpu_source);
    let attribution = source("attribution", &snapshot.attribution_source);
    format!(
        "snapshot {} taken {age:.1?} ago\n{gpus}{attribution}",
        snapshot.sequence
    )
    .into_response()
}
