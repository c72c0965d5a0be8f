use std::time::Duration;

use rheostat_reading::{Ratio, Watts};
use serde::{Deserialize, Serialize};

/// What the user wants: the spec of a `ScalingPolicy`, checked and with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// What is to be kept.
    pub objective: Objective,
    /// Never fewer replicas, 0 allowed.
    pub min_replicas: u32,
    /// Never more replicas.
    pub max_replicas: u32,
    /// How long a start takes as far as the user knows, before any has been seen.
    pub cold_start: Duration,
    /// Idle for so long before the last replica goes; `None` never goes to zero.
    pub scale_to_zero_after: Option<Duration>,
    /// Replicas that are kept beyond what the load needs.
    pub headroom: u32,
    /// What binds whatever the signals say.
    pub limits: Limits,
    /// What a replica consists of.
    pub replica: ReplicaShape,
    /// The part that this workload has in a pair of prefill and decode workloads; `None` for a workload
    /// that does both.
    pub role: Option<Role>,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Latencies, for a part of the requests. At least one of them is given.
    Slo(Slo),
    /// At most so many requests in flight for each replica.
    Concurrency(f64),
    /// GPUs are busy for at most this part of the time.
    Utilization(Ratio),
}

/// Latencies to keep, for a part of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Time to the first token, at most.
    pub ttft: Option<Duration>,
    /// Mean time between two tokens of a request, at most.
    pub itl: Option<Duration>,
    /// Time of a whole request, at most.
    pub e2e: Option<Duration>,
    /// Part of the requests that must keep all of them, such as 0.99.
    pub attainment: Ratio,
}

impl Slo {
    /// Whether it is another one only in the part of the requests that must keep it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.ttft, self.itl, self.e2e) == (other.ttft, other.itl, other.e2e)
    }
}

/// What one replica consists of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaShape {
    /// GPUs that each replica holds.
    pub gpus: f64,
    /// What a GPU costs for an hour, in the currency of the budgets; `None` where nobody said.
    pub price_per_gpu_hour: Option<f64>,
    /// Parameters of the model, which let the first minutes' sizes be guessed from data sheets; `None` where
    /// nobody said.
    pub parameters: Option<f64>,
}

/// Part in a pair of workloads that serve the same requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Which part.
    pub part: Part,
    /// Prefill replicas for each decode replica; `None` sizes each by its own work.
    pub prefill_per_decode: Option<f64>,
}

/// Part of a request's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Reads the prompts.
    Prefill,
    /// Writes the answers.
    Decode,
}

/// What binds whatever the signals say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// How fast replicas may be added.
    pub up: Vec<RateLimit>,
    /// How fast they may be taken away.
    pub down: Vec<RateLimit>,
    /// At most so many replicas that are not ready at once, beyond which nothing is added; `None` without
    /// limit.
    pub max_unready: Option<u32>,
    /// What may be spent.
    pub budgets: Vec<Budget>,
    /// At most so much power for all replicas together.
    pub power: Option<Watts>,
}

/// A change of the replica count over a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// How much.
    pub change: Change,
    /// Within which time.
    pub within: Duration,
}

/// How much a replica count may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// By so many.
    Replicas(u32),
    /// By this part of what there was, rounded up.
    Part(Ratio),
}

/// What may be spent in a period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// How much.
    pub amount: Amount,
    /// In which time; it slides.
    pub per: Period,
    /// What happens when it is used up.
    pub when_reached: WhenReached,
}

/// What is budgeted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// GPU-hours.
    GpuHours(f64),
    /// Money, in the currency of [`ReplicaShape::price_per_gpu_hour`].
    Money(f64),
}

/// The time of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// 30 days.
    Month,
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenReached {
    /// Nothing is added any more until the budget allows it.
    Freeze,
    /// Down to so many replicas.
    Fall(u32),
    /// It is only said.
    Warn,
}
