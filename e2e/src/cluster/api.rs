//! Objects of any kind, by their version and kind.

use anyhow::{Context as _, Result};
use kube::api::{Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;

use crate::manifest;

const FIELD_MANAGER: &str = "rheostat-e2e";

/// Applies the objects of a manifest on the server's side; those that name no namespace go into
/// `namespace`.
pub(crate) async fn apply(
    client: &Client,
    namespace: Option<&str>,
    yaml: &str,
) -> Result<Vec<DynamicObject>> {
    let mut applied = Vec::new();
    for object in manifest::objects(yaml)? {
        let kinds = object
            .types
            .clone()
            .context("an object without apiVersion and kind")?;
        let name = object
            .metadata
            .name
            .clone()
            .with_context(|| format!("a {} without a name", kinds.kind))?;
        let namespace = object.metadata.namespace.as_deref().or(namespace);
        let api = of_kind(client, &kinds.api_version, &kinds.kind, namespace).await?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let outcome = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
        applied.push(outcome.with_context(|| format!("applying {} {name}", kinds.kind))?);
    }
    Ok(applied)
}

/// Reads one object.
pub(crate) async fn get(
    client: &Client,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
) -> Result<DynamicObject> {
    let api = of_kind(client, version, kind, namespace).await?;
    api.get(name)
        .await
        .with_context(|| format!("reading {kind} {name}"))
}

/// The interface to all objects of a kind, in a namespace where the kind has them.
pub(crate) async fn of_kind(
    client: &Client,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Result<Api<DynamicObject>> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let wanted = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities) = pinned_kind(client, &wanted)
        .await
        .with_context(|| format!("asking what {group}/{version} {kind} is"))?;
    Ok(match (capabilities.scope, namespace) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    })
}

/// One of the conditions in the status of an object.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) reason: String,
}

/// The condition of type `kind`; none where the object has no such condition yet.
pub(crate) fn condition(object: &DynamicObject, kind: &str) -> Option<Condition> {
    conditions(object)
        .into_iter()
        .find(|condition| condition.kind == kind)
}

/// The conditions of an object; none where it has no status yet.
pub(crate) fn conditions(object: &DynamicObject) -> Vec<Condition> {
    let all = object.data.pointer("/status/conditions");
    all.and_then(|all| Vec::deserialize(all).ok()).unwrap_or_default()
}
