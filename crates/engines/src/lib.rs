//! What vLLM, SGLang, Triton and the others report of themselves, in one vocabulary
//! ([`rheostat_reading::EngineQuantity`]).
//!
//! Pages come in as text, readings go out; who fetches the pages, and from where, is not known here.
//! A [`Reader`] is prepared once for each [`Endpoint`] and makes a [`Sample`] of each scrape's pages;
//! a [`History`] for each [`View`] makes of samples over time an [`EngineReport`]. `docs/engines.md`
//! has the table of engines and quantities.

mod catalogue;
mod combine;
mod custom;
mod engine;
mod error;
mod fact;
mod hash;
mod history;
mod index;
mod json;
mod pages;
mod quantile;
mod reader;
mod report;
mod sample;
mod scan;
mod series;
mod tally;
mod target;

pub use custom::{CustomEngine, CustomError};
pub use engine::Engine;
pub use error::PageError;
pub use fact::Fact;
pub use history::History;
pub use pages::{Page, PageKind};
pub use reader::{Pages, Reader, recognise};
pub use report::{EngineReport, Sleep};
pub use sample::Sample;
pub use target::{Endpoint, EngineChoice, Scheme, Secret, Target, TargetId, UnknownEngine, View};
