//! What vLLM, SGLang, Triton and the others report of themselves, in one vocabulary
//! ([`rheostat_reading::EngineQuantity`]).
//!
//! Pages come in as text, readings go out; who fetches the pages, and from where, is not known here.

mod engine;
mod report;
mod target;

pub use engine::Engine;
pub use report::{EngineReport, Sleep};
pub use target::{Endpoint, EngineChoice, Scheme, Secret, Target, TargetId, View};
