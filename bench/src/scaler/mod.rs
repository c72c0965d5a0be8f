//! The scaler at scale, in three processes: the agents, the scaler, and its callers (this one).

mod agents;
mod callers;
mod layout;
mod server;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};

use self::callers::{Callers, Seen};
use self::layout::GPUS_PER_NODE;
use crate::figures::{Figures, median_and_least};
use crate::process::{self, Helper};

pub(crate) use self::agents::serve_agents;
pub(crate) use self::layout::Layout;
pub(crate) use self::server::serve_scaler;

/// `rheostat-bench scaler`.
#[derive(Args)]
pub(crate) struct ScalerArguments {
    #[command(flatten)]
    layout: Layout,
    /// Callers at once.
    #[arg(long, default_value_t = 50)]
    callers: usize,
    /// HTTP/2 connections that they share; KEDA has one for each scaler address.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Calls a second of the paced load. KEDA's defaults cause 1,500 for 5,000 ScaledObjects.
    #[arg(long, default_value_t = 1500.0)]
    rate: f64,
    /// How often everything is measured; the figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement: idle, paced, paced five times as fast, saturated.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// What one load cost.
struct Measured {
    seen: Seen,
    /// CPU seconds of the scaler in each second.
    cpu: f64,
    /// How long it took.
    elapsed: Duration,
}

/// Calls of one question: GetMetrics and IsActive.
const CALLS_OF_PAIR: f64 = 2.0;

/// Time for connections, allocator and caches to settle before anything is measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// Starts the other processes, calls, and adds up.
pub(crate) fn run(options: &ScalerArguments) -> Result<Figures> {
    let layout = options.layout;
    layout.check()?;
    ensure!(
        options.callers > 0 && options.rounds > 0 && options.seconds > 0,
        "there is nothing to measure"
    );
    ensure!(options.rate.is_finite() && options.rate > 0.0, "--rate: above 0");
    let mut agents = Helper::start("serve-agents", &layout.arguments())?;
    let addresses = agents.hear()?;
    let mut scaler = Helper::start("serve-scaler", &layout.arguments())?;
    scaler.tell(&addresses)?;
    let address = scaler.hear()?.pop().context("the scaler says no address")?;
    // One thread of callers: they must not take the scaler's place on a small machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(options, &scaler, &address))
}

async fn measure(options: &ScalerArguments, scaler: &Helper, address: &str) -> Result<Figures> {
    let callers = Callers::new(&options.layout, address, options.callers, options.connections)?;
    callers.until_all_is_known().await?;
    callers.call(WARM_UP, None).await?;
    let span = Duration::from_secs(options.seconds);
    let pairs = options.rate / CALLS_OF_PAIR;
    let mut idle = Vec::new();
    let (mut paced, mut faster, mut saturated) = (Vec::new(), Vec::new(), Vec::new());
    let mut busy = (0.0_f64, 0.0);
    for round in 1..=options.rounds {
        eprintln!(
            "round {round} of {} ({}/4 of a minute) …",
            options.rounds,
            (options.seconds * 16).div_ceil(60)
        );
        let (began, before) = (Instant::now(), process::cpu_time(scaler.id())?);
        sleep(span).await;
        let used = process::cpu_time(scaler.id())?.saturating_sub(before);
        idle.push(used.as_secs_f64() / began.elapsed().as_secs_f64());
        paced.push(load(&callers, scaler, span, Some(pairs)).await?);
        faster.push(load(&callers, scaler, span, Some(5.0 * pairs)).await?);
        saturated.push(load(&callers, scaler, span, None).await?);
        let (load, processors) = process::load_and_processors()?;
        busy = (busy.0.max(load), processors);
    }
    let memory = process::memory(scaler.id())?;
    let median = |of: &dyn Fn(&Measured) -> f64, rounds: &[Measured]| median_and_least(rounds.iter().map(of));

    let ingest = median_and_least(idle.iter().copied()).0;
    let mut figures = Figures::default();
    let rate = |measured: &Measured| measured.calls_per_second() / measured.cpu;
    let without = |measured: &Measured| measured.calls_per_second() / (measured.cpu - ingest).max(0.001);
    figures.add(
        "rpc_per_core_second",
        median(&rate, &saturated).0,
        "calls for each CPU second of the scaler, all its work included",
    );
    figures.add(
        "rpc_alone_per_core_second",
        median(&without, &saturated).0,
        "the same without ingestion and evaluation",
    );
    figures.add(
        "rpc_per_second",
        median(&Measured::calls_per_second, &saturated).0,
        "calls at saturation",
    );
    figures.add(
        "saturated_cpu_fraction",
        median(&|measured| measured.cpu, &saturated).0,
        "of a core, scaler, at saturation",
    );
    figures.add(
        "ingest_cpu_fraction",
        ingest,
        "of a core, scaler, while nobody calls",
    );
    for (name, rounds, meaning) in [
        ("", &paced, format!("at {} calls a second", options.rate)),
        (
            "paced5_",
            &faster,
            format!("at {} calls a second", 5.0 * options.rate),
        ),
        ("saturated_", &saturated, "at saturation".to_owned()),
    ] {
        for (quantile, percent) in [(0.5, "p50"), (0.99, "p99")] {
            let (middle, least) = median(&|measured| measured.seen.micros(quantile), rounds);
            figures.add(
                &format!("{name}{percent}_us"),
                middle,
                &format!("GetMetrics + IsActive, {meaning}"),
            );
            figures.add(
                &format!("{name}{percent}_least_us"),
                least,
                "the same in the best round",
            );
        }
    }
    figures.add(
        "paced_rpc_per_second",
        median(&Measured::calls_per_second, &paced).0,
        "calls that the paced load came to",
    );
    figures.add(
        "paced_cpu_fraction",
        median(&|measured| measured.cpu, &paced).0,
        "of a core, scaler, at the paced load",
    );
    let errors = |rounds: &[Measured]| rounds.iter().map(|measured| measured.seen.errors).sum::<u64>();
    figures.add(
        "errors",
        (errors(&paced) + errors(&faster) + errors(&saturated)) as f64,
        "pairs with a call that was answered with an error",
    );
    figures.add("rss_mib", memory.resident, "resident, scaler, at the end");
    figures.add("rss_peak_mib", memory.peak, "the most that was");
    figures.add("rss_anonymous_mib", memory.anonymous, "of it heap and stacks");
    figures.add("workloads", options.layout.workloads as f64, "ScaledObjects");
    figures.add(
        "agents",
        options.layout.agents as f64,
        "streams, one snapshot a second each",
    );
    figures.add(
        "gpus",
        (options.layout.agents * GPUS_PER_NODE) as f64,
        "with 20 quantities each",
    );
    figures.add("held_gpus", options.layout.pods() as f64, "pods with a GPU");
    figures.add("callers", options.callers as f64, "at once");
    figures.add("connections", options.connections as f64, "that they share");
    figures.add("rounds", options.rounds as f64, "medians are over them");
    figures.add("processors", busy.1, "of this machine");
    figures.add(
        "load_average",
        busy.0,
        "highest of the rounds: above the processors, others disturbed",
    );
    Ok(figures)
}

async fn load(callers: &Callers, scaler: &Helper, span: Duration, pairs: Option<f64>) -> Result<Measured> {
    let (began, before) = (Instant::now(), process::cpu_time(scaler.id())?);
    let seen = callers.call(span, pairs).await?;
    let elapsed = began.elapsed();
    let used = process::cpu_time(scaler.id())?.saturating_sub(before);
    Ok(Measured {
        seen,
        cpu: used.as_secs_f64() / elapsed.as_secs_f64(),
        elapsed,
    })
}

impl Measured {
    fn calls_per_second(&self) -> f64 {
        self.seen.pairs as f64 * CALLS_OF_PAIR / self.elapsed.as_secs_f64()
    }
}
