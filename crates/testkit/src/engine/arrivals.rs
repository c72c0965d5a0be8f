use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rheostat_reading::Timestamp;

use super::batcher::Request;

/// When requests come and how long they are: open loop, so that a slow engine does not slow them.
///
/// The same seed gives the same requests.
#[derive(Clone, Debug)]
pub struct Arrivals {
    pace: Pace,
    rate: f64,
    prompt: Lengths,
    output: Lengths,
    random: ChaCha8Rng,
    /// When the rate began to hold, or the last request came.
    since: Timestamp,
    next: Option<Timestamp>,
}

/// How the times between requests are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Exponentially: each moment is as likely as any other.
    #[default]
    Poisson,
    /// All the same.
    Constant,
}

/// How long prompts or answers are, in tokens; at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    /// All the same.
    Fixed(u32),
    /// Each from the first to the second as likely as any other.
    Uniform(u32, u32),
    /// Exponentially around `mean`, at most `limit`.
    Exponential {
        /// The mean, without the limit.
        mean: f64,
        /// The longest.
        limit: u32,
    },
}

impl Arrivals {
    /// Requests from `start` on, `rate` a second.
    #[must_use]
    pub fn new(start: Timestamp, rate: f64, pace: Pace, prompt: Lengths, output: Lengths, seed: u64) -> Self {
        let mut arrivals = Self {
            pace,
            rate: 0.0,
            prompt,
            output,
            random: ChaCha8Rng::seed_from_u64(seed),
            since: start,
            next: None,
        };
        arrivals.set_rate(start, rate);
        arrivals
    }

    /// Changes the rate from `now` on; none come at 0, nor at a rate that is no number.
    pub fn set_rate(&mut self, now: Timestamp, rate: f64) {
        self.rate = if rate.is_finite() { rate.max(0.0) } else { 0.0 };
        self.since = now;
        self.next = self.after(now);
    }

    /// When the next comes.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.next
    }

    /// The next request that has come by `now`, with its time. Call it until there is none.
    pub fn take(&mut self, now: Timestamp) -> Option<(Timestamp, Request)> {
        let at = self.next.filter(|next| *next <= now)?;
        self.since = at;
        self.next = self.after(at);
        let output_tokens = self.output.draw(&mut self.random);
        let request = Request {
            prompt_tokens: self.prompt.draw(&mut self.random),
            output_tokens,
            max_tokens: Some(output_tokens),
            ..Request::default()
        };
        Some((at, request))
    }

    fn after(&mut self, moment: Timestamp) -> Option<Timestamp> {
        if self.rate <= 0.0 {
            return None;
        }
        let seconds = match self.pace {
            Pace::Constant => 1.0 / self.rate,
            Pace::Poisson => exponential(&mut self.random) / self.rate,
        };
        Duration::try_from_secs_f64(seconds)
            .ok()
            .map(|span| moment.plus(span))
    }
}

impl Lengths {
    fn draw(self, random: &mut ChaCha8Rng) -> u32 {
        match self {
            Self::Fixed(length) => length.max(1),
            Self::Uniform(shortest, longest) => random
                .random_range(shortest.min(longest)..=longest.max(shortest))
                .max(1),
            Self::Exponential { mean, limit } => {
                // A float that is too large becomes the largest number, and NaN 0.
                let length = (exponential(random) * mean).round() as u32;
                length.clamp(1, limit.max(1))
            }
        }
    }
}

/// A number from the exponential distribution with mean 1.
fn exponential(random: &mut ChaCha8Rng) -> f64 {
    let uniform: f64 = random.random();
    -(1.0 - uniform).ln()
}
