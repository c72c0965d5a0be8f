use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cost::{CostModel, Lengths};
use crate::fit::Fit;
use crate::intent::{Objective, Slo};
use crate::moment::STEP;
use crate::observation::Replica;
use crate::sliding::SlidingMean;

/// What replicas can do, learned for each kind of hardware while they serve, from the data sheet on.
///
/// Nothing that it is learned from saturates: all are times and counts of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    kinds: BTreeMap<Arc<str>, Fit>,
    /// How busy each ready pod's GPUs were, over the time that its engine's rates cover.
    busy: BTreeMap<Arc<str>, SlidingMean>,
}

/// Kinds of hardware that are kept apart. More than a fleet has; it bounds the state.
const MOST_KINDS: usize = 8;

/// A pod's first time after it became ready is left out: caches fill and graphs are captured, and such
/// samples poison a capacity model (Dynamo issue #12430).
const WARM_UP: Duration = Duration::from_secs(60);

/// Looks that a mean of how busy a GPU was covers at most.
const MOST_COVERED: usize = 24;

/// Never more of a replica's time than this, whatever the latencies allow: the rest is what queueing within
/// it takes (at 95 % the queue of a server with usual variation is twenty requests long).
const MOST_USABLE: f64 = 0.9;
/// Never less, so that a wrong fit cannot make the replica count run away.
const LEAST_USABLE: f64 = 0.05;
/// What no number of replicas keeps is not worth eighteen times as many: the further a replica without load is beyond
/// a latency, the less is done for it, and a quarter beyond it next to nothing is. Not at once, since it is not known
/// exactly where that is.
const GIVEN_UP: f64 = 4.0;

/// Part of the batch's places and of the KV cache that may be full: beyond it requests queue and are
/// preempted.
pub(crate) const FULL: f64 = 0.85;

/// What one replica can do for requests of a length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReplicaCapacity {
    /// Seconds of a replica's time for one request.
    pub(crate) work: f64,
    /// Part of a replica's time that may go into work so that the objective is kept.
    pub(crate) usable: f64,
    /// How sure, 0 to 1.
    pub(crate) confidence: f64,
    /// What bound the usable part.
    pub(crate) bound: UsableBound,
    /// What a replica without any load misses already, so that no number of replicas keeps it.
    pub(crate) beyond_reach: Option<UsableBound>,
}

/// What bounds the usable part of a replica's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsableBound {
    /// The time between two tokens.
    Itl,
    /// The time to the first token.
    Ttft,
    /// The time of a whole request.
    E2e,
    /// The batch's places.
    Places,
    /// The KV cache.
    Kv,
    /// Nothing but what queueing takes.
    Queueing,
    /// What it was seen to finish while requests waited.
    Finished,
}

impl UsableBound {
    /// For a person.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Itl => "the time between two tokens",
            Self::Ttft => "the time to the first token",
            Self::E2e => "the time of a whole request",
            Self::Places => "the places in the batch",
            Self::Kv => "the KV cache",
            Self::Queueing => "queueing alone",
            Self::Finished => "what it finishes while requests wait",
        }
    }
}

impl ReplicaCapacity {
    /// The same where so many requests per second were finished while more waited: whatever the model says,
    /// a replica does no more.
    pub(crate) fn at_most(self, rate: f64) -> Self {
        if rate <= 0.0 || self.usable <= rate * self.work {
            return self;
        }
        Self {
            work: self.usable / rate,
            bound: UsableBound::Finished,
            ..self
        }
    }
}

impl Capacity {
    /// Takes what the ready pods say at `now`.
    pub(crate) fn learn<'a>(
        &mut self,
        now: Timestamp,
        gpus: f64,
        parameters: Option<f64>,
        pods: impl Iterator<Item = &'a Replica>,
    ) {
        let mut busy = BTreeMap::new();
        for pod in pods {
            let Some(serving) = pod.serving.as_ref().filter(|serving| serving.is_plausible()) else {
                continue;
            };
            // A GPU tells of a moment, an engine of a window: both must speak of the same time.
            let covered = usize::try_from(serving.window.as_secs() / STEP.as_secs())
                .unwrap_or(1)
                .max(1);
            let worked = pod.gpu_utilization.map(|ratio| {
                let mut mean = self
                    .busy
                    .remove(&pod.name)
                    .unwrap_or_else(|| SlidingMean::new(MOST_COVERED));
                mean.resize(covered.min(MOST_COVERED));
                let worked = mean.push(ratio.0);
                let full = mean.is_full();
                busy.insert(Arc::clone(&pod.name), mean);
                (worked, full)
            });
            if worked.is_some_and(|(_, full)| !full) {
                continue;
            }
            if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&pod.hardware) {
                continue;
            }
            let fit = self
                .kinds
                .entry(Arc::clone(&pod.hardware))
                .or_insert_with(|| Fit::new(CostModel::expected(&pod.hardware, gpus, parameters)));
            if let Some(itl) = &serving.itl {
                fit.has_taken(itl.mean.0);
            }
            let warm = pod
                .milestones
                .ready
                .is_none_or(|ready| now.since(ready) >= WARM_UP + serving.window);
            if warm {
                fit.sample(now, worked.map(|(worked, _)| worked), serving);
            }
        }
        self.busy = busy;
    }

    /// What is known of `hardware`; what the data sheet says where nothing was seen.
    pub(crate) fn model(&self, hardware: &str, gpus: f64, parameters: Option<f64>) -> (CostModel, f64) {
        self.kinds.get(hardware).map_or_else(
            || (CostModel::expected(hardware, gpus, parameters), 0.0),
            |fit| (fit.model(), fit.confidence()),
        )
    }

    /// The hardware that was seen most of; `None` before any was.
    pub(crate) fn usual_hardware(&self) -> Option<&str> {
        let most = self
            .kinds
            .iter()
            .max_by(|one, two| one.1.weight().total_cmp(&two.1.weight()));
        most.map(|(kind, _)| kind.as_ref())
    }

    /// The learned costs by hardware, with how sure they are.
    pub fn learned(&self) -> impl Iterator<Item = (&str, CostModel, f64)> {
        self.kinds
            .iter()
            .map(|(kind, fit)| (kind.as_ref(), fit.model(), fit.confidence()))
    }
}

/// Places and KV tokens of a replica, where its engine tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) sequences: Option<f64>,
    pub(crate) kv_tokens: Option<f64>,
}

/// What a replica with these costs can do within `slo`.
pub(crate) fn within(
    model: CostModel,
    confidence: f64,
    slo: &Slo,
    lengths: Lengths,
    long_prompt: f64,
    room: Room,
) -> ReplicaCapacity {
    let mut usable = (MOST_USABLE, UsableBound::Queueing);
    let mut beyond_reach = None;
    let mut bind = |part: f64, bound: UsableBound| {
        let worth = if part > 0.0 {
            part.max(LEAST_USABLE)
        } else {
            LEAST_USABLE - part * GIVEN_UP
        };
        if part <= 0.0 {
            beyond_reach = Some(bound);
        }
        if worth < usable.0 {
            usable = (worth, bound);
        }
    };
    if let Some(itl) = slo.itl {
        bind(model.usable_for_iteration(itl), UsableBound::Itl);
    }
    if let Some(ttft) = slo.ttft {
        // A long prompt's own computation, slowed down by what else is done, fits the limit.
        let own = model.base + model.prompt * long_prompt;
        bind(1.0 - own / ttft.as_secs_f64().max(1e-6), UsableBound::Ttft);
    }
    if let Some(e2e) = slo.e2e {
        let own = model.prompt * long_prompt + model.base * lengths.output;
        bind(1.0 - own / e2e.as_secs_f64().max(1e-6), UsableBound::E2e);
    }
    if let Some(places) = room.sequences {
        bind(
            model.usable_for_places(FULL * places, lengths),
            UsableBound::Places,
        );
    }
    if let Some(tokens) = room.kv_tokens {
        let each = (lengths.prompt + lengths.output / 2.0).max(1.0);
        bind(
            model.usable_for_places(FULL * tokens / each, lengths),
            UsableBound::Kv,
        );
    }
    ReplicaCapacity {
        work: model.work(lengths).max(1e-9),
        usable: usable.0,
        confidence,
        bound: usable.1,
        beyond_reach,
    }
}

/// Whether capacity can be learned and used for `objective`.
pub(crate) const fn slo_of(objective: &Objective) -> Option<&Slo> {
    match objective {
        Objective::Slo(slo) => Some(slo),
        Objective::Concurrency(_) | Objective::Utilization(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::tests::serving;
    use crate::observation::{Milestones, Serving, Stage};

    fn pod(serving: Serving) -> Replica {
        Replica {
            name: "chat-0".into(),
            hardware: "NVIDIA A100-SXM4-80GB".into(),
            created: Timestamp::default(),
            stage: Stage::Ready,
            milestones: Milestones::default(),
            serving: Some(serving),
            gpu_utilization: None,
            power: None,
        }
    }

    #[test]
    fn a_gpu_that_works_by_turns_is_as_busy_as_its_mean() {
        let truth = CostModel {
            base: 0.0427,
            prompt: 0.000_23,
            sequence: 0.000_435,
            context: 2e-8,
        };
        let lengths = Lengths {
            prompt: 300.0,
            output: 100.0,
        };
        let learned = |busy: &dyn Fn(u32) -> Option<f64>| {
            let mut capacity = Capacity::default();
            let mut now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
            for look in 0..200 {
                now = now.plus(STEP);
                let mut pod = pod(serving(truth, 2.0, lengths));
                pod.gpu_utilization = busy(look).map(rheostat_reading::Ratio);
                capacity.learn(now, 4.0, None, std::iter::once(&pod));
            }
            capacity.model("NVIDIA A100-SXM4-80GB", 4.0, None)
        };
        let (by_turns, confidence) = learned(&|look| Some(if look % 2 == 0 { 0.2 } else { 0.8 }));
        let (steady, _) = learned(&|_| Some(0.5));
        let (silent, _) = learned(&|_| None);
        assert!(confidence > 0.0);
        assert!((by_turns.work(lengths) / steady.work(lengths) - 1.0).abs() < 1e-6);
        assert_ne!(silent, steady);
    }

    #[test]
    fn what_is_finished_while_requests_wait_is_all_that_a_replica_does() {
        let believed = ReplicaCapacity {
            work: 0.01,
            usable: 0.8,
            confidence: 0.0,
            bound: UsableBound::Itl,
            beyond_reach: None,
        };
        let seen = believed.at_most(2.0);
        assert!((seen.usable / seen.work - 2.0).abs() < 1e-9);
        assert_eq!(seen.bound, UsableBound::Finished);
        assert_eq!(believed.at_most(100.0), believed);
    }

    #[test]
    fn an_engine_that_is_faster_than_its_data_sheet_is_believed_at_once() {
        let truth = CostModel {
            base: 0.007,
            prompt: 0.000_04,
            sequence: 0.000_05,
            context: 0.0,
        };
        let lengths = Lengths {
            prompt: 500.0,
            output: 100.0,
        };
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let mut capacity = Capacity::default();
        let mut young = pod(serving(truth, 1.0, lengths));
        young.milestones.ready = Some(now.minus(Duration::from_secs(1)));
        let base = |capacity: &Capacity| capacity.model("NVIDIA A100-SXM4-80GB", 1.0, None).0.base;
        assert!(base(&capacity) > 0.015, "{}", base(&capacity));
        capacity.learn(now, 1.0, None, std::iter::once(&young));
        assert!(base(&capacity) < 0.008, "{}", base(&capacity));
        young.serving = Some(serving(truth, 100.0, lengths));
        capacity.learn(now, 1.0, None, std::iter::once(&young));
        assert!(base(&capacity) < 0.008, "a busy one says nothing of it");
    }

    #[test]
    fn a_pod_that_has_just_started_and_an_engine_that_says_nothing_teach_nothing() {
        let truth = CostModel {
            base: 0.04,
            prompt: 0.000_2,
            sequence: 0.000_4,
            context: 0.0,
        };
        let lengths = Lengths {
            prompt: 500.0,
            output: 100.0,
        };
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let mut capacity = Capacity::default();
        let mut young = pod(serving(truth, 2.0, lengths));
        young.milestones.ready = Some(now.minus(Duration::from_secs(30)));
        let mut silent = pod(serving(truth, 2.0, lengths));
        if let Some(serving) = &mut silent.serving {
            serving.itl = None;
        }
        capacity.learn(now, 4.0, None, [&young, &silent].into_iter());
        assert!(capacity.learned().all(|(_, _, confidence)| confidence == 0.0));
    }
}
