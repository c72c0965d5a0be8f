use super::{Definition, LabelNames, Row, Take, counter, gauge, histogram, info, models, ratio, row};
use crate::{Engine, Fact};

/// vLLM. Names: `vllm/v1/metrics/loggers.py` and `docs/usage/metrics.md` of vLLM; the older ones from
/// its deprecation list.
///
/// Ray Serve LLM writes the same names with `ray_` in front and, since Ray's names have no colon, `_`
/// for it. KServe and llm-d put `kserve_` in front when pages are relabelled.
pub(super) static VLLM: Definition = Definition {
    engine: Engine::Vllm,
    prefixes: &[
        "vllm:",
        "ray_vllm_",
        "ray_vllm:",
        "kserve_vllm:",
        "llmd_vllm:",
        "llm_d_vllm:",
    ],
    rows: ROWS,
    labels: LabelNames {
        model: &["model_name"],
        adapter: &["lora_name"],
        // On a Ray node's page several replicas stand side by side.
        rank: &["engine", "ReplicaId", "WorkerId"],
        copies: &[],
    },
    sleep: Some("engine_sleep_state"),
    arrivals: None,
    optional: &[],
};

const ROWS: &[Row] = &[
    row(
        Fact::Waiting,
        // Swapped requests, of V0 only, neither wait nor run.
        &[gauge("num_requests_waiting").plus(&["num_requests_swapped"])],
    ),
    row(Fact::Running, &[gauge("num_requests_running")]),
    row(
        Fact::KvCacheUsage,
        // The second was removed in 0.12.
        &[ratio("kv_cache_usage_perc"), ratio("gpu_cache_usage_perc")],
    ),
    row(Fact::KvBlocks, &[info("cache_config_info", &["num_gpu_blocks"])]),
    row(
        Fact::KvTokens,
        &[info("cache_config_info", &["num_gpu_blocks", "block_size"])],
    ),
    row(
        Fact::LoraAdapters,
        &[gauge("lora_requests_info").take(Take::AdapterLists(&[
            "running_lora_adapters",
            "waiting_lora_adapters",
        ]))],
    ),
    row(Fact::ModelsLoaded, &[models("num_requests_running")]),
    row(Fact::Requests, &[counter("request_success_total")]),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("generation_tokens_total")]),
    row(Fact::Preemptions, &[counter("num_preemptions_total")]),
    row(
        Fact::PrefixCacheLookups,
        &[
            counter("prefix_cache_queries_total"),
            counter("gpu_prefix_cache_queries_total"),
        ],
    ),
    row(
        Fact::PrefixCacheHits,
        &[
            counter("prefix_cache_hits_total"),
            counter("gpu_prefix_cache_hits_total"),
        ],
    ),
    // V0 only; hidden in 0.9.
    row(Fact::PrefixCacheHitRate, &[ratio("gpu_prefix_cache_hit_rate")]),
    row(Fact::Ttft, &[histogram("time_to_first_token_seconds")]),
    row(
        Fact::Itl,
        &[
            histogram("inter_token_latency_seconds"),
            // The older name of the same.
            histogram("time_per_output_token_seconds"),
            // A mean over each request rather than every single token.
            histogram("request_time_per_output_token_seconds"),
        ],
    ),
    row(Fact::Tpot, &[histogram("request_time_per_output_token_seconds")]),
    row(Fact::E2e, &[histogram("e2e_request_latency_seconds")]),
    row(
        Fact::QueueTime,
        &[
            histogram("request_queue_time_seconds"),
            // V0.
            histogram("time_in_queue_requests"),
        ],
    ),
    row(Fact::PromptLength, &[histogram("request_prompt_tokens")]),
    row(Fact::GenerationLength, &[histogram("request_generation_tokens")]),
];
