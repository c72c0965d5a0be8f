//! From an intent and what is seen of a workload to the replicas that it needs.
//!
//! Pure: time is an argument, nothing here does I/O or draws random numbers. The live scaler, the
//! simulator and a replay of the decision log run this very code.

mod decision;
mod intent;
mod observation;
mod share;
mod sizer;

pub use decision::{Decision, Figures, Outcome, Step, StepKind};
pub use intent::{
    Amount, Budget, Change, Intent, Limits, Objective, Part, Period, RateLimit, ReplicaShape, Role, Slo,
    WhenReached,
};
pub use observation::{Latency, Milestones, Observation, Replica, Schedule, Serving, Stage};
pub use share::{Claim, share};
pub use sizer::{Learned, Sizer};
