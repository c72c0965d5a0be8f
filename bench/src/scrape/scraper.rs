//! The process that is measured: our scraper, with the runtime that the agent or the scaler has.

use std::time::Duration;

use anyhow::Result;
use clap::{ArgAction, Args, ValueEnum};
use rheostat_engines::{Endpoint, EngineChoice, Scheme, Target, View};
use rheostat_reading::Clock;
use rheostat_scraper::{Scraper, ScraperOptions};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::engines::say;
use crate::process;

/// `rheostat-bench serve-scraper`.
#[derive(Args)]
pub(crate) struct ScraperArguments {
    /// Threads of the runtime: one as in the agent, many as in the scaler.
    #[arg(long)]
    threads: Threads,
    /// Whether engines may compress.
    #[arg(long, action = ArgAction::Set)]
    compressed: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Threads {
    One,
    Many,
}

/// Hears the engines' addresses, scrapes them, and says how that goes whenever it is told anything.
pub(crate) fn serve_scraper(options: &ScraperArguments) -> Result<()> {
    let mut builder = match options.threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Many => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let end = CancellationToken::new();
    let entered = runtime.enter();
    let scraper = Scraper::start(
        ScraperOptions {
            allow_loopback: true,
            max_targets: usize::MAX,
            compressed: options.compressed,
            ..ScraperOptions::default()
        },
        Clock::system(),
    );
    drop(entered);
    say(["ready".into()]);
    let orders = {
        let end = end.clone();
        move || -> Result<()> {
            let targets = process::told()?
                .iter()
                .map(|address| target(address))
                .collect::<Result<Vec<_>>>()?;
            scraper.set_targets(targets.into_iter().map(|target| (target.id(), target)));
            while process::told().is_ok() {
                let reports = scraper.board().all();
                let answered = reports.iter().filter(|(_, report)| {
                    report.failure.is_none() && report.readings.iter().any(|(_, reading)| reading.is_ok())
                });
                let failures: u64 = scraper.stats().failures().map(|(_, count)| count.get()).sum();
                say([
                    format!("{} answered", answered.count()),
                    format!("{failures} failures"),
                ]);
            }
            end.cancel();
            Ok(())
        }
    };
    let orders = std::thread::spawn(orders);
    runtime.block_on(end.cancelled());
    orders.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
}

fn target(address: &str) -> Result<Target> {
    Ok(Target {
        endpoint: Endpoint {
            address: address.parse()?,
            pod_uid: String::new(),
            scheme: Scheme::Http,
            path: None,
            bearer: None,
            engine: EngineChoice::Recognise,
            period: super::PERIOD,
        },
        view: View {
            model: None,
            adapter: None,
            window: Duration::from_secs(60),
        },
        owner: format!("team-a/{address}"),
    })
}
