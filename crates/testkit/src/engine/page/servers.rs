//! Servers of models of any kind.

use super::buckets::{TRITON_FIRST_RESPONSE_MS, geometric};
use super::{Facts, Family, Labels, Style, Template, Value, counter, gauge, several};
use crate::engine::tally::Quantity;

/// What the GPU under the server says of itself: an H100 with 80 GB.
const GPU_MEMORY: f64 = 80.0 * 1024.0 * 1024.0 * 1024.0;

/// TensorFlow Serving's times in microseconds: 10, 18, 32.4 ... about 20 minutes.
fn microseconds() -> Vec<f64> {
    geometric(10.0, 1.8, 33)
}

/// A time in another unit than seconds; `factor` of them make a second.
fn time_in(
    name: &'static str,
    help: &'static str,
    quantity: Quantity,
    bounds: impl Into<Vec<f64>>,
    factor: f64,
) -> Family {
    Family {
        name,
        help,
        value: Value::Histogram(quantity, bounds.into(), factor),
    }
}

/// Triton; with `trt_llm` the TensorRT-LLM back end's families too.
pub(super) fn triton(trt_llm: bool) -> Template {
    let mut families = vec![
        counter(
            "nv_inference_request_success",
            "Requests that ended well.",
            |facts| facts.totals.succeeded() as f64,
        ),
        several(
            "nv_inference_request_failure",
            "counter",
            "Requests that failed, by reason.",
            |facts, labels| {
                let mut labels = labels.clone();
                labels.push(("reason", "REJECTED".into()));
                vec![(labels, facts.totals.refused as f64)]
            },
        ),
        counter("nv_inference_count", "Inferences.", |facts| {
            facts.totals.succeeded() as f64
        }),
        counter("nv_inference_exec_count", "Batches.", |facts| {
            facts.totals.count(Quantity::IterationTime) as f64
        }),
        counter(
            "nv_inference_request_duration_us",
            "Time of requests in microseconds, summed.",
            |facts| facts.micros(Quantity::EndToEnd),
        ),
        counter(
            "nv_inference_queue_duration_us",
            "Time in the queue in microseconds, summed.",
            |facts| facts.micros(Quantity::QueueTime),
        ),
        counter(
            "nv_inference_compute_input_duration_us",
            "Time of inputs, summed.",
            |_| 0.0,
        ),
        counter(
            "nv_inference_compute_infer_duration_us",
            "Time of inference in microseconds, summed.",
            |facts| facts.micros(Quantity::InferenceTime),
        ),
        counter(
            "nv_inference_compute_output_duration_us",
            "Time of outputs, summed.",
            |_| 0.0,
        ),
        gauge(
            "nv_inference_pending_request_count",
            "Requests awaiting execution.",
            Facts::waiting,
        ),
        time_in(
            "nv_inference_first_response_histogram_ms",
            "Time to the first response in milliseconds.",
            Quantity::TimeToFirstToken,
            TRITON_FIRST_RESPONSE_MS,
            1e3,
        ),
        several(
            "nv_gpu_utilization",
            "gauge",
            "Share of time that the GPU was busy.",
            |facts, _| of_gpu(facts, if facts.running() > 0.0 { 1.0 } else { 0.0 }),
        ),
        several(
            "nv_gpu_memory_total_bytes",
            "gauge",
            "Memory of the GPU.",
            |facts, _| of_gpu(facts, GPU_MEMORY),
        ),
        several(
            "nv_gpu_memory_used_bytes",
            "gauge",
            "Memory in use.",
            |facts, _| of_gpu(facts, GPU_MEMORY * 0.9),
        ),
    ];
    if trt_llm {
        families.extend([
            several(
                "nv_trt_llm_request_metrics",
                "gauge",
                "Requests.",
                trt_llm_requests,
            ),
            several(
                "nv_trt_llm_kv_cache_block_metrics",
                "gauge",
                "KV blocks.",
                trt_llm_blocks,
            ),
            several(
                "nv_trt_llm_inflight_batcher_metrics",
                "gauge",
                "In-flight batching.",
                trt_llm_batcher,
            ),
        ]);
    }
    Template {
        style: Style {
            sorted: true,
            ..Style::default()
        },
        prefix: "",
        labels: |facts| vec![("model", facts.model.clone()), ("version", "1".into())],
        created: false,
        lazy: false,
        families,
    }
}

fn of_gpu(facts: &Facts, value: f64) -> Vec<(Labels, f64)> {
    if facts.is_first() {
        vec![(
            vec![("gpu_uuid", "GPU-00000000-0000-0000-0000-000000000000".into())],
            value,
        )]
    } else {
        Vec::new()
    }
}

fn trt_llm_requests(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    let (waiting, running) = (facts.waiting(), facts.running());
    let prefilling = facts.occupancy.prefilling as f64;
    let values = [
        ("waiting", waiting),
        ("scheduled", running),
        ("context", prefilling),
        ("active", waiting + running),
        ("max", facts.settings.max_sequences as f64),
    ];
    labelled(facts, labels, "request_type", &values)
}

fn trt_llm_blocks(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    let blocks = f64::from(facts.settings.blocks);
    let values = [
        ("fraction", facts.kv_cache_usage()),
        ("used", facts.used_blocks()),
        ("free", blocks - facts.used_blocks()),
        ("max", blocks),
        ("tokens_per", f64::from(facts.settings.block_size)),
    ];
    labelled(facts, labels, "kv_cache_block_type", &values)
}

fn trt_llm_batcher(facts: &Facts, labels: &Labels) -> Vec<(Labels, f64)> {
    let occupancy = facts.occupancy;
    let values = [
        (
            "generation_requests",
            occupancy.running.saturating_sub(occupancy.prefilling) as f64,
        ),
        ("total_context_tokens", occupancy.kv_tokens as f64),
        ("micro_batch_id", 0.0),
    ];
    labelled(facts, labels, "inflight_batcher_specific_metric", &values)
}

fn labelled(
    facts: &Facts,
    labels: &Labels,
    name: &'static str,
    values: &[(&str, f64)],
) -> Vec<(Labels, f64)> {
    values
        .iter()
        .map(|(kind, value)| {
            let mut labels = labels.clone();
            labels.push((name, (*kind).into()));
            (labels, facts.gauge(*value))
        })
        .collect()
}

pub(super) fn torchserve() -> Template {
    Template {
        style: Style {
            float: true,
            trailing_comma: true,
            ..Style::default()
        },
        prefix: "",
        labels: |facts| {
            vec![
                ("model_name", facts.model.clone()),
                ("model_version", "default".into()),
                ("hostname", "mock".into()),
            ]
        },
        created: false,
        lazy: false,
        families: vec![
            several("Requests2XX", "counter", "Requests answered.", |facts, _| {
                of_host(facts, facts.totals.succeeded() as f64)
            }),
            several(
                "QueueTime",
                "gauge",
                "Mean time in the queue, in milliseconds.",
                |facts, _| {
                    let count = facts.totals.count(Quantity::QueueTime).max(1) as f64;
                    of_host(facts, facts.totals.sum(Quantity::QueueTime) * 1e3 / count)
                },
            ),
            counter("ts_inference_requests_total", "Requests.", |facts| {
                facts.totals.received as f64
            }),
            counter(
                "ts_inference_latency_microseconds",
                "Time of inference in microseconds, summed.",
                |facts| facts.micros(Quantity::EndToEnd),
            ),
            counter(
                "ts_queue_latency_microseconds",
                "Time in the queue in microseconds, summed.",
                |facts| facts.micros(Quantity::QueueTime),
            ),
        ],
    }
}

/// A sample of the host, which the first model's figures stand for.
fn of_host(facts: &Facts, value: f64) -> Vec<(Labels, f64)> {
    if facts.is_first() {
        vec![(vec![("Level", "Host".into()), ("Hostname", "mock".into())], value)]
    } else {
        Vec::new()
    }
}

pub(super) fn tensorflow_serving() -> Template {
    Template {
        style: Style::default(),
        prefix: ":tensorflow:serving:",
        labels: |facts| {
            vec![
                ("model_name", facts.model.clone()),
                ("API", "predict".into()),
                ("entrypoint", "REST".into()),
            ]
        },
        created: false,
        lazy: false,
        families: vec![
            several("request_count", "counter", "", |facts, _| {
                vec![(
                    vec![("model_name", facts.model.clone()), ("status", "OK".into())],
                    facts.totals.succeeded() as f64,
                )]
            }),
            time_in("request_latency", "", Quantity::EndToEnd, microseconds(), 1e6),
            time_in(
                "runtime_latency",
                "",
                Quantity::InferenceTime,
                microseconds(),
                1e6,
            ),
            time_in(
                "batching_session:queuing_latency",
                "",
                Quantity::QueueTime,
                microseconds(),
                1e6,
            ),
        ],
    }
}
