use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Pauses between attempts: doubling, each drawn from half to the whole of the present length, so
/// that many clients that lost one server do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: ChaCha8Rng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration, name: &str) -> Self {
        let seed = RandomState::new().hash_one(name);
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
        self.jitter(length)
    }

    /// `length` or up to a half less.
    pub(crate) fn jitter(&mut self, length: Duration) -> Duration {
        length.mul_f64(0.5 + 0.5 * f64::from(self.dice.next_u32()) / f64::from(u32::MAX))
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(450));
        let mut backoff = Backoff::new(first, longest, "x");
        for limit in [100, 200, 400, 450, 450] {
            let (pause, limit) = (backoff.pause(), Duration::from_millis(limit));
            assert!(pause >= limit / 2 && pause <= limit, "{pause:?} of {limit:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}
