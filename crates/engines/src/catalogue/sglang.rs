use super::{Combine, Definition, LabelNames, Row, counter, gauge, histogram, info, models, ratio, row};
use crate::{Engine, Fact};

/// SGLang, started with `--enable-metrics`. Names: `python/sglang/srt/observability/metrics_collector.py`
/// of SGLang, and `docs/references/production_metrics` for the older ones.
pub(super) static SGLANG: Definition = Definition {
    engine: Engine::Sglang,
    prefixes: &["sglang:", "ray_sglang_"],
    rows: ROWS,
    labels: LabelNames {
        model: &["model_name"],
        adapter: &["lora_name"],
        rank: &["dp_rank"],
        // With `--enable-metrics-for-all-schedulers` every worker of a rank tells the same.
        copies: &["tp_rank", "pp_rank", "moe_ep_rank"],
    },
    sleep: None,
    arrivals: None,
    optional: &[],
};

/// With priorities switched on, the totals have an empty priority.
const TOTAL: &[(&str, &str)] = &[("priority", "")];

const ROWS: &[Row] = &[
    row(
        Fact::Waiting,
        // Requests whose grammar is compiled, and those that wait for the other half of a
        // disaggregated pair, stand in queues of their own.
        &[gauge("num_queue_reqs").filter(TOTAL).plus(&[
            "num_grammar_queue_reqs",
            "num_prefill_bootstrap_queue_reqs",
            "num_decode_prealloc_queue_reqs",
            "num_decode_transfer_queue_reqs",
        ])],
    ),
    row(Fact::Running, &[gauge("num_running_reqs").filter(TOTAL)]),
    // Without what the prefix cache would give back at once.
    row(Fact::KvCacheUsage, &[ratio("token_usage")]),
    row(
        Fact::KvTokens,
        &[
            gauge("max_total_num_tokens"),
            info("cache_config_info", &["num_pages", "page_size"]),
        ],
    ),
    row(
        Fact::KvBlocks,
        &[gauge("num_pages"), info("cache_config_info", &["num_pages"])],
    ),
    row(Fact::MaxContext, &[gauge("context_len").combine(Combine::Max)]),
    row(Fact::LoraAdapters, &[gauge("lora_pool_slots_used")]),
    row(Fact::ModelsLoaded, &[models("num_running_reqs")]),
    row(Fact::Requests, &[counter("num_requests_total")]),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("generation_tokens_total")]),
    row(Fact::Preemptions, &[counter("num_retracted_requests_total")]),
    row(Fact::PrefixCacheLookups, &[counter("prompt_tokens_total")]),
    row(Fact::PrefixCacheHits, &[counter("cached_tokens_total")]),
    row(Fact::PrefixCacheHitRate, &[ratio("cache_hit_rate")]),
    row(Fact::Ttft, &[histogram("time_to_first_token_seconds")]),
    row(
        Fact::Itl,
        &[
            histogram("inter_token_latency_seconds"),
            // Before 0.4.7.
            histogram("time_per_output_token_seconds"),
        ],
    ),
    row(Fact::E2e, &[histogram("e2e_request_latency_seconds")]),
    row(Fact::QueueTime, &[histogram("queue_time_seconds")]),
    row(Fact::PromptLength, &[histogram("prompt_tokens_histogram")]),
    row(
        Fact::GenerationLength,
        &[histogram("generation_tokens_histogram")],
    ),
];
