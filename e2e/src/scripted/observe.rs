//! Watches of the objects of one workload.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _, core::DynamicObject};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use super::recording::{Conditions, What, micros};
use crate::cluster::api::{self, of_kind};
use crate::cluster::{Case, Replicas};

/// Watches that note each change until this is dropped.
pub(crate) struct Observer {
    seen: Arc<Mutex<Vec<(Timestamp, What)>>>,
    _tasks: JoinSet<()>,
}

impl Observer {
    /// Starts to watch the Deployment, its pods, the HPA, the ScaledObject and the events of a namespace;
    /// times count from `start`.
    pub(crate) async fn start(case: &Case, start: Timestamp) -> Result<Self> {
        let seen = Arc::<Mutex<Vec<(Timestamp, What)>>>::default();
        let mut tasks = JoinSet::new();
        let replicas = Arc::<Mutex<ReplicaCounts>>::default();
        let counts = Arc::clone(&replicas);
        let deployments = changes(case.deployments())
            .map_ok(move |deployment: Deployment| counts.lock().deployment(&deployment));
        tasks.spawn(note(deployments, Arc::clone(&seen)));
        let pods: Api<Pod> = Api::namespaced(case.client(), &case.namespace);
        let pods = watcher(pods, watcher::Config::default())
            .default_backoff()
            .map(|item| item.context("watching pods"))
            .map_ok(move |event| replicas.lock().pod(event));
        tasks.spawn(note(pods, Arc::clone(&seen)));

        let client = case.client();
        let hpas = of_kind(
            &client,
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            Some(&case.namespace),
        )
        .await?;
        tasks.spawn(note(
            changes(hpas).map_ok(only_changes(start, hpa_status)),
            Arc::clone(&seen),
        ));
        let objects = case.scaled_objects().await?;
        let objects = changes(objects).map_ok(only_changes(start, scaled_object_status));
        tasks.spawn(note(objects, Arc::clone(&seen)));

        let events: Api<Event> = Api::namespaced(case.client(), &case.namespace);
        let events = changes(events).map_ok(|event: Event| {
            let object = event.involved_object;
            let kind = object.kind.unwrap_or_default();
            // The pods' own comings and goings are in the replica counts.
            let told = matches!(kind.as_str(), "ScaledObject" | "HorizontalPodAutoscaler");
            told.then(|| What::Event {
                object: format!("{kind}/{}", object.name.unwrap_or_default()),
                reason: event.reason.unwrap_or_default(),
                message: event.message.unwrap_or_default(),
            })
        });
        tasks.spawn(note(events, Arc::clone(&seen)));
        Ok(Self { seen, _tasks: tasks })
    }

    /// All that was seen so far.
    pub(crate) fn seen(&self) -> Vec<(Timestamp, What)> {
        self.seen.lock().clone()
    }
}

/// The replica counts as the HPA controller knows them: how many pods are ready, it asks the pods.
/// What the Deployment says of them is some 100 ms older.
#[derive(Default)]
struct ReplicaCounts {
    deployment: Option<Replicas>,
    ready: BTreeSet<String>,
    pods_listed: bool,
    last: Option<What>,
}

impl ReplicaCounts {
    fn deployment(&mut self, deployment: &Deployment) -> Option<What> {
        self.deployment = Some(Replicas::of(deployment));
        self.changed()
    }

    fn pod(&mut self, event: watcher::Event<Pod>) -> Option<What> {
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) if is_ready(&pod) => {
                self.ready.insert(pod.name_any());
            }
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) | watcher::Event::Delete(pod) => {
                self.ready.remove(&pod.name_any());
            }
            watcher::Event::Init => self.ready.clear(),
            watcher::Event::InitDone => self.pods_listed = true,
        }
        self.changed()
    }

    /// The counts, once all of them are known, if they are others than the last time.
    fn changed(&mut self) -> Option<What> {
        let Replicas { wanted, existing, .. } = self.deployment.filter(|_| self.pods_listed)?;
        let ready = i32::try_from(self.ready.len()).unwrap_or(i32::MAX);
        let now = What::Replicas {
            wanted,
            existing,
            ready,
        };
        (self.last.as_ref() != Some(&now)).then(|| self.last.insert(now).clone())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn changes<K>(api: Api<K>) -> impl Stream<Item = Result<K>> + Send
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .map(|item| item.context("watching"))
}

/// What `status` says of an object, if it is another thing than the last time.
fn only_changes(
    start: Timestamp,
    status: fn(Timestamp, &DynamicObject) -> Option<What>,
) -> impl FnMut(DynamicObject) -> Option<What> {
    let mut last = None;
    move |object| {
        let now = status(start, &object)?;
        let changed = last.as_ref() != Some(&now);
        changed.then(|| last.insert(now).clone())
    }
}

fn hpa_status(start: Timestamp, hpa: &DynamicObject) -> Option<What> {
    let status = hpa.data.get("status")?;
    let count = |name| {
        status
            .get(name)
            .and_then(Value::as_i64)
            .and_then(|count| i32::try_from(count).ok())
    };
    Some(What::HpaStatus {
        current: count("currentReplicas").unwrap_or(0),
        desired: count("desiredReplicas").unwrap_or(0),
        last_scale_us: time(start, status, "lastScaleTime"),
        conditions: conditions(hpa),
    })
}

fn scaled_object_status(start: Timestamp, object: &DynamicObject) -> Option<What> {
    let status = object.data.get("status")?;
    Some(What::ScaledObjectStatus {
        last_active_us: time(start, status, "lastActiveTime"),
        health: status.get("health").cloned().unwrap_or_default(),
        conditions: conditions(object),
    })
}

fn time(start: Timestamp, status: &Value, name: &str) -> Option<i64> {
    let moment: Timestamp = status.get(name)?.as_str()?.parse().ok()?;
    Some(micros(start, moment))
}

fn conditions(object: &DynamicObject) -> Conditions {
    let all = api::conditions(object).into_iter();
    all.map(|condition| (condition.kind, (condition.status, condition.reason)))
        .collect()
}

async fn note(
    changes: impl Stream<Item = Result<Option<What>>> + Send,
    seen: Arc<Mutex<Vec<(Timestamp, What)>>>,
) {
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(what)) => seen.lock().push((Timestamp::now(), what)),
            Ok(None) => {}
            Err(error) => tracing::warn!("{error:#}; trying again"),
        }
    }
}
