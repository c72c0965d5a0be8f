//! A serving cluster as a discrete-event simulation.
//!
//! Requests come from a trace, replicas serve them as continuous batching does, and a [`Control`] decides
//! how many replicas there are: by itself, or through the models of KEDA and the HPA. Time is simulated,
//! and the same seed gives the same result, bit for bit.
//!
//! ```
//! use std::time::Duration;
//!
//! use rheostat_reading::Ratio;
//! use rheostat_simulator::{Control, EngineModel, Scenario, simulate};
//! use rheostat_sizing::Slo;
//! use rheostat_trace::Request;
//!
//! let engine = EngineModel::named("llama-3.1-8b-h100").ok_or("no such engine")?;
//! let slo = Slo {
//!     ttft: Some(Duration::from_millis(500)),
//!     itl: Some(Duration::from_millis(30)),
//!     e2e: None,
//!     attainment: Ratio(0.99),
//! };
//! // Ten requests a second for ten minutes.
//! let requests = (0..6000).map(|number| Request {
//!     at: Duration::from_millis(number * 100),
//!     prompt_tokens: 512,
//!     output_tokens: 512,
//! });
//! let run = simulate(&Scenario::new(engine, slo), requests, Control::Static(1), &mut ())?;
//! assert!(run.attainment > Ratio(0.999));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agenda;
mod batch;
mod catalogue;
mod cold_start;
mod control;
mod driver;
mod engine;
mod fleet;
mod fluid;
mod histogram;
mod least;
mod meter;
mod nodes;
mod pod;
mod policy;
mod pool;
mod run;
mod scenario;
mod score;
mod server;
mod simulate;
mod span;
mod stepping;
mod time;
mod timeline;

pub use cold_start::{ColdStart, Delay};
pub use control::{Control, Controller, ExternalScaler, TriggerAnswer};
pub use engine::{EngineModel, InvalidEngine};
pub use nodes::{NodePool, Spot, StockOut};
pub use policy::SizingScaler;
pub use run::{Change, Observer, Progress, Run, Sample, Served};
pub use scenario::{Delays, Mode, ReadingFailures, Router, Scenario, SimulationError};
pub use simulate::simulate;
pub use time::START;
