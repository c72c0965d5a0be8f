//! The production manifests.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams, ValidationDirective};

use crate::cluster::{Case, api};
use crate::rheostat::policy::define;
use crate::{layout, manifest};

/// kube-apiserver takes every object under `deploy/`, and knows every field.
pub(crate) async fn manifests_accepted(case: Case) -> Result<()> {
    let root = layout::source().parent().context("e2e is in no folder")?;
    // The others live in the namespace that it makes.
    let rbac = root.join("deploy/rbac.yaml");
    case.apply(&std::fs::read_to_string(&rbac).with_context(|| format!("reading {}", rbac.display()))?)
        .await?;
    define(&case).await?;
    let mut count = 0;
    for folder in ["deploy", "deploy/examples"].map(|folder| root.join(folder)) {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("reading {}", folder.display()))?
                .path();
            if path.extension().is_some_and(|kind| kind == "yaml") {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                count += accepted(&case, &text)
                    .await
                    .with_context(|| format!("applying {}", path.display()))?;
            }
        }
    }
    ensure!(count > 10, "only {count} objects were found");
    Ok(())
}

/// Has kube-apiserver check all objects of a manifest and returns how many there are.
async fn accepted(case: &Case, yaml: &str) -> Result<usize> {
    let objects = manifest::objects(yaml)?;
    for object in &objects {
        let kinds = object.types.as_ref().context("an object without a kind")?;
        let name = object
            .metadata
            .name
            .as_ref()
            .context("an object without a name")?;
        let namespace = object.metadata.namespace.as_ref().unwrap_or(&case.namespace);
        let api = api::of_kind(&case.client(), &kinds.api_version, &kinds.kind, Some(namespace)).await?;
        let parameters = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("rheostat-e2e").force()
        };
        api.patch(name, &parameters, &Patch::Apply(object))
            .await
            .with_context(|| format!("{} {name}", kinds.kind))?;
    }
    Ok(objects.len())
}
