use std::fmt;

use crate::{
    Activity, Claim, DEFAULT_TOLERANCE, DeviceResult, Evaluation, Hold, MetricType, Outcome, PodResult,
    PodState, Signal, Step, Trigger, hpa_desired,
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
        let mut text = format!(
            "{} of {} ready pods could be read",
            self.coverage.known, self.coverage.ready
        );
        let quorum = self.steps.iter().find_map(|step| match step {
            Step::BelowQuorum { quorum } => Some(quorum),
            _ => None,
        });
        if let Some(quorum) = quorum {
            text.push_str(&format!(", quorum {quorum}"));
        }
        let mut unread = self
            .pods
            .iter()
            .filter_map(|pod| Some((pod, pod.number.as_ref()?.as_ref().err()?)));
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
            (Some(Ok(number)), _) => writeln!(out, "{}", self.trigger.signal.unit().show(*number))?,
            (Some(Err(reason)), _) => writeln!(out, "not known: {reason}")?,
            (None, PodState::Ready) => writeln!(out, "ready")?,
            (None, PodState::NotReady) => writeln!(out, "not ready, adds nothing")?,
            (None, PodState::Terminating) => writeln!(out, "terminating, adds nothing")?,
        }
        pod.devices.iter().try_for_each(|device| self.device(out, device))
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
        let show = |number| trigger.signal.unit().show(number);
        match step {
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

    fn activity(&self, out: &mut fmt::Formatter<'_>, activity: Activity) -> fmt::Result {
        let unit = self.trigger.signal.unit();
        let above = unit.show(self.trigger.activation);
        let of = match self.trigger.signal {
            Signal::Manual => "the demand",
            signal if signal.is_intensity() => "the busiest pod",
            Signal::Gpu(_) => "the sum",
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
        }
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
            ..
        } = *self.evaluation;
        writeln!(
            out,
            "{}, target {} per replica, {metric_type}; {replicas} replicas, {} ready, {} of them known",
            self.trigger.signal,
            self.trigger.signal.unit().show(target),
            coverage.ready,
            coverage.known
        )?;
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
                    replicas,
                    coverage.ready,
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
                            coverage.ready
                        )?;
                    }
                }
                if desired == replicas && replicas > 0 {
                    let ratio = match metric_type {
                        MetricType::AverageValue => value / (target * f64::from(replicas)),
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
