//! Runs a script against a workload and records what happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::audit;
use super::observe::Observer;
use super::recording::{By, Entry, FORMAT, Recording, Rpc, Settings, What, micros};
use super::sequence::{Sequence, Step};
use super::server::{PORT, ScriptedScaler};
use crate::cluster::{Case, PATIENCE, api};
use crate::control_plane::{DOWNSCALE_STABILISATION, HPA_SYNC};
use crate::programs;
use crate::wait::{Seen, eventually};

/// What the Deployment and the ScaledObject of a sequence are called.
pub(crate) const WORKLOAD: &str = "model";

/// A workload whose scaler follows a script.
pub(crate) struct Scripted {
    case: Case,
    scaler: ScriptedScaler,
    observer: Observer,
    start: Timestamp,
    steady_start: Instant,
}

impl Scripted {
    /// Starts the scaler, the nodes and the workload, and then applies the ScaledObject; returns
    /// once KEDA has made an HPA of it.
    pub(crate) async fn start(case: &Case, sequence: &Sequence) -> Result<Self> {
        case.gpu_nodes(1, sequence.pods.fit).await?;
        case.model_server(
            WORKLOAD,
            sequence.pods.replicas,
            1,
            Duration::from_secs_f64(sequence.pods.cold_start),
        )
        .await?;
        let scaler = scaler(case).await?;
        let (start, steady_start) = (Timestamp::now(), Instant::now());
        let observer = Observer::start(case, start).await?;
        let scripted = Self {
            case: case.clone(),
            scaler,
            observer,
            start,
            steady_start,
        };
        // The answers at the start must be there before anybody asks.
        for step in sequence.script.iter().take_while(|step| step.at <= 0.0) {
            scripted.scaler.take(step);
        }
        case.apply(&scaled_object(case, &sequence.scaled_object).to_string())
            .await?;
        Ok(scripted)
    }

    /// Takes the steps of a script at their times, or later where a step waits for a replica count,
    /// and waits for the last count that the sequence expects. Returns the sequence with the times
    /// at which its steps were really taken.
    pub(crate) async fn play(&self, sequence: &Sequence) -> Result<Sequence> {
        let mut played = sequence.clone();
        let mut late = Duration::ZERO;
        for step in played.script.iter_mut().skip_while(|step| step.at <= 0.0) {
            let due = Duration::from_secs_f64(step.at) + late;
            tokio::time::sleep_until(self.steady_start + due).await;
            if let Some(count) = step.once {
                self.asks_for(count).await?;
            }
            let now = self.steady_start.elapsed();
            late += now.saturating_sub(due);
            let since = self.take(step).await?;
            step.at = since.duration_since(self.start).as_secs_f64();
        }
        tokio::time::sleep_until(self.steady_start + Duration::from_secs_f64(sequence.ends) + late).await;
        if let Some(&last) = sequence.expect.as_deref().and_then(<[i32]>::last) {
            self.asks_for(last).await?;
        }
        Ok(played)
    }

    async fn asks_for(&self, count: i32) -> Result<()> {
        let what = format!("{} to ask for {count} replicas", self.case.namespace);
        eventually(&what, PATIENCE, async || {
            let replicas = self.case.replicas(WORKLOAD).await?;
            Ok(Seen::when(replicas.wanted == count, replicas))
        })
        .await
    }

    /// Takes one step now. Returns since when the scaler answers so.
    pub(crate) async fn take(&self, step: &Step) -> Result<Timestamp> {
        let since = self.scaler.take(step);
        if let Some(replicas) = step.scale {
            self.case.scale(WORKLOAD, replicas).await?;
        }
        Ok(since)
    }

    /// Waits until KEDA listens for pushes.
    pub(crate) async fn push_is_open(&self, trigger: &str) -> Result<()> {
        eventually("KEDA to open a stream of activity", PATIENCE, async || {
            let streams = self.scaler.activity_streams(trigger);
            Ok(Seen::when(streams > 0, streams))
        })
        .await
    }

    /// All that was seen until now, in the order of time.
    pub(crate) fn timeline(&self) -> Result<Vec<Entry>> {
        let log = self.case.cluster.control_plane.audit_log();
        let mut seen = audit::read(&log, &self.case.namespace, self.start)?;
        seen.extend(self.scaler.seen());
        seen.extend(self.observer.seen());
        seen.sort_by_key(|(time, _)| *time);
        let mut timeline: Vec<Entry> = seen
            .into_iter()
            .map(|(time, what)| Entry {
                at_us: micros(self.start, time),
                what,
            })
            .collect();
        tell_callers_apart(&mut timeline);
        Ok(timeline)
    }

    /// The recording so far; also written into the test's folder, and into the folder of
    /// recordings that the command line names.
    pub(crate) async fn record(&self, name: &str, sequence: &Sequence) -> Result<Recording> {
        let (kubernetes, keda) = programs::versions()?;
        let object = self
            .case
            .scaled_objects()
            .await?
            .get(WORKLOAD)
            .await
            .context("reading the ScaledObject")?;
        let hpa = format!("keda-hpa-{WORKLOAD}");
        let hpa = api::get(
            &self.case.client(),
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            Some(&self.case.namespace),
            &hpa,
        )
        .await?;
        let spec = |data: &Value| data.get("spec").cloned().unwrap_or_default();
        let recording = Recording {
            format: FORMAT,
            name: name.to_owned(),
            description: sequence.description.clone(),
            start_unix_us: self.start.as_microsecond(),
            settings: Settings {
                kubernetes,
                keda,
                hpa_sync_s: HPA_SYNC.as_secs_f64(),
                downscale_stabilisation_s: DOWNSCALE_STABILISATION.as_secs_f64(),
                tolerance: 0.1,
                pods: sequence.pods.clone(),
                scaled_object: spec(&object.data),
                hpa: spec(&hpa.data),
            },
            script: sequence.script.clone(),
            timeline: self.timeline()?,
        };
        let text = recording.to_text()?;
        let folders = [
            Some(self.case.folder.clone()),
            self.case.cluster.recordings.clone(),
        ];
        for folder in folders.into_iter().flatten() {
            std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
            let file = folder.join(format!("{name}.json"));
            std::fs::write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(recording)
    }
}

/// Starts the test's scripted scaler under the name that [`scaled_object`] gives to KEDA.
async fn scaler(case: &Case) -> Result<ScriptedScaler> {
    let address = case.cluster.address();
    case.cluster.hosts.set(&host(case), &[address])?;
    ScriptedScaler::start(SocketAddr::new(address, PORT)).await
}

fn host(case: &Case) -> String {
    format!("scripted-scaler.{}.svc", case.namespace)
}

/// The ScaledObject of a sequence, complete.
fn scaled_object(case: &Case, spec: &BTreeMap<String, Value>) -> Value {
    let mut spec = spec.clone();
    spec.insert("scaleTargetRef".to_owned(), json!({"name": WORKLOAD}));
    let triggers = spec.get_mut("triggers").and_then(Value::as_array_mut);
    for trigger in triggers.into_iter().flatten() {
        let metadata = trigger
            .as_object_mut()
            .map(|trigger| trigger.entry("metadata").or_insert(json!({})));
        if let Some(Value::Object(metadata)) = metadata {
            metadata.insert(
                "scalerAddress".to_owned(),
                json!(format!("dns:///{}:{PORT}", host(case))),
            );
        }
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": WORKLOAD},
        "spec": spec,
    })
}

/// Tells for each call to the scaler whether KEDA made it for the HPA controller or by itself. A
/// call for the HPA controller comes while that waits for the metric. Where more calls come in such
/// a time than one read makes, it is not known which is whose.
fn tell_callers_apart(timeline: &mut [Entry]) {
    let reads: Vec<(i64, i64)> = timeline
        .iter()
        .filter_map(|entry| match entry.what {
            What::MetricRead { until_us, .. } => Some((entry.at_us, until_us)),
            _ => None,
        })
        .collect();
    let during = |at: i64| {
        reads
            .iter()
            .position(|(from, until)| (*from..=*until).contains(&at))
    };
    // One read asks for a value once, and once more when the first attempt failed.
    let mut values = vec![0; reads.len()];
    for entry in timeline.iter() {
        let What::Call {
            rpc: Rpc::GetMetrics,
            ref answer,
            ..
        } = entry.what
        else {
            continue;
        };
        let failed = matches!(answer, super::recording::Answer::Error(_));
        if let Some(read) = during(entry.at_us) {
            values[read] += if failed { 1 } else { 2 };
        }
    }
    for entry in timeline {
        if let What::Call { ref mut by, .. } = entry.what {
            *by = match during(entry.at_us) {
                None => By::Keda,
                Some(read) if values[read] <= 2 => By::Hpa,
                Some(_) => By::Either,
            };
        }
    }
}
