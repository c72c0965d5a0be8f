use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nvidia_ml::{Curve, ErrorCode, Fault, Scenario};
use rheostat_agent::{Agent, AgentOptions, EngineOptions, GpuSource, PodResourcesOptions};
use rheostat_gpu::{Sampler, SamplerOptions};
use rheostat_reading::Clock;
use rheostat_testkit::kubelet::{FakeKubelet, FakePod};

use crate::pace::Pace;
use crate::world::{GpuIndex, Pod, Stage, World};

/// A node's real parts: an agent with its own copy of the fake driver, and a kubelet for it to ask.
pub(crate) struct NodeStage {
    index: usize,
    scenario_path: PathBuf,
    scenario: Scenario,
    kubelet: FakeKubelet,
    pods: Vec<(String, String, String)>,
    agent: Agent,
    sampler: Arc<Sampler>,
}

const MODEL: &str = "NVIDIA H100 80GB HBM3";
const RESOURCE: &str = "nvidia.com/gpu";

/// Memory of a pod that serves: weights and KV cache as vLLM reserves them.
const MEMORY_SERVING: f64 = 72.0e9;
/// Memory of a pod that has read part of its weights.
const MEMORY_STARTING: f64 = 18.0e9;

/// Real time after which a kubelet that does not answer is given up.
const KUBELET_TIMEOUT: Duration = Duration::from_secs(5);

impl NodeStage {
    /// Starts the parts of node number `index` in `directory`.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or a port or thread cannot be had.
    pub(crate) async fn start(
        world: &World,
        index: usize,
        directory: &Path,
        library: &Path,
        pace: Pace,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let node = &world.nodes()[index];
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let copy = directory.join("libnvidia-ml.so.1");
        // A copy has a state of its own; the same file would be loaded only once.
        std::fs::copy(library, &copy)
            .with_context(|| format!("{} to {}", library.display(), copy.display()))?;
        let scenario_path = directory.join("scenario.json");
        let scenario = scenario(world, index);
        scenario.write_to(&scenario_path)?;

        let socket = directory.join("kubelet.sock");
        let kubelet = FakeKubelet::start(&socket).with_context(|| socket.display().to_string())?;
        kubelet.set_allocatable(RESOURCE, node.gpus.iter().map(|gpu| gpu.uuid.clone()));

        let gpus = SamplerOptions {
            library: Some(copy),
            fast_period: pace.simulated_period(),
            slow_period: pace.simulated_period() * 10,
            speed: pace.speed(),
            ..SamplerOptions::default()
        };
        let sampler = Arc::new(Sampler::start(gpus, clock.clone())?);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = AgentOptions {
            grpc_address: loopback,
            http_address: loopback,
            period: pace.period(),
            kubelet: PodResourcesOptions {
                socket,
                period: pace.period(),
                timeout: KUBELET_TIMEOUT,
                settling: Duration::ZERO,
            },
            stale_after: pace.patience(),
            engines: Some(EngineOptions {
                allow_loopback: true,
                speed: pace.scrape_speed(),
                ..EngineOptions::default()
            }),
            ..AgentOptions::plaintext(&node.name)
        };
        let source = Arc::clone(&sampler);
        let agent = Agent::start(options, GpuSource::new(move || source.latest()), clock.clone()).await?;
        let pods = Vec::new();
        let mut stage = Self {
            index,
            scenario_path,
            scenario,
            kubelet,
            pods,
            agent,
            sampler,
        };
        stage.show(world)?;
        Ok(stage)
    }

    /// Where the agent streams.
    pub(crate) fn address(&self) -> SocketAddr {
        self.agent.grpc_address()
    }

    /// Lets the driver and the kubelet show the node as the world has it.
    ///
    /// # Errors
    ///
    /// The scenario cannot be written.
    pub(crate) fn show(&mut self, world: &World) -> anyhow::Result<()> {
        let scenario = scenario(world, self.index);
        if scenario != self.scenario {
            scenario.write_to(&self.scenario_path)?;
            self.scenario = scenario;
        }
        let pods = pods(world, self.index);
        if pods != self.pods {
            self.kubelet.set_pods(pods.iter().map(|(namespace, name, uuid)| {
                FakePod::new(namespace, name).holding("server", RESOURCE, [uuid.clone()])
            }));
            self.pods = pods;
        }
        Ok(())
    }

    /// Stops the agent in order.
    ///
    /// # Errors
    ///
    /// A part of it failed.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.agent.stop().await?;
        self.kubelet.stop().await;
        // Its threads are joined, which may take a moment.
        tokio::task::spawn_blocking(move || drop(self.sampler)).await?;
        Ok(())
    }
}

/// What the driver of node `index` shows.
fn scenario(world: &World, index: usize) -> Scenario {
    let node = &world.nodes()[index];
    let mut scenario = Scenario::of(MODEL, node.gpus.len());
    scenario.node.clone_from(&node.name);
    // The driver's own samples cover a sixth of a real second each, in which here many simulated
    // ones go by; without them, readers take the utilisation of this moment.
    scenario
        .faults
        .push(Fault::error("nvmlDeviceGetSamples", ErrorCode::NotSupported));
    for (gpu, shown) in scenario.gpus.iter_mut().enumerate() {
        let place = GpuIndex { node: index, gpu };
        shown.uuid = Some(node.gpus[gpu].uuid.clone());
        let (utilization, memory) = match world.holder(place) {
            Some((
                _,
                pod @ Pod {
                    stage: Stage::Starting { .. },
                    ..
                },
            )) => (pod.utilization, MEMORY_STARTING),
            Some((_, pod)) => (pod.utilization, MEMORY_SERVING),
            None => (0.0, 0.0),
        };
        shown.readings.utilization_percent = Some(Curve::Constant((utilization * 100.0).round()));
        shown.readings.memory_used_bytes = Some(Curve::Constant(memory));
        if node.gpus[gpu].lost {
            scenario.faults.push(Fault::lost(gpu));
        }
    }
    scenario
}

/// The pods of node `index`: namespace, name and GPU.
fn pods(world: &World, index: usize) -> Vec<(String, String, String)> {
    let node = &world.nodes()[index];
    let held = node
        .gpus
        .iter()
        .filter_map(|gpu| Some((gpu, gpu.holder.as_ref()?)));
    held.map(|(gpu, (workload, pod))| {
        (
            world.workloads()[*workload].namespace().to_owned(),
            pod.clone(),
            gpu.uuid.clone(),
        )
    })
    .collect()
}
