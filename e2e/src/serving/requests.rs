//! Requests to engines over HTTP, so many at any time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

/// How long a change may go unnoticed.
const PERIOD: Duration = Duration::from_millis(50);

/// Keeps a number of requests under way, each at the engine that has the fewest of them: where one
/// ends, another one begins. Their number is the same however many engines there are and however
/// busy this machine is, so that what a test expects can be told beforehand.
pub(super) struct Requests {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    tokens: u32,
    wanted: Cell<usize>,
    targets: RefCell<Vec<Target>>,
    results: Cell<Results>,
}

/// An engine, and how many of the requests it has.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    requests: Rc<Cell<usize>>,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Results {
    /// Those that have begun and not ended.
    pub(crate) under_way: usize,
    /// Those answered to the end.
    pub(crate) answered: u64,
    /// Those that an engine took and did not answer.
    pub(crate) lost: u64,
}

impl Requests {
    /// None yet; each will be for about so many tokens.
    pub(super) fn start(tokens: u32) -> Self {
        let shared = Rc::new(Shared {
            tokens,
            ..Shared::default()
        });
        let task = tokio::task::spawn_local(keep_under_way(Rc::clone(&shared)));
        Self { shared, task }
    }

    /// Keeps so many under way from now on; those that are too many end by themselves.
    pub(super) fn set(&self, wanted: usize) {
        self.shared.wanted.set(wanted);
    }

    /// Sends them to these engines from now on; those under way stay where they are.
    pub(super) fn set_targets(&self, addresses: impl Iterator<Item = SocketAddr>) {
        let mut targets = self.shared.targets.borrow_mut();
        *targets = addresses
            .map(|address| {
                let known = targets.iter().find(|target| target.address == address);
                known.cloned().unwrap_or_else(|| Target {
                    address,
                    requests: Rc::default(),
                })
            })
            .collect();
    }

    pub(super) fn results(&self) -> Results {
        self.shared.results.get()
    }
}

impl Shared {
    /// The length of one request: half as long as usual to half as long again, each another, so that
    /// those that begin together do not end together.
    fn length(&self, number: u32) -> u32 {
        self.tokens / 2 + number.wrapping_mul(13) % self.tokens.max(1)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_under_way(shared: Rc<Shared>) {
    let mut under_way = JoinSet::new();
    let mut begun = 0;
    loop {
        while under_way.len() < shared.wanted.get() {
            let targets = shared.targets.borrow();
            let Some(target) = targets.iter().min_by_key(|target| target.requests.get()) else {
                break;
            };
            target.requests.set(target.requests.get() + 1);
            begun += 1;
            let (target, tokens) = (target.clone(), shared.length(begun));
            under_way.spawn_local(async move {
                let outcome = ask(target.address, tokens).await;
                target.requests.set(target.requests.get().saturating_sub(1));
                outcome
            });
        }
        let mut results = shared.results.get();
        // One that ended may make room for another one at once.
        if let Ok(Some(Ok(outcome))) = tokio::time::timeout(PERIOD, under_way.join_next()).await {
            match outcome {
                Ok(()) => results.answered += 1,
                Err(error) => {
                    tracing::debug!("a request was lost: {error:#}");
                    results.lost += 1;
                }
            }
        } else if under_way.is_empty() {
            tokio::time::sleep(PERIOD).await;
        }
        results.under_way = under_way.len();
        shared.results.set(results);
    }
}

/// Has an engine write so many tokens, and reads them to the end.
async fn ask(address: SocketAddr, tokens: u32) -> Result<()> {
    let mut connection = TcpStream::connect(address).await.context("connecting")?;
    let body = format!(r#"{{"prompt": "Say something long.", "max_tokens": {tokens}}}"#);
    let head = format!(
        "POST /v1/completions HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    connection
        .write_all((head + &body).as_bytes())
        .await
        .context("asking")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.context("reading")?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.contains(" 200 OK\r\n"), "the answer is {answer:?}");
    ensure!(
        answer.contains("\"usage\""),
        "the answer is not complete: {answer:?}"
    );
    Ok(())
}
