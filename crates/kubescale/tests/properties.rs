//! What holds for every workload, value and history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use rheostat_kubescale::drive;
use rheostat_kubescale::hpa::{ControllerSettings, Tolerances, per_pod_replicas, value_replicas};
use rheostat_kubescale::keda::{ScaledObject, ScaledObjectSpec};
use rheostat_kubescale::{Answer, Autoscaler, CallError, Event, MetricSpec, MetricValue, Request, Workload};
use rheostat_reading::Timestamp;

const START: Timestamp = Timestamp::from_unix_nanos(1_000_000_000_000_000);

/// What the scaler says for a while: nothing is an error.
type Phase = (u8, Option<(f64, bool)>);

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    let answer = prop::option::weighted(0.8, (0.0..5000.0_f64, any::<bool>()));
    prop::collection::vec((1..120_u8, answer), 1..12)
}

fn behavior() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "null",
        "{}",
        r#"{"scaleDown": {"stabilizationWindowSeconds": 0}}"#,
        r#"{"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 20}]}}"#,
    ])
}

/// Lives through the phases; each change as (from, to, the scaler failed).
fn live(spec: ScaledObjectSpec, replicas: i32, phases: &[Phase]) -> Vec<(i32, i32, bool)> {
    let object = ScaledObject {
        spec,
        ..ScaledObject::default()
    };
    let mut autoscaler = Autoscaler::new(object, ControllerSettings::default(), START).unwrap();
    let mut workload = Workload::settled(replicas);
    let (mut end, mut changes) = (START, Vec::new());
    for (seconds, answer) in phases {
        end = end.plus(Duration::from_secs(u64::from(*seconds)));
        while let Some(due) = autoscaler.next_due().filter(|due| *due <= end) {
            let error = || CallError("unavailable".to_owned());
            let step = drive::step(
                &mut autoscaler,
                due,
                &mut workload,
                &mut |_, call| match call.request {
                    Request::MetricSpec => Answer::MetricSpec(Ok(vec![MetricSpec::new("x", 10.0)])),
                    Request::Metrics { .. } => Answer::Metrics(
                        answer
                            .map(|(value, _)| vec![MetricValue::new(value)])
                            .ok_or_else(error),
                    ),
                    _ => Answer::IsActive(answer.map(|(_, active)| active).ok_or_else(error)),
                },
            );
            for event in step.events {
                if let Event::Scaled(decision) = event {
                    changes.push((decision.from, decision.to, answer.is_none()));
                    workload = Workload::settled(workload.spec_replicas);
                }
            }
        }
    }
    changes
}

proptest! {
    #[test]
    fn replicas_stay_within_the_limits_and_errors_never_lower_them(
        (max, min) in (1..40_i32).prop_flat_map(|max| (Just(max), 0..=max)),
        replicas in 0..60_i32,
        behavior in behavior(),
        phases in phases(),
    ) {
        let spec = format!(
            r#"{{"pollingInterval": 7, "cooldownPeriod": 30, "minReplicaCount": {min}, "maxReplicaCount": {max},
                "advanced": {{"horizontalPodAutoscalerConfig": {{"behavior": {behavior}}}}}, "triggers": [{{}}]}}"#
        );
        for (from, to, failed) in live(serde_json::from_str(&spec).unwrap(), replicas, &phases) {
            prop_assert!(to <= max.max(1), "{to} is more than {max}");
            prop_assert!(to >= min.max(1) || (to == 0 && min == 0), "{to} is less than {min}");
            // Only the limits themselves move a workload whose metrics cannot be read.
            prop_assert!(!failed || to >= from || from > max, "an error lowered {from} to {to}");
        }
    }

    #[test]
    fn the_same_story_is_the_same_every_time(phases in phases(), replicas in 0..20_i32) {
        let spec: ScaledObjectSpec = serde_json::from_str(r#"{"pollingInterval": 5, "triggers": [{}]}"#).unwrap();
        prop_assert_eq!(live(spec.clone(), replicas, &phases), live(spec, replicas, &phases));
    }

    #[test]
    fn more_load_never_asks_for_fewer_replicas(
        low in 0..1_000_000_i64,
        more in 0..1_000_000_i64,
        target in 1..100_000_i64,
        replicas in 0..200_i32,
        up in 0.0..0.5_f64,
        down in 0.0..0.5_f64,
    ) {
        let tolerances = Tolerances { up, down };
        let total = |value| per_pod_replicas(&[value], target, replicas, tolerances);
        prop_assert!(total(low) <= total(low + more));
        // Intensities scale the ready pods, so the order holds where all of them are ready.
        let scale = Workload::settled(replicas);
        let intensity = |value| value_replicas(&[value], target, &scale, tolerances).unwrap();
        if replicas > 0 {
            prop_assert!(intensity(low) <= intensity(low + more));
        }
    }

    /// A total and a per-pod target make any number of replicas, wherever it starts from.
    #[test]
    fn a_desired_count_with_target_one_and_no_tolerance_is_reached_exactly(wanted in 0..500_i32, now in 0..500_i32) {
        let exact = Tolerances { up: 0.0, down: 0.0 };
        prop_assert_eq!(per_pod_replicas(&[i64::from(wanted) * 1000], 1000, now, exact), wanted);
    }
}

#[test]
fn four_replicas_at_95_with_target_80_need_five_not_two() {
    let tolerances = Tolerances { up: 0.1, down: 0.1 };
    assert_eq!(
        per_pod_replicas(&[380_000], 80_000, 4, tolerances),
        5,
        "the total"
    );
    assert_eq!(
        per_pod_replicas(&[95_000], 80_000, 4, tolerances),
        2,
        "the peer's mean"
    );
    assert_eq!(
        value_replicas(&[95_000], 80_000, &Workload::settled(4), tolerances),
        Ok(5),
        "the mean as Value"
    );
}
