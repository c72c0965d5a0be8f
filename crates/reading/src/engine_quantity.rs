use std::fmt;
use std::str::FromStr;

use crate::Unit;
use crate::quantity::{Measurable, quantities};

quantities! {
    /// What an inference engine reports of itself, whatever it calls it. The vocabulary of
    /// `engine.*` signals.
    ///
    /// Of one engine process, all of its data-parallel ranks and models together unless one of them
    /// was selected. Latencies and rates cover the reading's window.
    EngineQuantity;

    /// Requests that wait for a place in the batch.
    Waiting = "waiting", Count;
    /// Requests in the batch.
    Running = "running", Count;
    /// Waiting and running requests together: the demand that the engine sees. Never capped by the
    /// number of slots, as `running` is.
    Concurrency = "concurrency", Count;
    /// Part of the KV cache in use by requests.
    KvCacheUsage = "kv_cache_usage", Ratio;
    /// Time to the first token: mean.
    TtftMean = "ttft_mean", Seconds;
    /// Time to the first token: median.
    TtftP50 = "ttft_p50", Seconds;
    /// Time to the first token: 90th percentile.
    TtftP90 = "ttft_p90", Seconds;
    /// Time to the first token: 95th percentile.
    TtftP95 = "ttft_p95", Seconds;
    /// Time to the first token: 99th percentile.
    TtftP99 = "ttft_p99", Seconds;
    /// Time between two tokens: mean.
    ItlMean = "itl_mean", Seconds;
    /// Time between two tokens: median.
    ItlP50 = "itl_p50", Seconds;
    /// Time between two tokens: 90th percentile.
    ItlP90 = "itl_p90", Seconds;
    /// Time between two tokens: 95th percentile.
    ItlP95 = "itl_p95", Seconds;
    /// Time between two tokens: 99th percentile.
    ItlP99 = "itl_p99", Seconds;
    /// Mean time between the tokens of a request, over finished requests: mean.
    TpotMean = "tpot_mean", Seconds;
    /// Mean time between the tokens of a request, over finished requests: median.
    TpotP50 = "tpot_p50", Seconds;
    /// Mean time between the tokens of a request, over finished requests: 90th percentile.
    TpotP90 = "tpot_p90", Seconds;
    /// Mean time between the tokens of a request, over finished requests: 95th percentile.
    TpotP95 = "tpot_p95", Seconds;
    /// Mean time between the tokens of a request, over finished requests: 99th percentile.
    TpotP99 = "tpot_p99", Seconds;
    /// Time of a whole request: mean.
    E2eMean = "e2e_mean", Seconds;
    /// Time of a whole request: median.
    E2eP50 = "e2e_p50", Seconds;
    /// Time of a whole request: 90th percentile.
    E2eP90 = "e2e_p90", Seconds;
    /// Time of a whole request: 95th percentile.
    E2eP95 = "e2e_p95", Seconds;
    /// Time of a whole request: 99th percentile.
    E2eP99 = "e2e_p99", Seconds;
    /// Time that requests waited: mean.
    QueueTimeMean = "queue_time_mean", Seconds;
    /// Time that requests waited: median.
    QueueTimeP50 = "queue_time_p50", Seconds;
    /// Time that requests waited: 90th percentile.
    QueueTimeP90 = "queue_time_p90", Seconds;
    /// Time that requests waited: 95th percentile.
    QueueTimeP95 = "queue_time_p95", Seconds;
    /// Time that requests waited: 99th percentile.
    QueueTimeP99 = "queue_time_p99", Seconds;
    /// Requests finished per second.
    RequestRate = "request_rate", PerSecond;
    /// Prompt tokens read per second.
    PromptTokenRate = "prompt_token_rate", PerSecond;
    /// Tokens generated per second.
    GenerationTokenRate = "generation_token_rate", PerSecond;
    /// Prompt and generated tokens per second together.
    TokenRate = "token_rate", PerSecond;
    /// Mean length of the prompts of finished requests, tokens.
    PromptTokensMean = "prompt_tokens_mean", Count;
    /// Mean length of the answers of finished requests, tokens.
    GenerationTokensMean = "generation_tokens_mean", Count;
    /// Part of the looked-up prompt tokens that the prefix cache held.
    PrefixCacheHitRate = "prefix_cache_hit_rate", Ratio;
    /// Requests thrown out of the batch per second for want of KV cache.
    PreemptionRate = "preemption_rate", PerSecond;
    /// LoRA adapters loaded.
    LoraAdapters = "lora_adapters", Count;
    /// Models loaded.
    ModelsLoaded = "models_loaded", Count;
    /// Blocks of the KV cache, used or not.
    KvBlocks = "kv_blocks", Count;
    /// Tokens that the KV cache can hold.
    KvTokens = "kv_tokens", Count;
    /// Requests that fit the batch at once (slots).
    MaxSequences = "max_sequences", Count;
    /// Longest context, tokens.
    MaxContext = "max_context", Count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for &quantity in EngineQuantity::ALL {
            assert_eq!(quantity.name().parse(), Ok(quantity));
            assert_eq!(EngineQuantity::ALL[quantity as usize], quantity);
        }
    }
}
