//! The two server streams, ended by us with OK before anything else ends them: KEDA resets its
//! reconnect back-off (2 s doubling to 60 s) only on a clean end, so that a stream which dies in
//! another way costs push for up to a minute.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rheostat_proto::keda::{GetMetricSpecResponse, IsActiveResponse, ScaledObjectRef};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::push::{Push, Seen};
use super::{reply, service};
use crate::metrics::Calls;
use crate::snapshot::Snapshots;

/// A server stream of ours.
pub(super) type Stream<T> = ReceiverStream<Result<T, Status>>;

/// Bounds of push streams.
#[derive(Clone, Debug)]
pub struct StreamLimits {
    /// Streams open at once, both kinds together; more are refused.
    pub most: usize,
    /// How long a stream lives before it is ended with OK, drawn for each.
    pub lifetime: Range<Duration>,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            most: 40_000,
            lifetime: Duration::from_secs(180)..Duration::from_secs(300),
        }
    }
}

pub(super) struct Streams {
    snapshots: Snapshots,
    places: Arc<Semaphore>,
    lifetime: Range<Duration>,
    shutdown: CancellationToken,
    calls: Arc<Calls>,
    /// Where streams are looked after: thousands of them wake with each snapshot.
    runtime: Handle,
}

impl Streams {
    /// In the caller's runtime, which shall not be the one that answers calls.
    pub(super) fn new(
        snapshots: Snapshots,
        limits: StreamLimits,
        shutdown: CancellationToken,
        calls: Arc<Calls>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.most));
        Self {
            snapshots,
            places,
            lifetime: limits.lifetime,
            shutdown,
            calls,
            runtime: Handle::current(),
        }
    }

    /// `StreamIsActive`.
    pub(super) fn activity(&self, object: ScaledObjectRef) -> Result<Stream<IsActiveResponse>, Status> {
        // Otherwise the stream of a bad trigger would be silent.
        service::parse(&object)?;
        let place = self.place("StreamIsActive")?;
        let (sender, receiver) = mpsc::channel(1);
        let end = Instant::now() + rand::rng().random_range(self.lifetime.clone());
        let task = speak(
            self.snapshots.clone(),
            object,
            sender,
            end,
            self.shutdown.clone(),
            place,
        );
        self.runtime.spawn(task);
        Ok(ReceiverStream::new(receiver))
    }

    /// `StreamMetricSpec`: the spec on opening, which never changes while the metadata of the
    /// stream do not.
    pub(super) fn specs(&self, object: &ScaledObjectRef) -> Result<Stream<GetMetricSpecResponse>, Status> {
        let spec = reply::spec(service::parse(object).ok().as_ref());
        let place = self.place("StreamMetricSpec")?;
        let (sender, receiver) = mpsc::channel(1);
        let end = Instant::now() + rand::rng().random_range(self.lifetime.clone());
        let shutdown = self.shutdown.clone();
        self.runtime.spawn(async move {
            let _place = place;
            if sender.send(Ok(spec)).await.is_ok() {
                tokio::select! {
                    () = tokio::time::sleep_until(end) => {}
                    () = shutdown.cancelled() => {}
                    () = sender.closed() => {}
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    fn place(&self, method: &'static str) -> Result<Place, Status> {
        let permit = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many push streams are open; polling goes on"))?;
        self.calls.stream_opened(method);
        Ok(Place {
            _permit: permit,
            method,
            calls: Arc::clone(&self.calls),
        })
    }
}

/// One stream's place among the open ones.
struct Place {
    _permit: OwnedSemaphorePermit,
    method: &'static str,
    calls: Arc<Calls>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.stream_closed(self.method);
    }
}

async fn speak(
    mut snapshots: Snapshots,
    object: ScaledObjectRef,
    sender: mpsc::Sender<Result<IsActiveResponse, Status>>,
    end: Instant,
    shutdown: CancellationToken,
    _place: Place,
) {
    let mut push = Push::default();
    loop {
        let seen = snapshots.latest().find(&object).map_or(
            Seen {
                active: None,
                at_zero: true,
            },
            |(trigger, _)| Seen {
                active: trigger.answer().active(),
                at_zero: trigger.at_zero(),
            },
        );
        if let Some(result) = push.step(Instant::now(), seen) {
            tracing::debug!(
                namespace = object.namespace,
                name = object.name,
                active = result,
                "push"
            );
            if sender.send(Ok(IsActiveResponse { result })).await.is_err() {
                return;
            }
        }
        let wake = push.next().unwrap_or(end).min(end);
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            alive = snapshots.changed() => if !alive { return },
            () = shutdown.cancelled() => return,
            () = sender.closed() => return,
        }
        if Instant::now() >= end {
            return;
        }
    }
}
