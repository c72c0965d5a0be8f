use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rheostat_agent::{
    AgentOptions, EngineOptions, GRPC_PORT, HTTP_PORT, KUBELET_SOCKET, MetricNames, PodResourcesOptions,
};
use rheostat_gpu::SamplerOptions;
use rheostat_reading::Clock;
use rheostat_transport::ServerSecurity;

use crate::inquiries::Switch;
use crate::security::server_arguments;
use crate::stop;

/// `rheostat agent`.
#[derive(Args)]
pub(crate) struct AgentArguments {
    /// Name of this node in Kubernetes.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: String,
    /// Where snapshots are streamed.
    #[arg(long, env = "RHEOSTAT_GRPC_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::from(([0, 0, 0, 0], GRPC_PORT)))]
    grpc_listen: SocketAddr,
    #[command(flatten)]
    grpc: GrpcSecurity,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "RHEOSTAT_HTTP_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::from(([0, 0, 0, 0], HTTP_PORT)))]
    http_listen: SocketAddr,
    #[command(flatten)]
    http: HttpSecurity,
    /// The kubelet's PodResources socket; mount its directory, since a kubelet that restarts makes a
    /// new one.
    #[arg(long, env = "RHEOSTAT_KUBELET_SOCKET", value_name = "FILE", default_value = KUBELET_SOCKET)]
    kubelet_socket: PathBuf,
    /// NVML's library, where it is not found by itself.
    #[arg(long, env = "RHEOSTAT_NVML_LIBRARY", value_name = "FILE")]
    nvml_library: Option<PathBuf>,
    /// Milliseconds between two snapshots. What is 5 s old counts as stale.
    #[arg(long, env = "RHEOSTAT_PERIOD_MS", value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=2_000))]
    period_ms: u32,
    /// Extended resource that is a GPU besides nvidia.com/gpu, nvidia.com/gpu.shared and
    /// nvidia.com/mig-…; may be repeated.
    #[arg(
        long = "resource",
        env = "RHEOSTAT_RESOURCES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    resources: Vec<String>,
    /// The kubelet's directory of pod logs (/var/log/pods), to tell sharers of a GPU apart; needs the
    /// host's process ids too.
    #[arg(long, env = "RHEOSTAT_POD_LOGS_DIR", value_name = "DIR")]
    pod_logs_dir: Option<PathBuf>,
    /// Names of the metrics on /metrics.
    #[arg(
        long,
        env = "RHEOSTAT_METRIC_NAMES",
        value_name = "NAMES",
        default_value = "rheostat"
    )]
    metric_names: Names,
    #[command(flatten)]
    engines: EngineArguments,
}

/// Which engines are scraped the scaler says, on the stream; it takes their addresses from pods that
/// its triggers' targets select.
#[derive(Args)]
struct EngineArguments {
    /// Whether the inference engines of this node's pods are scraped that a scaler names. Where they
    /// are not, the scaler scrapes them itself.
    #[arg(
        long,
        env = "RHEOSTAT_ENGINE_SCRAPING",
        value_name = "on|off",
        default_value = "on"
    )]
    engine_scraping: Switch,
    /// Scrapes of engines at once.
    #[arg(long, env = "RHEOSTAT_ENGINE_CONCURRENCY", value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    engine_concurrency: u16,
    /// Different targets (an engine, with a model, adapter and window) at once; further ones are refused.
    #[arg(long, env = "RHEOSTAT_ENGINE_MAX_TARGETS", value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=8192))]
    engine_max_targets: u16,
    /// Scrape loopback addresses too. For tests: a pod never has one.
    #[arg(long, env = "RHEOSTAT_ENGINE_ALLOW_LOOPBACK", hide = true)]
    engine_allow_loopback: bool,
}

server_arguments! {
    /// Protection of the gRPC port.
    GrpcSecurity, "", "RHEOSTAT_"
}

server_arguments! {
    /// Protection of the HTTP port.
    HttpSecurity, "http-", "RHEOSTAT_HTTP_"
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    /// Rheostat's own, in base units.
    Rheostat,
    /// Those of dcgm-exporter, for dashboards that exist already.
    Dcgm,
    /// Both.
    Both,
}

impl EngineArguments {
    fn options(&self) -> Option<EngineOptions> {
        match self.engine_scraping {
            Switch::On => Some(EngineOptions {
                max_targets: self.engine_max_targets.into(),
                concurrency: self.engine_concurrency.into(),
                allow_loopback: self.engine_allow_loopback,
                ..EngineOptions::default()
            }),
            Switch::Off => None,
        }
    }
}

/// Runs until it is asked to stop.
pub(crate) fn run(arguments: AgentArguments) -> anyhow::Result<()> {
    // One thread serves a handful of subscribers; NVML has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = stop::on_signal()?;
        let period = Duration::from_millis(arguments.period_ms.into());
        let gpus = SamplerOptions {
            library: arguments.nvml_library,
            fast_period: period,
            ..SamplerOptions::default()
        };
        let defaults = AgentOptions::plaintext(&arguments.node);
        let options = AgentOptions {
            grpc_address: arguments.grpc_listen,
            grpc_security: arguments.grpc.load().context("gRPC port")?,
            http_address: arguments.http_listen,
            http_security: arguments.http.load().context("HTTP port")?,
            period,
            kubelet: PodResourcesOptions {
                socket: arguments.kubelet_socket,
                period,
                ..defaults.kubelet.clone()
            },
            extra_resources: arguments.resources,
            pod_logs_dir: arguments.pod_logs_dir,
            metric_names: match arguments.metric_names {
                Names::Rheostat => MetricNames::Rheostat,
                Names::Dcgm => MetricNames::Dcgm,
                Names::Both => MetricNames::Both,
            },
            engines: arguments.engines.options(),
            ..defaults
        };
        if options.engines.is_some() && matches!(options.grpc_security, ServerSecurity::Plaintext) {
            tracing::warn!(
                "the gRPC port is plaintext and engines are scraped: whoever reaches it can have this agent \
                 fetch metrics from pods; use TLS with --tls-client-ca, or --engine-scraping off"
            );
        }
        rheostat_agent::run(options, gpus, Clock::system(), shutdown).await?;
        Ok(())
    })
}
