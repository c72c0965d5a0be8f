//! What it costs to scrape engines: ours beside a real Prometheus, on the same engines.

mod engines;
mod prometheus;
mod scraper;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};

use self::prometheus::Prometheus;
use crate::figures::Figures;
use crate::process::{self, Helper, Memory};

pub(crate) use self::engines::{EnginesArguments, serve_engines};
pub(crate) use self::scraper::{ScraperArguments, serve_scraper};

/// `rheostat-bench scrape`.
#[derive(Args)]
pub(crate) struct ScrapeArguments {
    /// Engines of the agent's node.
    #[arg(long, default_value_t = 8)]
    node_engines: usize,
    /// Engines that the scaler scrapes where there are no agents.
    #[arg(long, default_value_t = 500)]
    fleet_engines: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The `prometheus` program, which `cargo xtask bench scrape` finds by itself; measured without one
    /// where it is left out.
    #[arg(long, value_name = "FILE", env = "RHEOSTAT_PROMETHEUS")]
    prometheus: Option<PathBuf>,
}

/// What a process used while it scraped.
struct Cost {
    /// Of a core.
    cpu: f64,
    /// The most that was resident, MiB.
    resident: f64,
    /// Pages that the engines served.
    pages_per_second: f64,
}

/// Time for connections, allocator and caches to settle.
const WARM_UP: Duration = Duration::from_secs(10);

/// Time between two scrapes of an engine.
const PERIOD: Duration = Duration::from_secs(2);

/// Measures one after the other, so that they do not disturb each other.
pub(crate) fn run(options: &ScrapeArguments) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(compare(options))
}

async fn compare(options: &ScrapeArguments) -> Result<Figures> {
    ensure!(options.seconds > 0, "--seconds: at least 1");
    ensure!(
        (1..=1000).contains(&options.node_engines) && (1..=1000).contains(&options.fleet_engines),
        "--node-engines, --fleet-engines: from 1 to 1000"
    );
    let program = options.prometheus.as_deref();
    if program.is_none() {
        eprintln!("measured without Prometheus: none is named");
    }
    let mut figures = Figures::default();
    for (name, engines, threads) in [
        ("agent", options.node_engines, "one"),
        ("scaler", options.fleet_engines, "many"),
    ] {
        let mut served = Helper::start("serve-engines", &[format!("--engines={engines}")])?;
        let addresses = served.hear()?;
        ensure!(addresses.len() == engines, "not all engines listen");
        // That of the last, which asks for what Prometheus asks for.
        let mut compressed_cpu = f64::NAN;
        for compressed in [false, true] {
            eprintln!("{engines} engines, ours, compressed: {compressed} …");
            let arguments = [
                format!("--threads={threads}"),
                format!("--compressed={compressed}"),
            ];
            let mut scraper = Helper::start("serve-scraper", &arguments)?;
            scraper.hear()?;
            let idle = process::memory(scraper.id())?;
            scraper.tell(&addresses)?;
            let cost = measure(scraper.id(), &mut served, options.seconds).await?;
            scraper.tell(&["how is it".into()])?;
            let state = scraper.hear()?;
            ensure!(
                state == [format!("{engines} answered"), "0 failures".into()],
                "not all was scraped: {state:?}"
            );
            let prefix = if compressed {
                format!("{name}_gzip")
            } else {
                name.to_owned()
            };
            show(&mut figures, &prefix, "ours", &cost);
            figures.add(
                &format!("{prefix}_rss_added_mib"),
                cost.resident - idle.resident,
                "of it since before there was any target",
            );
            compressed_cpu = cost.cpu;
        }
        if let Some(program) = program {
            for (keep, what) in [(true, "prometheus_few"), (false, "prometheus")] {
                eprintln!("{engines} engines, {what} …");
                let prometheus = Prometheus::start(program, &addresses, keep)?;
                let cost = measure(prometheus.id(), &mut served, options.seconds).await?;
                let prefix = format!("{name}_{what}");
                let meaning = if keep {
                    "Prometheus that stores only the families that we read"
                } else {
                    "Prometheus as it is"
                };
                show(&mut figures, &prefix, meaning, &cost);
                figures.add(
                    &format!("{prefix}_cpu_ratio"),
                    cost.cpu / compressed_cpu,
                    "times the CPU of ours with gzip, which it asks for too",
                );
            }
        }
        served.tell(&["pages".into()])?;
        if let [_, bytes, compressed] = served.hear()?.as_slice() {
            figures.add(&format!("{name}_page_kib"), kib(bytes)?, "a page");
            figures.add(
                &format!("{name}_page_gzip_kib"),
                kib(compressed)?,
                "the same compressed",
            );
        }
        figures.add(
            &format!("{name}_engines"),
            engines as f64,
            "each scraped every 2 s",
        );
    }
    let (load, processors) = process::load_and_processors()?;
    figures.add("seconds", options.seconds as f64, "of each measurement");
    figures.add("processors", processors, "of this machine");
    figures.add("load_average", load, "above the processors, others disturbed");
    Ok(figures)
}

async fn measure(id: u32, engines: &mut Helper, seconds: u64) -> Result<Cost> {
    sleep(WARM_UP).await;
    let pages = |engines: &mut Helper| -> Result<f64> {
        engines.tell(&["pages".into()])?;
        let said = engines.hear()?;
        Ok(said.first().context("the engines say nothing")?.parse()?)
    };
    let (began, used, served) = (Instant::now(), process::cpu_time(id)?, pages(engines)?);
    let mut resident = 0.0_f64;
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        let Memory { resident: now, .. } = process::memory(id)?;
        resident = resident.max(now);
    }
    let elapsed = began.elapsed().as_secs_f64();
    Ok(Cost {
        cpu: process::cpu_time(id)?.saturating_sub(used).as_secs_f64() / elapsed,
        resident,
        pages_per_second: (pages(engines)? - served) / elapsed,
    })
}

fn show(figures: &mut Figures, prefix: &str, who: &str, cost: &Cost) {
    figures.add(
        &format!("{prefix}_cpu_fraction"),
        cost.cpu,
        &format!("of a core, {who}"),
    );
    figures.add(
        &format!("{prefix}_rss_mib"),
        cost.resident,
        "resident, the most in any second",
    );
    figures.add(
        &format!("{prefix}_pages_per_second"),
        cost.pages_per_second,
        "that the engines served",
    );
}

fn kib(bytes: &str) -> Result<f64> {
    Ok(bytes.parse::<f64>()? / 1024.0)
}
