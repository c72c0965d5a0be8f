use std::sync::Arc;
use std::time::Duration;

use rheostat_proto::agent;
use rheostat_proto::agent::agent_client::AgentClient;
use rheostat_reading::Clock;
use rheostat_transport::connect;
use tonic::Status;

use crate::fleet::{AgentEndpoint, FleetOptions};
use crate::registry::{Registry, StreamId};
use rheostat_backoff::Backoff;

/// Keeps one agent's stream open for ever.
pub(crate) struct Subscription {
    pub(crate) endpoint: AgentEndpoint,
    pub(crate) options: Arc<FleetOptions>,
    pub(crate) registry: Arc<Registry>,
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

    /// Opens the stream and takes snapshots until it ends.
    async fn subscribe(&self, stream: &mut Option<StreamId>, heard: &mut bool) -> Result<Ended, Ended> {
        let FleetOptions {
            security,
            connect: connecting,
            subscriber,
            idle_timeout,
            ..
        } = &*self.options;
        let address = &self.endpoint.address;
        let channel = connect(address, security, *connecting)?;
        let mut client = AgentClient::new(channel).max_decoding_message_size(self.options.max_message_bytes);
        let patience = connecting.connect_timeout + *idle_timeout;
        let request = agent::WatchRequest {
            subscriber: subscriber.clone(),
            engines: None,
        };
        // The request stays open: what follows in it is which engines are wanted.
        let request = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let opening = tokio::time::timeout(patience, client.watch(request)).await;
        let refused = |status| Ended::Refused(Box::new(status));
        let mut snapshots = opening
            .map_err(|_| Ended::NoAnswer(patience))?
            .map_err(refused)?
            .into_inner();
        let id = *stream.insert(self.registry.opened(address, self.clock.now()));
        loop {
            let next = tokio::time::timeout(*idle_timeout, snapshots.message()).await;
            let next = next.map_err(|_| Ended::Silent(*idle_timeout))?.map_err(refused)?;
            let Some(snapshot) = next else {
                return Ok(Ended::ByAgent);
            };
            match self
                .registry
                .take(&self.endpoint, id, &snapshot, self.clock.now())
            {
                Ok(()) => *heard = true,
                Err(reason) => tracing::debug!(agent = address, %reason, "snapshot refused"),
            }
        }
    }
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
