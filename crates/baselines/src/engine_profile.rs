use std::time::Duration;

use rheostat_reading::{PerSecond, Seconds};

use crate::baseline::BaselineError;

/// How fast one replica is: the performance profile that some autoscalers bring along (Dynamo's sweeps or
/// AIConfigurator's tables, a load test).
///
/// An iteration of continuous batching takes
/// `iteration + prompt_token * prompt tokens + sequence * sequences + kv_token * tokens in the KV cache`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineProfile {
    /// Of an iteration, whatever is in it.
    pub iteration: Seconds,
    /// Of each prompt token that is computed in it.
    pub prompt_token: Seconds,
    /// Of each sequence that gets a token in it.
    pub sequence: Seconds,
    /// Of each token of context that is read in it.
    pub kv_token: Seconds,
    /// Requests that fit the batch.
    pub max_sequences: u32,
    /// Tokens of prompts and answers that fit one iteration.
    pub max_batched_tokens: u32,
    /// Tokens that fit the KV cache.
    pub kv_tokens: u64,
    /// Longest prompt and answer together.
    pub context_length: u32,
}

/// A steady state of one replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operation {
    /// Requests that it finishes per second.
    pub rate: PerSecond,
    /// Requests in the batch.
    pub batch: u32,
    /// Time between two tokens.
    pub itl: Seconds,
    /// Time to the first token, without a queue.
    pub ttft: Seconds,
}

impl EngineProfile {
    pub(crate) fn check(&self) -> Result<(), BaselineError> {
        let wrong = |key, value: String, allowed| Err(BaselineError::Context { key, value, allowed });
        for (key, seconds) in [
            ("engine.iteration", self.iteration),
            ("engine.prompt_token", self.prompt_token),
            ("engine.sequence", self.sequence),
            ("engine.kv_token", self.kv_token),
        ] {
            if !(seconds.0 >= 0.0 && seconds.0.is_finite()) {
                return wrong(key, seconds.0.to_string(), "0 s or more");
            }
        }
        if self.iteration.0 <= 0.0 {
            return wrong("engine.iteration", self.iteration.0.to_string(), "more than 0 s");
        }
        for (key, count) in [
            ("engine.max_sequences", u64::from(self.max_sequences)),
            ("engine.max_batched_tokens", u64::from(self.max_batched_tokens)),
            ("engine.kv_tokens", self.kv_tokens),
            ("engine.context_length", u64::from(self.context_length)),
        ] {
            if count == 0 {
                return wrong(key, count.to_string(), "1 or more");
            }
        }
        Ok(())
    }

    /// How long an iteration takes.
    #[must_use]
    pub fn iteration_time(&self, prompt_tokens: f64, sequences: f64, kv_tokens: f64) -> Seconds {
        Seconds(
            self.iteration.0
                + self.prompt_token.0 * prompt_tokens
                + self.sequence.0 * sequences
                + self.kv_token.0 * kv_tokens,
        )
    }

    /// How long it takes until `prompt_tokens` are computed beside the sequences that are running.
    #[must_use]
    pub fn prefill_time(&self, prompt_tokens: f64, sequences: f64, kv_tokens: f64) -> Seconds {
        let chunk = f64::from(self.max_batched_tokens);
        let whole = (prompt_tokens / chunk).floor();
        let rest = prompt_tokens - whole * chunk;
        let of_whole = self.iteration_time(chunk, sequences, kv_tokens).0;
        let of_rest = if rest > 0.0 {
            self.iteration_time(rest, sequences, kv_tokens).0
        } else {
            0.0
        };
        Seconds(whole * of_whole + of_rest)
    }

    /// The steady state with `batch` requests of this shape: each iteration gives every one of them a
    /// token and computes as many prompt tokens as requests finish (Little's law).
    #[must_use]
    pub fn operation(&self, batch: u32, prompt_tokens: f64, output_tokens: f64) -> Operation {
        let sequences = f64::from(batch);
        let output = output_tokens.max(1.0);
        let prompts = sequences * prompt_tokens / output;
        // Prompts that do not fit one iteration take several, in which the others get a token each.
        let context = sequences * (prompt_tokens + output / 2.0);
        let room = (f64::from(self.max_batched_tokens) - sequences).max(1.0);
        let stretch = (prompts / room).max(1.0);
        let itl = Seconds(self.iteration_time(prompts / stretch, sequences, context).0 * stretch);
        Operation {
            rate: PerSecond(sequences / (output * itl.0)),
            batch,
            itl,
            ttft: self.prefill_time(prompts + prompt_tokens, sequences, context),
        }
    }

    /// The largest batch of this shape that the engine's slots and KV cache hold, at least 1.
    #[must_use]
    pub fn largest_batch(&self, prompt_tokens: f64, output_tokens: f64) -> u32 {
        let context = (prompt_tokens + output_tokens / 2.0).max(1.0);
        let by_cache = (self.kv_tokens as f64 / context).floor() as u32;
        by_cache.min(self.max_sequences).max(1)
    }

    /// The fastest steady state that keeps both latencies: every request of this shape. With one request
    /// at a time where not even that keeps them.
    #[must_use]
    pub fn best_operation(
        &self,
        prompt_tokens: f64,
        output_tokens: f64,
        ttft: Option<Duration>,
        itl: Option<Duration>,
    ) -> Operation {
        let keeps = |operation: &Operation| {
            ttft.is_none_or(|limit| operation.ttft.0 <= limit.as_secs_f64())
                && itl.is_none_or(|limit| operation.itl.0 <= limit.as_secs_f64())
        };
        // Latencies grow with the batch, so the largest that keeps them is found by halving.
        let (mut low, mut high) = (1, self.largest_batch(prompt_tokens, output_tokens));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if keeps(&self.operation(middle, prompt_tokens, output_tokens)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        self.operation(low, prompt_tokens, output_tokens)
    }
}
