use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment: nanoseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` and `span` more, at most the end of time.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// `self` less `span`, at least the epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Where time comes from. Cheap to clone; clones share their source.
///
/// The system clock is read once, at the start, and carried on by the monotonic clock: a step of
/// the wall clock (NTP, suspend of a virtual machine) must not make every reading look stale.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Real time.
    #[must_use]
    pub fn system() -> Self {
        Self::scaled(1.0)
    }

    /// Real time from now on, `speed` times as fast; for demonstrations.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    pub fn scaled(speed: f64) -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(Timestamp(0), |since| Timestamp(0).plus(since));
        let start = std::time::Instant::now();
        Self(Arc::new(move || {
            wall.plus(start.elapsed().mul_f64(speed.max(0.0)))
        }))
    }

    /// A clock that stands still until its [`ManualClock`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let hand = Arc::new(AtomicU64::new(start.0));
        let read = Arc::clone(&hand);
        (
            Self(Arc::new(move || Timestamp(read.load(Ordering::Acquire)))),
            ManualClock(hand),
        )
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The hand of a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock on by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(
            u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
            Ordering::AcqRel,
        );
    }

    /// Puts the clock to `moment`, earlier or later.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(5));
        let copy = clock.clone();
        assert_eq!(clock.now().unix_nanos(), 5);
        hand.advance(Duration::from_nanos(7));
        assert_eq!(copy.now().unix_nanos(), 12);
        hand.set(Timestamp::from_unix_nanos(1));
        assert_eq!(clock.now().unix_nanos(), 1);
    }

    #[test]
    fn time_before_time_is_no_time() {
        let early = Timestamp::from_unix_nanos(1);
        let late = Timestamp::from_unix_nanos(3);
        assert_eq!(late.since(early), Duration::from_nanos(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.minus(Duration::from_secs(1)), Timestamp::from_unix_nanos(0));
    }
}
