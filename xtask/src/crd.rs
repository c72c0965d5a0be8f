//! The CustomResourceDefinition as a manifest.

use anyhow::Context;

use crate::root;

/// Writes `deploy/crd.yaml`. A test in `crates/crd` compares.
pub(crate) fn generate() -> anyhow::Result<()> {
    let path = root().join("deploy/crd.yaml");
    let yaml = serde_saphyr::to_string(&rheostat_crd::definition())?;
    let text = format!("# Made by `cargo xtask crd` from crates/crd/src/definition.rs.\n{yaml}");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
