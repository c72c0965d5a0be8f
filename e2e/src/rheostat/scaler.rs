//! Real scalers: each a process of its own, with the rights that `deploy/rbac.yaml` gives.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cluster::{Case, PATIENCE};
use crate::fetch::fetch;
use crate::manifest;
use crate::process::Daemon;
use crate::wait::{Seen, eventually};

/// The port that KEDA calls.
const GRPC: u16 = 6000;

/// The port of `/metrics`, the probes and `/v1`.
const HTTP: u16 = 8080;

/// The namespace and the name of the scaler's service account.
const NAMESPACE: &str = "rheostat";
const ACCOUNT: &str = "rheostat-scaler";

/// How long a scaler may take to end once it is asked to: the kubelet's default.
const TERMINATION: Duration = Duration::from_secs(30);

/// How long KEDA may take a name to mean what it did: Go reads `/etc/hosts` again after 5 s, no
/// sooner, and grpc-go looks a name up again only when a connection ends. In a cluster it is the
/// cluster's DNS that lags, which is what `minReadySeconds` in `deploy/scaler.yaml` is for.
const NAME_CACHE: Duration = Duration::from_secs(6);

/// For the scalers of tests without engines.
const NO_ENGINES: &str = "--engine-scraping=off";

/// Where a scaler is to find the agents.
#[derive(Clone, Debug)]
pub(crate) enum Agents {
    /// There are none; the scaler looks for the Service that `deploy/` names.
    None,
    /// At these addresses.
    At(Vec<SocketAddr>),
    /// Behind a headless Service of the namespace `rheostat`, on its port `grpc`.
    Service(String),
}

/// A running scaler. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scaler {
    daemon: Daemon,
    address: IpAddr,
}

impl Scaler {
    /// Starts a scaler at an address of its own and returns once it is ready. It logs to `NAME.log`
    /// in the test's folder. It sees the test's namespace and those of `neighbours`.
    pub(crate) async fn start(
        case: &Case,
        neighbours: &[&Case],
        name: &str,
        agents: &Agents,
    ) -> Result<Self> {
        let more: Vec<String> = neighbours
            .iter()
            .map(|neighbour| format!("--namespace={}", neighbour.namespace))
            .chain([NO_ENGINES.to_owned()])
            .collect();
        Self::with(case, name, agents, &more).await
    }

    /// The same, with these arguments besides the usual ones.
    ///
    /// It sees the test's own namespace and agrees with the test's other scalers by a Lease there: the scalers
    /// of other tests must neither ask its engines nor write of its policies.
    async fn with(case: &Case, name: &str, agents: &Agents, more: &[String]) -> Result<Self> {
        case.apply(include_str!("../../../deploy/rbac.yaml"))
            .await
            .context("applying deploy/rbac.yaml")?;
        allow_lease(case).await?;
        let config = case.cluster.control_plane.kubeconfig(
            &format!("{}-{name}", case.namespace),
            &format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}"),
            &["system:serviceaccounts", "system:serviceaccounts:rheostat"],
        )?;
        let config = config.to_str().context("a path that is not valid UTF-8")?;
        let address = case.cluster.address();
        let mut arguments = vec![
            "scaler".to_owned(),
            format!("--grpc-listen={address}:{GRPC}"),
            format!("--http-listen={address}:{HTTP}"),
            "--plaintext".to_owned(),
            "--http-plaintext".to_owned(),
            "--agent-plaintext".to_owned(),
            format!("--namespace={}", case.namespace),
            format!("--lease-namespace={}", case.namespace),
            format!("--pod-name={name}"),
        ];
        match agents {
            Agents::None => {}
            Agents::At(addresses) => {
                arguments.extend(addresses.iter().map(|address| format!("--agent={address}")));
            }
            Agents::Service(service) => {
                arguments.push(format!("--agents-service={NAMESPACE}/{service}:grpc"));
            }
        }
        arguments.extend_from_slice(more);
        let environment = [
            ("KUBECONFIG", config),
            ("RHEOSTAT_LOG", LOG),
            ("RHEOSTAT_LOG_FORMAT", "json"),
        ];
        let mut scaler = Self {
            daemon: Daemon::start(name, &program()?, arguments, &environment, &case.folder)?,
            address,
        };
        scaler.is_ready().await?;
        Ok(scaler)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// What a trigger names as `scalerAddress` where this is the only scaler.
    pub(crate) fn grpc(&self) -> SocketAddr {
        SocketAddr::new(self.address, GRPC)
    }

    /// Why the number of a ScaledObject is what it is, as `rheostat explain` says it; what went wrong
    /// where the scaler does not say.
    pub(crate) async fn explain(&self, namespace: &str, name: &str) -> String {
        match self.get(&format!("/v1/workloads/{namespace}/{name}")).await {
            Ok((_, text)) => text,
            Err(error) => format!("the scaler at {} does not explain: {error:#}", self.address),
        }
    }

    /// The samples on `/metrics` that mention `word`; what went wrong where there is no page.
    pub(crate) async fn page_about(&self, word: &str) -> String {
        match self.get("/metrics").await {
            Ok((_, page)) => page
                .lines()
                .filter(|line| !line.starts_with('#') && line.contains(word))
                .fold(String::new(), |text, line| text + line + "\n"),
            Err(error) => format!("no page of {}: {error:#}\n", self.address),
        }
    }

    /// The sum of the samples on `/metrics` whose name and labels begin with `series`, such as
    /// `rheostat_scaler_keda_calls_total{method="IsActive"`.
    pub(crate) async fn metric(&self, series: &str) -> Result<f64> {
        let (status, page) = self.get("/metrics").await?;
        ensure!(status == 200, "/metrics answered {status}: {page}");
        let mut sum = 0.0;
        for line in page.lines().filter(|line| line.starts_with(series)) {
            let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
            sum += value
                .with_context(|| format!("{line:?} is no sample"))?
                .with_context(|| format!("the value of {line:?}"))?;
        }
        Ok(sum)
    }

    /// The status and the text that the HTTP port answers at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String)> {
        fetch(SocketAddr::new(self.address, HTTP), path).await
    }

    /// Asks it to end, as the kubelet does, and waits until it has.
    pub(crate) async fn stop(self) -> Result<()> {
        self.daemon.stop(TERMINATION).await
    }

    /// Ends it at once, as the death of its node does.
    pub(crate) async fn kill(self) -> Result<()> {
        self.daemon.kill().await
    }

    /// Fails when it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        self.daemon.still_runs()
    }

    async fn is_ready(&mut self) -> Result<()> {
        self.daemon
            .listens(SocketAddr::new(self.address, HTTP), PATIENCE)
            .await?;
        let ready = eventually("the scaler to be ready", PATIENCE, async || {
            let (status, text) = self.get("/readyz").await?;
            Ok(Seen::when(status == 200, text))
        });
        ready.await.with_context(|| self.daemon.last_words())
    }
}

/// Gives the scalers in the test's own namespace the rights that `deploy/rbac.yaml` gives them in theirs.
async fn allow_lease(case: &Case) -> Result<()> {
    let mut roles = manifest::documents(include_str!("../../../deploy/rbac.yaml"))?;
    roles.retain(|object| object["kind"] == "Role" || object["kind"] == "RoleBinding");
    ensure!(!roles.is_empty(), "deploy/rbac.yaml has no Role");
    for mut role in roles {
        role["metadata"]["namespace"] = Value::from(case.namespace.as_str());
        case.apply(&role.to_string()).await?;
    }
    Ok(())
}

/// Several scalers behind one name, as a headless Service has them.
pub(crate) struct Scalers {
    case: Case,
    agents: Agents,
    /// Arguments that each of them has besides the usual ones.
    more: Vec<String>,
    started: usize,
    /// Those that the name means.
    pub(crate) running: Vec<Scaler>,
}

impl Scalers {
    /// Starts `count` scalers.
    pub(crate) async fn start(case: &Case, count: usize, agents: Agents) -> Result<Self> {
        Self::with(case, count, agents, vec![NO_ENGINES.to_owned()]).await
    }

    /// The same, each with these arguments besides the usual ones.
    pub(crate) async fn with(case: &Case, count: usize, agents: Agents, more: Vec<String>) -> Result<Self> {
        let mut scalers = Self {
            case: case.clone(),
            agents,
            more,
            started: 0,
            running: Vec::new(),
        };
        for _ in 0..count {
            scalers.start_one().await?;
        }
        tokio::time::sleep(NAME_CACHE).await;
        Ok(scalers)
    }

    /// What triggers name as `scalerAddress`.
    pub(crate) fn address(&self) -> String {
        format!("dns:///{}:{GRPC}", self.name())
    }

    /// Starts one more and returns once KEDA will find it when it looks the name up.
    pub(crate) async fn add(&mut self) -> Result<()> {
        self.start_one().await?;
        tokio::time::sleep(NAME_CACHE).await;
        Ok(())
    }

    /// Starts one more, which the name means once it is ready.
    async fn start_one(&mut self) -> Result<()> {
        let name = format!("scaler-{}", self.started);
        self.started += 1;
        let scaler = Scaler::with(&self.case, &name, &self.agents, &self.more).await?;
        self.running.push(scaler);
        self.publish()
    }

    /// Takes the one at `index` out of the name and then asks it to end, as happens to a pod that
    /// is deleted.
    pub(crate) async fn retire(&mut self, index: usize) -> Result<()> {
        ensure!(index < self.running.len(), "there is no scaler {index}");
        let scaler = self.running.remove(index);
        self.publish()?;
        scaler.stop().await
    }

    /// Ends the one at `index` at once; only afterwards the name no longer means it.
    pub(crate) async fn kill(&mut self, index: usize) -> Result<()> {
        ensure!(index < self.running.len(), "there is no scaler {index}");
        self.running.remove(index).kill().await?;
        self.publish()
    }

    /// Fails when one of them has ended.
    pub(crate) fn still_run(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(Scaler::still_runs)
    }

    /// Waits until KEDA holds a push stream to one of them, and says to which.
    pub(crate) async fn holder_of_push(&self) -> Result<usize> {
        eventually("KEDA to open a stream of activity", PATIENCE, async || {
            for (index, scaler) in self.running.iter().enumerate() {
                if scaler.metric(PUSH_STREAMS).await? > 0.0 {
                    return Ok(Seen::Yes(index));
                }
            }
            Ok(Seen::NotYet("none is open".to_owned()))
        })
        .await
    }

    /// What the scalers say of a ScaledObject of the test's namespace.
    pub(crate) async fn explain(&self, name: &str) -> String {
        let mut text = String::new();
        for scaler in &self.running {
            text.push_str(&scaler.explain(&self.case.namespace, name).await);
            text.push('\n');
        }
        text
    }

    fn name(&self) -> String {
        format!("{ACCOUNT}.{}.svc", self.case.namespace)
    }

    fn publish(&self) -> Result<()> {
        let addresses: Vec<IpAddr> = self.running.iter().map(Scaler::address).collect();
        self.case.cluster.hosts.set(&self.name(), &addresses)
    }
}

/// The number of streams by which a scaler pushes activity.
pub(crate) const PUSH_STREAMS: &str = "rheostat_scaler_push_streams{method=\"StreamIsActive\"}";

/// What a scaler logs: each push message, besides what it logs in production.
const LOG: &str = "info,rheostat_scaler::keda=debug";

/// The `rheostat` binary: cargo puts it beside this program.
pub(crate) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program's own path")?;
    let program = own.with_file_name("rheostat");
    ensure!(
        program.exists(),
        "{} is missing; build it with `cargo build -p rheostat`",
        program.display()
    );
    Ok(program)
}
