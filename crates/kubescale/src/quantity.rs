use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A Kubernetes quantity as metric values and targets use it: a decimal number that the HPA reads
/// in thousandths (`resource.Quantity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quantity {
    /// The number without its decimal point.
    unscaled: i128,
    /// How many of its digits are behind the point.
    decimals: u8,
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantity {text:?} is not a decimal number with at most 9 decimals and an optional suffix n, u, m, k, M, G, T, P or E"
)]
pub struct InvalidQuantity {
    /// What was given.
    pub text: String,
}

impl Quantity {
    /// A whole number, as KEDA passes on the integer fields of an external scaler (`GetMetricTarget`).
    #[must_use]
    pub const fn from_int(value: i64) -> Self {
        Self {
            unscaled: value as i128,
            decimals: 0,
        }
    }

    /// A number of thousandths (`resource.NewMilliQuantity`).
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self {
            unscaled: milli as i128,
            decimals: 3,
        }
    }

    /// A float as KEDA passes it on: three decimals, rounded to the nearest; what is not a number,
    /// infinite or negative is 0 (`quantityFromFloat64`).
    #[must_use]
    pub fn from_float(value: f64) -> Self {
        if !value.is_finite() || value < 0.0 {
            return Self::default();
        }
        // Beyond 38 digits only the size matters, and `milli` has none left to give back anyway.
        let text = format!("{value:.3}");
        let digits: String = text.chars().filter(|c| *c != '.').collect();
        Self {
            unscaled: digits.parse().unwrap_or(i128::MAX),
            decimals: 3,
        }
    }

    /// Thousandths, rounded up, as the HPA reads them after the value's trip as text
    /// (`Quantity.MilliValue`).
    ///
    /// From 2^63 thousandths (9.2e15) on, the real arithmetic overflows, and so does this: a number
    /// with many digits wraps around, one that ends in many zeros becomes 0.
    #[must_use]
    pub fn milli(self) -> i64 {
        let exact = self.exact_milli();
        if let Ok(milli) = i64::try_from(exact) {
            return milli;
        }
        let (mut digits, mut exponent) = (exact, -3);
        while digits % 1000 == 0 {
            digits /= 1000;
            exponent += 3;
        }
        let short = digits.unsigned_abs() < 10_u128.pow(18);
        // `positiveScaleInt64` has fast paths for up to nine places, which wrap; its loop for more
        // places gives up with 0.
        if short && exponent + 3 > 9 {
            0
        } else {
            exact as i64
        }
    }

    /// The value as a float (`Quantity.AsApproximateFloat64`).
    #[must_use]
    pub fn approximate(self) -> f64 {
        const POWERS: [f64; 10] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9];
        let base = self.unscaled as f64;
        if self.decimals == 0 {
            base
        } else {
            base * POWERS.get(usize::from(self.decimals)).copied().unwrap_or(0.0)
        }
    }

    /// The same quantity as it comes back from the API server, which writes it with the fewest
    /// groups of three decimals: this decides the last bit of [`Self::approximate`].
    #[must_use]
    pub fn stored(self) -> Self {
        let mut groups = self.decimals.div_ceil(3);
        let mut unscaled = self
            .unscaled
            .saturating_mul(10_i128.pow(u32::from(groups * 3 - self.decimals)));
        while groups > 0 && unscaled % 1000 == 0 {
            unscaled /= 1000;
            groups -= 1;
        }
        Self {
            unscaled,
            decimals: groups * 3,
        }
    }

    fn exact_milli(self) -> i128 {
        if self.decimals <= 3 {
            self.unscaled
                .saturating_mul(10_i128.pow(u32::from(3 - self.decimals)))
        } else {
            let divisor = 10_i128.pow(u32::from(self.decimals - 3));
            // Rounds away from zero, like the original.
            let whole = self.unscaled / divisor;
            if self.unscaled % divisor == 0 {
                whole
            } else {
                whole + self.unscaled.signum()
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let power = 10_u128.pow(u32::from(self.decimals));
        let (whole, rest) = (
            self.unscaled.unsigned_abs() / power,
            self.unscaled.unsigned_abs() % power,
        );
        if rest == 0 {
            return write!(out, "{sign}{whole}");
        }
        let rest = format!("{rest:0width$}", width = usize::from(self.decimals));
        write!(out, "{sign}{whole}.{}", rest.trim_end_matches('0'))
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidQuantity {
            text: text.chars().take(64).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let exponent: i32 = match suffix {
        "" => 0,
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let valid = |part: &str| part.len() <= 30 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !valid(digits) || !valid(fraction) || (digits.is_empty() && fraction.is_empty()) {
        return None;
    }
    let magnitude: i128 = format!("{digits}{fraction}").parse().ok()?;
    let signed = if whole.starts_with('-') {
        -magnitude
    } else {
        magnitude
    };
    let decimals = i32::try_from(fraction.len()).ok()? - exponent;
    match u8::try_from(decimals) {
        Ok(decimals @ 0..=9) => Some(Quantity {
            unscaled: signed,
            decimals,
        }),
        Ok(_) => None,
        Err(_) => {
            let factor = 10_i128.checked_pow(decimals.unsigned_abs())?;
            Some(Quantity {
                unscaled: signed.checked_mul(factor)?,
                decimals: 0,
            })
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Quantities in manifests are texts or bare numbers.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Integer(i64),
            Float(f64),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Integer(number) => number.to_string(),
            Written::Float(number) => number.to_string(),
        };
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KEDA scaler.go: quantityFromFloat64; apimachinery quantity.go: MilliValue.
    #[test]
    fn floats_keep_three_decimals() {
        let milli = |value: f64| Quantity::from_float(value).milli();
        assert_eq!(milli(380.0), 380_000);
        assert_eq!(milli(0.0004), 0);
        assert_eq!(milli(0.0005), 1, "0.0005 lies a little above half");
        assert_eq!(milli(0.0015), 2);
        assert_eq!(milli(95.4996), 95_500);
        for zero in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001, -5.0, -0.0] {
            assert_eq!(milli(zero), 0, "{zero}");
        }
    }

    /// apimachinery scale_int.go: scaledValue; math.go: positiveScaleInt64. The expected numbers
    /// were printed by resource.Quantity itself.
    #[test]
    fn what_does_not_fit_overflows_as_the_original_does() {
        assert_eq!(Quantity::from_float(9.2e15).milli(), 9_200_000_000_000_000_000);
        assert_eq!(Quantity::from_float(1e16).milli(), 0, "ten P is too many places");
        assert_eq!(Quantity::from_float(9.3e15).milli(), 0);
        assert_eq!(
            Quantity::from_float(9_300_000_000_000_002.0).milli(),
            -9_146_744_073_709_549_616
        );
        assert_eq!(Quantity::from_float(1e30).milli(), 4_109_534_659_975_577_600);
    }

    #[test]
    fn texts_are_read_and_written() {
        for (text, milli, shown) in [
            ("0", 0, "0"),
            ("0.1", 100, "0.1"),
            ("50m", 50, "0.05"),
            ("1.5k", 1_500_000, "1500"),
            ("-2.25", -2250, "-2.25"),
            ("1u", 1, "0.000001"),
            (".5", 500, "0.5"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(
                (quantity.milli(), quantity.to_string().as_str()),
                (milli, shown),
                "{text}"
            );
        }
        for bad in ["", "-", "1Ki", "1e3", "0x1", "1.0000000001", "one"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
        let from_numbers: Vec<Quantity> = serde_json::from_str(r#"[1, 0.5, "70m"]"#).unwrap();
        assert_eq!(
            from_numbers.iter().map(|q| q.milli()).collect::<Vec<_>>(),
            [1000, 500, 70]
        );
    }

    #[test]
    fn the_api_server_stores_thousandths() {
        let written: Quantity = "0.57".parse().unwrap();
        assert_eq!(written.approximate().to_bits(), (57.0_f64 * 1e-2).to_bits());
        assert_eq!(
            written.stored().approximate().to_bits(),
            (570.0_f64 * 1e-3).to_bits()
        );
        assert_eq!(
            "80.000".parse::<Quantity>().unwrap().stored(),
            Quantity::from_int(80)
        );
    }
}
