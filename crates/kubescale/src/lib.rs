//! Exact models of KEDA 2.21's scale loop and of the HPA controller of Kubernetes 1.36.
//!
//! KEDA and the HPA are the only writers of replica counts (see `ARCHITECTURE.md`), so whoever wants
//! to know what a metric value will do has to know both. This crate is both, without a cluster:
//!
//! - [`hpa`] computes what the HPA controller makes of external metrics: ratio and tolerance,
//!   stabilisation windows, rate policies, limits, and the reason of each step;
//! - [`keda`] is the operator's side: polling, activation, cooldown, fallback, pauses, push streams,
//!   and the arithmetic of ScaledJobs;
//! - [`Autoscaler`] puts the two together for one ScaledObject. It does no I/O: it says which call
//!   to make now and is told the answer, so the same code runs against a live scaler over gRPC
//!   (asynchronously), in a simulation ([`drive`]), and against [`recording`]s of the real thing.
//!
//! Time is an argument everywhere, and the same inputs give the same decisions, bit for bit.
//!
//! Names of functions in comments (`normalizeDesiredReplicas`, `RequestScale`) are those of the
//! sources that a rule was read from: `pkg/controller/podautoscaler` of Kubernetes v1.36.3 and
//! `pkg/scaling`, `pkg/fallback`, `pkg/scalers`, `controllers/keda` of KEDA v2.21.0.

mod autoscaler;
mod calls;
pub mod drive;
pub mod hpa;
pub mod keda;
mod quantity;
pub mod recording;
mod workload;

pub use autoscaler::{Autoscaler, Event, Output};
pub use calls::{Answer, Call, CallError, CallId, Caller, MetricSpec, MetricValue, Push, Request};
pub use quantity::{InvalidQuantity, Quantity};
pub use workload::{Cause, Decision, Workload, Writer};
