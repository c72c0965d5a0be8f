use super::error::Problem;

/// A number as Prometheus reads it: decimal, with or without exponent; `NaN` without a sign, `Inf` and
/// `Infinity` with or without one, in any case. No hexadecimal, no `_`.
pub(super) fn float(text: &str) -> Result<f64, Problem> {
    // Rust's syntax is the same but for NaN with a sign and numbers too large, which become infinite.
    let value: f64 = text.parse().map_err(|_| Problem::Number)?;
    if value.is_finite() {
        return Ok(value);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if value.is_nan() {
        return if unsigned.len() == text.len() {
            Ok(value)
        } else {
            Err(Problem::Number)
        };
    }
    if unsigned.starts_with(['i', 'I']) {
        Ok(value)
    } else {
        Err(Problem::NumberTooLarge)
    }
}

/// Whole milliseconds, as in the Prometheus format.
pub(super) fn millis(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::Timestamp)
}

/// Seconds, as in OpenMetrics, in milliseconds; what is finer is cut.
pub(super) fn seconds(text: &str) -> Result<i64, Problem> {
    let millis = float(text).map_err(|_| Problem::Timestamp)? * 1000.0;
    // 2^63 is the first number that is too large for the result; the comparison refuses NaN too.
    if millis.abs() < (1u64 << 63) as f64 {
        Ok(millis as i64)
    } else {
        Err(Problem::Timestamp)
    }
}
