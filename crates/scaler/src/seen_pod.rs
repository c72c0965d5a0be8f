use std::sync::Arc;

use rheostat_engines::Engine;
use rheostat_policy::{DeviceInput, EngineNeeds, Needs, PodInput};
use rheostat_reading::{Count, EngineQuantity, Quantity, Ratio, Timestamp};
use rheostat_sizing::{Replica, Serving, Stage};

/// A pod as a decision by a ScalingPolicy saw it.
#[derive(Clone, Debug)]
pub struct SeenPod {
    /// Name.
    pub name: Arc<str>,
    /// How far it has come.
    pub stage: Stage,
    /// Product name of its GPUs; empty where it is not known.
    pub hardware: Arc<str>,
    /// Which engine it is, where that is known.
    pub engine: Option<Engine>,
    /// What its engine said, where something current is known.
    pub serving: Option<Serving>,
    /// Why it is not known how many requests its engine has, where it serves and that is so.
    pub engine_missing: Option<String>,
    /// Busy time of its GPUs, where known.
    pub gpu_utilization: Option<Ratio>,
    /// Why that is not known, where it serves and that is so.
    pub gpus_missing: Option<String>,
}

impl SeenPod {
    pub(crate) fn new(input: &PodInput, replica: &Replica, needs: &Needs, now: Timestamp) -> Self {
        let serves = replica.stage == Stage::Ready;
        let in_flight = replica.serving.and_then(|serving| serving.in_flight());
        let engine = needs.engine.as_ref();
        Self {
            name: Arc::clone(&replica.name),
            stage: replica.stage,
            hardware: Arc::clone(&replica.hardware),
            engine: input.engine.as_ref().ok().and_then(|report| report.engine),
            serving: replica.serving,
            engine_missing: (serves && in_flight.is_none())
                .then(|| engine_missing(input, engine, now))
                .flatten(),
            gpu_utilization: replica.gpu_utilization,
            gpus_missing: (serves && replica.gpu_utilization.is_none())
                .then(|| gpus_missing(input, needs, now)),
        }
    }

    /// Requests that its engine has, where that is known.
    pub(crate) fn in_flight(&self) -> Option<Count> {
        self.serving.and_then(|serving| serving.in_flight())
    }
}

fn engine_missing(input: &PodInput, engine: Option<&EngineNeeds>, now: Timestamp) -> Option<String> {
    let engine = engine?;
    let report = match &input.engine {
        Ok(report) => report,
        Err(unseen) => return Some(unseen.to_string()),
    };
    let failure = report.failure.as_ref();
    let because = failure.map_or_else(String::new, |failure| format!(": {failure}"));
    let Some(answered) = report.answered_at else {
        return Some(format!("its engine has not answered yet{because}"));
    };
    let age = now.since(answered);
    if age > engine.stale_after {
        return Some(format!("its engine last answered {age:.0?} ago{because}"));
    }
    let quantities = [EngineQuantity::Waiting, EngineQuantity::Running];
    quantities.into_iter().find_map(|quantity| {
        let reason = engine.reading(report, quantity, now).err()?;
        Some(format!("engine.{}: {reason}", quantity.name()))
    })
}

fn gpus_missing(input: &PodInput, needs: &Needs, now: Timestamp) -> String {
    let devices = match &input.devices {
        Ok(devices) => devices,
        Err(unseen) => return unseen.to_string(),
    };
    let missing = |device: &DeviceInput| match device.readings.get(Quantity::Utilization) {
        Err(reason) => Some(format!("{}: {reason}", device.id)),
        Ok(reading) if reading.age(now) > needs.gpu_stale_after => {
            Some(format!("{}: last read {:.0?} ago", device.id, reading.age(now)))
        }
        Ok(_) => None,
    };
    devices
        .iter()
        .find_map(missing)
        .unwrap_or_else(|| "the pod holds no GPU that an agent knows of".to_owned())
}
