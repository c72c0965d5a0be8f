use super::{Definition, LabelNames, Row, counter, gauge, histogram, models, ratio, row};
use crate::{Engine, Fact};

/// LMDeploy. Names: `lmdeploy/metrics/loggers.py` and `stats.py` of LMDeploy.
pub(super) static LMDEPLOY: Definition = Definition {
    engine: Engine::Lmdeploy,
    prefixes: &["lmdeploy:"],
    rows: ROWS,
    labels: LabelNames {
        model: &["model_name"],
        adapter: &[],
        rank: &["engine"],
        copies: &[],
    },
    sleep: None,
    arrivals: None,
    optional: &[],
};

const ROWS: &[Row] = &[
    row(
        Fact::Waiting,
        // Requests that the server holds back have not come to the engine's queue yet.
        &[gauge("num_requests_waiting").plus(&["num_api_requests_waiting"])],
    ),
    row(Fact::Running, &[gauge("num_requests_running")]),
    row(Fact::KvCacheUsage, &[ratio("gpu_cache_usage_perc")]),
    row(Fact::ModelsLoaded, &[models("num_requests_running")]),
    row(Fact::Requests, &[counter("request_success_total")]),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("generation_tokens_total")]),
    row(Fact::PrefixCacheLookups, &[counter("prompt_tokens_total")]),
    row(Fact::PrefixCacheHits, &[counter("cached_tokens_total")]),
    row(Fact::PrefixCacheHitRate, &[ratio("prefix_cache_hit_rate")]),
    row(Fact::Ttft, &[histogram("time_to_first_token_seconds")]),
    row(
        Fact::Itl,
        &[
            histogram("iter_token_latency"),
            histogram("time_per_output_token_seconds"),
        ],
    ),
    row(Fact::E2e, &[histogram("e2e_request_latency_seconds")]),
    row(Fact::QueueTime, &[histogram("request_queue_time_seconds")]),
    row(Fact::PromptLength, &[histogram("request_prompt_tokens")]),
    row(Fact::GenerationLength, &[histogram("request_generation_tokens")]),
];
