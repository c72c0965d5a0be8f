use std::time::Duration;

use crate::{Absent, Amount, Measurable, Observed, Quality, Quantity, Reading, Timestamp};

/// What is known of one device, or one engine: for each quantity a reading or why it is absent.
///
/// A quantity that nobody has set is absent as [`Absent::NotYet`].
#[derive(Clone, Debug, PartialEq)]
pub struct Readings<Q = Quantity>(Vec<(Q, Observed)>);

impl<Q: Measurable> Readings<Q> {
    /// Nothing known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What is known of `quantity`.
    ///
    /// # Errors
    ///
    /// The reason why there is no reading.
    pub fn get(&self, quantity: Q) -> Result<&Reading, &Absent> {
        const NOT_YET: Absent = Absent::NotYet;
        match self.0.binary_search_by_key(&quantity, |entry| entry.0) {
            Ok(place) => self.0[place].1.as_ref(),
            Err(_) => Err(&NOT_YET),
        }
    }

    /// Puts `observed` in the place of what was known of `quantity`.
    ///
    /// An amount in another unit than the quantity's is a programming error; it is recorded as
    /// absent rather than as a wrong number.
    pub fn set(&mut self, quantity: Q, observed: Observed) {
        let observed = match observed {
            Ok(reading) if reading.amount.unit() != quantity.unit() => Err(Absent::Failed(format!(
                "{quantity} was read in {}, not in {}",
                reading.amount.unit(),
                quantity.unit()
            ))),
            other => other,
        };
        match self.0.binary_search_by_key(&quantity, |entry| entry.0) {
            Ok(place) => self.0[place].1 = observed,
            Err(place) => self.0.insert(place, (quantity, observed)),
        }
    }

    /// Puts a value that stands for the `window` up to `at`; absent where `value` is not finite.
    pub fn put(&mut self, quantity: Q, value: f64, at: Timestamp, window: Duration, quality: Quality) {
        let observed = Amount::new(value, quantity.unit())
            .map(|amount| Reading {
                amount,
                at,
                window,
                quality,
            })
            .ok_or_else(|| Absent::Failed(format!("{quantity} was read as {value}")));
        self.set(quantity, observed);
    }

    /// The value of `quantity` as a plain number in its [`Measurable::unit`], where there is one.
    #[must_use]
    pub fn value(&self, quantity: Q) -> Option<f64> {
        self.get(quantity).ok().map(|reading| reading.amount.value())
    }

    /// All that was set, in the order of the quantities.
    pub fn iter(&self) -> impl Iterator<Item = (Q, Result<&Reading, &Absent>)> {
        self.0
            .iter()
            .map(|(quantity, observed)| (*quantity, observed.as_ref()))
    }

    /// How many quantities were set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<Q: Measurable> Default for Readings<Q> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Unit;

    fn at() -> Timestamp {
        Timestamp::from_unix_nanos(1_000_000_000)
    }

    #[test]
    fn what_was_never_set_is_not_zero() {
        let readings = Readings::new();
        assert_eq!(readings.get(Quantity::Power), Err(&Absent::NotYet));
        assert_eq!(readings.value(Quantity::Power), None);
    }

    #[test]
    fn a_wrong_unit_is_absent_not_wrong() {
        let mut readings = Readings::new();
        let amount = Amount::new(5.0, Unit::Bytes).unwrap();
        let reading = Reading {
            amount,
            at: at(),
            window: Duration::ZERO,
            quality: Quality::Measured,
        };
        readings.set(Quantity::Power, Ok(reading));
        assert_eq!(
            readings.get(Quantity::Power),
            Err(&Absent::Failed("power was read in bytes, not in W".into()))
        );
    }

    proptest! {
        #[test]
        fn no_number_that_is_not_one_gets_in(value in proptest::num::f64::ANY) {
            let mut readings = Readings::new();
            readings.put(Quantity::Power, value, at(), Duration::ZERO, Quality::Measured);
            prop_assert_eq!(readings.value(Quantity::Power).is_some(), value.is_finite());
        }

        #[test]
        fn the_last_one_set_stands(values in proptest::collection::vec((0..Quantity::COUNT, 0.0..1e9f64), 0..60)) {
            let mut readings = Readings::new();
            let mut expected = std::collections::BTreeMap::new();
            for (index, value) in values {
                let quantity = Quantity::ALL[index];
                readings.put(quantity, value, at(), Duration::ZERO, Quality::Measured);
                expected.insert(quantity, value);
            }
            let found: Vec<_> = readings.iter().filter_map(|(q, r)| Some((q, r.ok()?.amount.value()))).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
