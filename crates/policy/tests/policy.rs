//! Triggers that leave the replica count to a ScalingPolicy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests; the numbers are exact"
)]

#[allow(clippy::unnecessary_wraps, reason = "each test file uses its part")]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{parse, trigger};
use proptest::prelude::*;
use rheostat_policy::{
    Answer, Decided, Input, Memory, MetricType, Outcome, PodInput, PodState, Unseen, evaluate_decided,
    hpa_desired, queued_outside,
};
use rheostat_reading::{Absent, Amount, Observed, Quality, Reading, Timestamp, Unit};

fn pods(ready: u32, not_ready: u32) -> Vec<PodInput> {
    let pod = |place: u32, state| PodInput {
        name: format!("chat-{place}").into(),
        state,
        devices: Ok(Vec::new()),
        engine: Err(Unseen::EngineNotAsked),
    };
    let ready = (0..ready).map(|place| pod(place, PodState::Ready));
    ready
        .chain((0..not_ready).map(|place| pod(100 + place, PodState::NotReady)))
        .collect()
}

fn input(replicas: u32, pods: &[PodInput]) -> Input<'_> {
    Input {
        now: Timestamp::from_unix_nanos(1_000_000_000),
        replicas,
        status_replicas: replicas,
        pods,
        manual: None,
        outside: &[],
    }
}

fn decided(replicas: u32, active: bool, unknown: Option<&str>) -> Decided {
    Decided {
        replicas,
        active,
        unknown: unknown.map(Arc::from),
        known: 0,
    }
}

fn outcome(replicas: u32, decided: &Decided) -> Outcome {
    let trigger = trigger(&[("policy", "chat")]);
    let pods = pods(replicas, 0);
    evaluate_decided(
        &trigger,
        MetricType::AverageValue,
        &input(replicas, &pods),
        decided,
    )
    .outcome
}

#[test]
fn the_pods_that_the_decision_knew_are_told() {
    let pods = pods(3, 2);
    let known = |known| {
        let decided = Decided {
            known,
            ..decided(4, true, None)
        };
        let trigger = trigger(&[("policy", "chat")]);
        let input = input(5, &pods);
        let found = evaluate_decided(&trigger, MetricType::AverageValue, &input, &decided);
        (found.coverage.known, found.coverage.ready)
    };
    assert_eq!(known(1), (1, 3));
    assert_eq!(known(4), (3, 3), "one is gone since it decided");
}

#[test]
fn a_policy_is_one_key() {
    let found = trigger(&[("scalerAddress", "rheostat:6000"), ("policy", "chat")]);
    assert_eq!((found.policy(), found.target()), (Some("chat"), 1.0));
    assert_eq!(
        (found.metric_name(), found.kind(), &*found.subject()),
        ("rheostat-policy", "policy", "policy chat")
    );
    assert!(found.needs().engine.is_some());
    let other = trigger(&[("policy", "other")]);
    assert_ne!(found.canonical(), other.canonical());
    assert_eq!(found.canonical(), trigger(&[("policy", "chat")]).canonical());
    assert_ne!(
        found.canonical(),
        trigger(&[("policy", "chat"), ("staleAfter", "30s")]).canonical()
    );
}

#[test]
fn a_policy_takes_the_engines_keys_and_nothing_that_it_says_itself() {
    let found = trigger(&[
        ("policy", "chat"),
        ("engine", "sglang"),
        ("port", "metrics"),
        ("window", "30s"),
        ("grace", "1m"),
        ("staleAfter", "20s"),
        ("idlePeriod", "5m"),
    ]);
    assert_eq!(found.grace(), Duration::from_secs(60));
    let engine = found.needs().engine.as_ref().unwrap();
    assert_eq!(
        (engine.selection.window, engine.stale_after),
        (Duration::from_secs(30), Duration::from_secs(20))
    );
    for key in [
        "signal",
        "target",
        "activation",
        "profile",
        "expression",
        "guard",
        "quorum",
        "schedule",
        "metricType",
        "targetValue",
        "aggregation",
        "metricName",
        "signal.x",
    ] {
        let error = parse(&[("policy", "chat"), (key, "1")]).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("beside policy"), "{error}");
    }
    let error = parse(&[("policy", "../other")]).unwrap_err().to_string();
    assert!(
        error.contains("policy is \"../other\"") && error.contains("own namespace"),
        "{error}"
    );
    let error = parse(&[("signal", "policy"), ("target", "1")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("policy: NAME"), "{error}");
}

#[test]
fn a_policy_is_told_by_a_query_what_waits_in_front_of_the_workload() {
    let alone = trigger(&[("policy", "chat")]);
    let pods = pods(0, 0);
    assert_eq!(queued_outside(&alone, &input(0, &pods)), None, "nobody is asked");
    let asked = trigger(&[
        ("policy", "chat"),
        ("prometheus", "main"),
        ("query", "sum(waiting)"),
        ("onEmpty", "zero"),
    ]);
    assert_eq!(asked.needs().outside.len(), 1);
    assert_ne!(asked.canonical(), alone.canonical());
    let told = |outside: &[Observed]| {
        let input = Input {
            outside,
            ..input(0, &pods)
        };
        queued_outside(&asked, &input).expect("somebody is asked")
    };
    let number = |number: f64, second: u64| {
        Ok(Reading {
            amount: Amount::new(number, Unit::Count).unwrap(),
            at: Timestamp::from_unix_nanos(second * 1_000_000_000),
            window: Duration::ZERO,
            quality: Quality::Measured,
        })
    };
    assert_eq!(told(&[number(12.0, 1)]), Ok(12.0));
    assert_eq!(told(&[]), Err(Absent::NotYet));
    assert_eq!(
        told(&[Err(Absent::Failed("down".into()))]),
        Err(Absent::Failed("down".into()))
    );
    for wrong in [-1.0, 2e9] {
        let error = told(&[number(wrong, 1)]).unwrap_err().to_string();
        assert!(
            error.contains("no number of requests") && error.contains("0 to"),
            "{error}"
        );
    }
    let late = Input {
        now: Timestamp::from_unix_nanos(100_000_000_000),
        outside: &[number(12.0, 1)],
        ..input(0, &pods)
    };
    assert_eq!(
        queued_outside(&asked, &late),
        Some(Err(Absent::Stale(Duration::from_secs(99)))),
        "an old number is none"
    );
    for (keys, part) in [
        (&[("query", "sum(waiting)")][..], "prometheus"),
        (&[("prometheus", "main")][..], "query"),
        (
            &[("prometheus", "main"), ("query", "x"), ("onEmpty", "nothing")][..],
            "onEmpty",
        ),
        (&[("onMany", "sum")][..], "prometheus"),
        (&[("queue", "main")][..], "queue"),
    ] {
        let keys: Vec<_> = [("policy", "chat")].iter().chain(keys).copied().collect();
        let error = parse(&keys).unwrap_err().to_string();
        assert!(error.contains(part), "{keys:?}: {error}");
    }
}

#[test]
fn unknown_never_scales_down_and_never_keeps_from_growing() {
    let known = |value, active| Outcome::Known { value, active };
    assert_eq!(outcome(4, &decided(3, true, None)), known(3.0, true));
    assert_eq!(outcome(4, &decided(3, true, Some("blind"))), Outcome::Unknown);
    assert_eq!(outcome(4, &decided(4, false, Some("blind"))), Outcome::Unknown);
    assert_eq!(outcome(4, &decided(6, false, Some("blind"))), known(6.0, true));
    assert_eq!(
        outcome(0, &decided(0, false, Some("blind"))),
        Outcome::AtZero,
        "never an error at zero"
    );
    assert_eq!(outcome(0, &decided(3, true, None)), known(3.0, true));
    assert_eq!(outcome(0, &decided(0, false, None)), Outcome::AtZero);
}

#[test]
fn blindness_is_held_for_the_grace_and_then_told_with_the_policys_reason() {
    let trigger = trigger(&[("policy", "chat"), ("grace", "10s")]);
    let pods = pods(4, 0);
    let settings = trigger.answer_settings(Duration::from_secs(300));
    let mut memory = Memory::new();
    let mut step = |second: u64, decided: &Decided| {
        let now = Timestamp::from_unix_nanos(second * 1_000_000_000);
        let input = Input {
            now,
            ..input(4, &pods)
        };
        let evaluation = evaluate_decided(&trigger, MetricType::AverageValue, &input, decided);
        memory.step(now, &evaluation, &settings)
    };
    assert_eq!(step(1, &decided(5, true, None)).value(), Some(5.0));
    let blind = decided(1, false, Some("no engine answers"));
    let held = step(9, &blind);
    assert_eq!((held.value(), held.active()), (Some(5.0), Some(true)));
    match step(12, &blind) {
        Answer::Error { reason, .. } => assert_eq!(reason, "no engine answers"),
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// The HPA makes exactly what was decided, at any tolerance where the change is large enough to be seen.
    #[test]
    fn the_hpa_makes_what_was_decided(
        replicas in 1u32..200, wanted in 1u32..200, ready in 0u32..200,
        tolerance in prop_oneof![Just(0.0), Just(0.1)],
    ) {
        let trigger = trigger(&[("policy", "chat")]);
        let ready = ready.min(replicas);
        let pods = pods(ready, replicas - ready);
        let decided = decided(wanted, true, None);
        let evaluation = evaluate_decided(&trigger, MetricType::AverageValue, &input(replicas, &pods), &decided);
        let Outcome::Known { value, .. } = evaluation.outcome else { panic!("{evaluation:?}") };
        let made = hpa_desired(MetricType::AverageValue, value, 1.0, replicas, ready, tolerance);
        // As the HPA says it: at exactly its edge, such as 198 of 180, a change is not seen.
        let ratio = f64::from(wanted) / f64::from(replicas);
        let seen = !(1.0 - tolerance..=1.0 + tolerance).contains(&ratio);
        prop_assert!(made == wanted || !seen && made == replicas, "{made}");
    }
}
