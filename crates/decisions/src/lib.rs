//! The log of sizing decisions: what was seen, what was wanted and what was decided, so that every
//! decision can be made again.
//!
//! [`DecisionLog::decide`] lets a `Sizer` decide and keeps a [`Record`] of it: the newest in memory, and
//! all of them on disk where a directory is given, as JSON lines within a size. [`Reader`] reads them back,
//! [`replay`] runs them through the same code and says whether it decides the same, bit for bit, and
//! [`what_if`] shows what another intent would have asked for.

mod course;
mod directory;
mod error;
mod log;
mod read;
mod record;
mod replay;
mod ring;
mod what_if;
mod writer;

pub use error::LogError;
pub use log::{DecisionLog, LogStats};
pub use read::{Reader, Skipped};
pub use record::{Record, State};
pub use replay::{Difference, Replay, replay};
pub use what_if::{Divergence, Supposed, WhatIf, what_if};
