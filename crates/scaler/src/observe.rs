//! What is seen of a workload, as sizing takes it.

use std::collections::HashMap;
use std::sync::Arc;

use rheostat_cluster::{Pod, Workload};
use rheostat_engines::{EngineReport, Sleep};
use rheostat_fleet::FleetView;
use rheostat_policy::{DeviceInput, EngineNeeds, Input, Needs, PodInput, PodState, Trigger};
use rheostat_reading::{Count, EngineQuantity, PerSecond, Quantity, Ratio, Seconds, Timestamp, Watts};
use rheostat_sizing::{Latency, Milestones, QueuedOutside, Replica, Serving, Stage};

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

/// What waits in front of the workload of `trigger`, as sizing has it.
pub(crate) fn queued_outside(trigger: &Trigger, input: &Input<'_>) -> QueuedOutside {
    match rheostat_policy::queued_outside(trigger, input) {
        None => QueuedOutside::Untold,
        Some(Ok(requests)) => QueuedOutside::Told(Count(requests)),
        Some(Err(reason)) => QueuedOutside::Unknown(reason.to_string().into()),
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
        PodState::Draining | PodState::Terminating => Stage::Terminating,
        PodState::Ready => Stage::Ready,
        PodState::Asleep => Stage::Asleep,
        PodState::NotReady if pod.node.is_none() => Stage::Pending,
        PodState::NotReady if was_ready => Stage::Unready,
        PodState::NotReady => Stage::Starting,
    };
    let devices = input.devices.as_deref().unwrap_or_default();
    // Only a pod that serves tells something by what its GPUs do.
    let devices_of = |quantity| number(devices, quantity, needs, now).filter(|_| stage == Stage::Ready);
    let mut replica = Replica {
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
        serving: None,
        gpu_utilization: devices_of(Quantity::Utilization)
            .map(|numbers| Ratio(numbers.into_iter().fold(0.0, f64::max))),
        power: devices_of(Quantity::Power).map(|numbers| Watts(numbers.into_iter().sum())),
    };
    if let (Some((report, engine)), Stage::Ready) = (fresh(input, needs, now), stage) {
        replica.serving = serving(report, engine, now, replica.is_new(now));
    }
    replica
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
fn serving(report: &EngineReport, engine: &EngineNeeds, now: Timestamp, is_new: bool) -> Option<Serving> {
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
    // Where an engine tells the sum and one part, the other one is what is left.
    let left = |part| {
        let (sum, part) = (number(EngineQuantity::Concurrency)?, number(part)?);
        (sum >= part).then_some(Count(sum - part))
    };
    let (waiting, running) = (EngineQuantity::Waiting, EngineQuantity::Running);
    // What a pod finished since it became ready is all that it ever finished, over however short a time; without it,
    // a pod would not be known for as long as a rate of an older one must cover.
    let since_ready = || {
        let reading = engine.reading_however_short(report, EngineQuantity::RequestRate, now);
        Some(PerSecond(reading.ok().filter(|_| is_new)?.amount.value()))
    };
    // What rates really cover: after a restart less than was asked for.
    let covered = report.readings.get(EngineQuantity::RequestRate);
    Some(Serving {
        taken_at: report.answered_at?,
        window: covered.map_or(engine.selection.window, |reading| reading.window),
        waiting: count(waiting).or_else(|| left(running)),
        running: count(running).or_else(|| left(waiting)),
        kv_cache_usage: number(EngineQuantity::KvCacheUsage).map(Ratio),
        kv_tokens: count(EngineQuantity::KvTokens),
        max_sequences: count(EngineQuantity::MaxSequences),
        request_rate: rate(EngineQuantity::RequestRate).or_else(since_ready),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rheostat_policy::{Trigger, Unseen};
    use rheostat_reading::{Quality, Readings};

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + second * 1_000_000_000)
    }

    fn needs() -> Needs {
        let metadata = [("policy".to_owned(), "chat".to_owned())].into();
        Trigger::parse(&metadata).unwrap().trigger.needs().clone()
    }

    /// An engine that said this at second 100.
    fn report(readings: &[(EngineQuantity, f64)]) -> EngineReport {
        let mut report = EngineReport {
            engine: None,
            answered_at: Some(at(100)),
            failure: None,
            sleep: Sleep::Unknown,
            readings: Readings::new(),
            notes: Vec::new(),
        };
        for (quantity, value) in readings {
            let window = Duration::from_secs(30);
            report
                .readings
                .put(*quantity, *value, at(100), window, Quality::Measured);
        }
        report
    }

    fn input(state: PodState, report: EngineReport) -> PodInput {
        PodInput {
            name: "chat-0".into(),
            state,
            devices: Ok(Vec::new()),
            engine: Ok(Arc::new(report)),
        }
    }

    fn pod(node: Option<&str>) -> Pod {
        Pod {
            namespace: "team-a".into(),
            name: "chat-0".into(),
            uid: "u".into(),
            node: node.map(str::to_owned),
            phase: rheostat_cluster::PodPhase::Running,
            ready: false,
            terminating: false,
            created_at: at(0),
            scheduled_at: node.map(|_| at(5)),
            started_at: None,
            ready_since: None,
            unready_since: Some(at(0)),
            gpus_requested: 1,
            resource_claims: 0,
            ip: None,
            host_network: false,
            ports: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        }
    }

    fn seen(pod: &Pod, input: &PodInput, second: u64, first_ready: &FirstReady) -> Replica {
        replica(
            pod,
            input,
            &FleetView::default(),
            &needs(),
            at(second),
            first_ready,
        )
    }

    #[test]
    fn a_pod_passes_the_stages_of_its_start_and_is_unready_only_after_it_was_ready() {
        let mut first = FirstReady::default();
        let not_ready = input(PodState::NotReady, report(&[]));
        let stage = |pod: &Pod, input: &PodInput, first: &FirstReady| seen(pod, input, 101, first).stage;
        assert_eq!(stage(&pod(None), &not_ready, &first), Stage::Pending);
        let mut started = pod(Some("node-1"));
        started.started_at = Some(at(40));
        assert_eq!(stage(&started, &not_ready, &first), Stage::Starting);
        assert_eq!(
            stage(&started, &input(PodState::Terminating, report(&[])), &first),
            Stage::Terminating
        );
        // It stopped being ready before this scaler began to look.
        let mut flapped = started.clone();
        flapped.unready_since = Some(at(90));
        assert_eq!(stage(&flapped, &not_ready, &first), Stage::Unready);
        first.0.insert("u".into(), at(80));
        assert_eq!(stage(&started, &not_ready, &first), Stage::Unready);
        let replica = seen(&started, &input(PodState::Ready, report(&[])), 101, &first);
        assert_eq!(
            (
                replica.milestones.scheduled,
                replica.milestones.started,
                replica.milestones.ready
            ),
            (Some(at(5)), Some(at(40)), Some(at(80)))
        );
    }

    #[test]
    fn what_an_engine_says_is_taken_while_it_is_fresh_and_never_made_up() {
        let first = FirstReady::default();
        let said = report(&[
            (EngineQuantity::Waiting, 3.0),
            (EngineQuantity::Running, 5.0),
            (EngineQuantity::RequestRate, 2.0),
            (EngineQuantity::TpotMean, 0.02),
            (EngineQuantity::TpotP50, 0.02),
            (EngineQuantity::TpotP90, 0.03),
            (EngineQuantity::TpotP95, 0.03),
            (EngineQuantity::TpotP99, 0.04),
            (EngineQuantity::TtftMean, 0.5),
        ]);
        let ready = input(PodState::Ready, said);
        let serving = seen(&pod(Some("node-1")), &ready, 101, &first).serving.unwrap();
        assert_eq!(serving.in_flight(), Some(Count(8.0)));
        assert_eq!(serving.request_rate, Some(PerSecond(2.0)));
        assert_eq!(serving.window, Duration::from_secs(30), "what the rate covers");
        assert_eq!(serving.tpot.unwrap().p99, Seconds(0.04));
        assert_eq!(
            (serving.ttft, serving.kv_tokens),
            (None, None),
            "a mean alone is no distribution"
        );
        let late = seen(&pod(Some("node-1")), &ready, 100 + 11, &first);
        assert_eq!(late.serving, None, "five scrapes were missed");
        let sum = report(&[(EngineQuantity::Concurrency, 9.0), (EngineQuantity::Running, 5.0)]);
        let ready = input(PodState::Ready, sum);
        let serving = seen(&pod(Some("node-1")), &ready, 101, &first).serving.unwrap();
        assert_eq!(serving.waiting, Some(Count(4.0)), "the rest of the sum");
        let alone = input(PodState::Ready, report(&[(EngineQuantity::Running, 5.0)]));
        let serving = seen(&pod(Some("node-1")), &alone, 101, &first).serving.unwrap();
        assert_eq!((serving.waiting, serving.in_flight()), (None, None));
    }

    #[test]
    fn a_new_pod_tells_what_it_finished_over_however_short_a_time() {
        let mut short = report(&[(EngineQuantity::Running, 5.0)]);
        let window = Duration::from_secs(4);
        for quantity in [EngineQuantity::RequestRate, EngineQuantity::GenerationTokenRate] {
            short
                .readings
                .put(quantity, 2.0, at(100), window, Quality::Derived);
        }
        let ready = input(PodState::Ready, short);
        let mut first = FirstReady::default();
        for (since, rate) in [(90, Some(PerSecond(2.0))), (40, None)] {
            first.0.insert("u".into(), at(since));
            let serving = seen(&pod(Some("node-1")), &ready, 101, &first).serving.unwrap();
            assert_eq!((serving.request_rate, serving.window), (rate, window), "{since}");
            assert_eq!(serving.generation_token_rate, None, "says nothing of the present");
        }
    }

    #[test]
    fn an_engine_that_sleeps_is_no_capacity() {
        let mut asleep = report(&[(EngineQuantity::Running, 0.0)]);
        asleep.sleep = Sleep::Asleep;
        let mut pods = [
            input(PodState::Ready, asleep),
            input(PodState::Ready, report(&[])),
        ];
        mark_asleep(&mut pods, &needs(), at(101));
        assert_eq!(
            [pods[0].state, pods[1].state],
            [PodState::Asleep, PodState::Ready]
        );
        let replica = seen(&pod(Some("node-1")), &pods[0], 101, &FirstReady::default());
        assert_eq!((replica.stage, replica.serving), (Stage::Asleep, None));
    }

    #[test]
    fn one_gpu_that_was_not_read_makes_the_pod_unread() {
        let device = |id: &str, utilization: Option<f64>| {
            let mut readings = Readings::new();
            if let Some(utilization) = utilization {
                readings.put(
                    Quantity::Utilization,
                    utilization,
                    at(100),
                    Duration::ZERO,
                    Quality::Measured,
                );
            }
            DeviceInput {
                id: id.into(),
                model: "NVIDIA H100 80GB HBM3".into(),
                claim: rheostat_policy::Claim::Exclusive,
                readings,
            }
        };
        let mut ready = input(PodState::Ready, report(&[]));
        let first = FirstReady::default();
        ready.devices = Ok(vec![device("a", Some(0.2)), device("b", Some(0.9))]);
        let replica = seen(&pod(Some("node-1")), &ready, 101, &first);
        assert_eq!(
            replica.gpu_utilization,
            Some(Ratio(0.9)),
            "the busiest one counts"
        );
        assert_eq!(&*replica.hardware, "NVIDIA H100 80GB HBM3");
        ready.devices = Ok(vec![device("a", Some(0.2)), device("b", None)]);
        assert_eq!(
            seen(&pod(Some("node-1")), &ready, 101, &first).gpu_utilization,
            None
        );
        ready.devices = Err(Unseen::NoAgent {
            node: "node-1".into(),
        });
        assert_eq!(
            seen(&pod(Some("node-1")), &ready, 101, &first).gpu_utilization,
            None
        );
    }
}
