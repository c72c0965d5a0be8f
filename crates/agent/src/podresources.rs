use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rheostat_proto::kubelet::pod_resources_lister_client::PodResourcesListerClient;
use rheostat_proto::kubelet::{
    AllocatableResourcesRequest, ContainerDevices, ListPodResourcesRequest, PodResources,
};
use rheostat_reading::Clock;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use crate::SourceState;
use crate::counters::Counters;
use crate::liveness::Heartbeat;

/// What the kubelet last said of this node's devices.
#[derive(Clone, Debug)]
pub struct PodResourcesView {
    /// Whether it says so still.
    pub state: SourceState,
    /// Pods with their containers' devices, as `List` gave them. Kubelets before 1.34 list
    /// terminated pods too; nothing in the answer tells them apart.
    pub pods: Arc<[PodResources]>,
    /// The ids that device plugins offer, in use or not, as `GetAllocatableResources` gave them;
    /// `None` where that failed.
    pub allocatable: Option<Arc<[ContainerDevices]>>,
}

/// How the kubelet is asked.
#[derive(Clone, Debug)]
pub struct PodResourcesOptions {
    /// The kubelet's PodResources socket.
    pub socket: PathBuf,
    /// Time between two `List` calls.
    pub period: Duration,
    /// Longest time that a call may take.
    pub timeout: Duration,
    /// For how long an empty list is not believed after the connection was made anew. A kubelet
    /// that has just started lists no pods before it has heard from the API server; taking that for
    /// the truth would take every device from its pod.
    pub settling: Duration,
}

/// The largest answer that is read. A node's 250 pods with 8 devices each are 100 KB.
const LARGEST_ANSWER: usize = 16 << 20;

/// Allocatable ids change only when a device plugin starts or a device falls ill.
const LISTS_PER_ALLOCATABLE: u32 = 10;

impl PodResourcesView {
    /// Before the first call.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            state: SourceState::Unknown {
                reason: "the kubelet has not been asked yet".into(),
            },
            pods: Arc::new([]),
            allocatable: None,
        }
    }
}

/// Asks the kubelet each period and sends what it said, until `views` has no receiver left.
///
/// An error never empties the view: the last answer stays, with the reason why there is no newer
/// one.
pub(crate) async fn follow(
    options: PodResourcesOptions,
    clock: Clock,
    counters: Arc<Counters>,
    heartbeat: Heartbeat,
    views: watch::Sender<PodResourcesView>,
) {
    let mut kubelet = Kubelet::new(&options);
    let mut ticks = tokio::time::interval(options.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = PodResourcesView::unknown();
    let mut until_allocatable = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = views.closed() => return,
        }
        let answer = kubelet.list().await;
        counters.kubelet_called(answer.as_ref().err().map(Status::code));
        let allocatable_is_due = kubelet.reconnected || until_allocatable == 0;
        match answer {
            Ok(pods) if kubelet.is_settling(&pods, &view.pods) => {
                view.state = view
                    .state
                    .failed("the kubelet has restarted and lists no devices yet");
            }
            Ok(pods) => {
                view.pods = pods.into();
                view.state = SourceState::Current { at: clock.now() };
            }
            Err(status) => {
                let reason = explain(&options.socket, &status);
                if view.state.reason() != Some(&reason) {
                    tracing::warn!(socket = %options.socket.display(), reason, "the kubelet cannot be asked");
                }
                view.state = view.state.failed(reason);
            }
        }
        if view.state.is_current() && allocatable_is_due {
            let answer = kubelet.allocatable().await;
            counters.kubelet_called(answer.as_ref().err().map(Status::code));
            view.allocatable = answer.ok().map(Into::into);
            until_allocatable = LISTS_PER_ALLOCATABLE;
        }
        until_allocatable = until_allocatable.saturating_sub(1);
        views.send_replace(view.clone());
        heartbeat.beat();
    }
}

/// The client, with what is needed to notice that it talks to a new kubelet.
struct Kubelet {
    client: PodResourcesListerClient<Channel>,
    timeout: Duration,
    settling: Duration,
    connections: Arc<AtomicU64>,
    connections_seen: u64,
    connected_at: Instant,
    /// Whether the last `List` was the first on its connection.
    reconnected: bool,
}

impl Kubelet {
    /// A client that connects with the first call, and anew after the socket has gone.
    fn new(options: &PodResourcesOptions) -> Self {
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let socket = options.socket.clone();
        let connector = service_fn(move |_| {
            let (socket, count) = (socket.clone(), Arc::clone(&count));
            async move {
                let stream = UnixStream::connect(socket).await?;
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // A unix socket has no authority; HTTP/2 asks for one.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(options.timeout)
            .connect_with_connector_lazy(connector);
        Self {
            client: PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST_ANSWER),
            timeout: options.timeout,
            settling: options.settling,
            connections,
            connections_seen: 0,
            connected_at: Instant::now(),
            reconnected: false,
        }
    }

    async fn list(&mut self) -> Result<Vec<PodResources>, Status> {
        let call = self.client.list(Request::new(ListPodResourcesRequest {}));
        let answer = bounded(self.timeout, call).await;
        let connections = self.connections.load(Ordering::Relaxed);
        self.reconnected = connections != self.connections_seen;
        if self.reconnected {
            self.connections_seen = connections;
            self.connected_at = Instant::now();
        }
        Ok(answer?.into_inner().pod_resources)
    }

    async fn allocatable(&mut self) -> Result<Vec<ContainerDevices>, Status> {
        let call = self
            .client
            .get_allocatable_resources(Request::new(AllocatableResourcesRequest {}));
        Ok(bounded(self.timeout, call).await?.into_inner().devices)
    }

    fn is_settling(&self, pods: &[PodResources], before: &[PodResources]) -> bool {
        self.connected_at.elapsed() < self.settling && !any_device(pods) && any_device(before)
    }
}

async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))))
}

fn any_device(pods: &[PodResources]) -> bool {
    pods.iter()
        .flat_map(|pod| &pod.containers)
        .any(|container| !container.devices.is_empty() || !container.dynamic_resources.is_empty())
}

/// A reason for a person: the status with the innermost cause, which tonic keeps to itself.
fn explain(socket: &Path, status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    let detail = innermost.unwrap_or_else(|| status.message().to_owned());
    format!("kubelet at {}: {:?}: {detail}", socket.display(), status.code())
}
