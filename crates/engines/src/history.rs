use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::fact::PerFact;
use crate::hash::mix;
use crate::index::Part;
use crate::report::{self, EngineReport};
use crate::sample::{Point, Sample, Told};
use crate::{Fact, View};

/// What one engine said over time, through one [`View`]: enough to tell rates and quantiles over the
/// view's window, and no more.
///
/// What a counter gained between two scrapes is taken series by series, never from a sum of them, so
/// that a rank that restarts or a model that is unloaded does not make the others' counts look new:
/// - a series that did not fall gained the difference;
/// - one that fell was reset, and gained what it shows now (as in Prometheus' `increase`);
/// - one that is new gained what it shows, since the page before was whole and did not have it;
/// - one that is missing gained nothing.
///
/// Nothing is extrapolated to the ends of the window, so that three requests are three and not 3.4: an
/// increase is divided by the time between the two scrapes that it lies between, and
/// [`rheostat_reading::Reading::window`] tells this time. It is the view's window, or a little more, or
/// less while there are no older scrapes.
///
/// Where two scrapes were answered by different processes (one port, several of them), nothing of
/// them can be compared: rates and quantiles are absent until two scrapes in succession fit.
#[derive(Debug)]
pub struct History {
    window: Duration,
    /// Of each series what it showed last.
    series: HashMap<u64, Last>,
    /// What all counters have gained since this history began.
    tallies: PerFact<Option<Tally>>,
    /// The same as it was earlier, oldest first; the last is that of the newest scrape.
    moments: VecDeque<Moment>,
    /// When counters were last seen to jump back and forth.
    torn_at: Option<Timestamp>,
    pub(crate) newest: Option<Newest>,
    pub(crate) failure: Option<String>,
}

/// The newest scrape, but for its series.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) at: Timestamp,
    pub(crate) engine: Option<crate::Engine>,
    pub(crate) sleep: crate::Sleep,
    pub(crate) started: Option<f64>,
    pub(crate) told: PerFact<Told>,
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    value: f64,
    at: Timestamp,
    /// Before it fell, until it is there again.
    before: Option<f64>,
}

/// What a counter or a distribution has gained.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Of a counter its gain, of a distribution the number of observations.
    pub(crate) count: f64,
    /// Sum of the observations.
    pub(crate) sum: f64,
    /// Bounds of the buckets.
    pub(crate) bounds: Arc<[f64]>,
    /// Observations up to each bound.
    pub(crate) buckets: Box<[f64]>,
}

#[derive(Debug)]
struct Moment {
    at: Timestamp,
    tallies: Vec<(Fact, Tally)>,
}

/// What counters did that only resets, or several processes, can explain.
#[derive(Clone, Copy, Debug, Default)]
struct Jumps {
    /// One fell.
    down: bool,
    /// One that fell is back where it was: these are two series of two processes.
    back: bool,
}

/// What lies between two scrapes.
pub(crate) struct Gain<'a> {
    pub(crate) from: &'a Tally,
    pub(crate) to: &'a Tally,
    pub(crate) window: Duration,
}

/// How a scrape follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// There was none, or it was another engine's, or long ago.
    First,
    /// It is the same process, as far as can be told.
    Same,
    /// The process was started in between.
    Restarted,
    /// Another process answers.
    Other,
}

impl History {
    /// How many earlier moments are kept, whatever the window and the period: the true window is
    /// longer than the view's by a thirty-second part at most, or one period.
    const MOMENTS: u32 = 32;

    /// What the clocks of an engine and of whoever asks it may differ by, seconds.
    const CLOCK_SKEW: f64 = 60.0;

    /// Nothing known yet.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self {
            window: view.window,
            series: HashMap::new(),
            tallies: PerFact::default(),
            moments: VecDeque::new(),
            torn_at: None,
            newest: None,
            failure: None,
        }
    }

    /// A scrape succeeded at `at` and said `sample`.
    pub fn push(&mut self, sample: &Sample, at: Timestamp) {
        self.failure = None;
        let succession = self.succession(sample, at);
        if matches!(succession, Succession::First | Succession::Other) {
            self.forget();
        }
        let mut notes = sample.notes.clone();
        let jumps = self.count(sample, at, succession);
        let recently = self
            .torn_at
            .is_some_and(|torn_at| at.since(torn_at) <= self.reach());
        let torn = jumps.back || (jumps.down && recently);
        if torn {
            self.torn_at = Some(at);
            self.moments.clear();
        }
        if torn || succession == Succession::Other {
            notes.push(
                "counters jump back and forth: several processes answer on this port, so that rates \
                 cannot be told"
                    .to_owned(),
            );
        }
        self.keep(sample, at);
        self.newest = Some(Newest {
            at,
            engine: sample.engine,
            sleep: sample.sleep,
            started: sample.started,
            told: sample.told.clone(),
            notes,
        });
        self.forget_series(sample.points.len(), at);
    }

    /// A scrape failed, for the reason `why`. What was known stays and grows old.
    pub fn fail(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// What is known: of the newest scrape that succeeded, however old it is.
    #[must_use]
    pub fn report(&self) -> EngineReport {
        report::of(self)
    }

    /// What `fact` gained over the window; `None` where there is nothing yet to compare with.
    pub(crate) fn gain(&self, fact: Fact) -> Option<Gain<'_>> {
        let newest = self.moments.back()?;
        let to = newest.tally(fact)?;
        let start = newest.at.minus(self.window);
        let earlier = self.moments.iter().rev().skip(1);
        let mut from = None;
        for moment in earlier {
            let Some(tally) = moment.tally(fact) else {
                continue;
            };
            from = Some((moment, tally));
            if moment.at <= start {
                break;
            }
        }
        let (moment, from) = from?;
        Some(Gain {
            from,
            to,
            window: newest.at.since(moment.at),
        })
    }

    fn forget(&mut self) {
        self.series.clear();
        self.moments.clear();
        self.tallies = PerFact::default();
    }

    fn succession(&self, sample: &Sample, at: Timestamp) -> Succession {
        let Some(newest) = &self.newest else {
            return Succession::First;
        };
        if newest.engine != sample.engine || at.since(newest.at) > self.reach() {
            return Succession::First;
        }
        match (newest.started, sample.started) {
            (Some(before), Some(now)) if (now - before).abs() > 0.5 => {
                let asked = newest.at.unix_nanos() as f64 / 1e9;
                if now > before && now + Self::CLOCK_SKEW >= asked {
                    Succession::Restarted
                } else {
                    Succession::Other
                }
            }
            _ => Succession::Same,
        }
    }

    /// Adds to the tallies what the series of `sample` gained.
    fn count(&mut self, sample: &Sample, at: Timestamp, succession: Succession) -> Jumps {
        let mut jumps = Jumps::default();
        for &fact in Fact::ALL {
            let bounds = match sample.told.get(fact) {
                Told::Counter => &[][..],
                Told::Distribution(bounds) => bounds,
                Told::Not(_) | Told::Now(..) => continue,
            };
            let known =
                self.newest.as_ref().is_some_and(|newest| {
                    matches!(newest.told.get(fact), Told::Counter | Told::Distribution(_))
                }) && matches!(succession, Succession::Same | Succession::Restarted);
            let tally = self
                .tallies
                .get_mut(fact)
                .get_or_insert_with(|| Tally::with(bounds));
            if *tally.bounds != *bounds {
                // Counts up to other bounds cannot be compared with these. But a distribution that had
                // no series yet had no observations either, whatever its bounds were to be.
                let had_none = tally.bounds.is_empty() && tally.count <= 0.0;
                *tally = Tally::with(bounds);
                for moment in &mut self.moments {
                    if had_none && let Some(earlier) = moment.tally_mut(fact) {
                        *earlier = tally.clone();
                    } else {
                        moment.tallies.retain(|(other, _)| *other != fact);
                    }
                }
            }
            for point in sample.points_of(fact) {
                let place = match point.part {
                    Part::Bucket => match bounds
                        .iter()
                        .position(|bound| bound.total_cmp(&point.bound).is_eq())
                    {
                        Some(place) => Some(place),
                        None => continue,
                    },
                    Part::Value | Part::Sum | Part::Count => None,
                };
                if !point.value.is_finite() {
                    continue;
                }
                let gain = gain(&mut self.series, point, at, known, succession, &mut jumps);
                match (point.part, place) {
                    (Part::Sum, _) => tally.sum += gain,
                    (_, Some(place)) => {
                        if let Some(bucket) = tally.buckets.get_mut(place) {
                            *bucket += gain;
                        }
                    }
                    (_, None) => tally.count += gain,
                }
            }
        }
        jumps
    }

    /// Keeps the tallies as they are now, and drops what is no longer needed.
    fn keep(&mut self, sample: &Sample, at: Timestamp) {
        while self.moments.back().is_some_and(|moment| moment.at >= at) {
            self.moments.pop_back();
        }
        // The newest before this one is dropped where it lies close behind its predecessor.
        let spacing = self.window / Self::MOMENTS;
        let mut last = self.moments.iter().rev();
        if let (Some(last), Some(before)) = (last.next(), last.next())
            && last.at.since(before.at) < spacing
        {
            self.moments.pop_back();
        }
        let tallies = Fact::ALL
            .iter()
            .filter(|&&fact| matches!(sample.told.get(fact), Told::Counter | Told::Distribution(_)))
            .filter_map(|&fact| Some((fact, self.tallies.get(fact).clone()?)))
            .collect();
        self.moments.push_back(Moment { at, tallies });
        let start = at.minus(self.window);
        while self.moments.get(1).is_some_and(|second| second.at <= start) {
            self.moments.pop_front();
        }
        let oldest = at.minus(self.reach());
        while self.moments.front().is_some_and(|moment| moment.at < oldest) {
            self.moments.pop_front();
        }
    }

    /// What is older than this is compared with nothing: after a long silence the mean over it says
    /// little of the present.
    fn reach(&self) -> Duration {
        const LEAST: Duration = Duration::from_secs(120);
        self.window.saturating_add(self.window.max(LEAST))
    }

    /// Forgets series that went away long ago.
    fn forget_series(&mut self, present: usize, at: Timestamp) {
        if self.series.len() > present {
            let oldest = at.minus(self.reach());
            self.series.retain(|_, last| last.at >= oldest);
        }
    }
}

/// What the series of `point` gained.
fn gain(
    series: &mut HashMap<u64, Last>,
    point: &Point,
    at: Timestamp,
    known: bool,
    succession: Succession,
    jumps: &mut Jumps,
) -> f64 {
    let value = point.value;
    let key = mix(
        mix(point.key, point.fact as u64),
        mix(point.part as u64, point.bound.to_bits()),
    );
    let Some(last) = series.get_mut(&key) else {
        let last = Last {
            value,
            at,
            before: None,
        };
        series.insert(key, last);
        return if known { value.max(0.0) } else { 0.0 };
    };
    let gain = if value < last.value {
        jumps.down = true;
        last.before = Some(last.value);
        value
    } else if succession == Succession::Restarted {
        value
    } else {
        if let Some(before) = last.before.take_if(|before| value >= *before) {
            // It fell and is back: more than it can have grown by within one scrape, unless it is so
            // small that nothing is lost by looking again.
            jumps.back |= last.value < before;
        }
        value - last.value
    };
    last.value = value;
    last.at = at;
    gain.max(0.0)
}

impl Tally {
    fn with(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.into(),
            buckets: vec![0.0; bounds.len()].into(),
            ..Self::default()
        }
    }
}

impl Moment {
    fn tally(&self, fact: Fact) -> Option<&Tally> {
        self.tallies
            .iter()
            .find_map(|(other, tally)| (*other == fact).then_some(tally))
    }

    fn tally_mut(&mut self, fact: Fact) -> Option<&mut Tally> {
        self.tallies
            .iter_mut()
            .find_map(|(other, tally)| (*other == fact).then_some(tally))
    }
}

impl Gain<'_> {
    /// Of a counter what it gained, of a distribution how many observations.
    pub(crate) fn count(&self) -> f64 {
        self.to.count - self.from.count
    }

    pub(crate) fn sum(&self) -> f64 {
        self.to.sum - self.from.sum
    }

    pub(crate) fn buckets(&self) -> Vec<f64> {
        self.to
            .buckets
            .iter()
            .zip(&self.from.buckets)
            .map(|(to, from)| to - from)
            .collect()
    }

    pub(crate) fn bounds(&self) -> &[f64] {
        &self.to.bounds
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() / self.window.as_secs_f64()
    }
}
