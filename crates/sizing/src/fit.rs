use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cost::CostModel;
use crate::observation::Serving;

/// What the iterations, prompts, sequences and contexts of one kind of hardware cost.
///
/// In a time in which an engine is busy for the part `f`, its iterations account for that part:
/// `f = base·n + prompt·P + sequence·G + context·G·c`, with `n = f / ITL` iterations, `P` prompt and `G`
/// generated tokens per second and a mean context of `c` tokens. The four costs are fitted by least squares
/// with forgetting, and drawn to what the data sheet says while little was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fit {
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

/// Weight of the data sheet, in samples. Less lets the first odd samples in, more makes learning slow.
const PRIOR_WEIGHT: f64 = 8.0;

/// Samples of which the fit forgets half: at one every 15 s for each kind some hours, so that a change of
/// request shapes or an upgrade of the engine is followed within a day.
const HALF_LIFE_SAMPLES: f64 = 2000.0;

/// Time between two samples of one kind: windows overlap, so that more would say nothing new.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(15);

/// A GPU that says that it was busy for less than this part of the time in which its engine must have been, is
/// not believed. Arrivals in bunches leave it idle for longer than random ones do, but not for ten times as long.
const LEAST_TOLD: f64 = 0.1;

/// Samples that are further off than this part of what was expected count less (Huber).
const USUAL_ERROR: f64 = 0.15;

/// How strongly factors that the data do not tell apart are kept at their prior's proportions.
const RIDGE: f64 = 1.0;

/// A cost is at least and at most so many times what the data sheet says. Wider bounds would let a fit
/// without information run away; narrower ones would not hold for quantised or badly tuned models.
const LEAST_FACTOR: f64 = 0.02;
const MOST_FACTOR: f64 = 20.0;

impl Fit {
    pub(crate) fn new(prior: CostModel) -> Self {
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
    pub(crate) fn has_taken(&mut self, itl: f64) {
        if itl > 0.0 {
            let fastest = self
                .fastest
                .map_or(itl, |fastest| itl.min(fastest * FASTEST_FADES));
            self.fastest = Some(fastest);
        }
    }

    pub(crate) fn model(&self) -> CostModel {
        CostModel {
            base: self
                .fastest
                .map_or(self.model.base, |fastest| self.model.base.min(fastest)),
            ..self.model
        }
    }

    /// How sure the fit is: grows with what was seen and shrinks with how badly it explains it.
    pub(crate) fn confidence(&self) -> f64 {
        let seen = self.weight / (self.weight + 5.0 * PRIOR_WEIGHT);
        seen / (1.0 + self.error / USUAL_ERROR)
    }

    /// Decayed number of samples.
    pub(crate) const fn weight(&self) -> f64 {
        self.weight
    }

    /// Takes one pod's window, for `worked` of which its GPUs were busy, unless another was taken just before.
    pub(crate) fn sample(&mut self, now: Timestamp, worked: Option<f64>, serving: &Serving) {
        if self.sampled_at.is_some_and(|at| now.since(at) < BETWEEN_SAMPLES) {
            return;
        }
        let (Some(prompts), Some(generated), Some(itl)) = (
            serving.prompt_token_rate,
            serving.generation_token_rate,
            serving.itl,
        ) else {
            return;
        };
        let (prompts, generated, itl) = (prompts.0, generated.0, itl.mean.0);
        if generated <= 0.0 || itl <= 0.0 {
            return;
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
            return;
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
        self.sampled_at = Some(now);
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

#[cfg(test)]
pub(crate) mod tests {
    use rheostat_reading::{Count, PerSecond, Seconds};

    use super::*;
    use crate::cost::Lengths;
    use crate::observation::Latency;

    /// What an engine with these costs says while it serves `rate` requests a second.
    pub(crate) fn serving(truth: CostModel, rate: f64, lengths: Lengths) -> Serving {
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
        let mut fit = Fit::new(CostModel::expected("NVIDIA A100-SXM4-80GB", 4.0, None));
        let mut now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        for sample in 0..400_u32 {
            let lengths = Lengths {
                prompt: 300.0 + f64::from(sample * 7919 % 1700),
                output: 80.0 + f64::from(sample * 104_729 % 300),
            };
            let most = 0.75 / truth.work(lengths);
            let rate = most * (0.2 + 0.8 * f64::from(sample * 31 % 17) / 17.0);
            now = now.plus(BETWEEN_SAMPLES);
            let serving = serving(truth, rate, lengths);
            fit.has_taken(serving.itl.unwrap().mean.0);
            fit.sample(now, None, &serving);
        }
        let (model, confidence) = (fit.model(), fit.confidence());
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
        let learned = |worked: Option<f64>| {
            let mut fit = Fit::new(CostModel::expected("NVIDIA A100-SXM4-80GB", 4.0, None));
            let mut now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
            for _ in 0..70 {
                now = now.plus(BETWEEN_SAMPLES);
                fit.sample(now, worked, &serving(truth, 2.0, lengths));
            }
            fit
        };
        let resting = learned(Some(0.0));
        assert!(resting.confidence() > 0.0);
        assert_eq!(resting.model(), learned(None).model());
        // One that may be right is.
        assert_ne!(learned(Some(0.5)).model(), learned(None).model());
    }
}
