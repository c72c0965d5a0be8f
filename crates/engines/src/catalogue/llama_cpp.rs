use super::{Definition, LabelNames, Row, counter, gauge, ratio, row, sum_with_count};
use crate::{Engine, Fact};

/// The server of llama.cpp, started with `--metrics`. Names: `tools/server/README.md` of llama.cpp. It
/// has counters and gauges only; what `/slots` tells comes from there.
pub(super) static LLAMA_CPP: Definition = Definition {
    engine: Engine::LlamaCpp,
    prefixes: &["llamacpp:"],
    rows: ROWS,
    labels: LabelNames {
        // Its own page has no labels; programs that put several servers on one page add these.
        model: &["model", "model_name"],
        adapter: &[],
        rank: &[],
        copies: &[],
    },
    sleep: None,
    arrivals: None,
    optional: &[],
};

const ROWS: &[Row] = &[
    row(Fact::Waiting, &[gauge("requests_deferred")]),
    row(Fact::Running, &[gauge("requests_processing")]),
    // Removed in 2025; newer ones tell it by `/slots`.
    row(Fact::KvCacheUsage, &[ratio("kv_cache_usage_ratio")]),
    row(Fact::PromptTokens, &[counter("prompt_tokens_total")]),
    row(Fact::GenerationTokens, &[counter("tokens_predicted_total")]),
    row(
        Fact::Itl,
        &[sum_with_count(
            "tokens_predicted_seconds_total",
            "tokens_predicted_total",
        )],
    ),
];
