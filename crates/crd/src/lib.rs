//! `rheostat.dev/v1alpha1 ScalingPolicy`: what a user writes, what it means, and what is reported back.
//!
//! A policy states intent only: what is to be kept, and what binds. [`ScalingPolicySpec`] is its text,
//! [`Policy`] what the text means, [`Policy::intent`] what is handed to the sizing of one workload,
//! [`ScalingPolicyStatus`] what the scaler says of it. [`definition`] is the CustomResourceDefinition,
//! written by hand: it is its users' interface, and a test holds types and schema to each other.
//!
//! Nothing here knows how to talk to Kubernetes.

mod definition;
mod error;
mod policy;
mod quantity;
mod spec;
mod status;

pub use definition::definition;
pub use error::{PolicyError, StatusError};
pub use policy::{Policy, Pool, Surroundings};
pub use spec::{
    BudgetPeriod, BudgetSpec, GpuSpec, LimitsSpec, ModelSpec, PoolSpec, RateSpec, ReplicasSpec, RolePart,
    RoleSpec, ScalingPolicySpec, SloSpec, WhenBudgetReached,
};
pub use status::{Condition, ConditionKind, ConditionStatus, ScalingPolicyStatus, WorkloadStatus};

/// API group.
pub const GROUP: &str = "rheostat.dev";
/// Version; others are not served.
pub const VERSION: &str = "v1alpha1";
/// Kind.
pub const KIND: &str = "ScalingPolicy";
/// The plural that URLs and RBAC rules use.
pub const PLURAL: &str = "scalingpolicies";
