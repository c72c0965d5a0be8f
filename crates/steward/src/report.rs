use std::sync::Arc;

use rheostat_cluster::{ScalingPolicy, WorkloadKind};
use rheostat_sizing::{Decision, Learned};

/// What the scaler has to say of one ScalingPolicy.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// The policy as the API has it, with the status that some scaler wrote last.
    pub policy: Arc<ScalingPolicy>,
    /// What is wrong with its spec, where something is.
    pub problem: Option<Arc<str>>,
    /// Every workload that uses it. All are in the policy's namespace.
    pub workloads: Vec<WorkloadReport>,
}

/// What the scaler has to say of one workload that uses a policy.
#[derive(Clone, Debug)]
pub struct WorkloadReport {
    /// Name of the ScaledObject or ScaledJob.
    pub name: Arc<str>,
    /// Which of the two.
    pub kind: WorkloadKind,
    /// Its UID: a new one means that the object was deleted and created again.
    pub uid: Arc<str>,
    /// The newest decision, or why none can be taken.
    pub decision: Result<Arc<Decision>, Arc<str>>,
    /// GPUs that its pods were last seen to hold each; `None` where none was seen yet.
    pub gpus: Option<f64>,
    /// What was learned of it; `None` where nothing was yet. The same `Arc` is not looked at twice.
    pub learned: Option<Arc<Learned>>,
}
