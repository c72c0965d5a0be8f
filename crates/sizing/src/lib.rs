//! From an intent and what is seen of a workload to the replicas that it needs.
//!
//! Pure: time is an argument, nothing here does I/O or draws random numbers. The live scaler, the
//! simulator and a replay of the decision log run this very code.

mod calibration;
mod capacity;
mod cold_start;
mod cost;
mod decision;
mod demand;
mod finished;
mod fit;
mod forecast;
mod intent;
mod lateness;
mod learned;
mod ledger;
mod limits;
mod mind;
mod moment;
mod objective;
mod observation;
mod price;
mod queued_outside;
mod reluctance;
mod rules;
mod season;
mod shadow;
mod share;
mod sizer;
mod sliding;
mod steps;

pub use capacity::Capacity;
pub use cold_start::{ColdStart, StageTime, StartStage};
pub use cost::{CostModel, Lengths};
pub use decision::{Decision, Figures, Outcome, Step, StepKind};
pub use intent::{
    Amount, Budget, Change, Intent, Limits, Objective, Part, Period, RateLimit, ReplicaShape, Role, Slo,
    WhenReached,
};
pub use learned::Learned;
pub use observation::{Latency, Milestones, Observation, Replica, Schedule, Serving, Stage};
pub use queued_outside::QueuedOutside;
pub use share::{Claim, share};
pub use sizer::Sizer;
