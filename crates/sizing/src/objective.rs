use std::collections::BTreeMap;

use rheostat_reading::{Ratio, Seconds};

use crate::capacity::{Capacity, FULL, ReplicaCapacity, Room, UsableBound, slo_of, within};
use crate::cost::Lengths;
use crate::demand::Seen;
use crate::intent::{Intent, Objective, Part, Slo};
use crate::observation::Observation;

/// Requests may wait for no longer than this, whatever the objective says, in seconds: the bounds of what
/// a queue in front of an engine is modelled for.
const PATIENCE: (f64, f64) = (2.0, 60.0);

/// The part of the requests that must be served in time where the objective names none.
const USUAL_ATTAINMENT: f64 = 0.99;

/// The part of the requests that may be late, of which `aim` is aimed at.
pub(crate) fn allowed(intent: &Intent, aim: Ratio) -> f64 {
    let attainment = slo_of(&intent.objective).map_or(USUAL_ATTAINMENT, |slo| slo.attainment.0);
    (aim.0 * (1.0 - attainment)).clamp(1e-4, 0.5)
}

/// What is there to do, in replicas at full use within the objective; `None` where it is not known.
pub(crate) fn demand(intent: &Intent, found: &Seen, replica: ReplicaCapacity) -> Option<f64> {
    if found.ready > 0 && found.known == 0 && !matches!(intent.objective, Objective::Utilization(_)) {
        return None;
    }
    match intent.objective {
        Objective::Slo(_) => Some(found.rate * replica.work / replica.usable),
        Objective::Concurrency(each) => {
            // What is in flight falls by more than replicas are added, since each gets faster: alone, it would give
            // back what is needed. The work that comes does not, as far as it is known what that takes.
            let held = found.in_flight / each.max(1e-9);
            let work = found.rate * replica.work / replica.usable;
            Some(held + replica.confidence * (work - held).max(0.0))
        }
        Objective::Utilization(Ratio(target)) => match found.busy {
            Some(busy) => Some(busy / target.max(1e-9)),
            None => (found.ready == 0).then_some(0.0),
        },
    }
}

/// What weighs a moment: its requests.
pub(crate) fn weight(intent: &Intent, found: &Seen) -> f64 {
    match intent.objective {
        Objective::Slo(_) => found.rate,
        Objective::Concurrency(_) => found.in_flight,
        Objective::Utilization(_) => found.busy.unwrap_or(0.0),
    }
}

/// How long work may wait, in seconds: what the first token may take, and what an answer may be slowed down.
pub(crate) fn patience(intent: &Intent, lengths: Lengths) -> f64 {
    let Some(slo) = slo_of(&intent.objective) else {
        return PATIENCE.0 * 5.0;
    };
    let first = slo.ttft.or(slo.e2e).map_or(0.0, |limit| limit.as_secs_f64());
    let answer = slo.itl.map_or(0.0, |limit| lengths.output * limit.as_secs_f64());
    (first + answer * ANSWER_SLACK).clamp(PATIENCE.0, PATIENCE.1)
}

/// The part of an answer's longest time by which its work can be put off: the mean of the time between two
/// tokens is what counts, so that a slow half is made up for by a fast one.
const ANSWER_SLACK: f64 = 0.25;

/// What a replica can do for what comes.
pub(crate) fn replica(
    capacity: &Capacity,
    intent: &Intent,
    seen: &Observation,
    found: &Seen,
) -> ReplicaCapacity {
    let mut kinds = BTreeMap::<&str, u32>::new();
    for pod in seen.ready().filter(|pod| !pod.hardware.is_empty()) {
        *kinds.entry(&pod.hardware).or_default() += 1;
    }
    if kinds.is_empty() {
        // At zero, or while pods have no node, what was there before tells what will be there again.
        let mut starts = seen.pods.iter().map(|pod| pod.hardware.as_ref());
        let hardware = starts.find(|hardware| !hardware.is_empty());
        kinds.insert(
            hardware.or_else(|| capacity.usual_hardware()).unwrap_or_default(),
            1,
        );
    }
    let each = kinds
        .into_iter()
        .map(|(hardware, count)| (f64::from(count), of_kind(capacity, intent, found, hardware)));
    mean(&each.collect::<Vec<_>>())
}

/// What one of so many of each kind can do, on the mean.
fn mean(kinds: &[(f64, ReplicaCapacity)]) -> ReplicaCapacity {
    let all: f64 = kinds.iter().map(|(count, _)| count).sum();
    let mean = |of: &dyn Fn(&ReplicaCapacity) -> f64| {
        kinds.iter().map(|(count, kind)| count * of(kind)).sum::<f64>() / all.max(1.0)
    };
    let usable = mean(&|kind| kind.usable);
    // What binds most of them is what is told.
    let most = kinds.iter().max_by(|one, two| one.0.total_cmp(&two.0));
    ReplicaCapacity {
        work: usable / mean(&|kind| kind.usable / kind.work).max(1e-12),
        usable,
        confidence: mean(&|kind| kind.confidence),
        bound: most.map_or(UsableBound::Queueing, |(_, kind)| kind.bound),
        beyond_reach: most.and_then(|(_, kind)| kind.beyond_reach),
    }
}

/// What a replica on `hardware` can do for what comes.
fn of_kind(capacity: &Capacity, intent: &Intent, found: &Seen, hardware: &str) -> ReplicaCapacity {
    let shape = &intent.replica;
    let (mut model, confidence) = capacity.model(hardware, shape.gpus, shape.parameters);
    let mut lengths = found.lengths;
    match intent.role.map(|role| role.part) {
        Some(Part::Prefill) => lengths.output = 1.0,
        // The prompt is computed elsewhere, and is still the context of each token and in the KV cache.
        Some(Part::Decode) => model.prompt = 0.0,
        None => {}
    }
    let slo = match &intent.objective {
        Objective::Slo(slo) => Some((slo, found.room)),
        // The cap stands for the places of the batch.
        Objective::Concurrency(each) => Some((
            &UNBOUND,
            Room {
                sequences: Some(each / FULL),
                ..found.room
            },
        )),
        Objective::Utilization(_) => None,
    };
    match slo {
        Some((slo, room)) => {
            let long = LONG_PROMPT * lengths.prompt;
            let believed = within(model, confidence, slo, lengths, long, room);
            found.at_most.map_or(believed, |rate| believed.at_most(rate))
        }
        None => ReplicaCapacity {
            work: model.work(lengths).max(1e-9),
            usable: 1.0,
            confidence,
            bound: UsableBound::Queueing,
            beyond_reach: None,
        },
    }
}

/// No latency is asked for.
const UNBOUND: Slo = Slo {
    ttft: None,
    itl: None,
    e2e: None,
    attainment: Ratio(USUAL_ATTAINMENT),
};

/// Long prompts are so many times the mean (the 95th percentile of a log-normal of the public traces'
/// spread lies around it).
const LONG_PROMPT: f64 = 3.0;

pub(crate) fn capacity_in_words(replica: ReplicaCapacity, found: &Seen) -> String {
    let missed = replica.beyond_reach.map_or_else(String::new, |bound| {
        format!("; a replica without any load misses {} already", bound.in_words())
    });
    format!(
        "a replica serves {:.2} requests of {:.0} + {:.0} tokens a second: {} of work each, of which {:.0} % \
         of the time may be used, bound by {} (sure to {:.0} %){missed}",
        replica.usable / replica.work,
        found.lengths.prompt,
        found.lengths.output,
        Seconds(replica.work).in_words(),
        100.0 * replica.usable,
        replica.bound.in_words(),
        100.0 * replica.confidence
    )
}

/// Seconds for a person.
trait InWords {
    fn in_words(&self) -> String;
}

impl InWords for Seconds {
    fn in_words(&self) -> String {
        if self.0 < 1.0 {
            format!("{:.0} ms", 1000.0 * self.0)
        } else {
            format!("{:.1} s", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;
    use crate::intent::{Limits, ReplicaShape, Role};
    use crate::observation::Schedule;
    use crate::queued_outside::QueuedOutside;

    #[test]
    fn a_mixed_fleet_does_what_its_kinds_do_on_the_mean() {
        let kind = |work: f64, bound| ReplicaCapacity {
            work,
            usable: 0.5,
            confidence: 0.5,
            bound,
            beyond_reach: None,
        };
        let (fast, slow) = (kind(0.1, UsableBound::Itl), kind(0.4, UsableBound::Places));
        assert_eq!(mean(&[(1.0, fast)]), fast);
        // Three do 5 requests a second each, and one 1.25.
        let mixed = mean(&[(3.0, fast), (1.0, slow)]);
        assert!(
            (mixed.usable / mixed.work - 16.25 / 4.0).abs() < 1e-9,
            "{mixed:?}"
        );
        assert_eq!(mixed.bound, UsableBound::Itl);
    }

    #[test]
    fn the_prompt_is_the_context_of_who_decodes() {
        let seen = Observation {
            now: rheostat_reading::Timestamp::default(),
            replicas: 1,
            pods: Vec::new(),
            queued_outside: QueuedOutside::Untold,
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        };
        let work = |part: Option<Part>, prompt: f64| {
            let slo = Slo {
                itl: Some(std::time::Duration::from_millis(100)),
                ..UNBOUND
            };
            let intent = Intent {
                objective: Objective::Slo(slo),
                min_replicas: 1,
                max_replicas: 10,
                cold_start: std::time::Duration::from_secs(60),
                scale_to_zero_after: None,
                headroom: 0,
                limits: Limits::default(),
                replica: ReplicaShape {
                    gpus: 1.0,
                    price_per_gpu_hour: None,
                    parameters: Some(8e9),
                },
                role: part.map(|part| Role {
                    part,
                    prefill_per_decode: None,
                }),
            };
            let mut found = Demand::default().pass(&seen, 5.0, &intent.objective);
            found.lengths = Lengths {
                prompt,
                output: 200.0,
            };
            replica(&Capacity::default(), &intent, &seen, &found).work
        };
        let decode = |prompt| work(Some(Part::Decode), prompt);
        let prefill = |prompt| work(Some(Part::Prefill), prompt);
        assert!(
            decode(8000.0) > 1.05 * decode(100.0),
            "{} {}",
            decode(8000.0),
            decode(100.0)
        );
        assert!(decode(8000.0) < work(None, 8000.0));
        assert!(prefill(8000.0) > 10.0 * prefill(100.0));
    }
}
