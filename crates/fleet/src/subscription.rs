use std::sync::Arc;
use std::time::Duration;

use rheostat_proto::agent;
use rheostat_proto::agent::agent_client::AgentClient;
use rheostat_reading::Clock;
use rheostat_transport::connect;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use crate::fleet::{AgentEndpoint, FleetOptions};
use crate::registry::{Registry, StreamId};
use crate::wanted::{NodeList, WantedEngines};
use rheostat_backoff::Backoff;

/// Keeps one agent's stream open for ever.
pub(crate) struct Subscription {
    pub(crate) endpoint: AgentEndpoint,
    pub(crate) options: Arc<FleetOptions>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) wanted: watch::Receiver<Arc<WantedEngines>>,
    pub(crate) clock: Clock,
    /// The pauses' randomness, this agent's own.
    pub(crate) seed: u64,
    /// Over how long the first attempts of all agents are spread: dialling and the TLS handshake
    /// cost most when all are dialled at once.
    pub(crate) spread: Duration,
}

/// Why there is no stream (any more).
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Address(#[from] rheostat_transport::ConnectError),
    #[error("{}", described(.0))]
    Refused(#[source] Box<Status>),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("no snapshot for {0:?}")]
    Silent(Duration),
    #[error("the agent ended the stream")]
    ByAgent,
}

impl Subscription {
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.options.first_pause, self.options.longest_pause, self.seed);
        let mut was_told = false;
        tokio::time::sleep(backoff.spread(self.spread)).await;
        loop {
            let mut stream = None;
            let mut heard = false;
            let ended = self
                .subscribe(&mut stream, &mut heard)
                .await
                .unwrap_or_else(|ended| ended);
            self.registry.closed(
                &self.endpoint.address,
                stream,
                ended.to_string(),
                self.clock.now(),
            );
            if heard {
                backoff.reset();
                was_told = false;
            }
            if !was_told {
                tracing::warn!(agent = self.endpoint.address, reason = %ended, "no stream from the agent");
                was_told = true;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Opens the stream, takes snapshots and sends which engines are wanted, until it ends.
    async fn subscribe(&self, stream: &mut Option<StreamId>, heard: &mut bool) -> Result<Ended, Ended> {
        let FleetOptions {
            security,
            connect: connecting,
            idle_timeout,
            ..
        } = &*self.options;
        let address = &self.endpoint.address;
        let channel = connect(address, security, *connecting)?;
        let mut client = AgentClient::new(channel).max_decoding_message_size(self.options.max_message_bytes);
        let patience = connecting.connect_timeout + *idle_timeout;
        let mut wanted = self.wanted.clone();
        let mut node = self.endpoint.node.clone();
        let mut sent = node.as_ref().and_then(|node| list(&mut wanted, node));
        // A request that is not under way yet is replaced by the next one.
        let (requests, outgoing) = watch::channel(self.request(sent.as_deref()));
        let opening = tokio::time::timeout(patience, client.watch(WatchStream::new(outgoing))).await;
        let refused = |status| Ended::Refused(Box::new(status));
        let mut snapshots = opening
            .map_err(|_| Ended::NoAnswer(patience))?
            .map_err(refused)?
            .into_inner();
        let id = *stream.insert(self.registry.opened(address, self.clock.now()));
        let mut deadline = Instant::now() + *idle_timeout;
        loop {
            if let Some(node) = &node {
                let now = list(&mut wanted, node);
                if now.as_ref().map(Arc::as_ptr) != sent.as_ref().map(Arc::as_ptr) {
                    let none = NodeList::default();
                    requests.send_replace(self.request(Some(now.as_deref().unwrap_or(&none))));
                    sent = now;
                }
            }
            let next = tokio::select! {
                next = tokio::time::timeout_at(deadline, snapshots.message()) => next,
                Ok(()) = wanted.changed() => continue,
            };
            let next = next.map_err(|_| Ended::Silent(*idle_timeout))?.map_err(refused)?;
            let Some(snapshot) = next else {
                return Ok(Ended::ByAgent);
            };
            deadline = Instant::now() + *idle_timeout;
            match self
                .registry
                .take(&self.endpoint, id, &snapshot, self.clock.now())
            {
                Ok(()) => {
                    *heard = true;
                    if node.as_ref() != Some(&snapshot.node) {
                        node = Some(snapshot.node);
                    }
                }
                Err(reason) => tracing::debug!(agent = address, %reason, "snapshot refused"),
            }
        }
    }

    fn request(&self, engines: Option<&NodeList>) -> agent::WatchRequest {
        agent::WatchRequest {
            subscriber: self.options.subscriber.clone(),
            engines: engines.map(NodeList::to_proto),
        }
    }
}

/// What is wanted of `node` now.
fn list(wanted: &mut watch::Receiver<Arc<WantedEngines>>, node: &str) -> Option<Arc<NodeList>> {
    wanted.borrow_and_update().of(node).map(Arc::clone)
}

/// A status with what caused it: tonic's own text hides the refused connection behind "transport
/// error".
fn described(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
