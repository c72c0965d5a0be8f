use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::Timestamp;

/// The part of a sliding window in which a device was busy at all.
///
/// It is fed spans of observed time; gaps between them count neither as busy nor as idle.
#[derive(Clone, Debug)]
pub(crate) struct DutyCycle {
    window: Duration,
    spans: VecDeque<Span>,
    first: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    /// Part of the span in which the device was busy, 0 to 1.
    busy: f64,
}

/// What the window shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Duty {
    /// Busy part of the observed time, how much time was observed, and until when.
    Known {
        busy: f64,
        observed: Duration,
        until: Timestamp,
    },
    /// Nothing was observed yet.
    NotYet,
    /// Less than half of the time was observed: too little to speak for the whole.
    TooFew { observed: Duration, of: Duration },
}

/// Most spans that are kept; more are merged in time order, so that memory is bounded whatever the
/// period is. 4096 spans of a 60 s window are 15 ms each.
const MOST_SPANS: usize = 4096;

impl DutyCycle {
    pub(crate) const fn new(window: Duration) -> Self {
        Self {
            window,
            spans: VecDeque::new(),
            first: None,
        }
    }

    /// The device was busy for the part `busy` of the time from `from` to `to`. Time that was
    /// observed before is not counted twice.
    pub(crate) fn observe(&mut self, from: Timestamp, to: Timestamp, busy: f64) {
        let from = self
            .spans
            .back()
            .map_or(from, |last| from.max(last.to))
            .max(to.minus(self.window));
        if from >= to || !busy.is_finite() {
            return;
        }
        self.first.get_or_insert(from);
        self.spans.push_back(Span {
            from,
            to,
            busy: busy.clamp(0.0, 1.0),
        });
        self.forget(to);
        if self.spans.len() > MOST_SPANS {
            self.spans.pop_front();
        }
    }

    /// The duty cycle of the window up to `now`.
    pub(crate) fn read(&mut self, now: Timestamp) -> Duty {
        self.forget(now);
        let Some(first) = self.first else {
            return Duty::NotYet;
        };
        let start = now.minus(self.window);
        let (mut busy, mut observed) = (0.0, Duration::ZERO);
        for span in &self.spans {
            let length = span.to.since(span.from.max(start));
            observed += length;
            busy += length.as_secs_f64() * span.busy;
        }
        let of = now.since(first.max(start));
        let Some(last) = self
            .spans
            .back()
            .filter(|_| observed * 2 >= of && !observed.is_zero())
        else {
            return Duty::TooFew { observed, of };
        };
        Duty::Known {
            busy: (busy / observed.as_secs_f64()).clamp(0.0, 1.0),
            observed,
            until: last.to,
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let start = now.minus(self.window);
        while self.spans.front().is_some_and(|span| span.to <= start) {
            self.spans.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_nanos(millis * 1_000_000)
    }

    fn known(duty: Duty) -> (f64, Duration) {
        match duty {
            Duty::Known { busy, observed, .. } => (busy, observed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_observed_is_not_idle() {
        assert_eq!(
            DutyCycle::new(Duration::from_secs(60)).read(at(5000)),
            Duty::NotYet
        );
    }

    #[test]
    fn busy_and_idle_seconds_are_weighed_by_their_length() {
        let mut duty = DutyCycle::new(Duration::from_secs(60));
        duty.observe(at(0), at(1000), 1.0);
        duty.observe(at(1000), at(4000), 0.0);
        assert_eq!(known(duty.read(at(4000))), (0.25, Duration::from_secs(4)));
    }

    #[test]
    fn what_is_observed_no_more_grows_old() {
        let mut duty = DutyCycle::new(Duration::from_secs(60));
        duty.observe(at(0), at(40_000), 1.0);
        let Duty::Known { until, .. } = duty.read(at(60_000)) else {
            panic!("more than half was observed");
        };
        assert_eq!(until, at(40_000), "and nothing since");
    }

    #[test]
    fn what_left_the_window_is_forgotten() {
        let mut duty = DutyCycle::new(Duration::from_secs(10));
        duty.observe(at(0), at(10_000), 1.0);
        duty.observe(at(10_000), at(15_000), 0.0);
        assert_eq!(known(duty.read(at(15_000))), (0.5, Duration::from_secs(10)));
        duty.observe(at(15_000), at(20_000), 0.0);
        assert_eq!(known(duty.read(at(20_000))), (0.0, Duration::from_secs(10)));
    }

    #[test]
    fn a_gap_is_neither_busy_nor_idle_and_a_long_one_hides_the_answer() {
        let mut duty = DutyCycle::new(Duration::from_secs(10));
        duty.observe(at(0), at(3000), 1.0);
        assert_eq!(known(duty.read(at(6000))), (1.0, Duration::from_secs(3)));
        let few = Duty::TooFew {
            observed: Duration::from_secs(3),
            of: Duration::from_secs(7),
        };
        assert_eq!(duty.read(at(7000)), few);
        let none = Duty::TooFew {
            observed: Duration::ZERO,
            of: Duration::from_secs(10),
        };
        assert_eq!(duty.read(at(60_000)), none);
    }

    proptest! {
        #[test]
        fn it_is_a_ratio_and_bounded(
            spans in proptest::collection::vec((0..100_000u64, 0..5000u64, -1.0..2.0f64), 0..200),
        ) {
            let mut duty = DutyCycle::new(Duration::from_secs(10));
            let mut latest = 0;
            for (from, length, busy) in spans {
                duty.observe(at(from), at(from + length), busy);
                latest = latest.max(from + length);
                prop_assert!(duty.spans.len() <= MOST_SPANS);
                if let Duty::Known { busy, observed, .. } = duty.read(at(latest)) {
                    prop_assert!((0.0..=1.0).contains(&busy));
                    prop_assert!(observed <= Duration::from_secs(10));
                }
            }
        }
    }
}
