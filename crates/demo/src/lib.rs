//! Everything on one machine, with no cluster and no GPU.
//!
//! Real: an agent for each of four nodes, each with its own copy of the fake NVML library loaded
//! over the C ABI; a kubelet's PodResources socket for each of them to ask; the HTTP of mock vLLM
//! engines, one in each pod of two workloads, which the agents scrape; the fleet, the scaler, and gRPC
//! between all of them. In place of KEDA and the HPA controller: the exact models of
//! `rheostat-kubescale`, which ask the scaler over its gRPC port as KEDA would. In place of
//! everything else (pods, requests, cold starts): a small simulated world. The loop is closed: the
//! replicas that are decided change the load of each GPU, which the driver reports, which the agents
//! read.
//!
//! # Time
//!
//! One clock drives all parts, the batches of the engines too. It moves a second at a time, `speed` times a second, and only when
//! every part has kept up: a machine that is too slow makes a slower day, which is said, and not a
//! wrong one.
//!
//! # What is the same in each run
//!
//! The world is a function of the seed and of the replica counts. The readings take their real way
//! through threads and sockets, so that one may reach the HPA a second of the day earlier or later,
//! and a decision near a threshold may fall one sync apart. The story is the same, and is checked:
//! [`run`] fails if it did not happen.

mod manifest;
mod numbers;
mod pace;
mod play;
mod record;
mod report;
pub mod report_file;
mod score;
mod stage;
mod story;
mod verdict;
mod view;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rheostat_trace::Trace;
use tokio_util::sync::CancellationToken;

use pace::Pace;
use play::Played;
use stage::Stage;
use story::Story;
use view::View;

/// What to show, and how.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Simulated seconds a second, 0.1 to 240. Where not given: 20 for the built-in load, and for a
    /// trace as many as make it a minute long, within those limits.
    pub speed: Option<f64>,
    /// Seed of the world.
    pub seed: u64,
    /// Requests to replay in place of the built-in load, in any format that `rheostat_trace` reads.
    /// The first two hours are played at their own times; their work is scaled so that the busiest
    /// minute needs 8 GPUs.
    pub trace: Option<PathBuf>,
    /// Where the HTML report is written.
    pub report: PathBuf,
    /// Plain lines even on a terminal.
    pub plain: bool,
    /// The fake NVML library; near the executable where not given.
    pub fake_nvml: Option<PathBuf>,
}

/// Speed of the built-in load.
const SPEED: f64 = 20.0;

/// Real seconds that a trace is to take.
const TRACE_TAKES: f64 = 60.0;

/// Runs the demo to its end or until `shutdown`, and prints what happened.
///
/// # Errors
///
/// An option makes no sense, a part cannot run, or the story did not happen.
pub async fn run(options: DemoOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let library = library(options.fake_nvml.as_deref())?;
    let reading = rheostat_trace::Options {
        seed: options.seed,
        ..rheostat_trace::Options::default()
    };
    let trace = options
        .trace
        .as_deref()
        .map(|path| Trace::open(path, &reading))
        .transpose()?;
    let (story, mut world) = Story::new(options.seed, trace.as_ref())?;
    let speed = match (options.speed, &trace) {
        (Some(speed), _) => speed,
        (None, None) => SPEED,
        (None, Some(_)) => (f64::from(story.seconds) / TRACE_TAKES).clamp(1.0, 240.0).round(),
    };
    let pace = Pace::new(speed)?;
    let trace = options.trace.as_deref().map(|trace| ("--trace", trace));
    report_file::check(&[(report::OPTION, &options.report)], trace.as_slice())?;

    let mut view = View::start(options.plain, &story, pace)?;
    let mut stage = tokio::select! {
        started = Stage::start(&mut world, &story, pace, &library) => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let played = play::play(&story, world, &mut stage, pace, &mut view, &shutdown).await;
    let stopped = stage.stop().await;
    let shown = view.end();
    let played = played?;
    stopped.context("the demo's parts did not stop in order")?;
    conclude(&story, &played, pace, &options.report, !shown)
}

/// Prints the summary, writes the report, and judges.
fn conclude(
    story: &Story,
    played: &Played,
    pace: Pace,
    report: &Path,
    decisions: bool,
) -> anyhow::Result<()> {
    let checks = if played.finished {
        verdict::judge(story, played)
    } else {
        Vec::new()
    };
    view::print_summary(story, played, pace, &checks, decisions)?;
    report::write(report, story, played, &checks)?;
    view::say(&format!("\nReport: {}", report.display()))?;
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| !check.holds)
        .map(|check| check.claim)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("the story did not happen: {}", failed.join("; "))
    }
}

/// The fake NVML library to be copied for each node.
fn library(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) if path.is_file() => Ok(path.to_owned()),
        Some(path) => bail!("the fake NVML library {} is not there", path.display()),
        None => nvidia_ml::library_path().with_context(|| {
            let beside = std::env::current_exe().unwrap_or_default();
            let beside = beside.parent().unwrap_or_else(|| Path::new(".")).display();
            format!(
                "the fake NVML library libnvidia_ml.so is neither in {beside}, nor in {beside}/deps, nor two \
                 directories above; build it with `cargo build -p rheostat-fake-nvml` (add --release as for this \
                 binary), or name it with --fake-nvml"
            )
        }),
    }
}
