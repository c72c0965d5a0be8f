use crate::counts::Counts;
use crate::lengths::Lengths;
use crate::prometheus::Rates;
use crate::request::Request;
use crate::rows::Rows;
use crate::servegen::Clients;

/// What a trace was read from: requests, or how many of them come. Everything is told window by window,
/// each with random numbers of its own, so that a trace can begin at any of them.
#[derive(Debug)]
pub(crate) enum Source {
    Rows(Rows),
    Clients(Clients),
    Counts(Counts),
    Rates(Rates),
}

/// How requests are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) factor: f64,
    pub(crate) lengths: Lengths,
}

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

impl Source {
    /// Nanoseconds of a window.
    pub(crate) fn window(&self) -> u64 {
        match self {
            Self::Rows(_) => Rows::WINDOW,
            Self::Clients(clients) => clients.window(),
            Self::Counts(_) => Counts::WINDOW,
            Self::Rates(rates) => rates.window(),
        }
    }

    /// Nanoseconds of all of it.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Rows(rows) => rows.length(),
            Self::Clients(clients) => clients.length(),
            Self::Counts(counts) => counts.length(),
            Self::Rates(rates) => rates.length(),
        }
    }

    /// Puts the requests of `window`, in order of time, into `into`, which is emptied first.
    pub(crate) fn fill(&self, window: u64, draw: &Draw, into: &mut Vec<Request>) {
        into.clear();
        match self {
            Self::Rows(rows) => rows.fill(window, draw, into),
            Self::Clients(clients) => clients.fill(window, draw, into),
            Self::Counts(counts) => counts.fill(window, draw, into),
            Self::Rates(rates) => rates.fill(window, draw, into),
        }
    }

    /// How many requests `window` has on average, before they are multiplied.
    pub(crate) fn expected(&self, window: u64) -> f64 {
        match self {
            Self::Rows(rows) => rows.within(window).len() as f64,
            Self::Clients(clients) => clients.expected(window),
            Self::Counts(counts) => counts.expected(window),
            Self::Rates(rates) => rates.expected(window),
        }
    }

    /// How many windows there are.
    pub(crate) fn windows(&self) -> u64 {
        // The end itself belongs to rows, whose length is the time of the last.
        match self {
            Self::Rows(_) => self.length() / self.window() + 1,
            _ => self.length().div_ceil(self.window()),
        }
    }
}
