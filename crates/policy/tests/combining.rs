//! Engines, expressions, the guard, schedules and the workload's own numbers: one moment at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use rheostat_engines::{Engine, EngineChoice, EngineReport, History, Pages, Reader, Sample, Sleep, View};
use rheostat_policy::{
    Activity, Answer, Bound, EngineScheme, EngineSource, Evaluation, Input, Load, Memory, MetricType,
    Outcome, OutsideSource, PodInput, PodState, PodUnknown, Step, Trigger, Unseen, evaluate, hpa_desired,
};
use rheostat_reading::{
    Absent, Amount, EngineQuantity as Q, Observed, Quality, Quantity, Reading, Readings, Timestamp, Unit,
};

fn observed(value: f64, unit: Unit) -> Observed {
    Ok(Reading {
        amount: Amount::new(value, unit).unwrap(),
        at: now().minus(Duration::from_secs(1)),
        window: Duration::ZERO,
        quality: Quality::Measured,
    })
}

fn report(known: &[(Q, f64)], absent: &[(Q, Absent)]) -> EngineReport {
    let mut readings = Readings::new();
    for &(quantity, value) in known {
        readings.set(quantity, observed(value, quantity.unit()));
    }
    for (quantity, reason) in absent {
        readings.set(*quantity, Err(reason.clone()));
    }
    EngineReport {
        engine: Some(Engine::Vllm),
        answered_at: Some(now().minus(Duration::from_secs(1))),
        failure: None,
        sleep: Sleep::Awake,
        readings,
        notes: vec![],
    }
}

fn pod_with(report: EngineReport) -> PodInput {
    PodInput {
        name: "pod".into(),
        state: PodState::Ready,
        devices: Ok(vec![]),
        engine: Ok(Arc::new(report)),
    }
}

/// A pod whose engine has these readings.
fn engine(known: &[(Q, f64)]) -> PodInput {
    pod_with(report(known, &[]))
}

fn asleep() -> PodInput {
    pod_with(EngineReport {
        sleep: Sleep::Asleep,
        ..report(&[(Q::Concurrency, 0.0)], &[])
    })
}

fn blind() -> PodInput {
    PodInput {
        engine: Err(Unseen::EngineNotAsked),
        ..engine(&[])
    }
}

fn count(value: f64) -> Observed {
    observed(value, Unit::Count)
}

fn run_at(
    trigger: &Trigger,
    metric_type: MetricType,
    now: Timestamp,
    replicas: u32,
    pods: &[PodInput],
    outside: &[Observed],
) -> Evaluation {
    let input = Input {
        now,
        replicas,
        status_replicas: replicas,
        pods,
        manual: None,
        outside,
    };
    evaluate(trigger, metric_type, &input)
}

fn run_with(trigger: &Trigger, replicas: u32, pods: &[PodInput], outside: &[Observed]) -> Evaluation {
    run_at(trigger, MetricType::AverageValue, now(), replicas, pods, outside)
}

/// What the HPA makes of it without tolerance.
fn size(trigger: &Trigger, evaluation: &Evaluation) -> u32 {
    let Outcome::Known { value, .. } = evaluation.outcome else {
        panic!("{:?}", evaluation.outcome);
    };
    let ready = evaluation.coverage.ready_for_hpa();
    hpa_desired(
        evaluation.metric_type,
        value,
        trigger.target(),
        evaluation.replicas,
        ready,
        0.0,
    )
}

fn known(value: f64, active: bool) -> Outcome {
    Outcome::Known { value, active }
}

fn refused(metadata: &[(&str, &str)]) -> String {
    parse(metadata).unwrap_err().to_string()
}

const VLLM: &[(&str, &str)] = &[("profile", "vllm")];
const LOAD: &[(&str, &str)] = &[
    ("signal.waiting", "engine.waiting"),
    ("signal.kv", "engine.kv_cache_usage"),
    ("expression", "max(waiting/5, kv/80%)"),
];
const TOTAL: &[(&str, &str)] = &[
    ("signal.queue", "prometheus"),
    ("signal.queue.prometheus", "main"),
    ("signal.queue.query", "sum(q)"),
    ("signal.waiting", "engine.waiting"),
    ("over", "workload"),
    ("expression", "queue/10 + waiting/5"),
];

#[test]
fn a_profile_in_one_line_counts_requests_and_needs_no_more_than_them() {
    let vllm = trigger(VLLM);
    let needs = vllm.needs();
    assert!(needs.gpu.is_empty() && needs.outside.is_empty() && !needs.manual);
    let engines = needs.engine.as_ref().unwrap();
    assert_eq!(engines.selection.engine, EngineSource::Named(Engine::Vllm));
    assert_eq!(
        engines.quantities,
        [Q::Waiting, Q::Running, Q::Concurrency, Q::MaxSequences]
    );
    let pods = times(4, &engine(&[(Q::Concurrency, 40.0)]));
    for metric_type in BOTH {
        let evaluation = run_at(&vllm, metric_type, now(), 4, &pods, &[]);
        assert_eq!(size(&vllm, &evaluation), 5, "{metric_type}");
    }
    let idle = run_with(&vllm, 1, &[engine(&[(Q::Concurrency, 0.0)])], &[]);
    assert_eq!(idle.outcome, known(0.0, false));
    // Nobody has asked: unknown, never 0.
    assert_eq!(run_with(&vllm, 1, &[blind()], &[]).outcome, Outcome::Unknown);
}

#[test]
fn a_latency_of_no_requests_is_idle_and_one_of_hanging_requests_is_unknown() {
    let ttft = trigger(&[
        ("signal", "engine.ttft"),
        ("target", "500ms"),
        ("quantile", "p99"),
    ]);
    assert_eq!(ttft.target(), 0.5);
    let silent = |concurrency| {
        let known = [(Q::Concurrency, concurrency)];
        pod_with(report(&known, &[(Q::TtftP99, Absent::NoTraffic)]))
    };
    assert_eq!(run_with(&ttft, 1, &[silent(0.0)], &[]).outcome, known(0.0, false));
    let hangs = run_with(&ttft, 1, &[silent(7.0)], &[]);
    assert_eq!(hangs.outcome, Outcome::Unknown);
    assert_eq!(
        hangs.pods[0].number,
        Some(Err(PodUnknown::NoneFinished { concurrency: 7 }))
    );
    // An engine that fell silent has no "no traffic" either.
    let mut old = report(&[], &[(Q::TtftP99, Absent::NoTraffic)]);
    old.answered_at = Some(now().minus(Duration::from_secs(60)));
    assert_eq!(
        run_with(&ttft, 1, &[pod_with(old)], &[]).outcome,
        Outcome::Unknown
    );
    let slow = engine(&[(Q::TtftP99, 1.0), (Q::Concurrency, 3.0)]);
    assert_eq!(size(&ttft, &run_with(&ttft, 2, &[slow.clone(), slow], &[])), 4);
}

#[test]
fn an_engine_without_concurrency_is_idle_only_where_something_says_so() {
    let e2e = trigger(&[("signal", "engine.e2e"), ("target", "500ms")]);
    let needed = &e2e.needs().engine.as_ref().unwrap().quantities;
    for quantity in [Q::Waiting, Q::Running, Q::Concurrency, Q::RequestRate] {
        assert!(needed.contains(&quantity), "{quantity} is not asked for");
    }
    let outcome = |known: &[(Q, f64)], absent: &[(Q, Absent)]| {
        let mut absent = absent.to_vec();
        absent.push((Q::E2eP95, Absent::NoTraffic));
        run_with(&e2e, 1, &[pod_with(report(known, &absent))], &[])
    };
    let never = |quantity| (quantity, Absent::NotSupported);
    let nan = |quantity| (quantity, Absent::Failed("NaN".into()));
    // As TEI: only a queue. As one that tells only its batch.
    for (told, others) in [
        (Q::Waiting, [never(Q::Concurrency), never(Q::Running)]),
        (Q::Running, [never(Q::Concurrency), never(Q::Waiting)]),
    ] {
        let hangs = outcome(&[(told, 3.0), (Q::RequestRate, 0.0)], &others);
        assert_eq!(hangs.outcome, Outcome::Unknown, "{told}");
        assert_eq!(
            hangs.pods[0].number,
            Some(Err(PodUnknown::NoneFinished { concurrency: 3 }))
        );
        let idle = outcome(&[(told, 0.0), (Q::RequestRate, 0.0)], &others);
        assert_eq!(idle.outcome, known(0.0, false), "{told}");
    }
    // As TorchServe and TensorFlow Serving: neither, but what has finished.
    let neither = [never(Q::Concurrency), never(Q::Running), never(Q::Waiting)];
    assert_eq!(
        outcome(&[(Q::RequestRate, 0.0)], &neither).outcome,
        known(0.0, false)
    );
    assert_eq!(outcome(&[], &neither).outcome, Outcome::Unknown);
    // What cannot be read says nothing.
    let broken = [nan(Q::Concurrency), nan(Q::Running)];
    let torn = outcome(&[(Q::Waiting, 0.0), (Q::RequestRate, 0.0)], &broken);
    assert_eq!(torn.outcome, Outcome::Unknown);
    assert!(torn.unknown_reason().contains("NaN"), "{}", torn.unknown_reason());
    let broken = [never(Q::Concurrency), nan(Q::Running), never(Q::Waiting)];
    assert_eq!(
        outcome(&[(Q::RequestRate, 0.0)], &broken).outcome,
        Outcome::Unknown
    );
}

/// A Triton whose page shows `requests` more each second, and `waiting`.
fn triton(requests: u32, waiting: u32) -> PodInput {
    let view = View::everything();
    let mut reader = Reader::new(&EngineChoice::Named(Engine::Triton)).unwrap();
    let (mut history, mut sample) = (History::new(&view), Sample::default());
    for second in 0..=60 {
        let done = 1000 + second * requests;
        let page = format!(
            "nv_inference_request_success{{model=\"resnet\"}} {done}\n\
             nv_inference_request_duration_us{{model=\"resnet\"}} {done}00000\n\
             nv_inference_queue_duration_us{{model=\"resnet\"}} {done}0000\n\
             nv_inference_pending_request_count{{model=\"resnet\"}} {waiting}\n"
        );
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        reader.read(&pages, &view, &mut sample).unwrap();
        history.push(&sample, now().minus(Duration::from_secs(61 - u64::from(second))));
    }
    pod_with(history.report())
}

#[test]
fn a_triton_that_tells_only_its_queue_is_idle_when_traffic_stops() {
    let e2e = trigger(&[
        ("signal", "engine.e2e"),
        ("engine", "triton"),
        ("target", "500ms"),
    ]);
    assert_eq!(run_with(&e2e, 1, &[triton(0, 0)], &[]).outcome, known(0.0, false));
    let Outcome::Known { value, .. } = run_with(&e2e, 1, &[triton(5, 2)], &[]).outcome else {
        panic!("unknown under load");
    };
    assert!((value - 0.1).abs() < 1e-9, "{value}");
    let hangs = run_with(&e2e, 1, &[triton(0, 3)], &[]);
    assert_eq!(
        hangs.pods[0].number,
        Some(Err(PodUnknown::NoneFinished { concurrency: 3 }))
    );
}

#[test]
fn what_covers_too_little_of_the_window_is_not_known_yet() {
    let over = |quantity: Q, value: f64, seconds: u64| {
        let reading = observed(value, quantity.unit()).unwrap();
        let window = Duration::from_secs(seconds);
        (quantity, Ok(Reading { window, ..reading }))
    };
    let outcome = |trigger: &Trigger, readings: &[(Q, Observed)]| {
        let mut report = report(&[(Q::Concurrency, 0.0)], &[]);
        for (quantity, reading) in readings {
            report.readings.set(*quantity, reading.clone());
        }
        run_with(trigger, 1, &[pod_with(report)], &[])
    };
    let by = |signal: &str, target: &str, window: &str| {
        trigger(&[("signal", signal), ("target", target), ("window", window)])
    };
    // As after a restart of the agent, of the engine, or a takeover.
    for (window, short, enough) in [("60s", 19, 20), ("10m", 19, 20), ("30s", 14, 15), ("10s", 4, 5)] {
        let rate = by("engine.request_rate", "2", window);
        let evaluation = outcome(&rate, &[over(Q::RequestRate, 0.0, short)]);
        assert_eq!(evaluation.outcome, Outcome::Unknown, "{window}");
        let reason = evaluation.unknown_reason();
        assert!(reason.contains("not sampled yet"), "{reason}");
        let evaluation = outcome(&rate, &[over(Q::RequestRate, 0.0, enough)]);
        assert_eq!(evaluation.outcome, known(0.0, false), "{window}");

        let e2e = by("engine.e2e", "500ms", window);
        let evaluation = outcome(&e2e, &[over(Q::E2eP95, 0.1, short)]);
        assert_eq!(evaluation.outcome, Outcome::Unknown, "{window}");
        let evaluation = outcome(&e2e, &[over(Q::E2eP95, 0.1, enough)]);
        assert_eq!(evaluation.outcome, known(0.1, true), "{window}");

        // No traffic has no window of its own. llama.cpp counts tokens, and no requests.
        let silent = (Q::E2eP95, Err(Absent::NoTraffic));
        let uncounted = (Q::RequestRate, Err(Absent::NotSupported));
        for counted in [Q::RequestRate, Q::GenerationTokenRate] {
            for (seconds, expected) in [(short, Outcome::Unknown), (enough, known(0.0, false))] {
                let readings = [silent.clone(), uncounted.clone(), over(counted, 0.0, seconds)];
                assert_eq!(outcome(&e2e, &readings).outcome, expected, "{window} {seconds}");
            }
        }
    }
    // What is of the moment needs no window.
    let waiting = by("engine.waiting", "5", "60s");
    let evaluation = outcome(&waiting, &[over(Q::Waiting, 3.0, 0)]);
    assert_eq!(evaluation.outcome, known(3.0, true));
    let needed = &by("engine.e2e", "500ms", "60s").needs().engine.clone().unwrap();
    assert!(needed.quantities.contains(&Q::GenerationTokenRate));
}

#[test]
fn an_expression_of_each_pod_is_totalled() {
    let load = trigger(LOAD);
    assert!(matches!(load.load(), Load::PerPod(_)));
    assert_eq!((load.target(), &*load.subject()), (1.0, "max(waiting/5, kv/80%)"));
    let pods: Vec<_> = [(0.0, 0.4), (5.0, 0.1), (7.5, 0.1), (10.0, 0.1)]
        .iter()
        .map(|(waiting, kv)| engine(&[(Q::Waiting, *waiting), (Q::KvCacheUsage, *kv)]))
        .collect();
    for metric_type in BOTH {
        let evaluation = run_at(&load, metric_type, now(), 4, &pods, &[]);
        assert_eq!(size(&load, &evaluation), 5, "{metric_type}");
    }
    // A pod without one of the operands is unread, and votes for no change.
    let mut pods = times(4, &engine(&[(Q::Waiting, 10.0), (Q::KvCacheUsage, 0.1)]));
    pods.push(engine(&[(Q::Waiting, 10.0)]));
    let evaluation = run_with(&load, 5, &pods, &[]);
    assert_eq!(evaluation.outcome, known(9.0, true));
    let reason = evaluation.unread().next().unwrap().1.to_string();
    assert!(reason.contains("kv is absent"), "{reason}");
    // Unless the expression copes.
    let copes = trigger(&[
        ("signal.waiting", "engine.waiting"),
        ("signal.kv", "engine.kv_cache_usage"),
        ("expression", "max(waiting/5, kv/80%) or waiting/5"),
    ]);
    assert_eq!(run_with(&copes, 5, &pods, &[]).outcome, known(10.0, true));
    let text = run_with(&copes, 5, &pods, &[]).explain(&copes).to_string();
    for part in [
        "waiting = engine.waiting (vllm): 10",
        "1.0s old",
        "waiting/5 = 10/5 = 2",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn a_demand_of_the_workload_is_no_load_of_a_pod() {
    let message = refused(&[
        ("signal.queue", "prometheus"),
        ("signal.queue.prometheus", "main"),
        ("signal.queue.query", "sum(q)"),
        ("signal.waiting", "engine.waiting"),
        ("expression", "queue/10 + waiting/5"),
    ]);
    assert!(
        message.contains("over") && message.contains("workload, since queue"),
        "{message}"
    );

    let total = trigger(TOTAL);
    assert!(
        matches!(&total.needs().outside[..], [OutsideSource::Prometheus(query)] if query.server == "main")
    );
    let pods = times(2, &engine(&[(Q::Waiting, 5.0)]));
    for metric_type in BOTH {
        let evaluation = run_at(&total, metric_type, now(), 2, &pods, &[count(30.0)]);
        assert_eq!(size(&total, &evaluation), 5, "{metric_type}");
    }
    // An unread pod of six votes; below the quorum nothing is concluded.
    let mut pods = times(5, &engine(&[(Q::Waiting, 5.0)]));
    pods.push(blind());
    assert_eq!(
        run_with(&total, 6, &pods, &[count(0.0)]).outcome,
        known(6.0, true)
    );
    pods.extend(times(5, &blind()));
    assert_eq!(
        run_with(&total, 11, &pods, &[count(0.0)]).outcome,
        Outcome::Unknown
    );
    // A cold start is not shrunk, but the queue can ask for more.
    let starting = [pending(), pending(), pending()];
    assert_eq!(size(&total, &run_with(&total, 3, &starting, &[count(10.0)])), 3);
    assert_eq!(size(&total, &run_with(&total, 3, &starting, &[count(80.0)])), 8);
}

#[test]
fn prometheus_down_freezes_and_never_reads_as_zero() {
    let queue = trigger(&[
        ("signal", "prometheus"),
        ("prometheus", "main"),
        ("query", "sum(q)"),
        ("target", "10"),
    ]);
    assert_eq!(
        run_with(&queue, 0, &[], &[count(25.0)]).outcome,
        known(25.0, true)
    );
    assert_eq!(run_with(&queue, 0, &[], &[count(0.0)]).outcome, Outcome::AtZero);
    for outside in [
        vec![Err(Absent::Failed("connection refused".into()))],
        vec![],
        vec![observed(0.5, Unit::Ratio)],
    ] {
        assert_eq!(run_with(&queue, 0, &[], &outside).outcome, Outcome::AtZero);
        let evaluation = run_with(&queue, 2, &[], &outside);
        assert_eq!(evaluation.outcome, Outcome::Unknown);
        let settings = queue.answer_settings(Duration::ZERO);
        let mut memory = Memory::new();
        // In the moment in which it is first seen, nobody can have asked yet: no change, for the grace.
        let answer = memory.step(now(), &evaluation, &settings);
        assert!(
            matches!(
                answer,
                Answer::Value {
                    value: 20.0,
                    active: true,
                    ..
                }
            ),
            "{answer}"
        );
        let answer = memory.step(now().plus(settings.grace), &evaluation, &settings);
        assert!(
            matches!(&answer, Answer::Error { reason, .. } if reason.contains("workload is missing")),
            "{answer}"
        );
    }
    // Under Value the HPA multiplies by the ready pods.
    let pods = times(2, &blind());
    for metric_type in BOTH {
        let evaluation = run_at(&queue, metric_type, now(), 2, &pods, &[count(50.0)]);
        assert_eq!(size(&queue, &evaluation), 5, "{metric_type}");
    }
}

#[test]
fn activation_can_start_from_zero_by_another_signal() {
    let vllm = trigger(&[
        ("profile", "vllm"),
        ("signal.queue", "prometheus"),
        ("prometheus", "main"),
        ("query", "sum(q)"),
        ("activationExpression", "queue > 0 || signal > 0"),
    ]);
    assert_eq!(run_with(&vllm, 0, &[], &[count(3.0)]).outcome, known(32.0, true));
    assert_eq!(run_with(&vllm, 0, &[], &[count(0.0)]).outcome, Outcome::AtZero);
    assert_eq!(
        run_with(&vllm, 0, &[], &[Err(Absent::NotYet)]).outcome,
        Outcome::AtZero
    );
    let idle = [engine(&[(Q::Concurrency, 0.0)])];
    assert_eq!(
        run_with(&vllm, 1, &idle, &[count(0.0)]).outcome,
        known(0.0, false)
    );
    // What is not known is not called idle.
    assert_eq!(
        run_with(&vllm, 1, &idle, &[Err(Absent::NotYet)]).outcome,
        known(0.0, true)
    );
}

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

fn on(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_unix_nanos(u64::try_from(at.as_nanosecond()).unwrap())
}

#[test]
fn a_schedule_bounds_the_size_under_both_metric_types() {
    let bounded = trigger(&[
        ("signal", "prometheus"),
        ("prometheus", "main"),
        ("query", "q"),
        ("target", "10"),
        ("staleAfter", "10m"),
        ("timezone", "Europe/Zurich"),
        (
            "schedule",
            "floor 3 from 0 8 * * mon-fri to 0 20 * * mon-fri\nceiling 4 from 0 20 * * * to 0 8 * * *; ceiling 0 from 0 0 * * 0 to 0 12 * * 0",
        ),
    ]);
    // Tuesday in summer, UTC+2.
    let (day, night, sunday) = (
        on("2026-07-14T06:00:00Z"),
        on("2026-07-14T18:00:00Z"),
        on("2026-07-12T05:00:00Z"),
    );
    let value = |now: Timestamp, number| {
        let mut reading = count(number);
        reading.as_mut().unwrap().at = now;
        vec![reading]
    };
    for metric_type in BOTH {
        let pods = times(6, &blind());
        let run = |now, demand| run_at(&bounded, metric_type, now, 6, &pods, &value(now, demand));
        assert_eq!(size(&bounded, &run(day, 10.0)), 3, "{metric_type}");
        assert_eq!(size(&bounded, &run(day, 90.0)), 9, "{metric_type}");
        assert_eq!(size(&bounded, &run(night, 90.0)), 4, "{metric_type}");
        assert_eq!(size(&bounded, &run(night, 10.0)), 1, "{metric_type}");
        let off = run(sunday, 90.0);
        assert!(
            matches!(off.outcome, Outcome::Known { active: false, .. }),
            "{metric_type}"
        );
    }
    // At zero and while blind a floor still adds, and never takes away.
    let starts = run_at(&bounded, MetricType::AverageValue, day, 0, &[], &[]);
    assert_eq!(starts.outcome, known(30.0, true));
    let blind_now = |replicas| run_at(&bounded, MetricType::AverageValue, day, replicas, &[], &[]).outcome;
    assert_eq!(blind_now(2), known(30.0, true));
    assert_eq!(blind_now(5), Outcome::Unknown);
    let at_night = run_at(&bounded, MetricType::AverageValue, night, 0, &[], &[]);
    assert_eq!(at_night.outcome, Outcome::AtZero);
    let text = run_at(
        &bounded,
        MetricType::AverageValue,
        night,
        6,
        &[],
        &value(night, 90.0),
    )
    .explain(&bounded)
    .to_string();
    assert!(
        text.contains("at most 4 replicas") && text.contains("in force: ceiling 4"),
        "{text}"
    );

    let alone = trigger(&[
        ("signal", "schedule"),
        ("schedule", "count 2 from 0 8 * * * to 0 20 * * *"),
    ]);
    let noon = on("2026-07-14T12:00:00Z");
    let evaluation = run_at(&alone, MetricType::AverageValue, noon, 0, &[], &[]);
    assert_eq!(evaluation.outcome, known(2.0, true));
    let late = run_at(
        &alone,
        MetricType::AverageValue,
        on("2026-07-14T20:00:00Z"),
        0,
        &[],
        &[],
    );
    assert_eq!(late.outcome, Outcome::AtZero);
}

#[test]
fn the_clock_of_a_schedule_never_goes_back() {
    let holds = |window: &str, at: &str| {
        let schedule = rheostat_policy::Schedule::parse(window, Some("Europe/Zurich")).unwrap();
        schedule.windows()[0].holds(on(at))
    };
    let usual = "floor 1 from 0 8 * * * to 0 20 * * *";
    for (at, expected) in [
        ("2026-01-14T06:59:59Z", false),
        ("2026-01-14T07:00:00Z", true),
        ("2026-01-14T18:59:59Z", true),
        ("2026-01-14T19:00:00Z", false),
        ("2026-07-14T06:00:00Z", true),
        ("2026-07-14T18:00:00Z", false),
    ] {
        assert_eq!(holds(usual, at), expected, "{at}");
    }
    // 29 March 2026: 2:00 becomes 3:00 at 1:00 UTC. What lies in between does not come.
    let skipped = "floor 1 from 30 2 * * * to 50 2 * * *";
    let across = "floor 1 from 30 2 * * * to 0 6 * * *";
    for minute in ["00:59", "01:00", "01:30", "02:00"] {
        assert!(!holds(skipped, &format!("2026-03-29T{minute}:00Z")), "{minute}");
    }
    assert!(!holds(across, "2026-03-29T00:59:59Z"));
    assert!(holds(across, "2026-03-29T01:00:00Z"));
    // 25 October 2026: 3:00 becomes 2:00 at 1:00 UTC. Nothing comes twice.
    let early = "floor 1 from 0 1 * * * to 30 2 * * *";
    assert!(holds(early, "2026-10-25T00:29:59Z"));
    for minute in ["00:30", "00:59", "01:00", "01:10", "01:45", "02:00"] {
        assert!(!holds(early, &format!("2026-10-25T{minute}:00Z")), "{minute}");
        assert!(holds(across, &format!("2026-10-25T{minute}:00Z")), "{minute}");
    }
}

#[test]
fn mistakes_are_named_with_key_and_place() {
    for (metadata, parts) in [
        (
            vec![
                ("signal.kv", "engine.kv_cache_usage"),
                ("signal.w", "engine.waiting"),
                ("expression", "w + kv"),
            ],
            vec!["expression: ", "equal units", "^"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "wating/5")],
            vec!["expression: ", "unknown name \"wating\"", "position 1"],
        ),
        (
            vec![("signal.w", "engine.wating"), ("expression", "w/5")],
            vec!["signal.w is \"engine.wating\""],
        ),
        (
            vec![("signal.w.query", "x"), ("expression", "1")],
            vec!["signal.w is missing"],
        ),
        (
            vec![
                ("signal.w", "engine.waiting"),
                ("signal.w.query", "x"),
                ("expression", "w/5"),
            ],
            vec!["signal.w.query is not allowed here", "takes"],
        ),
        (
            vec![("signal.max", "engine.waiting"), ("expression", "max/5")],
            vec!["signal.max", "word of the language"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "w")],
            vec!["target is missing"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "w > 5")],
            vec!["needs a number"],
        ),
        (
            vec![("signal", "prometheus"), ("target", "1"), ("query", "q")],
            vec!["prometheus is missing", "never an address"],
        ),
        (
            vec![
                ("signal", "prometheus"),
                ("target", "1"),
                ("query", "q"),
                ("prometheus", "http://prometheus:9090"),
            ],
            vec!["prometheus is \"http://prometheus:9090\""],
        ),
        (
            vec![("profile", "vllm"), ("port", "0")],
            vec!["port is \"0\"", "65535"],
        ),
        (
            vec![("profile", "vllm"), ("path", "http://x/metrics")],
            vec!["path", "never an address"],
        ),
        (
            vec![("profile", "vllm"), ("caSecret", "a/b")],
            vec!["caSecret", "scheme: https"],
        ),
        (
            vec![("profile", "vllm"), ("bearerTokenSecret", "other/ns/key")],
            vec!["NAME/KEY of a Secret"],
        ),
        (
            vec![("profile", "vllm"), ("engine", "custom")],
            vec!["engineConfig or customEngine is missing"],
        ),
        (
            vec![
                ("signal", "engine.waiting"),
                ("target", "5"),
                ("customEngine", r#"{"wating": {"metric": "q"}}"#),
            ],
            vec!["customEngine", "wating"],
        ),
        (
            vec![("profile", "vllm"), ("window", "5s")],
            vec!["window is \"5s\"", "from 10 s to 600 s"],
        ),
        (
            vec![("profile", "vllm"), ("schedule", "floor 2")],
            vec!["schedule: window 1", "floor|ceiling|count"],
        ),
        (
            vec![
                ("profile", "vllm"),
                ("schedule", "floor 2 from 0 8 * * * to 0 25 * * *"),
            ],
            vec!["schedule: window 1, to \"0 25 * * *\"", "hour"],
        ),
        (
            vec![
                ("profile", "vllm"),
                ("schedule", "floor 2 from 0 8 * * * to 0 9 * * * in Mars"),
            ],
            vec!["Mars", "Europe/Zurich"],
        ),
        (
            vec![
                ("signal", "gpu.power"),
                ("target", "3"),
                ("signal.w", "engine.waiting"),
                ("expression", "w/5"),
            ],
            vec!["expression", "gpu.power", "contradict"],
        ),
    ] {
        let message = refused(&metadata);
        for part in parts {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    }
}

#[test]
fn what_can_go_wrong_is_warned_of() {
    let warned = |metadata: &[(&str, &str)]| {
        let warnings = parse(metadata).unwrap().warnings;
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let expression = |text| {
        warned(&[
            ("signal.waiting", "engine.waiting"),
            ("signal.running", "engine.running"),
            ("signal.memory", "gpu.memory_used_percent"),
            ("expression", text),
        ])
    };
    for (text, part) in [
        ("3 - waiting/5", "falls when waiting rises"),
        ("running/8", "a full replica and an overloaded one look the same"),
        ("max(waiting/5, memory/80%)", "memory is memory"),
        ("waiting/5", "uses running"),
    ] {
        assert!(expression(text).contains(part), "{part}: {}", expression(text));
    }
    let clean = expression("max(waiting/5, running/8)");
    assert!(
        !clean.contains("falls") && !clean.contains("overloaded"),
        "{clean}"
    );
    let mean = warned(&[
        ("signal.waiting", "engine.waiting"),
        ("signal.kv", "engine.kv_cache_usage"),
        ("over", "workload"),
        ("expression", "max(waiting/5, kv/80%)"),
    ]);
    assert!(mean.contains("kv * ready"), "{mean}");
    let peer = parse(&[
        ("metricType", "vllm_queue_depth"),
        ("targetValue", "5"),
        ("vllmEndpoint", "http://other.ns:8001/stats"),
    ])
    .unwrap();
    let selection = &peer.trigger.needs().engine.as_ref().unwrap().selection;
    assert_eq!(selection.port.as_ref().unwrap().to_string(), "8001");
    assert_eq!(selection.path.as_deref(), Some("/stats"));
    assert_eq!(selection.scheme, EngineScheme::Http);
    assert!(
        peer.warnings
            .iter()
            .any(|warning| warning.message.contains("the address is not asked"))
    );
}

#[test]
fn a_token_without_protection_is_warned_of() {
    let token = ("bearerTokenSecret", "chat/token");
    for (scheme, warned) in [(None, true), (Some("http"), true), (Some("https"), false)] {
        let mut metadata = vec![("profile", "vllm"), token];
        metadata.extend(scheme.map(|scheme| ("scheme", scheme)));
        let warnings = parse(&metadata).unwrap().warnings;
        let told = warnings.iter().any(|warning| {
            warning.key == "bearerTokenSecret" && warning.message.contains("without protection")
        });
        assert_eq!(told, warned, "{scheme:?}");
    }
    let none = parse(VLLM).unwrap().warnings;
    assert!(none.iter().all(|warning| warning.key != "bearerTokenSecret"));
}

#[test]
fn devices_and_engines_meet_in_one_expression() {
    let triton = trigger(&[("profile", "triton")]);
    assert_eq!(triton.needs().gpu, [Quantity::Utilization]);
    let pod = |waiting: f64, busy: f64| PodInput {
        devices: Ok(vec![device(&percent(busy))]),
        ..engine(&[
            (Q::Waiting, waiting),
            (Q::RequestRate, 0.0),
            (Q::Concurrency, waiting),
        ])
    };
    assert_eq!(
        run_with(&triton, 1, &[pod(0.0, 37.5)], &[]).outcome,
        known(0.5, true)
    );
    assert_eq!(
        run_with(&triton, 1, &[pod(30.0, 100.0)], &[]).outcome,
        known(3.0, true)
    );
    let lost = PodInput {
        devices: Ok(vec![device(&Err(Absent::DeviceLost))]),
        ..pod(30.0, 0.0)
    };
    assert_eq!(run_with(&triton, 1, &[lost], &[]).outcome, Outcome::Unknown);
    let active = run_with(&triton, 1, &[pod(0.0, 0.0)], &[]);
    assert!(
        active
            .steps
            .contains(&Step::Activity(Activity::Condition { holds: false }))
    );
}

#[test]
fn a_request_that_executes_for_longer_than_the_window_keeps_the_workload_active() {
    for (profile, told) in [
        ("triton", vec![(Q::Waiting, 0.0)]),
        ("tei", vec![(Q::Waiting, 0.0)]),
        ("torchserve", vec![(Q::QueueTimeMean, 0.0)]),
    ] {
        let trigger = trigger(&[("profile", profile)]);
        let mut readings = told;
        readings.push((Q::RequestRate, 0.0));
        for (busy, active) in [(60.0, true), (2.5, true), (2.0, false), (0.0, false)] {
            let devices = Ok(vec![device(&percent(busy))]);
            let pod = PodInput {
                devices,
                ..engine(&readings)
            };
            let outcome = run_with(&trigger, 1, &[pod], &[]).outcome;
            assert!(
                matches!(outcome, Outcome::Known { active: found, .. } if found == active),
                "{profile} at {busy} %: {outcome:?}"
            );
        }
    }
}

fn any_engine() -> impl Strategy<Value = PodInput> {
    prop_oneof![
        6 => (0.0..60.0f64, 0.0..1.0f64).prop_map(|(waiting, kv)| engine(&[
            (Q::Waiting, waiting), (Q::KvCacheUsage, kv), (Q::Concurrency, waiting), (Q::MaxSequences, 16.0),
        ])),
        1 => Just(blind()),
        1 => Just(asleep()),
        1 => Just(pending()),
        1 => (0.0..60.0f64).prop_map(|waiting| engine(&[(Q::Waiting, waiting)])),
    ]
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    prop_oneof![Just(VLLM), Just(LOAD), Just(TOTAL)].prop_map(trigger)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_input_has_an_answer_that_is_a_number_and_an_explanation(
        trigger in any_trigger(), pods in proptest::collection::vec(any_engine(), 0..12), replicas in 0u32..15,
        queue in prop_oneof![(0.0..500.0f64).prop_map(count), Just(Err(Absent::NotYet))],
        metric_type in prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)],
    ) {
        let evaluation = run_at(&trigger, metric_type, now(), replicas, &pods, &[queue]);
        match evaluation.outcome {
            Outcome::Known { value, .. } => prop_assert!(value.is_finite() && value >= 0.0),
            Outcome::AtZero => prop_assert_eq!(replicas, 0),
            Outcome::Unknown => prop_assert!(replicas > 0 && !evaluation.unknown_reason().is_empty()),
        }
        prop_assert!(!evaluation.explain(&trigger).to_string().is_empty());
    }

    #[test]
    fn more_demand_never_means_fewer_replicas(
        trigger in any_trigger(), pods in proptest::collection::vec((0.0..60.0f64, 0.0..1.0f64), 1..10),
        more in 0.0..60.0f64, queue in 0.0..300.0f64,
        metric_type in prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)],
    ) {
        let replicas = u32::try_from(pods.len()).unwrap();
        let at = |extra: f64| {
            let pods: Vec<_> = pods.iter().map(|(waiting, kv)| engine(&[
                (Q::Waiting, waiting + extra), (Q::KvCacheUsage, *kv), (Q::Concurrency, waiting + extra),
            ])).collect();
            let evaluation = run_at(&trigger, metric_type, now(), replicas, &pods, &[count(queue + extra)]);
            size(&trigger, &evaluation)
        };
        prop_assert!(at(more) >= at(0.0));
    }

    #[test]
    fn both_metric_types_ask_for_the_same(
        trigger in any_trigger(), pods in proptest::collection::vec((0.0..60.0f64, 0.0..1.0f64), 1..10),
        queue in 0.0..300.0f64,
    ) {
        let replicas = u32::try_from(pods.len()).unwrap();
        let pods: Vec<_> = pods.iter().map(|(waiting, kv)| engine(&[
            (Q::Waiting, *waiting), (Q::KvCacheUsage, *kv), (Q::Concurrency, *waiting),
        ])).collect();
        let [one, other] = BOTH.map(|metric_type| {
            size(&trigger, &run_at(&trigger, metric_type, now(), replicas, &pods, &[count(queue)]))
        });
        // A thousandth, cut, times ten pods can be one replica at a border.
        prop_assert!(one.abs_diff(other) <= 1, "{} and {}", one, other);
    }

    #[test]
    fn no_metadata_is_too_much(
        metadata in proptest::collection::btree_map(
            prop_oneof![
                Just("signal"), Just("signal.a"), Just("signal.b"), Just("signal.a.query"), Just("expression"),
                Just("activationExpression"), Just("over"), Just("schedule"), Just("timezone"), Just("engine"),
                Just("port"), Just("path"), Just("vllmEndpoint"), Just("target"), Just("quantile"), Just("window"),
                Just("slotsPerReplica"), Just("guard"), Just("customEngine"), Just("profile"), Just("query"),
            ].prop_map(str::to_owned),
            prop_oneof![
                Just("engine.ttft"), Just("engine.waiting"), Just("prometheus"), Just("schedule"), Just("workload"),
                Just("a/5"), Just("max(a/5, b)"), Just("a > 0 || b"), Just("500ms"), Just("80"), Just("vllm"),
                Just("count 2 from 0 8 * * * to 0 20 * * *"), Just("http://[::1]:8000/x"), Just("p99"), Just("on"),
            ].prop_map(str::to_owned).boxed().prop_union("\\PC{0,40}".boxed()),
            0..12,
        ),
    ) {
        match Trigger::parse(&metadata) {
            Ok(parsed) => {
                prop_assert!(parsed.trigger.target() >= 0.001);
                let again = Trigger::parse(&metadata).unwrap().trigger;
                prop_assert_eq!(again.canonical(), parsed.trigger.canonical());
                let evaluation = run_with(&parsed.trigger, 2, &times(2, &blind()), &[]);
                prop_assert!(!evaluation.explain(&parsed.trigger).to_string().is_empty());
            }
            Err(error) => prop_assert!(error.to_string().len() < 4000),
        }
    }
}
