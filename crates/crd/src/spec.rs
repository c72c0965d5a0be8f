use serde::{Deserialize, Serialize};

/// What a user writes under `spec`. Exactly one of `slo`, `concurrency` and `utilization` is given.
///
/// A field that is not known is refused: one that limits something must not be passed over by a scaler that
/// is older than the CRD.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalingPolicySpec {
    /// Latencies to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloSpec>,
    /// At most so many requests in flight for each replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<f64>,
    /// GPUs are busy for at most this part of the time, such as `70%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<String>,
    /// How many replicas there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasSpec>,
    /// How long a start takes as far as is known before one was seen: `fast` (1 min), `medium` (3 min, the
    /// default), `slow` (10 min), or a duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<String>,
    /// Windows of time and what they ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<String>,
    /// The zone of windows that name none; UTC where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What binds whatever the signals say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// What a replica holds and what that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuSpec>,
    /// The model that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// GPUs that are shared with other workloads of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSpec>,
    /// The part in a pair of prefill and decode workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleSpec>,
}

/// Latencies to keep, for a part of the requests; at least one of them is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SloSpec {
    /// Time to the first token, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<String>,
    /// Mean time between two tokens of a request, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl: Option<String>,
    /// Time of a whole request, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e: Option<String>,
    /// Part of the requests that must keep all of them; `99%` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attainment: Option<String>,
}

/// How many replicas there may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicasSpec {
    /// At least so many; `minReplicaCount` of the ScaledObject where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most so many; `maxReplicaCount` of the ScaledObject where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Replicas that are kept beyond what the load needs; 0 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headroom: Option<u32>,
    /// Idle for so long, KEDA's `cooldownPeriod` included, before the last replica goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_to_zero_after: Option<String>,
}

/// What binds whatever the signals say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// How fast replicas may be added; all of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub up: Vec<RateSpec>,
    /// How fast they may be taken away; all of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<RateSpec>,
    /// While so many replicas are not ready, none is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unready: Option<u32>,
    /// What may be spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetSpec>,
    /// At most so much power for all replicas together, such as `3kW`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<String>,
}

/// A change of the replica count over a time: either `replicas` or `percent`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateSpec {
    /// By so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// By this part of what there was, rounded up, such as `50%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<String>,
    /// Within this time.
    pub within: String,
}

/// What may be spent in a period: either `gpuHours` or `money`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSpec {
    /// GPU-hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
    /// Money, in the currency of `gpu.pricePerHour`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<f64>,
    /// In which time; it slides.
    pub per: BudgetPeriod,
    /// What happens when it is used up; `freeze` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_reached: Option<WhenBudgetReached>,
    /// With `whenReached: fall`: down to so many replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall_to: Option<u32>,
}

/// The time of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BudgetPeriod {
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// 30 days.
    Month,
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WhenBudgetReached {
    /// Nothing is added any more until the budget allows it.
    Freeze,
    /// Down to `fallTo` replicas.
    Fall,
    /// It is only said.
    Warn,
}

/// What a replica holds and what that costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuSpec {
    /// GPUs of each replica; what its pods ask for where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_replica: Option<f64>,
    /// What a GPU costs for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
}

/// The model that is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// How many parameters it has, such as `8B`: the first minutes' sizes are guessed from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
}

/// GPUs that are shared with the other workloads of the namespace that name the same pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Its name, within the namespace.
    pub name: String,
    /// How many GPUs it has. Where policies differ, the least counts.
    pub gpus: f64,
    /// Higher goes first; 0 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Part within a priority, relative to the others'; 1 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// The part in a pair of workloads that serve the same requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSpec {
    /// Which part.
    pub part: RolePart,
    /// The ScaledObject of the other part, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner: Option<String>,
    /// Prefill replicas for each decode replica; each is sized by its own work where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_per_decode: Option<f64>,
}

/// Part of a request's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RolePart {
    /// Reads the prompts.
    Prefill,
    /// Writes the answers.
    Decode,
}
