//! A model server that a ScaledObject scales.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Case, PATIENCE};
use crate::scripted::audit;
use crate::scripted::observe::Observer;
use crate::scripted::recording::{Conditions, What};
use crate::wait::{Seen, eventually};

/// A Deployment with one GPU a pod and the ScaledObject of the same name, whose trigger has the
/// signal `manual`.
pub(crate) struct Workload {
    case: Case,
    name: String,
}

impl Workload {
    /// Applies both, at zero replicas, and waits until KEDA has taken up the trigger. The nodes
    /// must be there.
    pub(crate) async fn at_zero(
        case: &Case,
        name: &str,
        scaler: &str,
        polling_interval: Duration,
    ) -> Result<Self> {
        case.model_server(name, 0, 1, Duration::from_millis(200)).await?;
        let yaml = include_str!("manual.yaml")
            .replace("$NAME", name)
            .replace("$SCALER", scaler)
            .replace("$POLLING", &polling_interval.as_secs().to_string());
        case.apply(&yaml).await?;
        let workload = Self {
            case: case.clone(),
            name: name.to_owned(),
        };
        case.scaled_object_is(name, "Ready", "True").await?;
        workload.metric_is_named().await?;
        Ok(workload)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes how many replicas a person asks for, and returns the moment just before.
    pub(crate) async fn demand(&self, replicas: u32) -> Result<Timestamp> {
        demand(&self.case, &self.name, replicas).await
    }

    /// Waits until it runs `count` replicas.
    pub(crate) async fn runs(&self, count: i32) -> Result<()> {
        self.case.runs(&self.name, count).await
    }

    /// KEDA drops a push as long as the status does not name the metric.
    async fn metric_is_named(&self) -> Result<()> {
        let objects = self.case.scaled_objects().await?;
        eventually("KEDA to note the name of the metric", PATIENCE, async || {
            let object = objects
                .get(&self.name)
                .await
                .with_context(|| format!("reading the ScaledObject {}", self.name))?;
            let names = object.data.pointer("/status/externalMetricNames");
            let named = names
                .and_then(|names| names.as_array())
                .is_some_and(|names| !names.is_empty());
            Ok(Seen::when(named, object.data.get("status")))
        })
        .await
    }
}

/// Writes on a ScaledObject how many replicas a person asks for, and returns the moment just before.
pub(crate) async fn demand(case: &Case, scaled_object: &str, replicas: u32) -> Result<Timestamp> {
    let annotations = json!({"rheostat.dev/manual-demand": replicas.to_string()});
    let patch = json!({"metadata": {"annotations": annotations}});
    let objects = case.scaled_objects().await?;
    let before = Timestamp::now();
    objects
        .patch(scaled_object, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("annotating the ScaledObject {scaled_object}"))?;
    Ok(before)
}

/// The reason of the event by which KEDA tells of a call that failed, after a second attempt.
const FAILED: &str = "KEDAScalerFailed";

/// All that users could see of a gap in the answers to KEDA, from its start on.
pub(crate) struct GapWatch {
    observer: Observer,
    start: Timestamp,
    /// Failures that KEDA told of before. The first call for a new ScaledObject may come before the
    /// scaler has read its target.
    failures_before: usize,
}

impl GapWatch {
    /// Starts to watch the namespace of a test, in which everything runs well now.
    pub(crate) async fn start(case: &Case) -> Result<Self> {
        let start = Timestamp::now();
        let events = case.events().await?;
        let failures_before = events.iter().filter(|event| event.contains(FAILED)).count();
        let observer = Observer::start(case, start).await?;
        Ok(Self {
            observer,
            start,
            failures_before,
        })
    }

    /// Fails when there was a gap: a condition of the ScaledObject or the HPA that was not good for
    /// a moment, a call that KEDA counted as failed, a warning, or another replica count than `count`.
    pub(crate) fn no_gap(&self, count: i32) -> Result<()> {
        let seen = self.observer.seen();
        let statuses = seen
            .iter()
            .filter(|(_, what)| matches!(what, What::ScaledObjectStatus { .. }));
        ensure!(
            statuses.count() > 0,
            "the status of the ScaledObject was never seen"
        );
        // The observer sees each event that was there at its start once, and each change of one.
        let mut failures_before = self.failures_before;
        for (time, what) in &seen {
            let good = match what {
                What::Replicas { wanted, .. } => *wanted == count,
                What::HpaStatus { conditions, .. } => holds(conditions, "ScalingActive", "True"),
                What::ScaledObjectStatus {
                    conditions, health, ..
                } => {
                    holds(conditions, "Ready", "True")
                        && holds(conditions, "Active", "True")
                        && conditions
                            .get("Fallback")
                            .is_none_or(|(status, _)| status != "True")
                        && failures(health) == 0
                }
                What::Event { reason, .. } if reason == FAILED => {
                    let known = failures_before > 0;
                    failures_before = failures_before.saturating_sub(1);
                    known
                }
                _ => true,
            };
            let after = time.duration_since(self.start).as_secs_f64();
            ensure!(good, "a gap {after:.1} s after the start of the watch: {what:?}");
        }
        Ok(())
    }
}

fn holds(conditions: &Conditions, kind: &str, wanted: &str) -> bool {
    conditions.get(kind).is_some_and(|(status, _)| status == wanted)
}

/// The failed calls in a row that KEDA counts where there is a fallback.
fn failures(health: &Value) -> i64 {
    let metrics = health
        .as_object()
        .into_iter()
        .flat_map(|metrics| metrics.values());
    metrics
        .filter_map(|metric| metric.get("numberOfFailures")?.as_i64())
        .sum()
}

/// When KEDA first set a replica count above zero in a namespace, from `start` on.
pub(crate) async fn first_replicas_by_keda(case: &Case, start: Timestamp) -> Result<Timestamp> {
    let log = case.cluster.control_plane.audit_log();
    eventually("KEDA to set a replica count above zero", PATIENCE, async || {
        let seen = audit::read(&log, &case.namespace, start)?;
        let found = seen.into_iter().find(|(_, what)| {
            matches!(
                what,
                What::ScaleWrite {
                    replicas: 1..,
                    status: 200,
                    ..
                }
            )
        });
        Ok(found.map_or_else(
            || Seen::NotYet("no such write".to_owned()),
            |(time, _)| Seen::Yes(time),
        ))
    })
    .await
}
