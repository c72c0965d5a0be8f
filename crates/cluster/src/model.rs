use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;

/// A ScaledObject or ScaledJob together with what it scales and the pods that are there now.
///
/// Only objects with at least one external trigger are workloads of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Namespace, name and kind of the ScaledObject or ScaledJob.
    pub id: WorkloadId,
    /// Its UID: a new one means that the object was deleted and created again.
    pub uid: String,
    /// Its `metadata.generation`, which grows with each change of the spec.
    pub generation: i64,
    /// Its triggers of type `external` and `external-push`, in the order of the spec.
    pub triggers: Vec<TriggerDefinition>,
    /// How many triggers of other types it has; KEDA takes the largest wish of all.
    pub other_triggers: usize,
    /// `minReplicaCount`; KEDA's default is 0.
    pub min_replicas: u32,
    /// `maxReplicaCount`; KEDA's default is 100.
    pub max_replicas: u32,
    /// `idleReplicaCount`: the count while inactive, where it is set.
    pub idle_replicas: Option<u32>,
    /// `pollingInterval`; KEDA's default is 30 s.
    pub polling_interval: Duration,
    /// `cooldownPeriod`; KEDA's default is 300 s. Without meaning for a ScaledJob.
    pub cooldown_period: Duration,
    /// Whether KEDA was told to pause it (`autoscaling.keda.sh/paused` or `paused-replicas`).
    pub paused: bool,
    /// Its annotations under `rheostat.dev/`, by their whole key.
    pub annotations: BTreeMap<String, String>,
    /// The HPA's tolerances where `advanced.horizontalPodAutoscalerConfig.behavior` sets them.
    pub tolerances: HpaTolerances,
    /// `scaleDown.stabilizationWindowSeconds` where the same sets it; the HPA's default is 300 s.
    pub scale_down_stabilization: Option<Duration>,
    /// What is scaled, or why it is not known. While it is not known, `pods` is empty and says
    /// nothing.
    pub target: Result<ScaleTarget, TargetProblem>,
    /// Every pod that the target's selector matches in the workload's own namespace, by name;
    /// finished and terminating ones too.
    pub pods: Arc<[Arc<Pod>]>,
}

/// Which ScaledObject or ScaledJob. Ordered by namespace, then name, then kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// Namespace.
    pub namespace: String,
    /// Name of the ScaledObject or ScaledJob, not of what it scales.
    pub name: String,
    /// Which of the two.
    pub kind: WorkloadKind,
}

/// Whether KEDA changes a replica count or creates Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `keda.sh/v1alpha1 ScaledObject`.
    ScaledObject,
    /// `keda.sh/v1alpha1 ScaledJob`.
    ScaledJob,
}

/// One external trigger, as its author wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerDefinition {
    /// Place among all triggers of the object, the number in KEDA's metric name `s<index>-…`.
    pub index: usize,
    /// The trigger's name, where it has one.
    pub name: Option<String>,
    /// Whether KEDA also opens a push stream.
    pub kind: TriggerKind,
    /// `metadata`, word for word: values `…FromEnv` are not resolved here, KEDA sends them resolved.
    pub metadata: BTreeMap<String, String>,
    /// How the HPA reads the value.
    pub metric_type: Result<MetricType, UnsupportedMetricType>,
    /// `useCachedMetrics`: the HPA is answered from KEDA's last poll.
    pub use_cached_metrics: bool,
}

/// The two trigger types that call an external scaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TriggerKind {
    /// `external`: polled only.
    External,
    /// `external-push`: polled and streamed.
    ExternalPush,
}

/// How the HPA turns a value into replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `value / target` replicas: the value must be a total. KEDA's default.
    #[default]
    AverageValue,
    /// `ready replicas × value / target`: the value must be an intensity.
    Value,
}

/// A `metricType` that KEDA refuses for external triggers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metricType is {0:?}; an external trigger takes AverageValue or Value")]
pub struct UnsupportedMetricType(pub String);

/// Tolerances of the HPA as ratios (0.1 is 10 %); `None` is the cluster's default, usually 0.1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HpaTolerances {
    /// `behavior.scaleUp.tolerance`.
    pub scale_up: Option<f64>,
    /// `behavior.scaleDown.tolerance`.
    pub scale_down: Option<f64>,
}

/// What a workload scales. For a ScaledJob its Jobs, which count as replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleTarget {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name; for a ScaledJob the ScaledJob's.
    pub name: String,
    /// Replicas asked for. For a ScaledJob its Jobs that have not finished.
    pub spec_replicas: u32,
    /// Replicas that its controller has created, ready or not.
    pub status_replicas: u32,
    /// The selector of its pods, in the form that `kubectl -l` takes.
    pub selector: String,
    /// Set while the target cannot be read any more: what stands here is then old.
    pub stale: Option<Stale>,
}

/// Since when something could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The last moment at which it was known to be current.
    pub since: Timestamp,
    /// Why it could not be read since.
    pub reason: String,
}

/// Why the scale target of a workload is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetProblem {
    /// Not read yet, since we or the workload are new.
    #[error("{what} not read yet")]
    NotYet {
        /// What is waited for.
        what: &'static str,
    },
    /// There is no such object.
    #[error("{kind} {name} does not exist in namespace {namespace}")]
    NotFound {
        /// Kind of the target.
        kind: String,
        /// Name of the target.
        name: String,
        /// The workload's namespace, where targets are looked for.
        namespace: String,
    },
    /// The API server knows no such kind.
    #[error("the cluster knows no kind {kind} in {api_version}")]
    UnknownKind {
        /// As in `scaleTargetRef`.
        api_version: String,
        /// As in `scaleTargetRef`.
        kind: String,
    },
    /// The kind has no scale subresource, so nobody can scale it.
    #[error("{api_version} {kind} has no scale subresource")]
    NotScalable {
        /// As in `scaleTargetRef`.
        api_version: String,
        /// As in `scaleTargetRef`.
        kind: String,
    },
    /// The selector is missing or cannot be understood.
    #[error("the pods of {kind} {name} cannot be selected: {reason}")]
    Selector {
        /// Kind of the target.
        kind: String,
        /// Name of the target.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The `scaleTargetRef` itself is missing or incomplete.
    #[error("scaleTargetRef: {0}")]
    Reference(String),
    /// Reading it failed before it was ever read.
    #[error("{kind} {name} cannot be read: {reason}")]
    Failed {
        /// Kind of the target.
        kind: String,
        /// Name of the target.
        name: String,
        /// What the API said.
        reason: String,
    },
}

/// A ScalingPolicy, as it stands in the API; what it means is for others to say.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingPolicy {
    /// Namespace and name.
    pub id: PolicyId,
    /// Its UID: a new one means that the object was deleted and created again.
    pub uid: String,
    /// Its `metadata.generation`, which grows with each change of the spec.
    pub generation: i64,
    /// `spec`.
    pub spec: serde_json::Value,
    /// `status`, as some scaler has written it; null where none has.
    pub status: serde_json::Value,
}

/// Which ScalingPolicy. Ordered by namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A pod, as far as scaling cares.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; a pod of a StatefulSet keeps its name but not this.
    pub uid: String,
    /// The node it was bound to; `None` while it waits for one.
    pub node: Option<String>,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Whether its `Ready` condition is true. A terminating pod can still be ready.
    pub ready: bool,
    /// Whether it was asked to stop.
    pub terminating: bool,
    /// When the API server accepted it.
    pub created_at: Timestamp,
    /// When it got its node (`PodScheduled`).
    pub scheduled_at: Option<Timestamp>,
    /// When its container that started last was started; `None` while one has not been yet.
    pub started_at: Option<Timestamp>,
    /// Since when it has been ready, where it is.
    pub ready_since: Option<Timestamp>,
    /// Since when it has not been ready, where it is not.
    pub unready_since: Option<Timestamp>,
    /// GPUs and partitions that its containers ask for as extended resources
    /// (`nvidia.com/gpu`, `nvidia.com/gpu.shared`, `nvidia.com/mig-…`).
    pub gpus_requested: u32,
    /// Resource claims (DRA) that it names; each may stand for GPUs.
    pub resource_claims: u32,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// Whether that is its node's address (`hostNetwork`), where others listen too.
    pub host_network: bool,
    /// TCP ports that its containers declare, in the order of the containers.
    pub ports: Vec<ContainerPort>,
    /// Its annotations under `prometheus.io/` and `rheostat.dev/`, by their whole key: where its
    /// metrics are.
    pub annotations: BTreeMap<String, String>,
}

/// A TCP port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodPhase {
    /// Accepted, not all containers running: it waits for a node, an image, an init container.
    Pending,
    /// Bound, at least one container runs or restarts.
    Running,
    /// Ended, all containers well.
    Succeeded,
    /// Ended, a container failed.
    Failed,
    /// The node does not answer.
    Unknown,
}

impl Workload {
    /// Whether pods that are ready can be counted: the target is known and was read.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.target.is_ok()
    }

    /// The trigger at `index` among all triggers of the object, where it is an external one.
    #[must_use]
    pub fn trigger(&self, index: usize) -> Option<&TriggerDefinition> {
        self.triggers.iter().find(|trigger| trigger.index == index)
    }
}

impl Pod {
    /// Whether it serves: running and ready, not asked to stop.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.phase == PodPhase::Running && self.ready && !self.terminating
    }

    /// The number of the port that its containers call `name`.
    #[must_use]
    pub fn port_named(&self, name: &str) -> Option<u16> {
        let port = self
            .ports
            .iter()
            .find(|port| port.name.as_deref() == Some(name))?;
        Some(port.port)
    }

    /// Whether it has ended for good.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }
}

impl WorkloadKind {
    /// As Kubernetes spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScaledObject => "ScaledObject",
            Self::ScaledJob => "ScaledJob",
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ScalingPolicy {}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
