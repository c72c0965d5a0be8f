//! etcd, kube-apiserver, the controllers, the scheduler, KEDA and KWOK as plain processes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::pki::Authority;
use crate::cluster::api;
use crate::layout::{self, Run};
use crate::process::{Daemon, tail_about};
use crate::wait::{Seen, eventually};
use crate::{programs, sandbox};

mod kubeconfig;
mod pki;

/// How long any of the programs may take to be ready. Generous: the machine may be busy.
const READY: Duration = Duration::from_secs(120);

/// How often the HPA controller looks at each HPA (15 s where users run it).
pub(crate) const HPA_SYNC: Duration = Duration::from_secs(2);

/// How long the HPA remembers a higher recommendation where an HPA does not say it (300 s where
/// users run it).
pub(crate) const DOWNSCALE_STABILISATION: Duration = Duration::from_secs(5);

/// The user that the HPA controller calls kube-apiserver as.
pub(crate) const CONTROLLERS: &str = "system:kube-controller-manager";

/// The user that KEDA's operator calls kube-apiserver as.
pub(crate) const KEDA_OPERATOR: &str = "system:serviceaccount:keda:keda-operator";

const ETCD: u16 = 2379;
const CONTROLLER_MANAGER: u16 = 10257;
const SCHEDULER: u16 = 10259;
const KEDA_METRICS: u16 = 8080;
const KEDA_HEALTH: u16 = 8081;
const KEDA_METRICS_SERVICE: u16 = 9666;
const ADAPTER: u16 = 16443;
const ADAPTER_METRICS: u16 = 18080;
const KWOK: u16 = 10247;

/// A running control plane. Dropping it ends its programs.
pub(crate) struct ControlPlane {
    run: Run,
    authority: Authority,
    keys: PathBuf,
    daemons: Mutex<Vec<Daemon>>,
    /// A client that may do everything.
    pub(crate) client: Client,
    /// How long the start took.
    pub(crate) ready_in: Duration,
}

impl ControlPlane {
    /// Starts everything and returns when everything is ready.
    pub(crate) async fn start(run: &Run) -> Result<Self> {
        let start = Instant::now();
        let keys = run.subfolder("keys")?;
        let authority = Authority::new(&keys, "cluster-ca")?;
        let admin = kubeconfig::write(&keys, &authority, "admin", "admin", &["system:masters"])?;

        let etcd = start_etcd(run).await?;
        let api_server = start_api_server(run, &authority, &keys).await?;
        let client = connect(&admin).await?;
        let mut plane = Self {
            run: run.clone(),
            authority,
            keys,
            daemons: Mutex::new(vec![etcd, api_server]),
            client,
            ready_in: Duration::ZERO,
        };
        plane.api_server_is_ready().await?;
        let (custom_resources, others, keda) = tokio::join!(
            plane.apply_custom_resources(),
            plane.start_controllers(),
            plane.start_adapter()
        );
        custom_resources?;
        others?;
        keda?;
        plane.start_keda().await?;
        plane.external_metrics_are_served().await?;
        plane.ready_in = start.elapsed();
        Ok(plane)
    }

    /// The folder of this run.
    pub(crate) const fn run(&self) -> &Run {
        &self.run
    }

    /// Writes a kubeconfig for a user of the given name and groups; RBAC decides what it may do.
    pub(crate) fn kubeconfig(&self, file: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
        kubeconfig::write(&self.keys, &self.authority, file, user, groups)
    }

    /// The log in which kube-apiserver notes the calls that the recorder wants to know of.
    pub(crate) fn audit_log(&self) -> PathBuf {
        audit_log(&self.run)
    }

    /// Fails when one of the programs has ended.
    pub(crate) fn still_runs(&self) -> Result<()> {
        self.daemons.lock().iter_mut().try_for_each(Daemon::still_runs)
    }

    /// The ends of the logs that tell why a workload was or was not scaled.
    pub(crate) fn last_words(&self) -> String {
        self.last_words_about("")
    }

    /// The same, only of lines that contain `word`, such as the name of a namespace.
    pub(crate) fn last_words_about(&self, word: &str) -> String {
        ["keda-operator", "keda-adapter", "kube-controller-manager"]
            .map(|name| tail_about(&self.run.folder().join(format!("{name}.log")), word, 15))
            .concat()
    }

    /// What to type to look around in a control plane that was kept.
    pub(crate) fn how_to_reach(&self) -> String {
        format!(
            "the control plane stays up until interrupted; reach it with\n  \
             nsenter --target PID --net kubectl --kubeconfig {} get pods -A\n\
             where PID is that of its kube-apiserver",
            self.keys.join("admin.kubeconfig").display(),
        )
    }

    async fn api_server_is_ready(&self) -> Result<()> {
        eventually("kube-apiserver to be ready", READY, async || {
            if let Err(error) = self.still_runs() {
                return Ok(Seen::Never(error));
            }
            let request = http::Request::get("/readyz")
                .body(Vec::new())
                .context("writing a request")?;
            let answer = self
                .client
                .request_text(request)
                .await
                .context("asking /readyz")?;
            Ok(Seen::when(answer == "ok", answer))
        })
        .await
    }

    async fn apply_custom_resources(&self) -> Result<()> {
        let folder = layout::custom_resources();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry
                .with_context(|| format!("reading {}", folder.display()))?
                .path();
            let yaml =
                std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let applied = api::apply(&self.client, None, &yaml)
                .await
                .with_context(|| format!("applying {}", path.display()))?;
            names.extend(applied.into_iter().filter_map(|object| object.metadata.name));
        }
        for name in names {
            self.condition(
                "CustomResourceDefinition",
                "apiextensions.k8s.io/v1",
                &name,
                "Established",
            )
            .await?;
        }
        Ok(())
    }

    async fn start_controllers(&self) -> Result<()> {
        let masters = ["system:masters"];
        let controllers = self.kubeconfig("kube-controller-manager", CONTROLLERS, &masters)?;
        let scheduler = self.kubeconfig("kube-scheduler", "system:kube-scheduler", &masters)?;
        let kwok = self.kubeconfig("kwok", "kwok", &masters)?;
        let stages = self.keys.join("kwok.yaml");
        std::fs::write(&stages, include_str!("kwok.yaml"))
            .with_context(|| format!("writing {}", stages.display()))?;
        let names = [
            "deployment",
            "replicaset",
            "statefulset",
            "daemonset",
            "job",
            "horizontal-pod-autoscaler",
            "endpointslice",
            "namespace",
            "garbage-collector",
            "pod-garbage-collector",
            "node-lifecycle",
        ];
        let names = names.map(|name| format!("{name}-controller")).join(",");
        let mut manager = self.daemon(
            "kube-controller-manager",
            &[
                flag("kubeconfig", controllers.display()),
                flag("bind-address", "127.0.0.1"),
                flag("secure-port", CONTROLLER_MANAGER),
                flag("leader-elect", false),
                flag("controllers", names),
                flag("kube-api-qps", 200),
                flag("kube-api-burst", 400),
                flag("horizontal-pod-autoscaler-sync-period", seconds(HPA_SYNC)),
                flag(
                    "horizontal-pod-autoscaler-downscale-stabilization",
                    seconds(DOWNSCALE_STABILISATION),
                ),
            ],
            &[],
        )?;
        let mut scheduler = self.daemon(
            "kube-scheduler",
            &[
                flag("kubeconfig", scheduler.display()),
                flag("bind-address", "127.0.0.1"),
                flag("secure-port", SCHEDULER),
                flag("leader-elect", false),
            ],
            &[],
        )?;
        let mut kwok = self.daemon(
            "kwok",
            &[
                flag("kubeconfig", kwok.display()),
                flag("config", stages.display()),
                flag("manage-all-nodes", true),
                flag("node-lease-duration-seconds", 40),
                flag("cidr", sandbox::PODS),
                flag("node-ip", sandbox::NODE),
                flag("server-address", loopback(KWOK)),
            ],
            &[],
        )?;
        manager.listens(loopback(CONTROLLER_MANAGER), READY).await?;
        scheduler.listens(loopback(SCHEDULER), READY).await?;
        kwok.listens(loopback(KWOK), READY).await?;
        self.daemons.lock().extend([manager, scheduler, kwok]);
        Ok(())
    }

    /// KEDA's metrics adapter: the server of external.metrics.k8s.io.
    async fn start_adapter(&self) -> Result<()> {
        let user = "system:serviceaccount:keda:keda-metrics-server";
        let config = self.kubeconfig("keda-adapter", user, &["system:masters"])?;
        let certificates = self.keda_certificates()?;
        let mut adapter = self.daemon(
            "keda-adapter",
            &[
                flag("kubeconfig", config.display()),
                flag("lister-kubeconfig", config.display()),
                flag("authentication-kubeconfig", config.display()),
                flag("authorization-kubeconfig", config.display()),
                flag("bind-address", "127.0.0.1"),
                flag("secure-port", ADAPTER),
                flag("tls-cert-file", certificates.join("tls.crt").display()),
                flag("tls-private-key-file", certificates.join("tls.key").display()),
                flag("client-ca-file", self.authority.certificate.display()),
                flag("cert-dir", certificates.display()),
                flag(
                    "metrics-service-address",
                    format!("localhost:{KEDA_METRICS_SERVICE}"),
                ),
                flag("port", ADAPTER_METRICS),
            ],
            &KEDA_ENVIRONMENT,
        )?;
        adapter.listens(loopback(ADAPTER), READY).await?;
        self.daemons.lock().push(adapter);
        Ok(())
    }

    /// KEDA's operator, once its custom resources are known.
    async fn start_keda(&self) -> Result<()> {
        let config = self.kubeconfig("keda-operator", KEDA_OPERATOR, &["system:masters"])?;
        let certificates = self.keda_certificates()?;
        let mut operator = self.daemon(
            "keda-operator",
            &[
                flag("kubeconfig", config.display()),
                flag("cert-dir", certificates.display()),
                flag("enable-cert-rotation", false),
                flag("metrics-bind-address", loopback(KEDA_METRICS)),
                flag("health-probe-bind-address", loopback(KEDA_HEALTH)),
                flag("metrics-service-bind-address", loopback(KEDA_METRICS_SERVICE)),
                flag("zap-log-level", "debug"),
            ],
            &KEDA_ENVIRONMENT,
        )?;
        operator.listens(loopback(KEDA_HEALTH), READY).await?;
        operator.listens(loopback(KEDA_METRICS_SERVICE), READY).await?;
        self.daemons.lock().push(operator);
        Ok(())
    }

    /// The folder of the certificates that KEDA's two programs know each other by.
    fn keda_certificates(&self) -> Result<PathBuf> {
        let folder = self.run.subfolder("keys/keda")?;
        if folder.join("tls.crt").exists() {
            return Ok(folder);
        }
        let mut names = pki::local(Ipv4Addr::LOCALHOST);
        names.push("keda-metrics-apiserver.keda.svc".to_owned());
        let pair = self.authority.issue("keda", "keda", &[], &names)?;
        copy(&pair.certificate, &folder.join("tls.crt"))?;
        copy(&pair.key, &folder.join("tls.key"))?;
        copy(&self.authority.certificate, &folder.join("ca.crt"))?;
        Ok(folder)
    }

    /// Has kube-apiserver hand external.metrics.k8s.io to the adapter. Only now that the adapter
    /// serves: a failed discovery is tried again only after half a minute.
    async fn external_metrics_are_served(&self) -> Result<()> {
        api::apply(&self.client, None, include_str!("external-metrics.yaml")).await?;
        let name = "v1beta1.external.metrics.k8s.io";
        self.condition("APIService", "apiregistration.k8s.io/v1", name, "Available")
            .await
    }

    async fn condition(&self, kind: &str, version: &str, name: &str, condition: &str) -> Result<()> {
        eventually(&format!("{kind} {name} to be {condition}"), READY, async || {
            let object = api::get(&self.client, version, kind, None, name).await?;
            let status = api::condition(&object, condition).map(|found| found.status);
            Ok(Seen::when(
                status.as_deref() == Some("True"),
                object.data.get("status"),
            ))
        })
        .await
        .with_context(|| self.last_words())
    }

    fn daemon(&self, name: &str, flags: &[String], environment: &[(&str, &str)]) -> Result<Daemon> {
        Daemon::start(name, &programs::path(name), flags, environment, self.run.folder())
    }
}

/// Both of KEDA's programs want the first to be set, even if empty.
const KEDA_ENVIRONMENT: [(&str, &str); 3] = [
    ("WATCH_NAMESPACE", ""),
    ("KEDA_CLUSTER_OBJECT_NAMESPACE", "keda"),
    ("POD_NAMESPACE", "keda"),
];

async fn start_etcd(run: &Run) -> Result<Daemon> {
    let client = format!("http://{}", loopback(ETCD));
    let mut etcd = Daemon::start(
        "etcd",
        &programs::path("etcd"),
        [
            flag("data-dir", run.folder().join("etcd").display()),
            flag("listen-client-urls", &client),
            flag("advertise-client-urls", &client),
            flag("listen-peer-urls", "http://127.0.0.1:2380"),
            flag("unsafe-no-fsync", true),
            flag("log-level", "warn"),
        ],
        &[],
        run.folder(),
    )?;
    etcd.listens(loopback(ETCD), READY).await?;
    Ok(etcd)
}

async fn start_api_server(run: &Run, authority: &Authority, keys: &Path) -> Result<Daemon> {
    let address = sandbox::API_SERVER;
    let serving = authority.issue("kube-apiserver", "kube-apiserver", &[], &pki::local(address))?;
    let front_proxy = Authority::new(keys, "front-proxy-ca")?;
    let aggregator = front_proxy.issue("aggregator", "aggregator", &[], &[])?;
    let tokens = pki::bare_key(keys, "service-accounts")?;
    let policy = keys.join("audit-policy.yaml");
    std::fs::write(&policy, include_str!("audit-policy.yaml"))
        .with_context(|| format!("writing {}", policy.display()))?;
    let mut server = Daemon::start(
        "kube-apiserver",
        &programs::path("kube-apiserver"),
        [
            flag("etcd-servers", format!("http://{}", loopback(ETCD))),
            flag("bind-address", address),
            flag("advertise-address", address),
            flag("secure-port", kubeconfig::PORT),
            flag("cert-dir", keys.display()),
            flag("tls-cert-file", serving.certificate.display()),
            flag("tls-private-key-file", serving.key.display()),
            flag("client-ca-file", authority.certificate.display()),
            flag("authorization-mode", "RBAC"),
            flag("disable-admission-plugins", "ServiceAccount"),
            flag("service-cluster-ip-range", "10.78.0.0/24"),
            flag("service-account-issuer", "https://kubernetes.default.svc"),
            flag("service-account-key-file", tokens.public.display()),
            flag("service-account-signing-key-file", tokens.private.display()),
            flag("requestheader-client-ca-file", front_proxy.certificate.display()),
            flag("requestheader-allowed-names", "aggregator"),
            flag("requestheader-username-headers", "X-Remote-User"),
            flag("requestheader-group-headers", "X-Remote-Group"),
            flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            flag("proxy-client-cert-file", aggregator.certificate.display()),
            flag("proxy-client-key-file", aggregator.key.display()),
            flag("audit-policy-file", policy.display()),
            flag("audit-log-path", audit_log(run).display()),
        ],
        &[],
        run.folder(),
    )?;
    server
        .listens(SocketAddr::new(address.into(), kubeconfig::PORT), READY)
        .await?;
    Ok(server)
}

fn audit_log(run: &Run) -> PathBuf {
    run.folder().join("audit.log")
}

/// A client for the user of a kubeconfig.
pub(crate) async fn connect(kubeconfig: &Path) -> Result<Client> {
    let what = || format!("connecting as {} says", kubeconfig.display());
    let content = Kubeconfig::read_from(kubeconfig).with_context(what)?;
    let config = Config::from_custom_kubeconfig(content, &KubeConfigOptions::default())
        .await
        .with_context(what)?;
    Client::try_from(config).with_context(what)
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}
