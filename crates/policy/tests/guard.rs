//! Engines that sleep, and requests that keep their replicas.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use std::time::Duration;

use common::engines::*;
use common::*;
use rheostat_engines::Sleep;
use rheostat_policy::{Bound, Outcome, Step};
use rheostat_reading::{Absent, EngineQuantity as Q};

#[test]
fn sleeping_engines_are_no_supply_and_are_kept() {
    let vllm = trigger(VLLM);
    let mut pods = times(2, &engine(&[(Q::Concurrency, 48.0)]));
    pods.extend(times(2, &asleep()));
    for metric_type in BOTH {
        let evaluation = run_at(&vllm, metric_type, now(), 4, &pods, &[]);
        assert_eq!((evaluation.coverage.ready, evaluation.coverage.asleep), (2, 2));
        // Three have to serve, beside the two that sleep.
        assert_eq!(size(&vllm, &evaluation), 5, "{metric_type}");
        let all = run_at(&vllm, metric_type, now(), 2, &pods[2..], &[]);
        assert_eq!(size(&vllm, &all), 2, "{metric_type}");
        assert!(matches!(all.outcome, Outcome::Known { active: false, .. }));
    }
    // One that has not said so lately is unread, not asleep.
    let mut old = report(&[], &[]);
    old.sleep = Sleep::Asleep;
    old.answered_at = Some(now().minus(Duration::from_secs(30)));
    let evaluation = run_with(&vllm, 1, &[pod_with(old)], &[]);
    assert_eq!(evaluation.outcome, Outcome::Unknown);
}

#[test]
fn running_requests_keep_their_replicas() {
    let waiting = [("signal", "engine.waiting"), ("target", "5")];
    let guarded = trigger(&waiting);
    let pod = |running: f64, slots: f64| {
        engine(&[
            (Q::Waiting, 0.0),
            (Q::Running, running),
            (Q::Concurrency, running),
            (Q::MaxSequences, slots),
        ])
    };
    let pods = times(4, &pod(6.0, 8.0));
    for metric_type in BOTH {
        let evaluation = run_at(&guarded, metric_type, now(), 4, &pods, &[]);
        assert_eq!(
            size(&guarded, &evaluation),
            3,
            "{metric_type}: 24 requests, 8 fit one"
        );
        assert!(matches!(evaluation.outcome, Outcome::Known { active: true, .. }));
        assert!(evaluation.steps.contains(&Step::Bounded {
            by: Bound::Guard,
            replicas: 3
        }));
        let text = evaluation.explain(&guarded).to_string();
        assert!(text.contains("guard: 24 requests"), "{text}");
    }
    // None: zero is free. It never adds replicas.
    assert_eq!(
        run_with(&guarded, 4, &times(4, &pod(0.0, 8.0)), &[]).outcome,
        known(0.0, false)
    );
    assert_eq!(
        size(&guarded, &run_with(&guarded, 2, &times(2, &pod(99.0, 8.0)), &[])),
        2
    );
    let off = trigger(&[waiting[0], waiting[1], ("guard", "off")]);
    assert_eq!(run_with(&off, 4, &pods, &[]).outcome, known(0.0, false));
    let given = trigger(&[waiting[0], waiting[1], ("slotsPerReplica", "12")]);
    assert_eq!(size(&given, &run_with(&given, 4, &pods, &[])), 2);
    // Without slots it keeps the workload active, and no more.
    let unsized_pod = engine(&[(Q::Waiting, 0.0), (Q::Concurrency, 6.0)]);
    assert_eq!(
        run_with(&guarded, 1, &[unsized_pod], &[]).outcome,
        known(0.0, true)
    );
}

#[test]
fn a_target_in_requests_stands_for_slots_that_the_engine_does_not_report() {
    // As vLLM. By the idlest pod alone, none would be needed.
    let guarded = trigger(&[("profile", "vllm"), ("target", "10"), ("aggregation", "min")]);
    let pod = |running: f64| {
        let told = [
            (Q::Waiting, 0.0),
            (Q::Running, running),
            (Q::Concurrency, running),
        ];
        pod_with(report(&told, &[(Q::MaxSequences, Absent::NotSupported)]))
    };
    let pods = [pod(12.0), pod(9.0), pod(0.0), pod(0.0)];
    for metric_type in BOTH {
        let evaluation = run_at(&guarded, metric_type, now(), 4, &pods, &[]);
        assert_eq!(
            size(&guarded, &evaluation),
            3,
            "{metric_type}: 21 requests, 10 are one's"
        );
    }
    let given = trigger(&[
        ("profile", "vllm"),
        ("target", "10"),
        ("aggregation", "min"),
        ("slotsPerReplica", "6"),
    ]);
    assert_eq!(size(&given, &run_with(&given, 4, &pods, &[])), 4);
    // Ten that wait say nothing of how many can run.
    let waiting = trigger(&[("signal", "engine.waiting"), ("target", "10")]);
    assert_eq!(run_with(&waiting, 4, &pods, &[]).outcome, known(0.0, true));
}
