use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use rheostat_cluster::{WatchOptions, WatchTiming, watch_cluster, watch_endpoints};
use rheostat_decisions::DecisionLog;
use rheostat_fleet::{AgentEndpoint, Fleet, FleetOptions};
use rheostat_reading::Clock;
use rheostat_scaler::{GRPC_PORT, HTTP_PORT, Scaler, ScalerOptions};
use tokio::sync::watch;

use crate::agreement::AgreementArguments;
use crate::inquiries::InquiryArguments;
use crate::security::{client_arguments, server_arguments};
use crate::stop;

/// `rheostat scaler`.
#[derive(Args)]
pub(crate) struct ScalerArguments {
    /// Where KEDA calls.
    #[arg(long, env = "RHEOSTAT_GRPC_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::from(([0, 0, 0, 0], GRPC_PORT)))]
    grpc_listen: SocketAddr,
    #[command(flatten)]
    grpc: GrpcSecurity,
    /// Where /metrics, /healthz, /readyz and /v1 are served.
    #[arg(long, env = "RHEOSTAT_HTTP_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::from(([0, 0, 0, 0], HTTP_PORT)))]
    http_listen: SocketAddr,
    #[command(flatten)]
    http: HttpSecurity,
    #[command(flatten)]
    agents: Agents,
    #[command(flatten)]
    agent_security: AgentSecurity,
    /// Look only at ScaledObjects of this namespace; may be repeated. All namespaces where it is
    /// left out.
    #[arg(
        long = "namespace",
        env = "RHEOSTAT_NAMESPACES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    #[command(flatten)]
    inquiries: InquiryArguments,
    #[command(flatten)]
    decision_log: DecisionLogArguments,
    #[command(flatten)]
    agreement: AgreementArguments,
}

/// Where decisions by ScalingPolicies are logged on disk.
#[derive(Args)]
struct DecisionLogArguments {
    /// Log every decision by a ScalingPolicy to files of this directory, which is made where it is not there.
    /// Each scaler needs one of its own. `rheostat explain --replay` reads it. In memory alone where it is
    /// left out.
    #[arg(long, env = "RHEOSTAT_DECISION_LOG", value_name = "DIR")]
    decision_log: Option<PathBuf>,
    /// The most that these files take together; the oldest go. At least 1 MiB (1048576).
    #[arg(
        long,
        env = "RHEOSTAT_DECISION_LOG_SIZE",
        value_name = "BYTES",
        default_value_t = DECISION_LOG_SIZE,
        requires = "decision_log"
    )]
    decision_log_size: u64,
}

/// 256 MiB: a day of a workload with ten pods and some more.
const DECISION_LOG_SIZE: u64 = 256 * 1024 * 1024;

impl DecisionLogArguments {
    fn open(self) -> anyhow::Result<DecisionLog> {
        match self.decision_log {
            Some(directory) => DecisionLog::on_disk(&directory, self.decision_log_size)
                .context("--decision-log and --decision-log-size"),
            None => Ok(DecisionLog::in_memory()),
        }
    }
}

/// Where the agents are.
#[derive(Args)]
#[group(multiple = false)]
struct Agents {
    /// The agents' headless Service.
    #[arg(
        long,
        env = "RHEOSTAT_AGENTS_SERVICE",
        value_name = "NAMESPACE/SERVICE:PORT-NAME",
        default_value = "rheostat/rheostat-agent:grpc"
    )]
    agents_service: String,
    /// The agents' addresses, where they are no Service; may be repeated.
    #[arg(
        long = "agent",
        env = "RHEOSTAT_AGENTS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    agents: Vec<String>,
}

server_arguments! {
    /// Protection of the gRPC port.
    GrpcSecurity, "", "RHEOSTAT_"
}

server_arguments! {
    /// Protection of the HTTP port.
    HttpSecurity, "http-", "RHEOSTAT_HTTP_"
}

client_arguments! {
    /// Protection of the connections to the agents.
    AgentSecurity, "agent-", "RHEOSTAT_AGENT_"
}

/// Runs until it is asked to stop.
pub(crate) fn run(arguments: ScalerArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = stop::on_signal()?;
        let clock = Clock::system();
        let mut options = ScalerOptions {
            grpc_address: arguments.grpc_listen,
            grpc_security: arguments.grpc.load().context("gRPC port")?,
            http_address: arguments.http_listen,
            http_security: arguments.http.load().context("HTTP port")?,
            decisions: Arc::new(arguments.decision_log.open()?),
            ..ScalerOptions::plaintext()
        };
        let client = kube::Client::try_default()
            .await
            .context("no Kubernetes API to talk to")?;
        let watch = WatchOptions {
            namespaces: arguments.namespaces,
            ..WatchOptions::default()
        };
        let (cluster, _cluster_guard) = watch_cluster(client.clone(), watch, clock.clone());
        let inquiries = arguments.inquiries.start(&client, &clock)?;
        let (endpoints, _endpoints_guard) = find_agents(arguments.agents, client.clone(), clock.clone())?;
        let security = arguments
            .agent_security
            .load()
            .context("connections to the agents")?;
        let fleet = Fleet::start(FleetOptions::new(security), clock.clone(), endpoints);
        let (agreement, steward) = arguments.agreement.start(client, clock.clone(), shutdown.clone());
        options.agreement = Some(agreement);
        let scaler = Scaler::start(options, clock, cluster, fleet, inquiries, shutdown).await?;
        tracing::info!(grpc = %scaler.grpc_address(), http = %scaler.http_address(), "scaler started");
        let finished = scaler.finished().await;
        // What is left to write is written, and the lease given back, however the scaler ended.
        steward.finished().await.context("what was left to write")?;
        finished?;
        Ok(())
    })
}

/// Ends the search for agents when it is dropped.
struct SearchGuard {
    _task: Option<tokio_util::task::AbortOnDropHandle<()>>,
    _fixed: Option<watch::Sender<Vec<AgentEndpoint>>>,
}

/// The agents' addresses as they come and go.
fn find_agents(
    agents: Agents,
    client: kube::Client,
    clock: Clock,
) -> anyhow::Result<(watch::Receiver<Vec<AgentEndpoint>>, SearchGuard)> {
    if !agents.agents.is_empty() {
        let fixed = agents
            .agents
            .into_iter()
            .map(|address| AgentEndpoint { address, node: None })
            .collect();
        let (sender, receiver) = watch::channel(fixed);
        return Ok((
            receiver,
            SearchGuard {
                _task: None,
                _fixed: Some(sender),
            },
        ));
    }
    let service = agents.agents_service;
    let (namespace, name, port) = named_port(&service).ok_or_else(|| {
        anyhow!("--agents-service {service:?} is not NAMESPACE/SERVICE:PORT-NAME, such as rheostat/rheostat-agent:grpc")
    })?;
    let found = watch_endpoints(client, namespace, name, port, WatchTiming::default(), clock);
    let service = service.clone();
    let (sender, receiver) = watch::channel(Vec::new());
    let task = tokio::spawn(async move {
        // All of it: the watch ends with what the task would otherwise leave behind.
        let mut found = found;
        loop {
            let endpoints = found.endpoints.borrow_and_update().clone();
            match found.state.borrow_and_update().problem() {
                Some(problem) => tracing::warn!(service, problem, "the agents' Service cannot be watched"),
                None if endpoints.is_empty() => {
                    tracing::warn!(service, "no agents: no GPU signal can be answered");
                }
                None => tracing::info!(service, agents = endpoints.len(), "agents found"),
            }
            let endpoints = endpoints
                .into_iter()
                .map(|endpoint| AgentEndpoint {
                    address: endpoint.address,
                    node: endpoint.node_name,
                })
                .collect();
            if sender.send(endpoints).is_err() {
                return;
            }
            let changed = tokio::select! {
                changed = found.endpoints.changed() => changed,
                changed = found.state.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    });
    let guard = SearchGuard {
        _task: Some(tokio_util::task::AbortOnDropHandle::new(task)),
        _fixed: None,
    };
    Ok((receiver, guard))
}

/// `NAMESPACE/SERVICE:PORT-NAME` in its parts.
pub(crate) fn named_port(service: &str) -> Option<(&str, &str, &str)> {
    let (namespace, rest) = service.split_once('/')?;
    let (name, port) = rest.split_once(':')?;
    let complete = ![namespace, name, port].iter().any(|part| part.is_empty());
    complete.then_some((namespace, name, port))
}
