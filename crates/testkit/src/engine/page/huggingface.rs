//! Hugging Face's servers.

use super::buckets::{geometric, linear, powers_of_two};
use super::{Facts, Labels, Style, Template, counter, gauge, histogram, several};
use crate::engine::settings::ModelSettings;
use crate::engine::tally::Quantity;

pub(super) fn tgi(settings: &ModelSettings) -> Template {
    let limit = f64::from(settings.max_context);
    let duration = |name, help, quantity| histogram(name, help, quantity, geometric(0.000_15, 1.5, 35));
    let tokens = |name, help, quantity| histogram(name, help, quantity, linear(limit, 100));
    Template {
        style: Style::default(),
        prefix: "tgi_",
        labels: |_| Labels::new(),
        created: false,
        lazy: true,
        families: vec![
            gauge("queue_size", "Requests in the queue.", Facts::waiting),
            gauge("batch_current_size", "Requests in the batch.", Facts::running),
            gauge(
                "batch_current_max_tokens",
                "Tokens that the batch may come to have.",
                Facts::kv_tokens,
            ),
            counter("request_count", "Requests.", |facts| {
                (facts.totals.received + facts.totals.refused) as f64
            }),
            counter("request_success", "Requests that ended well.", |facts| {
                facts.totals.succeeded() as f64
            }),
            several(
                "request_failure",
                "counter",
                "Requests that failed, by cause.",
                |facts, _| vec![(vec![("err", "validation".into())], facts.totals.refused as f64)],
            ),
            duration("request_duration", "Time of a request.", Quantity::EndToEnd),
            duration(
                "request_queue_duration",
                "Time in the queue.",
                Quantity::QueueTime,
            ),
            duration(
                "request_inference_duration",
                "Time of inference.",
                Quantity::InferenceTime,
            ),
            duration(
                "request_mean_time_per_token_duration",
                "Mean time per token of a request.",
                Quantity::TimePerOutputToken,
            ),
            duration(
                "batch_inference_duration",
                "Time of an iteration.",
                Quantity::IterationTime,
            ),
            tokens(
                "request_input_length",
                "Tokens of a prompt.",
                Quantity::PromptTokens,
            ),
            tokens(
                "request_generated_tokens",
                "Tokens of an answer.",
                Quantity::GenerationTokens,
            ),
            tokens(
                "request_max_new_tokens",
                "Tokens that a request allowed.",
                Quantity::MaxTokens,
            ),
            histogram(
                "batch_next_size",
                "Requests of an iteration.",
                Quantity::IterationSequences,
                linear(1024.0, 1024),
            ),
        ],
    }
}

pub(super) fn tei(settings: &ModelSettings) -> Template {
    let duration = |name, help, quantity| histogram(name, help, quantity, geometric(0.000_015, 1.5, 35));
    let limit = f64::from(settings.max_context);
    let lengths: Vec<f64> = powers_of_two(20)
        .into_iter()
        .filter(|length| *length <= limit)
        .collect();
    Template {
        style: Style::default(),
        prefix: "te_",
        labels: |_| Labels::new(),
        created: false,
        lazy: true,
        families: vec![
            gauge("queue_size", "Texts in the queue.", Facts::waiting),
            several("request_count", "counter", "Requests.", |facts, _| {
                by_method((facts.totals.received + facts.totals.refused) as f64)
            }),
            several(
                "request_success",
                "counter",
                "Requests that ended well.",
                |facts, _| by_method(facts.totals.succeeded() as f64),
            ),
            several(
                "request_failure",
                "counter",
                "Requests that failed.",
                |facts, _| vec![(vec![("err", "validation".into())], facts.totals.refused as f64)],
            ),
            counter("embed_count", "Texts to embed.", |facts| {
                facts.totals.received as f64
            }),
            counter("embed_success", "Texts embedded.", |facts| {
                facts.totals.succeeded() as f64
            }),
            duration("request_duration", "Time of a request.", Quantity::EndToEnd),
            duration(
                "request_queue_duration",
                "Time in the queue.",
                Quantity::QueueTime,
            ),
            duration(
                "request_inference_duration",
                "Time of inference.",
                Quantity::InferenceTime,
            ),
            duration("embed_duration", "Time of a text.", Quantity::EndToEnd),
            duration(
                "embed_queue_duration",
                "Time of a text in the queue.",
                Quantity::QueueTime,
            ),
            duration(
                "embed_inference_duration",
                "Time of a text's inference.",
                Quantity::InferenceTime,
            ),
            histogram(
                "request_input_length",
                "Tokens of a text.",
                Quantity::PromptTokens,
                lengths,
            ),
            histogram(
                "batch_next_size",
                "Texts of a batch.",
                Quantity::IterationSequences,
                powers_of_two(13),
            ),
            histogram(
                "batch_next_tokens",
                "Tokens of a batch.",
                Quantity::IterationTokens,
                powers_of_two(21),
            ),
        ],
    }
}

fn by_method(value: f64) -> Vec<(Labels, f64)> {
    vec![(vec![("method", "single".into())], value)]
}
