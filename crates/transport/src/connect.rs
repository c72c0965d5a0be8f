use std::io;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::incoming::configure;
use crate::security::ClientSecurity;

/// How to dial and how to notice that nobody answers any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// How long name resolution, connection and TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long a call may take until its response begins; `None` leaves it to each call.
    pub request_timeout: Option<Duration>,
    /// How often the server is asked whether it is there, also when no call is running.
    pub keepalive_interval: Duration,
    /// How long it may take to answer before the connection counts as dead.
    pub keepalive_timeout: Duration,
}

impl Default for ConnectOptions {
    /// A dead node is noticed within ten seconds.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: None,
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// An address that cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `host:port`.
    #[error(
        "\"{target}\" is not an address: expected host:port, with nothing but http:// or https:// before it"
    )]
    Address {
        /// What was given.
        target: String,
    },
    /// The address asks for another protection than the client has.
    #[error("\"{target}\" contradicts the client's security: {expected}:// is needed, or no scheme")]
    Scheme {
        /// What was given.
        target: String,
        /// The scheme that fits.
        expected: &'static str,
    },
    /// The host is not a name that a certificate can have.
    #[error("\"{host}\" is neither a DNS name nor an IP address; no certificate can be checked against it")]
    Host {
        /// What was given.
        host: String,
    },
}

/// A channel to `target`, `host:port`. It connects when it is first used, again when the connection
/// is lost, each time with the certificates of that moment; failures come out of the calls.
///
/// Needs a Tokio runtime.
pub fn connect(
    target: &str,
    security: &ClientSecurity,
    options: ConnectOptions,
) -> Result<Channel, ConnectError> {
    let scheme = match security {
        ClientSecurity::Plaintext => "http",
        ClientSecurity::Tls(_) => "https",
    };
    let authority = authority(target, scheme)?;
    let (host, port) = host_and_port(&authority, target)?;
    let server_name = match security {
        ClientSecurity::Plaintext => None,
        ClientSecurity::Tls(tls) => Some(match tls.server_name() {
            Some(name) => name.clone(),
            None => {
                ServerName::try_from(host.clone()).map_err(|_| ConnectError::Host { host: host.clone() })?
            }
        }),
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query("/")
        .build()
        .map_err(|_| ConnectError::Address {
            target: target.into(),
        })?;
    let mut endpoint = Endpoint::from(uri)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true);
    if let Some(request_timeout) = options.request_timeout {
        endpoint = endpoint.timeout(request_timeout);
    }
    let security = security.clone();
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        dial(host.clone(), port, security.clone(), server_name.clone())
    })))
}

type Dialled = TokioIo<Either<TcpStream, TlsStream<TcpStream>>>;

async fn dial(
    host: String,
    port: u16,
    security: ClientSecurity,
    server_name: Option<ServerName<'static>>,
) -> io::Result<Dialled> {
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    configure(&tcp)?;
    Ok(TokioIo::new(match (security, server_name) {
        (ClientSecurity::Tls(tls), Some(name)) => {
            Either::Right(TlsConnector::from(tls.config()).connect(name, tcp).await?)
        }
        _ => Either::Left(tcp),
    }))
}

fn authority(target: &str, scheme: &'static str) -> Result<Authority, ConnectError> {
    let malformed = || ConnectError::Address {
        target: target.into(),
    };
    let rest = match target.split_once("://") {
        None => target,
        Some((given, rest)) if given == scheme => rest.strip_suffix('/').unwrap_or(rest),
        Some(("http" | "https", _)) => {
            return Err(ConnectError::Scheme {
                target: target.into(),
                expected: scheme,
            });
        }
        Some(_) => return Err(malformed()),
    };
    rest.parse().map_err(|_| malformed())
}

fn host_and_port(authority: &Authority, target: &str) -> Result<(String, u16), ConnectError> {
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match authority.port_u16() {
        Some(port) if port > 0 && !bare.is_empty() && !authority.as_str().contains('@') => {
            Ok((bare.into(), port))
        }
        _ => Err(ConnectError::Address {
            target: target.into(),
        }),
    }
}
