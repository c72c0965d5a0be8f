//! Recordings of the real KEDA and HPA controller, and their replay.
//!
//! `e2e` runs the sequences of `e2e/sequences` against a real control plane and writes one JSON
//! document for each: the settings, the script that the scaler followed, and all that was seen.
//! [`replay`] lets an [`Autoscaler`] live through the same script, and [`compare`] finds the first
//! decision in which the two differ.
//!
//! What a replay takes from the recording, besides the script: how many pods existed and were ready
//! when, what others wrote into the replica count, and when the controllers looked (their phase is
//! chance). All decisions are the model's own, and it lives on with their consequences.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::Deserialize;

use crate::autoscaler::{Autoscaler, Event};
use crate::calls::{Answer, Call, CallError, CallId, MetricSpec, MetricValue, Push, Request};
use crate::drive;
use crate::hpa::ControllerSettings;
use crate::keda::{InvalidScaledObject, ScaledObject, ScaledObjectSpec, Trigger};
use crate::workload::{Workload, Writer};

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
    /// What the replay does not need.
    Stream {},
    /// See above.
    Push {},
    /// See above.
    MetricRead {},
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

/// Lives through a recording's script and returns the model's changes.
///
/// # Errors
/// If the ScaledObject is not one that is modelled.
pub fn replay(recording: &Recording) -> Result<Vec<Change>, InvalidScaledObject> {
    let settings = &recording.settings;
    let controller = ControllerSettings {
        sync_period_seconds: settings.hpa_sync_s,
        downscale_stabilization_seconds: settings.downscale_stabilisation_s,
        tolerance: settings.tolerance,
    };
    let object = ScaledObject {
        spec: settings.scaled_object.clone(),
        ..ScaledObject::default()
    };
    let start = Timestamp::from_unix_nanos(recording.start_unix_us.unwrap_or(1_800_000_000_000_000) * 1000);
    let first_call = recording
        .timeline
        .iter()
        .find(|entry| matches!(entry.what, What::Call { .. }));
    let created = start.plus(first_call.map_or(Duration::ZERO, |entry| since_start(entry.at_us)));
    let names = object.spec.triggers.iter().map(trigger_name).collect();
    let inputs = inputs(recording);
    let follows_syncs = inputs.iter().any(|(_, input)| matches!(input, Input::Sync));
    let mut replay = Replay {
        start,
        autoscaler: Autoscaler::new(object, controller, created)?,
        workload: Workload::settled(settings.pods.replicas),
        scaler: ScriptedScaler {
            names,
            answers: BTreeMap::new(),
        },
        streams: BTreeMap::new(),
        follows_syncs,
        changes: Vec::new(),
    };
    for (at, input) in inputs {
        let at = start.plus(at);
        replay.run_until(at);
        replay.take(at, input);
    }
    Ok(replay.changes)
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

/// Something that the replay is told.
#[derive(Clone, Debug)]
enum Input {
    Script(ScriptStep),
    Pods { existing: i32, ready: i32 },
    WrittenByOther(i32),
    FirstPoll,
    Sync,
    End,
}

/// The script and the parts of the timeline that are no decisions, in the order of time.
fn inputs(recording: &Recording) -> Vec<(Duration, Input)> {
    let script = recording.script.iter();
    let mut inputs: Vec<(Duration, Input)> = script
        .map(|step| {
            (
                Duration::from_secs_f64(step.at.clamp(0.0, 1e6)),
                Input::Script(step.clone()),
            )
        })
        .collect();
    let mut last_read: Option<i64> = None;
    let mut polled = false;
    for entry in &recording.timeline {
        let input = match entry.what {
            What::Replicas { existing, ready } => Input::Pods { existing, ready },
            What::ScaleWrite {
                by: By::Other,
                replicas,
                status: 200..=299,
            } => Input::WrittenByOther(replicas),
            What::Call {
                rpc: Rpc::GetMetrics,
                by: By::Keda,
            } if !polled => {
                polled = true;
                Input::FirstPoll
            }
            // Another read shortly after is the same sync, trying again after a conflict.
            What::ScaleRead { by: By::Hpa } if last_read.is_none_or(|last| entry.at_us - last > 300_000) => {
                last_read = Some(entry.at_us);
                Input::Sync
            }
            _ => continue,
        };
        inputs.push((since_start(entry.at_us), input));
    }
    inputs.sort_by_key(|(at, _)| *at);
    let end = recording
        .timeline
        .last()
        .map_or(Duration::ZERO, |entry| since_start(entry.at_us));
    inputs.push((end, Input::End));
    inputs
}

struct Replay {
    start: Timestamp,
    autoscaler: Autoscaler,
    workload: Workload,
    scaler: ScriptedScaler,
    /// Open push streams by trigger.
    streams: BTreeMap<usize, CallId>,
    follows_syncs: bool,
    changes: Vec<Change>,
}

impl Replay {
    fn run_until(&mut self, end: Timestamp) {
        while let Some(due) = self.autoscaler.next_due().filter(|due| *due <= end) {
            self.step(due);
        }
    }

    fn step(&mut self, now: Timestamp) {
        let step = drive::step(&mut self.autoscaler, now, &mut self.workload, &mut |_, call| {
            self.scaler.answer(call)
        });
        self.note(now, step);
    }

    fn take(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Script(step) => self.script(now, &step),
            Input::Pods { existing, ready } => {
                let Workload {
                    status_replicas,
                    pods,
                    ready_pods,
                    ..
                } = &mut self.workload;
                (*status_replicas, *pods, *ready_pods) = (existing, existing, ready);
            }
            Input::WrittenByOther(replicas) => self.workload.spec_replicas = replicas,
            Input::FirstPoll => self.autoscaler.poll_next_at(now),
            Input::Sync => self.autoscaler.sync_next_at(now),
            Input::End => {}
        }
        self.run_until(now);
    }

    fn script(&mut self, now: Timestamp, step: &ScriptStep) {
        self.scaler.take(step);
        for trigger in self.scaler.triggers(&step.trigger) {
            let stream = self.streams.get(&trigger).copied();
            let answers = self.scaler.answers(trigger);
            if step.target.is_some() && stream.is_some() {
                self.autoscaler
                    .specs_streamed(now, trigger, vec![answers.spec(&step.trigger)]);
            }
            if let Some(stream) = stream.filter(|_| step.push) {
                self.push(now, stream, answers.active);
            }
        }
    }

    fn push(&mut self, now: Timestamp, stream: CallId, active: bool) {
        let message = Push::Message(active);
        let scaler = &self.scaler;
        let step = drive::push(
            &mut self.autoscaler,
            now,
            stream,
            message,
            &mut self.workload,
            &mut |_, call| scaler.answer(call),
        );
        self.note(now, step);
    }

    fn note(&mut self, now: Timestamp, step: drive::Step) {
        for event in step.events {
            match event {
                Event::Scaled(decision) => self.changes.push(Change {
                    at: decision.at.since(self.start),
                    by: decision.by(),
                    to: decision.to,
                    cause: Some(decision.cause.to_string()),
                }),
                Event::PushCut { stream, .. } => self.streams.retain(|_, open| *open != stream),
                _ => {}
            }
        }
        if self.follows_syncs {
            self.autoscaler.sync_next_at(Timestamp::from_unix_nanos(u64::MAX));
        }
        let mut opened: VecDeque<(usize, CallId)> = step.streams.into();
        while let Some((trigger, stream)) = opened.pop_front() {
            // The scripted scaler sends the present state when a stream is opened.
            self.streams.insert(trigger, stream);
            let (name, answers) = (self.scaler.name(trigger), self.scaler.answers(trigger));
            self.autoscaler
                .specs_streamed(now, trigger, vec![answers.spec(&name)]);
            self.push(now, stream, answers.active);
        }
    }
}

/// The scaler of `e2e`, as the script tells it to be.
struct ScriptedScaler {
    names: Vec<String>,
    answers: BTreeMap<String, Answers>,
}

#[derive(Clone, Copy, Debug)]
struct Answers {
    target: f64,
    value: f64,
    active: bool,
    fails: bool,
    spec_fails: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            target: 10.0,
            value: 0.0,
            active: false,
            fails: false,
            spec_fails: false,
        }
    }
}

impl Answers {
    fn spec(self, name: &str) -> MetricSpec {
        MetricSpec {
            metric_name: name.to_owned(),
            target_size: 0,
            target_size_float: self.target,
        }
    }
}

impl ScriptedScaler {
    fn take(&mut self, step: &ScriptStep) {
        let answers = self.answers.entry(step.trigger.clone()).or_default();
        answers.value = step.value.unwrap_or(answers.value);
        answers.active = step.active.unwrap_or(answers.active);
        answers.target = step.target.unwrap_or(answers.target);
        answers.fails = step.fails.unwrap_or(answers.fails);
        answers.spec_fails = step.spec_fails.unwrap_or(answers.spec_fails);
    }

    fn triggers(&self, name: &str) -> Vec<usize> {
        (0..self.names.len())
            .filter(|index| self.name(*index) == name)
            .collect()
    }

    fn name(&self, trigger: usize) -> String {
        self.names.get(trigger).cloned().unwrap_or_default()
    }

    fn answers(&self, trigger: usize) -> Answers {
        self.answers.get(&self.name(trigger)).copied().unwrap_or_default()
    }

    fn answer(&self, call: &Call) -> Answer {
        let answers = self.answers(call.trigger);
        let fail = |fails: bool| {
            if fails {
                Err(CallError("the script says so".to_owned()))
            } else {
                Ok(())
            }
        };
        match call.request {
            Request::MetricSpec => Answer::MetricSpec(
                fail(answers.spec_fails).map(|()| vec![answers.spec(&self.name(call.trigger))]),
            ),
            Request::Metrics { .. } => {
                Answer::Metrics(fail(answers.fails).map(|()| vec![MetricValue::new(answers.value)]))
            }
            Request::IsActive | Request::StreamIsActive => {
                Answer::IsActive(fail(answers.fails).map(|()| answers.active))
            }
        }
    }
}

fn trigger_name(trigger: &Trigger) -> String {
    trigger
        .metadata
        .get("trigger")
        .cloned()
        .unwrap_or_else(default_trigger)
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
