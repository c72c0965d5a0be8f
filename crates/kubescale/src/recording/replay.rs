//! A recording's script, lived through by the model.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rheostat_reading::Timestamp;

use super::{By, Change, Entry, Recording, Rpc, ScriptStep, What, default_trigger, since_start};
use crate::autoscaler::{Autoscaler, Event};
use crate::calls::{Answer, Call, CallError, CallId, MetricSpec, MetricValue, Push, Request};
use crate::drive;
use crate::hpa::ControllerSettings;
use crate::keda::{InvalidScaledObject, ScaledObject, Trigger};
use crate::workload::Workload;

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
    let created = start.plus(first_poll(recording));
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

/// Something that the replay is told.
#[derive(Clone, Debug)]
enum Input {
    Script(ScriptStep),
    Pods { existing: i32, ready: i32 },
    WrittenByOther(i32),
    Sync,
    End,
}

/// The script and the parts of the timeline that are no decisions, in the order of time.
fn inputs(recording: &Recording) -> Vec<(Duration, Input)> {
    let syncs = syncs(recording);
    let script = recording.script.iter();
    let mut inputs: Vec<(Duration, Input)> = script
        .map(|step| (taken_at(recording, &syncs, step), Input::Script(step.clone())))
        .collect();
    inputs.extend(syncs.iter().map(|sync| (sync.counts_at, Input::Sync)));
    for entry in &recording.timeline {
        let input = match entry.what {
            What::Replicas { existing, ready } => Input::Pods { existing, ready },
            What::ScaleWrite {
                by: By::Other,
                replicas,
                status: 200..=299,
            } => Input::WrittenByOther(replicas),
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

/// One round of the HPA controller, since the start of the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sync {
    begins_at: Duration,
    /// Pods are counted once the metrics are there, so that is when the model syncs.
    counts_at: Duration,
}

fn syncs(recording: &Recording) -> Vec<Sync> {
    let mut syncs: Vec<Sync> = Vec::new();
    for entry in &recording.timeline {
        let at = since_start(entry.at_us);
        match entry.what {
            // Another read shortly after is the same sync, trying again after a conflict.
            What::ScaleRead { by: By::Hpa }
                if syncs
                    .last()
                    .is_none_or(|last| at - last.begins_at > Duration::from_millis(300)) =>
            {
                syncs.push(Sync {
                    begins_at: at,
                    counts_at: at,
                });
            }
            What::MetricRead { until_us } => {
                if let Some(sync) = syncs.last_mut() {
                    sync.counts_at = since_start(until_us);
                }
            }
            _ => {}
        }
    }
    syncs
}

/// When a step of the script counts: at its time, or right after the sync that was under way then and
/// had its answer already. The model is answered when it syncs, and would be answered by the step.
fn taken_at(recording: &Recording, syncs: &[Sync], step: &ScriptStep) -> Duration {
    let at = Duration::from_secs_f64(step.at.clamp(0.0, 1e6));
    let Some(sync) = syncs
        .iter()
        .find(|sync| (sync.begins_at..=sync.counts_at).contains(&at))
    else {
        return at;
    };
    let answered = recording
        .timeline
        .iter()
        .rev()
        .find_map(|entry| match &entry.what {
            // Where the first attempt failed, the second is the one that counts.
            What::Call {
                rpc: Rpc::GetMetrics,
                by: By::Hpa | By::Either,
                trigger,
            } if *trigger == step.trigger => {
                let answered = since_start(entry.at_us);
                (sync.begins_at..=sync.counts_at)
                    .contains(&answered)
                    .then_some(answered)
            }
            _ => None,
        });
    if answered.is_some_and(|answered| answered <= at) {
        sync.counts_at + Duration::from_micros(1)
    } else {
        at
    }
}

/// When the scale loop began. The ScaledObject is taken to be created then: the model needs no time
/// to make an HPA of it.
fn first_poll(recording: &Recording) -> Duration {
    let calls = || {
        recording
            .timeline
            .iter()
            .filter(|entry| matches!(entry.what, What::Call { .. }))
    };
    let is_poll = |entry: &&Entry| {
        matches!(
            entry.what,
            What::Call {
                rpc: Rpc::GetMetrics,
                by: By::Keda,
                ..
            }
        )
    };
    let first_call = calls().next().map_or(0, |entry| entry.at_us);
    // A later one is not the first: metric specs that fail come before any poll.
    let poll = calls()
        .find(is_poll)
        .filter(|entry| entry.at_us - first_call < 1_000_000);
    since_start(poll.map_or(first_call, |entry| entry.at_us))
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
