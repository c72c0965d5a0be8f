use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Pauses between attempts, with full jitter: each is drawn from zero to a length that doubles, so
/// that a thousand agents that were lost at once are not dialled in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: ChaCha8Rng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest,
            next: first,
            dice: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let length = self.next;
        self.next = (length * 2).min(self.longest);
        length.mul_f64(f64::from(self.dice.next_u32()) / f64::from(u32::MAX))
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(seed: u64) -> Vec<Duration> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(450), seed);
        (0..6).map(|_| backoff.pause()).collect()
    }

    #[test]
    fn pauses_are_bounded_and_follow_the_seed() {
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
        for seed in 0..100 {
            for (pause, limit) in pauses(seed).into_iter().zip([100, 200, 400, 450, 450, 450]) {
                assert!(pause <= Duration::from_millis(limit));
            }
        }
    }

    #[test]
    fn a_success_starts_them_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(100), 1);
        for _ in 0..9 {
            backoff.pause();
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
