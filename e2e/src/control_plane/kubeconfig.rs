//! Kubeconfig files: who calls kube-apiserver, and as whom.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::pki::{Authority, Pair};
use crate::sandbox;

/// The port of kube-apiserver.
pub(crate) const PORT: u16 = 6443;

/// Writes a kubeconfig for the user `name`, who belongs to `groups`. RBAC knows the service account
/// ACCOUNT of NAMESPACE as the user `system:serviceaccount:NAMESPACE:ACCOUNT`.
pub(crate) fn write(
    folder: &Path,
    authority: &Authority,
    file: &str,
    name: &str,
    groups: &[&str],
) -> Result<PathBuf> {
    let Pair { certificate, key } = authority.issue(file, name, groups, &[])?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://{}:{PORT}", sandbox::API_SERVER),
            "certificate-authority": authority.certificate,
        }}],
        "users": [{"name": name, "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        "current-context": "e2e",
    });
    let path = folder.join(format!("{file}.kubeconfig"));
    let text = serde_json::to_string_pretty(&config).context("writing a kubeconfig")?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
