use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use rheostat_cluster::{
    HpaTolerances, MetricType, Pod, PodPhase, ScaleTarget, TriggerDefinition, TriggerKind, Workload,
    WorkloadId, WorkloadKind,
};
use rheostat_proto::keda::ScaledObjectRef;
use rheostat_reading::Timestamp;

/// How many workloads and nodes there are, and so who is where: the same in every process of the
/// benchmark. Each pod holds one GPU; a workload's pods lie on different nodes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// ScaledObjects.
    #[arg(long, default_value_t = 5000)]
    pub(crate) workloads: usize,
    /// Nodes, each with an agent and 8 GPUs.
    #[arg(long, default_value_t = 1000)]
    pub(crate) agents: usize,
}

/// Which pod holds a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) workload: usize,
    pub(crate) pod: usize,
}

/// GPUs of a node.
pub(crate) const GPUS_PER_NODE: usize = 8;

/// Replicas of ten workloads after one another, then again.
const REPLICAS: [usize; 10] = [1, 1, 2, 1, 1, 4, 1, 1, 3, 1];

/// Pods of ten workloads.
const PODS_OF_TEN: usize = 16;

/// Tenants, each with a namespace.
const NAMESPACES: usize = 50;

/// Signals and targets in use, by turns.
const TRIGGERS: [(&str, &str); 4] = [
    ("gpu.utilization", "80"),
    ("gpu.sm_active", "60"),
    ("gpu.memory_used_percent", "85"),
    ("gpu.power", "500"),
];

impl Layout {
    /// # Errors
    ///
    /// The pods hold more GPUs than the nodes have.
    pub(crate) fn check(&self) -> Result<()> {
        let (pods, gpus) = (self.pods(), self.agents * GPUS_PER_NODE);
        ensure!(self.workloads > 0, "--workloads: at least 1");
        ensure!(
            pods <= gpus,
            "{} workloads hold {pods} GPUs, but the agents have only {gpus}",
            self.workloads
        );
        Ok(())
    }

    /// As arguments of another process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Self { workloads, agents } = self;
        vec![format!("--workloads={workloads}"), format!("--agents={agents}")]
    }

    /// All pods, and so all GPUs that are held.
    pub(crate) fn pods(&self) -> usize {
        pods_before(self.workloads)
    }

    /// Who holds GPU `gpu` of node `node`.
    pub(crate) fn holder(&self, node: usize, gpu: usize) -> Option<Holder> {
        let number = gpu * self.agents + node;
        if number >= self.pods() {
            return None;
        }
        let mut workload = number / PODS_OF_TEN * REPLICAS.len();
        while pods_before(workload + 1) <= number {
            workload += 1;
        }
        Some(Holder {
            workload,
            pod: number - pods_before(workload),
        })
    }

    /// What the Kubernetes API would say of workload `number`.
    pub(crate) fn workload(&self, number: usize) -> Workload {
        let (namespace, name) = (namespace(number), name(number));
        let first = pods_before(number);
        let replicas = pods_before(number + 1) - first;
        let count = u32::try_from(replicas).unwrap_or(u32::MAX);
        let pods = (0..replicas).map(|pod| {
            let name = pod_name(Holder {
                workload: number,
                pod,
            });
            Arc::new(Pod {
                namespace: namespace.clone(),
                uid: format!("uid-of-{name}"),
                name,
                node: Some(node_name((first + pod) % self.agents)),
                phase: PodPhase::Running,
                ready: true,
                terminating: false,
                created_at: Timestamp::from_unix_nanos(1),
                scheduled_at: None,
                started_at: None,
                ready_since: Some(Timestamp::from_unix_nanos(2)),
                unready_since: None,
                gpus_requested: 1,
                resource_claims: 0,
                host_network: false,
                ip: None,
                ports: Vec::new(),
                annotations: BTreeMap::new(),
            })
        });
        Workload {
            id: WorkloadId {
                namespace: namespace.clone(),
                name: name.clone(),
                kind: WorkloadKind::ScaledObject,
            },
            uid: format!("uid-of-{namespace}-{name}"),
            generation: 1,
            triggers: vec![TriggerDefinition {
                index: 0,
                name: None,
                kind: TriggerKind::ExternalPush,
                metadata: metadata(number),
                metric_type: Ok(MetricType::AverageValue),
                use_cached_metrics: false,
            }],
            other_triggers: 0,
            min_replicas: 0,
            max_replicas: 100,
            idle_replicas: None,
            polling_interval: Duration::from_secs(30),
            cooldown_period: Duration::from_secs(300),
            paused: false,
            annotations: BTreeMap::new(),
            tolerances: HpaTolerances::default(),
            scale_down_stabilization: None,
            target: Ok(ScaleTarget {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                selector: format!("app={name}"),
                name,
                spec_replicas: count,
                status_replicas: count,
                stale: None,
            }),
            pods: pods.collect(),
        }
    }

    /// What KEDA sends for workload `number`.
    pub(crate) fn object(number: usize) -> ScaledObjectRef {
        ScaledObjectRef {
            name: name(number),
            namespace: namespace(number),
            scaler_metadata: metadata(number).into_iter().collect::<HashMap<_, _>>(),
        }
    }
}

/// The trigger's metadata of workload `number`.
pub(crate) fn metadata(number: usize) -> BTreeMap<String, String> {
    let (signal, target) = TRIGGERS[number % TRIGGERS.len()];
    let pairs = [
        ("scalerAddress", "dns:///rheostat-scaler.rheostat.svc:6000"),
        ("signal", signal),
        ("target", target),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Name of node `number`.
pub(crate) fn node_name(number: usize) -> String {
    format!("gpu-node-{number:04}.example.internal")
}

/// Name of a pod, as a Deployment gives it.
pub(crate) fn pod_name(holder: Holder) -> String {
    format!("{}-6d4cf56db6-{:05}", name(holder.workload), holder.pod)
}

/// Namespace of workload `number`.
pub(crate) fn namespace(number: usize) -> String {
    format!("team-{:02}", number % NAMESPACES)
}

fn name(number: usize) -> String {
    format!("model-{number:05}")
}

/// Pods of the workloads before `number`.
fn pods_before(number: usize) -> usize {
    number / REPLICAS.len() * PODS_OF_TEN + REPLICAS[..number % REPLICAS.len()].iter().sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_every_gpu_once() {
        let layout = Layout {
            workloads: 5000,
            agents: 1000,
        };
        layout.check().unwrap();
        assert_eq!(layout.pods(), 8000);
        assert!(
            Layout {
                agents: 999,
                ..layout
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn pods_are_on_the_nodes_that_say_so() {
        let layout = Layout {
            workloads: 37,
            agents: 10,
        };
        let mut held = 0;
        for node in 0..layout.agents {
            for holder in (0..GPUS_PER_NODE).filter_map(|gpu| layout.holder(node, gpu)) {
                let workload = layout.workload(holder.workload);
                assert_eq!(workload.pods[holder.pod].name, pod_name(holder));
                assert_eq!(
                    workload.pods[holder.pod].node.as_deref(),
                    Some(node_name(node).as_str())
                );
                held += 1;
            }
        }
        assert_eq!(held, layout.pods());
    }
}
