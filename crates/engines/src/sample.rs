use std::cmp::Ordering;

use rheostat_reading::{Absent, Quality};

use crate::fact::PerFact;
use crate::index::Part;
use crate::{Engine, Fact, Sleep};

/// What one scrape of an engine said, through one [`crate::View`], in one vocabulary.
///
/// To be used again for the next scrape: it keeps its memory.
#[derive(Debug, Default)]
pub struct Sample {
    pub(crate) engine: Option<Engine>,
    pub(crate) sleep: Sleep,
    /// Seconds since 1970 on the engine's clock, where its page says so and means one process.
    pub(crate) started: Option<f64>,
    pub(crate) told: PerFact<Told>,
    /// The series of counters and distributions, in a fixed order that the page's does not change.
    pub(crate) points: Vec<Point>,
    pub(crate) notes: Vec<String>,
}

/// What was told of a fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// Nothing, and why.
    Not(Absent),
    /// A number that holds now, and how directly it is told.
    Now(f64, Quality),
    /// [`Sample::points`] have its counters.
    Counter,
    /// [`Sample::points`] have its sums and counts, and its buckets.
    Distribution {
        /// Bounds of the buckets that all its series have; at most [`MOST_BUCKETS`].
        bounds: Vec<f64>,
        /// Why it has no mean, where its sum or its count is missing. Either without the other would make
        /// the mean 0, or no traffic.
        no_mean: Option<String>,
    },
}

/// Points of one fact that are taken from a page. A page that has more of them is of no use for that
/// fact: the largest real ones are histograms of 30 buckets for each of a hundred models or ranks.
pub(crate) const MOST_POINTS: usize = 4096;

/// Buckets of one distribution. The largest real ones have 40.
pub(crate) const MOST_BUCKETS: usize = 512;

/// A value of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) fact: Fact,
    pub(crate) part: Part,
    /// Bound of the bucket.
    pub(crate) bound: f64,
    /// Names the series by its labels.
    pub(crate) key: u64,
    /// Names its data-parallel rank.
    pub(crate) rank: u64,
    pub(crate) value: f64,
    /// Which source and which of its names it came from, while that is not decided.
    pub(crate) source: usize,
    pub(crate) place: usize,
}

impl Point {
    /// Their order among the points of one part; of those that carry a time as their bound, that of the
    /// times.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.bound
            .total_cmp(&other.bound)
            .then(self.key.cmp(&other.key))
            .then(self.rank.cmp(&other.rank))
            .then(self.value.total_cmp(&other.value))
    }
}

impl Default for Told {
    fn default() -> Self {
        Self::Not(Absent::NotSupported)
    }
}

impl Told {
    /// A distribution in which nothing was observed yet.
    pub(crate) const fn nothing_observed() -> Self {
        Self::Distribution {
            bounds: Vec::new(),
            no_mean: None,
        }
    }
}

impl Sample {
    /// The engine that answered.
    #[must_use]
    pub fn engine(&self) -> Option<Engine> {
        self.engine
    }

    /// Whether it serves.
    #[must_use]
    pub fn sleep(&self) -> Sleep {
        self.sleep
    }

    /// What was told of a fact that holds now; `None` for one that was not told, or that only a
    /// second sample makes a number.
    #[must_use]
    pub fn now(&self, fact: Fact) -> Option<f64> {
        match self.told.get(fact) {
            Told::Now(value, _) => Some(*value),
            Told::Not(_) | Told::Counter | Told::Distribution { .. } => None,
        }
    }

    /// What a person should know of it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// As new, but for its memory.
    pub(crate) fn clear(&mut self) {
        self.engine = None;
        self.sleep = Sleep::Unknown;
        self.started = None;
        self.told = PerFact::default();
        self.points.clear();
        self.notes.clear();
    }

    /// The points of `fact`.
    pub(crate) fn points_of(&self, fact: Fact) -> &[Point] {
        let start = self.points.partition_point(|point| point.fact < fact);
        let end = self.points.partition_point(|point| point.fact <= fact);
        self.points.get(start..end).unwrap_or_default()
    }
}
