//! What is seen of a workload, as sizing takes it.

use std::collections::HashMap;
use std::sync::Arc;

use rheostat_cluster::{Pod, Workload};
use rheostat_engines::{EngineReport, Sleep};
use rheostat_fleet::FleetView;
use rheostat_policy::{DeviceInput, EngineNeeds, Needs, PodInput, PodState};
use rheostat_reading::{Count, EngineQuantity, PerSecond, Quantity, Ratio, Seconds, Timestamp, Watts};
use rheostat_sizing::{Latency, Milestones, Replica, Serving, Stage};

use crate::join;

/// When each pod, by its UID, was first seen ready: Kubernetes only tells since when it is ready now.
#[derive(Debug, Default)]
pub(crate) struct FirstReady(HashMap<String, Timestamp>);

/// Tells the pods whose engine sleeps from those that serve.
pub(crate) fn mark_asleep(pods: &mut [PodInput], needs: &Needs, now: Timestamp) {
    for pod in pods {
        if pod.state == PodState::Ready
            && fresh(pod, needs, now).is_some_and(|(report, _)| report.sleep == Sleep::Asleep)
        {
            pod.state = PodState::Asleep;
        }
    }
}

/// The pods of `workload` as sizing has them; `inputs` are the same pods as a trigger's evaluation has them.
pub(crate) fn replicas(
    workload: &Workload,
    inputs: &[PodInput],
    fleet: &FleetView,
    needs: &Needs,
    now: Timestamp,
    first_ready: &FirstReady,
) -> Vec<Replica> {
    let pods = workload.pods.iter().filter(|pod| !pod.finished());
    pods.zip(inputs)
        .map(|(pod, input)| replica(pod, input, fleet, needs, now, first_ready))
        .collect()
}

impl FirstReady {
    /// Takes the pods that became ready.
    pub(crate) fn follow(&mut self, workload: &Workload) {
        if self.0.len() > workload.pods.len() {
            self.0
                .retain(|uid, _| workload.pods.iter().any(|pod| pod.uid == *uid));
        }
        for pod in workload.pods.iter() {
            if let Some(since) = pod.ready_since
                && !self.0.contains_key(&pod.uid)
            {
                self.0.insert(pod.uid.clone(), since);
            }
        }
    }
}

/// What its engine said lately, where it was asked and answered.
fn fresh<'a>(
    input: &'a PodInput,
    needs: &'a Needs,
    now: Timestamp,
) -> Option<(&'a EngineReport, &'a EngineNeeds)> {
    let (report, engine) = (input.engine.as_ref().ok()?, needs.engine.as_ref()?);
    let answered = report.answered_at?;
    (now.since(answered) <= engine.stale_after).then_some((report, engine))
}

fn replica(
    pod: &Pod,
    input: &PodInput,
    fleet: &FleetView,
    needs: &Needs,
    now: Timestamp,
    first_ready: &FirstReady,
) -> Replica {
    let first = first_ready.0.get(&pod.uid).copied();
    // What is not ready now, but changed to that after its containers ran, has been ready in between.
    let was_ready = first.is_some()
        || matches!((pod.unready_since, pod.started_at), (Some(unready), Some(started)) if unready > started);
    let stage = match input.state {
        PodState::Terminating => Stage::Terminating,
        PodState::Ready => Stage::Ready,
        PodState::Asleep => Stage::Unready,
        PodState::NotReady if pod.node.is_none() => Stage::Pending,
        PodState::NotReady if was_ready => Stage::Unready,
        PodState::NotReady => Stage::Starting,
    };
    let devices = input.devices.as_deref().unwrap_or_default();
    // Only a pod that serves tells something by what its GPUs do.
    let devices_of = |quantity| number(devices, quantity, needs, now).filter(|_| stage == Stage::Ready);
    Replica {
        name: Arc::clone(&input.name),
        hardware: match devices.first() {
            Some(device) => Arc::clone(&device.model),
            None => join::hardware(pod, fleet).unwrap_or_default(),
        },
        created: pod.created_at,
        stage,
        milestones: Milestones {
            scheduled: pod.scheduled_at,
            started: pod.started_at,
            ready: first,
        },
        serving: fresh(input, needs, now)
            .filter(|_| stage == Stage::Ready)
            .and_then(|(report, engine)| serving(report, engine, now)),
        gpu_utilization: devices_of(Quantity::Utilization)
            .map(|numbers| Ratio(numbers.into_iter().fold(0.0, f64::max))),
        power: devices_of(Quantity::Power).map(|numbers| Watts(numbers.into_iter().sum())),
    }
}

/// `quantity` of each device. One device that was not read makes the pod unread: it may be the busy one.
fn number(devices: &[DeviceInput], quantity: Quantity, needs: &Needs, now: Timestamp) -> Option<Vec<f64>> {
    let read = |device: &DeviceInput| {
        let reading = device.readings.get(quantity).ok()?;
        let value = reading.amount.value();
        (reading.age(now) <= needs.gpu_stale_after && value >= 0.0).then_some(value)
    };
    let numbers: Vec<f64> = devices.iter().map(read).collect::<Option<_>>()?;
    (!numbers.is_empty()).then_some(numbers)
}

/// What an engine's report says; `None` where it never answered.
fn serving(report: &EngineReport, engine: &EngineNeeds, now: Timestamp) -> Option<Serving> {
    let number = |quantity| {
        let reading = engine.reading(report, quantity, now).ok()?;
        Some(reading.amount.value())
    };
    let count = |quantity| number(quantity).map(Count);
    let rate = |quantity| number(quantity).map(PerSecond);
    let latency = |[mean, p50, p90, p95, p99]: [EngineQuantity; 5]| {
        let seconds = |quantity| number(quantity).map(Seconds);
        Some(Latency {
            mean: seconds(mean)?,
            p50: seconds(p50)?,
            p90: seconds(p90)?,
            p95: seconds(p95)?,
            p99: seconds(p99)?,
        })
    };
    // What rates really cover: after a restart less than was asked for.
    let covered = report.readings.get(EngineQuantity::RequestRate);
    Some(Serving {
        taken_at: report.answered_at?,
        window: covered.map_or(engine.selection.window, |reading| reading.window),
        waiting: count(EngineQuantity::Waiting),
        running: count(EngineQuantity::Running),
        kv_cache_usage: number(EngineQuantity::KvCacheUsage).map(Ratio),
        kv_tokens: count(EngineQuantity::KvTokens),
        max_sequences: count(EngineQuantity::MaxSequences),
        request_rate: rate(EngineQuantity::RequestRate),
        prompt_token_rate: rate(EngineQuantity::PromptTokenRate),
        generation_token_rate: rate(EngineQuantity::GenerationTokenRate),
        prompt_tokens_mean: count(EngineQuantity::PromptTokensMean),
        generation_tokens_mean: count(EngineQuantity::GenerationTokensMean),
        preemption_rate: rate(EngineQuantity::PreemptionRate),
        ttft: latency([
            EngineQuantity::TtftMean,
            EngineQuantity::TtftP50,
            EngineQuantity::TtftP90,
            EngineQuantity::TtftP95,
            EngineQuantity::TtftP99,
        ]),
        itl: latency([
            EngineQuantity::ItlMean,
            EngineQuantity::ItlP50,
            EngineQuantity::ItlP90,
            EngineQuantity::ItlP95,
            EngineQuantity::ItlP99,
        ]),
        tpot: latency([
            EngineQuantity::TpotMean,
            EngineQuantity::TpotP50,
            EngineQuantity::TpotP90,
            EngineQuantity::TpotP95,
            EngineQuantity::TpotP99,
        ]),
        e2e: latency([
            EngineQuantity::E2eMean,
            EngineQuantity::E2eP50,
            EngineQuantity::E2eP90,
            EngineQuantity::E2eP95,
            EngineQuantity::E2eP99,
        ]),
    })
}
