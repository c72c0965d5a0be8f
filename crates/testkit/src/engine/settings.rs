use super::timing::IterationTime;

/// What an engine is: its limits, its KV cache and how fast it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Requests in the running batch at most (vLLM's `max_num_seqs`).
    pub max_sequences: usize,
    /// Tokens computed in one iteration at most; longer prompts are cut into chunks (vLLM's
    /// `max_num_batched_tokens`).
    pub max_batched_tokens: u32,
    /// Tokens that one KV block holds.
    pub block_size: u32,
    /// KV blocks.
    pub blocks: u32,
    /// Tokens of prompt and output that a request may have together (vLLM's `max_model_len`); at
    /// most what the KV cache holds, whatever stands here.
    pub max_context: u32,
    /// Whether a prompt's beginning that was seen before is not computed again.
    pub prefix_caching: bool,
    /// How long an iteration takes.
    pub iteration: IterationTime,
}

/// Settings that make no engine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A limit is zero.
    #[error("{name} is 0; at least 1 is needed")]
    Zero {
        /// Which.
        name: &'static str,
    },
    /// The times make no iteration.
    #[error("{0:?} is no iteration time: finite, no part negative, speed above 0")]
    IterationTime(IterationTime),
}

impl ModelSettings {
    /// The limit of prompt and output together that holds: `max_context`, or what the KV cache
    /// holds where that is less.
    #[must_use]
    pub fn context_limit(&self) -> u32 {
        self.max_context.min(self.blocks.saturating_mul(self.block_size))
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let limits = [
            ("max_sequences", self.max_sequences == 0),
            ("max_batched_tokens", self.max_batched_tokens == 0),
            ("block_size", self.block_size == 0),
            ("blocks", self.blocks == 0),
            ("max_context", self.max_context == 0),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, zero)| *zero) {
            return Err(SettingsError::Zero { name });
        }
        if self.iteration.is_sound() {
            Ok(())
        } else {
            Err(SettingsError::IterationTime(self.iteration))
        }
    }
}

impl Default for ModelSettings {
    /// Llama-3.1-8B on one H100 as vLLM serves it: 56 GB of its 80 GB are left for the KV cache,
    /// which takes 128 KiB per token.
    fn default() -> Self {
        Self {
            max_sequences: 256,
            max_batched_tokens: 8192,
            block_size: 16,
            blocks: 26_700,
            max_context: 16_384,
            prefix_caching: false,
            iteration: IterationTime::default(),
        }
    }
}
