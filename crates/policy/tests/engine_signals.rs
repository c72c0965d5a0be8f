//! What engines report, one moment at a time: latencies, idleness, windows that are covered too little.
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
use rheostat_engines::{Engine, EngineChoice, History, Pages, Reader, Sample, View};
use rheostat_policy::{Activity, EngineSource, Outcome, PodInput, PodUnknown, Step, Trigger};
use rheostat_reading::{Absent, EngineQuantity as Q, Observed, Quantity, Reading};

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
