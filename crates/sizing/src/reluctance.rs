use serde::{Deserialize, Serialize};

use crate::moment::{Moment, whole};

/// How reluctantly a single replica is given back.
///
/// Where the load lies between what `N - 1` and what `N` replicas can do, noise asks for the one and then for
/// the other. Where one that was given back is asked for again soon after, the next one is kept for as long as
/// a start takes, since that costs no more than to start it again (the break-even rule), and then for four times as
/// long each time, so that changes which lead nowhere die out. More than one too many go at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reluctance {
    /// Seconds for which one replica has been too many.
    surplus: f64,
    /// Seconds for which the next one is kept.
    hold: f64,
    /// Seconds since one was given back; `None` where none was.
    given_back: Option<f64>,
    /// What there was at the last look, where one was offered then.
    #[serde(default)]
    offered: Option<u32>,
}

/// Advice between two whole numbers is rounded up from here: a tenth of a replica more or less is within what
/// demand is known to.
const ROUND_UP_FROM: f64 = 0.5;

/// No more replicas are asked for while the advice lies no more than this part above what there is: demand is
/// not known better, and a few percent are within what queues even out. It matters from ten replicas on.
const KNOWN_TO: f64 = 0.05;

/// Advice falls to a whole number only once it lies no more than this above it.
const ROUND_DOWN_TO: f64 = 0.1;

/// Asking within so many seconds for what was given back shows that it should have been kept. Shorter, and a
/// load that wavers within the hour would not be recognised; longer, and days would be mistaken for noise.
const SOON: f64 = 3600.0;

/// No replica is kept for longer only because others were missed, in seconds. With hours, a bursty load keeps
/// for most of the day what it needs now and then; with less, a load just beyond what `N - 1` can do tries them
/// again each half hour.
const LONGEST: f64 = 3600.0;

/// What was missed is forgotten in so many seconds: another day may be quieter.
const FORGOTTEN: f64 = 24.0 * 3600.0;

impl Reluctance {
    /// How many replicas there should be, where there are `now` and `advice` is what the rules say.
    pub(crate) fn settle(&mut self, moment: Moment, now: u32, advice: f64) -> u32 {
        let (up, down) = (whole(advice - ROUND_UP_FROM), whole(advice - ROUND_DOWN_TO));
        let up = if advice - f64::from(now) > KNOWN_TO * f64::from(now) {
            up
        } else {
            now
        };
        self.hold *= (-moment.seconds / FORGOTTEN).exp();
        self.given_back = self.given_back.map(|seconds| seconds + moment.seconds);
        // What is offered may not be taken at once: the HPA looks when it does, and a limit may hold it.
        if self.offered.take().is_some_and(|before| now < before) {
            self.surplus = 0.0;
            self.given_back = Some(0.0);
        }
        if up > now {
            if self.given_back.take().is_some_and(|seconds| seconds <= SOON) {
                self.hold = (4.0 * self.hold).max(moment.horizon.as_secs_f64()).min(LONGEST);
            }
            self.surplus = 0.0;
            return up;
        }
        if down >= now {
            self.surplus = 0.0;
            return now;
        }
        self.surplus += moment.seconds;
        if now - down == 1 && self.surplus <= self.hold {
            return now;
        }
        self.offered = Some(now);
        down
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rheostat_reading::Timestamp;

    use super::*;

    const MINUTE: Moment = Moment {
        now: Timestamp::from_unix_nanos(1_800_000_000_000_000_000),
        step: 1,
        seconds: 60.0,
        horizon: Duration::from_secs(120),
        asleep: 0,
    };

    #[test]
    fn advice_between_two_numbers_leaves_either_as_it_is() {
        let mut reluctance = Reluctance::default();
        for _ in 0..60 {
            assert_eq!(reluctance.settle(MINUTE, 3, 2.4), 3);
            assert_eq!(reluctance.settle(MINUTE, 2, 2.4), 2);
        }
        assert_eq!(reluctance.settle(MINUTE, 2, 2.6), 3);
    }

    #[test]
    fn one_that_was_missed_is_kept_for_a_start_and_many_go_at_once() {
        let mut reluctance = Reluctance::default();
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 3, "nothing was missed yet");
        assert_eq!(reluctance.settle(MINUTE, 3, 4.0), 4, "it is missed");
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 4, "a start takes two minutes");
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 3);
        assert_eq!(reluctance.settle(MINUTE, 9, 4.05), 4, "many");
    }

    #[test]
    fn one_that_is_offered_is_offered_until_it_is_taken() {
        let mut reluctance = Reluctance::default();
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 3);
        assert_eq!(reluctance.settle(MINUTE, 3, 4.0), 4, "it is missed");
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 4, "a start takes two minutes");
        for _ in 0..10 {
            assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 3, "the HPA has not looked yet");
        }
        assert_eq!(
            reluctance.settle(MINUTE, 4, 4.0),
            4,
            "not given back, and so not missed"
        );
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 4, "for as long as before");
        assert_eq!(reluctance.settle(MINUTE, 4, 3.0), 3);
    }

    #[test]
    fn a_load_that_wavers_between_two_numbers_changes_less_and_less() {
        let mut reluctance = Reluctance::default();
        let (mut now, mut changes) = (3, Vec::new());
        // Ten minutes of the one and ten of the other, for a day: 143 changes if each were followed.
        for minute in 0..24 * 60 {
            let advice = if minute / 10 % 2 == 0 { 2.0 } else { 3.0 };
            let wanted = reluctance.settle(MINUTE, now, advice);
            if wanted != now {
                changes.push(minute);
            }
            now = wanted;
        }
        assert!(changes.len() <= 24, "{changes:?}");
        assert_eq!(now, 3);
    }
}
