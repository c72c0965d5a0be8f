//! Watches of the objects of one workload.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, core::DynamicObject};
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
    /// Starts to watch the Deployment, the HPA, the ScaledObject and the events of a namespace;
    /// times count from `start`.
    pub(crate) async fn start(case: &Case, start: Timestamp) -> Result<Self> {
        let seen = Arc::<Mutex<Vec<(Timestamp, What)>>>::default();
        let mut tasks = JoinSet::new();
        let mut last = None;
        let replicas = changes(case.deployments()).map_ok(move |deployment: Deployment| {
            let now = Replicas::of(&deployment);
            let changed = last.replace(now) != Some(now);
            changed.then_some(What::Replicas {
                wanted: now.wanted,
                existing: now.existing,
                ready: now.ready,
            })
        });
        tasks.spawn(note(replicas, Arc::clone(&seen)));

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
