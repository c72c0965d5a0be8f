use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::EngineReport;
use rheostat_reading::{Observed, Readings, Timestamp};

use crate::MetricType;

/// What is known at one moment of the workload behind a trigger.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The moment that readings are aged against.
    pub now: Timestamp,
    /// Replicas that are asked for: `spec.replicas` of the scale target, but for what the HPA has made of a rollout's
    /// surge; for a ScaledJob the number of its unfinished pods.
    pub replicas: u32,
    /// `status.replicas` of the scale target: more than `replicas` in a rollout with a surge, fewer
    /// where its controller may create no more.
    pub status_replicas: u32,
    /// The pods of the scale target's selector, or of the ScaledJob's Jobs. Finished pods
    /// (Succeeded, Failed) are left out.
    pub pods: &'a [PodInput],
    /// What the annotation [`MANUAL_DEMAND_ANNOTATION`](crate::MANUAL_DEMAND_ANNOTATION) says, in
    /// replicas; `None` where there is none. Only the signal `manual` looks at it.
    pub manual: Option<f64>,
    /// The numbers of the whole workload that [`Needs::outside`](crate::Needs::outside) lists, in
    /// its order, in [`Unit::Count`](rheostat_reading::Unit::Count). One that is missing counts
    /// as not asked for yet.
    pub outside: &'a [Observed],
}

impl Input<'_> {
    /// The size that the HPA holds the value against, and leaves where the ratio is within its
    /// tolerance: what is there under `AverageValue`, what is asked for under `Value`. From zero it is
    /// KEDA that starts the workload.
    pub(crate) const fn replicas_for_hpa(&self, metric_type: MetricType) -> u32 {
        match metric_type {
            MetricType::AverageValue if self.replicas > 0 => self.status_replicas,
            MetricType::AverageValue | MetricType::Value => self.replicas,
        }
    }
}

/// One pod of the workload, the devices that it holds and what its engine says.
#[derive(Clone, Debug, PartialEq)]
pub struct PodInput {
    /// The pod's name.
    pub name: Arc<str>,
    /// Whether it serves.
    pub state: PodState,
    /// The devices it holds, in a stable order (`gpuIndex` counts along it), each with the
    /// readings of [`Needs::gpu`](crate::Needs::gpu); or why they are not known. Ignored unless
    /// the pod is ready and the trigger needs them.
    pub devices: Result<Vec<DeviceInput>, Unseen>,
    /// What its engine said last, or why it could not be asked. Ignored unless the pod is ready
    /// and the trigger needs it.
    pub engine: Result<Arc<EngineReport>, Unseen>,
}

/// Whether a pod serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// Running and ready, and not being deleted.
    Ready,
    /// As ready, but its engine has been put to sleep: it serves nobody until somebody wakes it.
    /// Evaluation finds that out by itself from what the engine says.
    Asleep,
    /// Pending, starting, or not ready for another reason: capacity that may still come.
    NotReady,
    /// Being deleted, but still running and ready, as one that drains its requests is: it brings no
    /// load and no capacity, but the HPA counts it.
    Draining,
    /// Being deleted, and not ready any more.
    Terminating,
}

/// A device that a pod holds, and what was read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInput {
    /// UUID of the GPU or partition.
    pub id: Arc<str>,
    /// Product name; may be empty.
    pub model: Arc<str>,
    /// Whether the pod has it for itself. The reading of a shared device must be the pod's own
    /// part of it.
    pub claim: Claim,
    /// What was read of it, of [`Needs::gpu`](crate::Needs::gpu) at least.
    pub readings: Readings,
}

/// Whether a pod has a device for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// No other pod holds it.
    Exclusive,
    /// Other pods hold it too (time-slicing, MPS, a shared claim).
    Shared,
}

/// Why a pod's devices, or what its engine says, are not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// No agent reports from the pod's node.
    #[error("no agent reports from node {node}")]
    NoAgent {
        /// The pod's node.
        node: String,
    },
    /// The agent of the pod's node has fallen silent.
    #[error("the agent of node {node} was last heard {age:.1?} ago")]
    AgentSilent {
        /// The pod's node.
        node: String,
        /// Since when.
        age: Duration,
    },
    /// The agent does not know who holds which device, or cannot resolve a device's id.
    #[error("the agent of node {node} cannot tell which devices the pod holds: {reason}")]
    Unattributed {
        /// The pod's node.
        node: String,
        /// Why, as the agent says.
        reason: String,
    },
    /// Nobody has asked the pod's engine yet.
    #[error("its engine has not been asked yet")]
    EngineNotAsked,
    /// What is needed to ask the pod's engine is not known, and may be at any moment.
    #[error("its engine cannot be asked yet: {reason}")]
    EngineNotKnown {
        /// What is missing: a Secret that was not read.
        reason: String,
    },
    /// It cannot be told where or how to ask the pod's engine.
    #[error("its engine cannot be asked: {reason}")]
    EngineUnreachable {
        /// What is missing: a port of that name.
        reason: String,
    },
}
