//! A day of many requests in a process of its own, so that its memory is its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use rheostat_simulator::{ColdStart, Control, Mode, Scenario, SizingScaler, simulate};
use rheostat_sizing::{Intent, Limits, Objective, ReplicaShape};
use tokio::time::Instant;

use super::load::{Load, TOKENS};
use super::{engine, slo};
use crate::process::{self, Helper};

/// `rheostat-bench simulate-day`.
#[derive(Args)]
pub(crate) struct DayArguments {
    #[arg(long)]
    requests: u64,
    #[arg(long, value_enum)]
    mode: DayMode,
    #[arg(long, value_enum)]
    control: DayControl,
}

/// How the day is simulated.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum DayMode {
    Fluid,
    Iteration,
}

/// Who decides on replicas.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum DayControl {
    /// As many as the busiest moment needs, all day.
    Static,
    /// Our policy, through the models of KEDA and the HPA.
    Policy,
}

/// What a day took.
pub(super) struct Day {
    pub(super) wall_seconds: f64,
    pub(super) peak_mib: f64,
}

/// Runs a day in a process of its own.
pub(super) fn measure(requests: u64, mode: DayMode, control: DayControl) -> Result<Day> {
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let arguments = [
        format!("--requests={requests}"),
        format!("--mode={}", name(&|| mode.to_possible_value())),
        format!("--control={}", name(&|| control.to_possible_value())),
    ];
    let mut helper = Helper::start("simulate-day", &arguments)?;
    let lines = helper.hear()?;
    let [wall_seconds, peak_mib] = lines.as_slice() else {
        anyhow::bail!("unexpected answer: {lines:?}");
    };
    Ok(Day {
        wall_seconds: wall_seconds.parse().context("not a time")?,
        peak_mib: peak_mib.parse().context("not a size")?,
    })
}

/// The process itself: says how many seconds it took, and how many MiB at most.
pub(crate) fn simulate_day(arguments: &DayArguments) -> Result<()> {
    const COLD_START: Duration = Duration::from_secs(180);
    let requests = arguments.requests;
    let engine = engine()?;
    let tokens = f64::from(TOKENS);
    let itl = slo().itl.context("the SLO limits the time between tokens")?;
    let of_one = engine.usable(itl).0.min(engine.fillable(tokens, tokens).0) / engine.work(tokens, tokens).0;
    // A fifth more than the mean of the busiest moment, for the noise of arrivals.
    let most = (Load::peak_of_day(requests) / of_one * 1.2).ceil() as u32 + 1;
    let mut scenario = Scenario::new(engine, slo());
    scenario.cold_start = ColdStart::fixed(COLD_START);
    scenario.warm = most;
    scenario.mode = match arguments.mode {
        DayMode::Fluid => Mode::Fluid,
        DayMode::Iteration => Mode::Iteration,
    };
    let control = match arguments.control {
        DayControl::Static => Control::Static(most),
        DayControl::Policy => SizingScaler::through_keda(Intent {
            objective: Objective::Slo(slo()),
            min_replicas: 1,
            max_replicas: 4 * most,
            cold_start: COLD_START,
            scale_to_zero_after: None,
            headroom: 0,
            limits: Limits::default(),
            replica: ReplicaShape {
                gpus: f64::from(scenario.engine.gpus),
                price_per_gpu_hour: None,
                parameters: None,
            },
            role: None,
        }),
    };
    let begun = Instant::now();
    let run = simulate(&scenario, Load::day(requests), control, &mut ())?;
    let wall = begun.elapsed().as_secs_f64();
    let served = run.requests + run.undecided;
    ensure!(
        served as f64 > 0.9 * requests as f64 && run.attainment.0 > 0.9,
        "{served} requests came, {} of them in time: not the day that was meant",
        run.attainment.0
    );
    println!("{wall}\n{}\n", process::memory(std::process::id())?.peak);
    Ok(())
}
