use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rheostat_proto::agent::agent_server::Agent;
use rheostat_proto::agent::{Snapshot, WatchRequest};
use rheostat_reading::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::counters::{Counters, add};
use crate::engines::{EngineSubscription, Engines};
use crate::publisher::Latest;

/// `rheostat.agent.v1.Agent`: the snapshots, to whoever subscribes.
///
/// All subscribers share the newest snapshot. One that does not keep up misses snapshots instead
/// of queueing them, so it costs no memory and never sees an old one as new.
pub(crate) struct AgentService {
    latest: Latest,
    clock: Clock,
    counters: Arc<Counters>,
    engines: Option<Engines>,
    seats: Arc<Semaphore>,
    max_subscribers: usize,
}

/// Characters of a subscriber's name that are logged.
const LONGEST_NAME: usize = 100;

/// How long a subscriber may take to say who it is.
const OPENING: Duration = Duration::from_secs(10);

/// A subscriber's lists are not read more often: each is work.
const BETWEEN_LISTS: Duration = Duration::from_millis(100);

impl AgentService {
    pub(crate) fn new(
        latest: Latest,
        clock: Clock,
        counters: Arc<Counters>,
        engines: Option<Engines>,
        max_subscribers: usize,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(max_subscribers));
        Self {
            latest,
            clock,
            counters,
            engines,
            seats,
            max_subscribers,
        }
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Snapshot, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            add(&self.counters.refused_subscribers);
            return Err(Status::resource_exhausted(format!(
                "there are {} subscribers already, the most that this agent serves",
                self.max_subscribers
            )));
        };
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(OPENING, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no request came within {OPENING:?}")))??
            .unwrap_or_default();
        let name: String = first.subscriber.chars().take(LONGEST_NAME).collect();
        let mut subscriber = Subscriber::new(name, Arc::clone(&self.counters), seat);
        if let Some(engines) = &self.engines {
            subscriber.name_engines(engines, &first, requests);
        }
        let clock = self.clock.clone();
        // The stream of a watch channel gives the newest value first and skips those that were
        // replaced before they were asked for. It ends when the publisher does.
        let snapshots = WatchStream::new(self.latest.clone()).filter_map(move |latest| {
            let snapshot = latest?;
            let now = clock.now();
            let mut sent = snapshot.to_proto(now);
            if let Some((engines, _)) = &subscriber.engines {
                sent.engines = engines.reports(&snapshot, now);
            }
            Some(Ok(sent))
        });
        Ok(Response::new(Box::pin(snapshots)))
    }
}

/// A subscriber, for as long as its stream lasts.
struct Subscriber {
    name: String,
    counters: Arc<Counters>,
    /// What it names, and the task that reads it.
    engines: Option<(Arc<EngineSubscription>, AbortHandle)>,
    _seat: OwnedSemaphorePermit,
}

impl Subscriber {
    fn new(name: String, counters: Arc<Counters>, seat: OwnedSemaphorePermit) -> Self {
        tracing::info!(subscriber = name, "subscribed");
        add(&counters.subscribers);
        Self {
            name,
            counters,
            engines: None,
            _seat: seat,
        }
    }

    /// Has the engines scraped that `first` and what follows it name, until the stream ends.
    fn name_engines(&mut self, engines: &Engines, first: &WatchRequest, requests: Streaming<WatchRequest>) {
        let subscription = Arc::new(engines.subscribe());
        if let Some(list) = &first.engines {
            subscription.set(list);
        }
        let lists = follow(
            self.name.clone(),
            requests,
            Arc::clone(&subscription),
            Arc::clone(&self.counters),
        );
        self.engines = Some((subscription, tokio::spawn(lists).abort_handle()));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some((_, lists)) = &self.engines {
            lists.abort();
        }
        self.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(subscriber = self.name, "gone");
    }
}

/// Takes in each list that the subscriber sends.
///
/// What cannot be read ends the requests but not the stream: trouble with engines must not cost the
/// subscriber its GPUs. What it named before stands.
async fn follow(
    subscriber: String,
    mut requests: Streaming<WatchRequest>,
    engines: Arc<EngineSubscription>,
    counters: Arc<Counters>,
) {
    loop {
        match requests.message().await {
            Ok(Some(request)) => {
                if let Some(list) = &request.engines {
                    engines.set(list);
                }
            }
            Ok(None) => return,
            Err(status) => {
                // So do streams end whose connection is cut.
                if status.code() != Code::Cancelled && status.code() != Code::Unknown {
                    add(&counters.broken_requests);
                    tracing::warn!(subscriber, reason = %status, "a list of engines cannot be read");
                }
                return;
            }
        }
        tokio::time::sleep(BETWEEN_LISTS).await;
    }
}
