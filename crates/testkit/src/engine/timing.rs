use std::time::Duration;

/// How long one iteration of an engine takes:
/// `base + prefill tokens * per_prefill_token + decoding sequences * per_decode_sequence
/// + tokens of context that they read * per_context_token`, all of it divided by `speed`.
///
/// The shape is that of published calibrations, which fit iteration times of vLLM within a few
/// percent; the presets take their coefficients from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IterationTime {
    /// Every iteration, in seconds.
    pub base: f64,
    /// For each prompt token that is computed, in seconds.
    pub per_prefill_token: f64,
    /// For each sequence that gets a token, in seconds.
    pub per_decode_sequence: f64,
    /// For each token in the KV cache of a decoding sequence, in seconds.
    pub per_context_token: f64,
    /// How many times faster than the real thing; for tests.
    pub speed: f64,
}

impl IterationTime {
    /// Llama-3.1-8B on one H100.
    ///
    /// Base and sequences: the fit 6.958 ms + 0.042 ms per sequence of llm-d's workload variant
    /// autoscaler. Prefill: 16 GFLOP per token at 45 % of 989.5 TFLOP/s. Context: 128 KiB per
    /// token at 3.35 TB/s.
    pub const H100_8B: Self = Self {
        base: 6.958e-3,
        per_prefill_token: 36e-6,
        per_decode_sequence: 42e-6,
        per_context_token: 39e-9,
        speed: 1.0,
    };

    /// Llama-3.1-8B on one L40S: the same fit's 22.6 ms + 0.181 ms per sequence; prefill at 32 %
    /// of 362 TFLOP/s, context at 0.864 TB/s.
    pub const L40S_8B: Self = Self {
        base: 22.6e-3,
        per_prefill_token: 138e-6,
        per_decode_sequence: 181e-6,
        per_context_token: 152e-9,
        speed: 1.0,
    };

    /// Llama-2-70B on four H100: 28.3 ms + 0.352 ms per sequence and 0.107 ms per prompt token,
    /// fitted to the measurements published with SageServe. Its fit has the context in the
    /// sequence's share.
    pub const H100_70B_TP4: Self = Self {
        base: 28.3e-3,
        per_prefill_token: 107e-6,
        per_decode_sequence: 352e-6,
        per_context_token: 0.0,
        speed: 1.0,
    };

    /// The same, `speed` times as fast.
    #[must_use]
    pub const fn at_speed(mut self, speed: f64) -> Self {
        self.speed = speed;
        self
    }

    /// The time of an iteration; at least a nanosecond, so that time always moves.
    #[must_use]
    pub fn of(&self, prefill_tokens: u64, decode_sequences: u64, context_tokens: u64) -> Duration {
        let seconds = self.base
            + self.per_prefill_token * prefill_tokens as f64
            + self.per_decode_sequence * decode_sequences as f64
            + self.per_context_token * context_tokens as f64;
        Duration::try_from_secs_f64(seconds / self.speed)
            .unwrap_or(Duration::MAX)
            .max(Duration::from_nanos(1))
    }

    /// Whether every number makes sense: finite, no part negative, the speed above zero.
    pub(super) fn is_sound(&self) -> bool {
        let parts = [
            self.base,
            self.per_prefill_token,
            self.per_decode_sequence,
            self.per_context_token,
        ];
        parts.iter().all(|part| part.is_finite() && *part >= 0.0)
            && self.speed.is_finite()
            && self.speed > 0.0
    }
}

impl Default for IterationTime {
    fn default() -> Self {
        Self::H100_8B
    }
}
