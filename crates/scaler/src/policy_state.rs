use std::sync::Arc;

use rheostat_cluster::{PolicyId, ScalingPolicy};
use rheostat_sizing::{Decision, Intent, Learned};
use rheostat_steward::Leadership;

use crate::seen_pod::SeenPod;

/// How a workload fares with the ScalingPolicy that its trigger names.
#[derive(Clone, Debug)]
pub struct PolicyState {
    /// Which policy.
    pub policy: PolicyId,
    /// The policy as it stands in the API, where it is there.
    pub object: Option<Arc<ScalingPolicy>>,
    /// Why it is not decided by, where it is not.
    pub problem: Option<Arc<str>>,
    /// What the policy means for this workload; `None` until it was decided for.
    pub intent: Option<Arc<Intent>>,
    /// What this scaler decided last, whoever's decision is answered.
    pub decision: Option<Arc<Decision>>,
    /// The replica count that the decision before it came to.
    pub before: Option<u32>,
    /// The pods as the decision saw them.
    pub pods: Arc<[SeenPod]>,
    /// GPUs that its pods were last seen to hold each, where one was seen.
    pub gpus: Option<f64>,
    /// What is known of the workload, as of ten seconds ago at most.
    pub learned: Option<Arc<Learned>>,
    /// Which replica of the scaler leads, as far as this one knows.
    pub leadership: Leadership,
    /// The leader's decision, where that is answered and not this scaler's own.
    pub followed: Option<Followed>,
    /// The leader, while it has not written of the workload: until then nothing is taken away.
    pub awaited: Option<Arc<str>>,
}

/// What the replica of the scaler that leads has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// What it calls itself.
    pub leader: Arc<str>,
    /// Replicas that the workload is to have.
    pub replicas: u32,
    /// Whether there is demand, or has been not long enough ago.
    pub active: bool,
    /// What is not known, where it was decided so.
    pub unknown: Option<Arc<str>>,
}
