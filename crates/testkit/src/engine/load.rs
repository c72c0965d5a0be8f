use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request as HttpRequest};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use rheostat_reading::Clock;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::arrivals::{Arrivals, Lengths, Pace};
use super::batcher::Request;

/// How often a clock is looked at that need not be real time.
pub(super) const LOOK: Duration = Duration::from_millis(1);

/// Requests sent over HTTP to engines with the OpenAI-compatible API, as they come. It must be
/// started within a tokio runtime and ends when it is dropped; requests under way are given up.
#[derive(Debug)]
pub struct Load {
    sending: Arc<Sending>,
    task: JoinHandle<()>,
}

/// What load to send, and to whom.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The engines.
    pub targets: Vec<SocketAddr>,
    /// Which of them gets a request.
    pub balance: Balance,
    /// The model to name; none if `None`.
    pub model: Option<String>,
    /// Requests a second of `clock`.
    pub rate: f64,
    /// How the times between requests are spread.
    pub pace: Pace,
    /// Prompts.
    pub prompt: Lengths,
    /// Answers.
    pub output: Lengths,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// Whether answers are streamed.
    pub stream: bool,
    /// A bearer token to show.
    pub token: Option<String>,
    /// Where time comes from.
    pub clock: Clock,
    /// How often a clock that is not real time is looked at, and how long a change of the rate may
    /// go unnoticed.
    pub look: Duration,
}

/// How requests are spread over engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// To the engine with the fewest requests of this load.
    #[default]
    LeastOutstanding,
    /// To each in turn.
    RoundRobin,
}

/// What became of a load's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadResults {
    /// Requests sent.
    pub sent: u64,
    /// Those answered to the end with status 200.
    pub succeeded: u64,
    /// Those answered otherwise, or not to the end.
    pub failed: u64,
    /// Requests for which there was no engine.
    pub without_target: u64,
}

impl LoadResults {
    /// Requests under way.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.sent.saturating_sub(self.succeeded + self.failed)
    }
}

impl Default for LoadOptions {
    /// A request a second, 100 tokens in and 50 out, to nobody yet.
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            balance: Balance::default(),
            model: None,
            rate: 1.0,
            pace: Pace::default(),
            prompt: Lengths::Fixed(100),
            output: Lengths::Fixed(50),
            seed: 1,
            stream: false,
            token: None,
            clock: Clock::system(),
            look: LOOK,
        }
    }
}

impl Load {
    /// Starts sending.
    #[must_use]
    pub fn start(options: LoadOptions) -> Self {
        let arrivals = Arrivals::new(
            options.clock.now(),
            options.rate,
            options.pace,
            options.prompt,
            options.output,
            options.seed,
        );
        let sending = Arc::new(Sending {
            arrivals: Mutex::new(arrivals),
            targets: Mutex::new(options.targets.iter().copied().map(Target::new).collect()),
            turn: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build_http(),
            sent: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            without_target: AtomicU64::new(0),
            options,
        });
        let task = tokio::spawn(Arc::clone(&sending).run());
        Self { sending, task }
    }

    /// Changes the rate from now on; 0 sends nothing.
    pub fn set_rate(&self, rate: f64) {
        let now = self.sending.options.clock.now();
        self.sending.arrivals.lock().set_rate(now, rate);
    }

    /// Sends to these engines from now on. Requests under way stay where they are.
    pub fn set_targets(&self, targets: &[SocketAddr]) {
        let mut known = self.sending.targets.lock();
        *known = targets
            .iter()
            .map(|address| {
                let same = known.iter().find(|target| target.address == *address);
                same.cloned().unwrap_or_else(|| Target::new(*address))
            })
            .collect();
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn results(&self) -> LoadResults {
        let sending = &self.sending;
        // Ended ones are read first, so that no more end than were sent.
        let succeeded = sending.succeeded.load(Ordering::Acquire);
        let failed = sending.failed.load(Ordering::Acquire);
        LoadResults {
            sent: sending.sent.load(Ordering::Acquire),
            succeeded,
            failed,
            without_target: sending.without_target.load(Ordering::Acquire),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, Debug)]
struct Target {
    address: SocketAddr,
    outstanding: Arc<AtomicUsize>,
}

impl Target {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            outstanding: Arc::default(),
        }
    }
}

#[derive(Debug)]
struct Sending {
    options: LoadOptions,
    arrivals: Mutex<Arrivals>,
    targets: Mutex<Vec<Target>>,
    turn: AtomicUsize,
    client: Client<HttpConnector, Full<Bytes>>,
    sent: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    without_target: AtomicU64,
}

impl Sending {
    async fn run(self: Arc<Self>) {
        let mut requests = JoinSet::new();
        let look = self.options.look;
        loop {
            while requests.try_join_next().is_some() {}
            let now = self.options.clock.now();
            let (due, next) = {
                let mut arrivals = self.arrivals.lock();
                (arrivals.take(now), arrivals.next_at())
            };
            let Some((_, request)) = due else {
                let wait = next.map_or(look, |next| next.since(now).min(look));
                tokio::time::sleep(wait).await;
                continue;
            };
            match self.choose() {
                Some(target) => {
                    self.sent.fetch_add(1, Ordering::AcqRel);
                    target.outstanding.fetch_add(1, Ordering::AcqRel);
                    let sending = Arc::clone(&self);
                    requests.spawn(async move {
                        let ended = if sending.send(&target, &request).await {
                            &sending.succeeded
                        } else {
                            &sending.failed
                        };
                        target.outstanding.fetch_sub(1, Ordering::AcqRel);
                        ended.fetch_add(1, Ordering::AcqRel);
                    });
                }
                None => {
                    self.without_target.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }

    fn choose(&self) -> Option<Target> {
        let targets = self.targets.lock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match self.options.balance {
            Balance::RoundRobin => targets.get(turn % targets.len().max(1)).cloned(),
            Balance::LeastOutstanding => targets
                .iter()
                .min_by_key(|target| target.outstanding.load(Ordering::Acquire))
                .cloned(),
        }
    }

    /// Sends a request and reads its answer; returns whether all went well.
    async fn send(&self, target: &Target, request: &Request) -> bool {
        let words = usize::try_from(request.prompt_tokens).unwrap_or(usize::MAX);
        let mut body = json!({
            "prompt": "word ".repeat(words),
            "max_tokens": request.output_tokens,
            "stream": self.options.stream,
        });
        if let Some(model) = &self.options.model {
            body["model"] = model.as_str().into();
        }
        let mut builder = HttpRequest::builder()
            .method(Method::POST)
            .uri(format!("http://{}/v1/completions", target.address))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.options.token {
            builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let Ok(request) = builder.body(Full::new(Bytes::from(body.to_string()))) else {
            return false;
        };
        let Ok(mut response) = self.client.request(request).await else {
            return false;
        };
        // The text is of no interest, only whether it came to its end.
        while let Some(frame) = response.body_mut().frame().await {
            if frame.is_err() {
                return false;
            }
        }
        response.status().is_success()
    }
}
