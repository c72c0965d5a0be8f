//! Workloads to decide about.

use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp};
use rheostat_sizing::{
    Intent, Latency, Limits, Milestones, Objective, Observation, QueuedOutside, Replica, ReplicaShape,
    Schedule, Serving, Slo, Stage,
};

/// What happens in one step: replicas, requests in flight for each, and whether the engines tell.
pub(crate) type Moment = (u32, u16, bool);

pub(crate) fn intent(itl_millis: u64) -> Arc<Intent> {
    Arc::new(Intent {
        objective: Objective::Slo(Slo {
            ttft: Some(Duration::from_secs(2)),
            itl: Some(Duration::from_millis(itl_millis)),
            e2e: None,
            attainment: Ratio(0.99),
        }),
        min_replicas: 1,
        max_replicas: 40,
        cold_start: Duration::from_secs(60),
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: 1.0,
            price_per_gpu_hour: Some(2.0),
            parameters: Some(8e9),
        },
        role: None,
    })
}

pub(crate) fn start() -> Timestamp {
    Timestamp::from_unix_nanos(1_780_000_000_000_000_000)
}

/// What is seen `step` steps of 5 s after the start.
pub(crate) fn observation(step: usize, (replicas, in_flight, known): Moment) -> Observation {
    let now = start().plus(Duration::from_secs(5 * step as u64));
    let each = f64::from(in_flight);
    let latency = |mean: f64| Latency {
        mean: Seconds(mean),
        p50: Seconds(0.9 * mean),
        p90: Seconds(1.4 * mean),
        p95: Seconds(1.7 * mean),
        p99: Seconds(2.3 * mean),
    };
    let itl = 0.011 + 0.000_37 * each;
    let rate = each / (0.2 + 180.0 * itl);
    let serving = Serving {
        taken_at: now,
        window: Duration::from_secs(30),
        waiting: Some(Count((each - 64.0).max(0.0))),
        running: Some(Count(each.min(64.0))),
        kv_cache_usage: Some(Ratio((each / 70.0).min(1.0))),
        kv_tokens: Some(Count(400_000.0)),
        max_sequences: Some(Count(64.0)),
        request_rate: Some(PerSecond(rate)),
        prompt_token_rate: Some(PerSecond(900.0 * rate)),
        generation_token_rate: Some(PerSecond(180.0 * rate)),
        prompt_tokens_mean: Some(Count(900.0)),
        generation_tokens_mean: Some(Count(180.0)),
        preemption_rate: Some(PerSecond(0.0)),
        ttft: Some(latency(0.15 + 0.01 * each)),
        itl: Some(latency(itl)),
        tpot: Some(latency(itl)),
        e2e: Some(latency(0.2 + 180.0 * itl)),
    };
    let pods = (0..replicas)
        .map(|number| Replica {
            name: format!("chat-{number}").into(),
            hardware: "NVIDIA H100 80GB HBM3".into(),
            created: start(),
            stage: Stage::Ready,
            milestones: Milestones {
                scheduled: Some(start().plus(Duration::from_secs(2))),
                started: Some(start().plus(Duration::from_secs(9))),
                ready: Some(start().plus(Duration::from_secs(47))),
            },
            serving: known.then_some(serving),
            gpu_utilization: known.then_some(Ratio((each / 50.0).min(1.0))),
            power: None,
        })
        .collect();
    Observation {
        now,
        replicas,
        pods,
        queued_outside: QueuedOutside::Untold,
        schedule: Schedule::default(),
        pool: None,
        partner: None,
    }
}

/// A load that rises and falls, with a hole in what is seen.
pub(crate) fn wave(steps: usize) -> Vec<Moment> {
    (0..steps)
        .map(|step| {
            let phase = (step as f64 / 40.0).sin();
            (
                (4.0 + 2.0 * phase) as u32,
                (30.0 + 25.0 * phase) as u16,
                step % 97 > 3,
            )
        })
        .collect()
}
