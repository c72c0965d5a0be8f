use std::fmt;

use rheostat_expression::{Expression, Value};
use rheostat_reading::Amount;

use crate::pod::pod_values;
use crate::{
    Activity, Bound, Bounds, Claim, DEFAULT_TOLERANCE, DeviceResult, EngineResult, Evaluation, Evidence,
    GuardStep, Hold, Load, MetricType, NamedSignal, Outcome, PodPart, PodResult, PodState, Signal, Step,
    Trigger, WorkloadResult, hpa_desired,
};

/// Reasons that are named one by one in an error; the rest is counted.
const NAMED: usize = 5;

/// An [`Evaluation`] in words: each pod, its devices, each step, and what the HPA makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'a> {
    evaluation: &'a Evaluation,
    trigger: &'a Trigger,
    tolerance: f64,
}

impl Evaluation {
    /// This evaluation of `trigger` in words, for an HPA with the usual tolerance.
    #[must_use]
    pub fn explain<'a>(&'a self, trigger: &'a Trigger) -> Explanation<'a> {
        Explanation {
            evaluation: self,
            trigger,
            tolerance: DEFAULT_TOLERANCE,
        }
    }

    /// Why too little is known: how many of how many, and the first reasons.
    #[must_use]
    pub fn unknown_reason(&self) -> String {
        if let Some(reason) = &self.undecided {
            return reason.to_string();
        }
        let mut text = String::new();
        for (place, (_, reason)) in self.missing().enumerate() {
            text.push_str(if place == 0 { "" } else { "; " });
            text.push_str(&format!("a number of the workload is missing: {reason}"));
        }
        let mut unread = self.unread().peekable();
        if !text.is_empty() && unread.peek().is_none() {
            return text;
        }
        text.push_str(if text.is_empty() { "" } else { "; " });
        text.push_str(&format!(
            "{} of {} ready pods could be read",
            self.coverage.known, self.coverage.ready
        ));
        let quorum = self.steps.iter().find_map(|step| match step {
            Step::BelowQuorum { quorum } => Some(quorum),
            _ => None,
        });
        if let Some(quorum) = quorum {
            text.push_str(&format!(", quorum {quorum}"));
        }
        for (place, (pod, reason)) in unread.by_ref().take(NAMED).enumerate() {
            text.push_str(if place == 0 { ": " } else { "; " });
            text.push_str(&format!("{}: {reason}", pod.name));
        }
        match unread.count() {
            0 => {}
            more => text.push_str(&format!("; and {more} more")),
        }
        text
    }
}

impl Explanation<'_> {
    /// The same for an HPA with another tolerance.
    #[must_use]
    pub const fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    fn pod(&self, out: &mut fmt::Formatter<'_>, pod: &PodResult) -> fmt::Result {
        write!(out, "  pod {}: ", pod.name)?;
        match (&pod.number, pod.state) {
            (Some(Ok(number)), _) => writeln!(out, "{}", self.trigger.unit.show(*number))?,
            (Some(Err(reason)), _) => writeln!(out, "not known: {reason}")?,
            (None, PodState::Ready) => writeln!(out, "ready")?,
            (None, PodState::Asleep) => writeln!(out, "its engine sleeps: it serves nobody")?,
            (None, PodState::NotReady) => writeln!(out, "not ready, adds nothing")?,
            (None, PodState::Draining) => {
                writeln!(
                    out,
                    "terminating, adds nothing; it is ready, so that the HPA counts it"
                )?;
            }
            (None, PodState::Terminating) => writeln!(out, "terminating, adds nothing")?,
        }
        pod.parts.iter().try_for_each(|part| self.part(out, part))?;
        match &self.trigger.load {
            Load::PerPod(expression) if pod.state == PodState::Ready => {
                Self::expression(out, expression, &pod_values(self.trigger, &pod.parts), 4)
            }
            _ => Ok(()),
        }
    }

    fn part(&self, out: &mut fmt::Formatter<'_>, part: &PodPart) -> fmt::Result {
        let Some(signal) = self.trigger.signals.get(part.signal) else {
            return Ok(());
        };
        // One signal of devices needs no name: the pod's number is its.
        let alone = self.trigger.signals.len() == 1 && matches!(self.trigger.load, Load::Signal(_));
        match &part.evidence {
            Evidence::Devices(devices) => {
                if !alone {
                    write!(out, "    {}: ", called(signal))?;
                    match &part.number {
                        Ok(number) => writeln!(out, "{}", show(signal.signal, number.value))?,
                        Err(unknown) => writeln!(out, "not known: {unknown}")?,
                    }
                }
                devices.iter().try_for_each(|device| self.device(out, device))
            }
            Evidence::Engine(engine) => self.engine(out, signal, part, engine),
        }
    }

    fn engine(
        &self,
        out: &mut fmt::Formatter<'_>,
        signal: &NamedSignal,
        part: &PodPart,
        engine: &EngineResult,
    ) -> fmt::Result {
        write!(out, "    {}", called(signal))?;
        if let Some(engine) = engine.engine {
            write!(out, " ({engine})")?;
        }
        match (&engine.observed, &part.number) {
            (Ok(reading), _) => {
                write!(out, ": {}, {}", reading.amount, reading.quality)?;
                if !reading.window.is_zero() {
                    write!(out, " over {:.1?}", reading.window)?;
                }
                writeln!(out, ", {:.1?} old", reading.age(self.evaluation.at))?;
            }
            (Err(absent), Ok(_)) => writeln!(out, ": {absent}, counts as 0")?,
            (Err(_), Err(unknown)) => writeln!(out, ": no reading: {unknown}")?,
        }
        engine
            .notes
            .iter()
            .try_for_each(|note| writeln!(out, "      note: {note}"))
    }

    fn workload(&self, out: &mut fmt::Formatter<'_>, result: &WorkloadResult) -> fmt::Result {
        let Some(signal) = self.trigger.signals.get(result.signal) else {
            return Ok(());
        };
        // The step says it better.
        if signal.signal == Signal::Manual && matches!(self.trigger.load, Load::Signal(_)) {
            return Ok(());
        }
        write!(out, "  {}: ", called(signal))?;
        match &result.number {
            Ok(number) => {
                write!(out, "{}", show(signal.signal, *number))?;
                match result.at {
                    Some(at) => writeln!(out, ", {:.1?} old", self.evaluation.at.since(at)),
                    None => writeln!(out),
                }
            }
            Err(reason) => writeln!(out, "not known: {reason}"),
        }
    }

    /// The steps of an expression, indented.
    fn expression(
        out: &mut fmt::Formatter<'_>,
        expression: &Expression,
        values: &[Value],
        indent: usize,
    ) -> fmt::Result {
        let text = expression.explain(values).to_string();
        let mut lines = text.lines();
        lines.try_for_each(|line| writeln!(out, "{:indent$}{line}", ""))
    }

    fn device(&self, out: &mut fmt::Formatter<'_>, device: &DeviceResult) -> fmt::Result {
        write!(out, "    {}", device.id)?;
        if !device.model.is_empty() {
            write!(out, " ({})", device.model)?;
        }
        if device.claim == Claim::Shared {
            write!(out, ", shared")?;
        }
        match &device.observed {
            Ok(reading) => {
                write!(out, ": {}, {}", reading.amount, reading.quality)?;
                if !reading.window.is_zero() {
                    write!(out, " over {:.1?}", reading.window)?;
                }
                writeln!(out, ", {:.1?} old", reading.age(self.evaluation.at))
            }
            Err(absent) => writeln!(out, ": no reading: {absent}"),
        }
    }

    fn step(&self, out: &mut fmt::Formatter<'_>, step: Step) -> fmt::Result {
        let Evaluation {
            metric_type,
            target,
            replicas,
            ..
        } = *self.evaluation;
        let trigger = self.trigger;
        let show = |number| trigger.unit.show(number);
        match step {
            Step::Decided { replicas } => writeln!(out, "  the policy wants {replicas} replicas"),
            Step::NoReplicas => writeln!(out, "  no replicas: inactive, 0"),
            Step::Manual {
                replicas: Some(asked),
                demand,
            } => {
                writeln!(
                    out,
                    "  the annotation asks for {asked} replicas: {asked} × {target} = {demand}"
                )
            }
            Step::Manual { replicas: None, .. } => writeln!(out, "  there is no annotation: no demand"),
            Step::BelowQuorum { quorum } => {
                let coverage = self.evaluation.coverage;
                writeln!(
                    out,
                    "  {} of {} ready pods are known, fewer than the quorum of {quorum}: nothing is concluded",
                    coverage.known, coverage.ready
                )
            }
            Step::Votes { pods, each } => {
                writeln!(
                    out,
                    "  {pods} unread ready pods are counted at the target, {}",
                    show(each)
                )
            }
            Step::Combined {
                intensity,
                demand,
                ready,
            } => writeln!(
                out,
                "  {} over {ready} ready pods: {}; × {ready} = {demand:.3} in all",
                trigger.aggregation,
                show(intensity)
            ),
            Step::Total { demand } => {
                if let Load::OverWorkload(expression) = &trigger.load {
                    Self::expression(out, expression, &self.evaluation.load_values, 2)?;
                }
                writeln!(out, "  the workload's demand: {}", show(demand))
            }
            Step::Missing => {
                if let Load::OverWorkload(expression) = &trigger.load {
                    Self::expression(out, expression, &self.evaluation.load_values, 2)?;
                }
                writeln!(
                    out,
                    "  a number that the load needs is missing: nothing is concluded"
                )
            }
            Step::Asleep { pods, each } => writeln!(
                out,
                "  {pods} ready pods sleep and serve nobody: each is kept beside the demand, at the target, {}",
                show(each)
            ),
            Step::Guard(guard) => self.guard(out, guard),
            Step::Schedule(bounds) => self.schedule(out, bounds),
            Step::Bounded { by, replicas } => match by {
                Bound::Guard => writeln!(out, "  kept at {replicas} replicas for the running requests"),
                Bound::Floor => writeln!(out, "  raised to {replicas} replicas, the schedule's floor"),
                Bound::Ceiling => writeln!(out, "  cut to {replicas} replicas, the schedule's ceiling"),
            },
            Step::Hold(hold) => {
                match hold {
                    Hold::NoneReady => write!(out, "  none of the replicas is ready")?,
                    Hold::SomeNotReady { not_ready } => {
                        write!(
                            out,
                            "  {not_ready} replicas are not ready and the others are at or above target"
                        )?;
                    }
                }
                match metric_type {
                    MetricType::AverageValue => {
                        writeln!(out, ": the size is held, {target} × {replicas} replicas")
                    }
                    MetricType::Value => {
                        writeln!(out, ": the size is held, the value is the target, {target}")
                    }
                }
            }
            Step::Activity(activity) => self.activity(out, activity),
        }
    }

    fn guard(&self, out: &mut fmt::Formatter<'_>, guard: GuardStep) -> fmt::Result {
        let GuardStep {
            requests,
            slots,
            unread,
            replicas,
        } = guard;
        write!(out, "  guard: {requests} requests are waiting or running")?;
        if unread > 0 {
            write!(out, ", and {unread} pods may have more")?;
        }
        match slots {
            Some(slots) => writeln!(
                out,
                "; {slots} fit a replica, so that {replicas} replicas are needed at least"
            ),
            None => writeln!(
                out,
                "; how many fit a replica is not known, slotsPerReplica says it"
            ),
        }
    }

    fn schedule(&self, out: &mut fmt::Formatter<'_>, bounds: Bounds) -> fmt::Result {
        write!(out, "  schedule: ")?;
        match (bounds.floor, bounds.ceiling) {
            (None, None) => writeln!(out, "no window is in force")?,
            (Some(floor), None) => writeln!(out, "at least {floor} replicas")?,
            (None, Some(ceiling)) => writeln!(out, "at most {ceiling} replicas")?,
            (Some(floor), Some(ceiling)) => writeln!(out, "{floor} to {ceiling} replicas")?,
        }
        let windows = self.trigger.limits.windows().iter();
        windows
            .filter(|window| window.holds(self.evaluation.at))
            .try_for_each(|window| writeln!(out, "    in force: {window}"))
    }

    fn activity(&self, out: &mut fmt::Formatter<'_>, activity: Activity) -> fmt::Result {
        let unit = self.trigger.unit;
        let above = unit.show(self.trigger.activation);
        let expression = self.trigger.activation_expression.as_ref();
        if let Some(expression) = expression
            && !self.evaluation.activation_values.is_empty()
            && !matches!(activity, Activity::Scheduled { .. })
        {
            writeln!(out, "  activation:")?;
            Self::expression(out, expression, &self.evaluation.activation_values, 4)?;
        }
        let of = match self.trigger.load {
            _ if expression.is_some() => "the activation's expression",
            Load::Signal(signal) if !signal.is_per_pod() => "the demand",
            Load::OverWorkload(_) | Load::Policy(_) => "the demand",
            _ if unit.is_intensity() => "the busiest pod",
            Load::Signal(_) | Load::PerPod(_) => "the sum",
        };
        match activity {
            Activity::Busy { compared } => {
                writeln!(out, "  active: {of}, {}, is above {above}", unit.show(compared))
            }
            Activity::Unread { pods } => writeln!(
                out,
                "  active: {pods} ready pods could not be read and may be busy"
            ),
            Activity::Starting { replicas } => {
                writeln!(out, "  active: {replicas} replicas are still starting")
            }
            Activity::Idle { compared } => {
                writeln!(
                    out,
                    "  inactive: {of}, {}, is not above {above}",
                    unit.show(compared)
                )
            }
            Activity::Condition { holds: true } => writeln!(out, "  active: the condition holds"),
            Activity::Condition { holds: false } => writeln!(out, "  inactive: the condition does not hold"),
            Activity::Unclear if self.evaluation.replicas == 0 => {
                writeln!(out, "  inactive: the condition is not known, and nothing runs")
            }
            Activity::Unclear => writeln!(out, "  active: the condition is not known"),
            Activity::Requests { requests } => {
                writeln!(out, "  active: the engines have {requests} requests")
            }
            Activity::Scheduled { active: true } => writeln!(out, "  active: the schedule has a floor"),
            Activity::Scheduled { active: false } => {
                writeln!(out, "  inactive: the schedule's ceiling is 0")
            }
        }
    }
}

/// A signal with the name that it has in expressions, where it has one.
fn called(signal: &NamedSignal) -> String {
    match signal.name.as_str() {
        crate::MAIN_SIGNAL => signal.signal.to_string(),
        name => format!("{name} = {}", signal.signal),
    }
}

/// A number in a signal's base unit, for a person.
fn show(signal: Signal, value: f64) -> String {
    match signal {
        Signal::Schedule | Signal::Manual => format!("{value} replicas"),
        _ => Amount::new(value, signal.base_unit())
            .map_or_else(|| value.to_string(), |amount| amount.to_string()),
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation {
            outcome,
            coverage,
            metric_type,
            target,
            replicas,
            replicas_for_hpa,
            ..
        } = *self.evaluation;
        writeln!(
            out,
            "{}, target {} per replica, {metric_type}; {replicas} replicas, {} ready, {} of them known",
            self.trigger.subject(),
            self.trigger.unit.show(target),
            coverage.ready,
            coverage.known
        )?;
        let workload = &self.evaluation.workload;
        workload
            .iter()
            .try_for_each(|result| self.workload(out, result))?;
        self.evaluation
            .pods
            .iter()
            .try_for_each(|pod| self.pod(out, pod))?;
        self.evaluation
            .steps
            .iter()
            .try_for_each(|step| self.step(out, *step))?;
        match outcome {
            Outcome::Known { value, .. } => {
                let desired = hpa_desired(
                    metric_type,
                    value,
                    target,
                    replicas_for_hpa,
                    coverage.ready_for_hpa(),
                    self.tolerance,
                );
                write!(out, "  value {value}: ")?;
                match metric_type {
                    _ if replicas == 0 => {
                        write!(out, "the HPA is off at zero; KEDA starts the workload, then")?;
                    }
                    MetricType::AverageValue => write!(out, "the HPA computes ceil({value} / {target})")?,
                    MetricType::Value => {
                        write!(
                            out,
                            "the HPA computes ceil({value} / {target} × {} ready)",
                            coverage.ready_for_hpa()
                        )?;
                    }
                }
                if replicas_for_hpa != replicas {
                    write!(out, ", and finds {replicas_for_hpa} replicas")?;
                }
                if desired == replicas && replicas > 0 {
                    let ratio = match metric_type {
                        MetricType::AverageValue => value / (target * f64::from(replicas_for_hpa)),
                        MetricType::Value => value / target,
                    };
                    writeln!(
                        out,
                        ", ratio {ratio:.3}, tolerance {}: {desired} replicas, no change",
                        self.tolerance
                    )
                } else {
                    writeln!(out, ": {desired} replicas, from {replicas}")
                }
            }
            Outcome::AtZero => Ok(()),
            Outcome::Unknown => writeln!(out, "  unknown: {}", self.evaluation.unknown_reason()),
        }
    }
}
