//! The real parts: agents on the fake driver, kubelets, engines' HTTP, the scaler; and the models of KEDA and the
//! HPA that ask it. Time is one clock for all of them, which moves only when the demo moves it.

mod autoscale;
mod cluster;
mod engines;
mod explain;
mod node;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rheostat_cluster::Store;
use rheostat_fleet::{AgentEndpoint, Fleet, FleetOptions, FleetView, SourceState};
use rheostat_reading::{Clock, ManualClock, Timestamp};
use rheostat_scaler::{Inquiries, Scaler, ScalerOptions, Snapshots};
use rheostat_transport::ClientSecurity;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use autoscale::Autoscale;
pub(crate) use autoscale::Change;
use cluster::ClusterStage;
#[cfg(test)]
pub(crate) use engines::Handed;
use engines::{EngineStage, Expected};
pub(crate) use engines::{Served, engine_model};
pub(crate) use explain::Sight;
use node::NodeStage;

use crate::pace::Pace;
use crate::story::Story;
use crate::world::World;

/// All real parts, running.
pub(crate) struct Stage {
    clock: Clock,
    hand: ManualClock,
    pace: Pace,
    nodes: Vec<NodeStage>,
    cluster: ClusterStage,
    engines: EngineStage,
    fleet: Fleet,
    snapshots: Snapshots,
    scaler: tokio::task::JoinHandle<Result<(), rheostat_scaler::ScalerError>>,
    autoscales: Vec<Autoscale>,
    shutdown: CancellationToken,
    _endpoints: watch::Sender<Vec<AgentEndpoint>>,
    _directory: TempDir,
}

/// The simulated day begins here, so that every run shows the same times: 2026-01-05 09:00 UTC.
const START: Timestamp = Timestamp::from_unix_nanos(1_767_603_600_000_000_000);

/// Real time that a part may take until it has something to say.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Real time between two looks at whether all parts have kept up.
const LOOK: Duration = Duration::from_millis(2);

/// The moment `second` seconds into the day.
pub(crate) fn moment(second: f64) -> Timestamp {
    START.plus(Duration::from_secs_f64(second.max(0.0)))
}

impl Stage {
    /// Starts every part, and waits until the scaler knows of every GPU.
    ///
    /// # Errors
    ///
    /// A part cannot start.
    pub(crate) async fn start(
        world: &mut World,
        story: &Story,
        pace: Pace,
        library: &Path,
    ) -> anyhow::Result<Self> {
        let (clock, hand) = Clock::manual(START);
        let directory = tempfile::Builder::new().prefix("rheostat-demo-").tempdir()?;
        let mut nodes = Vec::new();
        for (index, node) in world.nodes().iter().enumerate() {
            let place = directory.path().join(&node.name);
            nodes.push(NodeStage::start(world, index, &place, library, pace, &clock).await?);
        }
        let endpoints = nodes
            .iter()
            .zip(world.nodes())
            .map(|(stage, node)| AgentEndpoint {
                address: stage.address().to_string(),
                node: Some(node.name.clone()),
            });
        let (endpoints_sender, endpoints) = watch::channel(endpoints.collect());
        let options = FleetOptions::new(ClientSecurity::Plaintext);
        let fleet = Fleet::start(options, clock.clone(), endpoints);

        let (writer, store) = Store::new();
        let mut engines = EngineStage::new(clock.clone(), story.seed);
        engines.show(world).await?;
        let mut cluster = ClusterStage::new(writer, story);
        cluster.show(world, story, &engines);
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ScalerOptions {
            grpc_address: loopback,
            http_address: loopback,
            period: pace.period(),
            ..ScalerOptions::plaintext()
        };
        let shutdown = CancellationToken::new();
        let scaler = Scaler::start(
            options,
            clock.clone(),
            store,
            fleet.clone(),
            Inquiries::default(),
            shutdown.clone(),
        )
        .await?;
        let snapshots = scaler.snapshots().clone();
        let channel = Endpoint::from_shared(format!("http://{}", scaler.grpc_address()))?.connect_lazy();
        let autoscales = story.manifests.iter();
        let autoscales = autoscales
            .map(|manifest| Autoscale::new(manifest, channel.clone(), snapshots.clone(), clock.now()))
            .collect::<anyhow::Result<_>>()?;
        let stage = Self {
            clock,
            hand,
            pace,
            nodes,
            cluster,
            engines,
            fleet,
            snapshots,
            scaler: tokio::spawn(scaler.finished()),
            autoscales,
            shutdown,
            _endpoints: endpoints_sender,
            _directory: directory,
        };
        let world = &*world;
        stage
            .wait(|view| stage.all_known(view, world))
            .await
            .context("starting")?;
        Ok(stage)
    }

    /// Moves time to the world's, lets the engines take what has come, shows the world to the real
    /// parts, and waits until what they know
    /// is not older than it would be at this speed on a machine with nothing else to do. Time stands
    /// still meanwhile, so that a slow machine makes a slower day and not a wrong one.
    ///
    /// # Errors
    ///
    /// A part has died or does not keep up at all.
    pub(crate) async fn show(&mut self, world: &mut World, story: &Story) -> anyhow::Result<()> {
        self.hand.set(moment(world.now()));
        self.engines.show(world).await?;
        let world = &*world;
        for node in &mut self.nodes {
            node.show(world)?;
        }
        self.cluster.show(world, story, &self.engines);
        self.wait(|view| self.up_to_date(view, world)).await
    }

    /// The engine in `pod` hangs from now on.
    ///
    /// # Errors
    ///
    /// It has stopped.
    pub(crate) async fn hang(&mut self, pod: &str) -> anyhow::Result<()> {
        self.engines.hang(pod).await
    }

    /// The engine in `pod` is restarted.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub(crate) async fn restart(&mut self, pod: &str, world: &mut World) -> anyhow::Result<()> {
        self.engines.restart(pod, world).await
    }

    /// Lets KEDA and the HPA do what is due for workload number `index`.
    pub(crate) async fn autoscale(&mut self, index: usize, world: &World) -> Vec<Change> {
        self.autoscales[index]
            .step(self.clock.now(), &world.workloads()[index])
            .await
    }

    /// What became of the requests for engines so far.
    pub(crate) fn served(&self) -> [Served; 2] {
        self.engines.served()
    }

    /// What the scaler sees of workload number `index`.
    pub(crate) fn sight(&self, index: usize, story: &Story) -> Sight {
        let manifest = &story.manifests[index];
        let snapshot = self.snapshots.latest();
        let named = snapshot.named(manifest.namespace(), manifest.name());
        named.first().map(|state| Sight::of(state)).unwrap_or_default()
    }

    /// Utilisation of each GPU of each node as the scaler's fleet has it: what the agents read from
    /// the driver.
    pub(crate) fn readings(&self, world: &World) -> Vec<Vec<Option<f64>>> {
        let view = self.fleet.view();
        let of_node = |node: &crate::world::Node| {
            let known = view.node(&node.name);
            let read = |uuid: &str| {
                let device = known?.device(uuid)?;
                let reading = device
                    .readings
                    .get(rheostat_reading::Quantity::Utilization)
                    .ok()?;
                Some(reading.amount.value())
            };
            node.gpus.iter().map(|gpu| read(&gpu.uuid)).collect()
        };
        world.nodes().iter().map(of_node).collect()
    }

    /// Stops every part in order.
    ///
    /// # Errors
    ///
    /// A part failed.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.autoscales);
        self.shutdown.cancel();
        self.scaler.await??;
        for node in self.nodes {
            node.stop().await?;
        }
        Ok(())
    }

    /// Waits until `problem` says that there is none.
    async fn wait(&self, problem: impl Fn(&FleetView) -> Result<(), String>) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if self.scaler.is_finished() {
                bail!("the scaler has ended");
            }
            let Err(problem) = problem(&self.fleet.view()) else {
                return Ok(());
            };
            if began.elapsed() > LONGEST_WAIT {
                bail!("after {LONGEST_WAIT:?}: {problem}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the scaler has heard of every GPU.
    fn all_known(&self, view: &FleetView, world: &World) -> Result<(), String> {
        for node in world.nodes() {
            let name = &node.name;
            let known = view.node(name).ok_or_else(|| {
                let agents = view.agents().iter();
                let errors: Vec<_> = agents
                    .filter_map(|agent| Some(&agent.last_error.as_ref()?.1))
                    .collect();
                format!("the agent of {name} has not been heard of ({errors:?})")
            })?;
            for (what, source) in [("GPUs", &known.gpus), ("pods", &known.attribution)] {
                match source {
                    SourceState::Current => {}
                    SourceState::Stale { reason, .. } | SourceState::Unknown { reason } => {
                        return Err(format!("the agent of {name} does not know its {what}: {reason}"));
                    }
                }
            }
            if known.devices.len() != node.gpus.len() {
                return Err(format!("the agent of {name} knows {} GPUs", known.devices.len()));
            }
        }
        match self.snapshots.latest().taken_at {
            Some(_) => Ok(()),
            None => Err("the scaler has not evaluated anything".to_owned()),
        }
    }

    /// Whether nothing lags behind.
    fn up_to_date(&self, view: &FleetView, world: &World) -> Result<(), String> {
        let (now, patience) = (self.clock.now(), self.pace.patience());
        for node in world.nodes() {
            let known = view.node(&node.name);
            let age = known.map_or(Duration::MAX, |known| known.age(now));
            if age > patience {
                return Err(format!(
                    "the newest snapshot of {} is {age:?} old (simulated)",
                    node.name
                ));
            }
        }
        let evaluated = self
            .snapshots
            .latest()
            .taken_at
            .map_or(Duration::MAX, |at| now.since(at));
        if evaluated > patience {
            return Err(format!(
                "the scaler's last evaluation is {evaluated:?} old (simulated)"
            ));
        }
        self.engines_heard(view, world)
    }

    /// Whether the agents have lately heard each engine that does not hang.
    fn engines_heard(&self, view: &FleetView, world: &World) -> Result<(), String> {
        let (now, patience) = (self.clock.now(), self.pace.engine_patience());
        for Expected { node, address, since } in self.engines.expected(world) {
            let place = format!("@{address}#");
            let engines = view.node(&node).map_or(&[][..], |node| node.engines());
            let known = engines.iter().find(|engine| engine.target.0.contains(&place));
            let answered = known.and_then(|engine| engine.report.answered_at);
            let unheard = now.since(answered.map_or(since, |at| at.max(since)));
            if unheard > patience {
                let failure = known.and_then(|engine| engine.report.failure.clone());
                let failure = failure.unwrap_or_default();
                return Err(format!(
                    "the agent of {node} has not heard the engine at {address} for {unheard:?} (simulated) {failure}"
                ));
            }
        }
        Ok(())
    }
}
