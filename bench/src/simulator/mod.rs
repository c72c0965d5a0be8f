//! How fast the simulator is: by jumps and as a flow, beside stepping through every iteration; and what a day
//! of a million requests takes.
//!
//! The other way to simulate continuous batching is to do each iteration by itself, as Vidur, BLIS and others
//! do. Ours of that kind ([`Mode::Stepping`]) is what the jumps are proved equal to, so that all three run on
//! the same load, in the same process, in turn.

mod day;
mod load;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rheostat_reading::Ratio;
use rheostat_simulator::{Control, EngineModel, Mode, Scenario, simulate};
use rheostat_sizing::Slo;

use self::day::{Day, DayControl, DayMode};
use self::load::Load;
use crate::figures::{Figures, median_and_least};
use crate::process;

pub(crate) use self::day::{DayArguments, simulate_day};

/// `rheostat-bench simulator`.
#[derive(Args)]
pub(crate) struct SimulatorArguments {
    /// Rounds, in each of which every mode has its turn; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Requests that a turn in fluid mode has; the other modes have fewer, so that turns take about as long.
    #[arg(long, default_value_t = 2_000_000)]
    requests: u64,
    /// Requests of the day.
    #[arg(long, default_value_t = 1_000_000)]
    day_requests: u64,
}

/// Replicas that serve the load of the comparison.
const REPLICAS: u32 = 16;

/// Requests a second that come for each of them: it is busy, and hardly anybody waits.
const RATE: f64 = 10.0;

/// A mode, the name of its figure, and what part of `--requests` it gets.
const MODES: [(Mode, &str, u64); 3] = [
    (Mode::Fluid, "fluid", 1),
    (Mode::Iteration, "iteration", 2),
    (Mode::Stepping, "stepping", 10),
];

/// Llama 3.1 8B on one H100.
fn engine() -> Result<EngineModel> {
    EngineModel::named("llama-3.1-8b-h100").context("no such engine")
}

const fn slo() -> Slo {
    Slo {
        ttft: Some(Duration::from_secs(2)),
        itl: Some(Duration::from_millis(50)),
        e2e: None,
        attainment: Ratio(0.99),
    }
}

/// Measures the modes in turn, then the days, each in a process of its own.
pub(crate) fn run(options: &SimulatorArguments) -> Result<Figures> {
    ensure!((1..=100).contains(&options.rounds), "--rounds: from 1 to 100");
    ensure!(
        (100_000..=100_000_000).contains(&options.requests),
        "--requests: from 100000 to 100000000"
    );
    ensure!(
        (10_000..=100_000_000).contains(&options.day_requests),
        "--day-requests: from 10000 to 100000000"
    );
    let mut speeds = [const { Vec::new() }; MODES.len()];
    for round in 1..=options.rounds {
        eprintln!("round {round} of {} …", options.rounds);
        for ((mode, _, part), speeds) in MODES.into_iter().zip(&mut speeds) {
            speeds.push(speed(mode, options.requests / part)?);
        }
    }
    let mut figures = Figures::default();
    let speeds = speeds.map(|speeds| median_and_least(speeds).0);
    for ((_, name, _), speed) in MODES.into_iter().zip(speeds) {
        let meaning = match name {
            "fluid" => "iterations as a flow (aim: 1,000,000)",
            "iteration" => "jumps from event to event, exact (aim: 100,000)",
            _ => "every iteration by itself, to compare with",
        };
        figures.add(&format!("{name}_requests_per_core_second"), speed, meaning);
    }
    let [fluid, iteration, stepping] = speeds;
    figures.add(
        "iteration_to_stepping_ratio",
        iteration / stepping,
        "jumps beside steps",
    );
    figures.add("fluid_to_stepping_ratio", fluid / stepping, "flow beside steps");
    for (mode, name) in [(DayMode::Fluid, "fluid"), (DayMode::Iteration, "iteration")] {
        for (control, who, meaning) in [
            (DayControl::Static, "static", "a fixed fleet"),
            (
                DayControl::Policy,
                "policy",
                "our policy through KEDA and the HPA",
            ),
        ] {
            eprintln!("a day, {name}, {who} …");
            let Day {
                wall_seconds,
                peak_mib,
            } = day::measure(options.day_requests, mode, control)?;
            figures.add(
                &format!("day_{name}_{who}_wall_seconds"),
                wall_seconds,
                &format!("a day of {} requests, {meaning}", options.day_requests),
            );
            figures.add(
                &format!("day_{name}_{who}_peak_mib"),
                peak_mib,
                "the most memory of that process",
            );
        }
    }
    let (load, processors) = process::load_and_processors()?;
    figures.add("processors", processors, "of this machine");
    figures.add("load_average", load, "above the processors, others disturbed");
    Ok(figures)
}

/// Requests that a second of CPU time serves.
fn speed(mode: Mode, requests: u64) -> Result<f64> {
    let mut scenario = Scenario::new(engine()?, slo());
    scenario.mode = mode;
    let load = Load::steady(RATE * f64::from(REPLICAS), requests);
    let id = std::process::id();
    let before = process::cpu_time(id)?;
    let run = simulate(&scenario, load, Control::Static(REPLICAS), &mut ())?;
    let used = process::cpu_time(id)?.saturating_sub(before).as_secs_f64();
    let came = run.requests + run.undecided;
    ensure!(
        came == requests && run.attainment.0 > 0.95,
        "{came} of {requests} requests came, {} of them in time: not the load that was meant",
        run.attainment.0
    );
    ensure!(used > 0.0, "too few requests to measure: raise --requests");
    Ok(requests as f64 / used)
}
