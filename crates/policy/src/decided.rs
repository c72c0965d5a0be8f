use std::sync::Arc;

use rheostat_reading::Absent;

use crate::evaluate_workload::workload_results;
use crate::hpa::value_for;
use crate::{Activity, Coverage, Evaluation, Input, MetricType, Outcome, PodResult, Step, Trigger};

/// What a scaling policy has decided for a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// So many replicas.
    pub replicas: u32,
    /// Whether there is demand, or has been not long enough ago.
    pub active: bool,
    /// Why too little is known for fewer replicas, where it is.
    pub unknown: Option<Arc<str>>,
    /// Serving pods of which the decision knew what it needs to.
    pub known: u32,
}

/// How many requests wait in front of the workload of a trigger that names a policy, as far as the trigger says who
/// tells; `None` where it does not.
///
/// # Errors
///
/// Why it is not known: who should tell was not asked yet, failed, or said something that is no number of requests.
#[must_use]
pub fn queued_outside(trigger: &Trigger, input: &Input<'_>) -> Option<Result<f64, Absent>> {
    let told = workload_results(trigger, input).into_iter().next()?.number;
    Some(
        told.and_then(|number| match (0.0..=MOST_QUEUED).contains(&number) {
            true => Ok(number),
            false => Err(Absent::Failed(format!(
                "{number} is no number of requests; allowed: 0 to {MOST_QUEUED}"
            ))),
        }),
    )
}

/// No gateway holds more requests than this: each takes a connection. A higher bound would let a wrong query, such as
/// one that counts bytes, size a fleet.
const MOST_QUEUED: f64 = 1e6;

/// What is made of a policy's decision: the value of which the HPA makes that many replicas.
///
/// As [`evaluate`](crate::evaluate) for a trigger that names a policy; of the input only time, replicas and
/// the pods' states count. `AverageValue` is meant: under `Value` the HPA multiplies by the pods that are
/// ready, so that no value makes replicas while none is.
#[must_use]
pub fn evaluate_decided(
    trigger: &Trigger,
    metric_type: MetricType,
    input: &Input<'_>,
    decided: &Decided,
) -> Evaluation {
    let pods: Vec<PodResult> = input
        .pods
        .iter()
        .map(|pod| PodResult {
            name: Arc::clone(&pod.name),
            state: pod.state,
            number: None,
            parts: Vec::new(),
        })
        .collect();
    let coverage = Coverage::of(&pods, input.replicas);
    let coverage = Coverage {
        known: decided.known.min(coverage.ready),
        ..coverage
    };
    let Decided { replicas, active, .. } = *decided;
    let mut steps = vec![Step::Decided { replicas }];
    // More than there are is never wrong for want of knowledge, and at zero nothing can be lost.
    let unknown = decided
        .unknown
        .as_ref()
        .filter(|_| input.replicas > 0 && replicas <= input.replicas);
    let active = active || decided.unknown.is_some() && replicas > input.replicas;
    let outcome = match (unknown, input.replicas) {
        (Some(_), _) => Outcome::Unknown,
        (None, 0) if replicas == 0 || !active => {
            steps.push(Step::NoReplicas);
            Outcome::AtZero
        }
        (None, _) => {
            let compared = f64::from(replicas);
            steps.push(Step::Activity(match active {
                true => Activity::Busy { compared },
                false => Activity::Idle { compared },
            }));
            Outcome::Known {
                value: value_for(
                    metric_type,
                    replicas,
                    trigger.target(),
                    input.replicas_for_hpa(metric_type),
                    coverage.ready_for_hpa(),
                ),
                active,
            }
        }
    };
    Evaluation {
        at: input.now,
        outcome,
        coverage,
        metric_type,
        target: trigger.target(),
        replicas: input.replicas,
        replicas_for_hpa: input.replicas_for_hpa(metric_type),
        pods,
        workload: workload_results(trigger, input),
        load_values: Vec::new(),
        activation_values: Vec::new(),
        undecided: unknown.cloned(),
        steps,
    }
}
