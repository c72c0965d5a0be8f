use std::fmt;

use rheostat_reading::Unit;

/// A product of powers of base units; a ratio has none.
///
/// Rates of things are counts per second, so that a request rate times a latency is a count
/// (Little's law). Joules are watts times seconds, hertz the inverse of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dimension {
    powers: [i8; BASES.len()],
}

/// The base units, in the order of [`Dimension::powers`].
const BASES: [&str; 5] = ["count", "bytes", "W", "s", "°C"];
const COUNT: usize = 0;
const BYTES: usize = 1;
const WATTS: usize = 2;
const SECONDS: usize = 3;
const CELSIUS: usize = 4;

/// The highest power of a base unit. Nothing that makes sense comes near.
const MAX_POWER: i8 = 4;

/// Every unit that a name can have.
const UNITS: [Unit; 10] = [
    Unit::Ratio,
    Unit::Count,
    Unit::PerSecond,
    Unit::Seconds,
    Unit::Bytes,
    Unit::BytesPerSecond,
    Unit::Watts,
    Unit::Joules,
    Unit::Celsius,
    Unit::Hertz,
];

impl Dimension {
    /// That of ratios and other plain numbers.
    pub const RATIO: Self = Self {
        powers: [0; BASES.len()],
    };

    /// That of a unit.
    #[must_use]
    pub const fn of(unit: Unit) -> Self {
        let mut powers = [0; BASES.len()];
        match unit {
            Unit::Ratio => {}
            Unit::Count => powers[COUNT] = 1,
            Unit::PerSecond => {
                powers[COUNT] = 1;
                powers[SECONDS] = -1;
            }
            Unit::Seconds => powers[SECONDS] = 1,
            Unit::Bytes => powers[BYTES] = 1,
            Unit::BytesPerSecond => {
                powers[BYTES] = 1;
                powers[SECONDS] = -1;
            }
            Unit::Watts => powers[WATTS] = 1,
            Unit::Joules => {
                powers[WATTS] = 1;
                powers[SECONDS] = 1;
            }
            Unit::Celsius => powers[CELSIUS] = 1,
            Unit::Hertz => powers[SECONDS] = -1,
        }
        Self { powers }
    }

    /// The unit with this dimension; `None` where there is none, as for `bytes²`.
    #[must_use]
    pub fn unit(self) -> Option<Unit> {
        UNITS.into_iter().find(|unit| Self::of(*unit) == self)
    }

    /// Of a product; `None` where a power becomes too high to be meant.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        self.combine(other, i8::checked_add)
    }

    /// Of a quotient; `None` where a power becomes too high to be meant.
    pub(crate) fn per(self, other: Self) -> Option<Self> {
        self.combine(other, i8::checked_sub)
    }

    fn combine(self, other: Self, combine: fn(i8, i8) -> Option<i8>) -> Option<Self> {
        let mut powers = self.powers;
        for (power, other) in powers.iter_mut().zip(other.powers) {
            *power =
                combine(*power, other).filter(|power| power.unsigned_abs() <= MAX_POWER.unsigned_abs())?;
        }
        Some(Self { powers })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(unit) = self.unit() {
            return unit.fmt(out);
        }
        let powers = || BASES.into_iter().zip(self.powers);
        let mut first = true;
        for (base, power) in powers().filter(|(_, power)| *power > 0) {
            write!(out, "{}{base}{}", if first { "" } else { "·" }, exponent(power))?;
            first = false;
        }
        if first {
            out.write_str("1")?;
        }
        powers()
            .filter(|(_, power)| *power < 0)
            .try_for_each(|(base, power)| write!(out, "/{base}{}", exponent(power)))
    }
}

fn exponent(power: i8) -> &'static str {
    match power.unsigned_abs() {
        2 => "²",
        3 => "³",
        4 => "⁴",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_found_again() {
        for unit in UNITS {
            assert_eq!(Dimension::of(unit).unit(), Some(unit));
            assert_eq!(Dimension::of(unit).to_string(), unit.to_string());
        }
    }

    #[test]
    fn units_multiply_and_divide() {
        let of = Dimension::of;
        assert_eq!(
            of(Unit::PerSecond).times(of(Unit::Seconds)),
            Some(of(Unit::Count))
        );
        assert_eq!(of(Unit::Bytes).per(of(Unit::Bytes)), Some(Dimension::RATIO));
        assert_eq!(
            of(Unit::Bytes).per(of(Unit::Seconds)),
            Some(of(Unit::BytesPerSecond))
        );
        assert_eq!(of(Unit::Joules).per(of(Unit::Seconds)), Some(of(Unit::Watts)));
        assert_eq!(Dimension::RATIO.per(of(Unit::Seconds)), Some(of(Unit::Hertz)));
    }

    #[test]
    fn other_dimensions_are_spelled_out() {
        let bytes = Dimension::of(Unit::Bytes);
        let square = bytes.times(bytes).unwrap();
        assert_eq!(square.to_string(), "bytes²");
        assert_eq!(square.unit(), None);
        assert_eq!(Dimension::RATIO.per(square).unwrap().to_string(), "1/bytes²");
        let odd = Dimension::of(Unit::Watts)
            .times(bytes)
            .unwrap()
            .per(Dimension::of(Unit::Count))
            .unwrap();
        assert_eq!(odd.to_string(), "bytes·W/count");
        assert_eq!(square.times(square).and_then(|fourth| fourth.times(bytes)), None);
    }
}
