use std::borrow::Cow;
use std::time::Duration;

use rheostat_reading::{Ratio, Seconds};
use serde::{Deserialize, Serialize};

use crate::time::{Picoseconds, from_seconds};

/// How one replica serves: what an iteration takes, and what fits.
///
/// An iteration generates one token for each decoding sequence, and reads part of the prompts of new ones:
///
/// `T = base + per_prefill_token * prompt tokens read + per_decode_sequence * decoding sequences
///    + per_kv_token * tokens that the decoding sequences attend to`
///
/// It is the linear model of `policies.md` §E, which WVA, Vidur and BLIS share in this or another form: at
/// the sizes that are served, decoding is bound by the memory that is read (the weights once: `base`; the
/// KV cache: `per_kv_token`) and prefill by the arithmetic of its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineModel {
    /// Its name in the catalogue, or one of the user's own.
    pub name: Cow<'static, str>,
    /// Product name of its GPUs, as NVML and node labels tell it.
    pub hardware: Cow<'static, str>,
    /// GPUs of one replica.
    pub gpus: u32,
    /// What each iteration takes at least. If it is too small, replicas look faster than they are.
    pub base: Seconds,
    /// For each prompt token that is read.
    pub per_prefill_token: Seconds,
    /// For each sequence that gets a token.
    pub per_decode_sequence: Seconds,
    /// For each token in the KV cache that such a sequence attends to.
    pub per_kv_token: Seconds,
    /// Sequences that are served at once.
    pub max_sequences: u32,
    /// Tokens of one iteration, of prompts and of decoding sequences together; longer prompts are read in
    /// chunks.
    pub max_batched_tokens: u32,
    /// Tokens that the KV cache holds.
    pub kv_tokens: u32,
    /// Tokens of one block of the KV cache.
    pub block_tokens: u32,
}

/// An engine model that cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("engine {engine}: {key} is {value}, it must be {allowed}")]
pub struct InvalidEngine {
    /// Its name.
    pub engine: String,
    /// The field.
    pub key: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub allowed: &'static str,
}

impl EngineModel {
    /// Seconds of one replica that a request takes from the others, alone or not: all that an iteration
    /// takes longer because of it, over all its iterations.
    ///
    /// Its prompt of `I` tokens is read once. The last iteration of that gives the first token, so `O - 1`
    /// iterations follow; the k-th attends to `I + k` tokens:
    ///
    /// `w = b I + (O - 1) c + d (I + 1 + ... + I + O - 1) = b I + (O - 1) (c + d (I + O / 2))`
    #[must_use]
    pub fn work(&self, prompt_tokens: f64, output_tokens: f64) -> Seconds {
        let decoded = (output_tokens - 1.0).max(0.0);
        let attended = prompt_tokens + output_tokens / 2.0;
        Seconds(
            self.per_prefill_token.0 * prompt_tokens
                + decoded * (self.per_decode_sequence.0 + self.per_kv_token.0 * attended),
        )
    }

    /// The largest part of a replica's time that may be work (see [`Self::work`]) if the mean time between
    /// tokens is to stay within `itl`: `1 - base / itl`, or 0 where even an empty replica is slower.
    ///
    /// Over any time in which the replica is busy, that time is `base` for each iteration and the work that
    /// is done. With a part `rho` of the time work, `1 - rho` of it is `base`, so that an iteration takes
    /// `ITL = base / (1 - rho)` on average: what arrives makes iterations longer until as much is done in
    /// each as arrives in it.
    #[must_use]
    pub fn usable(&self, itl: Duration) -> Ratio {
        let itl = itl.as_secs_f64();
        if itl > self.base.0 {
            Ratio(1.0 - self.base.0 / itl)
        } else {
            Ratio(0.0)
        }
    }

    /// The largest part of a replica's time that can be work before requests of this shape fill its
    /// sequences or its KV cache and have to wait.
    ///
    /// At a rate `rho / w` each request stays `(O - 1) base / (1 - rho)` seconds (Little's law), with
    /// `I + O / 2` tokens in the KV cache on average. With `N` sequences at most, of those that the KV cache
    /// holds and the engine serves, `rho = 1 / (1 + (O - 1) base / (w N))`.
    #[must_use]
    pub fn fillable(&self, prompt_tokens: f64, output_tokens: f64) -> Ratio {
        let held = (prompt_tokens + output_tokens / 2.0).max(1.0);
        let sequences = f64::from(self.max_sequences).min(f64::from(self.kv_tokens) / held);
        let work = self.work(prompt_tokens, output_tokens).0;
        let idle = (output_tokens - 1.0).max(0.0) * self.base.0;
        if sequences <= 0.0 || work <= 0.0 {
            return Ratio(0.0);
        }
        Ratio(1.0 / (1.0 + idle / (work * sequences)))
    }

    /// Whether it can be simulated.
    ///
    /// # Errors
    /// The first field that cannot be as it is.
    pub fn check(&self) -> Result<(), InvalidEngine> {
        let invalid = |key, value, allowed| {
            Err(InvalidEngine {
                engine: self.name.to_string(),
                key,
                value,
                allowed,
            })
        };
        let times = [
            ("base", self.base, 10.0),
            ("per_prefill_token", self.per_prefill_token, 1.0),
            ("per_decode_sequence", self.per_decode_sequence, 1.0),
            ("per_kv_token", self.per_kv_token, 1e-3),
        ];
        for (key, Seconds(value), most) in times {
            if !(0.0..=most).contains(&value) {
                return invalid(
                    key,
                    value,
                    "seconds, 0 to 10 (base), 1 (token, sequence) or 0.001 (KV token)",
                );
            }
        }
        if from_seconds(self.base.0 + self.per_prefill_token.0) == 0 {
            return invalid("base", self.base.0, "above 0 where per_prefill_token is 0");
        }
        let counts = [
            ("gpus", self.gpus, 1024),
            ("max_sequences", self.max_sequences, 65_536),
            ("max_batched_tokens", self.max_batched_tokens, 1 << 20),
            ("kv_tokens", self.kv_tokens, 1 << 30),
            ("block_tokens", self.block_tokens, 1024),
        ];
        for (key, value, most) in counts {
            if !(1..=most).contains(&value) {
                return invalid(
                    key,
                    f64::from(value),
                    "1 to 1024 (gpus, block_tokens), 65536 (max_sequences), 2^20 (max_batched_tokens) or \
                     2^30 (kv_tokens)",
                );
            }
        }
        if self.max_batched_tokens < self.max_sequences {
            return invalid(
                "max_batched_tokens",
                f64::from(self.max_batched_tokens),
                "at least max_sequences",
            );
        }
        Ok(())
    }

    pub(crate) fn costs(&self) -> Costs {
        Costs {
            base: from_seconds(self.base.0),
            prefill_token: from_seconds(self.per_prefill_token.0),
            decode_sequence: from_seconds(self.per_decode_sequence.0),
            kv_token: from_seconds(self.per_kv_token.0),
        }
    }
}

/// The model's times in picoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    pub(crate) base: Picoseconds,
    pub(crate) prefill_token: Picoseconds,
    pub(crate) decode_sequence: Picoseconds,
    pub(crate) kv_token: Picoseconds,
}

impl Costs {
    /// What one iteration takes.
    pub(crate) const fn iteration(&self, prefill: u64, sequences: u64, attended: u64) -> Picoseconds {
        self.base + self.prefill_token * prefill + self.decode_sequence * sequences + self.kv_token * attended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> EngineModel {
        EngineModel::named("llama-3.1-8b-h100").unwrap()
    }

    #[test]
    fn work_is_the_sum_over_the_iterations() {
        let model = model();
        let (prompt, output) = (300_u32, 40_u32);
        let mut sum = model.per_prefill_token.0 * f64::from(prompt);
        for k in 1..output {
            sum += model.per_decode_sequence.0 + model.per_kv_token.0 * f64::from(prompt + k);
        }
        let work = model.work(f64::from(prompt), f64::from(output)).0;
        assert!((work - sum).abs() < 1e-12, "{work} {sum}");
    }

    #[test]
    fn a_replica_slower_than_the_limit_is_of_no_use() {
        let model = model();
        assert_eq!(model.usable(Duration::from_millis(5)), Ratio(0.0));
        assert!(model.usable(Duration::from_millis(70)).0 > 0.89);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = EngineModel {
            max_batched_tokens: 10,
            ..model()
        }
        .check()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "engine llama-3.1-8b-h100: max_batched_tokens is 10, it must be at least max_sequences"
        );
        let nan = EngineModel {
            base: Seconds(f64::NAN),
            ..model()
        };
        assert!(nan.check().is_err());
    }
}
