use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rheostat_proto::agent::agent_server::Agent;
use rheostat_proto::agent::{Snapshot, WatchRequest};
use rheostat_reading::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::counters::{Counters, add};
use crate::publisher::Latest;

/// `rheostat.agent.v1.Agent`: the snapshots, to whoever subscribes.
///
/// All subscribers share the newest snapshot. One that does not keep up misses snapshots instead
/// of queueing them, so it costs no memory and never sees an old one as new.
pub(crate) struct AgentService {
    latest: Latest,
    clock: Clock,
    counters: Arc<Counters>,
    seats: Arc<Semaphore>,
    max_subscribers: usize,
}

/// Characters of a subscriber's name that are logged.
const LONGEST_NAME: usize = 100;

impl AgentService {
    pub(crate) fn new(latest: Latest, clock: Clock, counters: Arc<Counters>, max_subscribers: usize) -> Self {
        let seats = Arc::new(Semaphore::new(max_subscribers));
        Self {
            latest,
            clock,
            counters,
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
        let first = request.into_inner().message().await?.unwrap_or_default();
        let name: String = first.subscriber.chars().take(LONGEST_NAME).collect();
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            add(&self.counters.refused_subscribers);
            return Err(Status::resource_exhausted(format!(
                "there are {} subscribers already, the most that this agent serves",
                self.max_subscribers
            )));
        };
        let subscriber = Subscriber::new(name, Arc::clone(&self.counters), seat);
        let clock = self.clock.clone();
        // The stream of a watch channel gives the newest value first and skips those that were
        // replaced before they were asked for. It ends when the publisher does.
        let snapshots = WatchStream::new(self.latest.clone()).filter_map(move |latest| {
            let _until_the_stream_ends = &subscriber;
            latest.map(|snapshot| Ok(snapshot.to_proto(clock.now())))
        });
        Ok(Response::new(Box::pin(snapshots)))
    }
}

/// A subscriber, for as long as its stream lasts.
struct Subscriber {
    name: String,
    counters: Arc<Counters>,
    _seat: OwnedSemaphorePermit,
}

impl Subscriber {
    fn new(name: String, counters: Arc<Counters>, seat: OwnedSemaphorePermit) -> Self {
        tracing::info!(subscriber = name, "subscribed");
        add(&counters.subscribers);
        Self {
            name,
            counters,
            _seat: seat,
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(subscriber = self.name, "gone");
    }
}
