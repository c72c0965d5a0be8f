use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::Store;
use rheostat_decisions::DecisionLog;
use rheostat_fleet::Fleet;
use rheostat_promtext::{BoundsError, Counter, Histogram};
use rheostat_proto::keda::external_scaler_server::ExternalScalerServer;
use rheostat_reading::Clock;
use rheostat_steward::{Leadership, PolicyReport, Stats};
use rheostat_transport::{ListenError, ServerSecurity, grpc_server, listen, serve_grpc, serve_http};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::evaluator::{Evaluator, Sources};
use crate::http;
use crate::inquiries::{Inquirer, Inquiries};
use crate::keda::{KedaService, StreamLimits};
use crate::metrics::Calls;
use crate::snapshot::{Publisher, Snapshots};
use crate::state::State;
use crate::threads::{self, Background, ThreadError};

/// How a scaler is to run.
#[derive(Clone, Debug)]
pub struct ScalerOptions {
    /// Where KEDA calls.
    pub grpc_address: SocketAddr,
    /// Protection of that port.
    pub grpc_security: ServerSecurity,
    /// Where `/metrics`, the probes and `/v1` are served.
    pub http_address: SocketAddr,
    /// Protection of the HTTP port. The kubelet's probes show no certificate.
    pub http_security: ServerSecurity,
    /// Time between two evaluations, real time.
    pub period: Duration,
    /// Bounds of push streams.
    pub streams: StreamLimits,
    /// Where decisions by ScalingPolicies are logged.
    pub decisions: Arc<DecisionLog>,
    /// How the replicas of the scaler agree on these decisions; `None` where there is only one.
    pub agreement: Option<Agreement>,
}

/// How the replicas of the scaler agree: one of them leads, and writes what it decides.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// Which one leads, as it changes.
    pub leadership: watch::Receiver<Leadership>,
    /// What there is to write, after each evaluation.
    pub reports: watch::Sender<Arc<[PolicyReport]>>,
    /// How much was written, and how often that failed.
    pub stats: Arc<Stats>,
}

/// A scaler that is running.
#[derive(Debug)]
pub struct Scaler {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    snapshots: Snapshots,
    tasks: JoinSet<Result<(), ScalerError>>,
    shutdown: CancellationToken,
}

/// The scaler cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScalerError {
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// A thread cannot be had, or ended, which it never should.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// A part of the scaler panicked.
    #[error("a part of the scaler ended")]
    Ended(#[source] tokio::task::JoinError),
    /// Our own histogram is malformed.
    #[error(transparent)]
    Histogram(#[from] BoundsError),
}

/// Port of KEDA's contract.
pub const GRPC_PORT: u16 = 6000;

/// Port of `/metrics`, the probes and `/v1`.
pub const HTTP_PORT: u16 = 8080;

/// How long KEDA may keep a connection: grpc-go looks up new scaler replicas only when one ends.
/// Longer than any push stream lives, so that none is cut.
const CONNECTION_AGE: Duration = Duration::from_secs(600);

/// The longest request that KEDA can have a reason to send: 64 keys of bounded length.
const LARGEST_REQUEST: usize = 128 * 1024;

/// Names of threads, of which the kernel keeps 15 bytes.
const KEDA: &str = "keda";
const EVALUATION: &str = "evaluation";

/// Changes in the cluster are answered for at once, but not more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

impl ScalerOptions {
    /// The defaults, with both ports unprotected.
    #[must_use]
    pub fn plaintext() -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            grpc_address: any(GRPC_PORT),
            grpc_security: ServerSecurity::Plaintext,
            http_address: any(HTTP_PORT),
            http_security: ServerSecurity::Plaintext,
            period: crate::EVALUATION_PERIOD,
            streams: StreamLimits::default(),
            decisions: Arc::default(),
            agreement: None,
        }
    }
}

impl Scaler {
    /// Opens the ports and begins to answer, from `cluster`, `fleet` and `inquiries`, until `shutdown`.
    ///
    /// # Errors
    ///
    /// A port that cannot be had.
    pub async fn start(
        options: ScalerOptions,
        clock: Clock,
        cluster: Store,
        fleet: Fleet,
        inquiries: Inquiries,
        shutdown: CancellationToken,
    ) -> Result<Self, ScalerError> {
        let grpc = listen(options.grpc_address, &options.grpc_security).await?;
        let http = listen(options.http_address, &options.http_security).await?;
        let (grpc_address, http_address) = (grpc.local_addr(), http.local_addr());
        let (publisher, snapshots) = Snapshots::channel();
        let state = Arc::new(State {
            started_at: clock.now(),
            clock,
            cluster,
            fleet,
            inquiries: inquiries.stats(),
            snapshots: snapshots.clone(),
            calls: Arc::new(Calls::default()),
            decisions: options.decisions,
            agreement: options.agreement.clone(),
            evaluations: Counter::default(),
            panics: Counter::default(),
            evaluation_duration: Histogram::new(&[
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
            ])?,
        });

        let mut tasks = JoinSet::new();
        tasks.spawn(evaluate(
            Background::start(EVALUATION)?,
            Arc::clone(&state),
            Inquirer::new(inquiries),
            publisher,
            options.period,
            options.agreement,
            shutdown.clone(),
        ));

        let keda = KedaService::new(
            snapshots.clone(),
            Arc::clone(&state.calls),
            options.streams,
            shutdown.clone(),
        );
        let (reporter, health) = tonic_health::server::health_reporter();
        // Whoever asks at once is told that it is not ready, and not that there is no such service.
        reporter
            .set_not_serving::<ExternalScalerServer<KedaService>>()
            .await;
        tasks.spawn(report_health(Arc::clone(&state), reporter, shutdown.clone()));
        let router = grpc_server()
            .max_connection_age(CONNECTION_AGE)
            .add_service(health)
            .add_service(ExternalScalerServer::new(keda).max_decoding_message_size(LARGEST_REQUEST));
        let stop = shutdown.clone();
        // Apart from a thousand agents' snapshots: the kernel lets a thread that sleeps most of the time
        // run when a call comes, and no call queues behind work that is not KEDA's.
        tasks.spawn(async move {
            let serve = move || serve_grpc(grpc, router, stop.cancelled_owned());
            threads::alone(KEDA, serve).await?.map_err(ScalerError::Grpc)
        });
        let stop = shutdown.clone();
        tasks.spawn(async move {
            serve_http(http, http::router(state), stop.cancelled_owned()).await;
            Ok(())
        });
        Ok(Self {
            grpc_address,
            http_address,
            snapshots,
            tasks,
            shutdown,
        })
    }

    /// Where KEDA calls.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where `/metrics`, the probes and `/v1` are served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The answers, as they are made.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Waits until it was told to shut down and has, or until a part of it fails.
    ///
    /// # Errors
    ///
    /// What failed; the other parts are then stopped too.
    pub async fn finished(mut self) -> Result<(), ScalerError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(ScalerError::Ended).and_then(|ended| ended);
            self.shutdown.cancel();
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// Evaluates every period, and soon after each change in the cluster.
async fn evaluate(
    thread: Background,
    state: Arc<State>,
    mut inquirer: Inquirer,
    publisher: Publisher,
    period: Duration,
    agreement: Option<Agreement>,
    shutdown: CancellationToken,
) -> Result<(), ScalerError> {
    let mut evaluator = Evaluator::new(Arc::clone(&state.decisions));
    let mut changes = state.cluster.changes();
    let mut outdated = None;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = changes.changed() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        changes.borrow_and_update();
        let began = Instant::now();
        let sources = Arc::clone(&state);
        let leadership = agreement
            .as_ref()
            .map_or_else(alone, |agreement| agreement.leadership.borrow().clone());
        // Thousands of workloads take milliseconds, which no call of KEDA's shall wait for.
        let evaluated = thread.run(move || {
            // Nobody reads it any more: to free what it holds takes milliseconds too, and would
            // otherwise fall to whoever was the last to read it.
            drop(outdated);
            let (cluster, fleet) = (sources.cluster.snapshot(), sources.fleet.view());
            let now = sources.clock.now();
            let fleet = inquirer.stand_in(&fleet, now);
            let findings = inquirer.findings();
            let snapshot = evaluator.evaluate(
                now,
                &Sources {
                    cluster: &cluster,
                    fleet: &fleet,
                    findings: &findings,
                    leadership: &leadership,
                },
            );
            let reports = evaluator.policy_reports(&snapshot, &cluster);
            inquirer.ask(now, evaluator.take_wishes(), &sources.fleet, &fleet);
            (evaluator, inquirer, snapshot, reports)
        });
        let (snapshot, reports);
        let panics = state.panics.get();
        (evaluator, inquirer, snapshot, reports) = evaluated.await.ok_or(ThreadError::Ended(EVALUATION))?;
        outdated = Some(publisher.publish(snapshot));
        if let Some(agreement) = &agreement {
            agreement.reports.send_replace(reports);
        }
        state.evaluations.inc();
        state.panics.add(evaluator.panics().saturating_sub(panics));
        state.evaluation_duration.observe_duration(began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(LEAST_PAUSE.min(period)) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// How a scaler without an agreement decides.
fn alone() -> Leadership {
    Leadership::Alone {
        reason: "it is the only scaler, as far as it was told".into(),
    }
}

/// Keeps `grpc.health.v1` in step with `/readyz`.
async fn report_health(
    state: Arc<State>,
    reporter: tonic_health::server::HealthReporter,
    shutdown: CancellationToken,
) -> Result<(), ScalerError> {
    type Service = ExternalScalerServer<KedaService>;
    let mut snapshots = state.snapshots.clone();
    let mut was_ready = None;
    loop {
        let ready = state.ready().is_ok() && !shutdown.is_cancelled();
        if was_ready != Some(ready) {
            was_ready = Some(ready);
            let status = match ready {
                true => tonic_health::ServingStatus::Serving,
                false => tonic_health::ServingStatus::NotServing,
            };
            reporter.set_service_status("", status).await;
            match ready {
                true => reporter.set_serving::<Service>().await,
                false => reporter.set_not_serving::<Service>().await,
            }
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
        tokio::select! {
            alive = snapshots.changed() => if !alive { return Ok(()) },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
