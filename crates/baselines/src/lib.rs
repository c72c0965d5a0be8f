//! The autoscalers of others as baselines, each faithful to its source: what our own policy is measured
//! against.
//!
//! [`catalogue`] lists them for a [`Context`] (the workload and what its user would configure anyway);
//! [`Baseline::build`] makes one of them into a [`Control`](rheostat_simulator::Control) that the
//! simulator runs, with its defaults or with [`Settings`] found by search. They see what they would see
//! in a cluster, an [`Observation`](rheostat_sizing::Observation), with their own delays, windows and known
//! defects; where a copy departs from its original, its file says so, and `docs/baselines.md` has them
//! all side by side.
//!
//! What acts through KEDA or the HPA does so here too, through the models in `rheostat-kubescale`.

mod autoregression;
mod baseline;
mod bounds;
mod capacity;
mod catalogue;
mod context;
mod foresight;
mod metrics_scaler;
mod parameter;
mod pods_metric;
mod query;
mod scaled_object;
mod traffic;
mod window;

mod baselines;

pub use baseline::{Baseline, BaselineError, Knowledge};
pub use catalogue::{catalogue, find};
pub use context::Context;
pub use foresight::{Bin, Foresight};
pub use parameter::{Allowed, Parameter, Settings, Value};
