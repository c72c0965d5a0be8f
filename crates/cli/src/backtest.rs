mod progress;
mod table;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rheostat_backtest::{Options, Store, backtest, results_in};

use crate::output::print;
use crate::report_files::ReportFiles;
use crate::stop;
use crate::workload::{Stated, WorkloadArguments, cold_start};
use progress::Shown;

/// `rheostat backtest`.
#[derive(Args)]
pub(crate) struct BacktestArguments {
    #[command(flatten)]
    workload: WorkloadArguments,
    /// How long a start takes; each trace is run with each.
    #[arg(
        long, default_value = "60s,180s,600s", value_name = "DURATIONS", value_delimiter = ',',
        value_parser = cold_start
    )]
    cold_start: Vec<Duration>,
    /// Only these policies: `rheostat` is ours.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    policies: Vec<String>,
    /// Also search for the best settings of each baseline, once for each half of what is scored, to be scored
    /// on the other half, and once in hindsight; with about so many runs for each trace and cold start.
    #[arg(long, default_value_t = 0, value_name = "RUNS")]
    tune: usize,
    /// Also search for the cheapest plan that keeps the SLO with the whole trace known, by trying so many changes
    /// for each trace and cold start: the row `clairvoyant`. No autoscaler needs more than that, and some may do
    /// with less. The more changes, the cheaper: try 20000 for an hour, 100000 for days.
    #[arg(long, default_value_t = 0, value_name = "TRIES")]
    clairvoyant: usize,
    #[command(flatten)]
    files: ReportFiles,
    /// Keep results in this directory, and go on from those that are there already.
    #[arg(long, value_name = "DIRECTORY")]
    resume: Option<PathBuf>,
    /// Runs at once; as many as there are cores where it is not given.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// Plain lines even on a terminal.
    #[arg(long)]
    plain: bool,
}

/// More runs for one search are a mistake.
const MOST_TUNING: usize = 10_000;

/// A search for more would take days.
const MOST_TRIES: usize = 100_000_000;

/// Runs the policies and prints how well they did.
pub(crate) fn run(arguments: &BacktestArguments) -> anyhow::Result<()> {
    if arguments.tune > MOST_TUNING {
        bail!("--tune is {}; allowed is 0 to {MOST_TUNING}", arguments.tune);
    }
    if arguments.clairvoyant > MOST_TRIES {
        bail!(
            "--clairvoyant is {}; allowed is 0 to {MOST_TRIES}",
            arguments.clairvoyant
        );
    }
    let results = arguments.resume.as_deref().map(results_in);
    let mut inputs = arguments.workload.inputs();
    inputs.extend(results.as_deref().map(|path| ("--resume", path)));
    arguments.files.check(&inputs)?;
    let cases = arguments
        .workload
        .cases(&arguments.cold_start, Stated::default())?;
    let threads = arguments
        .jobs
        .map_or_else(std::thread::available_parallelism, Ok)?;
    let store = match &arguments.resume {
        Some(directory) => Store::resume(directory).context("--resume")?,
        None => Store::in_memory(),
    };
    if store.resumed() > 0 {
        eprintln!("{} results are there already", store.resumed());
    }
    let options = Options {
        policies: arguments.policies.clone(),
        threads,
        evaluations: arguments.tune,
        clairvoyant: arguments.clairvoyant,
        build: build()?,
    };
    let (_runtime, stop) = stopped_by_signal()?;
    let shown = Shown::new(arguments.plain);
    let report = backtest(&cases, &options, &store, &shown, &stop)?;
    shown.end();
    let Some(report) = report else {
        let hint = if arguments.resume.is_some() {
            "the same command goes on from here"
        } else {
            "with --resume DIRECTORY, the same command would go on from here"
        };
        bail!("stopped before the end; {hint}");
    };
    print(&table::text(&report))?;
    arguments.files.write(&report)
}

/// Set when the process is asked to stop.
pub(crate) fn stopped_by_signal() -> anyhow::Result<(tokio::runtime::Runtime, Arc<AtomicBool>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let entered = runtime.enter();
    let signal = stop::on_signal()?;
    drop(entered);
    runtime.spawn(async move {
        signal.cancelled().await;
        flag.store(true, Ordering::Relaxed);
    });
    Ok((runtime, stop))
}

/// Names this program's code: stored results are only used by the code that made them.
fn build() -> anyhow::Result<String> {
    use std::io::Read as _;
    let path = std::env::current_exe().context("this program's file")?;
    let mut file = std::fs::File::open(path).context("this program's file")?;
    let mut buffer = vec![0; 1 << 20];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    loop {
        let read = file.read(&mut buffer).context("this program's file")?;
        if read == 0 {
            return Ok(format!("{} {hash:016x}", env!("CARGO_PKG_VERSION")));
        }
        for byte in &buffer[..read] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
