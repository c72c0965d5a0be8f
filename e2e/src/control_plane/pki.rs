//! The keys and certificates of one run.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority whose certificate lies in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// The file of its own certificate.
    pub(crate) certificate: PathBuf,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new authority named `name`, with its files in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = parameters(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
        let issuer = CertifiedIssuer::self_signed(params, key)
            .with_context(|| format!("signing the certificate of {name}"))?;
        let certificate = folder.join(format!("{name}.crt"));
        write(&certificate, &issuer.pem())?;
        Ok(Self {
            issuer,
            folder: folder.to_path_buf(),
            certificate,
        })
    }

    /// A certificate for a user or a program: `name` is what it calls itself, `groups` the groups
    /// it belongs to, `addresses` the names and addresses it may serve at.
    pub(crate) fn issue(
        &self,
        file: &str,
        name: &str,
        groups: &[&str],
        addresses: &[String],
    ) -> Result<Pair> {
        let mut params = parameters(name, addresses)?;
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("signing the certificate of {name}"))?;
        let pair = Pair {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        write(&pair.certificate, &certificate.pem())?;
        write(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// The files of a key pair without a certificate.
pub(crate) struct BareKey {
    pub(crate) private: PathBuf,
    pub(crate) public: PathBuf,
}

/// A key pair without a certificate, as the issuer of service-account tokens uses it.
pub(crate) fn bare_key(folder: &Path, name: &str) -> Result<BareKey> {
    let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
    let files = BareKey {
        private: folder.join(format!("{name}.key")),
        public: folder.join(format!("{name}.pub")),
    };
    write(&files.private, &key.serialize_pem())?;
    write(&files.public, &key.public_key_pem())?;
    Ok(files)
}

fn parameters(name: &str, addresses: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(addresses.to_vec())
        .with_context(|| format!("the certificate of {name} for {addresses:?}"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// The names of a server on this machine, together with `address`.
pub(crate) fn local(address: impl Into<IpAddr>) -> Vec<String> {
    vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        address.into().to_string(),
    ]
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
