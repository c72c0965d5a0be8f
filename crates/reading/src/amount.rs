use std::fmt;

/// A finite number with its unit.
///
/// NaN and infinities cannot be represented, so whoever holds an `Amount` need not look for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    value: f64,
    unit: Unit,
}

/// What an [`Amount`] counts. Always a base unit: bytes, never MiB; a ratio, never percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A part of a whole, 0 to 1.
    Ratio,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Watts.
    Watts,
    /// Joules, usually of a counter.
    Joules,
    /// Degrees Celsius.
    Celsius,
    /// Cycles per second.
    Hertz,
    /// Seconds.
    Seconds,
    /// Things per second: requests, tokens.
    PerSecond,
    /// A number of things.
    Count,
}

/// An amount was taken for a unit that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount is in {found}, not in {wanted}")]
pub struct WrongUnit {
    /// The unit the amount has.
    pub found: Unit,
    /// The unit that was asked for.
    pub wanted: Unit,
}

impl Amount {
    /// `value` in `unit`, or `None` where `value` is NaN or infinite.
    #[must_use]
    pub fn new(value: f64, unit: Unit) -> Option<Self> {
        value.is_finite().then_some(Self { value, unit })
    }

    /// The number, in [`Amount::unit`].
    #[must_use]
    pub fn value(self) -> f64 {
        self.value
    }

    /// The unit of [`Amount::value`].
    #[must_use]
    pub fn unit(self) -> Unit {
        self.unit
    }
}

impl Unit {
    /// The suffix that Prometheus names carry for this unit; empty for a count.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Watts => "watts",
            Self::Joules => "joules",
            Self::Celsius => "celsius",
            Self::Hertz => "hertz",
            Self::Seconds => "seconds",
            Self::PerSecond => "per_second",
            Self::Count => "",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ratio => "ratio",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::Watts => "W",
            Self::Joules => "J",
            Self::Celsius => "°C",
            Self::Hertz => "Hz",
            Self::Seconds => "s",
            Self::PerSecond => "/s",
            Self::Count => "count",
        })
    }
}

impl fmt::Display for Amount {
    /// For a person: a ratio as percent, bytes and hertz with a binary or decimal prefix.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Ratio => write!(out, "{:.1} %", self.value * 100.0),
            Unit::Bytes => scaled(out, self.value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
            Unit::BytesPerSecond => scaled(out, self.value, 1e3, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]),
            Unit::Hertz => scaled(out, self.value, 1e3, &["Hz", "kHz", "MHz", "GHz"]),
            Unit::Watts | Unit::Joules | Unit::Celsius => write!(out, "{:.1} {}", self.value, self.unit),
            Unit::Seconds if self.value.abs() < 1.0 => write!(out, "{:.1} ms", self.value * 1e3),
            Unit::Seconds => write!(out, "{:.2} s", self.value),
            Unit::PerSecond => write!(out, "{:.2}/s", self.value),
            Unit::Count => write!(out, "{}", self.value),
        }
    }
}

fn scaled(out: &mut fmt::Formatter<'_>, value: f64, step: f64, names: &[&str]) -> fmt::Result {
    let mut value = value;
    let mut names = names.iter();
    let mut name = names.next().copied().unwrap_or_default();
    for larger in names {
        if value.abs() < step {
            break;
        }
        value /= step;
        name = larger;
    }
    write!(out, "{value:.1} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_amount_is_nan_or_infinite() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Amount::new(bad, Unit::Watts), None);
        }
    }

    #[test]
    fn amounts_read_well() {
        let show = |value, unit| Amount::new(value, unit).map(|amount| amount.to_string());
        assert_eq!(show(0.953, Unit::Ratio).as_deref(), Some("95.3 %"));
        assert_eq!(
            show(80.0 * 1024.0 * 1024.0 * 1024.0, Unit::Bytes).as_deref(),
            Some("80.0 GiB")
        );
        assert_eq!(show(512.0, Unit::Bytes).as_deref(), Some("512.0 B"));
        assert_eq!(show(1.98e9, Unit::Hertz).as_deref(), Some("2.0 GHz"));
        assert_eq!(show(312.5, Unit::Watts).as_deref(), Some("312.5 W"));
        assert_eq!(show(7.0, Unit::Count).as_deref(), Some("7"));
        assert_eq!(show(0.25, Unit::Seconds).as_deref(), Some("250.0 ms"));
        assert_eq!(show(12.5, Unit::Seconds).as_deref(), Some("12.50 s"));
        assert_eq!(show(3.25, Unit::PerSecond).as_deref(), Some("3.25/s"));
    }
}
