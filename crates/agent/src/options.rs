use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rheostat_transport::ServerSecurity;

use crate::engines::EngineOptions;
use crate::metrics::MetricNames;
use crate::podresources::PodResourcesOptions;

/// How an agent is to run. Durations are real time, but for `stale_after`.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The Kubernetes node's name.
    pub node: String,
    /// Where snapshots are streamed.
    pub grpc_address: SocketAddr,
    /// Protection of the stream.
    pub grpc_security: ServerSecurity,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_address: SocketAddr,
    /// Protection of the HTTP port. The kubelet's probes show no certificate.
    pub http_security: ServerSecurity,
    /// Time between two snapshots.
    pub period: Duration,
    /// How the kubelet is asked.
    pub kubelet: PodResourcesOptions,
    /// Age, by the agent's clock, from which a source that failed nothing is stale all the same.
    pub stale_after: Duration,
    /// Extended resources that are GPUs besides `nvidia.com/gpu`, `nvidia.com/gpu.shared` and
    /// `nvidia.com/mig-…`.
    pub extra_resources: Vec<String>,
    /// Where the host's processes are seen, to split shared devices.
    pub proc_dir: PathBuf,
    /// The kubelet's directory of pod logs, to name the pods of processes; without it, shared
    /// devices are not split.
    pub pod_logs_dir: Option<PathBuf>,
    /// Metric names that `/metrics` gives where the request does not say.
    pub metric_names: MetricNames,
    /// Subscribers at once; more are turned away.
    pub max_subscribers: usize,
    /// How the engines are scraped that subscribers name; `None` where they are not.
    pub engines: Option<EngineOptions>,
}

/// Port of the gRPC stream.
pub const GRPC_PORT: u16 = 6001;

/// Port of `/metrics` and the probes.
pub const HTTP_PORT: u16 = 9401;

/// Where kubelets keep their PodResources socket. Its directory is to be mounted, not the socket:
/// a kubelet that restarts makes a new one.
pub const KUBELET_SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

impl AgentOptions {
    /// The defaults for `node`, with both ports unprotected.
    #[must_use]
    pub fn plaintext(node: &str) -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            node: node.to_owned(),
            grpc_address: any(GRPC_PORT),
            grpc_security: ServerSecurity::Plaintext,
            http_address: any(HTTP_PORT),
            http_security: ServerSecurity::Plaintext,
            period: Duration::from_secs(1),
            kubelet: PodResourcesOptions {
                socket: KUBELET_SOCKET.into(),
                period: Duration::from_secs(1),
                timeout: Duration::from_secs(2),
                settling: Duration::from_secs(10),
            },
            stale_after: Duration::from_secs(5),
            extra_resources: Vec::new(),
            proc_dir: "/proc".into(),
            pod_logs_dir: None,
            metric_names: MetricNames::Rheostat,
            max_subscribers: 16,
            engines: Some(EngineOptions::default()),
        }
    }
}
