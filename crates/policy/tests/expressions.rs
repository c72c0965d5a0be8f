//! Expressions, and the workload's own numbers, one moment at a time.
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
use rheostat_policy::{Answer, Load, Memory, Outcome, OutsideSource};
use rheostat_reading::{Absent, EngineQuantity as Q, Unit};

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
