//! Pods whose engines are read, and evaluations of them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use rheostat_engines::{Engine, EngineReport, Sleep};
use rheostat_policy::{
    Evaluation, Input, MetricType, Outcome, PodInput, PodState, Trigger, Unseen, evaluate, hpa_desired,
};
use rheostat_reading::{
    Absent, Amount, EngineQuantity as Q, Observed, Quality, Reading, Readings, Timestamp, Unit,
};

pub(crate) fn observed(value: f64, unit: Unit) -> Observed {
    Ok(Reading {
        amount: Amount::new(value, unit).unwrap(),
        at: now().minus(Duration::from_secs(1)),
        window: Duration::ZERO,
        quality: Quality::Measured,
    })
}

pub(crate) fn report(known: &[(Q, f64)], absent: &[(Q, Absent)]) -> EngineReport {
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

pub(crate) fn pod_with(report: EngineReport) -> PodInput {
    PodInput {
        name: "pod".into(),
        state: PodState::Ready,
        devices: Ok(vec![]),
        engine: Ok(Arc::new(report)),
    }
}

/// A pod whose engine has these readings.
pub(crate) fn engine(known: &[(Q, f64)]) -> PodInput {
    pod_with(report(known, &[]))
}

pub(crate) fn asleep() -> PodInput {
    pod_with(EngineReport {
        sleep: Sleep::Asleep,
        ..report(&[(Q::Concurrency, 0.0)], &[])
    })
}

pub(crate) fn blind() -> PodInput {
    PodInput {
        engine: Err(Unseen::EngineNotAsked),
        ..engine(&[])
    }
}

pub(crate) fn count(value: f64) -> Observed {
    observed(value, Unit::Count)
}

pub(crate) fn run_at(
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

pub(crate) fn run_with(
    trigger: &Trigger,
    replicas: u32,
    pods: &[PodInput],
    outside: &[Observed],
) -> Evaluation {
    run_at(trigger, MetricType::AverageValue, now(), replicas, pods, outside)
}

/// What the HPA makes of it without tolerance.
pub(crate) fn size(trigger: &Trigger, evaluation: &Evaluation) -> u32 {
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

pub(crate) fn known(value: f64, active: bool) -> Outcome {
    Outcome::Known { value, active }
}

pub(crate) fn refused(metadata: &[(&str, &str)]) -> String {
    parse(metadata).unwrap_err().to_string()
}

pub(crate) const VLLM: &[(&str, &str)] = &[("profile", "vllm")];
pub(crate) const LOAD: &[(&str, &str)] = &[
    ("signal.waiting", "engine.waiting"),
    ("signal.kv", "engine.kv_cache_usage"),
    ("expression", "max(waiting/5, kv/80%)"),
];
pub(crate) const TOTAL: &[(&str, &str)] = &[
    ("signal.queue", "prometheus"),
    ("signal.queue.prometheus", "main"),
    ("signal.queue.query", "sum(q)"),
    ("signal.waiting", "engine.waiting"),
    ("over", "workload"),
    ("expression", "queue/10 + waiting/5"),
];
