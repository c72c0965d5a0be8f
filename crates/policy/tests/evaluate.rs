//! One moment: from readings to the number, and what the HPA makes of it.
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

use common::*;
use proptest::prelude::*;
use rheostat_policy::{
    Activity, Hold, Input, MetricType, Outcome, PodInput, PodState, PodUnknown, Step, Trigger, evaluate,
    hpa_desired,
};
use rheostat_reading::{Absent, Observed, Quantity};

fn value(outcome: Outcome) -> f64 {
    match outcome {
        Outcome::Known { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn active(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Known { active, .. } => active,
        other => panic!("{other:?}"),
    }
}

fn desired(trigger: &Trigger, metric_type: MetricType, replicas: u32, pods: &[PodInput]) -> u32 {
    let evaluation = run(trigger, metric_type, replicas, pods);
    let ready = evaluation.coverage.ready_for_hpa();
    hpa_desired(
        metric_type,
        value(evaluation.outcome),
        trigger.target(),
        replicas,
        ready,
        0.1,
    )
}

fn activity(trigger: &Trigger, replicas: u32, pods: &[PodInput]) -> Activity {
    let evaluation = run(trigger, MetricType::AverageValue, replicas, pods);
    let found = evaluation.steps.iter().find_map(|step| match step {
        Step::Activity(activity) => Some(*activity),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn four_pods_at_95_with_target_80_become_five() {
    let pods = times(4, &busy(95.0));
    for metric_type in BOTH {
        assert_eq!(desired(&utilization(), metric_type, 4, &pods), 5, "{metric_type}");
    }
    assert_eq!(
        run(&utilization(), MetricType::AverageValue, 4, &pods).outcome,
        Outcome::Known {
            value: 380.0,
            active: true
        }
    );
    assert_eq!(
        run(&utilization(), MetricType::Value, 4, &pods).outcome,
        Outcome::Known {
            value: 95.0,
            active: true
        }
    );
}

#[test]
fn a_pod_is_as_busy_as_its_busiest_device_and_as_heavy_as_all() {
    let two = ready(vec![percent(20.0), percent(90.0)]);
    let average = MetricType::AverageValue;
    assert_eq!(value(run(&utilization(), average, 1, &[two]).outcome), 90.0);

    let power = trigger(&[("signal", "gpu.power"), ("target", "500"), ("activation", "200")]);
    let two = ready(vec![read(Quantity::Power, 300.0), read(Quantity::Power, 250.5)]);
    assert_eq!(value(run(&power, average, 1, &[two]).outcome), 550.5);

    let second = trigger(&[("signal", "gpu.utilization"), ("target", "80"), ("gpuIndex", "1")]);
    let pod = ready(vec![percent(99.0), percent(30.0)]);
    assert_eq!(value(run(&second, average, 1, &[pod]).outcome), 30.0);
}

#[test]
fn statistics_over_pods() {
    let mut pods = times(19, &busy(10.0));
    pods.push(busy(90.0));
    for (aggregation, average, intensity) in [
        ("avg", 280.0, 14.0),
        ("sum", 280.0, 14.0),
        ("min", 200.0, 10.0),
        ("max", 1800.0, 90.0),
        ("p95", 200.0, 10.0),
        ("p99", 1800.0, 90.0),
    ] {
        let trigger = trigger(&[
            ("signal", "gpu.utilization"),
            ("target", "80"),
            ("aggregation", aggregation),
        ]);
        assert_eq!(
            value(run(&trigger, MetricType::AverageValue, 20, &pods).outcome),
            average,
            "{aggregation}"
        );
        assert_eq!(
            value(run(&trigger, MetricType::Value, 20, &pods).outcome),
            intensity,
            "{aggregation}"
        );
    }
}

#[test]
fn an_unread_pod_votes_for_no_change_and_never_counts_as_zero() {
    let mut pods = times(4, &busy(95.0));
    pods.push(lost());
    let evaluation = run(&utilization(), MetricType::AverageValue, 5, &pods);
    assert_eq!(
        evaluation.outcome,
        Outcome::Known {
            value: 4.0 * 95.0 + 80.0,
            active: true
        }
    );
    assert!(evaluation.steps.contains(&Step::Votes { pods: 1, each: 80.0 }));

    // It may be the busy one: the workload is not called idle.
    let mut pods = times(4, &busy(0.0));
    pods.push(unseen());
    assert_eq!(activity(&utilization(), 5, &pods), Activity::Unread { pods: 1 });
}

#[test]
fn below_the_quorum_nothing_is_concluded_and_each_reason_is_kept() {
    let stale = {
        let mut observed = percent(50.0);
        observed.as_mut().unwrap().at = now().minus(Duration::from_secs(9));
        observed
    };
    let pods = [busy(10.0), ready(vec![stale]), ready(vec![]), unseen(), lost()];
    let evaluation = run(&utilization(), MetricType::Value, 5, &pods);
    assert_eq!(evaluation.outcome, Outcome::Unknown);
    assert_eq!(evaluation.coverage.known, 1);
    let reasons: Vec<_> = evaluation
        .pods
        .iter()
        .filter_map(|pod| pod.number.clone()?.err())
        .collect();
    assert_eq!(reasons.len(), 4);
    assert_eq!(
        reasons[0],
        PodUnknown::Device {
            device: "GPU-1".into(),
            reason: Absent::Stale(Duration::from_secs(9))
        }
    );
    assert_eq!(reasons[1], PodUnknown::NoDevice);
    assert!(matches!(&reasons[2], PodUnknown::Unseen(_)));
    let reason = evaluation.unknown_reason();
    for part in [
        "1 of 5 ready pods",
        "quorum 0.8",
        "stale: last read 9s ago",
        "holds no GPU",
        "node gpu-7",
        "the device is lost",
    ] {
        assert!(reason.contains(part), "{part} is missing in: {reason}");
    }
}

#[test]
fn one_unread_device_makes_the_pod_unread() {
    let pods = [ready(vec![percent(5.0), Err(Absent::NotYet)])];
    assert_eq!(
        run(&utilization(), MetricType::Value, 1, &pods).outcome,
        Outcome::Unknown
    );
}

#[test]
fn impossible_readings_are_absent() {
    for observed in [read(Quantity::Power, 50.0), read(Quantity::Utilization, -0.1)] {
        let evaluation = run(&utilization(), MetricType::Value, 1, &[ready(vec![observed])]);
        assert_eq!(evaluation.outcome, Outcome::Unknown);
    }
    let cold = trigger(&[("signal", "gpu.temperature"), ("target", "70")]);
    let evaluation = run(
        &cold,
        MetricType::Value,
        1,
        &[ready(vec![read(Quantity::Temperature, -5.0)])],
    );
    assert_eq!(
        evaluation.outcome,
        Outcome::Known {
            value: 0.0,
            active: false
        }
    );
}

#[test]
fn half_of_the_fleet_pending_under_full_load_is_held() {
    let mut pods = times(4, &busy(95.0));
    pods.extend(times(4, &pending()));
    for metric_type in BOTH {
        let evaluation = run(&utilization(), metric_type, 8, &pods);
        assert!(
            evaluation
                .steps
                .contains(&Step::Hold(Hold::SomeNotReady { not_ready: 4 }))
        );
        assert_eq!(desired(&utilization(), metric_type, 8, &pods), 8, "{metric_type}");
    }
    // Replicas that have no pod yet count the same.
    for metric_type in BOTH {
        assert_eq!(
            desired(&utilization(), metric_type, 8, &times(4, &busy(95.0))),
            8,
            "{metric_type}"
        );
    }
    // Without load the rest is not needed.
    let mut idle = times(4, &busy(20.0));
    idle.extend(times(4, &pending()));
    for metric_type in BOTH {
        assert_eq!(desired(&utilization(), metric_type, 8, &idle), 1, "{metric_type}");
    }
}

#[test]
fn a_cold_start_is_held_and_active() {
    for metric_type in BOTH {
        let evaluation = run(&utilization(), metric_type, 3, &times(3, &pending()));
        assert!(active(evaluation.outcome));
        assert_eq!(
            desired(&utilization(), metric_type, 3, &times(3, &pending())),
            3,
            "{metric_type}"
        );
    }
    assert_eq!(
        activity(&utilization(), 1, &[pending()]),
        Activity::Starting { replicas: 1 }
    );
    // Ready and idle while others start: not yet idle as a whole.
    assert_eq!(
        activity(&utilization(), 2, &[busy(0.0), pending()]),
        Activity::Starting { replicas: 1 }
    );
}

#[test]
fn at_zero_it_is_inactive_and_never_unknown() {
    for pods in [vec![], vec![terminating()], vec![busy(95.0)], vec![unseen()]] {
        for metric_type in BOTH {
            assert_eq!(
                run(&utilization(), metric_type, 0, &pods).outcome,
                Outcome::AtZero
            );
        }
    }
}

#[test]
fn terminating_pods_add_nothing() {
    let pods = [busy(50.0), terminating(), terminating()];
    let evaluation = run(&utilization(), MetricType::AverageValue, 1, &pods);
    assert_eq!(
        evaluation.outcome,
        Outcome::Known {
            value: 50.0,
            active: true
        }
    );
    assert_eq!(evaluation.coverage.total, 1);
}

/// The HPA multiplies by all that are ready, and those that drain are for minutes.
#[test]
fn draining_pods_do_not_multiply_the_size() {
    let sized = |trigger: &Trigger, replicas, load, draining_pods, tolerance| {
        let mut pods = times(4, &busy(load));
        pods.extend(times(draining_pods, &draining()));
        let evaluation = run(trigger, MetricType::Value, replicas, &pods);
        let counted = 4 + u32::try_from(draining_pods).unwrap();
        let value = value(evaluation.outcome);
        hpa_desired(
            MetricType::Value,
            value,
            trigger.target(),
            replicas,
            counted,
            tolerance,
        )
    };
    let manual = |count: &str| {
        trigger(&[
            ("signal", "gpu.utilization"),
            ("target", "80"),
            ("schedule", &format!("count {count} from * * * * * to 0 0 1 1 *")),
        ])
    };
    for tolerance in [0.0, 0.1] {
        for draining_pods in [0, 1, 4, 20] {
            let sized = |trigger: &Trigger, load| sized(trigger, 4, load, draining_pods, tolerance);
            assert_eq!(
                sized(&utilization(), 100.0),
                5,
                "{draining_pods} drain, {tolerance}"
            );
            assert_eq!(
                sized(&utilization(), 40.0),
                2,
                "{draining_pods} drain, {tolerance}"
            );
            assert_eq!(sized(&manual("6"), 40.0), 6, "{draining_pods} drain, {tolerance}");
        }
        // Twice the load, on twice as many ready pods: a ratio of 1, and no change.
        let double = trigger(&[("signal", "gpu.utilization"), ("target", "40")]);
        assert_eq!(sized(&double, 4, 80.0, 4, tolerance), 8);
        // What no ratio outside the tolerance makes, it makes in part: 16 from 4, with 16 ready.
        let fourfold = trigger(&[("signal", "gpu.utilization"), ("target", "20")]);
        assert_eq!(sized(&fourfold, 4, 80.0, 12, tolerance), 15);
    }
    let pods = [busy(50.0), draining()];
    let evaluation = run(&utilization(), MetricType::AverageValue, 1, &pods);
    assert_eq!(value(evaluation.outcome), 50.0);
    assert_eq!((evaluation.coverage.total, evaluation.coverage.ready), (1, 1));
}

#[test]
fn one_busy_pod_of_ten_keeps_the_workload_active() {
    let trigger = trigger(&[
        ("signal", "gpu.utilization"),
        ("target", "80"),
        ("activation", "15"),
    ]);
    let mut pods = times(9, &busy(0.0));
    pods.push(busy(60.0));
    assert_eq!(activity(&trigger, 10, &pods), Activity::Busy { compared: 60.0 });
    // Strictly above.
    assert_eq!(
        activity(&trigger, 1, &[busy(15.0)]),
        Activity::Idle { compared: 15.0 }
    );
}

#[test]
fn an_amount_is_judged_active_by_its_sum() {
    let power = trigger(&[("signal", "gpu.power"), ("target", "300"), ("activation", "250")]);
    let pod = ready(vec![read(Quantity::Power, 100.0)]);
    assert_eq!(
        activity(&power, 2, &times(2, &pod)),
        Activity::Idle { compared: 200.0 }
    );
    assert_eq!(
        activity(&power, 3, &times(3, &pod)),
        Activity::Busy { compared: 300.0 }
    );
}

#[test]
fn a_person_can_rehearse_from_zero() {
    let manual = trigger(&[("signal", "manual")]);
    let step = |replicas, pods: &[PodInput], demand, metric_type| {
        evaluate(
            &manual,
            metric_type,
            &Input {
                now: now(),
                replicas,
                status_replicas: replicas,
                pods,
                manual: demand,
                outside: &[],
            },
        )
    };
    for metric_type in BOTH {
        assert_eq!(step(0, &[], None, metric_type).outcome, Outcome::AtZero);
        assert_eq!(step(0, &[], Some(0.0), metric_type).outcome, Outcome::AtZero);
        assert_eq!(
            step(0, &[], Some(7.0), metric_type).outcome,
            Outcome::Known {
                value: 7.0,
                active: true
            }
        );
        // Up, down and stay, with all, some or none ready; no GPU is needed.
        for (replicas, asked, ready_pods) in [
            (1, 7.0, 1),
            (7, 3.0, 7),
            (7, 7.0, 3),
            (4, 9.0, 3),
            (9, 2.0, 7),
            (3, 3.0, 0),
        ] {
            let mut pods = times(ready_pods, &ready(vec![]));
            pods.extend(times(replicas as usize - ready_pods, &pending()));
            let outcome = step(replicas, &pods, Some(asked), metric_type).outcome;
            let counted = u32::try_from(ready_pods).unwrap();
            let desired = hpa_desired(metric_type, value(outcome), 1.0, replicas, counted, 0.0);
            assert_eq!(f64::from(desired), asked, "{replicas} {ready_pods} {metric_type}");
        }
        // No annotation is a statement, not a gap.
        assert_eq!(
            step(2, &times(2, &ready(vec![])), None, metric_type).outcome,
            Outcome::Known {
                value: 0.0,
                active: false
            }
        );
    }
}

#[test]
fn an_explanation_goes_from_the_reading_to_the_replica_count() {
    let trigger = utilization();
    let mut pods = times(3, &busy(95.0));
    pods.push(pending());
    let text = run(&trigger, MetricType::AverageValue, 4, &pods)
        .explain(&trigger)
        .to_string();
    for part in [
        "gpu.utilization",
        "target 80.0 %",
        "AverageValue",
        "pod pod: 95.0 %",
        "GPU-1 (NVIDIA H100): 95.0 %, measured over 1.0s, 500.0ms old",
        "not ready, adds nothing",
        "active: the busiest pod, 95.0 %, is above 0.0 %",
        "the size is held, 80 × 4",
        "no change",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let text = run(&trigger, MetricType::Value, 3, &pods[..3])
        .explain(&trigger)
        .to_string();
    assert!(
        text.contains("ceil(95 / 80 × 3 ready): 4 replicas, from 3"),
        "{text}"
    );
    let text = run(&trigger, MetricType::Value, 1, &[lost()])
        .explain(&trigger)
        .to_string();
    assert!(
        text.contains("the device is lost") && text.contains("nothing is concluded"),
        "{text}"
    );
    let text = run(&trigger, MetricType::Value, 0, &[])
        .explain(&trigger)
        .to_string();
    assert!(text.contains("no replicas"), "{text}");
}

fn any_observed() -> impl Strategy<Value = Observed> {
    prop_oneof![
        6 => (0.0..=100.0f64).prop_map(percent),
        1 => prop_oneof![
            Just(Absent::NotSupported), Just(Absent::DeviceLost), Just(Absent::NotYet), Just(Absent::Unattributable)
        ].prop_map(Err),
    ]
}

fn any_pod() -> impl Strategy<Value = PodInput> {
    prop_oneof![
        8 => proptest::collection::vec(any_observed(), 0..4).prop_map(ready),
        2 => Just(pending()),
        1 => Just(terminating()),
        1 => Just(draining()),
        1 => Just(unseen()),
    ]
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    (1u32..=100, 0usize..6, 0usize..4, 1u32..=10).prop_map(|(target, aggregation, within, quorum)| {
        let aggregation = ["avg", "sum", "min", "max", "p95", "p99"][aggregation];
        let within = ["max", "sum", "avg", "min"][within];
        trigger(&[
            ("signal", "gpu.utilization"),
            ("target", &target.to_string()),
            ("aggregation", aggregation),
            ("within", within),
            ("quorum", &(f64::from(quorum) / 10.0).to_string()),
        ])
    })
}

proptest! {
    #[test]
    fn every_input_gives_one_finite_answer(
        trigger in any_trigger(), pods in proptest::collection::vec(any_pod(), 0..12), replicas in 0u32..15,
    ) {
        for metric_type in BOTH {
            let evaluation = run(&trigger, metric_type, replicas, &pods);
            prop_assert_eq!(&evaluation, &run(&trigger, metric_type, replicas, &pods));
            prop_assert_eq!(replicas == 0, evaluation.outcome == Outcome::AtZero);
            if let Outcome::Known { value, .. } = evaluation.outcome {
                prop_assert!(value.is_finite() && value >= 0.0);
            }
            let text = evaluation.explain(&trigger).to_string();
            prop_assert!(!text.contains("NaN") && !text.contains("inf"));
        }
    }

    #[test]
    fn a_pod_gone_blind_never_makes_an_idle_workload(
        trigger in any_trigger(), loads in proptest::collection::vec(0.0..100.0f64, 2..12), blind in 0usize..12,
    ) {
        let mut pods: Vec<_> = loads.iter().map(|load| busy(*load)).collect();
        let place = blind % pods.len();
        pods[place] = unseen();
        let replicas = u32::try_from(pods.len()).unwrap();
        match run(&trigger, MetricType::AverageValue, replicas, &pods).outcome {
            Outcome::Known { active, value } => {
                prop_assert!(active);
                // It counts as the target, not as nothing.
                let rest: f64 = match trigger.aggregation().name() {
                    "avg" | "sum" => loads.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, load)| load).sum(),
                    _ => 0.0,
                };
                let vote = if rest > 0.0 { trigger.target() } else { 0.0 };
                prop_assert!(value >= rest + vote - 0.01, "{} is less than {} + {}", value, rest, vote);
            }
            Outcome::Unknown => {}
            Outcome::AtZero => prop_assert!(false),
        }
    }

    #[test]
    fn more_load_never_asks_for_less(
        trigger in any_trigger(),
        loads in proptest::collection::vec((0.0..100.0f64, 0.0..50.0f64), 1..12),
        starting in 0usize..4,
    ) {
        let pods = |more: bool| {
            let mut pods: Vec<_> =
                loads.iter().map(|(load, extra)| busy(if more { (load + extra).min(100.0) } else { *load })).collect();
            pods.extend(times(starting, &pending()));
            pods
        };
        let replicas = u32::try_from(loads.len() + starting).unwrap();
        for metric_type in BOTH {
            let (less, more) = (desired(&trigger, metric_type, replicas, &pods(false)), desired(&trigger, metric_type, replicas, &pods(true)));
            prop_assert!(more >= less, "{less} then {more}");
            let was_active = active(run(&trigger, metric_type, replicas, &pods(false)).outcome);
            prop_assert!(!was_active || active(run(&trigger, metric_type, replicas, &pods(true)).outcome));
        }
    }

    /// Both metric types ask for the same size, so that a user's choice between them is free.
    #[test]
    fn both_metric_types_agree_when_all_are_ready(
        trigger in any_trigger(), loads in proptest::collection::vec(0.0..100.0f64, 1..12),
    ) {
        let pods: Vec<_> = loads.iter().map(|load| busy(*load)).collect();
        let replicas = u32::try_from(pods.len()).unwrap();
        let [average, value] = BOTH.map(|metric_type| desired(&trigger, metric_type, replicas, &pods));
        // A value is cut to thousandths, a thousandth of a replica at most.
        prop_assert!(average.abs_diff(value) <= 1, "{average} {value}");
    }

    /// A fleet under full load of which only some can start (for want of GPUs) neither shrinks
    /// nor grows beyond what the load of the ready ones asks for, however often the HPA looks.
    #[test]
    fn a_fleet_that_cannot_start_neither_shrinks_nor_runs_away(
        start in 1u32..40, can_start in 1u32..20, load in 80.0..100.0f64, tolerance in 0.0..0.2f64,
    ) {
        let trigger = utilization();
        for metric_type in BOTH {
            let mut replicas = start;
            let shown = f64::from(can_start) * load / 80.0;
            let most = start.max(shown.ceil() as u32);
            for _ in 0..50 {
                let running = replicas.min(can_start);
                let mut pods = times(running as usize, &busy(load));
                pods.extend(times((replicas - running) as usize, &pending()));
                let evaluation = run(&trigger, metric_type, replicas, &pods);
                let wanted = hpa_desired(metric_type, value(evaluation.outcome), 80.0, replicas, running, tolerance);
                prop_assert!(wanted >= replicas, "{metric_type}: {replicas} shrank to {wanted}");
                prop_assert!(wanted <= most, "{metric_type}: {replicas} ran away to {wanted}");
                replicas = wanted;
            }
        }
    }

    /// A fixed amount of work settles where each replica is at or below target, and stays there.
    #[test]
    fn a_steady_load_settles(work in 1.0..3000.0f64, start in 1u32..50, cold_start in 0usize..5) {
        let trigger = utilization();
        for metric_type in BOTH {
            let mut warm: Vec<u32> = vec![start; cold_start + 1];
            let mut replicas = start;
            let mut sizes = Vec::new();
            for _ in 0..200 {
                // Replicas serve once they have been asked for `cold_start` rounds ago.
                let serving = warm.iter().rev().take(cold_start + 1).copied().min().unwrap().clamp(1, replicas);
                let each = (work / f64::from(serving)).min(100.0);
                let mut pods = times(serving as usize, &busy(each));
                pods.extend(times((replicas - serving) as usize, &pending()));
                let evaluation = run(&trigger, metric_type, replicas, &pods);
                replicas = hpa_desired(metric_type, value(evaluation.outcome), 80.0, replicas, serving, 0.1).clamp(1, 100);
                warm.push(replicas);
                sizes.push(replicas);
            }
            let last = sizes[sizes.len() - 1];
            prop_assert!(sizes[150..].iter().all(|size| *size == last), "{metric_type}: {:?}", &sizes[150..]);
            let each = work / f64::from(last);
            prop_assert!(each <= 80.0 * 1.1 + 0.01, "{metric_type}: {last} replicas at {each} %");
        }
    }

    /// What is not in the input cannot matter: pods of other workloads are never handed in, and a
    /// pod that is not ready brings nothing of its devices in either.
    #[test]
    fn devices_of_pods_that_do_not_serve_do_not_matter(
        loads in proptest::collection::vec(0.0..100.0f64, 1..6), one in 0.0..100.0f64, other in 0.0..100.0f64,
    ) {
        let trigger = utilization();
        let replicas = u32::try_from(loads.len() + 1).unwrap();
        for state in [PodState::NotReady, PodState::Draining, PodState::Terminating] {
            let outcome = |load: f64| {
                let mut pods: Vec<_> = loads.iter().map(|load| busy(*load)).collect();
                pods.push(PodInput { state, ..busy(load) });
                run(&trigger, MetricType::AverageValue, replicas, &pods).outcome
            };
            prop_assert_eq!(outcome(one), outcome(other));
        }
    }
}
