//! LLM engines other than vLLM.

use super::buckets::{
    REQUEST, SGLANG_E2E, SGLANG_ITL, SGLANG_QUEUE, SGLANG_TTFT, TPOT, TRTLLM_PREFILL, TTFT, one_two_five,
};
use super::{Facts, Labels, Style, Template, counter, gauge, histogram, ratio, several};
use crate::engine::batcher::Finish;
use crate::engine::settings::ModelSettings;
use crate::engine::tally::Quantity;

const PYTHON: Style = Style {
    float: true,
    sorted: true,
    trailing_comma: false,
};

/// LMDeploy fixes its token buckets to this context, whatever the model's is.
const LMDEPLOY_CONTEXT: u32 = 4096;

pub(super) fn sglang() -> Template {
    Template {
        style: PYTHON,
        prefix: "sglang:",
        labels: |facts| {
            vec![
                ("model_name", facts.model.clone()),
                ("engine_type", "unified".into()),
                ("tp_rank", "0".into()),
                ("pp_rank", "0".into()),
                ("dp_rank", facts.rank.to_string()),
            ]
        },
        created: false,
        lazy: false,
        families: vec![
            gauge("num_running_reqs", "Requests running.", Facts::running),
            gauge("num_queue_reqs", "Requests in the queue.", Facts::waiting),
            gauge("num_used_tokens", "Tokens in the KV cache.", Facts::kv_tokens),
            gauge(
                "token_usage",
                "Share of the KV cache in use.",
                Facts::kv_cache_usage,
            ),
            gauge(
                "gen_throughput",
                "Tokens generated per second.",
                Facts::generation_rate,
            ),
            gauge(
                "cache_hit_rate",
                "Share of prompt tokens found in the cache.",
                Facts::prefix_hit_rate,
            ),
            gauge(
                "max_total_num_tokens",
                "Tokens that the KV cache holds.",
                Facts::kv_capacity,
            ),
            gauge("utilization", "Requests running of those that could.", |facts| {
                facts.running() / facts.settings.max_sequences as f64
            }),
            gauge("kv_used_tokens", "Tokens in the KV cache.", Facts::kv_tokens),
            gauge(
                "kv_available_tokens",
                "Tokens that the KV cache still holds.",
                |facts| facts.kv_capacity() - facts.kv_tokens(),
            ),
            gauge("kv_evictable_tokens", "Tokens that may be dropped.", |_| 0.0),
            gauge("num_retracted_reqs", "Requests retracted of late.", |_| 0.0),
            several(
                "cache_config_info",
                "gauge",
                "Settings of the KV cache.",
                |facts, labels| {
                    let mut labels = labels.clone();
                    labels.push(("page_size", facts.settings.block_size.to_string()));
                    labels.push(("num_pages", facts.settings.blocks.to_string()));
                    vec![(labels, 1.0)]
                },
            ),
            counter("num_retracted_requests_total", "Requests retracted.", |facts| {
                facts.totals.preemptions as f64
            }),
            counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
                facts.totals.prompt_tokens as f64
            }),
            counter("generation_tokens_total", "Tokens generated.", |facts| {
                facts.totals.generation_tokens as f64
            }),
            counter(
                "cached_tokens_total",
                "Prompt tokens found in the cache.",
                |facts| facts.totals.prefix_hits as f64,
            ),
            counter("num_requests_total", "Requests that ended.", |facts| {
                facts.totals.succeeded() as f64
            }),
            counter("num_aborted_requests_total", "Requests given up.", |facts| {
                facts.totals.ended(Finish::Abort) as f64
            }),
            histogram(
                "time_to_first_token_seconds",
                "Time to the first token.",
                Quantity::TimeToFirstToken,
                SGLANG_TTFT,
            ),
            histogram(
                "inter_token_latency_seconds",
                "Time from one token to the next.",
                Quantity::InterTokenLatency,
                SGLANG_ITL,
            ),
            histogram(
                "e2e_request_latency_seconds",
                "Time from arrival to end.",
                Quantity::EndToEnd,
                SGLANG_E2E,
            ),
            histogram(
                "queue_time_seconds",
                "Time in the queue.",
                Quantity::QueueTime,
                SGLANG_QUEUE,
            ),
        ],
    }
}

pub(super) fn trtllm_serve() -> Template {
    Template {
        style: PYTHON,
        prefix: "trtllm_",
        labels: |facts| {
            vec![
                ("model_name", facts.model.clone()),
                ("engine_type", "pytorch".into()),
            ]
        },
        created: false,
        lazy: false,
        families: vec![
            several(
                "request_success_total",
                "counter",
                "Requests that ended well.",
                succeeded,
            ),
            gauge("num_requests_running", "Requests running.", Facts::running),
            gauge("num_requests_waiting", "Requests in the queue.", Facts::waiting),
            counter("num_requests_completed_total", "Requests that ended.", |facts| {
                facts.totals.succeeded() as f64
            }),
            gauge("max_num_active_requests", "Requests that can run.", |facts| {
                facts.settings.max_sequences as f64
            }),
            gauge("max_batch_size_runtime", "Requests that can run, now.", |facts| {
                facts.settings.max_sequences as f64
            }),
            gauge(
                "max_num_tokens_runtime",
                "Tokens of an iteration, now.",
                |facts| f64::from(facts.settings.max_batched_tokens),
            ),
            gauge(
                "kv_cache_utilization",
                "Share of the KV cache in use.",
                Facts::kv_cache_usage,
            ),
            gauge(
                "kv_cache_hit_rate",
                "Share of KV blocks found.",
                Facts::prefix_hit_rate,
            ),
            gauge("kv_cache_max_blocks", "KV blocks.", |facts| {
                f64::from(facts.settings.blocks)
            }),
            gauge("kv_cache_used_blocks", "KV blocks in use.", Facts::used_blocks),
            gauge("kv_cache_free_blocks", "KV blocks free.", |facts| {
                f64::from(facts.settings.blocks) - facts.used_blocks()
            }),
            gauge("kv_cache_tokens_per_block", "Tokens of a KV block.", |facts| {
                f64::from(facts.settings.block_size)
            }),
            gauge(
                "num_context_requests",
                "Requests whose prompt is computed.",
                |facts| facts.occupancy.prefilling as f64,
            ),
            gauge("num_generation_requests", "Requests that get tokens.", |facts| {
                facts.occupancy.running.saturating_sub(facts.occupancy.prefilling) as f64
            }),
            gauge(
                "num_scheduled_requests",
                "Requests in the iteration.",
                Facts::running,
            ),
            gauge("num_paused_requests", "Requests paused.", |_| 0.0),
            counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
                facts.totals.prompt_tokens as f64
            }),
            counter("generation_tokens_total", "Tokens generated.", |facts| {
                facts.totals.generation_tokens as f64
            }),
            histogram(
                "time_to_first_token_seconds",
                "Time to the first token.",
                Quantity::TimeToFirstToken,
                TTFT,
            ),
            histogram(
                "time_per_output_token_seconds",
                "Mean time per token of a request.",
                Quantity::TimePerOutputToken,
                TPOT,
            ),
            histogram(
                "e2e_request_latency_seconds",
                "Time from arrival to end.",
                Quantity::EndToEnd,
                REQUEST,
            ),
            histogram(
                "request_queue_time_seconds",
                "Time in the queue.",
                Quantity::QueueTime,
                REQUEST,
            ),
            histogram(
                "request_prefill_time_seconds",
                "Time until the prompt was computed.",
                Quantity::PrefillTime,
                TRTLLM_PREFILL,
            ),
            histogram(
                "request_decode_time_seconds",
                "Time from the first token to the last.",
                Quantity::DecodeTime,
                REQUEST,
            ),
            histogram(
                "request_inference_time_seconds",
                "Time in the running batch.",
                Quantity::InferenceTime,
                REQUEST,
            ),
        ],
    }
}

pub(super) fn nim(settings: &ModelSettings) -> Template {
    let tokens = one_two_five(settings.max_context);
    Template {
        style: PYTHON,
        prefix: "",
        labels: model_name,
        created: false,
        lazy: false,
        families: vec![
            gauge("num_requests_running", "Requests running.", Facts::running),
            gauge("num_requests_waiting", "Requests in the queue.", Facts::waiting),
            gauge("num_request_max", "Requests that can run.", |facts| {
                facts.settings.max_sequences as f64
            }),
            gauge(
                "gpu_cache_usage_perc",
                "Share of the KV cache in use; 1 is all.",
                Facts::kv_cache_usage,
            ),
            counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
                facts.totals.prompt_tokens as f64
            }),
            counter("generation_tokens_total", "Tokens generated.", |facts| {
                facts.totals.generation_tokens as f64
            }),
            several(
                "request_finish_total",
                "counter",
                "Requests that ended, by reason.",
                succeeded,
            ),
            counter("request_success_total", "Requests that ended well.", |facts| {
                facts.totals.succeeded() as f64
            }),
            counter("request_failure_total", "Requests that failed.", |facts| {
                facts.totals.refused as f64
            }),
            histogram(
                "time_to_first_token_seconds",
                "Time to the first token.",
                Quantity::TimeToFirstToken,
                TTFT,
            ),
            histogram(
                "time_per_output_token_seconds",
                "Time from one token to the next.",
                Quantity::InterTokenLatency,
                TPOT,
            ),
            histogram(
                "e2e_request_latency_seconds",
                "Time from arrival to end.",
                Quantity::EndToEnd,
                REQUEST,
            ),
            histogram(
                "request_prompt_tokens",
                "Prompt tokens of a request.",
                Quantity::PromptTokens,
                tokens.clone(),
            ),
            histogram(
                "request_generation_tokens",
                "Tokens generated for a request.",
                Quantity::GenerationTokens,
                tokens,
            ),
        ],
    }
}

pub(super) fn lmdeploy() -> Template {
    let tokens = one_two_five(LMDEPLOY_CONTEXT);
    let request = |name, help, quantity| histogram(name, help, quantity, REQUEST);
    Template {
        style: PYTHON,
        prefix: "lmdeploy:",
        labels: |facts| {
            vec![
                ("model_name", facts.model.clone()),
                ("engine", facts.rank.to_string()),
            ]
        },
        created: false,
        lazy: false,
        families: vec![
            gauge("num_requests_running", "Requests running.", Facts::running),
            gauge(
                "num_requests_waiting",
                "Requests in the engine's queue.",
                Facts::waiting,
            ),
            gauge(
                "num_api_requests_waiting",
                "Requests before the engine's queue.",
                |_| 0.0,
            ),
            gauge(
                "gpu_cache_usage_perc",
                "Share of the KV cache in use; 1 is all.",
                Facts::kv_cache_usage,
            ),
            gauge(
                "prefix_cache_hit_rate",
                "Share of prompt tokens found.",
                Facts::prefix_hit_rate,
            ),
            counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
                facts.totals.prompt_tokens as f64
            }),
            counter("generation_tokens_total", "Tokens generated.", |facts| {
                facts.totals.generation_tokens as f64
            }),
            histogram(
                "request_prompt_tokens",
                "Prompt tokens of a request.",
                Quantity::PromptTokens,
                tokens.clone(),
            ),
            histogram(
                "request_generation_tokens",
                "Tokens generated for a request.",
                Quantity::GenerationTokens,
                tokens,
            ),
            histogram(
                "time_to_first_token_seconds",
                "Time to the first token.",
                Quantity::TimeToFirstToken,
                TTFT,
            ),
            histogram(
                "time_per_output_token_seconds",
                "Mean time per token of a request.",
                Quantity::TimePerOutputToken,
                TPOT,
            ),
            histogram(
                "iter_token_latency",
                "Time of an iteration.",
                Quantity::IterationTime,
                TPOT,
            ),
            request(
                "e2e_request_latency_seconds",
                "Time from arrival to end.",
                Quantity::EndToEnd,
            ),
            request(
                "request_queue_time_seconds",
                "Time in the queue.",
                Quantity::QueueTime,
            ),
            request(
                "request_inference_time_seconds",
                "Time running.",
                Quantity::InferenceTime,
            ),
            request(
                "request_prefill_time_seconds",
                "Time of the prompt.",
                Quantity::PrefillTime,
            ),
            request(
                "request_decode_time_seconds",
                "Time of the answer.",
                Quantity::DecodeTime,
            ),
        ],
    }
}

pub(super) fn llamacpp() -> Template {
    Template {
        style: Style::default(),
        prefix: "llamacpp:",
        labels: |_| Labels::new(),
        created: false,
        lazy: false,
        families: vec![
            counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
                facts.totals.prompt_tokens as f64
            }),
            counter("prompt_seconds_total", "Time of prompts.", |facts| {
                facts.totals.sum(Quantity::PrefillTime)
            }),
            counter("tokens_predicted_total", "Tokens generated.", |facts| {
                facts.totals.generation_tokens as f64
            }),
            counter("tokens_predicted_seconds_total", "Time of answers.", |facts| {
                facts.totals.sum(Quantity::DecodeTime)
            }),
            counter("n_decode_total", "Iterations.", |facts| {
                facts.totals.count(Quantity::IterationTime) as f64
            }),
            counter("n_tokens_max", "Most tokens of one context so far.", |facts| {
                f64::from(facts.totals.longest_context)
            }),
            counter(
                "n_busy_slots_per_decode",
                "Mean busy slots per iteration.",
                |facts| {
                    ratio(
                        facts.totals.sum(Quantity::IterationSequences),
                        facts.totals.count(Quantity::IterationSequences) as f64,
                    )
                },
            ),
            gauge("prompt_tokens_seconds", "Prompt tokens per second.", |facts| {
                ratio(
                    facts.totals.prompt_tokens as f64,
                    facts.totals.sum(Quantity::PrefillTime),
                )
            }),
            gauge(
                "predicted_tokens_seconds",
                "Tokens generated per second.",
                |facts| {
                    ratio(
                        facts.totals.generation_tokens as f64,
                        facts.totals.sum(Quantity::DecodeTime),
                    )
                },
            ),
            gauge("requests_processing", "Requests in slots.", Facts::running),
            gauge("requests_deferred", "Requests without a slot.", Facts::waiting),
        ],
    }
}

fn model_name(facts: &Facts) -> Labels {
    vec![("model_name", facts.model.clone())]
}

fn succeeded(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    [("stop", Finish::Stop), ("length", Finish::Length)]
        .into_iter()
        .map(|(name, reason)| {
            let mut labels = labels.clone();
            labels.push(("finished_reason", name.into()));
            (labels, facts.totals.ended(reason) as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_each_name_once() {
        let settings = ModelSettings::default();
        for template in [sglang(), trtllm_serve(), nim(&settings), lmdeploy(), llamacpp()] {
            let mut names: Vec<&str> = template.families.iter().map(|family| family.name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", template.prefix);
        }
    }
}
