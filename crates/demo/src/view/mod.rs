//! What is seen in the terminal: a picture that is redrawn, or lines.

mod frame;
mod live;
mod plain;
mod summary;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

pub(crate) use summary::print_summary;

use crate::pace::Pace;
use crate::record::{Entry, Record};
use crate::stage::Stage;
use crate::story::Story;
use crate::world::World;
use live::Live;
use plain::Plain;

/// Where the run is shown.
pub(crate) enum View {
    /// A picture that is redrawn.
    Live(Live),
    /// Lines.
    Plain(Plain),
}

/// What is to be shown of one moment.
pub(crate) struct Scene<'a> {
    /// The story.
    pub(crate) story: &'a Story,
    /// The world.
    pub(crate) world: &'a World,
    /// What happened so far.
    pub(crate) record: &'a Record,
    /// The real parts.
    pub(crate) stage: &'a Stage,
    /// The speed that was asked for.
    pub(crate) pace: Pace,
    /// The speed that is reached.
    pub(crate) speed: f64,
}

/// A machine that reaches less than this part of the speed is said to be too slow for it.
pub(crate) const SLOW: f64 = 0.8;

/// Prints a line. Whoever reads through a pager may have seen enough: the run goes on, to its report.
///
/// # Errors
///
/// Standard output cannot be written.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output"),
    }
}

impl View {
    /// A picture on a terminal, lines elsewhere or where `plain` asks for them.
    ///
    /// # Errors
    ///
    /// The terminal cannot be written.
    pub(crate) fn start(plain: bool, story: &Story, pace: Pace) -> anyhow::Result<Self> {
        if plain || !std::io::stdout().is_terminal() {
            Ok(Self::Plain(Plain::start(story, pace)?))
        } else {
            Ok(Self::Live(Live::start()?))
        }
    }

    /// Shows a decision.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub(crate) fn entry(&mut self, story: &Story, entry: &Entry) -> anyhow::Result<()> {
        match self {
            Self::Live(_) => Ok(()),
            Self::Plain(plain) => plain.entry(story, entry),
        }
    }

    /// Shows a moment.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub(crate) fn tick(&mut self, scene: &Scene<'_>) -> anyhow::Result<()> {
        match self {
            Self::Live(live) => live.draw(scene),
            Self::Plain(plain) => plain.tick(scene),
        }
    }

    /// Gives the terminal back. Returns whether the decisions stay to be read.
    pub(crate) fn end(self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// Whether `speed` is too far below what was asked for.
pub(crate) fn is_slow(speed: f64, pace: Pace) -> bool {
    speed < SLOW * pace.speed()
}
