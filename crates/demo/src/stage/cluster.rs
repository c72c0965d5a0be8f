use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rheostat_cluster::{Pod, PodPhase, StoreWriter, Workload};
use rheostat_reading::Timestamp;

use crate::stage::engines::EngineStage;
use crate::stage::moment;
use crate::story::{BATCH, Story};
use crate::world::{self, Stage, World};

/// Tells the scaler what the Kubernetes API would tell it.
pub(crate) struct ClusterStage {
    writer: StoreWriter,
    shown: Vec<Workload>,
}

impl ClusterStage {
    /// Fills the store behind `writer`, with the policy of `story`.
    pub(crate) fn new(mut writer: StoreWriter, story: &Story) -> Self {
        writer.apply_policy(story.policy.object().clone());
        Self {
            writer,
            shown: Vec::new(),
        }
    }

    /// Shows the workloads as the world has them, and where their `engines` are.
    pub(crate) fn show(&mut self, world: &World, story: &Story, engines: &EngineStage) {
        let workloads: Vec<Workload> = world
            .workloads()
            .iter()
            .enumerate()
            .map(|(index, workload)| {
                let mut annotations = BTreeMap::new();
                if let Some(demand) = story.batch_demand(world.now()).filter(|_| index == BATCH) {
                    annotations.insert(Story::annotation().to_owned(), demand.to_string());
                }
                let pods = workload
                    .pods()
                    .iter()
                    .map(|one| pod(world, workload.namespace(), one, engines.port(&one.name)))
                    .collect();
                story.manifests[index].workload(workload.replicas(), annotations, pods)
            })
            .collect();
        if workloads != self.shown {
            self.writer.apply_all(workloads.clone());
            self.shown = workloads;
        }
    }
}

/// The annotation of a pod that says where its engine is.
const ENGINE_PORT: &str = "rheostat.dev/engine-port";

fn pod(world: &World, namespace: &str, pod: &world::Pod, engine: Option<u16>) -> Pod {
    let ready_since = match pod.stage {
        Stage::Ready { since }
        | Stage::Broken {
            ready: true,
            ready_since: since,
            ..
        } => Some(moment(since)),
        _ => None,
    };
    Pod {
        namespace: namespace.to_owned(),
        name: pod.name.clone(),
        uid: format!("uid-{}", pod.name),
        node: pod.gpu.map(|gpu| world.nodes()[gpu.node].name.clone()),
        phase: match pod.stage {
            Stage::Pending | Stage::Starting { .. } => PodPhase::Pending,
            _ => PodPhase::Running,
        },
        ready: pod.is_ready(),
        terminating: pod.is_terminating(),
        created_at: moment(pod.created_at),
        scheduled_at: pod.gpu.map(|_| moment(pod.created_at)),
        started_at: ready_since,
        ready_since: ready_since.filter(|_: &Timestamp| pod.is_ready()),
        unready_since: None,
        gpus_requested: 1,
        resource_claims: 0,
        host_network: false,
        // All pods of the demo are on this machine; their engines differ by port.
        ip: engine.map(|_| IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports: Vec::new(),
        annotations: engine
            .map(|port| (ENGINE_PORT.to_owned(), port.to_string()))
            .into_iter()
            .collect(),
    }
}
