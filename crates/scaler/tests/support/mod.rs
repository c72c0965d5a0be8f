//! A cluster and a fleet filled by hand, and a scaler that answers from them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{
    HpaTolerances, MetricType, Pod, PodPhase, ScaleTarget, TriggerDefinition, TriggerKind, Workload,
    WorkloadId, WorkloadKind,
};
use rheostat_proto::agent;
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_proto::keda::{GetMetricsRequest, ScaledObjectRef};
use rheostat_reading::Timestamp;
use rheostat_scaler::ScalerOptions;
use tonic::transport::Channel;

/// Trigger metadata.
pub fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A Deployment with one trigger, all its pods ready on `node-1`, named `<name>-0` and so on.
pub fn workload(namespace: &str, name: &str, ready: u32, trigger: &[(&str, &str)]) -> Workload {
    Workload {
        id: WorkloadId {
            namespace: namespace.into(),
            name: name.into(),
            kind: WorkloadKind::ScaledObject,
        },
        uid: format!("uid-{namespace}-{name}"),
        generation: 1,
        triggers: vec![TriggerDefinition {
            index: 0,
            name: None,
            kind: TriggerKind::ExternalPush,
            metadata: metadata(trigger),
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
            name: name.into(),
            spec_replicas: ready,
            status_replicas: ready,
            selector: format!("app={name}"),
            stale: None,
        }),
        pods: (0..ready)
            .map(|index| Arc::new(pod(namespace, &format!("{name}-{index}"), Some("node-1"), true)))
            .collect(),
    }
}

/// A pod.
pub fn pod(namespace: &str, name: &str, node: Option<&str>, ready: bool) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node: node.map(str::to_owned),
        phase: if node.is_some() {
            PodPhase::Running
        } else {
            PodPhase::Pending
        },
        ready,
        terminating: false,
        created_at: Timestamp::from_unix_nanos(1),
        scheduled_at: node.map(|_| Timestamp::from_unix_nanos(1)),
        started_at: node.map(|_| Timestamp::from_unix_nanos(1)),
        ready_since: ready.then_some(Timestamp::from_unix_nanos(2)),
        unready_since: (!ready).then_some(Timestamp::from_unix_nanos(1)),
        gpus_requested: 1,
        resource_claims: 0,
        host_network: false,
        ip: None,
        ports: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// A node's snapshot: `held` says who holds which GPU at which utilisation.
pub fn snapshot(node: &str, held: &[(&str, &str, f64)]) -> agent::Snapshot {
    let current = agent::Source {
        state: agent::source::State::Current.into(),
        age_millis: 0,
        reason: String::new(),
    };
    agent::Snapshot {
        node: node.into(),
        version: "test".into(),
        sequence: 1,
        sent_at_unix_nanos: 0,
        gpus: Some(current.clone()),
        attribution: Some(current),
        devices: held
            .iter()
            .enumerate()
            .map(|(index, (_, _, utilization))| device(node, index, reading(*utilization)))
            .collect(),
        claims: held
            .iter()
            .enumerate()
            .map(|(index, (namespace, pod, _))| agent::Claim {
                namespace: (*namespace).into(),
                pod: (*pod).into(),
                container: "main".into(),
                resource: "nvidia.com/gpu".into(),
                kubelet_id: format!("GPU-{node}-{index}"),
                device: format!("GPU-{node}-{index}"),
                unresolved: String::new(),
                sharing: agent::Sharing::Exclusive.into(),
                share: Vec::new(),
            })
            .collect(),
        ..Default::default()
    }
}

/// One device with one reading.
pub fn device(node: &str, index: usize, reading: agent::Reading) -> agent::Device {
    agent::Device {
        id: format!("GPU-{node}-{index}"),
        index: u32::try_from(index).unwrap(),
        model: "NVIDIA H100 80GB HBM3".into(),
        readings: vec![reading],
        ..Default::default()
    }
}

/// A utilisation, fresh and measured.
pub fn reading(utilization: f64) -> agent::Reading {
    agent::Reading {
        quantity: agent::Quantity::Utilization.into(),
        value: utilization,
        ..Default::default()
    }
}

/// A utilisation that could not be read.
pub fn absent(reason: agent::Absent) -> agent::Reading {
    agent::Reading {
        quantity: agent::Quantity::Utilization.into(),
        absent: reason.into(),
        ..Default::default()
    }
}

/// Options on free loopback ports.
pub fn options() -> ScalerOptions {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    ScalerOptions {
        grpc_address: loopback,
        http_address: loopback,
        ..ScalerOptions::plaintext()
    }
}

/// A caller as KEDA is one.
pub async fn keda(address: SocketAddr) -> ExternalScalerClient<Channel> {
    let options = rheostat_transport::ConnectOptions::default();
    let security = rheostat_transport::ClientSecurity::Plaintext;
    ExternalScalerClient::new(rheostat_transport::connect(&address.to_string(), &security, options).unwrap())
}

/// What KEDA sends for a trigger of `namespace/name`.
pub fn object(namespace: &str, name: &str, trigger: &[(&str, &str)]) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.into(),
        namespace: namespace.into(),
        scaler_metadata: metadata(trigger).into_iter().collect::<HashMap<_, _>>(),
    }
}

/// `GetMetrics` for `object`'s metric.
pub fn metrics(object: &ScaledObjectRef, metric: &str) -> GetMetricsRequest {
    GetMetricsRequest {
        scaled_object_ref: Some(object.clone()),
        metric_name: metric.into(),
    }
}

/// Asks until `accept` takes the outcome; generous, and says what it saw last.
pub async fn eventually<T: std::fmt::Debug, F: Future<Output = T>>(
    mut ask: impl FnMut() -> F,
    accept: impl Fn(&T) -> bool,
) -> T {
    let mut last = None;
    for _ in 0..600 {
        let outcome = ask().await;
        if accept(&outcome) {
            return outcome;
        }
        last = Some(outcome);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came; last seen: {last:?}");
}
