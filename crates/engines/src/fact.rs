use std::fmt;
use std::str::FromStr;

/// One thing that an engine's pages tell, from which quantities are made: several of a latency's
/// quantities come from one histogram, `concurrency` from two gauges.
///
/// Its name is what a custom engine is described with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fact {
    /// Requests that wait.
    Waiting,
    /// Requests in the batch.
    Running,
    /// Both together, where an engine tells only that.
    Concurrency,
    /// Part of the KV cache in use.
    KvCacheUsage,
    /// Part of the prompt tokens found in the prefix cache, as the engine computes it.
    PrefixCacheHitRate,
    /// LoRA adapters.
    LoraAdapters,
    /// Models.
    ModelsLoaded,
    /// Blocks of the KV cache.
    KvBlocks,
    /// Tokens that fit a block of the KV cache.
    KvBlockTokens,
    /// Tokens that fit the KV cache.
    KvTokens,
    /// Requests that fit the batch.
    MaxSequences,
    /// Longest context in tokens.
    MaxContext,
    /// Requests finished.
    Requests,
    /// Prompt tokens read.
    PromptTokens,
    /// Tokens generated.
    GenerationTokens,
    /// Requests thrown out of the batch.
    Preemptions,
    /// Prompt tokens looked up in the prefix cache.
    PrefixCacheLookups,
    /// Prompt tokens found there.
    PrefixCacheHits,
    /// Time to the first token, seconds.
    Ttft,
    /// Time between two tokens, seconds.
    Itl,
    /// Mean time between the tokens of one request, seconds.
    Tpot,
    /// Time of a whole request, seconds.
    E2e,
    /// Time that a request waited, seconds.
    QueueTime,
    /// Tokens of one prompt.
    PromptLength,
    /// Tokens of one answer.
    GenerationLength,
}

/// How a fact is told by an engine of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One number that holds now.
    Gauge,
    /// A number that only grows.
    Counter,
    /// Observations: a histogram, or their sum and count.
    Distribution,
}

impl Fact {
    /// All of them, in the order of their discriminants.
    pub const ALL: &'static [Self] = &[
        Self::Waiting,
        Self::Running,
        Self::Concurrency,
        Self::KvCacheUsage,
        Self::PrefixCacheHitRate,
        Self::LoraAdapters,
        Self::ModelsLoaded,
        Self::KvBlocks,
        Self::KvBlockTokens,
        Self::KvTokens,
        Self::MaxSequences,
        Self::MaxContext,
        Self::Requests,
        Self::PromptTokens,
        Self::GenerationTokens,
        Self::Preemptions,
        Self::PrefixCacheLookups,
        Self::PrefixCacheHits,
        Self::Ttft,
        Self::Itl,
        Self::Tpot,
        Self::E2e,
        Self::QueueTime,
        Self::PromptLength,
        Self::GenerationLength,
    ];

    pub(crate) const COUNT: usize = Self::ALL.len();

    /// As a custom engine's description writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Concurrency => "concurrency",
            Self::KvCacheUsage => "kv_cache_usage",
            Self::PrefixCacheHitRate => "prefix_cache_hit_rate",
            Self::LoraAdapters => "lora_adapters",
            Self::ModelsLoaded => "models_loaded",
            Self::KvBlocks => "kv_blocks",
            Self::KvBlockTokens => "kv_block_tokens",
            Self::KvTokens => "kv_tokens",
            Self::MaxSequences => "max_sequences",
            Self::MaxContext => "max_context",
            Self::Requests => "request_rate",
            Self::PromptTokens => "prompt_token_rate",
            Self::GenerationTokens => "generation_token_rate",
            Self::Preemptions => "preemption_rate",
            Self::PrefixCacheLookups => "prefix_cache_lookups",
            Self::PrefixCacheHits => "prefix_cache_hits",
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
            Self::QueueTime => "queue_time",
            Self::PromptLength => "prompt_tokens",
            Self::GenerationLength => "generation_tokens",
        }
    }

    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Waiting
            | Self::Running
            | Self::Concurrency
            | Self::KvCacheUsage
            | Self::PrefixCacheHitRate
            | Self::LoraAdapters
            | Self::ModelsLoaded
            | Self::KvBlocks
            | Self::KvBlockTokens
            | Self::KvTokens
            | Self::MaxSequences
            | Self::MaxContext => Shape::Gauge,
            Self::Requests
            | Self::PromptTokens
            | Self::GenerationTokens
            | Self::Preemptions
            | Self::PrefixCacheLookups
            | Self::PrefixCacheHits => Shape::Counter,
            Self::Ttft
            | Self::Itl
            | Self::Tpot
            | Self::E2e
            | Self::QueueTime
            | Self::PromptLength
            | Self::GenerationLength => Shape::Distribution,
        }
    }

    /// Whether it holds for the whole process, so that series without a model stand for every model.
    pub(crate) const fn of_process(self) -> bool {
        matches!(
            self,
            Self::LoraAdapters
                | Self::ModelsLoaded
                | Self::KvBlocks
                | Self::KvBlockTokens
                | Self::KvTokens
                | Self::MaxSequences
                | Self::MaxContext
        )
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Fact {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|fact| fact.name() == name)
            .ok_or(())
    }
}

/// A value for each fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PerFact<T>([T; Fact::COUNT]);

impl<T> PerFact<T> {
    pub(crate) fn from_fn(make: impl FnMut(Fact) -> T) -> Self {
        let mut make = make;
        Self(std::array::from_fn(|place| make(Fact::ALL[place])))
    }

    pub(crate) fn get(&self, fact: Fact) -> &T {
        &self.0[fact as usize]
    }

    pub(crate) fn get_mut(&mut self, fact: Fact) -> &mut T {
        &mut self.0[fact as usize]
    }
}

impl<T: Default> Default for PerFact<T> {
    fn default() -> Self {
        Self::from_fn(|_| T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for &fact in Fact::ALL {
            assert_eq!(fact.name().parse(), Ok(fact));
            assert_eq!(Fact::ALL[fact as usize], fact);
        }
        assert_eq!("nonsense".parse::<Fact>(), Err(()));
    }
}
