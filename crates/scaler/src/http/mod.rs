//! The scaler's HTTP port: metrics, probes, and why each number is what it is.

mod agreement_metrics;
mod metrics_page;
mod policy_metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rheostat_promtext::negotiate;
use serde::Serialize;

use crate::report::WorkloadReport;
use crate::state::State as ScalerState;

/// Routes of the HTTP port.
pub(crate) fn router(state: Arc<ScalerState>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/workloads", get(workloads))
        .route("/v1/workloads/{namespace}/{name}", get(workload))
        .with_state(state)
}

/// What `/v1/workloads` answers.
#[derive(Serialize)]
struct WorkloadList {
    workloads: Vec<WorkloadReport>,
}

/// What goes wrong, for a program to read.
#[derive(Serialize)]
struct Problem {
    error: String,
}

async fn metrics(State(state): State<Arc<ScalerState>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let format = negotiate(accept);
    match metrics_page::page(&state, format) {
        Ok(page) => ([(CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Whether the process is worth keeping: its evaluations go on.
async fn healthz(State(state): State<Arc<ScalerState>>) -> Response {
    verdict(state.alive())
}

/// Whether KEDA should be sent here.
async fn readyz(State(state): State<Arc<ScalerState>>) -> Response {
    verdict(state.ready())
}

async fn workloads(State(state): State<Arc<ScalerState>>) -> Response {
    let now = state.clock.now();
    let snapshot = state.snapshots.latest();
    let workloads = snapshot
        .workloads()
        .iter()
        .map(|workload| WorkloadReport::brief(workload, now))
        .collect();
    axum::Json(WorkloadList { workloads }).into_response()
}

/// As JSON, or as text for a person where `Accept` asks for `text/plain`.
async fn workload(
    State(state): State<Arc<ScalerState>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let now = state.clock.now();
    let snapshot = state.snapshots.latest();
    let reports: Vec<_> = snapshot
        .named(&namespace, &name)
        .iter()
        .map(|workload| WorkloadReport::full(workload, now))
        .collect();
    let text = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.trim_start().starts_with("text/plain"));
    if reports.is_empty() {
        let reason = snapshot
            .unfounded
            .as_deref()
            .unwrap_or("nothing of this name has an external trigger");
        let error = format!("no ScaledObject or ScaledJob {namespace}/{name} is known: {reason}");
        return if text {
            (StatusCode::NOT_FOUND, error).into_response()
        } else {
            problem(StatusCode::NOT_FOUND, error)
        };
    }
    if text {
        let pages: Vec<_> = reports.iter().map(ToString::to_string).collect();
        return pages.join("\n").into_response();
    }
    axum::Json(WorkloadList { workloads: reports }).into_response()
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

fn problem(status: StatusCode, error: String) -> Response {
    (status, axum::Json(Problem { error })).into_response()
}
