//! Recordings of the real KEDA and HPA controller, and their replay.
//!
//! `e2e` runs the sequences of `e2e/sequences` against a real control plane and writes one JSON
//! document for each: the settings, the script that the scaler followed, and all that was seen.
//! [`replay`] lets an [`crate::Autoscaler`] live through the same script, and [`compare`] finds the first
//! decision in which the two differ.
//!
//! What a replay takes from the recording, besides the script: how many pods existed and were ready
//! when, what others wrote into the replica count, and when the controllers looked (their phase is
//! chance). All decisions are the model's own, and it lives on with their consequences.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::keda::ScaledObjectSpec;
use crate::workload::Writer;

mod replay;

pub use replay::replay;

/// One recorded sequence. The fields that the replay does not need are skipped.
#[derive(Clone, Debug, Deserialize)]
pub struct Recording {
    /// The version of the format: 1.
    pub format: u32,
    /// The name of the sequence.
    pub name: String,
    /// When it began, microseconds since the Unix epoch. Statuses hold whole seconds of that clock,
    /// so without it a cooldown may end up to a second earlier or later.
    #[serde(default)]
    pub start_unix_us: Option<u64>,
    /// What it ran with.
    pub settings: Settings,
    /// What the scaler answered when.
    pub script: Vec<ScriptStep>,
    /// What was seen, in the order of time.
    pub timeline: Vec<Entry>,
}

/// What a sequence ran with.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// The HPA controller's period, seconds.
    pub hpa_sync_s: f64,
    /// Its window for scaling down, seconds.
    pub downscale_stabilisation_s: f64,
    /// Its tolerance.
    pub tolerance: f64,
    /// The pods.
    pub pods: Pods,
    /// The `spec` of the ScaledObject.
    pub scaled_object: ScaledObjectSpec,
}

/// The pods at the start.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pods {
    /// How many there are.
    #[serde(default)]
    pub replicas: i32,
}

/// From a time on the scaler answers so; what is not named stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptStep {
    /// Seconds since the start.
    pub at: f64,
    /// The trigger, by the metadata key `trigger`.
    #[serde(default = "default_trigger")]
    pub trigger: String,
    /// The value of `GetMetrics`; 0 before the first.
    pub value: Option<f64>,
    /// The answer of `IsActive`; false before the first.
    pub active: Option<bool>,
    /// The target in the metric spec; 10 before the first.
    pub target: Option<f64>,
    /// Whether `GetMetrics` and `IsActive` fail.
    pub fails: Option<bool>,
    /// Whether `GetMetricSpec` fails.
    pub spec_fails: Option<bool>,
    /// Whether the activity is pushed now.
    #[serde(default)]
    pub push: bool,
}

/// Something seen at a time.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Microseconds since the start.
    pub at_us: i64,
    /// What was seen.
    #[serde(flatten)]
    pub what: What,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The HPA controller, or KEDA on its behalf.
    Hpa,
    /// KEDA by itself.
    Keda,
    /// One of them.
    Either,
    /// Somebody else.
    Other,
}

/// What was seen.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// KEDA called the scaler.
    Call {
        /// The call.
        rpc: Rpc,
        /// For whom.
        by: By,
        /// The trigger that was asked for, by the metadata key `trigger`.
        #[serde(default = "default_trigger")]
        trigger: String,
    },
    /// The scale was read; the HPA controller does so at the start of each sync.
    ScaleRead {
        /// By whom.
        by: By,
    },
    /// The replica count was written.
    ScaleWrite {
        /// By whom.
        by: By,
        /// The new count.
        replicas: i32,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The Deployment and its pods, after a change.
    Replicas {
        /// Pods that exist.
        existing: i32,
        /// Pods that are ready.
        ready: i32,
    },
    /// The HPA controller asked for a metric.
    MetricRead {
        /// When it was answered, microseconds since the start.
        until_us: i64,
    },
    /// What the replay does not need.
    Stream {},
    /// See above.
    Push {},
    /// See above.
    HpaStatus {},
    /// See above.
    ScaledObjectStatus {},
    /// See above.
    Event {},
}

/// A call of the external scaler's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the contract's own")]
pub enum Rpc {
    GetMetricSpec,
    GetMetrics,
    IsActive,
    StreamIsActive,
    StreamMetricSpec,
}

/// A change of the replica count, real or replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Since the start.
    pub at: Duration,
    /// Who made it.
    pub by: Writer,
    /// The new count.
    pub to: i32,
    /// Why; only of replayed ones.
    pub cause: Option<String>,
}

/// How far apart the times of the same decision may be.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of the HPA, whose syncs the replay follows.
    pub hpa: Duration,
    /// Of KEDA, which polls by its own timer.
    pub keda: Duration,
}

/// The first decision in which a replay and its recording differ.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "decision {number}: really {}, in the model {}",
    Shown(real.as_ref()),
    Shown(replayed.as_ref())
)]
pub struct Difference {
    /// Its number, from 1.
    pub number: usize,
    /// What really happened; nothing where the model did one thing too many.
    pub real: Option<Change>,
    /// What the model did; nothing where it did one thing too few.
    pub replayed: Option<Change>,
}

impl Recording {
    /// The changes that KEDA and the HPA really made.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut current = self.settings.pods.replicas;
        let mut changes = Vec::new();
        for entry in &self.timeline {
            let What::ScaleWrite {
                by,
                replicas,
                status: 200..=299,
            } = entry.what
            else {
                continue;
            };
            let by = match by {
                By::Hpa => Some(Writer::Hpa),
                By::Keda => Some(Writer::Keda),
                By::Either | By::Other => None,
            };
            if let Some(by) = by.filter(|_| replicas != current) {
                changes.push(Change {
                    at: since_start(entry.at_us),
                    by,
                    to: replicas,
                    cause: None,
                });
            }
            current = replicas;
        }
        changes
    }
}

/// Compares what really happened with a replay: the same changes by the same writers in the same
/// order, at about the same times.
///
/// # Errors
/// The first difference.
pub fn compare(real: &[Change], replayed: &[Change], tolerance: Tolerance) -> Result<(), Difference> {
    for index in 0..real.len().max(replayed.len()) {
        let (real, replayed) = (real.get(index), replayed.get(index));
        let same = real.zip(replayed).is_some_and(|(real, replayed)| {
            let allowed = if real.by == Writer::Hpa {
                tolerance.hpa
            } else {
                tolerance.keda
            };
            (real.by, real.to) == (replayed.by, replayed.to) && real.at.abs_diff(replayed.at) <= allowed
        });
        if !same {
            return Err(Difference {
                number: index + 1,
                real: real.cloned(),
                replayed: replayed.cloned(),
            });
        }
    }
    Ok(())
}

fn default_trigger() -> String {
    "demand".to_owned()
}

fn since_start(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

struct Shown<'a>(Option<&'a Change>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(change) = self.0 else {
            return out.write_str("none");
        };
        write!(
            out,
            "{:?} set {} at {:.3} s",
            change.by,
            change.to,
            change.at.as_secs_f64()
        )?;
        change
            .cause
            .as_ref()
            .map_or(Ok(()), |cause| write!(out, " ({cause})"))
    }
}
