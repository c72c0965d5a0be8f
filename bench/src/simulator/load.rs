//! The requests of the benchmark: seeded, made one by one, so that they take no memory.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rheostat_trace::Request;

/// Tokens of each prompt and of each answer: the shape for which speeds of other simulators are told.
pub(super) const TOKENS: u32 = 512;

/// Seconds of a day.
pub(super) const DAY: f64 = 86_400.0;

/// The busiest moment of a day beside its mean.
const PEAK: f64 = 1.8;

/// Poisson arrivals of requests of 512 and 512 tokens.
pub(super) struct Load {
    random: ChaCha8Rng,
    now: f64,
    /// A second, on average.
    rate: f64,
    left: u64,
    /// Whether the rate follows the time of day.
    daily: bool,
}

impl Load {
    /// So many requests at one rate.
    pub(super) fn steady(rate: f64, requests: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(1),
            now: 0.0,
            rate,
            left: requests,
            daily: false,
        }
    }

    /// So many requests, at most, over a day whose busiest moment has nine times the rate of its quietest.
    pub(super) fn day(requests: u64) -> Self {
        Self {
            daily: true,
            ..Self::steady(requests as f64 / DAY, requests)
        }
    }

    /// The greatest rate of [`Self::day`], a second.
    pub(super) fn peak_of_day(requests: u64) -> f64 {
        requests as f64 / DAY * PEAK
    }

    /// The part of the greatest rate that there is now.
    fn part(&self) -> f64 {
        if self.daily {
            (1.0 - (PEAK - 1.0) * (TAU * self.now / DAY).cos()) / PEAK
        } else {
            1.0
        }
    }
}

impl Iterator for Load {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        let greatest = if self.daily { self.rate * PEAK } else { self.rate };
        loop {
            self.now += -(1.0 - self.random.random::<f64>()).ln() / greatest;
            if self.daily && self.now >= DAY {
                return None;
            }
            if !self.daily || self.random.random::<f64>() < self.part() {
                return Some(Request {
                    at: Duration::from_secs_f64(self.now),
                    prompt_tokens: TOKENS,
                    output_tokens: TOKENS,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_requests_and_a_busy_noon() {
        let requests: Vec<_> = Load::day(100_000).collect();
        assert!((requests.len() as f64 / 100_000.0 - 1.0).abs() < 0.02);
        let of_hour = |hour: u64| {
            let of = |request: &&Request| request.at.as_secs() / 3600 == hour;
            requests.iter().filter(of).count() as f64
        };
        assert!(of_hour(12) > 6.0 * of_hour(0));
        assert!(requests.is_sorted_by_key(|request| request.at));
    }

    #[test]
    fn a_steady_load_has_its_rate() {
        let last = Load::steady(50.0, 10_000).last().unwrap();
        assert!((last.at.as_secs_f64() / 200.0 - 1.0).abs() < 0.05);
    }
}
