//! A mock inference engine as a process, for network namespaces and hands-on trials.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use rheostat_testkit::engine::{EngineOptions, Flavour, IterationTime, MockEngine, ModelSettings};

/// A mock inference engine: real HTTP and real metric names around a small batching model.
#[derive(Parser)]
struct Arguments {
    /// Which engine it passes for: vllm, sglang, tgi, triton-trtllm ...
    #[arg(long, default_value_t = Flavour::Vllm)]
    flavour: Flavour,
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000")]
    address: SocketAddr,
    /// Where its page with metrics is, and only there.
    #[arg(long)]
    metrics_address: Option<SocketAddr>,
    /// Models that it serves.
    #[arg(long = "model", default_value = "llama-3.1-8b")]
    models: Vec<String>,
    /// Data-parallel ranks.
    #[arg(long, default_value_t = 1)]
    ranks: usize,
    /// Requests in the running batch at most.
    #[arg(long, default_value_t = ModelSettings::default().max_sequences)]
    max_sequences: usize,
    /// KV blocks of 16 tokens.
    #[arg(long, default_value_t = ModelSettings::default().blocks)]
    blocks: u32,
    /// Tokens of prompt and answer together at most.
    #[arg(long, default_value_t = ModelSettings::default().max_context)]
    max_context: u32,
    /// How many times faster than Llama-3.1-8B on an H100.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// A bearer token without which nothing is answered.
    #[arg(long, env = "MOCK_ENGINE_TOKEN")]
    token: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let engine = MockEngine::start(EngineOptions {
        flavour: arguments.flavour,
        address: arguments.address,
        metrics_address: arguments.metrics_address,
        models: arguments.models,
        ranks: arguments.ranks,
        model: ModelSettings {
            max_sequences: arguments.max_sequences,
            blocks: arguments.blocks,
            max_context: arguments.max_context,
            iteration: IterationTime::default().at_speed(arguments.speed),
            ..ModelSettings::default()
        },
        token: arguments.token,
        ..EngineOptions::default()
    })
    .await
    .context("cannot start the engine")?;
    println!(
        "{} listens on {}, metrics on {}",
        engine.flavour(),
        engine.address(),
        engine.metrics_address()
    );
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for the signal")
}
