//! A small server that speaks Prometheus' query API as far as it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// What a fake server does with a query.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A vector of these values.
    Vector(Vec<&'static str>),
    /// A status and a body.
    Raw(u16, String),
    /// Nothing, for ever.
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    pub(crate) timeout: String,
}

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) replies: Arc<Mutex<HashMap<String, Reply>>>,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    /// The most requests that were in flight at once.
    pub(crate) busiest: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    busy: Arc<AtomicUsize>,
    busiest: Arc<AtomicUsize>,
}

impl Api {
    /// Serves at `address` (port 0 for a free one) below `/prefix`.
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let listener = loop {
            // The port of a server that was stopped can take a moment to be free again.
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            replies: Arc::default(),
            asked: Arc::default(),
            busy: Arc::default(),
            busiest: Arc::default(),
        };
        let router = Router::new()
            .route("/prefix/api/v1/query", post(answer))
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            replies: shared.replies,
            asked: shared.asked,
            busiest: shared.busiest,
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/prefix", self.address)
    }

    pub(crate) async fn reply(&self, query: &str, reply: Reply) {
        self.replies.lock().await.insert(query.to_owned(), reply);
    }

    /// How often `query` was asked.
    pub(crate) async fn count(&self, query: &str) -> usize {
        self.asked
            .lock()
            .await
            .iter()
            .filter(|asked| asked.query == query)
            .count()
    }

    /// Stops at once, connections and all.
    pub(crate) async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let _busy = Busy::begin(&shared);
    let fields: HashMap<String, String> = body
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let query = fields["query"].clone();
    shared.asked.lock().await.push(Asked {
        headers,
        query: query.clone(),
        timeout: fields["timeout"].clone(),
    });
    let reply = shared.replies.lock().await.get(&query).cloned();
    // Long enough for others to come in the meantime.
    tokio::time::sleep(Duration::from_millis(5)).await;
    match reply.unwrap_or(Reply::Vector(vec![])) {
        Reply::Vector(values) => vector(&values).into_response(),
        Reply::Raw(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}

/// A request in flight, also when its client goes away.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn begin(shared: &Shared) -> Self {
        let busy = shared.busy.fetch_add(1, Ordering::SeqCst) + 1;
        shared.busiest.fetch_max(busy, Ordering::SeqCst);
        Self(Arc::clone(&shared.busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn vector(values: &[&str]) -> String {
    let series: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(number, value)| format!(r#"{{"metric":{{"n":"{number}"}},"value":[1700000000,"{value}"]}}"#))
        .collect();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}},"warnings":["w"]}}"#,
        series.join(",")
    )
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}
