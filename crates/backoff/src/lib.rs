//! Pauses between attempts to reach something that is away.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Pauses that double from a first to a longest length, each drawn from half to the whole of the
/// present one: a thousand clients that lost one server at the same moment must not come back in
/// step, and none may come back at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: ChaCha8Rng,
}

impl Backoff {
    /// The same `seed` gives the same pauses; each client needs its own.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest,
            next: first.min(longest),
            dice: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let length = self.next;
        self.next = (length * 2).min(self.longest);
        self.jitter(length)
    }

    /// `length` or up to a half less.
    pub fn jitter(&mut self, length: Duration) -> Duration {
        length / 2 + self.spread(length / 2)
    }

    /// Anything from zero to `length`, for those that all begin at once.
    pub fn spread(&mut self, length: Duration) -> Duration {
        length.mul_f64(f64::from(self.dice.next_u32()) / f64::from(u32::MAX))
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_millis(450), seed)
    }

    fn pauses(seed: u64) -> Vec<Duration> {
        let mut backoff = backoff(seed);
        (0..6).map(|_| backoff.pause()).collect()
    }

    #[test]
    fn pauses_grow_to_a_limit_and_follow_the_seed() {
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
        for seed in 0..100 {
            for (pause, limit) in pauses(seed).into_iter().zip([100, 200, 400, 450, 450, 450]) {
                let limit = Duration::from_millis(limit);
                assert!(pause >= limit / 2 && pause <= limit, "{pause:?} of {limit:?}");
            }
        }
    }

    #[test]
    fn a_success_starts_them_anew() {
        let mut backoff = backoff(1);
        for _ in 0..9 {
            backoff.pause();
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
