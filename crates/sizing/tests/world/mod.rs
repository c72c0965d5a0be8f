//! A workload that does what is decided about it, as a flow: requests come at a rate, ready replicas share
//! them, each gets slower with what it has in its batch.
#![allow(dead_code, reason = "each test takes its part")]

use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp, Watts};
use rheostat_sizing::{
    Decision, Intent, Latency, Limits, Milestones, Objective, Observation, QueuedOutside, Replica,
    ReplicaShape, Schedule, Serving, Sizer, Slo, Stage,
};

/// Time between two looks.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// Looks in an hour.
pub(crate) const HOUR: usize = 720;

/// Tokens of a prompt and of an answer.
const PROMPT: f64 = 800.0;
const OUTPUT: f64 = 200.0;
/// Requests that fit a batch.
const SEQUENCES: f64 = 64.0;

pub(crate) fn start() -> Timestamp {
    Timestamp::from_unix_nanos(1_780_000_000_000_000_000)
}

/// Ask for tokens within 40 ms; a replica keeps that with some 50 requests in its batch.
pub(crate) fn intent() -> Intent {
    Intent {
        objective: Objective::Slo(Slo {
            ttft: Some(Duration::from_secs(2)),
            itl: Some(Duration::from_millis(40)),
            e2e: None,
            attainment: Ratio(0.99),
        }),
        min_replicas: 1,
        max_replicas: 60,
        cold_start: Duration::from_secs(60),
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: 1.0,
            price_per_gpu_hour: Some(3.0),
            parameters: Some(8e9),
        },
        role: None,
    }
}

/// A workload and its sizer.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) sizer: Sizer,
    pub(crate) intent: Intent,
    pub(crate) now: Timestamp,
    pub(crate) replicas: u32,
    /// How long a pod takes until it serves; `None` never.
    pub(crate) cold_start: Option<Duration>,
    /// What engines tell is known.
    pub(crate) known: bool,
    /// Why what waits in front of the workload is not known, where something should tell.
    pub(crate) untold: Option<Arc<str>>,
    pub(crate) power: Option<Watts>,
    pub(crate) schedule: Schedule,
    pub(crate) pool: Option<u32>,
    /// Pods that may exist, where a quota says so.
    pub(crate) most_pods: Option<usize>,
    pods: Vec<Pod>,
    serial: u32,
    outside: f64,
}

#[derive(Clone, Debug)]
struct Pod {
    name: Arc<str>,
    created: Timestamp,
    ready: Option<Timestamp>,
    in_flight: f64,
    finished: f64,
    busy: f64,
}

/// Time between two tokens with `running` requests in the batch, seconds.
fn itl(running: f64) -> f64 {
    0.010 + 0.000_55 * running
}

/// Requests per second that a replica finishes with `running` in its batch.
fn throughput(running: f64) -> f64 {
    running / (OUTPUT * itl(running))
}

/// Requests per second that a replica serves without giving up the objective: 50 in the batch.
pub(crate) fn capacity() -> f64 {
    throughput(50.0)
}

impl World {
    /// With `replicas` that serve already.
    pub(crate) fn new(intent: Intent, replicas: u32) -> Self {
        let mut world = Self {
            sizer: Sizer::new(),
            intent,
            now: start(),
            replicas,
            cold_start: Some(Duration::from_secs(60)),
            known: true,
            untold: None,
            power: None,
            schedule: Schedule::default(),
            pool: None,
            most_pods: None,
            pods: Vec::new(),
            serial: 0,
            outside: 0.0,
        };
        for _ in 0..replicas {
            let name = world.name();
            world.pods.push(Pod {
                name,
                created: start().minus(Duration::from_secs(600)),
                ready: Some(start().minus(Duration::from_secs(540))),
                in_flight: 0.0,
                finished: 0.0,
                busy: 0.0,
            });
        }
        world
    }

    fn name(&mut self) -> Arc<str> {
        self.serial += 1;
        format!("chat-{}", self.serial).into()
    }

    /// A step passes in which `rate` requests a second come; then it is decided, and done.
    pub(crate) fn step(&mut self, rate: f64) -> Decision {
        self.step_told(rate, |_| ())
    }

    /// Such steps; the replicas after each.
    pub(crate) fn run(&mut self, steps: usize, rate: impl Fn(usize) -> f64) -> Vec<u32> {
        (0..steps).map(|step| self.step(rate(step)).replicas).collect()
    }

    /// A step in which each engine tells what `told` makes of the truth.
    pub(crate) fn step_told(&mut self, rate: f64, told: impl FnMut(&mut Serving)) -> Decision {
        self.serve(rate);
        let mut seen = self.seen();
        seen.pods
            .iter_mut()
            .filter_map(|pod| pod.serving.as_mut())
            .for_each(told);
        let decision = self.sizer.decide(&self.intent, &seen);
        // KEDA takes what is not active, here without a cooldown.
        self.follow(if decision.active { decision.replicas } else { 0 });
        decision
    }

    /// A step passes.
    fn serve(&mut self, rate: f64) {
        let seconds = STEP.as_secs_f64();
        self.now = self.now.plus(STEP);
        for pod in &mut self.pods {
            if pod.ready.is_none()
                && let Some(cold_start) = self.cold_start
                && self.now.since(pod.created) >= cold_start
            {
                pod.ready = Some(self.now);
            }
        }
        let ready = self.pods.iter().filter(|pod| pod.ready.is_some()).count() as f64;
        self.outside += rate * seconds;
        if ready == 0.0 {
            return;
        }
        let each = self.outside / ready;
        self.outside = 0.0;
        for pod in self.pods.iter_mut().filter(|pod| pod.ready.is_some()) {
            pod.in_flight += each;
            // Small steps, since what is finished hangs on what is there.
            let (parts, mut finished) = (50, 0.0);
            for _ in 0..parts {
                let done = throughput(pod.in_flight.min(SEQUENCES)) * seconds / f64::from(parts);
                let done = done.min(pod.in_flight);
                pod.in_flight -= done;
                finished += done;
            }
            // A flow has fractions of requests, a workload has none.
            if pod.in_flight < 0.05 {
                finished += pod.in_flight;
                pod.in_flight = 0.0;
            }
            pod.finished = finished / seconds;
            pod.busy = (pod.in_flight / 4.0).min(1.0);
        }
    }

    /// What there is to see.
    pub(crate) fn seen(&self) -> Observation {
        let pods = self.pods.iter().map(|pod| self.replica(pod)).collect();
        Observation {
            now: self.now,
            replicas: self.replicas,
            pods,
            queued_outside: match &self.untold {
                Some(reason) => QueuedOutside::Unknown(Arc::clone(reason)),
                None => (self.outside > 0.0).then_some(Count(self.outside)).into(),
            },
            schedule: self.schedule,
            pool: self.pool,
            partner: None,
        }
    }

    fn replica(&self, pod: &Pod) -> Replica {
        let ready = pod.ready.is_some();
        Replica {
            name: Arc::clone(&pod.name),
            hardware: "NVIDIA H100 80GB HBM3".into(),
            created: pod.created,
            stage: if ready { Stage::Ready } else { Stage::Starting },
            milestones: Milestones {
                scheduled: Some(pod.created),
                started: ready.then(|| pod.created.plus(Duration::from_secs(5))),
                ready: pod.ready,
            },
            serving: (ready && self.known).then(|| self.serving(pod)),
            gpu_utilization: (ready && self.known).then_some(Ratio(pod.busy)),
            power: self.power.filter(|_| ready),
        }
    }

    fn serving(&self, pod: &Pod) -> Serving {
        let running = pod.in_flight.min(SEQUENCES);
        let waiting = pod.in_flight - running;
        let latency = |value: f64| Latency {
            mean: Seconds(value),
            p50: Seconds(value),
            p90: Seconds(1.1 * value),
            p95: Seconds(1.15 * value),
            p99: Seconds(1.2 * value),
        };
        let some = pod.finished > 0.0;
        let itl = itl(running);
        let ttft = 0.1 + waiting / pod.finished.max(1e-3);
        Serving {
            taken_at: self.now,
            window: STEP,
            waiting: Some(Count(waiting)),
            running: Some(Count(running)),
            kv_cache_usage: Some(Ratio(running / SEQUENCES * 0.6)),
            kv_tokens: Some(Count(120_000.0)),
            max_sequences: Some(Count(SEQUENCES)),
            request_rate: Some(PerSecond(pod.finished)),
            prompt_token_rate: Some(PerSecond(PROMPT * pod.finished)),
            generation_token_rate: Some(PerSecond(OUTPUT * pod.finished)),
            prompt_tokens_mean: some.then_some(Count(PROMPT)),
            generation_tokens_mean: some.then_some(Count(OUTPUT)),
            preemption_rate: Some(PerSecond(0.0)),
            ttft: some.then(|| latency(ttft)),
            itl: some.then(|| latency(itl)),
            tpot: some.then(|| latency(itl)),
            e2e: some.then(|| latency(ttft + OUTPUT * itl)),
        }
    }

    /// Makes the replicas `replicas`: the youngest go first.
    fn follow(&mut self, replicas: u32) {
        self.replicas = replicas;
        while self.pods.len() > replicas as usize {
            let last = self
                .pods
                .iter()
                .rposition(|pod| pod.ready.is_none())
                .unwrap_or(self.pods.len() - 1);
            let gone = self.pods.remove(last);
            self.outside += gone.in_flight;
        }
        let most = self.most_pods.unwrap_or(usize::MAX);
        while self.pods.len() < most.min(replicas as usize) {
            let name = self.name();
            self.pods.push(Pod {
                name,
                created: self.now,
                ready: None,
                in_flight: 0.0,
                finished: 0.0,
                busy: 0.0,
            });
        }
    }

    /// Requests that wait for a place, all together.
    pub(crate) fn waiting(&self) -> f64 {
        let waiting = |pod: &Pod| (pod.in_flight - SEQUENCES).max(0.0);
        self.outside + self.pods.iter().map(waiting).sum::<f64>()
    }
}

/// Noise without a clock or a library: the same numbers every time, in -1 to 1 and nearly uniform.
pub(crate) fn noise(step: u64, seed: u64) -> f64 {
    // SplitMix64's finaliser (Steele, Lea and Flood 2014).
    let mut bits = step
        .wrapping_add(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
