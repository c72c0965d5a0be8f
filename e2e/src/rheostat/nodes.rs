//! All GPU nodes of a test, kept in step with the API.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::reflector::Store;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::load::{Load, Loads};
use super::node::GpuNode;
use super::scaler::Agents;
use crate::cluster::pods::{PodName, is_ready, pod_name, watched, workload};
use crate::cluster::{Case, PATIENCE};
use crate::fetch::fetch;
use crate::wait::{Seen, eventually};

/// How long kubelets and drivers may be behind the API.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a pod's address must have stayed the same.
const LASTING: Duration = Duration::from_secs(2);

/// The GPU nodes of a test: each with a fake driver, a fake kubelet and a real agent.
///
/// The agents are a DaemonSet behind a headless Service, as in production. The pods that are bound
/// to a node hold GPUs of it, which are as busy as their workload's load says.
pub(crate) struct GpuNodes {
    case: Case,
    state: Rc<RefCell<State>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, GpuNode>,
    loads: Loads,
    /// Why the fakes are no longer in step.
    failure: Option<anyhow::Error>,
}

impl GpuNodes {
    /// Adds `count` nodes with `gpus` GPUs each and starts what belongs to them.
    pub(crate) async fn start(case: &Case, count: usize, gpus: u32) -> Result<Self> {
        case.apply(include_str!("../../../deploy/rbac.yaml"))
            .await
            .context("applying deploy/rbac.yaml")?;
        case.apply(include_str!("agents.yaml"))
            .await
            .context("applying the agents' DaemonSet and Service")?;
        let (pods, watching) = watched(Api::all(case.client()));
        let state = Rc::<RefCell<State>>::default();
        let nodes = Self {
            case: case.clone(),
            tasks: [
                watching,
                tokio::task::spawn_local(follow(Rc::clone(&state), pods)),
            ],
            state,
        };
        for _ in 0..count {
            nodes.add(gpus).await?;
        }
        Ok(nodes)
    }

    /// Adds a node with `gpus` GPUs, waits for its agent's pod, starts its agent; returns its name.
    pub(crate) async fn add(&self, gpus: u32) -> Result<String> {
        let name = format!("{}-{}", self.case.namespace, self.state.borrow().nodes.len());
        self.case.gpu_node(&name, gpus).await?;
        let address = self.agent_address(&name).await?;
        let count = usize::try_from(gpus).context("so many GPUs")?;
        let node = GpuNode::start(&self.case, &name, count, address).await?;
        self.state.borrow_mut().nodes.insert(name.clone(), node);
        Ok(name)
    }

    /// The agents by the name of their Service.
    pub(crate) fn service(&self) -> Agents {
        Agents::Service(self.service_name())
    }

    /// The agents of now, by their addresses.
    pub(crate) fn addresses(&self) -> Agents {
        let state = self.state.borrow();
        Agents::At(state.nodes.values().map(GpuNode::grpc).collect())
    }

    /// The addresses of the agents' pods.
    pub(crate) fn agents(&self) -> Vec<IpAddr> {
        let state = self.state.borrow();
        state.nodes.values().map(GpuNode::address).collect()
    }

    /// Sets the load of a Deployment of a namespace.
    pub(crate) fn load(&self, case: &Case, deployment: &str, load: Load) {
        let mut state = self.state.borrow_mut();
        state.loads.set(&case.namespace, deployment, load);
    }

    /// Ends all agents at once, as a bad rollout does. Their pods stay.
    pub(crate) async fn kill_agents(&self) -> Result<()> {
        self.each(async |node| node.kill_agent().await).await
    }

    /// Starts all agents again.
    pub(crate) async fn start_agents(&self) -> Result<()> {
        self.each(async |node| node.start_agent().await).await
    }

    /// All kubelets go down.
    pub(crate) async fn stop_kubelets(&self) -> Result<()> {
        self.each(async |node| {
            node.kubelet().stop().await;
            Ok(())
        })
        .await
    }

    /// All kubelets come up again.
    pub(crate) async fn start_kubelets(&self) -> Result<()> {
        self.each(async |node| node.kubelet().restart().await.context("starting a kubelet"))
            .await
    }

    /// All GPUs fall off the bus.
    pub(crate) async fn lose_gpus(&self) -> Result<()> {
        self.each(async |node| node.set_lost(true)).await
    }

    /// All GPUs are there again.
    pub(crate) async fn find_gpus(&self) -> Result<()> {
        self.each(async |node| node.set_lost(false)).await
    }

    /// Closes the node to new pods and evicts those that hold its GPUs, as `kubectl drain` does.
    pub(crate) async fn drain(&self, node: &str) -> Result<()> {
        self.set_schedulable(node, false).await?;
        let holders: Vec<PodName> = {
            let state = self.state.borrow();
            let known = state
                .nodes
                .get(node)
                .with_context(|| format!("there is no node {node}"))?;
            known.holders().cloned().collect()
        };
        for (namespace, name) in holders {
            let pods: Api<Pod> = Api::namespaced(self.case.client(), &namespace);
            pods.delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("deleting the pod {namespace}/{name}"))?;
        }
        Ok(())
    }

    /// Opens or closes a node to new pods.
    pub(crate) async fn set_schedulable(&self, node: &str, schedulable: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": !schedulable}});
        let nodes: Api<Node> = Api::all(self.case.client());
        nodes
            .patch(node, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .with_context(|| format!("changing the node {node}"))?;
        Ok(())
    }

    /// The GPUs that the pods of a namespace hold, by the name of their node.
    pub(crate) fn held(&self, case: &Case) -> BTreeMap<String, Vec<String>> {
        let state = self.state.borrow();
        let nodes = state.nodes.iter();
        nodes
            .map(|(name, node)| (name.clone(), node.held_in(&case.namespace)))
            .collect()
    }

    /// Waits until each agent has read from its driver what its GPUs show now.
    pub(crate) async fn are_shown(&self) -> Result<()> {
        eventually("the agents to read what the drivers show", PATIENCE, async || {
            let nodes: Vec<(SocketAddr, Vec<(String, f64)>)> = {
                let state = self.state.borrow();
                state.nodes.values().map(GpuNode::shown).collect()
            };
            for (address, gpus) in nodes {
                let (_, page) = fetch(address, "/metrics").await?;
                if let Some((uuid, percent)) =
                    gpus.iter().find(|(uuid, percent)| !shows(&page, uuid, *percent))
                {
                    return Ok(Seen::NotYet(format!(
                        "{address} does not show {uuid} at {percent} %"
                    )));
                }
            }
            Ok(Seen::Yes(()))
        })
        .await
    }

    /// Fails where the fakes could not follow the API.
    pub(crate) fn are_in_step(&self) -> Result<()> {
        match self.state.borrow_mut().failure.take() {
            Some(error) => Err(error).context("the fake nodes no longer follow the API"),
            None => Ok(()),
        }
    }

    /// Does something to each node. The node is away from the others meanwhile, so that those
    /// that follow the API need not wait.
    async fn each(&self, work: impl AsyncFn(&mut GpuNode) -> Result<()>) -> Result<()> {
        let names: Vec<String> = self.state.borrow().nodes.keys().cloned().collect();
        for name in names {
            let Some(mut node) = self.state.borrow_mut().nodes.remove(&name) else {
                continue;
            };
            let outcome = work(&mut node).await;
            self.state.borrow_mut().nodes.insert(name.clone(), node);
            outcome.with_context(|| format!("on the node {name}"))?;
        }
        Ok(())
    }

    /// The address of the agent's pod on a node, which the kubelet (here KWOK) gives it. KWOK gives
    /// another one where it sees two changes of a new pod at once, so it must have lasted.
    async fn agent_address(&self, node: &str) -> Result<IpAddr> {
        let what = format!("the agent's pod on {node} to have a lasting address");
        let pods: Api<Pod> = Api::namespaced(self.case.client(), "rheostat");
        let own = ListParams::default()
            .labels(&format!("app={}", self.service_name()))
            .fields(&format!("spec.nodeName={node}"));
        let mut known: Option<(IpAddr, Instant)> = None;
        eventually(&what, PATIENCE, async || {
            let found = pods.list(&own).await.context("listing the agents' pods")?.items;
            let address = found.iter().find_map(|pod| {
                let address = pod.status.as_ref()?.pod_ip.as_ref()?;
                address.parse().ok().filter(|_| is_ready(pod))
            });
            known = address.map(|address| match known {
                Some((before, since)) if before == address => (before, since),
                _ => (address, Instant::now()),
            });
            Ok(match known {
                Some((address, since)) if since.elapsed() >= LASTING => Seen::Yes(address),
                _ => Seen::NotYet(format!("{} pods, at {known:?}", found.len())),
            })
        })
        .await
    }

    fn service_name(&self) -> String {
        format!("agents-{}", self.case.namespace)
    }
}

impl Drop for GpuNodes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Keeps kubelets and drivers in step with the pods of the API and with the loads.
async fn follow(state: Rc<RefCell<State>>, pods: Store<Pod>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut state = state.borrow_mut();
        if let Err(error) = state.follow(&pods.state()) {
            state.failure = Some(error);
        }
    }
}

impl State {
    fn follow(&mut self, pods: &[std::sync::Arc<Pod>]) -> Result<()> {
        let Self { nodes, loads, .. } = self;
        let mut ready: HashMap<(String, String), usize> = HashMap::new();
        for pod in pods.iter().filter(|pod| is_ready(pod)) {
            *ready.entry(workload(pod)).or_default() += 1;
        }
        for (name, node) in nodes {
            let bound: HashMap<PodName, &Pod> = pods
                .iter()
                .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(name))
                .map(|pod| (pod_name(pod), &**pod))
                .collect();
            node.follow(&bound, |holder| {
                let serving = bound.get(holder).filter(|pod| is_ready(pod));
                serving.map_or(0.0, |pod| {
                    let (namespace, app) = workload(pod);
                    let ready = ready.get(&(namespace.clone(), app.clone()));
                    loads.of(&namespace, &app, ready.copied().unwrap_or_default())
                })
            })?;
        }
        Ok(())
    }
}

/// Whether an agent's `/metrics` shows that a pod holds this GPU, and how busy it is.
fn shows(page: &str, uuid: &str, percent: f64) -> bool {
    page.lines()
        .filter(|line| line.starts_with("rheostat_gpu_utilization_ratio{attribution=\"exclusive\""))
        .filter(|line| line.contains(uuid))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        // The driver gives whole percents.
        .any(|ratio| (ratio * 100.0 - percent).abs() <= 0.5)
}
