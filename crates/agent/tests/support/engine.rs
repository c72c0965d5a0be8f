//! A small engine: a page of vLLM's names, and how often it was asked for.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use rheostat_proto::agent::{EngineQuantity, EngineReport, EngineTarget};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct SmallEngine {
    pub address: SocketAddr,
    asked: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl SmallEngine {
    /// An engine with 3 running and `waiting` waiting requests.
    pub async fn start(waiting: u32) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let page = move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            format!(
                "# TYPE vllm:num_requests_running gauge\n\
                 vllm:num_requests_running{{model_name=\"llama\",engine=\"0\"}} 3.0\n\
                 # TYPE vllm:num_requests_waiting gauge\n\
                 vllm:num_requests_waiting{{model_name=\"llama\",engine=\"0\"}} {waiting}.0\n"
            )
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/metrics", get(page));
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            asked,
            server,
        }
    }

    /// How often its page was asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The engine as a subscriber names it.
    pub fn named(&self, name: &str) -> EngineTarget {
        EngineTarget {
            id: name.into(),
            namespace: "team-a".into(),
            pod: format!("llm-{}", self.address.port()),
            address: self.address.ip().to_string(),
            port: self.address.port().into(),
            engine: "vllm".into(),
            window_millis: 60_000,
            period_millis: 500,
            ..Default::default()
        }
    }
}

impl Drop for SmallEngine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the report says of `quantity`.
pub fn value(report: &EngineReport, quantity: EngineQuantity) -> Option<f64> {
    let mut readings = report.readings.iter();
    let found = readings.find(|reading| reading.quantity() == quantity)?;
    (found.absent() == rheostat_proto::agent::Absent::No).then_some(found.value)
}
