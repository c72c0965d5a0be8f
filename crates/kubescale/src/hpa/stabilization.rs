//! The memory of recommendations, and the windows over it.

use std::time::Duration;

use rheostat_reading::Timestamp;

/// The recommendations of recent syncs, before any window or limit. A slot whose age no window
/// reaches any more is used again, as in the original, so the list does not grow.
#[derive(Clone, Debug, Default)]
pub(super) struct Recommendations(Vec<Recommendation>);

#[derive(Clone, Copy, Debug)]
struct Recommendation {
    replicas: i32,
    at: Timestamp,
}

impl Recommendations {
    /// `recordInitialRecommendation`: what is there when the controller first sees an HPA counts as
    /// a recommendation, so that a restart does not scale down at once.
    pub(super) fn record_initial(&mut self, current: i32, now: Timestamp) {
        if self.0.is_empty() {
            self.0.push(Recommendation {
                replicas: current,
                at: now,
            });
        }
    }

    /// Without behaviour (`stabilizeRecommendation`): the largest recommendation of the window.
    pub(super) fn stabilize_down(&mut self, now: Timestamp, wanted: i32, window: Duration) -> i32 {
        let mut largest = wanted;
        let mut outdated = None;
        for (index, known) in self.0.iter().enumerate() {
            if now.since(known.at) > window {
                outdated = Some(index);
            } else {
                largest = largest.max(known.replicas);
            }
        }
        self.remember(now, wanted, outdated);
        largest
    }

    /// With behaviour (`stabilizeRecommendationWithBehaviors`): the current count, moved up to the
    /// smallest recommendation of the window for scaling up and down to the largest of the one for
    /// scaling down.
    pub(super) fn stabilize(
        &mut self,
        now: Timestamp,
        current: i32,
        wanted: i32,
        up: Duration,
        down: Duration,
    ) -> i32 {
        let (mut lower, mut upper) = (wanted, wanted);
        let mut outdated = None;
        for (index, known) in self.0.iter().enumerate() {
            let age = now.since(known.at);
            if age < up {
                lower = lower.min(known.replicas);
            }
            if age < down {
                upper = upper.max(known.replicas);
            }
            if age > up && age > down {
                outdated = Some(index);
            }
        }
        self.remember(now, wanted, outdated);
        current.max(lower).min(upper)
    }

    fn remember(&mut self, now: Timestamp, wanted: i32, outdated: Option<usize>) {
        let newest = Recommendation {
            replicas: wanted,
            at: now,
        };
        match outdated.and_then(|index| self.0.get_mut(index)) {
            Some(slot) => *slot = newest,
            None => self.0.push(newest),
        }
    }
}
