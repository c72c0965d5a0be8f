//! A fleet for tests: replicas that start, engines that say what their load makes them say, and a workload
//! that is as large as the last decision asked for.

use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp};
use rheostat_sizing::{
    CostModel, Decision, Intent, Latency, Lengths, Limits, Milestones, Objective, Observation, Replica,
    ReplicaShape, Schedule, Serving, Sizer, Slo, Stage,
};

pub(crate) const START: Timestamp = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
pub(crate) const STEP: Duration = Duration::from_secs(5);

/// What the engines' iterations cost: about 2.4 requests a second and replica.
const TRUTH: CostModel = CostModel {
    base: 0.0427,
    prompt: 0.000_23,
    sequence: 0.000_435,
    context: 0.0,
};
pub(crate) const LENGTHS: Lengths = Lengths {
    prompt: 1000.0,
    output: 200.0,
};

/// First token within 5 s, 200 ms between tokens, for 99 %; 1 to 64 replicas; starts of two minutes.
pub(crate) fn intent() -> Intent {
    Intent {
        objective: Objective::Slo(Slo {
            ttft: Some(Duration::from_secs(5)),
            itl: Some(Duration::from_millis(200)),
            e2e: None,
            attainment: Ratio(0.99),
        }),
        min_replicas: 1,
        max_replicas: 64,
        cold_start: Duration::from_secs(120),
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: 4.0,
            price_per_gpu_hour: Some(2.0),
            parameters: Some(70e9),
        },
        role: None,
    }
}

/// A fleet and the sizer that decides about it.
pub(crate) struct Fleet {
    pub(crate) intent: Intent,
    pub(crate) sizer: Sizer,
    pub(crate) now: Timestamp,
    /// Since when each replica is asked for, the oldest first.
    pods: Vec<(u64, Timestamp)>,
    made: u64,
    /// From asking to serving; `None` never serves.
    pub(crate) cold_start: Option<Duration>,
    /// Whether engines can be read.
    pub(crate) visible: bool,
    pub(crate) schedule: Schedule,
    pub(crate) queued_outside: Option<Count>,
    pub(crate) pool: Option<u32>,
    pub(crate) power: Option<f64>,
    /// Requests that wait in each engine.
    pub(crate) waiting: f64,
}

impl Fleet {
    /// So many replicas that serve.
    pub(crate) fn new(intent: Intent, replicas: u32) -> Self {
        let mut fleet = Self {
            intent,
            sizer: Sizer::new(),
            now: START,
            pods: Vec::new(),
            made: 0,
            cold_start: Some(Duration::from_secs(120)),
            visible: true,
            schedule: Schedule::default(),
            queued_outside: None,
            pool: None,
            power: None,
            waiting: 0.0,
        };
        for _ in 0..replicas {
            fleet
                .pods
                .push((fleet.made, START.minus(Duration::from_secs(3600))));
            fleet.made += 1;
        }
        fleet
    }

    pub(crate) fn replicas(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap()
    }

    /// What is seen while so many requests arrive each second.
    pub(crate) fn observation(&self, rate: f64) -> Observation {
        let ready = |asked: Timestamp| {
            self.cold_start
                .map(|takes| asked.plus(takes))
                .filter(|ready| *ready <= self.now)
                .or_else(|| (asked < START).then_some(asked))
        };
        let serving = self
            .pods
            .iter()
            .filter(|(_, asked)| ready(*asked).is_some())
            .count();
        let each = if serving > 0 { rate / serving as f64 } else { 0.0 };
        let pods = self.pods.iter().map(|(number, asked)| Replica {
            name: format!("chat-{number}").into(),
            hardware: "NVIDIA A100-SXM4-80GB".into(),
            created: *asked,
            stage: if ready(*asked).is_some() {
                Stage::Ready
            } else {
                Stage::Starting
            },
            milestones: Milestones {
                scheduled: Some(*asked),
                started: Some(*asked),
                ready: ready(*asked),
            },
            serving: (self.visible && ready(*asked).is_some()).then(|| self.serving(each)),
            gpu_utilization: None,
            power: self.power.map(rheostat_reading::Watts),
        });
        Observation {
            now: self.now,
            replicas: self.replicas(),
            pods: pods.collect(),
            queued_outside: self.queued_outside,
            schedule: self.schedule,
            pool: self.pool,
            partner: None,
        }
    }

    /// What an engine says at this rate, overloaded or not.
    fn serving(&self, rate: f64) -> Serving {
        let used = (TRUTH.work(LENGTHS) * rate).min(0.95);
        let mean = Seconds(TRUTH.base / (1.0 - used));
        let latency = |mean: Seconds| Latency {
            mean,
            p50: mean,
            p90: Seconds(mean.0 * 1.3),
            p95: Seconds(mean.0 * 1.5),
            p99: Seconds(mean.0 * 2.0),
        };
        Serving {
            taken_at: self.now,
            window: Duration::from_secs(60),
            waiting: Some(Count(self.waiting)),
            running: Some(Count(rate * LENGTHS.output * mean.0)),
            kv_cache_usage: None,
            kv_tokens: None,
            max_sequences: Some(Count(256.0)),
            request_rate: Some(PerSecond(rate)),
            prompt_token_rate: Some(PerSecond(rate * LENGTHS.prompt)),
            generation_token_rate: Some(PerSecond(rate * LENGTHS.output)),
            prompt_tokens_mean: (rate > 0.0).then_some(Count(LENGTHS.prompt)),
            generation_tokens_mean: (rate > 0.0).then_some(Count(LENGTHS.output)),
            preemption_rate: None,
            ttft: (rate > 0.0).then(|| latency(Seconds(0.5))),
            itl: (rate > 0.0).then(|| latency(mean)),
            tpot: (rate > 0.0).then(|| latency(mean)),
            e2e: None,
        }
    }

    /// One step at this rate: a look, a decision, and as many replicas as it says.
    pub(crate) fn step(&mut self, rate: f64) -> Decision {
        self.now = self.now.plus(STEP);
        let decision = self.sizer.decide(&self.intent, &self.observation(rate));
        while self.replicas() > decision.replicas {
            self.pods.pop();
        }
        while self.replicas() < decision.replicas {
            self.pods.push((self.made, self.now));
            self.made += 1;
        }
        decision
    }

    /// So many seconds at this rate; the last decision.
    pub(crate) fn run(&mut self, seconds: u64, rate: f64) -> Decision {
        let mut last = self.step(rate);
        for _ in 1..seconds / STEP.as_secs() {
            last = self.step(rate);
        }
        last
    }
}
