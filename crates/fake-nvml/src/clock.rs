//! Time, as the driver keeps it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

/// Seconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "NVML stamps its samples with the machine's clock"
)]
pub(crate) fn unix_now() -> f64 {
    unix_seconds(SystemTime::now())
}

/// `time` in seconds since the Unix epoch; 0 before it.
pub(crate) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "how long ago the scenario file was looked at, in real time"
)]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Microseconds since the Unix epoch, as in NVML's samples.
pub(crate) fn micros(unix: f64) -> u64 {
    (unix * 1e6) as u64
}

/// Holds the calling thread for `span`, as a slow NVML call does.
pub(crate) fn pause(span: Duration) {
    let deadline = monotonic_now() + span;
    let nothing = Mutex::new(());
    let mut guard = nothing.lock();
    while !Condvar::new().wait_until(&mut guard, deadline).timed_out() {}
}
