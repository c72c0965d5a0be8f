#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod engines;

use std::collections::BTreeMap;
use std::time::Duration;

use rheostat_policy::{
    Claim, DeviceInput, Evaluation, Input, MetricType, Parsed, PodInput, PodState, Trigger, TriggerError,
    Unseen, evaluate,
};
use rheostat_reading::{Absent, Amount, Observed, Quality, Quantity, Reading, Readings, Timestamp};

pub(crate) const BOTH: [MetricType; 2] = [MetricType::AverageValue, MetricType::Value];

pub(crate) fn parse(metadata: &[(&str, &str)]) -> Result<Parsed, TriggerError> {
    let metadata: BTreeMap<_, _> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Trigger::parse(&metadata)
}

pub(crate) fn trigger(metadata: &[(&str, &str)]) -> Trigger {
    parse(metadata).unwrap().trigger
}

/// Utilisation with a target of 80 %.
pub(crate) fn utilization() -> Trigger {
    trigger(&[("signal", "gpu.utilization"), ("target", "80")])
}

pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix_nanos(1_700_000_000_000_000_000).plus(Duration::from_secs_f64(seconds))
}

pub(crate) fn now() -> Timestamp {
    at(1000.0)
}

/// A reading of `value` in the base unit of `quantity`, taken half a second ago.
pub(crate) fn read(quantity: Quantity, value: f64) -> Observed {
    Ok(Reading {
        amount: Amount::new(value, quantity.unit()).unwrap(),
        at: now().minus(Duration::from_millis(500)),
        window: Duration::from_secs(1),
        quality: Quality::Measured,
    })
}

/// A utilisation in percent.
pub(crate) fn percent(value: f64) -> Observed {
    read(Quantity::Utilization, value / 100.0)
}

/// A device of which `observed` was read, of the quantity with that unit or of all of them.
pub(crate) fn device(observed: &Observed) -> DeviceInput {
    let mut readings = Readings::new();
    for quantity in [
        Quantity::Utilization,
        Quantity::DutyCycle,
        Quantity::Power,
        Quantity::Temperature,
        Quantity::MemoryUsedBytes,
    ] {
        let fits = |reading: &Reading| reading.amount.unit() == quantity.unit();
        if observed.as_ref().map_or(true, fits) {
            readings.set(quantity, observed.clone());
        }
    }
    DeviceInput {
        id: "GPU-1".into(),
        model: "NVIDIA H100".into(),
        claim: Claim::Exclusive,
        readings,
    }
}

pub(crate) fn ready(devices: Vec<Observed>) -> PodInput {
    PodInput {
        name: "pod".into(),
        state: PodState::Ready,
        devices: Ok(devices.into_iter().map(|observed| device(&observed)).collect()),
        engine: Err(Unseen::EngineNotAsked),
    }
}

pub(crate) fn busy(value: f64) -> PodInput {
    ready(vec![percent(value)])
}

pub(crate) fn lost() -> PodInput {
    ready(vec![Err(Absent::DeviceLost)])
}

pub(crate) fn unseen() -> PodInput {
    let devices = Err(Unseen::NoAgent { node: "gpu-7".into() });
    PodInput {
        name: "pod".into(),
        state: PodState::Ready,
        devices,
        engine: Err(Unseen::EngineNotAsked),
    }
}

pub(crate) fn pending() -> PodInput {
    PodInput {
        name: "pod".into(),
        state: PodState::NotReady,
        devices: Ok(Vec::new()),
        engine: Err(Unseen::EngineNotAsked),
    }
}

pub(crate) fn terminating() -> PodInput {
    PodInput {
        state: PodState::Terminating,
        ..busy(100.0)
    }
}

pub(crate) fn draining() -> PodInput {
    PodInput {
        state: PodState::Draining,
        ..busy(100.0)
    }
}

pub(crate) fn run(
    trigger: &Trigger,
    metric_type: MetricType,
    replicas: u32,
    pods: &[PodInput],
) -> Evaluation {
    evaluate(
        trigger,
        metric_type,
        &Input {
            now: now(),
            replicas,
            status_replicas: replicas,
            pods,
            manual: None,
            outside: &[],
        },
    )
}

pub(crate) fn times(count: usize, pod: &PodInput) -> Vec<PodInput> {
    vec![pod.clone(); count]
}
