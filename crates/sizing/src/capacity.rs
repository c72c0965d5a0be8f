use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cost::{CostModel, Lengths};
use crate::intent::{Objective, Slo};
use crate::moment::STEP;
use crate::observation::{Replica, Serving};
use crate::sliding::SlidingMean;

/// What replicas can do, learned for each kind of hardware while they serve.
///
/// In a time in which an engine is busy for the part `f`, its iterations account for that part:
/// `f = base·n + prompt·P + sequence·G + context·G·c`, with `n = f / ITL` iterations, `P` prompt and `G`
/// generated tokens per second and a mean context of `c` tokens. The four costs are fitted by least squares
/// with forgetting, and drawn to what the data sheet says while little was seen. Nothing of it saturates:
/// all are times and counts of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    kinds: BTreeMap<Arc<str>, Fit>,
    /// How busy each ready pod's GPUs were, over the time that its engine's rates cover.
    busy: BTreeMap<Arc<str>, SlidingMean>,
}

/// The fit for one kind of hardware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fit {
    prior: CostModel,
    /// Products of the scaled features with each other, decayed.
    products: [[f64; FEATURES]; FEATURES],
    /// Products of the scaled features with the busy part, decayed.
    targets: [f64; FEATURES],
    /// Decayed number of samples.
    weight: f64,
    /// Decayed mean of the relative error.
    error: f64,
    model: CostModel,
    /// The shortest mean time between two tokens of late, seconds; `None` before any was told.
    fastest: Option<f64>,
    sampled_at: Option<Timestamp>,
}

const FEATURES: usize = 4;

/// The shortest time between two tokens is forgotten by so much each look: it doubles in two hours, so that another
/// model on the same hardware is not taken for the one before.
const FASTEST_FADES: f64 = 1.0005;

/// Kinds of hardware that are kept apart. More than a fleet has; it bounds the state.
const MOST_KINDS: usize = 8;

/// Weight of the data sheet, in samples. Less lets the first odd samples in, more makes learning slow.
const PRIOR_WEIGHT: f64 = 8.0;

/// Samples of which the fit forgets half: at one every 15 s for each kind some hours, so that a change of
/// request shapes or an upgrade of the engine is followed within a day.
const HALF_LIFE_SAMPLES: f64 = 2000.0;

/// Time between two samples of one kind: windows overlap, so that more would say nothing new.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(15);

/// A pod's first time after it became ready is left out: caches fill and graphs are captured, and such
/// samples poison a capacity model (Dynamo issue #12430).
const WARM_UP: Duration = Duration::from_secs(60);

/// Looks that a mean of how busy a GPU was covers at most.
const MOST_COVERED: usize = 24;

/// A GPU that says that it was busy for less than this part of the time in which its engine must have been, is
/// not believed. Arrivals in bunches leave it idle for longer than random ones do, but not for ten times as long.
const LEAST_TOLD: f64 = 0.1;

/// Samples that are further off than this part of what was expected count less (Huber).
const USUAL_ERROR: f64 = 0.15;

/// Never more of a replica's time than this, whatever the latencies allow: the rest is what queueing within
/// it takes (at 95 % the queue of a server with usual variation is twenty requests long).
const MOST_USABLE: f64 = 0.9;
/// Never less, so that a wrong fit cannot make the replica count run away.
const LEAST_USABLE: f64 = 0.05;

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
            let due = fit.sampled_at.is_none_or(|at| now.since(at) >= BETWEEN_SAMPLES);
            if warm && due && fit.sample(worked.map(|(worked, _)| worked), serving) {
                fit.sampled_at = Some(now);
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
            .max_by(|one, two| one.1.weight.total_cmp(&two.1.weight));
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
    let mut bind = |part: f64, bound: UsableBound| {
        if part < usable.0 {
            usable = (part, bound);
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
        usable: usable.0.clamp(LEAST_USABLE, MOST_USABLE),
        confidence,
        bound: usable.1,
    }
}

/// Whether capacity can be learned and used for `objective`.
pub(crate) const fn slo_of(objective: &Objective) -> Option<&Slo> {
    match objective {
        Objective::Slo(slo) => Some(slo),
        Objective::Concurrency(_) | Objective::Utilization(_) => None,
    }
}

impl Fit {
    fn new(prior: CostModel) -> Self {
        Self {
            prior,
            products: [[0.0; FEATURES]; FEATURES],
            targets: [0.0; FEATURES],
            weight: 0.0,
            error: 0.0,
            model: prior,
            fastest: None,
            sampled_at: None,
        }
    }

    /// Takes a mean time between two tokens, of a young pod too: no iteration takes less than its base, so that a base
    /// that is believed to be longer is not true, however little was seen. What was slow for once says nothing.
    fn has_taken(&mut self, itl: f64) {
        if itl > 0.0 {
            let fastest = self
                .fastest
                .map_or(itl, |fastest| itl.min(fastest * FASTEST_FADES));
            self.fastest = Some(fastest);
        }
    }

    fn model(&self) -> CostModel {
        CostModel {
            base: self
                .fastest
                .map_or(self.model.base, |fastest| self.model.base.min(fastest)),
            ..self.model
        }
    }

    /// How sure the fit is: grows with what was seen and shrinks with how badly it explains it.
    fn confidence(&self) -> f64 {
        let seen = self.weight / (self.weight + 5.0 * PRIOR_WEIGHT);
        seen / (1.0 + self.error / USUAL_ERROR)
    }

    /// Takes one pod's window; whether it said anything.
    fn sample(&mut self, worked: Option<f64>, serving: &Serving) -> bool {
        let (Some(prompts), Some(generated), Some(itl)) = (
            serving.prompt_token_rate,
            serving.generation_token_rate,
            serving.itl,
        ) else {
            return false;
        };
        let (prompts, generated, itl) = (prompts.0, generated.0, itl.mean.0);
        if generated <= 0.0 || itl <= 0.0 {
            return false;
        }
        let sequences = generated * itl;
        // The part of the time in which somebody is there, for arrivals that come at random.
        let served = 1.0 - (-sequences).exp();
        // Tokens are not made by a GPU that rests: one that says so tells of something else, as of the part
        // of it that is another's.
        let told = worked.filter(|worked| *worked >= served * LEAST_TOLD);
        let busy = told.unwrap_or(served).clamp(0.0, 1.0);
        // An engine that is idle nearly always says little of what its work costs.
        if busy < 0.1 {
            return false;
        }
        let context = serving.prompt_tokens_mean.map_or(0.0, |mean| mean.0)
            + serving.generation_tokens_mean.map_or(0.0, |mean| mean.0) / 2.0;
        let features = [
            self.prior.base * busy / itl,
            self.prior.prompt * prompts,
            self.prior.sequence * generated,
            self.prior.context * generated * context,
        ];
        let expected: f64 = self
            .factors()
            .iter()
            .zip(features)
            .map(|(factor, feature)| factor * feature)
            .sum();
        let error = (busy - expected).abs() / busy;
        let trust = if error > 3.0 * USUAL_ERROR && self.weight > PRIOR_WEIGHT {
            3.0 * USUAL_ERROR / error
        } else {
            1.0
        };
        let keep = 0.5_f64.powf(1.0 / HALF_LIFE_SAMPLES);
        for (row, feature) in self.products.iter_mut().zip(features) {
            for (product, other) in row.iter_mut().zip(features) {
                *product = *product * keep + trust * feature * other;
            }
        }
        for (target, feature) in self.targets.iter_mut().zip(features) {
            *target = *target * keep + trust * feature * busy;
        }
        self.weight = self.weight * keep + trust;
        self.error += (error.min(1.0) - self.error) / (1.0 + self.weight.min(50.0));
        self.solve();
        true
    }

    fn factors(&self) -> [f64; FEATURES] {
        [
            self.model.base / self.prior.base,
            self.model.prompt / self.prior.prompt,
            self.model.sequence / self.prior.sequence,
            self.model.context / self.prior.context,
        ]
    }

    /// Least squares around the prior's factors of 1; a factor that would leave its bounds is fixed there.
    fn solve(&mut self) {
        // Each feature is drawn to its prior by as much as PRIOR_WEIGHT usual samples would.
        let usual: f64 = (0..FEATURES)
            .map(|place| self.products[place][place])
            .sum::<f64>()
            / (self.weight.max(1e-9) * FEATURES as f64);
        let ridge = PRIOR_WEIGHT * usual.max(1e-9) * RIDGE;
        let mut fixed: [Option<f64>; FEATURES] = [None; FEATURES];
        for _ in 0..=FEATURES {
            let factors = self.solve_free(ridge, &fixed);
            let worst = (0..FEATURES)
                .filter(|place| fixed[*place].is_none())
                .find(|place| !(LEAST_FACTOR..=MOST_FACTOR).contains(&factors[*place]));
            match worst {
                Some(place) => fixed[place] = Some(factors[place].clamp(LEAST_FACTOR, MOST_FACTOR)),
                None => {
                    self.model = CostModel {
                        base: self.prior.base * factors[0],
                        prompt: self.prior.prompt * factors[1],
                        sequence: self.prior.sequence * factors[2],
                        context: self.prior.context * factors[3],
                    };
                    return;
                }
            }
        }
    }

    /// Gaussian elimination over the factors that are not fixed; the matrix is positive definite.
    fn solve_free(&self, ridge: f64, fixed: &[Option<f64>; FEATURES]) -> [f64; FEATURES] {
        let mut matrix = self.products;
        let mut right = self.targets;
        for place in 0..FEATURES {
            matrix[place][place] += ridge;
            right[place] += ridge;
        }
        for (place, value) in fixed.iter().enumerate() {
            if let Some(value) = value {
                for row in 0..FEATURES {
                    right[row] -= matrix[row][place] * value;
                    matrix[row][place] = 0.0;
                    matrix[place][row] = 0.0;
                }
                matrix[place][place] = 1.0;
                right[place] = *value;
            }
        }
        for pivot in 0..FEATURES {
            for row in pivot + 1..FEATURES {
                let part = matrix[row][pivot] / matrix[pivot][pivot];
                let above = matrix[pivot];
                for (below, above) in matrix[row].iter_mut().zip(above).skip(pivot) {
                    *below -= part * above;
                }
                right[row] -= part * right[pivot];
            }
        }
        let mut factors = [0.0; FEATURES];
        for row in (0..FEATURES).rev() {
            let rest: f64 = (row + 1..FEATURES)
                .map(|column| matrix[row][column] * factors[column])
                .sum();
            factors[row] = (right[row] - rest) / matrix[row][row];
        }
        factors
    }
}

/// How strongly factors that the data do not tell apart are kept at their prior's proportions.
const RIDGE: f64 = 1.0;

/// A cost is at least and at most so many times what the data sheet says. Wider bounds would let a fit
/// without information run away; narrower ones would not hold for quantised or badly tuned models.
const LEAST_FACTOR: f64 = 0.02;
const MOST_FACTOR: f64 = 20.0;

#[cfg(test)]
mod tests {
    use rheostat_reading::{Count, PerSecond, Seconds};

    use super::*;
    use crate::observation::{Latency, Milestones, Stage};

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

    /// What an engine with these costs says while it serves `rate` requests a second.
    fn serving(truth: CostModel, rate: f64, lengths: Lengths) -> Serving {
        let used = truth.work(lengths) * rate;
        let mean = Seconds(truth.base / (1.0 - used));
        Serving {
            taken_at: Timestamp::default(),
            window: Duration::from_secs(60),
            waiting: Some(Count(0.0)),
            running: Some(Count(rate * lengths.output * mean.0)),
            kv_cache_usage: None,
            kv_tokens: None,
            max_sequences: None,
            request_rate: Some(PerSecond(rate)),
            prompt_token_rate: Some(PerSecond(rate * lengths.prompt)),
            generation_token_rate: Some(PerSecond(rate * lengths.output)),
            prompt_tokens_mean: Some(Count(lengths.prompt)),
            generation_tokens_mean: Some(Count(lengths.output)),
            preemption_rate: None,
            ttft: None,
            itl: Some(Latency {
                mean,
                p50: mean,
                p90: mean,
                p95: mean,
                p99: mean,
            }),
            tpot: None,
            e2e: None,
        }
    }

    #[test]
    fn the_costs_of_an_engine_are_found_from_what_it_says() {
        let truth = CostModel {
            base: 0.0427,
            prompt: 0.000_23,
            sequence: 0.000_435,
            context: 2e-8,
        };
        let mut capacity = Capacity::default();
        let mut now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        for sample in 0..400_u32 {
            let lengths = Lengths {
                prompt: 300.0 + f64::from(sample * 7919 % 1700),
                output: 80.0 + f64::from(sample * 104_729 % 300),
            };
            let most = 0.75 / truth.work(lengths);
            let rate = most * (0.2 + 0.8 * f64::from(sample * 31 % 17) / 17.0);
            now = now.plus(BETWEEN_SAMPLES);
            let pod = pod(serving(truth, rate, lengths));
            capacity.learn(now, 4.0, None, std::iter::once(&pod));
        }
        let (model, confidence) = capacity.model("NVIDIA A100-SXM4-80GB", 4.0, None);
        let lengths = Lengths {
            prompt: 1000.0,
            output: 200.0,
        };
        let (found, wanted) = (model.work(lengths), truth.work(lengths));
        assert!((found / wanted - 1.0).abs() < 0.1, "{model:?}");
        assert!((model.base / truth.base - 1.0).abs() < 0.1, "{model:?}");
        assert!(confidence > 0.5, "{confidence}");
    }

    #[test]
    fn a_gpu_that_rests_while_its_engine_writes_is_not_believed() {
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
        let learned = |utilization: Option<f64>| {
            let mut capacity = Capacity::default();
            let mut now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
            for _ in 0..200 {
                now = now.plus(STEP);
                let mut pod = pod(serving(truth, 2.0, lengths));
                pod.gpu_utilization = utilization.map(rheostat_reading::Ratio);
                capacity.learn(now, 4.0, None, std::iter::once(&pod));
            }
            capacity.model("NVIDIA A100-SXM4-80GB", 4.0, None)
        };
        let (resting, confidence) = learned(Some(0.0));
        let (silent, _) = learned(None);
        assert!(confidence > 0.0);
        assert!((resting.work(lengths) / silent.work(lengths) - 1.0).abs() < 0.1);
        // One that may be right is.
        assert_ne!(learned(Some(0.5)).0, silent);
    }

    #[test]
    fn what_is_finished_while_requests_wait_is_all_that_a_replica_does() {
        let believed = ReplicaCapacity {
            work: 0.01,
            usable: 0.8,
            confidence: 0.0,
            bound: UsableBound::Itl,
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
