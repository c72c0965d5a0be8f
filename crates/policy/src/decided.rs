use std::sync::Arc;

use crate::hpa::value_for;
use crate::{Activity, Coverage, Evaluation, Input, MetricType, Outcome, PodResult, PodState, Step, Trigger};

/// What a scaling policy has decided for a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// So many replicas.
    pub replicas: u32,
    /// Whether there is demand, or has been not long enough ago.
    pub active: bool,
    /// Why too little is known for fewer replicas, where it is.
    pub unknown: Option<Arc<str>>,
}

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
    let count = |wanted: PodState| {
        u32::try_from(pods.iter().filter(|pod| pod.state == wanted).count()).unwrap_or(u32::MAX)
    };
    let (ready, asleep) = (count(PodState::Ready), count(PodState::Asleep));
    let there = ready
        .saturating_add(asleep)
        .saturating_add(count(PodState::NotReady));
    let coverage = Coverage {
        known: ready,
        ready,
        asleep,
        total: input.replicas.max(there),
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
                    input.replicas,
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
        pods,
        workload: Vec::new(),
        load_values: Vec::new(),
        activation_values: Vec::new(),
        undecided: unknown.cloned(),
        steps,
    }
}
