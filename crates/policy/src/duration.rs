use std::time::Duration;

/// What a duration may look like, for error messages.
pub(crate) const ALLOWED: &str = "a duration such as 500ms, 5s, 2m, 1m30s or 1h";

/// Parses `500ms`, `5s`, `2m`, `1h` and sums of such parts (`1m30s`), without sign or spaces.
///
/// A number without a unit is refused: seconds and milliseconds are too easily confused.
/// `None` where the text is anything else, or longer than a century.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST: f64 = 3_155_760_000.0;
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = number.parse::<f64>().ok()? * seconds;
        if part > LONGEST {
            return None;
        }
        total += Duration::try_from_secs_f64(part).ok()?;
        rest = after;
    }
    (total.as_secs_f64() <= LONGEST).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_forms() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("0.5s", 500),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            " 5s",
            "5S",
            "5d",
            "1..5s",
            "5s3",
            "NaNs",
            "1e3s",
            "99999999999999h",
            "5µs",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in ".{0,64}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_seconds_read_back(seconds in 0u64..1_000_000) {
            prop_assert_eq!(parse_duration(&format!("{seconds}s")), Some(Duration::from_secs(seconds)));
        }
    }
}
