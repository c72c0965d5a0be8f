use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

/// What the demand usually is at each time of the day and of the week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Season {
    day: Vec<Option<f32>>,
    week: Vec<Option<f32>>,
    slot: Option<u64>,
    sum: f64,
    samples: u32,
}

/// Length of a slot: fine enough for the ramp of a morning, coarse enough for a mean.
const SLOT_SECONDS: u64 = 600;
const DAY: usize = 144;
const WEEK: usize = 7 * DAY;

/// What one more day, or week, counts beside those before.
const DAY_WEIGHT: f32 = 0.35;
const WEEK_WEIGHT: f32 = 0.5;

/// A season multiplies or divides by no more than this: a slot that was nearly empty once must not make a
/// forecast of a thousand.
const MOST_CHANGE: f64 = 4.0;

/// Slots on each side that are looked at too.
const AROUND: usize = 1;

impl Season {
    pub(crate) fn new() -> Self {
        Self {
            day: vec![None; DAY],
            week: vec![None; WEEK],
            slot: None,
            sum: 0.0,
            samples: 0,
        }
    }

    /// Whether it has every slot, which what was read from outside need not have.
    pub(crate) fn is_whole(&self) -> bool {
        self.day.len() == DAY && self.week.len() == WEEK
    }

    /// Takes the demand at `now`.
    pub(crate) fn add(&mut self, now: Timestamp, demand: f64) {
        let slot = slot_of(now);
        if self.slot != Some(slot) {
            if let Some(before) = self.slot.filter(|_| self.samples > 0) {
                let mean = (self.sum / f64::from(self.samples)) as f32;
                blend(&mut self.day[place(before, DAY)], mean, DAY_WEIGHT);
                blend(&mut self.week[place(before, WEEK)], mean, WEEK_WEIGHT);
            }
            (self.slot, self.sum, self.samples) = (Some(slot), 0.0, 0);
        }
        self.sum += demand;
        self.samples += 1;
    }

    /// By how much the demand at `then` is usually that at `now`, by the day and by the week; `None` where
    /// that was not seen yet.
    pub(crate) fn change(&self, now: Timestamp, then: Timestamp) -> (Option<f64>, Option<f64>) {
        let ratio = |profile: &[Option<f32>]| {
            let (at, to) = (usual(profile, now)?, usual(profile, then)?);
            Some((to.max(1e-3) / at.max(1e-3)).clamp(1.0 / MOST_CHANGE, MOST_CHANGE))
        };
        (ratio(&self.day), ratio(&self.week))
    }
}

const fn slot_of(now: Timestamp) -> u64 {
    now.unix_nanos() / 1_000_000_000 / SLOT_SECONDS
}

#[expect(clippy::cast_possible_truncation, reason = "below the length of the profile")]
const fn place(slot: u64, slots: usize) -> usize {
    (slot % slots as u64) as usize
}

fn blend(known: &mut Option<f32>, mean: f32, weight: f32) {
    *known = Some(known.map_or(mean, |before| before + weight * (mean - before)));
}

/// The mean of the slots around `at`.
fn usual(profile: &[Option<f32>], at: Timestamp) -> Option<f64> {
    let slots = profile.len();
    let middle = place(slot_of(at), slots) + slots;
    let (mut sum, mut seen) = (0.0, 0.0);
    for slot in middle - AROUND..=middle + AROUND {
        if let Some(mean) = profile[slot % slots] {
            sum += f64::from(mean);
            seen += 1.0;
        }
    }
    (seen > 0.0).then(|| sum / seen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn yesterdays_morning_tells_of_todays() {
        let mut season = Season::new();
        let midnight = Timestamp::from_unix_nanos(1_799_971_200_000_000_000);
        let minute = Duration::from_secs(60);
        let demand = |hour: u64| if (8..20).contains(&hour) { 10.0 } else { 2.0 };
        let mut now = midnight;
        assert_eq!(season.change(now, now.plus(60 * minute)), (None, None));
        for passed in 0..24 * 60 {
            season.add(now, demand(passed / 60));
            now = now.plus(minute);
        }
        let early = now.plus(7 * 60 * minute);
        let (day, week) = season.change(early, early.plus(120 * minute));
        assert!((day.unwrap() - MOST_CHANGE).abs() < 1e-9, "{day:?}");
        assert_eq!(week, None, "no week was seen");
    }
}
