//! The `rheostat` binary: arguments, wiring, output.

mod agent;
mod agreement;
mod backtest;
mod demo;
mod explain;
mod gpu;
mod inquiries;
mod logging;
mod output;
mod policy_file;
mod replay;
mod report_files;
mod scaler;
mod security;
mod simulate;
mod stop;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// GPU-aware autoscaling for Kubernetes.
#[derive(Parser)]
#[command(name = "rheostat", version, about, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    logging: logging::LogArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read this node's GPUs and stream what they do and who holds them.
    Agent(Box<agent::AgentArguments>),
    /// Answer KEDA: one number for each trigger.
    Scaler(Box<scaler::ScalerArguments>),
    /// Show the whole path on this machine, without a cluster and without a GPU.
    Demo(Box<demo::DemoArguments>),
    /// Run one policy on a request trace, and show what it does.
    Simulate(Box<simulate::SimulateArguments>),
    /// Score policies on request traces against the least that any of them must spend.
    Backtest(Box<backtest::BacktestArguments>),
    /// Show this machine's GPUs.
    Gpu(gpu::GpuArguments),
    /// Say why a workload's number is what it is, or was.
    Explain(explain::ExplainArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.command {
        Command::Agent(_) | Command::Scaler(_) => "info",
        // What these have to say, they say on their own.
        Command::Demo(_)
        | Command::Gpu(_)
        | Command::Explain(_)
        | Command::Simulate(_)
        | Command::Backtest(_) => "error",
    };
    let outcome = logging::start(&arguments.logging, level).and_then(|()| match arguments.command {
        Command::Agent(arguments) => agent::run(*arguments),
        Command::Scaler(arguments) => scaler::run(*arguments),
        Command::Demo(arguments) => demo::run(*arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Backtest(arguments) => backtest::run(&arguments),
        Command::Gpu(arguments) => gpu::run(&arguments),
        Command::Explain(arguments) => explain::run(arguments),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rheostat: {error:#}");
            ExitCode::FAILURE
        }
    }
}
