//! Every policy on every trace, scored against the optimum.
//!
//! A [`Case`] is a trace under conditions that are the same for all; [`backtest`] runs every policy on every
//! case, with its defaults and with the best settings that a search finds, and makes a [`Report`] of it.
//!
//! The rules are the same for all. Every policy starts warm, with the replicas that the first minutes need.
//! The first day of a long trace teaches and is not scored. Requests that wait at the end are late. Replicas
//! are paid for from when they are asked for. The cost is divided by a bound that holds for the SLO, so that
//! nobody who keeps it can come out below 1.

mod aims;
mod backtest;
mod case;
mod clairvoyant;
mod distribution;
mod evaluate;
mod html;
mod meter;
mod optimum;
mod policy;
mod pool;
mod report;
mod search;
mod store;
mod tally;
#[cfg(test)]
mod testing;
mod trace_part;
mod tune;

pub use aims::{Aims, CaseAim, Dominance};
pub use backtest::{Options, Watch, backtest};
pub use case::{Case, CaseError, Conditions, Demand};
pub use distribution::Distribution;
pub use evaluate::{EvaluationError, run};
pub use html::html;
pub use meter::{ExplainedChange, Outcome, Record};
pub use optimum::Optimum;
pub use policy::{OURS, Policy};
pub use report::{CaseReport, Report, Row, Score, Variant};
pub use store::{Store, StoreError, results_in};
pub use tally::Tally;
pub use trace_part::{TraceError, TracePart};
