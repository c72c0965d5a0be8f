use std::fmt;

use rheostat_cluster::{ScaleTarget, Workload};
use rheostat_policy::{
    Answer, Basis, Claim, DEFAULT_TOLERANCE, DeviceResult, EngineResult, Evaluation, MAIN_SIGNAL, MetricType,
    Outcome, PodPart, PodResult, PodState, Trigger, WorkloadResult, hpa_desired,
};
use rheostat_reading::{Observed, Timestamp};
use serde::Serialize;

use crate::evaluator::manual_demand;
use crate::policy_explanation::PolicyExplanation;
use crate::snapshot::{TriggerState, WorkloadState};

/// Why a workload's numbers are what they are: for programs as JSON, for people as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadReport {
    /// Namespace.
    pub namespace: String,
    /// Name of the ScaledObject or ScaledJob.
    pub name: String,
    /// Which of the two.
    pub kind: &'static str,
    /// `minReplicaCount`.
    pub min_replicas: u32,
    /// `maxReplicaCount`.
    pub max_replicas: u32,
    /// Whether KEDA was told to pause.
    pub paused: bool,
    /// What is scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetReport>,
    /// Why what is scaled is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_problem: Option<String>,
    /// Its external triggers.
    pub triggers: Vec<TriggerReport>,
    /// How many triggers of other types it has.
    pub other_triggers: usize,
}

/// What is scaled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetReport {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Replicas in its spec.
    pub spec_replicas: u32,
    /// Those that were asked for, where the HPA took the surge of a rollout for the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_for: Option<u32>,
    /// Replicas created.
    pub status_replicas: u32,
}

/// One trigger: the answer and the way to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TriggerReport {
    /// Place among all triggers of the object.
    pub index: usize,
    /// Signal, where the trigger means something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Target in the signal's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// How the HPA reads the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<MetricType>,
    /// Remarks on the metadata, and on the annotation that they refer to.
    pub warnings: Vec<String>,
    /// What KEDA is told.
    pub answer: AnswerReport,
    /// What the HPA's arithmetic makes of the value at the present size, before its limits,
    /// behaviours and windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa_wants: Option<u32>,
    /// The way from the pods to the value in words, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// Signals that have one number for the whole workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumberReport>,
    /// Why the policy wants as many replicas as it does, where the trigger names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyExplanation>,
    /// Each pod that was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
}

/// A signal that has one number for the whole workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberReport {
    /// The signal's name within the trigger.
    pub signal: String,
    /// The number, in the signal's base unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
    /// Seconds since it was taken; missing for a number of the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// What KEDA is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerReport {
    /// For `GetMetrics`; missing while that is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// For `IsActive`; missing while that is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// What it rests on: `current`, `held`, `first_look`, `watching`, `at_zero` or `error`.
    pub basis: &'static str,
    /// The same in words.
    pub because: String,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodReport {
    /// Name.
    pub name: String,
    /// Whether it serves.
    pub state: PodState,
    /// Its number in the signal's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Its devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceReport>,
    /// What its engine says, once for each signal that asks for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub engine: Vec<EngineReadingReport>,
}

/// What a pod's engine says for one signal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineReadingReport {
    /// The signal's name within the trigger.
    pub signal: String,
    /// Which engine it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<&'static str>,
    /// What was read of it.
    #[serde(flatten)]
    pub observed: ObservedReport,
    /// Why it could not be asked when it was last tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What a person should know of the reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One device of a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// NVML UUID.
    pub id: String,
    /// Product name.
    pub model: String,
    /// Whether the pod has it for itself.
    pub claim: Claim,
    /// What was read of it.
    #[serde(flatten)]
    pub observed: ObservedReport,
}

/// A reading, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObservedReport {
    /// The reading, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
    /// Seconds since it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// Seconds that it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// How directly it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// Why there is no reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

impl WorkloadReport {
    /// With every pod, device and step.
    #[must_use]
    pub fn full(state: &WorkloadState, now: Timestamp) -> Self {
        Self::new(state, now, true)
    }

    /// The answers only.
    #[must_use]
    pub fn brief(state: &WorkloadState, now: Timestamp) -> Self {
        Self::new(state, now, false)
    }

    fn new(state: &WorkloadState, now: Timestamp, full: bool) -> Self {
        let Workload { id, target, .. } = &*state.workload;
        Self {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            kind: id.kind.as_str(),
            min_replicas: state.workload.min_replicas,
            max_replicas: state.workload.max_replicas,
            paused: state.workload.paused,
            target: target
                .as_ref()
                .ok()
                .map(|target| TargetReport::new(target, &state.triggers)),
            target_problem: target.as_ref().err().map(ToString::to_string),
            triggers: state
                .triggers
                .iter()
                .map(|trigger| TriggerReport::new(&state.workload, trigger, now, full))
                .collect(),
            other_triggers: state.workload.other_triggers,
        }
    }
}

impl TargetReport {
    fn new(target: &ScaleTarget, triggers: &[TriggerState]) -> Self {
        let evaluations = triggers
            .iter()
            .filter_map(|trigger| trigger.evaluation.as_deref());
        let asked_for = evaluations.map(|evaluation| evaluation.replicas).min();
        Self {
            asked_for: asked_for.filter(|replicas| *replicas < target.spec_replicas),
            kind: target.kind.clone(),
            name: target.name.clone(),
            spec_replicas: target.spec_replicas,
            status_replicas: target.status_replicas,
        }
    }
}

impl TriggerReport {
    fn new(workload: &Workload, state: &TriggerState, now: Timestamp, full: bool) -> Self {
        let trigger = state.trigger();
        let evaluation = state.evaluation.as_deref();
        let steps = match (trigger, evaluation) {
            (Some(trigger), Some(evaluation)) if full => {
                let explanation = evaluation
                    .explain(trigger)
                    .with_tolerance(tolerance(workload, evaluation));
                explanation.to_string().lines().map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let (pods, numbers) = match (trigger, evaluation) {
            (Some(trigger), Some(evaluation)) if full => {
                let pods = evaluation.pods.iter();
                let numbers = evaluation.workload.iter();
                (
                    pods.map(|pod| PodReport::new(trigger, pod, now)).collect(),
                    numbers.map(|one| NumberReport::new(trigger, one, now)).collect(),
                )
            }
            _ => (Vec::new(), Vec::new()),
        };
        let mut warnings: Vec<String> = match state.parsed.as_ref() {
            Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        };
        // At zero, KEDA is not told.
        let manual = trigger.and_then(|trigger| manual_demand(trigger, workload));
        warnings.extend(manual.and_then(Result::err).map(|error| error.to_string()));
        Self {
            index: state.index,
            signal: trigger.map(|trigger| trigger.subject().into_owned()),
            target: trigger.map(rheostat_policy::Trigger::target),
            metric_type: evaluation.map(|evaluation| evaluation.metric_type),
            warnings,
            answer: AnswerReport::new(&state.answer),
            hpa_wants: evaluation.and_then(|evaluation| hpa_wants(workload, evaluation, &state.answer)),
            steps,
            numbers,
            policy: state
                .policy
                .as_deref()
                .filter(|_| full)
                .map(PolicyExplanation::new),
            pods,
        }
    }
}

impl AnswerReport {
    fn new(answer: &Answer) -> Self {
        Self {
            value: answer.value(),
            active: answer.active(),
            basis: basis(answer),
            because: answer.to_string(),
        }
    }
}

impl PodReport {
    fn new(trigger: &Trigger, pod: &PodResult, now: Timestamp) -> Self {
        Self {
            name: pod.name.to_string(),
            state: pod.state,
            number: pod
                .number
                .as_ref()
                .and_then(|number| number.as_ref().ok().copied()),
            unknown: pod
                .number
                .as_ref()
                .and_then(|number| Some(number.as_ref().err()?.to_string())),
            devices: pod
                .devices()
                .map(|device| DeviceReport::new(device, now))
                .collect(),
            engine: pod
                .engines()
                .map(|(part, engine)| EngineReadingReport::new(trigger, part, engine, now))
                .collect(),
        }
    }
}

impl DeviceReport {
    fn new(device: &DeviceResult, now: Timestamp) -> Self {
        Self {
            id: device.id.to_string(),
            model: device.model.to_string(),
            claim: device.claim,
            observed: ObservedReport::new(&device.observed, now),
        }
    }
}

impl EngineReadingReport {
    fn new(trigger: &Trigger, part: &PodPart, result: &EngineResult, now: Timestamp) -> Self {
        Self {
            signal: name_of(trigger, part.signal),
            engine: result.engine.map(rheostat_engines::Engine::name),
            observed: ObservedReport::new(&result.observed, now),
            failure: result.failure.clone(),
            notes: result.notes.clone(),
        }
    }
}

impl NumberReport {
    fn new(trigger: &Trigger, result: &WorkloadResult, now: Timestamp) -> Self {
        Self {
            signal: name_of(trigger, result.signal),
            number: result.number.as_ref().ok().copied(),
            age_seconds: result.at.map(|at| now.since(at).as_secs_f64()),
            absent: result.number.as_ref().err().map(ToString::to_string),
        }
    }
}

impl ObservedReport {
    fn new(observed: &Observed, now: Timestamp) -> Self {
        let reading = observed.as_ref().ok();
        Self {
            reading: reading.map(|reading| reading.amount.to_string()),
            age_seconds: reading.map(|reading| reading.age(now).as_secs_f64()),
            window_seconds: reading.map(|reading| reading.window.as_secs_f64()),
            quality: reading.map(|reading| reading.quality.to_string()),
            absent: observed.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What the signal at `place` is called: by its name in expressions, else by what it is.
fn name_of(trigger: &Trigger, place: usize) -> String {
    let Some(signal) = trigger.signals().get(place) else {
        return String::new();
    };
    if signal.name == MAIN_SIGNAL {
        signal.signal.name().to_owned()
    } else {
        signal.name.clone()
    }
}

/// What an answer rests on, in a word.
pub(crate) fn basis(answer: &Answer) -> &'static str {
    match answer {
        Answer::Value {
            basis: Basis::Current,
            ..
        } => "current",
        Answer::Value {
            basis: Basis::Held { .. },
            ..
        } => "held",
        Answer::Value {
            basis: Basis::FirstLook { .. },
            ..
        } => "first_look",
        Answer::Value {
            basis: Basis::Watching { .. },
            ..
        } => "watching",
        Answer::AtZero => "at_zero",
        Answer::Error { .. } => "error",
    }
}

/// What the HPA's arithmetic makes of the answered value at the present size.
fn hpa_wants(workload: &Workload, evaluation: &Evaluation, answer: &Answer) -> Option<u32> {
    let value = answer.value()?;
    let target = workload.target.as_ref().ok()?;
    (target.spec_replicas > 0).then(|| {
        hpa_desired(
            evaluation.metric_type,
            value,
            evaluation.target,
            evaluation.replicas_for_hpa,
            evaluation.coverage.ready_for_hpa(),
            tolerance(workload, evaluation),
        )
    })
}

/// The HPA's tolerance in the direction that the value points.
fn tolerance(workload: &Workload, evaluation: &Evaluation) -> f64 {
    let value = match evaluation.outcome {
        Outcome::Known { value, .. } => value,
        Outcome::AtZero | Outcome::Unknown => 0.0,
    };
    let rising = match evaluation.metric_type {
        MetricType::AverageValue => value > evaluation.target * f64::from(evaluation.replicas_for_hpa),
        MetricType::Value => value > evaluation.target,
    };
    let tolerances = &workload.tolerances;
    let set = if rising {
        tolerances.scale_up
    } else {
        tolerances.scale_down
    };
    set.unwrap_or(DEFAULT_TOLERANCE)
}

impl fmt::Display for WorkloadReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} {}/{}", self.kind, self.namespace, self.name)?;
        match (&self.target, &self.target_problem) {
            (Some(target), _) => writeln!(
                out,
                "  scales {} {}: {} replicas asked for{}, {} created; between {} and {}{}",
                target.kind,
                target.name,
                target.asked_for.unwrap_or(target.spec_replicas),
                target.asked_for.map_or_else(String::new, |_| format!(
                    " (the HPA took a rollout's surge for the size, and set {})",
                    target.spec_replicas
                )),
                target.status_replicas,
                self.min_replicas,
                self.max_replicas,
                if self.paused { "; paused" } else { "" },
            )?,
            (None, Some(problem)) => writeln!(out, "  what it scales is not known: {problem}")?,
            (None, None) => {}
        }
        for trigger in &self.triggers {
            writeln!(out)?;
            trigger.fmt(out)?;
        }
        if self.other_triggers > 0 {
            let others = self.other_triggers;
            writeln!(
                out,
                "\n  {others} more triggers are not Rheostat's; the HPA takes the largest wish of all"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for TriggerReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "  trigger {}", self.index)?;
        if let (Some(signal), Some(target)) = (&self.signal, self.target) {
            write!(out, ": {signal}, target {target}")?;
        }
        if let Some(metric_type) = self.metric_type {
            write!(out, ", {metric_type}")?;
        }
        writeln!(out)?;
        for warning in &self.warnings {
            writeln!(out, "    warning: {warning}")?;
        }
        for step in &self.steps {
            writeln!(out, "    {step}")?;
        }
        if let Some(policy) = &self.policy {
            policy.fmt(out)?;
        }
        writeln!(out, "    answer: {}", self.answer.because)?;
        match self.hpa_wants {
            Some(replicas) => writeln!(
                out,
                "    the HPA's arithmetic makes that {replicas} replicas, before its limits, behaviours and windows"
            ),
            None => Ok(()),
        }
    }
}
