//! A serving cluster as a discrete-event simulation.
//!
//! Requests come from a trace, replicas serve them as continuous batching does, and a [`Control`] decides
//! how many replicas there are: by itself, or through the models of KEDA and the HPA. Time is simulated,
//! and the same seed gives the same result, bit for bit.

mod control;

pub use control::{Control, Controller, ExternalScaler, TriggerAnswer};
