//! The parts of Kubernetes objects that are read. Everything else is skipped while the JSON is
//! parsed and takes no memory: managed fields, container statuses, templates.

use std::collections::BTreeMap;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::model::{ContainerPort, Pod, PodPhase};
use crate::quantity;
use crate::selector::{LabelSelector, Labels};

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) generation: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) creation_timestamp: Option<String>,
    pub(crate) deletion_timestamp: Option<String>,
}

/// An object that can be listed and watched.
pub(crate) trait Object {
    fn meta(&self) -> &Meta;
}

macro_rules! objects {
    ($($name:ident)*) => {$(
        impl Object for $name {
            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    )*};
}

objects!(KedaObject PolicyObject ReplicatedObject JobObject KueueWorkloadObject NamedObject PodObject EndpointSliceObject);

/// A ScaledObject or ScaledJob. Its spec is read field by field (`definition`), so that one that
/// nobody can read does not spoil the list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KedaObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: serde_json::Value,
}

/// A ScalingPolicy.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolicyObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: serde_json::Value,
    #[serde(default)]
    pub(crate) status: serde_json::Value,
}

/// A Deployment, StatefulSet or ReplicaSet.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReplicatedObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: ReplicatedSpec,
    #[serde(default)]
    pub(crate) status: ReplicatedStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ReplicatedSpec {
    /// Kubernetes' default is 1.
    pub(crate) replicas: Option<u32>,
    pub(crate) selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ReplicatedStatus {
    pub(crate) replicas: Option<u32>,
}

/// A Job.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JobObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) status: JobStatus,
}

/// A pod template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateObject {
    #[serde(deserialize_with = "null_as_default")]
    spec: PodSpec,
}

/// An object of which only its being there matters.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamedObject {
    pub(crate) metadata: Meta,
}

/// A Workload of Kueue: a job of any kind, as its queue sees it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KueueWorkloadObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: KueueWorkloadSpec,
    #[serde(default)]
    status: JobStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KueueWorkloadSpec {
    pub(crate) queue_name: String,
    /// Whether it may be admitted; Kueue's default is true.
    active: Option<bool>,
    #[serde(deserialize_with = "null_as_default")]
    pod_sets: Vec<PodSetObject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodSetObject {
    count: u32,
    #[serde(deserialize_with = "null_as_default")]
    template: TemplateObject,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobStatus {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) conditions: Vec<ConditionObject>,
}

/// A condition of a status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConditionObject {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) last_transition_time: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PodObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: PodSpec,
    #[serde(default)]
    pub(crate) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    node_name: Option<String>,
    host_network: bool,
    #[serde(deserialize_with = "null_as_default")]
    containers: Vec<ContainerObject>,
    #[serde(deserialize_with = "null_as_default")]
    init_containers: Vec<ContainerObject>,
    #[serde(deserialize_with = "null_as_default")]
    resource_claims: Vec<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerObject {
    restart_policy: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    resources: ResourcesObject,
    #[serde(deserialize_with = "null_as_default")]
    ports: Vec<ContainerPortObject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPortObject {
    name: Option<String>,
    container_port: u16,
    /// Kubernetes' default is TCP.
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ResourcesObject {
    #[serde(deserialize_with = "quantities")]
    limits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    conditions: Vec<ConditionObject>,
    #[serde(deserialize_with = "null_as_default")]
    container_statuses: Vec<ContainerStatusObject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatusObject {
    #[serde(deserialize_with = "null_as_default")]
    state: ContainerStateObject,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStateObject {
    running: Option<RunningObject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RunningObject {
    started_at: Option<String>,
}

/// What the scale subresource answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ScaleObject {
    #[serde(default)]
    pub(crate) spec: ScaleSpec,
    #[serde(default)]
    pub(crate) status: ScaleStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ScaleSpec {
    /// Left out by the API where it is 0.
    pub(crate) replicas: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ScaleStatus {
    pub(crate) replicas: Option<u32>,
    pub(crate) selector: Option<String>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointSliceObject {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) address_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) endpoints: Vec<EndpointObject>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) ports: Vec<PortObject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EndpointObject {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) addresses: Vec<String>,
    pub(crate) node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PortObject {
    pub(crate) name: Option<String>,
    pub(crate) port: Option<u16>,
}

impl JobObject {
    /// Whether it is over, well or not.
    pub(crate) fn finished(&self) -> bool {
        self.status.conditions.iter().any(|condition| {
            matches!(condition.kind.as_str(), "Complete" | "Failed") && condition.status == "True"
        })
    }
}

impl KueueWorkloadObject {
    /// Whether it waits in its queue: active, without quota, not over.
    pub(crate) fn waits(&self) -> bool {
        let holds = |kind: &str| {
            let mut conditions = self.status.conditions.iter();
            conditions.any(|condition| condition.kind == kind && condition.status == "True")
        };
        self.spec.active.unwrap_or(true)
            && self.metadata.deletion_timestamp.is_none()
            && !holds("QuotaReserved")
            && !holds("Admitted")
            && !holds("Finished")
    }

    /// GPUs of all its pods; `None` where a number of GPUs cannot be read: that is not none.
    pub(crate) fn gpus(&self) -> Option<u32> {
        let sets = &self.spec.pod_sets;
        let of_set = |set: &PodSetObject| set.template.spec.gpus().saturating_mul(set.count);
        sets.iter()
            .all(|set| set.template.spec.gpus_are_read())
            .then(|| sets.iter().map(of_set).fold(0, u32::saturating_add))
    }
}

impl PodObject {
    /// The pod as the model has it, and its labels.
    pub(crate) fn into_pod(self) -> (Pod, Labels) {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let ready = status.condition("Ready");
        let is_ready = ready.is_some_and(|condition| condition.status == "True");
        let since = ready.and_then(ConditionObject::since);
        let mut annotations = metadata.annotations;
        annotations.retain(|key, _| key.starts_with("prometheus.io/") || key.starts_with("rheostat.dev/"));
        let pod = Pod {
            ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            ports: spec.tcp_ports(),
            host_network: spec.host_network,
            annotations,
            gpus_requested: spec.gpus(),
            resource_claims: u32::try_from(spec.resource_claims.len()).unwrap_or(u32::MAX),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            node: spec.node_name.filter(|node| !node.is_empty()),
            phase: match status.phase.as_str() {
                "Pending" | "" => PodPhase::Pending,
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                _ => PodPhase::Unknown,
            },
            ready: is_ready,
            terminating: metadata.deletion_timestamp.is_some(),
            created_at: metadata
                .creation_timestamp
                .as_deref()
                .and_then(timestamp)
                .unwrap_or_default(),
            scheduled_at: status
                .condition("PodScheduled")
                .filter(|condition| condition.status == "True")
                .and_then(ConditionObject::since),
            started_at: status.started_at(),
            ready_since: since.filter(|_| is_ready),
            unready_since: since.filter(|_| !is_ready),
        };
        (pod, metadata.labels)
    }
}

impl ConditionObject {
    fn since(&self) -> Option<Timestamp> {
        timestamp(self.last_transition_time.as_deref()?)
    }
}

impl PodStatus {
    fn condition(&self, kind: &str) -> Option<&ConditionObject> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// When the last of the containers was started; `None` while one does not run.
    fn started_at(&self) -> Option<Timestamp> {
        let mut last = None;
        for container in &self.container_statuses {
            let running = container.state.running.as_ref()?;
            last = last.max(Some(timestamp(running.started_at.as_deref()?)?));
        }
        last
    }
}

impl PodSpec {
    /// The ports of the containers that run as long as the pod serves.
    fn tcp_ports(&self) -> Vec<ContainerPort> {
        let sidecars = self.init_containers.iter().filter(|one| one.is_sidecar());
        let ports = self.containers.iter().chain(sidecars).flat_map(|one| &one.ports);
        ports
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP" && port.container_port > 0)
            .map(|port| ContainerPort {
                name: port.name.clone(),
                port: port.container_port,
            })
            .collect()
    }

    /// Whether every number of GPUs is one.
    fn gpus_are_read(&self) -> bool {
        let mut limits = self
            .containers
            .iter()
            .chain(&self.init_containers)
            .flat_map(|container| &container.resources.limits);
        limits.all(|(name, amount)| !is_gpu(name) || quantity::parse(amount).is_some())
    }

    /// GPUs that the scheduler sets aside: those of all containers that run side by side, or of
    /// the greediest init container, whichever is more.
    fn gpus(&self) -> u32 {
        let together = self
            .containers
            .iter()
            .chain(self.init_containers.iter().filter(|one| one.is_sidecar()));
        let together: u32 = together.map(ContainerObject::gpus).sum();
        let alone = self
            .init_containers
            .iter()
            .map(ContainerObject::gpus)
            .max()
            .unwrap_or(0);
        together.max(alone)
    }
}

impl ContainerObject {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    fn gpus(&self) -> u32 {
        let limits = self.resources.limits.iter();
        let gpus = limits
            .filter(|(name, _)| is_gpu(name))
            .filter_map(|(_, amount)| quantity::parse(amount));
        // A count of devices: small and whole; the cast saturates.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        gpus.map(|amount| amount as u32).fold(0, u32::saturating_add)
    }
}

fn is_gpu(resource: &str) -> bool {
    resource
        .strip_prefix("nvidia.com/")
        .is_some_and(|name| name.starts_with("gpu") || name.starts_with("mig-"))
}

/// A time as the API writes it (RFC 3339).
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    u64::try_from(nanos).ok().map(Timestamp::from_unix_nanos)
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(source)?.unwrap_or_default())
}

/// Quantities by name. The API server writes texts, but in objects of other controllers, such as a
/// Workload of Kueue, it keeps numbers as their author wrote them.
fn quantities<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Text(String),
        Number(serde_json::Number),
        Other(serde::de::IgnoredAny),
    }
    let amounts = Option::<BTreeMap<String, Amount>>::deserialize(source)?.unwrap_or_default();
    let text = |(name, amount)| match amount {
        Amount::Text(text) => (name, text),
        Amount::Number(number) => (name, number.to_string()),
        // No quantity: what asks for it finds that out, and one odd object does not spoil the list.
        Amount::Other(_) => (name, "not a quantity".to_owned()),
    };
    Ok(amounts.into_iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_with_its_gpus() {
        let pod: PodObject = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "llm-0", "namespace": "a", "uid": "u", "labels": {"app": "llm"},
                "annotations": {"prometheus.io/port": "8000", "other": "kept by nobody"},
                "creationTimestamp": "1970-01-01T00:00:10Z", "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {
                "nodeName": "node-1",
                "containers": [
                    {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "2", "cpu": "4"}},
                        "ports": [{"name": "http", "containerPort": 8000}, {"containerPort": 53, "protocol": "UDP"}]},
                    {"name": "other", "resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}},
                    {"name": "plain", "resources": {}},
                ],
                "initContainers": [{"name": "load", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
                "resourceClaims": [{"name": "gpu"}],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:20Z"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:00Z"},
            ], "containerStatuses": [
                {"name": "engine", "state": {"running": {"startedAt": "1970-01-01T00:00:40Z"}}},
                {"name": "other", "state": {"running": {"startedAt": "1970-01-01T00:00:30Z"}}},
            ]},
        }))
        .unwrap();
        let (pod, labels) = pod.into_pod();
        assert_eq!(pod.ip, Some([10, 0, 0, 7].into()));
        assert_eq!(
            (pod.port_named("http"), pod.port_named("udp"), pod.ports.len()),
            (Some(8000), None, 1)
        );
        assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/port"]);
        assert_eq!(labels.get("app").map(String::as_str), Some("llm"));
        assert_eq!(pod.node.as_deref(), Some("node-1"));
        assert_eq!(pod.gpus_requested, 3);
        assert_eq!(pod.resource_claims, 1);
        assert_eq!(pod.created_at.unix_nanos(), 10_000_000_000);
        assert_eq!(pod.ready_since, Some(Timestamp::from_unix_nanos(60_000_000_000)));
        assert_eq!(pod.scheduled_at, Some(Timestamp::from_unix_nanos(20_000_000_000)));
        assert_eq!(
            pod.started_at,
            Some(Timestamp::from_unix_nanos(40_000_000_000)),
            "the last of its containers"
        );
        assert_eq!(pod.unready_since, None);
        assert!(pod.serves());
    }

    #[test]
    fn a_number_of_gpus_is_read_however_it_is_written() {
        let workload = |limit: serde_json::Value| {
            let read: KueueWorkloadObject = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "x"},
                "spec": {"queueName": "q", "podSets": [{"count": 2, "template": {"spec": {
                    "containers": [{"resources": {"limits": {"nvidia.com/gpu": limit, "cpu": null}}}]}}}]},
            }))
            .unwrap();
            read.gpus()
        };
        assert_eq!(workload(serde_json::json!("4")), Some(8));
        assert_eq!(workload(serde_json::json!(4)), Some(8));
        for odd in [
            serde_json::json!([4]),
            serde_json::json!("four"),
            serde_json::json!(null),
        ] {
            assert_eq!(
                workload(odd),
                None,
                "what cannot be read is not none, and spoils no list"
            );
        }
    }

    #[test]
    fn a_pod_that_waits_has_no_node_and_is_not_ready() {
        let pod: PodObject = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "llm-0", "deletionTimestamp": "1970-01-01T00:00:10Z"},
            "status": {"phase": "Pending", "conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:01:00Z"},
            ]},
        }))
        .unwrap();
        let (pod, _) = pod.into_pod();
        assert_eq!(
            (pod.node.as_deref(), pod.ready, pod.ready_since, pod.terminating),
            (None, false, None, true)
        );
        assert_eq!((pod.scheduled_at, pod.started_at), (None, None));
        assert_eq!(
            pod.unready_since,
            Some(Timestamp::from_unix_nanos(60_000_000_000))
        );
    }
}
