use std::time::Duration;

use rheostat_reading::Timestamp;

/// Turns the readings of a growing counter into rates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CounterRate {
    last: Option<(u64, Timestamp)>,
}

/// How a counter that got smaller is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// It overran 32 bits.
    Bits32,
    /// It was reset: 64 bits are not overrun.
    Bits64,
}

/// A counter's mean growth over a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) window: Duration,
}

/// Why there is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRate {
    /// There is no earlier reading to compare with, or no time has passed since.
    First,
    /// The counter started anew.
    Reset,
    /// So much time has passed that the counter may have overrun more than once.
    Ambiguous,
}

impl CounterRate {
    /// The rate since the last reading that was observed. A failed reading is not observed: the next
    /// rate then covers the longer time, and its window says so.
    ///
    /// `fastest` is the largest growth per second that is physically possible: a 32-bit counter that
    /// can overrun twice between two readings tells nothing.
    pub(crate) fn observe(
        &mut self,
        value: u64,
        at: Timestamp,
        width: Width,
        fastest: f64,
    ) -> Result<Rate, NoRate> {
        const MODULUS: u64 = 1 << 32;
        let Some((before, then)) = self.last else {
            self.last = Some((value, at));
            return Err(NoRate::First);
        };
        let window = at.since(then);
        if window.is_zero() {
            return Err(NoRate::First);
        }
        self.last = Some((value, at));
        let growth = match width {
            Width::Bits32 if window.as_secs_f64() * fastest >= MODULUS as f64 => {
                return Err(NoRate::Ambiguous);
            }
            Width::Bits32 => value.wrapping_sub(before) % MODULUS,
            Width::Bits64 => value.checked_sub(before).ok_or(NoRate::Reset)?,
        };
        Ok(Rate {
            per_second: growth as f64 / window.as_secs_f64(),
            window,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_nanos(millis * MILLI)
    }

    #[test]
    fn one_reading_is_no_rate() {
        let mut rate = CounterRate::default();
        assert_eq!(rate.observe(100, at(0), Width::Bits64, 1e9), Err(NoRate::First));
        assert_eq!(rate.observe(200, at(0), Width::Bits64, 1e9), Err(NoRate::First));
        let expected = Rate {
            per_second: 100.0,
            window: Duration::from_secs(2),
        };
        assert_eq!(rate.observe(300, at(2000), Width::Bits64, 1e9), Ok(expected));
    }

    #[test]
    fn a_reset_is_no_negative_and_no_huge_rate() {
        let mut rate = CounterRate::default();
        rate.observe(1 << 40, at(0), Width::Bits64, 1e9).unwrap_err();
        assert_eq!(rate.observe(5, at(1000), Width::Bits64, 1e9), Err(NoRate::Reset));
        let expected = Rate {
            per_second: 10.0,
            window: Duration::from_secs(1),
        };
        assert_eq!(rate.observe(15, at(2000), Width::Bits64, 1e9), Ok(expected));
    }

    #[test]
    fn a_counter_that_may_have_overrun_twice_tells_nothing() {
        let mut rate = CounterRate::default();
        rate.observe(0, at(0), Width::Bits32, 64e9).unwrap_err();
        assert_eq!(
            rate.observe(1000, at(1000), Width::Bits32, 64e9),
            Err(NoRate::Ambiguous)
        );
        assert!(rate.observe(2000, at(1010), Width::Bits32, 64e9).is_ok());
    }

    proptest! {
        #[test]
        fn growth_is_found_again_across_an_overrun(start: u32, growth in 0..u32::MAX, millis in 1..1000u64) {
            let mut rate = CounterRate::default();
            rate.observe(start.into(), at(0), Width::Bits32, 1e6).unwrap_err();
            let found = rate.observe(start.wrapping_add(growth).into(), at(millis), Width::Bits32, 1e6).unwrap();
            let expected = f64::from(growth) * 1000.0 / f64::from(u32::try_from(millis).unwrap());
            prop_assert!((found.per_second - expected).abs() <= expected * 1e-9);
            prop_assert_eq!(found.window, Duration::from_millis(millis));
        }

        #[test]
        fn no_sequence_gives_a_negative_or_infinite_rate(
            readings in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..50)
        ) {
            let mut rate = CounterRate::default();
            for (value, nanos, narrow) in readings {
                let width = if narrow { Width::Bits32 } else { Width::Bits64 };
                if let Ok(found) = rate.observe(value, Timestamp::from_unix_nanos(nanos), width, 1e9) {
                    prop_assert!(found.per_second.is_finite() && found.per_second >= 0.0);
                    prop_assert!(!found.window.is_zero());
                }
            }
        }
    }
}
