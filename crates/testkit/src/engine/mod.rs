//! Mock inference engines: they speak real engines' HTTP around a small batching model, so that
//! load in gives the metrics that load would give.
//!
//! [`MockEngine`] is an engine on a socket; [`Flavour`] says which it passes for, [`ModelSettings`]
//! how big and how fast it is, [`Misbehaviour`] what it does wrong. [`Load`] sends requests to
//! engines over HTTP; [`Arrivals`] makes the same requests for those who hand them to an engine
//! directly ([`MockEngine::submit`]). [`Batcher`] is the model alone, without sockets or clocks.
//!
//! Prompts count by words, a token of an answer is a word, and an answer is as long as the request
//! allows.

mod arrivals;
mod batcher;
mod cores;
mod door;
mod flavour;
mod http;
mod load;
mod misbehaviour;
mod mock;
mod page;
mod prefixes;
mod service;
mod settings;
mod tally;
mod timing;

pub use arrivals::{Arrivals, Lengths, Pace};
pub use batcher::{Batcher, Event, Finish, Finished, Occupancy, Prefix, Refused, Request, RequestId};
pub use cores::{CoresError, NotTaken};
pub use flavour::{Flavour, UnknownFlavour};
pub use load::{Balance, Load, LoadOptions, LoadResults};
pub use misbehaviour::Misbehaviour;
pub use mock::{EngineError, EngineOptions, MockEngine};
pub use page::Gauges;
pub use settings::{ModelSettings, SettingsError};
pub use tally::{Quantity, Totals};
pub use timing::IterationTime;
