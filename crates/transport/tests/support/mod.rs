//! Certificates, a gRPC server with the health service, and patience.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rheostat_transport::{
    ClientOptions, ClientSecurity, ClientTls, ConnectOptions, ListenerStats, PeerInfo, ServerOptions,
    ServerSecurity, ServerTls, connect, grpc_server, listen, serve_grpc,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A certificate authority of the test's own.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.into()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        Identity {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A folder with certificate files.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write_identity(&self, name: &str, identity: &Identity) {
        self.write(&format!("{name}.crt"), &identity.cert);
        self.write(&format!("{name}.key"), &identity.key);
    }

    /// A server of `NAME.crt`, with mTLS where `client_ca` names a file.
    pub fn server(&self, name: &str, client_ca: Option<&str>) -> ServerTls {
        let options = ServerOptions {
            cert: Some(self.path(&format!("{name}.crt"))),
            key: Some(self.path(&format!("{name}.key"))),
            client_ca: client_ca.map(|name| self.path(name)),
            ..ServerOptions::default()
        };
        match options.load().unwrap() {
            ServerSecurity::Tls(tls) => tls,
            ServerSecurity::Plaintext => panic!("certificates were given"),
        }
    }

    /// A client that trusts `ca`, with mTLS where `identity` names files.
    pub fn client(&self, ca: &str, identity: Option<&str>) -> ClientTls {
        let options = ClientOptions {
            ca: Some(self.path(ca)),
            cert: identity.map(|name| self.path(&format!("{name}.crt"))),
            key: identity.map(|name| self.path(&format!("{name}.key"))),
            ..ClientOptions::default()
        };
        match options.load().unwrap() {
            ClientSecurity::Tls(tls) => tls,
            ClientSecurity::Plaintext => panic!("a CA was given"),
        }
    }
}

/// A served health service.
pub struct Server {
    pub addr: SocketAddr,
    pub stats: Arc<ListenerStats>,
    /// Who called, in order.
    pub callers: mpsc::UnboundedReceiver<PeerInfo>,
    pub stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    pub async fn start(security: &ServerSecurity) -> Self {
        let listener = listen(LOOPBACK, security).await.unwrap();
        let (addr, stats) = (listener.local_addr(), listener.stats());
        let (callers_in, callers) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (_, health) = tonic_health::server::health_reporter();
        let health = tonic::service::interceptor::InterceptedService::new(
            health,
            move |request: tonic::Request<()>| {
                let peer = request.extensions().get::<PeerInfo>().expect("who calls").clone();
                callers_in.send(peer).unwrap();
                Ok::<_, Status>(request)
            },
        );
        let router = grpc_server().add_service(health);
        let task = tokio::spawn(serve_grpc(listener, router, async move {
            // A dropped sender lets the server go on until the runtime ends.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self {
            addr,
            stats,
            callers,
            stop: Some(stop),
            task,
        }
    }

    pub async fn start_tls(tls: &ServerTls) -> Self {
        Self::start(&ServerSecurity::Tls(tls.clone())).await
    }

    /// A new channel to `localhost`, the name in the certificates of the tests.
    pub fn channel(&self, security: &ClientSecurity) -> Channel {
        connect(
            &format!("localhost:{}", self.addr.port()),
            security,
            ConnectOptions::default(),
        )
        .unwrap()
    }

    /// Asks for the server's health over a new connection.
    pub async fn ask(&self, security: &ClientSecurity) -> Result<(), Status> {
        check(self.channel(security)).await
    }

    pub async fn ask_tls(&self, tls: &ClientTls) -> Result<(), Status> {
        self.ask(&ClientSecurity::Tls(tls.clone())).await
    }
}

pub async fn check(channel: Channel) -> Result<(), Status> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    soon(HealthClient::new(channel).check(request)).await.map(drop)
}

/// Every cause of `error`, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What should come at once, with a deadline for slow machines.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("nothing happened for a minute")
}
