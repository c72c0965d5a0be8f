//! Pods as the API has them.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::task::JoinHandle;

/// Namespace and name of a pod.
pub(crate) type PodName = (String, String);

/// Keeps all pods of `api` at hand, until the task is aborted.
pub(crate) fn watched(api: Api<Pod>) -> (Store<Pod>, JoinHandle<()>) {
    let (pods, writer) = reflector::store();
    let changes = watcher(api, watcher::Config::default());
    let reflect = reflector::reflector(writer, changes.default_backoff());
    let task = tokio::task::spawn_local(reflect.for_each(|_| std::future::ready(())));
    (pods, task)
}

pub(crate) fn pod_name(pod: &Pod) -> PodName {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// The workload of a pod: its namespace and its label `app`.
pub(crate) fn workload(pod: &Pod) -> (String, String) {
    let app = pod.labels().get("app").cloned().unwrap_or_default();
    (pod.namespace().unwrap_or_default(), app)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
