//! The simulator's own time: whole picoseconds since the trace began.
//!
//! Whole numbers, so that many equal iterations added up one by one give exactly what their closed form
//! gives. A picosecond is fine enough for the cost of one token in the KV cache (tens of nanoseconds), and
//! 64 bits of them last for 213 days.

use std::time::Duration;

use rheostat_reading::Timestamp;

/// Picoseconds: a moment since the trace began, or a span.
pub(crate) type Picoseconds = u64;

/// Of one second.
pub(crate) const SECOND: Picoseconds = 1_000_000_000_000;

/// No event may lie further away, so that sums of two spans never overflow: 106 days.
pub(crate) const LONGEST: Picoseconds = u64::MAX / 2;

/// The moment of the wall clock at which every simulated trace begins: a Wednesday, 00:00 UTC, so that
/// hours and days of the trace are hours and days of the calendar.
pub const START: Timestamp = Timestamp::from_unix_nanos(1_699_401_600_000_000_000);

/// `span`, at most [`LONGEST`].
pub(crate) fn picoseconds(span: Duration) -> Picoseconds {
    u64::try_from(span.as_nanos().saturating_mul(1000)).map_or(LONGEST, |span| span.min(LONGEST))
}

/// `seconds`, at least 0 and at most [`LONGEST`]; not a number is 0.
pub(crate) fn from_seconds(seconds: f64) -> Picoseconds {
    ((seconds * SECOND as f64).max(0.0) as u64).min(LONGEST)
}

pub(crate) const fn duration(span: Picoseconds) -> Duration {
    Duration::from_nanos(span / 1000)
}

pub(crate) const fn seconds(span: Picoseconds) -> f64 {
    span as f64 / SECOND as f64
}

/// As the wall clock shows it.
pub(crate) fn timestamp(at: Picoseconds) -> Timestamp {
    START.plus(duration(at))
}

/// From the wall clock; what lies before the beginning is the beginning.
pub(crate) fn from_timestamp(at: Timestamp) -> Picoseconds {
    picoseconds(at.since(START))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_the_wall_clock_and_back() {
        for nanos in [0, 1, 999, 1_209_600_000_000_000] {
            let span = Duration::from_nanos(nanos);
            assert_eq!(duration(picoseconds(span)), span);
            assert_eq!(from_timestamp(timestamp(picoseconds(span))), picoseconds(span));
        }
        assert_eq!(picoseconds(Duration::MAX), LONGEST);
        assert_eq!(from_seconds(f64::NAN), 0);
    }
}
