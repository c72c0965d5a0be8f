use std::fs::File;
use std::hash::Hash;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes that a certificate or key file may have; a bundle of all public CAs has a quarter of it.
const FILE_LIMIT: u64 = 1 << 20;

/// A certificate or key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is larger than any certificate file.
    #[error("{} has more than {FILE_LIMIT} bytes, which no certificate or key file has", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM.
    #[error("{} is not PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file has no section of the wanted kind.
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A CA certificate is malformed.
    #[error("{} holds a CA certificate that cannot be used: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The certificate authorities cannot be used to verify clients.
    #[error("cannot verify clients by {}: {source}", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("cannot use the certificate of {} with the key of {}: {source}", cert.display(), key.display())]
    Identity {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("cannot set TLS up: {0}")]
    Setup(#[source] rustls::Error),
}

/// Files from which something is built, and built anew when they change.
pub(crate) trait Source: Send + Sync + 'static {
    /// What the files held when they were read.
    type Files: Hash;
    /// What is built from it.
    type Built: Send + Sync + 'static;

    fn read(&self) -> Result<Self::Files, MaterialError>;
    fn build(files: &Self::Files) -> Result<Self::Built, MaterialError>;
}

/// Where a server's certificates are.
#[derive(Debug)]
pub(crate) struct ServerPaths {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must show a certificate that one of these signed.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Where a client's certificates are.
#[derive(Debug)]
pub(crate) struct ClientPaths {
    pub(crate) ca: PathBuf,
    /// Certificate and key, shown where a server asks for them.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// The two faces of one server identity: the application protocol is fixed by the listener's use.
pub(crate) struct ServerConfigs {
    pub(crate) grpc: Arc<ServerConfig>,
    pub(crate) http: Arc<ServerConfig>,
}

/// A server's files, read.
#[derive(Hash)]
pub(crate) struct ServerFiles {
    identity: Identity,
    client_ca: Option<PemFile>,
}

/// A client's files, read.
#[derive(Hash)]
pub(crate) struct ClientFiles {
    ca: PemFile,
    identity: Option<Identity>,
}

#[derive(Hash)]
struct Identity {
    cert: PemFile,
    key: PemFile,
}

/// A file's path with what it held when it was read.
#[derive(Hash)]
struct PemFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Source for ServerPaths {
    type Files = ServerFiles;
    type Built = ServerConfigs;

    fn read(&self) -> Result<ServerFiles, MaterialError> {
        Ok(ServerFiles {
            identity: Identity::read(&self.cert, &self.key)?,
            client_ca: self.client_ca.as_deref().map(PemFile::read).transpose()?,
        })
    }

    /// Session caches live in the configuration: a new one forgets the sessions of the old one, so
    /// that no client can resume a session that an older CA allowed.
    fn build(files: &ServerFiles) -> Result<ServerConfigs, MaterialError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(MaterialError::Setup)?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(file.authorities()?, provider)
                    .build()
                    .map_err(|source| MaterialError::Verifier {
                        path: file.path.clone(),
                        source,
                    })?,
            ),
        };
        let Identity { cert, key } = &files.identity;
        let config = builder
            .with_single_cert(cert.certificates()?, key.private_key()?)
            .map_err(|source| files.identity.refused(source))?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(ServerConfigs {
            grpc: speaking(b"h2"),
            http: speaking(b"http/1.1"),
        })
    }
}

impl Source for ClientPaths {
    type Files = ClientFiles;
    type Built = Arc<ClientConfig>;

    fn read(&self) -> Result<ClientFiles, MaterialError> {
        Ok(ClientFiles {
            ca: PemFile::read(&self.ca)?,
            identity: self
                .identity
                .as_ref()
                .map(|(cert, key)| Identity::read(cert, key))
                .transpose()?,
        })
    }

    fn build(files: &ClientFiles) -> Result<Arc<ClientConfig>, MaterialError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(MaterialError::Setup)?
            .with_root_certificates(files.ca.authorities()?);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.cert.certificates()?, identity.key.private_key()?)
                .map_err(|source| identity.refused(source))?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Identity {
    fn read(cert: &Path, key: &Path) -> Result<Self, MaterialError> {
        Ok(Self {
            cert: PemFile::read(cert)?,
            key: PemFile::read(key)?,
        })
    }

    fn refused(&self, source: rustls::Error) -> MaterialError {
        MaterialError::Identity {
            cert: self.cert.path.clone(),
            key: self.key.path.clone(),
            source,
        }
    }
}

impl PemFile {
    fn read(path: &Path) -> Result<Self, MaterialError> {
        let failed = |source| MaterialError::Read {
            path: path.into(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(failed)?
            .take(FILE_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(MaterialError::TooLarge { path: path.into() });
        }
        Ok(Self {
            path: path.into(),
            bytes,
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
        let certificates = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| MaterialError::Pem {
                path: self.path.clone(),
                source,
            })?;
        if certificates.is_empty() {
            return Err(MaterialError::Empty {
                path: self.path.clone(),
                wanted: "certificate",
            });
        }
        Ok(certificates)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, MaterialError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|source| match source {
            pem::Error::NoItemsFound => MaterialError::Empty {
                path: self.path.clone(),
                wanted: "private key",
            },
            source => MaterialError::Pem {
                path: self.path.clone(),
                source,
            },
        })
    }

    fn authorities(&self) -> Result<Arc<RootCertStore>, MaterialError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|source| MaterialError::Authority {
                    path: self.path.clone(),
                    source,
                })?;
        }
        Ok(Arc::new(roots))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
