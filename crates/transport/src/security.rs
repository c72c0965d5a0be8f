use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use crate::listen::Protocol;
use crate::material::{ClientPaths, MaterialError, ServerPaths};
use crate::reload::{ReloadStatus, Reloaded};

/// How a listener protects its connections. Cheap to clone; clones share the certificates.
#[derive(Clone, Debug)]
pub enum ServerSecurity {
    /// Not at all.
    Plaintext,
    /// By TLS.
    Tls(ServerTls),
}

/// How a client protects its connections. Cheap to clone; clones share the certificates.
#[derive(Clone, Debug)]
pub enum ClientSecurity {
    /// Not at all.
    Plaintext,
    /// By TLS.
    Tls(ClientTls),
}

/// What the user said about a listener's security.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Comes before `tls-cert`, `plaintext`, … in the names of the options that errors mention:
    /// `agent-` where the user types `--agent-tls-cert`, empty where they type `--tls-cert`.
    pub prefix: &'static str,
    /// `--plaintext`: the user wants no TLS.
    pub plaintext: bool,
    /// `--tls-cert`: the server's certificate chain, PEM, its own certificate first.
    pub cert: Option<PathBuf>,
    /// `--tls-key`: the certificate's private key, PEM.
    pub key: Option<PathBuf>,
    /// `--tls-client-ca`: clients must show a certificate that one of these signed (mTLS).
    pub client_ca: Option<PathBuf>,
}

/// What the user said about a client's security.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// As [`ServerOptions::prefix`].
    pub prefix: &'static str,
    /// `--plaintext`: the user wants no TLS.
    pub plaintext: bool,
    /// `--tls-ca`: the server's certificate must be signed by one of these. Required for TLS: no
    /// public CA has business inside a cluster.
    pub ca: Option<PathBuf>,
    /// `--tls-cert`: the certificate chain to show to a server that asks for one (mTLS).
    pub cert: Option<PathBuf>,
    /// `--tls-key`: its private key.
    pub key: Option<PathBuf>,
    /// `--tls-server-name`: the name that the server's certificate must have, where servers are
    /// dialled by address; else the host that is dialled.
    pub server_name: Option<String>,
}

/// The options do not make a security.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// Neither certificates nor plaintext.
    #[error(
        "no TLS certificates: give {needed}, or ask for unprotected connections with --{prefix}plaintext"
    )]
    Undecided {
        /// Of the options' names.
        prefix: &'static str,
        /// The options that TLS needs.
        needed: String,
    },
    /// Both certificates and plaintext.
    #[error("--{prefix}plaintext contradicts --{prefix}{other}: give one of them")]
    Contradiction {
        /// Of the options' names.
        prefix: &'static str,
        /// The TLS option that was given.
        other: &'static str,
    },
    /// One of the options that go together is missing.
    #[error("--{prefix}{given} needs --{prefix}{missing} too")]
    Incomplete {
        /// Of the options' names.
        prefix: &'static str,
        /// The option that was given.
        given: &'static str,
        /// The option that it needs.
        missing: &'static str,
    },
    /// Not the name of a server.
    #[error("--{prefix}tls-server-name \"{name}\" is neither a DNS name nor an IP address")]
    ServerName {
        /// Of the options' names.
        prefix: &'static str,
        /// What was given.
        name: String,
    },
    /// The files cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// Nothing could look at the files later on.
    #[error("certificates can only be loaded on a Tokio runtime, which watches their files")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
}

/// A server's certificates, read again when they change.
#[derive(Clone)]
pub struct ServerTls(Arc<Reloaded<ServerPaths>>);

/// A client's certificates, read again when they change.
#[derive(Clone)]
pub struct ClientTls {
    configs: Arc<Reloaded<ClientPaths>>,
    server_name: Option<ServerName<'static>>,
}

impl ServerOptions {
    /// Reads the certificates and, on the current Tokio runtime, keeps an eye on them.
    pub fn load(&self) -> Result<ServerSecurity, SecurityError> {
        let prefix = self.prefix;
        let given = [
            ("tls-cert", self.cert.is_some()),
            ("tls-key", self.key.is_some()),
            ("tls-client-ca", self.client_ca.is_some()),
        ];
        if !decide(prefix, self.plaintext, &given, &["tls-cert", "tls-key"])? {
            return Ok(ServerSecurity::Plaintext);
        }
        let first = first_given(&given);
        let cert = required(prefix, self.cert.as_ref(), first, "tls-cert")?;
        let key = required(prefix, self.key.as_ref(), first, "tls-key")?;
        let configs = Reloaded::load(ServerPaths {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: self.client_ca.clone(),
        })?;
        configs.watch(&tokio::runtime::Handle::try_current().map_err(SecurityError::NoRuntime)?);
        Ok(ServerSecurity::Tls(ServerTls(configs)))
    }
}

impl ClientOptions {
    /// Reads the certificates and, on the current Tokio runtime, keeps an eye on them.
    pub fn load(&self) -> Result<ClientSecurity, SecurityError> {
        let prefix = self.prefix;
        let given = [
            ("tls-ca", self.ca.is_some()),
            ("tls-cert", self.cert.is_some()),
            ("tls-key", self.key.is_some()),
            ("tls-server-name", self.server_name.is_some()),
        ];
        if !decide(prefix, self.plaintext, &given, &["tls-ca"])? {
            return Ok(ClientSecurity::Plaintext);
        }
        let ca = required(prefix, self.ca.as_ref(), first_given(&given), "tls-ca")?;
        let identity = match (&self.cert, &self.key) {
            (None, None) => None,
            (cert, key) => Some((
                required(prefix, cert.as_ref(), "tls-key", "tls-cert")?.clone(),
                required(prefix, key.as_ref(), "tls-cert", "tls-key")?.clone(),
            )),
        };
        let server_name = match &self.server_name {
            None => None,
            Some(name) => {
                Some(
                    ServerName::try_from(name.clone()).map_err(|_| SecurityError::ServerName {
                        prefix,
                        name: name.clone(),
                    })?,
                )
            }
        };
        let configs = Reloaded::load(ClientPaths {
            ca: ca.clone(),
            identity,
        })?;
        configs.watch(&tokio::runtime::Handle::try_current().map_err(SecurityError::NoRuntime)?);
        Ok(ClientSecurity::Tls(ClientTls { configs, server_name }))
    }
}

impl ServerSecurity {
    /// How re-reading the certificates has gone; `None` for plaintext.
    #[must_use]
    pub fn reload_status(&self) -> Option<ReloadStatus> {
        match self {
            Self::Plaintext => None,
            Self::Tls(tls) => Some(tls.reload_status()),
        }
    }
}

impl ClientSecurity {
    /// How re-reading the certificates has gone; `None` for plaintext.
    #[must_use]
    pub fn reload_status(&self) -> Option<ReloadStatus> {
        match self {
            Self::Plaintext => None,
            Self::Tls(tls) => Some(tls.reload_status()),
        }
    }
}

impl ServerTls {
    /// Looks at the files at once instead of at the next poll. `true` when they had changed and
    /// are in use from the next handshake on. Blocks for as long as reading takes.
    pub fn reload_now(&self) -> Result<bool, MaterialError> {
        self.0.reload_now()
    }

    /// How re-reading has gone so far.
    #[must_use]
    pub fn reload_status(&self) -> ReloadStatus {
        self.0.status()
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let configs = self.0.current();
        match protocol {
            Protocol::Grpc => Arc::clone(&configs.grpc),
            Protocol::Http => Arc::clone(&configs.http),
        }
    }
}

impl ClientTls {
    /// Looks at the files at once instead of at the next poll. `true` when they had changed and
    /// are in use from the next connection on. Blocks for as long as reading takes.
    pub fn reload_now(&self) -> Result<bool, MaterialError> {
        self.configs.reload_now()
    }

    /// How re-reading has gone so far.
    #[must_use]
    pub fn reload_status(&self) -> ReloadStatus {
        self.configs.status()
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configs.current())
    }

    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerTls")
            .field("status", &self.reload_status())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientTls")
            .field("status", &self.reload_status())
            .finish_non_exhaustive()
    }
}

/// Whether it is to be TLS; an error where the user left it open or said both.
fn decide(
    prefix: &'static str,
    plaintext: bool,
    given: &[(&'static str, bool)],
    needed: &[&str],
) -> Result<bool, SecurityError> {
    match (plaintext, given.iter().find(|(_, given)| *given)) {
        (true, None) => Ok(false),
        (true, Some(&(other, _))) => Err(SecurityError::Contradiction { prefix, other }),
        (false, Some(_)) => Ok(true),
        (false, None) => {
            let needed: Vec<String> = needed
                .iter()
                .map(|option| format!("--{prefix}{option}"))
                .collect();
            Err(SecurityError::Undecided {
                prefix,
                needed: needed.join(" and "),
            })
        }
    }
}

fn first_given(given: &[(&'static str, bool)]) -> &'static str {
    given
        .iter()
        .find(|(_, given)| *given)
        .map_or("", |(option, _)| option)
}

fn required<'a>(
    prefix: &'static str,
    path: Option<&'a PathBuf>,
    given: &'static str,
    missing: &'static str,
) -> Result<&'a PathBuf, SecurityError> {
    path.ok_or(SecurityError::Incomplete {
        prefix,
        given,
        missing,
    })
}
