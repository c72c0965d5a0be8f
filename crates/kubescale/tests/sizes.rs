//! What the HPA makes of the values that the policy sends, by the HPA's own arithmetic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_kubescale::hpa::{Tolerances, per_pod_replicas, value_replicas};
use rheostat_kubescale::{Quantity as Metric, Workload};
use rheostat_policy::{
    AnswerSettings, Basis, Claim, Decided, DeviceInput, Evaluation, Hold, Input, Memory, MetricType, Outcome,
    PodInput, PodState, Step, Trigger, Unseen, evaluate, evaluate_decided, hpa_desired,
};
use rheostat_reading::{Amount, Quality, Quantity, Reading, Readings, Timestamp, Unit};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

/// In percent, some of which no binary fraction is.
const TARGETS: [f64; 4] = [1.0, 37.5, 66.7, 80.0];

fn trigger(metadata: &[(&str, &str)]) -> Trigger {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let metadata: BTreeMap<_, _> = metadata.iter().map(owned).collect();
    Trigger::parse(&metadata).unwrap().trigger
}

fn utilization(target: f64) -> Trigger {
    trigger(&[("signal", "gpu.utilization"), ("target", &target.to_string())])
}

fn pod(state: PodState, devices: Result<Vec<DeviceInput>, Unseen>) -> PodInput {
    PodInput {
        name: "chat-0".into(),
        state,
        devices,
        engine: Err(Unseen::EngineNotAsked),
    }
}

/// So many whose GPU is busy to `percent`.
fn ready(count: u32, percent: f64) -> Vec<PodInput> {
    let mut readings = Readings::new();
    let reading = Reading {
        amount: Amount::new(percent / 100.0, Unit::Ratio).unwrap(),
        at: NOW,
        window: Duration::from_secs(1),
        quality: Quality::Measured,
    };
    readings.set(Quantity::Utilization, Ok(reading));
    let device = DeviceInput {
        id: "GPU-1".into(),
        model: "NVIDIA H100".into(),
        claim: Claim::Exclusive,
        readings,
    };
    vec![pod(PodState::Ready, Ok(vec![device])); count as usize]
}

fn starting(count: u32) -> Vec<PodInput> {
    vec![pod(PodState::NotReady, Ok(Vec::new())); count as usize]
}

fn input(replicas: u32, status_replicas: u32, pods: &[PodInput]) -> Input<'_> {
    Input {
        now: NOW,
        replicas,
        status_replicas,
        pods,
        manual: None,
        outside: &[],
    }
}

fn sent(evaluation: &Evaluation) -> f64 {
    match evaluation.outcome {
        Outcome::Known { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap()
}

/// What becomes of a value under `AverageValue`, on its way through KEDA.
fn made(value: f64, target: f64, status: u32, tolerance: f64) -> u32 {
    let milli = |value: f64| Metric::from_float(value).milli();
    let tolerances = Tolerances {
        up: tolerance,
        down: tolerance,
    };
    let found = per_pod_replicas(&[milli(value)], milli(target), whole(status), tolerances);
    u32::try_from(found).unwrap()
}

/// Whether a value makes `wanted` of `status` replicas with the usual tolerance, too: one whose ratio is
/// outside of it.
fn reachable(wanted: u32, status: u32) -> bool {
    wanted == status || 10 * wanted > 11 * status || 10 * wanted < 9 * status + 10
}

fn exactly(wanted: u32, value: f64, target: f64, status: u32) {
    let case = format!("{value} for {wanted} of {status}, target {target}");
    assert_eq!(made(value, target, status, 0.0), wanted, "{case}");
    let found = made(value, target, status, 0.1);
    if reachable(wanted, status) {
        assert_eq!(found, wanted, "{case}");
    } else {
        assert_eq!(found, status, "{case}: out of reach");
    }
}

/// Sizes asked for, and what is there: fewer, as many, or more in a rollout with a surge.
fn sizes() -> impl Iterator<Item = (u32, u32)> {
    (1..=24_u32).flat_map(|spec| (spec.saturating_sub(3)..=spec + 6).map(move |status| (spec, status)))
}

#[test]
fn as_many_as_now_is_what_is_asked_for_whatever_a_rollout_adds() {
    for target in TARGETS {
        let trigger = utilization(target);
        for (spec, status) in sizes() {
            for serving in [0, 1, spec / 2, spec - 1, spec] {
                // With all of them ready nothing is held.
                if serving > status || serving >= spec.max(status) {
                    continue;
                }
                let mut pods = ready(serving, target);
                pods.extend(starting(status - serving));
                let evaluation = evaluate(&trigger, MetricType::AverageValue, &input(spec, status, &pods));
                assert!(evaluation.steps.iter().any(|step| matches!(step, Step::Hold(_))));
                exactly(spec, sent(&evaluation), target, status);
            }
        }
    }
}

/// One more than asked for while new pods load their model; each look must not take it for the size.
#[test]
fn a_rollout_with_a_surge_does_not_ratchet() {
    let trigger = utilization(80.0);
    let mut spec = 10;
    for _ in 0..20 {
        let status = spec + 1;
        let mut pods = ready(9, 85.0);
        pods.extend(starting(status - 9));
        let evaluation = evaluate(&trigger, MetricType::AverageValue, &input(spec, status, &pods));
        assert!(
            evaluation
                .steps
                .contains(&Step::Hold(Hold::SomeNotReady { not_ready: 2 }))
        );
        spec = made(sent(&evaluation), 80.0, status, 0.1);
        assert_eq!(spec, 10);
    }
}

#[test]
fn a_workload_first_seen_in_a_rollout_stays_as_it_is() {
    let settings = AnswerSettings {
        grace: Duration::from_secs(20),
        idle_period: Duration::from_secs(300),
    };
    for target in TARGETS {
        let trigger = utilization(target);
        for (spec, status) in sizes() {
            let unseen = Unseen::NoAgent { node: "gpu-7".into() };
            let pods = vec![pod(PodState::Ready, Err(unseen)); spec as usize];
            let evaluation = evaluate(&trigger, MetricType::AverageValue, &input(spec, status, &pods));
            let answer = Memory::new().step(NOW, &evaluation, &settings);
            let rheostat_policy::Answer::Value {
                value,
                basis: Basis::FirstLook { .. },
                ..
            } = answer
            else {
                panic!("{answer}");
            };
            exactly(spec, value, target, status);
        }
    }
}

#[test]
fn bounds_hold_in_a_rollout() {
    for (spec, status) in sizes() {
        let bounded = |schedule: &str, busy: f64, target: &str| {
            let pods = ready(spec, busy);
            let schedule = format!("{schedule} {spec} from 0 0 1 1 * to 59 23 31 12 *");
            let metadata = [
                ("signal", "gpu.utilization"),
                ("target", target),
                ("schedule", &schedule),
            ];
            sent(&evaluate(
                &trigger(&metadata),
                MetricType::AverageValue,
                &input(spec, status, &pods),
            ))
        };
        exactly(spec, bounded("ceiling", 100.0, "40"), 40.0, status);
        exactly(spec, bounded("count", 100.0, "95"), 95.0, status);
        exactly(spec, bounded("floor", 0.0, "80"), 80.0, status);
    }
}

#[test]
fn what_a_policy_decides_is_made_in_a_rollout() {
    let trigger = trigger(&[("policy", "chat")]);
    for (spec, status) in sizes() {
        for wanted in 1..=spec + 8 {
            let decided = Decided {
                replicas: wanted,
                active: true,
                unknown: None,
                known: 0,
            };
            let evaluation = evaluate_decided(
                &trigger,
                MetricType::AverageValue,
                &input(spec, status, &[]),
                &decided,
            );
            exactly(wanted, sent(&evaluation), trigger.target(), status);
        }
    }
}

proptest! {
    /// The policy has the HPA's formulas in its own words: the same, to the last bit of a tolerance.
    #[test]
    fn the_policys_formulas_are_the_hpas(
        value in prop_oneof![(0_u32..400).prop_map(|tenths| f64::from(tenths) / 10.0), 0.0..4000.0_f64],
        target in prop_oneof![Just(1.0), 0.001..100.0_f64],
        spec in 1_u32..40, status in 0_u32..40, ready in 0_u32..40,
        tolerance in prop_oneof![Just(0.0), Just(0.1), 0.0..0.5_f64],
        edge in prop::option::of(prop::sample::select(vec![-1.0, 1.0])),
    ) {
        // Exactly where the tolerance ends, for one of the two formulas.
        let value = match edge {
            Some(way) if ready.is_multiple_of(2) => (1.0 + way * tolerance) * target * f64::from(status),
            Some(way) => (1.0 + way * tolerance) * target,
            None => value,
        };
        let milli = |value: f64| (value * 1000.0).round() / 1000.0;
        let (value, target) = (milli(value), milli(target));
        let average = hpa_desired(MetricType::AverageValue, value, target, status, ready, tolerance);
        prop_assert_eq!(average, made(value, target, status, tolerance));
        let scale = Workload {
            spec_replicas: whole(spec),
            status_replicas: whole(status),
            pods: whole(ready.max(1)),
            ready_pods: whole(ready),
        };
        let of = |value: f64| Metric::from_float(value).milli();
        let tolerances = Tolerances { up: tolerance, down: tolerance };
        let found = value_replicas(&[of(value)], of(target), &scale, tolerances).unwrap();
        let desired = hpa_desired(MetricType::Value, value, target, spec, ready, tolerance);
        prop_assert_eq!(whole(desired), found);
    }
}
