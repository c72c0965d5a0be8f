//! The format of a recording.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sequence::{Pods, Step};

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// What the real KEDA and HPA did with one sequence.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Recording {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) description: String,
    /// When it began, in microseconds since the Unix epoch: statuses hold whole seconds of that
    /// clock.
    pub(crate) start_unix_us: i64,
    pub(crate) settings: Settings,
    /// The script as it was written; times count from the start of the recording.
    pub(crate) script: Vec<Step>,
    /// All that was seen, in the order of time.
    pub(crate) timeline: Vec<Entry>,
}

/// What the sequence ran with.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Settings {
    pub(crate) kubernetes: String,
    pub(crate) keda: String,
    /// The HPA controller's period.
    pub(crate) hpa_sync_s: f64,
    /// The HPA controller's default for `behavior.scaleDown.stabilizationWindowSeconds`.
    pub(crate) downscale_stabilisation_s: f64,
    /// The HPA controller's default tolerance.
    pub(crate) tolerance: f64,
    pub(crate) pods: Pods,
    /// The `spec` of the ScaledObject as kube-apiserver stored it.
    pub(crate) scaled_object: Value,
    /// The `spec` of the HPA that KEDA made of it.
    pub(crate) hpa: Value,
}

/// Something seen at a time.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// Microseconds since the start of the recording.
    pub(crate) at_us: i64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// Who did something.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// The HPA controller; of a call to the scaler, KEDA on its behalf.
    Hpa,
    /// KEDA's operator by itself: its scale loop, a push, or a reconciliation.
    Keda,
    /// Of a call that came while both were calling.
    Either,
    /// Somebody else, such as the test by hand.
    Other,
}

/// What was seen.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum What {
    /// KEDA called the scaler, and was answered at once.
    Call {
        rpc: Rpc,
        by: By,
        trigger: String,
        answer: Answer,
    },
    /// KEDA opened or lost a stream.
    Stream { rpc: Rpc, trigger: String, open: bool },
    /// The scaler sent an activity on the open streams of a trigger.
    Push {
        trigger: String,
        active: bool,
        streams: usize,
    },
    /// Somebody read the scale of the Deployment. The HPA controller does so at the start of each
    /// of its rounds.
    ScaleRead { by: By, wanted: i32, existing: i32 },
    /// The HPA controller asked for the metric of a trigger, and was answered at `until_us`.
    MetricRead {
        metric: String,
        status: u16,
        until_us: i64,
    },
    /// Somebody set the replica count.
    ScaleWrite { by: By, replicas: i32, status: u16 },
    /// The replicas that the Deployment asks for and that exist, and the pods that are ready, at each
    /// change.
    Replicas { wanted: i32, existing: i32, ready: i32 },
    /// The status of the HPA, at each change.
    HpaStatus {
        current: i32,
        desired: i32,
        last_scale_us: Option<i64>,
        conditions: Conditions,
    },
    /// The status of the ScaledObject, at each change. `health` counts the failures of each metric
    /// where there is a fallback.
    ScaledObjectStatus {
        last_active_us: Option<i64>,
        health: Value,
        conditions: Conditions,
    },
    /// An event, as users see it.
    Event {
        object: String,
        reason: String,
        message: String,
    },
}

/// The conditions of an object: of each type its status and its reason.
pub(crate) type Conditions = BTreeMap<String, (String, String)>;

/// A call of KEDA's contract.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rpc {
    GetMetricSpec,
    GetMetrics,
    IsActive,
    StreamIsActive,
    StreamMetricSpec,
}

/// What the scaler answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To `GetMetricSpec`.
    Target(f64),
    /// To `GetMetrics`.
    Value(f64),
    /// To `IsActive`.
    Active(bool),
    /// UNAVAILABLE, with this message.
    Error(String),
}

impl Recording {
    /// The recording as JSON, one entry of the timeline a line.
    pub(crate) fn to_text(&self) -> Result<String> {
        let mut text = String::from("{\n");
        let mut field = |name: &str, value: Value| text.push_str(&format!("  \"{name}\": {value},\n"));
        field("format", json!(self.format));
        field("name", json!(self.name));
        field("description", json!(self.description));
        field(
            "settings",
            serde_json::to_value(&self.settings).context("writing the settings")?,
        );
        field(
            "script",
            serde_json::to_value(&self.script).context("writing the script")?,
        );
        let lines: Vec<String> = self
            .timeline
            .iter()
            .map(|entry| serde_json::to_string(entry).map(|entry| format!("    {entry}")))
            .collect::<Result<_, _>>()
            .context("writing the timeline")?;
        text.push_str(&format!("  \"timeline\": [\n{}\n  ]\n}}\n", lines.join(",\n")));
        Ok(text)
    }

    /// The replica counts that the Deployment asked for, one after the other.
    pub(crate) fn replica_counts(&self) -> Vec<i32> {
        let mut counts: Vec<i32> = self
            .timeline
            .iter()
            .filter_map(|entry| match entry.what {
                What::Replicas { wanted, .. } => Some(wanted),
                _ => None,
            })
            .collect();
        counts.dedup();
        counts
    }
}

/// Microseconds from `start` to `moment`.
pub(crate) fn micros(start: Timestamp, moment: Timestamp) -> i64 {
    moment.as_microsecond() - start.as_microsecond()
}
