//! Benchmarks of the services' speed and size, run by `cargo xtask bench NAME`.
//!
//! Each prints a table and writes the same figures as flat JSON. None fails because of a figure,
//! only because something did not work. What is measured runs in a process of its own, so that its
//! CPU time and memory are not mixed with those of the load.

mod agent;
mod figures;
mod process;
mod promtext;
mod scaler;
mod scrape;
mod simulator;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks of Rheostat's services")]
struct Arguments {
    /// Where the figures are written, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The scaler with thousands of workloads, fed by a thousand agents, called as KEDA calls.
    Scaler(scaler::ScalerArguments),
    /// The agent on a node of 8 GPUs.
    Agent(agent::AgentArguments),
    /// The scraper with the engines of a node and of a fleet, beside a real Prometheus.
    Scrape(scrape::ScrapeArguments),
    /// The parser of metrics beside others.
    Promtext(promtext::PromtextArguments),
    /// The simulator beside stepping through every iteration, and a day of a million requests.
    Simulator(simulator::SimulatorArguments),
    /// The simulated agents of `scaler`.
    #[command(hide = true)]
    ServeAgents(scaler::Layout),
    /// The scaler under test of `scaler`.
    #[command(hide = true)]
    ServeScaler(scaler::Layout),
    /// The engines of `scrape`.
    #[command(hide = true)]
    ServeEngines(scrape::EnginesArguments),
    /// The scraper under test of `scrape`.
    #[command(hide = true)]
    ServeScraper(scrape::ScraperArguments),
    /// One run of `simulator`.
    #[command(hide = true)]
    SimulateDay(simulator::DayArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.benchmark {
        Benchmark::Scaler(options) => scaler::run(&options).map(Some),
        Benchmark::Agent(options) => agent::run(&options).map(Some),
        Benchmark::Scrape(options) => scrape::run(&options).map(Some),
        Benchmark::Promtext(options) => promtext::run(&options).map(Some),
        Benchmark::Simulator(options) => simulator::run(&options).map(Some),
        Benchmark::ServeAgents(layout) => scaler::serve_agents(layout).map(|()| None),
        Benchmark::ServeScaler(layout) => scaler::serve_scaler(&layout).map(|()| None),
        Benchmark::ServeEngines(options) => scrape::serve_engines(&options).map(|()| None),
        Benchmark::ServeScraper(options) => scrape::serve_scraper(&options).map(|()| None),
        Benchmark::SimulateDay(options) => simulator::simulate_day(&options).map(|()| None),
    };
    let outcome = outcome.and_then(|figures| match figures {
        Some(figures) => figures.show(arguments.out.as_deref()),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rheostat-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
