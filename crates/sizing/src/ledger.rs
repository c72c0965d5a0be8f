use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::intent::{Amount, Budget, Period, ReplicaShape};

/// What a workload has spent, in GPU-hours, and how many replicas it has had lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// GPU-hours of each minute of the last hour and of each hour of the last month; the newest last.
    minutes: VecDeque<(u64, f64)>,
    hours: VecDeque<(u64, f64)>,
    at: Option<Timestamp>,
    gpus: f64,
    /// When the replica count changed, and to what; the newest last.
    counts: VecDeque<(Timestamp, u32)>,
}

/// A gap in what was seen that is longer is not paid for as if it had been seen.
const LONGEST_GAP: Duration = Duration::from_secs(300);

/// Rate limits look no farther back.
pub(crate) const LONGEST_RATE: Duration = Duration::from_secs(3600);

const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;

impl Ledger {
    /// Takes how many replicas there are now.
    pub(crate) fn pass(&mut self, now: Timestamp, replicas: u32, shape: &ReplicaShape) {
        if let Some(before) = self.at {
            let spent = self.gpus * now.since(before).min(LONGEST_GAP).as_secs_f64() / 3600.0;
            add(&mut self.minutes, now.unix_nanos() / MINUTE, spent, 60);
            add(&mut self.hours, now.unix_nanos() / HOUR, spent, 24 * 30);
        }
        self.at = Some(now);
        self.gpus = f64::from(replicas) * shape.gpus;
        if self.counts.back().is_none_or(|(_, last)| *last != replicas) {
            self.counts.push_back((now, replicas));
        }
        // The count that was in force when the window began is still needed.
        while self.counts.len() > 1
            && self
                .counts
                .get(1)
                .is_some_and(|(at, _)| now.since(*at) >= LONGEST_RATE)
        {
            self.counts.pop_front();
        }
    }

    /// The fewest and the most replicas within the last `span`.
    pub(crate) fn range(&self, now: Timestamp, span: Duration) -> Option<(u32, u32)> {
        let mut range: Option<(u32, u32)> = None;
        for (_, count) in self.counts.iter().enumerate().filter_map(|(place, entry)| {
            let until = self.counts.get(place + 1).map_or(now, |next| next.0);
            (now.since(until) < span).then_some(entry)
        }) {
            let (least, most) = range.unwrap_or((*count, *count));
            range = Some((least.min(*count), most.max(*count)));
        }
        range
    }

    /// What is left of `budget`, as a part of it; below 0 where more was spent. `None` where it is in money
    /// and nobody said what a GPU costs.
    pub(crate) fn left(&self, now: Timestamp, budget: &Budget, shape: &ReplicaShape) -> Option<f64> {
        let hours = self.spent(now, budget.per);
        let (amount, spent) = match budget.amount {
            Amount::GpuHours(amount) => (amount, hours),
            Amount::Money(amount) => (amount, hours * shape.price_per_gpu_hour?),
        };
        Some(1.0 - spent / amount.max(1e-9))
    }

    /// GPU-hours of the last `period`.
    pub(crate) fn spent(&self, now: Timestamp, period: Period) -> f64 {
        let (entries, unit, count) = match period {
            Period::Hour => (&self.minutes, MINUTE, 60),
            Period::Day => (&self.hours, HOUR, 24),
            Period::Month => (&self.hours, HOUR, 24 * 30),
        };
        let newest = now.unix_nanos() / unit;
        entries
            .iter()
            .filter(|(at, _)| *at + count > newest)
            .map(|(_, spent)| spent)
            .sum()
    }
}

fn add(entries: &mut VecDeque<(u64, f64)>, at: u64, spent: f64, most: usize) {
    match entries.back_mut() {
        Some((last, sum)) if *last == at => *sum += spent,
        _ => entries.push_back((at, spent)),
    }
    while entries.len() > most {
        entries.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::WhenReached;

    const SHAPE: ReplicaShape = ReplicaShape {
        gpus: 4.0,
        price_per_gpu_hour: Some(2.5),
        parameters: None,
    };

    #[test]
    fn gpu_hours_and_money_are_counted_over_sliding_periods() {
        let mut ledger = Ledger::default();
        let start = Timestamp::from_unix_nanos(500_000 * HOUR);
        let mut now = start;
        for _ in 0..3 * 60 {
            ledger.pass(now, 2, &SHAPE);
            now = now.plus(Duration::from_secs(60));
        }
        let spent = ledger.spent(now, Period::Hour);
        assert!((spent - 8.0).abs() < 0.2, "{spent}");
        let spent = ledger.spent(now, Period::Day);
        assert!((spent - 24.0).abs() < 0.2, "{spent}");
        let budget = Budget {
            amount: Amount::Money(120.0),
            per: Period::Day,
            when_reached: WhenReached::Freeze,
        };
        let left = ledger.left(now, &budget, &SHAPE).unwrap();
        assert!((left - 0.5).abs() < 0.01, "{left}");
        let unpriced = ReplicaShape {
            price_per_gpu_hour: None,
            ..SHAPE
        };
        assert_eq!(ledger.left(now, &budget, &unpriced), None);
    }

    #[test]
    fn the_range_is_that_of_the_last_while() {
        let mut ledger = Ledger::default();
        let start = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        for (second, replicas) in [(0, 2), (60, 5), (120, 3)] {
            ledger.pass(start.plus(Duration::from_secs(second)), replicas, &SHAPE);
        }
        let now = start.plus(Duration::from_secs(150));
        assert_eq!(ledger.range(now, Duration::from_secs(10)), Some((3, 3)));
        assert_eq!(ledger.range(now, Duration::from_secs(60)), Some((3, 5)));
        assert_eq!(ledger.range(now, Duration::from_secs(120)), Some((2, 5)));
    }
}
