use super::{Definition, LabelNames, Row, counter, histogram, models, row, sum_with_count};
use crate::{Engine, Fact};

/// TorchServe with `metrics_mode=prometheus`. Names: `docs/metrics.md` of TorchServe. It tells no queue
/// length.
pub(super) static TORCH_SERVE: Definition = Definition {
    engine: Engine::TorchServe,
    prefixes: &["ts_"],
    rows: TORCH_SERVE_ROWS,
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

const MICRO: f64 = 1e-6;

const TORCH_SERVE_ROWS: &[Row] = &[
    row(Fact::ModelsLoaded, &[models("inference_requests_total")]),
    row(Fact::Requests, &[counter("inference_requests_total")]),
    row(
        Fact::E2e,
        &[sum_with_count("inference_latency_microseconds", "inference_requests_total").scale(MICRO)],
    ),
    row(
        Fact::QueueTime,
        &[sum_with_count("queue_latency_microseconds", "inference_requests_total").scale(MICRO)],
    ),
];

/// TensorFlow Serving with `--monitoring_config_file`. Names: `servables/tensorflow/util.cc` and
/// `batching/batching_session.cc`, with `:` for `/`. It tells no queue length.
pub(super) static TENSORFLOW_SERVING: Definition = Definition {
    engine: Engine::TensorflowServing,
    prefixes: &[":tensorflow:serving:"],
    rows: TENSORFLOW_ROWS,
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

const TENSORFLOW_ROWS: &[Row] = &[
    row(Fact::Requests, &[counter("request_count")]),
    row(Fact::E2e, &[histogram("request_latency").scale(MICRO)]),
    row(
        Fact::QueueTime,
        &[
            histogram("batching_session:queuing_latency").scale(MICRO),
            histogram("saved_model_with_batching:queuing_latency").scale(MICRO),
        ],
    ),
];
