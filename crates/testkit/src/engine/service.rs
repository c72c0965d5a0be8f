use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use tokio::sync::watch;
use tower::Service as _;

use super::cores::Cores;
use super::flavour::Flavour;
use super::misbehaviour::Misbehaviour;

/// Text of a page, as most engines label it.
const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What stands behind an engine's addresses.
pub(super) struct Service {
    pub(super) flavour: Flavour,
    pub(super) cores: Arc<Cores>,
    /// Without it nothing is answered.
    pub(super) token: Option<String>,
    /// Tokens of an answer where the request does not limit it.
    pub(super) output_tokens: u32,
    misbehaviour: watch::Sender<Misbehaviour>,
    scrapes: Mutex<BTreeMap<IpAddr, u64>>,
    connections: AtomicU64,
}

impl Service {
    pub(super) fn new(
        flavour: Flavour,
        cores: Arc<Cores>,
        token: Option<String>,
        output_tokens: u32,
    ) -> Self {
        Self {
            flavour,
            cores,
            token,
            output_tokens,
            misbehaviour: watch::Sender::default(),
            scrapes: Mutex::default(),
            connections: AtomicU64::new(0),
        }
    }

    pub(super) fn misbehaviour(&self) -> Misbehaviour {
        self.misbehaviour.borrow().clone()
    }

    pub(super) fn set_misbehaviour(&self, misbehaviour: Misbehaviour) {
        self.misbehaviour.send_replace(misbehaviour);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn scrapes(&self) -> BTreeMap<IpAddr, u64> {
        self.scrapes.lock().clone()
    }

    /// Answers one request: with the page where it is asked for and `has_page`, else from `api`.
    pub(super) async fn answer(
        &self,
        remote: SocketAddr,
        request: hyper::Request<hyper::body::Incoming>,
        has_page: bool,
        mut api: Router,
    ) -> Result<Response, Infallible> {
        let is_scrape = has_page
            && request.method() == Method::GET
            && Some(request.uri().path()) == self.flavour.metrics_path();
        if is_scrape {
            *self.scrapes.lock().entry(remote.ip()).or_default() += 1;
        }
        let misbehaviour = self.not_hanging().await;
        if !self.admits(request.headers()) {
            return Ok((StatusCode::UNAUTHORIZED, "{\"error\":\"Unauthorized\"}").into_response());
        }
        let page = if is_scrape {
            self.cores.page(misbehaviour == Misbehaviour::NotANumber)
        } else {
            None
        };
        match page {
            Some(page) => Ok(misbehaviour
                .answer(&page)
                .unwrap_or_else(|| written(page, request.headers()))),
            None => api.call(request.map(Body::new)).await,
        }
    }

    /// Waits until the engine does not hang.
    async fn not_hanging(&self) -> Misbehaviour {
        let mut misbehaviour = self.misbehaviour.subscribe();
        // It cannot fail: the sender lives as long as `self`.
        match misbehaviour.wait_for(|now| *now != Misbehaviour::Hang).await {
            Ok(now) => now.clone(),
            Err(_) => Misbehaviour::None,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|given| given == token)
    }
}

/// The page as it is sent, compressed for those who take it so.
fn written(page: String, headers: &HeaderMap) -> Response {
    let takes_gzip = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|coding| coding.split(';').next().unwrap_or_default().trim() == "gzip")
        });
    if takes_gzip && let Ok(compressed) = gzip(page.as_bytes()) {
        return (
            [(CONTENT_TYPE, PAGE_TYPE), (CONTENT_ENCODING, "gzip")],
            compressed,
        )
            .into_response();
    }
    ([(CONTENT_TYPE, PAGE_TYPE)], page).into_response()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
