//! The scaler: answers KEDA from memory.
//!
//! Once a second every workload's triggers are evaluated into an immutable [`Snapshot`], from what
//! the Kubernetes API says (`rheostat-cluster`), what the agents say (`rheostat-fleet`) and what the
//! scaler has asked by itself ([`Inquiries`]). What the evaluation needs to know is asked for
//! afterwards ([`Wishes`]), so that evaluating never waits. KEDA's
//! calls, `/metrics` and `explain` only read the newest snapshot. Replicas of the scaler give the same
//! answers to triggers with signals, since they see the same sources; by policies one of them decides
//! for all ([`Agreement`]).

mod asked_for;
mod assignment;
mod by_policy;
mod decider;
mod engine_targets;
mod evaluator;
mod following;
mod http;
mod inquiries;
mod join;
mod keda;
mod metrics;
mod observe;
mod plan;
mod policies;
mod policy_explanation;
mod policy_reports;
mod policy_state;
mod report;
mod run;
mod seen_pod;
mod snapshot;
mod standing;
mod state;
mod threads;

pub use evaluator::{Evaluator, Sources};
pub use inquiries::{Findings, Inquiries, Prometheus, Wishes};
pub use keda::StreamLimits;
pub use policy_explanation::{
    ColdStartReport, DecisionReport, FiguresReport, FollowedReport, PolicyExplanation, SeenPodReport,
};
pub use policy_state::{Followed, PolicyState};
pub use report::{
    AnswerReport, DeviceReport, EngineReadingReport, NumberReport, ObservedReport, PodReport, TargetReport,
    TriggerReport, WorkloadReport,
};
pub use run::{Agreement, GRPC_PORT, HTTP_PORT, Scaler, ScalerError, ScalerOptions};
pub use seen_pod::SeenPod;
pub use snapshot::{Snapshot, Snapshots, TriggerState, WorkloadState};
pub use threads::ThreadError;

/// Time between two evaluations where nothing else is set.
pub const EVALUATION_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);
