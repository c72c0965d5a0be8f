//! Numbers with their units, as a policy writes them.

use std::ops::RangeInclusive;
use std::time::Duration;

use rheostat_policy::parse_duration;
use rheostat_reading::{Ratio, Watts};

use crate::PolicyError;

/// Longest text that is shown again in an error.
const SHOWN: usize = 64;

/// A duration within `range`, such as `2s` or `1m30s`.
pub(crate) fn duration(
    key: &str,
    text: &str,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, PolicyError> {
    parse_duration(text)
        .filter(|span| range.contains(span))
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            invalid(
                key,
                &quoted(text),
                format!("a duration such as 500ms, 2s, 1m30s or 1h, from {least:?} to {most:?}"),
            )
        })
}

/// A part within `range` (of percent), such as `99%`.
pub(crate) fn percent(key: &str, text: &str, range: &RangeInclusive<f64>) -> Result<Ratio, PolicyError> {
    let number = text.strip_suffix('%').and_then(plain);
    let number = number.filter(|number| range.contains(number)).ok_or_else(|| {
        let allowed = format!("a percentage from {}% to {}%", range.start(), range.end());
        invalid(key, &quoted(text), allowed)
    })?;
    Ok(Ratio(number / 100.0))
}

/// A power, such as `3kW` or `2500W`.
pub(crate) fn power(key: &str, text: &str) -> Result<Watts, PolicyError> {
    const MOST: f64 = 1e9;
    let watts = match (text.strip_suffix("kW"), text.strip_suffix('W')) {
        (Some(kilowatts), _) => plain(kilowatts).map(|number| number * 1000.0),
        (None, Some(watts)) => plain(watts),
        (None, None) => None,
    };
    watts
        .filter(|watts| *watts > 0.0 && *watts <= MOST)
        .map(Watts)
        .ok_or_else(|| invalid(key, &quoted(text), "a power such as 3kW or 2500W".into()))
}

/// A number of parameters, such as `8B` or `500M`.
pub(crate) fn parameters(key: &str, text: &str) -> Result<f64, PolicyError> {
    const UNITS: [(char, f64); 3] = [('M', 1e6), ('B', 1e9), ('T', 1e12)];
    let number = UNITS
        .iter()
        .find_map(|(unit, scale)| Some(plain(text.strip_suffix(*unit)?)? * scale));
    number
        .filter(|number| (1e6..=1e14).contains(number))
        .ok_or_else(|| {
            invalid(
                key,
                &quoted(text),
                "a number of parameters such as 8B, 500M or 1T".into(),
            )
        })
}

/// A number within `range`.
pub(crate) fn number(key: &str, number: f64, range: &RangeInclusive<f64>) -> Result<f64, PolicyError> {
    match range.contains(&number) {
        true => Ok(number),
        false => {
            let allowed = format!("a number from {} to {}", range.start(), range.end());
            Err(invalid(key, &number.to_string(), allowed))
        }
    }
}

/// A whole number within `range`.
pub(crate) fn count(key: &str, number: u32, range: &RangeInclusive<u32>) -> Result<u32, PolicyError> {
    match range.contains(&number) {
        true => Ok(number),
        false => {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            Err(invalid(key, &number.to_string(), allowed))
        }
    }
}

/// A name that Kubernetes would take for an object.
pub(crate) fn name(key: &str, text: &str) -> Result<String, PolicyError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = (1..=253).contains(&text.len())
        && text.bytes().all(|b| plain(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain);
    match fits {
        true => Ok(text.to_owned()),
        false => {
            let allowed = "lower-case letters, digits, dashes and dots, at most 253";
            Err(invalid(key, &quoted(text), allowed.into()))
        }
    }
}

pub(crate) fn invalid(key: &str, value: &str, allowed: String) -> PolicyError {
    PolicyError::Invalid {
        key: key.to_owned(),
        value: value.to_owned(),
        allowed,
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN).collect::<String>())
}

/// Digits and at most one point: no sign, no exponent, no `inf`.
fn plain(text: &str) -> Option<f64> {
    let digits =
        !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_powers_are_read_with_their_units() {
        let read = |text| percent("slo.attainment", text, &(50.0..=99.99));
        assert_eq!(read("99%"), Ok(Ratio(0.99)));
        assert_eq!(read("99.9%").map(|part| (part.0 * 1e4).round()), Ok(9990.0));
        for bad in ["0.99", "99", "100%", "-1%", "%", "1e1%", "inf%", "99 %"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(
                error.contains("spec.slo.attainment") && error.contains("50% to 99.99%"),
                "{error}"
            );
        }
        assert_eq!(power("limits.power", "3kW"), Ok(Watts(3000.0)));
        assert_eq!(power("limits.power", "2500W"), Ok(Watts(2500.0)));
        for bad in ["3", "0W", "3MW", "kW", "-1W"] {
            assert!(power("limits.power", bad).is_err(), "{bad}");
        }
    }
}
