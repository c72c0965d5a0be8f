use std::collections::VecDeque;
use std::iter::repeat_n;
use std::mem::take;
use std::ops::Range;
use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::Fact;
use crate::fact::PerFact;

/// What counters and distributions have gained since some beginning, all series of each together: as
/// it is now, and as it was at moments before.
///
/// A moment is numbers only, 2 to 30 for each fact, since there are many of them for each engine:
/// whatever they have in common is kept once, in the present tallies.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    now: PerFact<Option<Tally>>,
    /// Oldest first; the last is that of the newest scrape.
    moments: VecDeque<Moment>,
    /// The rows of a moment that was dropped, for the next one: memory that comes and goes with each
    /// scrape, between pages that come and go, would leave holes.
    spare: Vec<f64>,
}

/// What a counter or a distribution has gained.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Bounds of the buckets.
    bounds: Box<[f64]>,
    row: Box<[f64]>,
}

/// Of a counter its gain, of a distribution the number of observations; sum of the observations; then
/// the observations up to each bound.
type Row = [f64];

const COUNT: usize = 0;
const SUM: usize = 1;
const BUCKETS: usize = 2;

/// The tallies as they were: the rows of the facts that it has, one after the other. Each is as long
/// as that of the fact's present tally.
#[derive(Debug)]
struct Moment {
    at: Timestamp,
    has: PerFact<bool>,
    rows: Vec<f64>,
}

/// What lies between two scrapes.
pub(crate) struct Gain<'a> {
    from: &'a Row,
    to: &'a Row,
    bounds: &'a [f64],
    pub(crate) window: Duration,
}

/// How many earlier moments are kept, whatever the window and the period: the true window is longer
/// than the view's by a thirty-second part at most, or one period.
const MOMENTS: u32 = 32;

impl Tallies {
    /// The tally of `fact`, whose buckets have these bounds now.
    pub(crate) fn of(&mut self, fact: Fact, bounds: &[f64]) -> &mut Tally {
        if let Some(tally) = self.now.get(fact)
            && *tally.bounds != *bounds
        {
            // Counts up to other bounds cannot be compared with these. But a distribution that had no
            // series yet had no observations either, whatever its bounds were to be.
            let had_none = tally.bounds.is_empty() && tally.row[COUNT] <= 0.0;
            for moment in &mut self.moments {
                let Some(range) = moment.range(&self.now, fact) else {
                    continue;
                };
                let numbers = if had_none { BUCKETS + bounds.len() } else { 0 };
                moment.rows.splice(range, repeat_n(0.0, numbers));
                *moment.has.get_mut(fact) = had_none;
            }
            *self.now.get_mut(fact) = None;
        }
        self.now.get_mut(fact).get_or_insert_with(|| Tally {
            bounds: bounds.into(),
            row: vec![0.0; BUCKETS + bounds.len()].into(),
        })
    }

    /// Keeps the tallies of the facts in `has` as they are at `at`, and drops what is not needed for
    /// gains over `window`, nor what is older than `oldest`.
    pub(crate) fn keep(&mut self, has: &PerFact<bool>, at: Timestamp, window: Duration, oldest: Timestamp) {
        while self.moments.back().is_some_and(|moment| moment.at >= at) {
            self.moments.pop_back();
        }
        // The newest before this one is dropped where it lies close behind its predecessor.
        let mut last = self.moments.iter().rev();
        if let (Some(last), Some(before)) = (last.next(), last.next())
            && last.at.since(before.at) < window / MOMENTS
        {
            self.moments.pop_back();
        }
        let here = |fact: Fact| self.now.get(fact).as_ref().filter(|_| *has.get(fact));
        let rows = || {
            let tallies = Fact::ALL.iter().filter_map(|&fact| here(fact));
            tallies.map(|tally| &*tally.row)
        };
        let mut values = take(&mut self.spare);
        values.clear();
        // As long as it must be and no longer.
        values.reserve_exact(rows().map(<[f64]>::len).sum());
        rows().for_each(|row| values.extend_from_slice(row));
        let has = PerFact::from_fn(|fact| here(fact).is_some());
        self.moments.push_back(Moment {
            at,
            has,
            rows: values,
        });
        let start = at.minus(window);
        while self.moments.get(1).is_some_and(|second| second.at <= start)
            || self.moments.front().is_some_and(|moment| moment.at < oldest)
        {
            self.spare = self
                .moments
                .pop_front()
                .map(|moment| moment.rows)
                .unwrap_or_default();
        }
    }

    /// What `fact` gained over `window`, up to the newest moment; `None` where there is nothing to
    /// compare with.
    pub(crate) fn gain(&self, fact: Fact, window: Duration) -> Option<Gain<'_>> {
        let tally = self.now.get(fact).as_ref()?;
        let newest = self.moments.back()?;
        let to = newest.row(&self.now, fact)?;
        let start = newest.at.minus(window);
        let mut from = None;
        for moment in self.moments.iter().rev().skip(1) {
            if !*moment.has.get(fact) {
                continue;
            }
            from = Some(moment);
            if moment.at <= start {
                break;
            }
        }
        let moment = from?;
        Some(Gain {
            from: moment.row(&self.now, fact)?,
            to,
            bounds: &tally.bounds,
            window: newest.at.since(moment.at),
        })
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets how it was.
    pub(crate) fn clear_moments(&mut self) {
        self.moments.clear();
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let moments = self.moments.capacity() * size_of::<Moment>();
        let rows = self.moments.iter().map(|moment| moment.rows.capacity());
        let now = Fact::ALL.iter().filter_map(|&fact| self.now.get(fact).as_ref());
        let now = now.map(|tally| tally.bounds.len() + tally.row.len());
        let numbers = self.spare.capacity() + rows.chain(now).sum::<usize>();
        size_of::<Self>() + moments + numbers * size_of::<f64>()
    }

    #[cfg(test)]
    pub(crate) fn moments(&self) -> usize {
        self.moments.len()
    }
}

impl Tally {
    pub(crate) fn add_count(&mut self, gain: f64) {
        self.row[COUNT] += gain;
    }

    pub(crate) fn add_sum(&mut self, gain: f64) {
        self.row[SUM] += gain;
    }

    /// To the bucket whose bound is at `place` among the bounds.
    pub(crate) fn add_bucket(&mut self, place: usize, gain: f64) {
        if let Some(bucket) = self.row.get_mut(BUCKETS + place) {
            *bucket += gain;
        }
    }
}

impl Moment {
    /// Where the row of `fact` is.
    fn range(&self, now: &PerFact<Option<Tally>>, fact: Fact) -> Option<Range<usize>> {
        if !*self.has.get(fact) {
            return None;
        }
        let length = |fact| now.get(fact).as_ref().map_or(0, |tally| tally.row.len());
        let before = Fact::ALL.iter().take(fact as usize);
        let start = before
            .filter(|&&fact| *self.has.get(fact))
            .map(|&fact| length(fact))
            .sum();
        Some(start..start + length(fact))
    }

    fn row(&self, now: &PerFact<Option<Tally>>, fact: Fact) -> Option<&Row> {
        self.rows.get(self.range(now, fact)?)
    }
}

impl Gain<'_> {
    /// Of a counter what it gained, of a distribution how many observations.
    pub(crate) fn count(&self) -> f64 {
        self.of(COUNT)
    }

    pub(crate) fn sum(&self) -> f64 {
        self.of(SUM)
    }

    pub(crate) fn buckets(&self) -> Vec<f64> {
        let places = BUCKETS..BUCKETS + self.bounds.len();
        places.map(|place| self.of(place)).collect()
    }

    pub(crate) fn bounds(&self) -> &[f64] {
        self.bounds
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() / self.window.as_secs_f64()
    }

    fn of(&self, place: usize) -> f64 {
        self.to[place] - self.from[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos((2_000 + seconds) * 1_000_000_000)
    }

    fn keep(tallies: &mut Tallies, facts: &[Fact], seconds: u64) {
        let has = PerFact::from_fn(|fact| facts.contains(&fact));
        tallies.keep(&has, at(seconds), WINDOW, at(0));
    }

    fn gained(tallies: &Tallies, fact: Fact) -> Option<(f64, f64, Vec<f64>, u64)> {
        let gain = tallies.gain(fact, WINDOW)?;
        Some((gain.count(), gain.sum(), gain.buckets(), gain.window.as_secs()))
    }

    #[test]
    fn facts_come_go_and_change_their_bounds_without_touching_each_other() {
        let (tokens, ttft, e2e) = (Fact::GenerationTokens, Fact::Ttft, Fact::E2e);
        let mut tallies = Tallies::default();
        let count = |tallies: &mut Tallies, bounds: &[f64]| {
            tallies.of(tokens, &[]).add_count(7.0);
            let tally = tallies.of(ttft, bounds);
            tally.add_count(2.0);
            tally.add_sum(0.5);
            tally.add_bucket(1, 2.0);
            tallies.of(e2e, &[1.0]).add_bucket(0, 3.0);
        };
        // A distribution is declared, and has no observations yet.
        tallies.of(ttft, &[]);
        tallies.of(tokens, &[]);
        tallies.of(e2e, &[1.0]);
        keep(&mut tallies, &[tokens, ttft, e2e], 0);
        count(&mut tallies, &[0.1, 0.2]);
        keep(&mut tallies, &[tokens, ttft, e2e], 2);
        assert_eq!(gained(&tallies, ttft), Some((2.0, 0.5, vec![0.0, 2.0], 2)));
        // A page without one of them.
        count(&mut tallies, &[0.1, 0.2]);
        keep(&mut tallies, &[tokens, e2e], 4);
        assert_eq!(gained(&tallies, ttft), None);
        assert_eq!(gained(&tallies, e2e), Some((0.0, 0.0, vec![6.0], 4)));
        count(&mut tallies, &[0.1, 0.2]);
        keep(&mut tallies, &[tokens, ttft, e2e], 6);
        assert_eq!(gained(&tallies, ttft), Some((6.0, 1.5, vec![0.0, 6.0], 6)));
        // Other bounds: nothing to compare with, and the others stay what they were.
        count(&mut tallies, &[0.1, 0.2, 0.4]);
        keep(&mut tallies, &[tokens, ttft, e2e], 8);
        assert_eq!(gained(&tallies, ttft), None);
        assert_eq!(gained(&tallies, tokens), Some((28.0, 0.0, vec![], 8)));
        assert_eq!(gained(&tallies, e2e), Some((0.0, 0.0, vec![12.0], 8)));
        count(&mut tallies, &[0.1, 0.2, 0.4]);
        keep(&mut tallies, &[tokens, ttft, e2e], 10);
        assert_eq!(gained(&tallies, ttft), Some((2.0, 0.5, vec![0.0, 2.0, 0.0], 2)));
    }
}
