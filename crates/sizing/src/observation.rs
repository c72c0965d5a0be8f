use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

use crate::queued_outside::QueuedOutside;

/// What is seen of a workload at one moment: everything that a decision may rest on.
///
/// It is plain data, so that the live scaler, the simulator and a replay of the decision log hand the
/// very same thing to the very same code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The moment.
    pub now: Timestamp,
    /// `spec.replicas` of the scale target: what is asked for now.
    pub replicas: u32,
    /// The pods of the scale target. Finished ones are left out; replicas that were asked for and have
    /// no pod yet are not listed, only counted in [`Self::replicas`].
    pub pods: Vec<Replica>,
    /// Requests that wait in front of the workload.
    pub queued_outside: QueuedOutside,
    /// What the schedule asks for at this moment.
    pub schedule: Schedule,
    /// At most so many replicas fit what the GPU pool leaves to this workload; `None` without a pool.
    pub pool: Option<u32>,
    /// Replicas that the other workload of a pair of prefill and decode needs; `None` where there is none
    /// or it is not known.
    pub partner: Option<u32>,
}

/// What a schedule asks for at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// At least so many replicas.
    pub floor: Option<u32>,
    /// At most so many; it holds against any floor.
    pub ceiling: Option<u32>,
    /// A blackout: the replica count stays as it is.
    pub frozen: bool,
}

/// One pod of the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The pod's name.
    pub name: Arc<str>,
    /// Product name of its GPUs; empty where it is not known.
    pub hardware: Arc<str>,
    /// When the pod was created.
    pub created: Timestamp,
    /// How far it has come.
    pub stage: Stage,
    /// When it reached each stage, as far as it has come and Kubernetes tells.
    pub milestones: Milestones,
    /// What its engine says; `None` where nothing current is known. Only looked at while it is ready.
    pub serving: Option<Serving>,
    /// Busy time of its GPUs, where known.
    pub gpu_utilization: Option<Ratio>,
    /// Power draw of its GPUs together, where known.
    pub power: Option<rheostat_reading::Watts>,
}

/// How long a pod is new after it became ready: as long as it takes until its engine was scraped for the 20 s that a
/// rate has to cover, and some seconds to find it. Were it taken to be as busy as the others while it is not known,
/// the pods that a queue called for would each look as if they had that queue, too.
const NEW: Duration = Duration::from_secs(30);

impl Replica {
    /// For how long it has served, as far as is known at `now`.
    #[must_use]
    pub fn served(&self, now: Timestamp) -> Duration {
        now.since(self.milestones.ready.unwrap_or(self.created))
    }

    /// Whether it serves for so short a time that it cannot have been read for long.
    #[must_use]
    pub fn is_new(&self, now: Timestamp) -> bool {
        self.served(now) < NEW
    }
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Without a node.
    Pending,
    /// On a node, not ready for the first time yet.
    Starting,
    /// Serving.
    Ready,
    /// It has been ready and is not now: no capacity, and not known when it will be.
    Unready,
    /// Its engine was put to sleep, and serves nobody until somebody wakes it.
    Asleep,
    /// Being deleted.
    Terminating,
}

/// When a pod passed the stages of its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestones {
    /// It got a node (`PodScheduled`).
    pub scheduled: Option<Timestamp>,
    /// Its image was there and its container ran (`containerStatuses[].state.running.startedAt`).
    pub started: Option<Timestamp>,
    /// It became ready for the first time that was seen (`Ready`).
    pub ready: Option<Timestamp>,
}

/// What an engine says of itself, in the vocabulary of `engine.*` signals.
///
/// Each number is `None` where the engine does not report it or the reading is too old: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// When it was read.
    pub taken_at: Timestamp,
    /// What rates and latencies cover.
    pub window: Duration,
    /// Requests that wait for a place in the batch.
    pub waiting: Option<Count>,
    /// Requests in the batch.
    pub running: Option<Count>,
    /// Part of the KV cache in use.
    pub kv_cache_usage: Option<Ratio>,
    /// Tokens that fit the KV cache.
    pub kv_tokens: Option<Count>,
    /// Requests that fit the batch.
    pub max_sequences: Option<Count>,
    /// Requests finished per second.
    pub request_rate: Option<PerSecond>,
    /// Prompt tokens computed per second.
    pub prompt_token_rate: Option<PerSecond>,
    /// Tokens generated per second.
    pub generation_token_rate: Option<PerSecond>,
    /// Mean prompt length of finished requests.
    pub prompt_tokens_mean: Option<Count>,
    /// Mean answer length of finished requests.
    pub generation_tokens_mean: Option<Count>,
    /// Requests thrown out of the batch per second.
    pub preemption_rate: Option<PerSecond>,
    /// Time to the first token.
    pub ttft: Option<Latency>,
    /// Time between two tokens.
    pub itl: Option<Latency>,
    /// Mean time between the tokens of a request, over finished requests.
    pub tpot: Option<Latency>,
    /// Time of a whole request.
    pub e2e: Option<Latency>,
}

/// A latency over a window. Absent as a whole where nothing was measured in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Mean.
    pub mean: Seconds,
    /// Median.
    pub p50: Seconds,
    /// 90th percentile.
    pub p90: Seconds,
    /// 95th percentile.
    pub p95: Seconds,
    /// 99th percentile.
    pub p99: Seconds,
}

impl Latency {
    /// The part that took at most `limit`, interpolated between the quantiles; beyond the last one that is known the tail
    /// is taken to be exponential.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Ratio {
        let limit = limit.as_secs_f64();
        let points = [
            (0.0, 0.0),
            (self.p50.0, 0.5),
            (self.p90.0, 0.9),
            (self.p95.0, 0.95),
            (self.p99.0, 0.99),
        ];
        for pair in points.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if limit < to {
                let part = if to > from {
                    (limit - from).max(0.0) / (to - from)
                } else {
                    0.0
                };
                return Ratio(low + (high - low) * part);
            }
        }
        // From the 95th to the 99th percentile four fifths of what is late go; an exponential tail goes on like that.
        let fades = (self.p99.0 - self.p95.0) / 5.0_f64.ln();
        let beyond = (limit - self.p99.0) / fades.max(1e-9);
        Ratio(1.0 - 0.01 * (-beyond).exp())
    }
}

impl Serving {
    /// Waiting and running requests; `None` unless both are known.
    #[must_use]
    pub fn in_flight(&self) -> Option<Count> {
        Some(Count(self.waiting?.0 + self.running?.0))
    }

    /// Whether each of its numbers could be one of an engine. A single absurd one would stay in what is
    /// learned for days, so that the whole reading is taken for none.
    pub(crate) fn is_plausible(&self) -> bool {
        let seconds = [self.ttft, self.itl, self.tpot, self.e2e]
            .into_iter()
            .flatten()
            .flat_map(|latency| [latency.mean.0, latency.p50.0, latency.p99.0]);
        let counts = [self.waiting, self.running, self.max_sequences];
        let tokens = [self.prompt_tokens_mean, self.generation_tokens_mean];
        let rates = [
            self.request_rate,
            self.prompt_token_rate,
            self.generation_token_rate,
            self.preemption_rate,
        ];
        let within = |most: f64| move |number: f64| (0.0..=most).contains(&number);
        let count = |count: Count| count.0;
        counts.into_iter().flatten().map(count).all(within(MOST_REQUESTS))
            && tokens.into_iter().flatten().map(count).all(within(MOST_TOKENS))
            && seconds.into_iter().all(within(MOST_SECONDS))
            && rates.into_iter().flatten().all(|rate| within(MOST_RATE)(rate.0))
            && self.kv_tokens.is_none_or(|tokens| within(MOST_RATE)(tokens.0))
            && self
                .kv_cache_usage
                .is_none_or(|usage| within(MOST_USAGE)(usage.0))
    }
}

/// No engine has more requests than this: each takes a connection. A higher bound would let a broken page size a fleet.
const MOST_REQUESTS: f64 = 1e6;
/// No request has more tokens: the longest contexts hold ten million.
const MOST_TOKENS: f64 = 1e7;
/// Nobody waits for longer for a token or an answer: a day.
const MOST_SECONDS: f64 = 86_400.0;
/// No engine does more in a second, and no KV cache holds more tokens: the largest hold some ten million.
const MOST_RATE: f64 = 1e9;
/// Some engines tell a little more than all, and some tell percent.
const MOST_USAGE: f64 = 1000.0;

impl Observation {
    /// Pods that serve.
    pub fn ready(&self) -> impl Iterator<Item = &Replica> {
        self.pods.iter().filter(|pod| pod.stage == Stage::Ready)
    }

    /// The same without the pods that sleep, where some do.
    pub(crate) fn awake(&self) -> Cow<'_, Self> {
        let asleep = self.asleep_count();
        if asleep == 0 {
            return Cow::Borrowed(self);
        }
        let mut awake = self.clone();
        awake.pods.retain(|pod| pod.stage != Stage::Asleep);
        awake.replicas = self.replicas.saturating_sub(asleep);
        Cow::Owned(awake)
    }

    /// How many pods sleep.
    #[must_use]
    pub fn asleep_count(&self) -> u32 {
        let asleep = self.pods.iter().filter(|pod| pod.stage == Stage::Asleep);
        u32::try_from(asleep.count()).unwrap_or(u32::MAX)
    }

    /// How many pods serve.
    #[must_use]
    pub fn ready_count(&self) -> u32 {
        u32::try_from(self.ready().count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_last_quantile_fades_as_the_last_ones_do() {
        let of = |part: f64| Seconds(-(1.0 - part).ln());
        let exponential = Latency {
            mean: Seconds(1.0),
            p50: of(0.5),
            p90: of(0.9),
            p95: of(0.95),
            p99: of(0.99),
        };
        let late = |latency: &Latency, limit: f64| 1.0 - latency.within(Duration::from_secs_f64(limit)).0;
        for part in [0.9, 0.95, 0.99, 0.995, 0.999, 0.9999] {
            let found = late(&exponential, of(part).0);
            assert!((found / (1.0 - part) - 1.0).abs() < 1e-6, "{part}: {found}");
        }
        assert!(late(&exponential, 60.0) < 1e-12);
        let same = Latency {
            p95: exponential.p99,
            ..exponential
        };
        assert!(
            late(&same, exponential.p99.0 + 1e-6) < 1e-12,
            "none where nothing tells of a tail"
        );
    }
}
