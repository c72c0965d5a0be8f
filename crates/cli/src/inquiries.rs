use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use rheostat_cluster::{EndpointWatch, QueueWatch, ValueWatch, WatchTiming, watch_endpoints};
use rheostat_fleet::{DcgmEndpoint, DcgmOptions, DcgmSource};
use rheostat_prometheus::{Sampler, SamplerOptions, ServersFile};
use rheostat_reading::Clock;
use rheostat_scaler::{Inquiries, Prometheus};
use rheostat_scraper::{Scraper, ScraperOptions};
use tokio::sync::watch;

use crate::scaler::named_port;

/// Whom the scaler asks by itself.
#[derive(Args)]
pub(crate) struct InquiryArguments {
    /// Whether engines are scraped whose node has no agent that does.
    #[arg(
        long,
        env = "RHEOSTAT_ENGINE_SCRAPING",
        value_name = "on|off",
        default_value = "on"
    )]
    engine_scraping: Switch,
    /// Scrapes of engines at once.
    #[arg(long, env = "RHEOSTAT_ENGINE_CONCURRENCY", value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    engine_concurrency: u16,
    /// Different targets (an engine, with a model, adapter and window) at once; further ones are refused.
    #[arg(
        long,
        env = "RHEOSTAT_ENGINE_MAX_TARGETS",
        value_name = "COUNT",
        default_value_t = 4096
    )]
    engine_max_targets: u16,
    /// Scrape loopback addresses too. For tests: a pod never has one.
    #[arg(long, env = "RHEOSTAT_ENGINE_ALLOW_LOOPBACK", hide = true)]
    engine_allow_loopback: bool,
    /// File (YAML or JSON) with the Prometheus servers that triggers may name; followed when it changes.
    /// Without it, triggers with the signal prometheus have no answer.
    #[arg(long, env = "RHEOSTAT_PROMETHEUS_CONFIG", value_name = "FILE")]
    prometheus_config: Option<PathBuf>,
    /// Time between two questions of one query, seconds.
    #[arg(long, env = "RHEOSTAT_PROMETHEUS_PERIOD", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    prometheus_period: u64,
    /// The Service of dcgm-exporter: on nodes without an agent, its pages stand in for one.
    #[arg(
        long,
        env = "RHEOSTAT_DCGM_SERVICE",
        value_name = "NAMESPACE/SERVICE:PORT-NAME"
    )]
    dcgm_service: Option<String>,
    /// What dcgm-exporter was told as its `--collect-interval`, milliseconds.
    #[arg(long, env = "RHEOSTAT_DCGM_COLLECT_INTERVAL", value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    dcgm_collect_interval: u64,
}

/// On or off.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// How often Secrets and ConfigMaps are read again: a rotated token is known by then.
const VALUE_PERIOD: Duration = Duration::from_secs(30);

impl InquiryArguments {
    /// Starts all that is asked for.
    pub(crate) fn start(self, client: &kube::Client, clock: &Clock) -> anyhow::Result<Inquiries> {
        let seed = |what: &str| std::hash::RandomState::new().hash_one(what);
        let scraper = match self.engine_scraping {
            Switch::Off => None,
            Switch::On => Some(Scraper::start(
                ScraperOptions {
                    max_targets: self.engine_max_targets.into(),
                    concurrency: self.engine_concurrency.into(),
                    allow_loopback: self.engine_allow_loopback,
                    seed: seed("engines"),
                    ..ScraperOptions::default()
                },
                clock.clone(),
            )),
        };
        let prometheus = self.prometheus_config.map(|path| {
            let options = SamplerOptions {
                period: Duration::from_secs(self.prometheus_period),
                seed: seed("prometheus"),
                ..SamplerOptions::default()
            };
            Prometheus::new(ServersFile::new(&path), Sampler::start(options, clock.clone()))
        });
        let dcgm = self
            .dcgm_service
            .map(|service| {
                let (namespace, name, port) = named_port(&service).ok_or_else(|| {
                    anyhow!("--dcgm-service {service:?} is not NAMESPACE/SERVICE:PORT-NAME, such as gpu-operator/nvidia-dcgm-exporter:gpu-metrics")
                })?;
                let found =
                    watch_endpoints(client.clone(), namespace, name, port, WatchTiming::default(), clock.clone());
                let options = DcgmOptions {
                    collect_interval: Duration::from_millis(self.dcgm_collect_interval),
                    ..DcgmOptions::default()
                };
                Ok::<_, anyhow::Error>(DcgmSource::start(options, clock.clone(), exporters(found, service.clone())))
            })
            .transpose()?;
        Ok(Inquiries {
            scraper,
            prometheus,
            dcgm,
            queues: Some(QueueWatch::start(
                client.clone(),
                WatchTiming::default(),
                clock.clone(),
            )),
            values: Some(ValueWatch::start(client.clone(), VALUE_PERIOD, clock.clone())),
        })
    }
}

/// The exporters behind `found`, as they come and go, for as long as anybody listens.
fn exporters(mut found: EndpointWatch, service: String) -> watch::Receiver<Vec<DcgmEndpoint>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        loop {
            let endpoints = found.endpoints.borrow_and_update().clone();
            if let Some(problem) = found.state.borrow_and_update().problem() {
                tracing::warn!(service, problem, "the Service of dcgm-exporter cannot be watched");
            }
            let exporters = endpoints.into_iter().filter_map(|endpoint| {
                Some(DcgmEndpoint {
                    node: endpoint.node_name?,
                    address: endpoint.address.parse().ok()?,
                    path: "/metrics".into(),
                })
            });
            if sender.send(exporters.collect()).is_err() {
                return;
            }
            tokio::select! {
                changed = found.endpoints.changed() => if changed.is_err() { return },
                changed = found.state.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}
