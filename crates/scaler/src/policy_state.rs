use std::sync::Arc;

use rheostat_cluster::{PolicyId, ScalingPolicy};
use rheostat_sizing::{Decision, Intent, Learned};

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
    /// What is known of the workload, as of a minute ago at most.
    pub learned: Option<Arc<Learned>>,
}
