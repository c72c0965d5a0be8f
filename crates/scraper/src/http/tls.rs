use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::server::Host;

/// How a connection is protected.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plaintext,
    /// By TLS.
    Tls {
        /// Whom to trust.
        config: Arc<ClientConfig>,
        /// The name that the server's certificate must have.
        name: ServerName<'static>,
    },
}

/// How TLS is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// Certificates (PEM) that the server's must lead to; `None` for the system's.
    pub ca_pem: Option<String>,
    /// The name in the server's certificate; `None` for the host that is dialled.
    pub server_name: Option<String>,
    /// Whether any certificate is taken.
    pub skip_verification: bool,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA is not PEM.
    #[error("the CA is not PEM: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The CA holds nothing.
    #[error("the CA holds no certificate in PEM form")]
    NoAuthority,
    /// A CA certificate is malformed.
    #[error("the CA holds a certificate that cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// The system trusts nobody.
    #[error("the system has no CA certificates ({reason}); name a CA")]
    NoSystemAuthorities {
        /// What the system said.
        reason: String,
    },
    /// No certificate can have this name.
    #[error("\"{name}\" is neither a DNS name nor an IP address; no certificate can be checked against it")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("cannot set TLS up: {0}")]
    Setup(#[source] rustls::Error),
}

impl TlsOptions {
    /// The security of connections to `host`.
    pub fn build(&self, host: &Host) -> Result<Security, TlsError> {
        self.with(self.config()?, host)
    }

    /// The same with a configuration that was built before from equal options.
    pub(crate) fn with(&self, config: Arc<ClientConfig>, host: &Host) -> Result<Security, TlsError> {
        let name = match (&self.server_name, host) {
            (None, Host::Address(ip)) => ServerName::from(*ip),
            (Some(name), _) | (None, Host::Name(name)) => {
                ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName { name: name.clone() })?
            }
        };
        Ok(Security::Tls { config, name })
    }

    /// Whom to trust. Reads the system's certificates where it needs them.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let mut config = if self.skip_verification {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth()
        } else {
            let roots = match &self.ca_pem {
                Some(pem) => authorities(pem)?,
                None => system_authorities()?,
            };
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn authorities(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(certificate.map_err(TlsError::Pem)?)
            .map_err(TlsError::Authority)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    Ok(roots)
}

/// Those that can be used: systems ship some that no library takes.
fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found
            .errors
            .first()
            .map_or_else(|| "none was found".into(), ToString::to_string);
        return Err(TlsError::NoSystemAuthorities { reason });
    }
    Ok(roots)
}

/// Takes every certificate, but only from one who holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext => out.write_str("Plaintext"),
            Self::Tls { name, .. } => out.debug_tuple("Tls").field(name).finish(),
        }
    }
}
