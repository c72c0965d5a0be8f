//! Every developer and CI task.
//!
//! `cargo xtask --help` lists them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod crd;
mod e2e;
mod nvml_clients;
mod prometheus;
mod promtext;
mod proto;
mod scoreboard;

#[derive(Parser)]
#[command(about = "Every developer and CI task")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure speed and size: prints a table and writes target/bench/NAME.json.
    Bench(bench::BenchArguments),
    /// Make deploy/crd.yaml anew from its definition in crates/crd.
    Crd,
    /// Run the end-to-end proofs against the real control plane (see e2e/README.md).
    E2e(e2e::EndToEndArguments),
    /// Run nvidia-ml-py, gpustat, nvitop and go-nvml against fake-nvml and compare what they print.
    NvmlClients,
    /// Compare the parser of metrics with Prometheus' own over pages and changed lines. Needs Go.
    PromtextOracle(promtext::OracleArguments),
    /// Run the Prometheus source's test against Debian's Prometheus.
    Prometheus,
    /// Score every policy on real traces and write docs/scoreboard.md.
    Scoreboard(scoreboard::ScoreboardArguments),
    /// Make the Rust code of the gRPC services anew from the .proto files.
    Proto,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Crd => crd::generate(),
        Task::E2e(arguments) => e2e::run(&arguments),
        Task::NvmlClients => nvml_clients::run(),
        Task::PromtextOracle(arguments) => promtext::run(&arguments),
        Task::Prometheus => prometheus::run(),
        Task::Scoreboard(arguments) => scoreboard::run(&arguments),
        Task::Proto => proto::generate(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}
