use rheostat_reading::EngineQuantity;

use crate::statistic::named;

named! {
    /// What a trigger can take of an engine; `engine.` and this name is the signal.
    EngineSignal {
        /// Requests that wait for a place in the batch.
        Waiting = "waiting",
        /// Requests in the batch; never more than the engine has slots.
        Running = "running",
        /// Waiting and running requests together.
        Concurrency = "concurrency",
        /// Part of the KV cache in use.
        KvCacheUsage = "kv_cache_usage",
        /// Time to the first token.
        Ttft = "ttft",
        /// Time between two tokens.
        Itl = "itl",
        /// Mean time between the tokens of a request.
        Tpot = "tpot",
        /// Time of a whole request.
        E2e = "e2e",
        /// Time that requests waited.
        QueueTime = "queue_time",
        /// Requests finished per second.
        RequestRate = "request_rate",
        /// Prompt and generated tokens per second.
        TokenRate = "token_rate",
        /// Prompt tokens per second.
        PromptTokenRate = "prompt_token_rate",
        /// Generated tokens per second.
        GenerationTokenRate = "generation_token_rate",
        /// Part of the prompt tokens that the prefix cache held.
        PrefixCacheHitRate = "prefix_cache_hit_rate",
        /// Requests thrown out of the batch per second for want of KV cache.
        PreemptionRate = "preemption_rate",
    }
}

named! {
    /// Which of the latencies of a window is taken.
    Quantile {
        /// The median.
        P50 = "p50",
        /// The 90th percentile.
        P90 = "p90",
        /// The 95th percentile, the default.
        P95 = "p95",
        /// The 99th percentile.
        P99 = "p99",
        /// The mean, which some engines report alone.
        Mean = "mean",
    }
}

impl EngineSignal {
    /// The quantity that an engine reports for it; `quantile` matters to latencies only.
    #[must_use]
    pub const fn quantity(self, quantile: Quantile) -> EngineQuantity {
        use EngineQuantity as Of;
        use Quantile::{Mean, P50, P90, P95, P99};
        match (self, quantile) {
            (Self::Waiting, _) => Of::Waiting,
            (Self::Running, _) => Of::Running,
            (Self::Concurrency, _) => Of::Concurrency,
            (Self::KvCacheUsage, _) => Of::KvCacheUsage,
            (Self::Ttft, P50) => Of::TtftP50,
            (Self::Ttft, P90) => Of::TtftP90,
            (Self::Ttft, P95) => Of::TtftP95,
            (Self::Ttft, P99) => Of::TtftP99,
            (Self::Ttft, Mean) => Of::TtftMean,
            (Self::Itl, P50) => Of::ItlP50,
            (Self::Itl, P90) => Of::ItlP90,
            (Self::Itl, P95) => Of::ItlP95,
            (Self::Itl, P99) => Of::ItlP99,
            (Self::Itl, Mean) => Of::ItlMean,
            (Self::Tpot, P50) => Of::TpotP50,
            (Self::Tpot, P90) => Of::TpotP90,
            (Self::Tpot, P95) => Of::TpotP95,
            (Self::Tpot, P99) => Of::TpotP99,
            (Self::Tpot, Mean) => Of::TpotMean,
            (Self::E2e, P50) => Of::E2eP50,
            (Self::E2e, P90) => Of::E2eP90,
            (Self::E2e, P95) => Of::E2eP95,
            (Self::E2e, P99) => Of::E2eP99,
            (Self::E2e, Mean) => Of::E2eMean,
            (Self::QueueTime, P50) => Of::QueueTimeP50,
            (Self::QueueTime, P90) => Of::QueueTimeP90,
            (Self::QueueTime, P95) => Of::QueueTimeP95,
            (Self::QueueTime, P99) => Of::QueueTimeP99,
            (Self::QueueTime, Mean) => Of::QueueTimeMean,
            (Self::RequestRate, _) => Of::RequestRate,
            (Self::TokenRate, _) => Of::TokenRate,
            (Self::PromptTokenRate, _) => Of::PromptTokenRate,
            (Self::GenerationTokenRate, _) => Of::GenerationTokenRate,
            (Self::PrefixCacheHitRate, _) => Of::PrefixCacheHitRate,
            (Self::PreemptionRate, _) => Of::PreemptionRate,
        }
    }

    /// Whether it is a time, of which there are quantiles.
    #[must_use]
    pub const fn is_latency(self) -> bool {
        matches!(
            self,
            Self::Ttft | Self::Itl | Self::Tpot | Self::E2e | Self::QueueTime
        )
    }
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Unit;

    use super::*;

    #[test]
    fn each_signal_is_the_quantity_of_its_name() {
        for &signal in EngineSignal::ALL {
            for &quantile in Quantile::ALL {
                let quantity = signal.quantity(quantile);
                if signal.is_latency() {
                    assert_eq!(quantity.name(), format!("{signal}_{quantile}"));
                    assert_eq!(quantity.unit(), Unit::Seconds);
                } else {
                    assert_eq!(quantity.name(), signal.name());
                }
            }
        }
    }
}
