//! A KEDA external scaler that answers what a script says, and a recorder of what the real KEDA
//! and the real HPA controller make of it.
//!
//! A [`sequence`] is a workload, a ScaledObject and a script. Running one ([`run`]) yields a
//! [`recording`] of all that happened, against which the models in `rheostat-kubescale` are
//! checked.

pub(crate) mod audit;
pub(crate) mod observe;
pub(crate) mod recording;
pub(crate) mod run;
pub(crate) mod sequence;
pub(crate) mod server;
