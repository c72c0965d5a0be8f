//! Manifests as a user writes them: YAML, one or more documents.

use anyhow::{Context as _, Result};
use kube::core::DynamicObject;
use serde_json::Value;

/// The documents of a YAML text; empty ones are left out.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("parsing YAML")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// The objects of a manifest.
pub(crate) fn objects(yaml: &str) -> Result<Vec<DynamicObject>> {
    documents(yaml)?
        .into_iter()
        .map(|document| serde_json::from_value(document).context("a document is not a Kubernetes object"))
        .collect()
}
