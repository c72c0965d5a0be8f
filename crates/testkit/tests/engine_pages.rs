//! What stands on each flavour's page, read with our own parser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::float_cmp, reason = "counts and what was set are exact")]

mod support;

use std::collections::{BTreeMap, HashSet};

use rheostat_promtext::{Item, MetricKind, parse};
use rheostat_reading::{Clock, Timestamp};
use rheostat_testkit::engine::{EngineOptions, Flavour, Gauges, MockEngine, Quantity, Request};
use support::{fast, get, start};

use MetricKind::{Counter, Gauge, Histogram};

/// A page as it was read.
struct Page {
    kinds: BTreeMap<String, MetricKind>,
    /// Name, labels as they are sorted, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Page {
    /// Reads `text`, in which nothing may be wrong and no series may come twice.
    fn read(text: &str) -> Self {
        let mut page = Self {
            kinds: BTreeMap::new(),
            samples: Vec::new(),
        };
        let mut seen = HashSet::new();
        for item in parse(text.as_bytes()) {
            match item.unwrap_or_else(|error| panic!("{error} in\n{text}")) {
                Item::Type { family, kind } => {
                    let twice = page.kinds.insert(family.to_string(), kind);
                    assert_eq!(twice, None, "{family} is there twice");
                }
                Item::Sample(sample) => {
                    let labels: BTreeMap<String, String> = sample
                        .labels
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_string()))
                        .collect();
                    let series = (sample.name.to_string(), labels.clone());
                    assert!(seen.insert(series), "{} {labels:?} is there twice", sample.name);
                    page.samples.push((sample.name.to_string(), labels, sample.value));
                }
                Item::Help { .. } | Item::Unit { .. } | Item::End => {}
            }
        }
        page
    }

    fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|(sample, its, _)| {
                sample == name
                    && labels
                        .iter()
                        .all(|(label, value)| its.get(*label).map(String::as_str) == Some(*value))
            })
            .map(|(_, _, value)| *value)
            .collect()
    }

    fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.values(name, labels);
        assert_eq!(values.len(), 1, "{name} {labels:?}: {values:?}");
        values[0]
    }

    /// Upper bounds of a histogram's buckets, as they are written.
    fn bounds(&self, name: &str) -> Vec<&str> {
        let buckets = format!("{name}_bucket");
        let mut bounds: Vec<&str> = self
            .samples
            .iter()
            .filter(|(sample, ..)| *sample == buckets)
            .map(|(_, labels, _)| labels["le"].as_str())
            .collect();
        bounds.dedup();
        bounds
    }
}

/// An engine that has served three requests on a clock that stands still.
async fn served(options: EngineOptions) -> MockEngine {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_750_000_000_000_000_000));
    let engine = start(EngineOptions { clock, ..options }).await;
    let request = |output_tokens| Request {
        prompt_tokens: 100,
        output_tokens,
        max_tokens: Some(5),
        ..Request::default()
    };
    for output_tokens in [3, 5, 5] {
        engine.submit(request(output_tokens)).unwrap();
    }
    hand.advance(std::time::Duration::from_secs(30));
    engine
}

/// What the reference of engines' metrics has of each flavour.
fn documented(flavour: Flavour) -> Vec<(&'static str, MetricKind)> {
    match flavour {
        Flavour::Vllm => vec![
            ("vllm:num_requests_waiting", Gauge),
            ("vllm:num_requests_running", Gauge),
            ("vllm:kv_cache_usage_perc", Gauge),
            ("vllm:time_to_first_token_seconds", Histogram),
            ("vllm:inter_token_latency_seconds", Histogram),
            ("vllm:request_time_per_output_token_seconds", Histogram),
            ("vllm:e2e_request_latency_seconds", Histogram),
            ("vllm:request_queue_time_seconds", Histogram),
            ("vllm:request_prefill_time_seconds", Histogram),
            ("vllm:request_decode_time_seconds", Histogram),
            ("vllm:request_prompt_tokens", Histogram),
            ("vllm:request_generation_tokens", Histogram),
            ("vllm:prompt_tokens_total", Counter),
            ("vllm:generation_tokens_total", Counter),
            ("vllm:num_preemptions_total", Counter),
            ("vllm:prefix_cache_queries_total", Counter),
            ("vllm:prefix_cache_hits_total", Counter),
            ("vllm:request_success_total", Counter),
            ("vllm:cache_config_info", Gauge),
            ("vllm:lora_requests_info", Gauge),
        ],
        Flavour::VllmOld => vec![
            ("vllm:gpu_cache_usage_perc", Gauge),
            ("vllm:time_per_output_token_seconds", Histogram),
            ("vllm:gpu_prefix_cache_queries_total", Counter),
        ],
        Flavour::VllmBoth => vec![
            ("vllm:gpu_cache_usage_perc", Gauge),
            ("vllm:kv_cache_usage_perc", Gauge),
            ("vllm:time_per_output_token_seconds", Histogram),
            ("vllm:inter_token_latency_seconds", Histogram),
        ],
        Flavour::KserveVllm => vec![
            ("kserve_vllm:num_requests_waiting", Gauge),
            ("kserve_vllm:time_to_first_token_seconds", Histogram),
        ],
        Flavour::RayVllm => vec![
            ("ray_vllm_num_requests_waiting", Gauge),
            ("ray_vllm_num_requests_running", Gauge),
            ("ray_vllm_kv_cache_usage_perc", Gauge),
            ("ray_vllm_time_to_first_token_seconds", Histogram),
            ("ray_vllm_e2e_request_latency_seconds", Histogram),
        ],
        Flavour::Sglang => vec![
            ("sglang:num_queue_reqs", Gauge),
            ("sglang:num_running_reqs", Gauge),
            ("sglang:token_usage", Gauge),
            ("sglang:gen_throughput", Gauge),
            ("sglang:cache_hit_rate", Gauge),
            ("sglang:utilization", Gauge),
            ("sglang:kv_used_tokens", Gauge),
            ("sglang:kv_available_tokens", Gauge),
            ("sglang:kv_evictable_tokens", Gauge),
            ("sglang:cache_config_info", Gauge),
            ("sglang:time_to_first_token_seconds", Histogram),
            ("sglang:inter_token_latency_seconds", Histogram),
            ("sglang:e2e_request_latency_seconds", Histogram),
            ("sglang:prompt_tokens_total", Counter),
            ("sglang:generation_tokens_total", Counter),
        ],
        Flavour::Tgi => vec![
            ("tgi_queue_size", Gauge),
            ("tgi_batch_current_size", Gauge),
            ("tgi_batch_current_max_tokens", Gauge),
            ("tgi_request_queue_duration", Histogram),
            ("tgi_request_mean_time_per_token_duration", Histogram),
            ("tgi_request_duration", Histogram),
            ("tgi_request_input_length", Histogram),
            ("tgi_request_generated_tokens", Histogram),
            ("tgi_request_success", Counter),
            ("tgi_request_count", Counter),
            ("tgi_request_failure", Counter),
        ],
        Flavour::Tei => vec![
            ("te_queue_size", Gauge),
            ("te_batch_next_size", Histogram),
            ("te_batch_next_tokens", Histogram),
            ("te_request_duration", Histogram),
            ("te_request_queue_duration", Histogram),
            ("te_request_input_length", Histogram),
            ("te_embed_count", Counter),
        ],
        Flavour::Triton | Flavour::TritonTrtLlm => {
            let mut names = vec![
                ("nv_inference_pending_request_count", Gauge),
                ("nv_inference_first_response_histogram_ms", Histogram),
                ("nv_inference_request_duration_us", Counter),
                ("nv_inference_queue_duration_us", Counter),
                ("nv_inference_count", Counter),
                ("nv_inference_exec_count", Counter),
                ("nv_gpu_utilization", Gauge),
                ("nv_gpu_memory_used_bytes", Gauge),
            ];
            if flavour == Flavour::TritonTrtLlm {
                names.extend([
                    ("nv_trt_llm_request_metrics", Gauge),
                    ("nv_trt_llm_kv_cache_block_metrics", Gauge),
                    ("nv_trt_llm_inflight_batcher_metrics", Gauge),
                ]);
            }
            names
        }
        Flavour::TrtllmServe => vec![
            ("trtllm_num_requests_waiting", Gauge),
            ("trtllm_num_requests_running", Gauge),
            ("trtllm_kv_cache_utilization", Gauge),
            ("trtllm_time_to_first_token_seconds", Histogram),
            ("trtllm_time_per_output_token_seconds", Histogram),
            ("trtllm_e2e_request_latency_seconds", Histogram),
            ("trtllm_request_queue_time_seconds", Histogram),
            ("trtllm_prompt_tokens_total", Counter),
            ("trtllm_generation_tokens_total", Counter),
            ("trtllm_max_batch_size_runtime", Gauge),
            ("trtllm_kv_cache_max_blocks", Gauge),
            ("trtllm_kv_cache_tokens_per_block", Gauge),
        ],
        Flavour::Nim => vec![
            ("num_requests_waiting", Gauge),
            ("num_requests_running", Gauge),
            ("gpu_cache_usage_perc", Gauge),
            ("num_request_max", Gauge),
            ("time_to_first_token_seconds", Histogram),
            ("time_per_output_token_seconds", Histogram),
            ("e2e_request_latency_seconds", Histogram),
            ("prompt_tokens_total", Counter),
            ("generation_tokens_total", Counter),
            ("request_finish_total", Counter),
        ],
        Flavour::LmDeploy => vec![
            ("lmdeploy:num_requests_waiting", Gauge),
            ("lmdeploy:num_api_requests_waiting", Gauge),
            ("lmdeploy:num_requests_running", Gauge),
            ("lmdeploy:gpu_cache_usage_perc", Gauge),
            ("lmdeploy:time_to_first_token_seconds", Histogram),
            ("lmdeploy:time_per_output_token_seconds", Histogram),
            ("lmdeploy:iter_token_latency", Histogram),
            ("lmdeploy:e2e_request_latency_seconds", Histogram),
            ("lmdeploy:request_queue_time_seconds", Histogram),
            ("lmdeploy:prompt_tokens_total", Counter),
            ("lmdeploy:generation_tokens_total", Counter),
            ("lmdeploy:prefix_cache_hit_rate", Gauge),
        ],
        Flavour::LlamaCpp => vec![
            ("llamacpp:requests_deferred", Gauge),
            ("llamacpp:requests_processing", Gauge),
            ("llamacpp:predicted_tokens_seconds", Gauge),
            ("llamacpp:prompt_tokens_total", Counter),
            ("llamacpp:tokens_predicted_total", Counter),
            ("llamacpp:n_decode_total", Counter),
            ("llamacpp:n_tokens_max", Counter),
            ("llamacpp:n_busy_slots_per_decode", Counter),
        ],
        Flavour::TorchServe => vec![
            ("ts_inference_requests_total", Counter),
            ("ts_inference_latency_microseconds", Counter),
            ("ts_queue_latency_microseconds", Counter),
            ("QueueTime", Gauge),
        ],
        Flavour::TensorFlowServing => vec![
            (":tensorflow:serving:request_count", Counter),
            (":tensorflow:serving:request_latency", Histogram),
            (":tensorflow:serving:runtime_latency", Histogram),
        ],
        Flavour::Ollama => Vec::new(),
    }
}

#[tokio::test]
async fn each_page_can_be_read_and_has_the_documented_families() {
    for flavour in Flavour::ALL {
        let engine = served(EngineOptions::of(flavour)).await;
        let Some(path) = flavour.metrics_path() else {
            assert_eq!(engine.page(), None);
            let answer = get(engine.address(), "/metrics").await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
            continue;
        };
        let answer = get(engine.address(), path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let text = engine.page().unwrap();
        assert!(answer.ends_with(&text), "{flavour} serves what it says");
        let page = Page::read(&text);
        for (family, kind) in documented(flavour) {
            assert_eq!(page.kinds.get(family), Some(&kind), "{flavour}: {family}");
            let sample = if kind == Histogram {
                format!("{family}_count")
            } else {
                family.into()
            };
            assert!(
                !page.values(&sample, &[]).is_empty(),
                "{flavour}: {family} has no sample"
            );
        }
    }
}

#[tokio::test]
async fn names_that_a_version_does_not_have_are_not_there() {
    let current = Page::read(&served(EngineOptions::of(Flavour::Vllm)).await.page().unwrap());
    for gone in [
        "vllm:gpu_cache_usage_perc",
        "vllm:time_per_output_token_seconds",
        "vllm:num_requests_swapped",
    ] {
        assert!(!current.kinds.contains_key(gone), "{gone}");
    }
    let older = Page::read(&served(EngineOptions::of(Flavour::VllmOld)).await.page().unwrap());
    for not_yet in ["vllm:kv_cache_usage_perc", "vllm:inter_token_latency_seconds"] {
        assert!(!older.kinds.contains_key(not_yet), "{not_yet}");
    }
    let core = Page::read(&served(EngineOptions::of(Flavour::Triton)).await.page().unwrap());
    assert!(!core.kinds.contains_key("nv_trt_llm_request_metrics"));
    let llamacpp = Page::read(&served(EngineOptions::of(Flavour::LlamaCpp)).await.page().unwrap());
    assert!(!llamacpp.kinds.contains_key("llamacpp:kv_cache_usage_ratio"));
}

#[tokio::test]
async fn buckets_are_the_engines_own() {
    let vllm = Page::read(&served(EngineOptions::of(Flavour::Vllm)).await.page().unwrap());
    let ttft = vllm.bounds("vllm:time_to_first_token_seconds");
    assert_eq!(ttft[..3], ["0.001", "0.005", "0.01"]);
    assert_eq!(ttft[10..14], ["0.75", "1.0", "2.5", "5.0"], "there is no 2.0");
    assert_eq!(ttft[ttft.len() - 1], "+Inf");
    assert_eq!(vllm.bounds("vllm:request_queue_time_seconds")[0], "0.3");
    assert_eq!(vllm.bounds("vllm:inter_token_latency_seconds")[0], "0.01");
    let tokens = vllm.bounds("vllm:request_prompt_tokens");
    assert_eq!(tokens[..4], ["1.0", "2.0", "5.0", "10.0"]);
    assert_eq!(tokens[tokens.len() - 2], "10000.0", "up to the context of 16384");
    let sglang = Page::read(&served(EngineOptions::of(Flavour::Sglang)).await.page().unwrap());
    assert_eq!(sglang.bounds("sglang:time_to_first_token_seconds")[0], "0.1");
    assert_eq!(sglang.bounds("sglang:inter_token_latency_seconds")[0], "0.002");
    let tensorflow = served(EngineOptions::of(Flavour::TensorFlowServing)).await;
    let latency = Page::read(&tensorflow.page().unwrap());
    let latency = latency.bounds(":tensorflow:serving:request_latency");
    assert_eq!(latency[..3], ["10", "18", "32.4"]);
    assert_eq!(latency.len(), 34);
    let tgi = Page::read(&served(EngineOptions::of(Flavour::Tgi)).await.page().unwrap());
    assert_eq!(tgi.bounds("tgi_request_duration").len(), 36);
    assert_eq!(tgi.bounds("tgi_request_input_length").len(), 101);
}

#[tokio::test]
async fn the_page_says_what_the_model_did() {
    let engine = served(EngineOptions::of(Flavour::Vllm)).await;
    let page = Page::read(&engine.page().unwrap());
    let all: &[(&str, &str)] = &[("model_name", "llama-3.1-8b"), ("engine", "0")];
    assert_eq!(page.one("vllm:prompt_tokens_total", all), 300.0);
    assert_eq!(page.one("vllm:generation_tokens_total", all), 13.0);
    assert_eq!(
        page.one("vllm:request_success_total", &[("finished_reason", "stop")]),
        1.0
    );
    assert_eq!(
        page.one("vllm:request_success_total", &[("finished_reason", "length")]),
        2.0
    );
    assert_eq!(page.one("vllm:time_to_first_token_seconds_count", all), 3.0);
    // All three come at once: one iteration with 300 prompt tokens, 6.958 ms + 300 * 36 us.
    let ttft = page.one("vllm:time_to_first_token_seconds_sum", all);
    assert!((ttft - 3.0 * 0.017_758).abs() < 1e-6, "{ttft}");
    assert_eq!(page.one("vllm:inter_token_latency_seconds_count", all), 10.0);
    assert_eq!(
        page.one("vllm:request_time_per_output_token_seconds_count", all),
        3.0
    );
    let config = [("num_gpu_blocks", "26700"), ("block_size", "16")];
    assert_eq!(page.one("vllm:cache_config_info", &config), 1.0);
    let triton = served(EngineOptions::of(Flavour::Triton)).await;
    let triton = Page::read(&triton.page().unwrap());
    let micros = triton.one("nv_inference_request_duration_us", &[("version", "1")]);
    let seconds = engine.totals()[0].sum(Quantity::EndToEnd);
    assert!((micros / 1e6 - seconds).abs() < 1e-5, "{micros} us, {seconds} s");
    assert_eq!(
        triton.one(
            "nv_inference_first_response_histogram_ms_bucket",
            &[("le", "100")]
        ),
        3.0
    );
    let sum = triton.one("nv_inference_first_response_histogram_ms_sum", &[]);
    assert!((sum - 3.0 * 17.758).abs() < 1e-3, "{sum} ms");
}

#[tokio::test]
async fn ranks_and_models_have_series_of_their_own() {
    let options = EngineOptions {
        ranks: 2,
        models: vec!["a".into(), "b".into()],
        ..EngineOptions::of(Flavour::Vllm)
    };
    let engine = start(options).await;
    for (core, waiting) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        engine.set_core_gauges(
            core,
            Gauges {
                waiting: Some(waiting),
                ..Gauges::default()
            },
        );
    }
    let page = Page::read(&engine.page().unwrap());
    let waiting = |model, rank| {
        page.one(
            "vllm:num_requests_waiting",
            &[("model_name", model), ("engine", rank)],
        )
    };
    assert_eq!(
        [
            waiting("a", "0"),
            waiting("a", "1"),
            waiting("b", "0"),
            waiting("b", "1")
        ],
        [1.0, 2.0, 3.0, 4.0]
    );
}

#[tokio::test]
async fn requests_are_spread_over_ranks() {
    let engine = start(EngineOptions {
        ranks: 2,
        clock: Clock::manual(Timestamp::from_unix_nanos(0)).0,
        ..EngineOptions::of(Flavour::Sglang)
    })
    .await;
    for _ in 0..6 {
        let request = Request {
            prompt_tokens: 5,
            output_tokens: 5,
            ..Request::default()
        };
        engine.submit(request).unwrap();
    }
    let held: Vec<usize> = engine
        .occupancy()
        .iter()
        .map(|core| core.waiting + core.running)
        .collect();
    assert_eq!(held, [3, 3]);
}

#[tokio::test]
async fn series_of_rusts_metrics_crate_appear_when_they_are_first_used() {
    let engine = start(fast(Flavour::Tgi)).await;
    assert_eq!(engine.page().as_deref(), Some(""));
}

#[tokio::test]
async fn what_is_measured_by_order_lands_in_its_bucket() {
    let engine = start(fast(Flavour::Vllm)).await;
    for _ in 0..9 {
        engine.measure(Quantity::TimeToFirstToken, 0.3);
    }
    engine.measure(Quantity::TimeToFirstToken, 3.0);
    let page = Page::read(&engine.page().unwrap());
    let below = |bound| page.one("vllm:time_to_first_token_seconds_bucket", &[("le", bound)]);
    assert_eq!(
        [
            below("0.25"),
            below("0.5"),
            below("2.5"),
            below("5.0"),
            below("+Inf")
        ],
        [0.0, 9.0, 9.0, 10.0, 10.0]
    );
}
