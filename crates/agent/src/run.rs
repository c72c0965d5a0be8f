use std::fmt;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rheostat_gpu::{CannotStart, GpuSnapshot, Sampler, SamplerOptions};
use rheostat_proto::LARGEST_ENGINE_LIST;
use rheostat_proto::agent::agent_server::AgentServer;
use rheostat_reading::Clock;
use rheostat_transport::{ListenError, Listener, grpc_server, listen, serve_grpc, serve_http};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::counters::Counters;
use crate::engines::Engines;
use crate::http::Pages;
use crate::liveness::Liveness;
use crate::podresources::{self, PodResourcesView};
use crate::publisher::Publisher;
use crate::service::AgentService;
use crate::{AgentOptions, NodeSnapshot};

/// A running agent. Dropping it ends it at once; [`Agent::stop`] lets streams end in order.
#[derive(Debug)]
pub struct Agent {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    latest: watch::Receiver<Option<Arc<NodeSnapshot>>>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), AgentError>>,
}

/// Where the newest reading of the GPUs comes from: the sampler, or a test. Cheap to clone.
#[derive(Clone)]
pub struct GpuSource(Arc<dyn Fn() -> Arc<GpuSnapshot> + Send + Sync>);

/// Why an agent did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The GPUs cannot be watched.
    #[error(transparent)]
    Sampler(#[from] CannotStart),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Serve(#[source] tonic::transport::Error),
    /// A part of the agent that runs to the end has ended, or panicked.
    #[error("a part of the agent ended early")]
    Ended(#[source] Option<JoinError>),
}

/// The largest message of a subscriber: its list, and who it is.
const LARGEST_REQUEST: usize = LARGEST_ENGINE_LIST + 64 * 1024;

/// How often `grpc.health.v1` is brought up to date.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// Runs an agent that reads this machine's GPUs through NVML, until `shutdown`.
///
/// # Errors
///
/// It could not start, or a part of it ended early. A missing driver, library or kubelet is no
/// error: the snapshots say so, and the agent recovers by itself.
pub async fn run(
    options: AgentOptions,
    gpus: SamplerOptions,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let sampler = Arc::new(Sampler::start(gpus, clock.clone())?);
    let source = Arc::clone(&sampler);
    let mut agent = Agent::start(options, GpuSource::new(move || source.latest()), clock).await?;
    let ended = tokio::select! {
        () = shutdown.cancelled() => agent.stop().await,
        ended = agent.ended() => ended,
    };
    // A sampler waits for its threads when it is dropped.
    tokio::task::spawn_blocking(move || drop(sampler))
        .await
        .map_err(|error| AgentError::Ended(Some(error)))?;
    ended
}

impl Agent {
    /// Starts an agent that takes its readings from `gpus`.
    ///
    /// # Errors
    ///
    /// A port cannot be had.
    pub async fn start(options: AgentOptions, gpus: GpuSource, clock: Clock) -> Result<Self, AgentError> {
        let grpc = listen(options.grpc_address, &options.grpc_security).await?;
        let http = listen(options.http_address, &options.http_security).await?;
        let (grpc_address, http_address) = (grpc.local_addr(), http.local_addr());
        tracing::info!(node = options.node, %grpc_address, %http_address, "agent starts");

        let stop = CancellationToken::new();
        let counters = Arc::new(Counters::default());
        let liveness = Liveness::new(gpus.clone(), clock.clone(), options.stale_after);
        let (views, kubelet) = watch::channel(PodResourcesView::unknown());
        let (out, latest) = watch::channel(None);
        // Agents must not all ask at the same moment what is behind one address.
        let seed = std::hash::RandomState::new().hash_one(&options.node);
        let engines = options
            .engines
            .as_ref()
            .map(|engines| Engines::start(engines, seed, clock.clone()));
        let mut tasks = JoinSet::new();

        let follow = podresources::follow(
            options.kubelet.clone(),
            clock.clone(),
            Arc::clone(&counters),
            liveness.kubelet.clone(),
            views,
        );
        tasks.spawn(async {
            follow.await;
            Ok(())
        });
        let pages = Pages {
            latest: latest.clone(),
            counters: Arc::clone(&counters),
            engines: engines.clone(),
            liveness: liveness.clone(),
            clock: clock.clone(),
            names: options.metric_names,
        };
        tasks.spawn(serve_pages(http, pages, stop.clone()));
        let service = AgentService::new(
            latest.clone(),
            clock.clone(),
            Arc::clone(&counters),
            engines.clone(),
            options.max_subscribers,
        );
        tasks.spawn(serve_streams(grpc, service, liveness.clone(), stop.clone()));
        let publisher = Publisher {
            options,
            clock,
            gpus,
            kubelet,
            engines,
            counters,
            heartbeat: liveness.publisher,
        };
        let until = stop.clone();
        tasks.spawn(async {
            publisher.run(out, until).await;
            Ok(())
        });
        Ok(Self {
            grpc_address,
            http_address,
            latest,
            stop,
            tasks,
        })
    }

    /// Where the stream is served; tells the port where 0 was asked for.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The newest snapshot, once there is one, and those that follow.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Option<Arc<NodeSnapshot>>> {
        self.latest.clone()
    }

    /// Ends every stream in order and stops.
    ///
    /// # Errors
    ///
    /// A part of the agent failed while it stopped.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| AgentError::Ended(Some(error)))??;
        }
        Ok(())
    }

    /// Waits until a part of the agent ends, which none does before it is told to.
    ///
    /// # Errors
    ///
    /// Always: how it ended.
    pub async fn ended(&mut self) -> Result<(), AgentError> {
        match self.tasks.join_next().await {
            Some(Ok(Ok(()))) | None => Err(AgentError::Ended(None)),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(AgentError::Ended(Some(error))),
        }
    }
}

impl GpuSource {
    /// The source whose newest snapshot `latest` gives. It is called on request paths: it must not
    /// block.
    pub fn new(latest: impl Fn() -> Arc<GpuSnapshot> + Send + Sync + 'static) -> Self {
        Self(Arc::new(latest))
    }

    /// The newest snapshot.
    #[must_use]
    pub fn latest(&self) -> Arc<GpuSnapshot> {
        (self.0)()
    }
}

impl fmt::Debug for GpuSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GpuSource").finish_non_exhaustive()
    }
}

async fn serve_pages(http: Listener, pages: Pages, stop: CancellationToken) -> Result<(), AgentError> {
    serve_http(http, pages.router(), stop.cancelled_owned()).await;
    Ok(())
}

async fn serve_streams(
    grpc: Listener,
    service: AgentService,
    liveness: Liveness,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let router = grpc_server()
        .add_service(AgentServer::new(service).max_decoding_message_size(LARGEST_REQUEST))
        .add_service(health);
    // Whoever asks at once is told how it is, and not that there is no such service.
    tell_health(&reporter, &liveness).await;
    tokio::select! {
        served = serve_grpc(grpc, router, stop.cancelled_owned()) => served.map_err(AgentError::Serve),
        () = report_health(reporter, liveness) => Ok(()),
    }
}

/// Keeps `grpc.health.v1` true: SERVING while the loops go round. Never ends.
async fn report_health(reporter: HealthReporter, liveness: Liveness) {
    let mut ticks = tokio::time::interval(HEALTH_PERIOD);
    loop {
        ticks.tick().await;
        tell_health(&reporter, &liveness).await;
    }
}

async fn tell_health(reporter: &HealthReporter, liveness: &Liveness) {
    let status = match liveness.check() {
        Ok(()) => tonic_health::ServingStatus::Serving,
        Err(_) => tonic_health::ServingStatus::NotServing,
    };
    reporter.set_service_status("", status).await;
    reporter
        .set_service_status("rheostat.agent.v1.Agent", status)
        .await;
}
