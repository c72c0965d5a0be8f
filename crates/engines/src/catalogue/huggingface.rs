use super::{Combine, Definition, LabelNames, Row, counter, gauge, histogram, row};
use crate::{Engine, Fact};

/// Text Generation Inference. Names: `router/src` and `backends/*/src` of TGI. A metric is on the page
/// only once it was used.
pub(super) static TGI: Definition = Definition {
    engine: Engine::Tgi,
    prefixes: &["tgi_"],
    rows: TGI_ROWS,
    labels: LabelNames::NONE,
    sleep: None,
    arrivals: Some("request_count"),
    optional: &[],
};

const TGI_ROWS: &[Row] = &[
    row(Fact::Waiting, &[gauge("queue_size")]),
    row(Fact::Running, &[gauge("batch_current_size")]),
    row(Fact::KvTokens, &[gauge("batch_max_total_tokens")]),
    row(Fact::Requests, &[counter("request_success")]),
    // Tokens are counted when their request is finished, by the histograms of lengths.
    row(Fact::PromptTokens, &[counter("request_input_length_sum")]),
    row(Fact::GenerationTokens, &[counter("request_generated_tokens_sum")]),
    row(Fact::Itl, &[histogram("request_mean_time_per_token_duration")]),
    // A mean over each request: there is nothing of single tokens.
    row(Fact::Tpot, &[histogram("request_mean_time_per_token_duration")]),
    row(Fact::E2e, &[histogram("request_duration")]),
    row(Fact::QueueTime, &[histogram("request_queue_duration")]),
    row(Fact::PromptLength, &[histogram("request_input_length")]),
    row(Fact::GenerationLength, &[histogram("request_generated_tokens")]),
];

/// Text Embeddings Inference. Names: `router/src` and `core/src` of TEI.
pub(super) static TEI: Definition = Definition {
    engine: Engine::Tei,
    prefixes: &["te_"],
    rows: TEI_ROWS,
    labels: LabelNames::NONE,
    sleep: None,
    arrivals: Some("request_count"),
    optional: &[],
};

const TEI_ROWS: &[Row] = &[
    row(Fact::Waiting, &[gauge("queue_size").combine(Combine::Sum)]),
    row(Fact::Requests, &[counter("request_success")]),
    row(Fact::PromptTokens, &[counter("request_input_length_sum")]),
    row(
        Fact::E2e,
        &[
            histogram("request_duration"),
            histogram("embed_duration"),
            histogram("predict_duration"),
        ],
    ),
    row(
        Fact::QueueTime,
        &[
            histogram("request_queue_duration"),
            histogram("embed_queue_duration"),
            histogram("predict_queue_duration"),
        ],
    ),
    row(Fact::PromptLength, &[histogram("request_input_length")]),
];
