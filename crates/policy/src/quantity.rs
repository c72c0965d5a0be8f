/// Suffixes of Kubernetes quantities and what they multiply by.
const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Parses a finite decimal number such as `80`, `0.5` or `1e9`.
///
/// `None` for anything else; NaN and infinities, however they are spelled, included.
#[must_use]
pub fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Parses a number or a Kubernetes quantity: `20Gi`, `1.5G`, `500M`, `1e9`, `1073741824`.
///
/// `None` for anything else, NaN and infinities included.
#[must_use]
pub fn parse_quantity(text: &str) -> Option<f64> {
    if let Some(number) = parse_number(text) {
        return Some(number);
    }
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))?;
    // An exponent and a suffix together are no quantity.
    if number.contains(['e', 'E']) {
        return None;
    }
    parse_number(number)
        .map(|number| number * factor)
        .filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_forms() {
        for (text, value) in [
            ("20Gi", 20.0 * 1_073_741_824.0),
            ("1.5G", 1.5e9),
            ("500M", 5e8),
            ("1e9", 1e9),
            ("1E3", 1e3),
            ("1E", 1e18),
            ("250m", 0.25),
            ("7", 7.0),
            ("-3", -3.0),
        ] {
            assert_eq!(parse_quantity(text), Some(value), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "Gi", "20GiB", "20 Gi", "20gi", "NaN", "inf", "-inf", "infinity", "NaNGi", "infM", "1e5Gi",
            "1e999", "0x10", "1,5",
        ] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_finite(text in "[-+.0-9a-zA-Z]{0,24}") {
            if let Some(value) = parse_quantity(&text) {
                prop_assert!(value.is_finite());
            }
        }
    }
}
