//! What several tests need.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; each uses a part of it")]

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rheostat_reading::Ratio;
use rheostat_simulator::{EngineModel, Scenario};
use rheostat_sizing::Slo;
use rheostat_trace::Request;

pub(crate) const fn slo(ttft_ms: u64, itl_ms: u64) -> Slo {
    Slo {
        ttft: Some(Duration::from_millis(ttft_ms)),
        itl: Some(Duration::from_millis(itl_ms)),
        e2e: None,
        attainment: Ratio(0.99),
    }
}

pub(crate) fn scenario(engine: &str) -> Scenario {
    Scenario::new(EngineModel::named(engine).unwrap(), slo(2000, 100))
}

/// Poisson arrivals whose rate follows `rate`, for so many seconds, with lengths spread exponentially.
pub(crate) struct Poisson<F> {
    random: ChaCha8Rng,
    now: f64,
    end: f64,
    peak: f64,
    rate: F,
    prompt: f64,
    output: f64,
    /// Whether prompts and answers are spread.
    spread: (bool, bool),
}

impl<F: Fn(f64) -> f64> Poisson<F> {
    pub(crate) fn new(rate: F, peak: f64, seconds: f64, lengths: (u32, u32), seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: 0.0,
            end: seconds,
            peak,
            rate,
            prompt: f64::from(lengths.0),
            output: f64::from(lengths.1),
            spread: (false, false),
        }
    }

    pub(crate) fn spread(mut self) -> Self {
        self.spread = (true, true);
        self
    }

    pub(crate) fn spread_outputs(mut self) -> Self {
        self.spread = (false, true);
        self
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.random.random::<f64>()).ln()
    }

    fn length(&mut self, mean: f64, spread: bool) -> u32 {
        let length = if spread {
            (mean * self.exponential()).ceil()
        } else {
            mean
        };
        length.clamp(1.0, 16.0 * mean) as u32
    }
}

impl<F: Fn(f64) -> f64> Iterator for Poisson<F> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            self.now += self.exponential() / self.peak;
            if self.now >= self.end {
                return None;
            }
            if self.random.random::<f64>() * self.peak < (self.rate)(self.now) {
                let (prompt, output) = (self.prompt, self.output);
                return Some(Request {
                    at: Duration::from_nanos((self.now * 1e9) as u64),
                    prompt_tokens: self.length(prompt, self.spread.0),
                    output_tokens: self.length(output, self.spread.1),
                });
            }
        }
    }
}
