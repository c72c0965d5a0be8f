use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use rand::{Rng, RngExt};
use rheostat_simulator::{Controller, START};
use rheostat_sizing::Observation;

/// How long the count stays the same at least. Longer, and each start would be that much too early; shorter,
/// and a search would have more to move than it has time for.
pub(crate) const SLOT: Duration = Duration::from_secs(5);

/// How many replicas are to serve in each slot, known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    serving: Vec<u32>,
    /// Slots that a start takes.
    start: usize,
}

impl Plan {
    /// `serving` replicas, each asked for one `cold_start` ahead.
    pub(crate) fn new(serving: Vec<u32>, cold_start: Duration) -> Self {
        let start = cold_start.as_nanos().div_ceil(SLOT.as_nanos()) as usize;
        Self { serving, start }.settled()
    }

    /// How many slots it has.
    pub(crate) fn slots(&self) -> usize {
        self.serving.len()
    }

    /// Slots that a start takes.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// How many replicas are asked for in each of `slots`: as many as any moment needs until one that is asked
    /// for then serves.
    pub(crate) fn asked(&self, slots: Range<usize>) -> Vec<u32> {
        let seen = &self.serving[slots.start..(slots.end + self.start).min(self.serving.len())];
        let mut asked = largest_ahead(seen, self.start + 1);
        asked.truncate(slots.len());
        asked
    }

    /// The same, but a replica that would be asked for again before it could have started is kept: it serves
    /// anyway, and is paid.
    fn settled(mut self) -> Self {
        // What is asked for throughout the time of a start serves: the opening of morphology, reversed in time.
        let asked = self.asked(0..self.slots());
        let turned: Vec<u32> = asked.iter().rev().map(|count| u32::MAX - count).collect();
        let least = largest_ahead(&turned, self.start + 1);
        self.serving = least.iter().rev().map(|count| u32::MAX - count).collect();
        self
    }

    /// One that differs in one or two places within `slots`, drawn from `random`: a replica more or less, over a
    /// whole run of slots that have as many or over a part of it, at its beginning, its end or anywhere.
    pub(crate) fn changed(
        &self,
        slots: &Range<usize>,
        allowed: &RangeInclusive<u32>,
        random: &mut impl Rng,
    ) -> Self {
        let mut changed = self.clone();
        for _ in 0..random.random_range(1..=2) {
            changed.change(slots, allowed, random);
        }
        changed.settled()
    }

    fn change(&mut self, slots: &Range<usize>, allowed: &RangeInclusive<u32>, random: &mut impl Rng) {
        let place = random.random_range(slots.clone());
        let count = self.serving[place];
        let fewer = random.random::<bool>();
        let wanted = if fewer { count.saturating_sub(1) } else { count + 1 };
        // From one slot to all of them, short ones as often as long ones.
        let longest = (slots.len() as f64).ln();
        let length = (random.random::<f64>() * longest).exp().round() as usize;
        let anchor = random.random_range(0..4);
        if !allowed.contains(&wanted) {
            return;
        }
        let differs = |other: &u32| if fewer { *other < count } else { *other > count };
        let before = self.serving[slots.start..place].iter().rposition(differs);
        let after = self.serving[place..slots.end].iter().position(differs);
        let run = before.map_or(slots.start, |found| slots.start + found + 1)
            ..after.map_or(slots.end, |found| place + found);
        let part = match anchor {
            0 => run.start..run.end.min(run.start + length),
            1 => run.start.max(run.end.saturating_sub(length))..run.end,
            2 => place..run.end.min(place + length),
            _ => run,
        };
        for serving in &mut self.serving[part] {
            *serving = if fewer {
                (*serving).min(wanted)
            } else {
                (*serving).max(wanted)
            };
        }
    }
}

/// For each of `counts` the largest of it and of those that follow, `width` of them.
fn largest_ahead(counts: &[u32], width: usize) -> Vec<u32> {
    // Candidates for a maximum, the nearest last: each is larger than all that are nearer.
    let mut candidates = std::collections::VecDeque::new();
    let mut largest = vec![0; counts.len()];
    for place in (0..counts.len()).rev() {
        while candidates
            .back()
            .is_some_and(|near: &usize| counts[*near] <= counts[place])
        {
            candidates.pop_back();
        }
        candidates.push_back(place);
        while candidates.front().is_some_and(|far| *far >= place + width) {
            candidates.pop_front();
        }
        largest[place] = candidates.front().map_or(0, |far| counts[*far]);
    }
    largest
}

/// Asks for counts that were made beforehand, as the oracle does: by itself, without KEDA.
#[derive(Debug)]
pub(crate) struct Planned {
    asked: Vec<u32>,
    /// The slot of its last look.
    slot: usize,
}

impl Planned {
    /// `asked` replicas in each slot.
    pub(crate) const fn new(asked: Vec<u32>) -> Self {
        Self { asked, slot: 0 }
    }
}

impl Controller for Planned {
    /// Until the next change: to look in between would take time and change nothing.
    fn period(&self) -> Duration {
        let rest = self.asked.get(self.slot..).unwrap_or_default();
        let same = rest.iter().take_while(|count| Some(*count) == rest.first());
        SLOT * same.count().max(1) as u32
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        self.slot = (observation.now.since(START).as_nanos() / SLOT.as_nanos()) as usize;
        self.asked.get(self.slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn plan(serving: &[u32], start: u32) -> Plan {
        Plan::new(serving.to_vec(), SLOT * start)
    }

    #[test]
    fn a_replica_is_asked_for_one_start_before_it_serves() {
        let plan = plan(&[1, 1, 1, 1, 3, 1, 1, 1, 1], 2);
        assert_eq!(plan.asked(0..9), [1, 1, 3, 3, 3, 1, 1, 1, 1]);
        assert_eq!(plan.asked(1..3), [1, 3]);
    }

    #[test]
    fn a_gap_that_is_shorter_than_a_start_is_kept() {
        assert_eq!(
            plan(&[2, 1, 1, 2, 1, 1, 1, 2], 2).serving,
            [2, 2, 2, 2, 1, 1, 1, 2]
        );
    }

    #[test]
    fn changes_stay_within_what_is_allowed_and_repeat() {
        let begin = plan(&[3; 100], 3);
        let draw = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut plan = begin.clone();
            for _ in 0..500 {
                plan = plan.changed(&(20..60), &(1..=5), &mut random);
            }
            plan
        };
        let drawn = draw(1);
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        assert!(drawn.serving.iter().all(|count| (1..=5).contains(count)));
        assert_eq!(drawn.serving[70..], begin.serving[70..]);
        assert_eq!(drawn, drawn.clone().settled());
    }
}
