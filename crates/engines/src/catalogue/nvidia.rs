use super::{
    Combine, Definition, LabelNames, Row, counter, gauge, histogram, models, ratio, row, sum_with_count,
};
use crate::{Engine, Fact};

/// Triton Inference Server. Names: `docs/user_guide/metrics.md` of Triton, and `README.md` of its
/// TensorRT-LLM back end. Durations are in micro- or milliseconds.
pub(super) static TRITON: Definition = Definition {
    engine: Engine::Triton,
    prefixes: &["nv_"],
    rows: TRITON_ROWS,
    labels: LabelNames {
        model: &["model"],
        adapter: &[],
        rank: &["model", "version"],
        copies: &[],
    },
    sleep: None,
    arrivals: None,
    optional: TRT_LLM,
};

const MICRO: f64 = 1e-6;
const MILLI: f64 = 1e-3;

/// What the TensorRT-LLM back end writes of each model that it serves.
const TRT_LLM: &[&str] = &[
    "trt_llm_request_metrics",
    "trt_llm_kv_cache_block_metrics",
    "trt_llm_inflight_batcher_metrics",
    "trt_llm_runtime_memory_metrics",
    "trt_llm_general_metrics",
];

const TRITON_ROWS: &[Row] = &[
    row(
        Fact::Waiting,
        &[
            gauge("trt_llm_request_metrics").filter(&[("request_type", "waiting")]),
            gauge("inference_pending_request_count"),
        ],
    ),
    row(
        Fact::Running,
        // `active` has the waiting ones in it.
        &[gauge("trt_llm_request_metrics").filter(&[("request_type", "scheduled")])],
    ),
    row(
        Fact::MaxSequences,
        &[gauge("trt_llm_request_metrics").filter(&[("request_type", "max")])],
    ),
    row(
        Fact::KvCacheUsage,
        &[ratio("trt_llm_kv_cache_block_metrics").filter(&[("kv_cache_block_type", "fraction")])],
    ),
    row(
        Fact::KvBlocks,
        &[gauge("trt_llm_kv_cache_block_metrics").filter(&[("kv_cache_block_type", "max")])],
    ),
    row(
        Fact::KvBlockTokens,
        &[gauge("trt_llm_kv_cache_block_metrics")
            .filter(&[("kv_cache_block_type", "tokens_per")])
            .combine(Combine::Max)],
    ),
    row(Fact::ModelsLoaded, &[models("inference_request_success")]),
    row(Fact::Requests, &[counter("inference_request_success")]),
    row(
        Fact::Ttft,
        &[histogram("inference_first_response_histogram_ms").scale(MILLI)],
    ),
    row(
        Fact::E2e,
        &[
            sum_with_count("inference_request_duration_us", "inference_request_success").scale(MICRO),
            sum_with_count(
                "inference_request_summary_us_sum",
                "inference_request_summary_us_count",
            )
            .scale(MICRO),
        ],
    ),
    row(
        Fact::QueueTime,
        &[
            sum_with_count("inference_queue_duration_us", "inference_request_success").scale(MICRO),
            sum_with_count(
                "inference_queue_summary_us_sum",
                "inference_queue_summary_us_count",
            )
            .scale(MICRO),
        ],
    ),
];

/// TensorRT-LLM's `trtllm-serve`. Names: `tensorrt_llm/metrics/collector.py`; those of requests need
/// `return_perf_metrics: true`.
pub(super) static TRTLLM_SERVE: Definition = Definition {
    engine: Engine::TrtllmServe,
    prefixes: &["trtllm_", "trtllm:"],
    rows: TRTLLM_ROWS,
    labels: LabelNames {
        model: &["model_name"],
        adapter: &[],
        rank: &[],
        copies: &[],
    },
    sleep: None,
    arrivals: None,
    optional: &[],
};

const TRTLLM_ROWS: &[Row] = &[
    row(Fact::Waiting, &[gauge("num_requests_waiting")]),
    row(Fact::Running, &[gauge("num_requests_running")]),
    row(Fact::KvCacheUsage, &[ratio("kv_cache_utilization")]),
    row(Fact::KvBlocks, &[gauge("kv_cache_max_blocks")]),
    row(
        Fact::KvBlockTokens,
        &[gauge("kv_cache_tokens_per_block").combine(Combine::Max)],
    ),
    row(
        Fact::MaxSequences,
        &[gauge("max_batch_size_runtime"), gauge("max_num_active_requests")],
    ),
    row(Fact::ModelsLoaded, &[models("num_requests_running")]),
    row(
        Fact::Requests,
        &[
            counter("num_requests_completed_total"),
            counter("request_success_total"),
        ],
    ),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("generation_tokens_total")]),
    row(Fact::PrefixCacheLookups, &[counter("prompt_tokens_total")]),
    row(Fact::PrefixCacheHits, &[counter("prompt_cached_tokens_total")]),
    row(Fact::PrefixCacheHitRate, &[ratio("kv_cache_hit_rate")]),
    row(Fact::Ttft, &[histogram("time_to_first_token_seconds")]),
    row(Fact::Itl, &[histogram("time_per_output_token_seconds")]),
    // Once for each request: there is nothing of single tokens.
    row(Fact::Tpot, &[histogram("time_per_output_token_seconds")]),
    row(Fact::E2e, &[histogram("e2e_request_latency_seconds")]),
    row(Fact::QueueTime, &[histogram("request_queue_time_seconds")]),
];

/// NVIDIA NIM for large language models. Names: its documentation, "Observability". They have no
/// prefix.
pub(super) static NIM: Definition = Definition {
    engine: Engine::Nim,
    prefixes: &[""],
    rows: NIM_ROWS,
    labels: NIM_LABELS,
    sleep: None,
    arrivals: None,
    optional: &[],
};

/// The same where NIM was named: newer ones are vLLM and write its names.
pub(super) static NIM_NAMED: Definition = Definition {
    engine: Engine::Nim,
    prefixes: &["", "vllm:"],
    rows: NIM_ROWS,
    labels: NIM_LABELS,
    sleep: None,
    arrivals: None,
    optional: &[],
};

const NIM_LABELS: LabelNames = LabelNames {
    model: &["model_name"],
    adapter: &[],
    rank: &["engine"],
    copies: &[],
};

const NIM_ROWS: &[Row] = &[
    row(Fact::Waiting, &[gauge("num_requests_waiting")]),
    row(Fact::Running, &[gauge("num_requests_running")]),
    row(
        Fact::KvCacheUsage,
        &[ratio("gpu_cache_usage_perc"), ratio("kv_cache_usage_perc")],
    ),
    row(Fact::MaxSequences, &[gauge("num_request_max")]),
    row(Fact::ModelsLoaded, &[models("num_requests_running")]),
    row(
        Fact::Requests,
        &[counter("request_success_total"), counter("request_finish_total")],
    ),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("generation_tokens_total")]),
    row(Fact::Ttft, &[histogram("time_to_first_token_seconds")]),
    row(
        Fact::Itl,
        &[
            histogram("time_per_output_token_seconds"),
            histogram("inter_token_latency_seconds"),
        ],
    ),
    row(Fact::Tpot, &[histogram("request_time_per_output_token_seconds")]),
    row(Fact::E2e, &[histogram("e2e_request_latency_seconds")]),
    row(Fact::PromptLength, &[histogram("request_prompt_tokens")]),
    row(Fact::GenerationLength, &[histogram("request_generation_tokens")]),
];
