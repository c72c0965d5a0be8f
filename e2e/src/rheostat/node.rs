//! What of a GPU node is not in the API: its driver, its kubelet's PodResources and its agent.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use nvidia_ml::{Curve, Fault, Scenario};
use rheostat_testkit::kubelet::{FakeKubelet, FakePod};
use tempfile::TempDir;

use super::scaler::program;
use crate::cluster::pods::PodName;
use crate::cluster::{Case, PATIENCE};
use crate::process::Daemon;

/// The port on which an agent streams; the DaemonSet calls it `grpc`.
const GRPC: u16 = 6001;

/// The port of an agent's `/metrics`.
const HTTP: u16 = 9401;

pub(crate) const MODEL: &str = "NVIDIA H100 80GB HBM3";
const RESOURCE: &str = "nvidia.com/gpu";

/// A GPU node: a fake driver, a fake kubelet, and a real agent that reads both.
pub(crate) struct GpuNode {
    name: String,
    gpus: Vec<Gpu>,
    /// The address of the agent's pod.
    address: IpAddr,
    kubelet: FakeKubelet,
    library: PathBuf,
    /// What the driver shows, and where it reads it.
    scenario: Scenario,
    scenario_file: PathBuf,
    agent: Option<Daemon>,
    logs: PathBuf,
    /// Where the kubelet's socket is: the path of a socket has room for 107 bytes, which the folder
    /// of a test's logs may exceed.
    _sockets: TempDir,
}

/// A GPU, and who has it.
#[derive(Debug)]
struct Gpu {
    uuid: String,
    holder: Option<PodName>,
    percent: f64,
    lost: bool,
}

impl GpuNode {
    /// Starts the parts of the node `name`; the agent has the address of its pod.
    pub(crate) async fn start(case: &Case, name: &str, gpus: usize, address: IpAddr) -> Result<Self> {
        let folder = case.folder.join(name);
        let gpus: Vec<Gpu> = (0..gpus).map(|index| Gpu::new(address, index)).collect();
        let scenario = scenario(name, &gpus);
        let library = nvidia_ml::install(&folder, &scenario).context("installing the fake driver")?;
        let sockets = tempfile::Builder::new()
            .prefix("rheostat-e2e-")
            .tempdir()
            .context("making a folder for the kubelet's socket")?;
        let socket = sockets.path().join("kubelet.sock");
        let kubelet =
            FakeKubelet::start(&socket).with_context(|| format!("listening at {}", socket.display()))?;
        kubelet.set_allocatable(RESOURCE, gpus.iter().map(|gpu| gpu.uuid.clone()));
        let mut node = Self {
            name: name.to_owned(),
            gpus,
            address,
            kubelet,
            library,
            scenario,
            scenario_file: folder.join("scenario.json"),
            agent: None,
            logs: case.folder.clone(),
            _sockets: sockets,
        };
        node.start_agent().await?;
        Ok(node)
    }

    /// Starts the agent and waits until it listens.
    pub(crate) async fn start_agent(&mut self) -> Result<()> {
        let grpc = self.grpc();
        let arguments = [
            "agent".to_owned(),
            format!("--node={}", self.name),
            format!("--grpc-listen={grpc}"),
            format!("--http-listen={}", SocketAddr::new(self.address, HTTP)),
            format!("--kubelet-socket={}", self.kubelet.socket().display()),
            format!("--nvml-library={}", self.library.display()),
            "--plaintext".to_owned(),
            "--http-plaintext".to_owned(),
        ];
        let name = format!("agent-{}", self.name);
        let mut agent = Daemon::start_as_pod(&name, &program()?, arguments, self.address, &self.logs).await?;
        agent.listens(grpc, PATIENCE).await?;
        self.agent = Some(agent);
        Ok(())
    }

    /// The address of the agent's pod, from which it scrapes too.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Where the agent streams.
    pub(crate) const fn grpc(&self) -> SocketAddr {
        SocketAddr::new(self.address, GRPC)
    }

    /// Ends the agent at once.
    pub(crate) async fn kill_agent(&mut self) -> Result<()> {
        match self.agent.take() {
            Some(agent) => agent.kill().await,
            None => Ok(()),
        }
    }

    /// The kubelet's PodResources.
    pub(crate) const fn kubelet(&self) -> &FakeKubelet {
        &self.kubelet
    }

    /// All GPUs fall off the bus, or are there again.
    pub(crate) fn set_lost(&mut self, lost: bool) -> Result<()> {
        self.gpus.iter_mut().for_each(|gpu| gpu.lost = lost);
        self.tell_driver()
    }

    /// The GPUs of the node that pods of a namespace hold.
    pub(crate) fn held_in(&self, namespace: &str) -> Vec<String> {
        let held = self.gpus.iter().filter(|gpu| {
            let holder = gpu.holder.as_ref();
            holder.is_some_and(|(known, _)| known == namespace)
        });
        held.map(|gpu| gpu.uuid.clone()).collect()
    }

    /// Where the agent's page is, and what it is to show: each GPU that a pod holds, with its
    /// utilisation in percent.
    pub(crate) fn shown(&self) -> (SocketAddr, Vec<(String, f64)>) {
        let held = self.gpus.iter().filter(|gpu| gpu.holder.is_some());
        let shown = held.map(|gpu| (gpu.uuid.clone(), gpu.percent)).collect();
        (SocketAddr::new(self.address, HTTP), shown)
    }

    /// The node's pods that hold GPUs.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &PodName> {
        self.gpus.iter().filter_map(|gpu| gpu.holder.as_ref())
    }

    /// Lets kubelet and driver follow the API: `pods` are those that are bound to this node,
    /// `percent` is how busy each of a pod's GPUs is.
    pub(crate) fn follow(
        &mut self,
        pods: &HashMap<PodName, &Pod>,
        percent: impl Fn(&PodName) -> f64,
    ) -> Result<()> {
        let mut changed = false;
        for gpu in &mut self.gpus {
            if gpu
                .holder
                .as_ref()
                .is_some_and(|holder| !pods.contains_key(holder))
            {
                gpu.holder = None;
                changed = true;
            }
        }
        for (name, pod) in pods {
            if self.holders().any(|holder| holder == name) {
                continue;
            }
            let wanted = gpus_of(pod);
            let free = self.gpus.iter_mut().filter(|gpu| gpu.holder.is_none());
            for gpu in free.take(wanted) {
                gpu.holder = Some(name.clone());
                changed = true;
            }
        }
        if changed {
            self.tell_kubelet();
        }
        for gpu in &mut self.gpus {
            gpu.percent = gpu.holder.as_ref().map_or(0.0, &percent);
        }
        self.tell_driver()
    }

    fn tell_driver(&mut self) -> Result<()> {
        let scenario = scenario(&self.name, &self.gpus);
        if scenario != self.scenario {
            scenario
                .write_to(&self.scenario_file)
                .context("writing the scenario of the fake driver")?;
            self.scenario = scenario;
        }
        Ok(())
    }

    fn tell_kubelet(&self) {
        let mut held: HashMap<&PodName, Vec<String>> = HashMap::new();
        for gpu in &self.gpus {
            if let Some(holder) = &gpu.holder {
                held.entry(holder).or_default().push(gpu.uuid.clone());
            }
        }
        self.kubelet
            .set_pods(held.into_iter().map(|((namespace, name), uuids)| {
                FakePod::new(namespace, name).holding("engine", RESOURCE, uuids)
            }));
    }
}

impl Gpu {
    /// GPU number `index` of the node whose agent has this address: both are in the UUID.
    fn new(address: IpAddr, index: usize) -> Self {
        let IpAddr::V4(address) = address else {
            return Self::named(format!("GPU-{index}"));
        };
        Self::named(format!(
            "GPU-{:08x}-0000-4000-8000-{index:012x}",
            u32::from(address)
        ))
    }

    const fn named(uuid: String) -> Self {
        Self {
            uuid,
            holder: None,
            percent: 0.0,
            lost: false,
        }
    }
}

/// What the driver is to show.
fn scenario(node: &str, gpus: &[Gpu]) -> Scenario {
    let mut scenario = Scenario::of(MODEL, gpus.len());
    node.clone_into(&mut scenario.node);
    for (index, (shown, gpu)) in scenario.gpus.iter_mut().zip(gpus).enumerate() {
        shown.uuid = Some(gpu.uuid.clone());
        shown.readings.utilization_percent = Some(Curve::Constant(gpu.percent));
        if gpu.lost {
            scenario.faults.push(Fault::lost(index));
        }
    }
    scenario
}

/// How many GPUs a pod asks for.
fn gpus_of(pod: &Pod) -> usize {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter_map(|container| {
            let limits = container.resources.as_ref()?.limits.as_ref()?;
            limits.get(RESOURCE)?.0.parse::<usize>().ok()
        })
        .sum()
}
