use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Timestamp};
use serde::{Deserialize, Serialize};

/// How many replicas a workload needs, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// How many; whatever is known, never fewer than [`Self::outcome`] allows to vouch for.
    pub replicas: u32,
    /// Whether there is demand, or has been not long enough ago.
    pub active: bool,
    /// What it rests on.
    pub outcome: Outcome,
    /// Each step, in the order in which it was taken.
    pub steps: Vec<Step>,
    /// The numbers to show.
    pub figures: Figures,
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Enough is known of the workload.
    Known,
    /// It has no replicas and nothing asks for one.
    AtZero,
    /// Too little is known: the replica count must not fall.
    Unknown {
        /// What is missing.
        reason: String,
    },
}

/// One step on the way to a replica count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was looked at.
    pub kind: StepKind,
    /// Replicas after it.
    pub replicas: u32,
    /// In words, for a person.
    pub why: String,
}

/// What a step looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// What is known.
    Evidence,
    /// What there is to do now.
    Demand,
    /// What one replica can do.
    Capacity,
    /// What there will be to do when a replica that is asked for now serves.
    Forecast,
    /// How many replicas that takes.
    Size,
    /// Requests that wait already.
    Backlog,
    /// Which replicas are worth keeping although they are not needed now.
    Keep,
    /// Whether fewer replicas would still do.
    Consolidation,
    /// Replicas beyond what the load needs.
    Headroom,
    /// To zero and back.
    Zero,
    /// A limit that bound.
    Limit,
    /// The schedule.
    Schedule,
    /// The GPU pool.
    Pool,
}

/// The numbers behind a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests in flight.
    pub in_flight: Option<Count>,
    /// Requests that arrive per second.
    pub arrival_rate: Option<PerSecond>,
    /// Work that arrives, in replicas that it keeps busy without a break.
    pub demand: Option<Count>,
    /// Expected demand when a replica asked for now serves, at the quantile it is sized for.
    pub expected_demand: Option<Count>,
    /// Part of a replica's time that may be used so that the objective is kept.
    pub usable: Option<Ratio>,
    /// Requests per second that one replica serves within the objective.
    pub capacity: Option<PerSecond>,
    /// How sure the learned capacity is, 0 to 1.
    pub confidence: Option<Ratio>,
    /// Time from asking for a replica to its serving, 90th percentile.
    pub cold_start: Option<Duration>,
    /// Part of the requests that kept the objective of late.
    pub attainment: Option<Ratio>,
    /// What is left of the tightest budget, 0 to 1.
    pub budget_left: Option<Ratio>,
}
