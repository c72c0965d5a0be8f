use super::buckets::{ITERATION_TOKENS, REQUEST, TPOT, TTFT, one_two_five};
use super::{Facts, Family, Labels, Style, Template, counter, gauge, histogram, process, several};
use crate::engine::batcher::Finish;
use crate::engine::flavour::Flavour;
use crate::engine::settings::ModelSettings;
use crate::engine::tally::Quantity;

/// vLLM's page: current, older or both at once, with what others put before the names.
pub(super) fn template(flavour: Flavour, settings: &ModelSettings) -> Template {
    let old = matches!(flavour, Flavour::VllmOld | Flavour::VllmBoth);
    let new = flavour != Flavour::VllmOld;
    let mut families = vec![
        process(
            "process_start_time_seconds",
            "gauge",
            "When the process started.",
            |facts| facts.started.unix_nanos() as f64 / 1e9,
        ),
        gauge(
            "num_requests_running",
            "Requests in the running batch.",
            Facts::running,
        ),
        gauge("num_requests_waiting", "Requests in the queue.", Facts::waiting),
    ];
    if new {
        families.extend(current(flavour));
    }
    if old {
        families.extend(older());
    }
    families.extend(requests(settings.max_context));
    if flavour.is_vllm() {
        families.push(several(
            "lora_requests_info",
            "gauge",
            "Adapters of running and waiting requests; the value is the time.",
            adapters,
        ));
    }
    match flavour {
        Flavour::RayVllm => Template {
            style: Style {
                float: true,
                sorted: true,
                ..Style::default()
            },
            prefix: "ray_vllm_",
            labels: ray_labels,
            created: false,
            lazy: false,
            families,
        },
        _ => Template {
            style: Style {
                float: true,
                sorted: true,
                ..Style::default()
            },
            prefix: if flavour == Flavour::KserveVllm {
                "kserve_vllm:"
            } else {
                "vllm:"
            },
            labels,
            created: true,
            lazy: false,
            families,
        },
    }
}

fn labels(facts: &Facts) -> Labels {
    vec![
        ("model_name", facts.model.clone()),
        ("engine", facts.rank.to_string()),
    ]
}

fn ray_labels(facts: &Facts) -> Labels {
    vec![
        ("Component", "core_worker".into()),
        ("Version", "2.49.0".into()),
        ("SessionName", "session_mock".into()),
        ("WorkerId", format!("{:056x}", facts.rank + 1)),
        ("ReplicaId", format!("replica{}", facts.rank)),
        ("model_name", facts.model.clone()),
        ("engine", facts.rank.to_string()),
    ]
}

fn current(flavour: Flavour) -> Vec<Family> {
    let mut families = vec![
        gauge(
            "kv_cache_usage_perc",
            "Share of the KV cache in use; 1 is all of it.",
            Facts::kv_cache_usage,
        ),
        counter(
            "prefix_cache_queries_total",
            "Prompt tokens looked up in the prefix cache.",
            |facts| facts.totals.prefix_queries as f64,
        ),
        counter(
            "prefix_cache_hits_total",
            "Prompt tokens found in the prefix cache.",
            |facts| facts.totals.prefix_hits as f64,
        ),
        histogram(
            "inter_token_latency_seconds",
            "Time from one token to the next.",
            Quantity::InterTokenLatency,
            TPOT,
        ),
        histogram(
            "request_time_per_output_token_seconds",
            "Mean time per token of a request.",
            Quantity::TimePerOutputToken,
            TPOT,
        ),
        several(
            "cache_config_info",
            "gauge",
            "Settings of the KV cache.",
            cache_config,
        ),
    ];
    if flavour.is_vllm() {
        families.push(several(
            "engine_sleep_state",
            "gauge",
            "Whether the engine is awake, has its weights offloaded, or has discarded all.",
            sleep_state,
        ));
    }
    families
}

fn older() -> Vec<Family> {
    vec![
        gauge(
            "gpu_cache_usage_perc",
            "Share of the KV cache in use; the older name.",
            Facts::kv_cache_usage,
        ),
        gauge("num_requests_swapped", "Requests swapped out; always 0.", |_| 0.0),
        counter(
            "gpu_prefix_cache_queries_total",
            "Prompt tokens looked up; the older name.",
            |facts| facts.totals.prefix_queries as f64,
        ),
        counter(
            "gpu_prefix_cache_hits_total",
            "Prompt tokens found; the older name.",
            |facts| facts.totals.prefix_hits as f64,
        ),
        histogram(
            "time_per_output_token_seconds",
            "Time from one token to the next; the older name.",
            Quantity::InterTokenLatency,
            TPOT,
        ),
    ]
}

fn requests(max_context: u32) -> Vec<Family> {
    let tokens = one_two_five(max_context);
    vec![
        counter(
            "num_preemptions_total",
            "Times a request lost its KV blocks.",
            |facts| facts.totals.preemptions as f64,
        ),
        counter("prompt_tokens_total", "Prompt tokens computed.", |facts| {
            facts.totals.prompt_tokens as f64
        }),
        counter("generation_tokens_total", "Tokens generated.", |facts| {
            facts.totals.generation_tokens as f64
        }),
        several(
            "request_success_total",
            "counter",
            "Requests that ended, by reason.",
            finished,
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
            tokens.clone(),
        ),
        histogram(
            "iteration_tokens_total",
            "Tokens in an iteration.",
            Quantity::IterationTokens,
            ITERATION_TOKENS,
        ),
        histogram(
            "request_params_max_tokens",
            "Tokens that a request allowed.",
            Quantity::MaxTokens,
            tokens,
        ),
        histogram(
            "time_to_first_token_seconds",
            "Time to the first token.",
            Quantity::TimeToFirstToken,
            TTFT,
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
            "request_inference_time_seconds",
            "Time in the running batch.",
            Quantity::InferenceTime,
            REQUEST,
        ),
        histogram(
            "request_prefill_time_seconds",
            "Time until the prompt was computed.",
            Quantity::PrefillTime,
            REQUEST,
        ),
        histogram(
            "request_decode_time_seconds",
            "Time from the first token to the last.",
            Quantity::DecodeTime,
            REQUEST,
        ),
    ]
}

fn finished(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    [
        ("stop", Finish::Stop),
        ("length", Finish::Length),
        ("abort", Finish::Abort),
    ]
    .into_iter()
    .map(|(name, reason)| {
        let mut labels = labels.clone();
        labels.push(("finished_reason", name.into()));
        (labels, facts.totals.ended(reason) as f64)
    })
    .collect()
}

fn cache_config(facts: &Facts, _: &Labels) -> Vec<(Labels, f64)> {
    // It does not name the model: a real process has one.
    if !facts.first_model {
        return Vec::new();
    }
    let settings = &facts.settings;
    let prefix_caching = if settings.prefix_caching { "True" } else { "False" };
    vec![(
        vec![
            ("block_size", settings.block_size.to_string()),
            ("cache_dtype", "auto".into()),
            ("engine", facts.rank.to_string()),
            ("enable_prefix_caching", prefix_caching.into()),
            ("gpu_memory_utilization", "0.9".into()),
            ("num_cpu_blocks", "None".into()),
            ("num_gpu_blocks", settings.blocks.to_string()),
            ("sliding_window", "None".into()),
        ],
        1.0,
    )]
}

fn sleep_state(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    let asleep = facts.occupancy.asleep;
    [
        ("awake", !asleep),
        ("weights_offloaded", asleep && facts.sleep_level == 1),
        ("discard_all", asleep && facts.sleep_level >= 2),
    ]
    .into_iter()
    .map(|(state, so)| {
        let mut labels = labels.clone();
        labels.push(("sleep_state", state.into()));
        (labels, if so { 1.0 } else { 0.0 })
    })
    .collect()
}

fn adapters(facts: &Facts, _: &Labels) -> Vec<(Labels, f64)> {
    if facts.max_adapters == 0 || !facts.is_first() {
        return Vec::new();
    }
    let (running, waiting) = &facts.adapters;
    vec![(
        vec![
            ("max_lora", facts.max_adapters.to_string()),
            ("running_lora_adapters", running.join(",")),
            ("waiting_lora_adapters", waiting.join(",")),
        ],
        facts.now.unix_nanos() as f64 / 1e9,
    )]
}
