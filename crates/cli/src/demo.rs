use std::path::PathBuf;

use clap::Args;
use rheostat_demo::DemoOptions;

use crate::stop;

/// `rheostat demo`.
#[derive(Args)]
pub(crate) struct DemoArguments {
    /// How many times as fast as real time the day goes by, 0.1 to 240. Default: 20; for a trace, so
    /// that it takes about a minute. A machine that is too slow makes a slower day.
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Replay the requests of this trace (Azure, BurstGPT, ServeGen or Mooncake files, counts, a Prometheus
    /// range export) instead of the built-in load: its first two hours at their own times, their
    /// work scaled so that the busiest minute needs 8 GPUs.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the report (HTML with charts) here.
    #[arg(long, default_value = "rheostat-demo.html", value_name = "FILE")]
    report: PathBuf,
    /// Plain lines even on a terminal.
    #[arg(long)]
    plain: bool,
    /// The fake NVML library, where it is not found beside this binary.
    #[arg(long, env = "RHEOSTAT_FAKE_NVML", value_name = "FILE")]
    fake_nvml: Option<PathBuf>,
}

/// Runs the demonstration to its end, or until it is asked to stop.
pub(crate) fn run(arguments: DemoArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = stop::on_signal()?;
        let DemoArguments {
            speed,
            seed,
            trace,
            report,
            plain,
            fake_nvml,
        } = arguments;
        rheostat_demo::run(
            DemoOptions {
                speed,
                seed,
                trace,
                report,
                plain,
                fake_nvml,
            },
            shutdown,
        )
        .await
    })
}
