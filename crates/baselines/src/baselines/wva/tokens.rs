//! V2: tokens in use against what a replica takes (`internal/engines/analyzers/saturation_v2`).

use std::collections::VecDeque;

use rheostat_sizing::Observation;

use super::{Analyzer, ReplicaLoad, common_parameters, control};
use crate::baseline::{Baseline, Knowledge};
use crate::context::Context;
use crate::parameter::Parameter;
use crate::query::mean;

/// `RollingAverageWindowSize`.
const REMEMBERED: usize = 10;
/// `ShortOutputThreshold` and `MediumOutputThreshold`: answers are short, medium or long.
const BUCKETS: [f64; 2] = [100.0, 500.0];

pub(crate) fn baseline(context: &Context) -> Baseline {
    let mut parameters = common_parameters(context);
    parameters.push(Parameter::number(
        "scale_up_threshold",
        "scaleUpThreshold: utilisation above which there are too few",
        0.85,
        (0.01, 1.0),
        &[0.3, 0.5, 0.7, 0.85],
    ));
    parameters.push(Parameter::number(
        "scale_down_part",
        "scaleDownBoundary, 0.7, as a part of scaleUpThreshold, which it must be below",
        0.7 / 0.85,
        (0.01, 0.99),
        &[0.5, 0.7, 0.9],
    ));
    Baseline {
        name: "llm-d-wva-v2",
        source: "llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19), \
                 internal/engines/analyzers/saturation_v2, internal/engines/pipeline/cost_aware_optimizer.go",
        description: "Tokens in use and queued over what a replica takes, learned when its queue fills; an HPA \
                      with windows of 240 s carries it out.",
        knowledge: Knowledge::Past,
        parameters,
        builder: |chosen, context| {
            let up = chosen.number("scale_up_threshold")?;
            control(
                chosen,
                Tokens {
                    kv_cache: chosen.number("kv_cache_threshold")?,
                    queue: chosen.number("queue_length_threshold")?,
                    up,
                    down: up * chosen.number("scale_down_part")?,
                    batched_tokens: f64::from(context.engine.max_batched_tokens),
                    sequences: f64::from(context.engine.max_sequences),
                    observed: Default::default(),
                },
            )
        },
    }
}

#[derive(Debug)]
struct Tokens {
    kv_cache: f64,
    queue: f64,
    up: f64,
    down: f64,
    /// `--max-num-batched-tokens` and `--max-num-seqs`, as it reads them from the Deployment.
    batched_tokens: f64,
    sequences: f64,
    /// Tokens that were in use when the queue was full, by length of the answers.
    observed: [VecDeque<f64>; BUCKETS.len() + 1],
}

impl Analyzer for Tokens {
    /// `Analyze` and `CostAwareOptimizer`, with one variant.
    fn target(&mut self, seen: &[ReplicaLoad], _: Option<u32>, observation: &Observation) -> u32 {
        let current = observation.replicas;
        let mut demand = 0.0;
        let mut capacities = Vec::new();
        for load in seen.iter().filter(|load| load.kv_tokens > 0.0) {
            demand += load.kv_cache * load.kv_tokens + load.waiting * load.prompt_tokens;
            capacities.push(self.capacity(load));
        }
        let Some(capacity) = median(&mut capacities).filter(|capacity| *capacity > 0.0) else {
            return current;
        };
        // `estimateSchedulerQueueDemand`: what waits in front, with the answers it will get.
        if let Some(queued) = observation.queued_outside.count() {
            let tokens = |of: fn(&ReplicaLoad) -> f64| mean(seen.iter().map(of)).unwrap_or(0.0);
            demand += queued.0 * (tokens(|load| load.prompt_tokens) + tokens(|load| load.output_tokens));
        }
        let ready = f64::from(observation.ready_count().min(current));
        let required = demand / self.up - f64::from(current) * capacity;
        let spare = ready * capacity - demand / self.down;
        if required > 0.0 {
            return current.saturating_add((required / capacity).ceil() as u32);
        }
        let removable = (spare.max(0.0) / capacity).floor() as u32;
        current.saturating_sub(removable).max(current.min(1))
    }
}

impl Tokens {
    /// `computeReplicaCapacity`: what fits the KV cache, or what was in use when the queue filled.
    fn capacity(&mut self, load: &ReplicaLoad) -> f64 {
        let by_cache = (load.kv_tokens * self.kv_cache).floor();
        by_cache.min(self.by_compute(load).unwrap_or(by_cache))
    }

    /// `computeK2`: observed now, else remembered, else derived from the engine's arguments.
    fn by_compute(&mut self, load: &ReplicaLoad) -> Option<f64> {
        let in_use = (load.kv_cache * load.kv_tokens).floor();
        let bucket = BUCKETS
            .iter()
            .filter(|bound| load.output_tokens >= **bound)
            .count();
        let remembered = &mut self.observed[bucket];
        if load.waiting >= self.queue.floor() && in_use > 0.0 {
            remembered.push_back(in_use);
            if remembered.len() > REMEMBERED {
                remembered.pop_front();
            }
            return Some(in_use);
        }
        let average = mean(remembered.iter().copied()).filter(|average| *average > 0.0);
        average.or_else(|| {
            let (prompt, output) = (load.prompt_tokens, load.output_tokens);
            if output <= 0.0 {
                return None;
            }
            let steady = (self.batched_tokens * output / (prompt + output)).min(self.sequences);
            let derived = (steady * (prompt + output / 2.0)).floor();
            (derived > 0.0).then_some(derived)
        })
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(((values[middle - 1] + values[middle]) / 2.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rheostat_reading::{Count, Timestamp};
    use rheostat_sizing::Schedule;

    fn tokens() -> Tokens {
        Tokens {
            kv_cache: 0.8,
            queue: 5.0,
            up: 0.85,
            down: 0.7,
            batched_tokens: 2048.0,
            sequences: 256.0,
            observed: Default::default(),
        }
    }

    fn load(kv_cache: f64, waiting: f64) -> ReplicaLoad {
        ReplicaLoad {
            kv_cache,
            waiting,
            kv_tokens: 100_000.0,
            prompt_tokens: 600.0,
            output_tokens: 200.0,
        }
    }

    fn observation(replicas: u32, outside: Option<f64>) -> Observation {
        Observation {
            now: Timestamp::from_unix_nanos(0),
            replicas,
            pods: Vec::new(),
            queued_outside: outside.map(Count).into(),
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        }
    }

    /// analyzer.go, estimateCapacityFromParams: N = min(B O / (I + O), S), capacity N (I + O/2).
    #[test]
    fn capacity_is_derived_then_observed_then_remembered() {
        let mut tokens = tokens();
        let derived = (256.0_f64.min(2048.0 * 200.0 / 800.0)) * 700.0;
        assert!((tokens.by_compute(&load(0.3, 0.0)).unwrap() - derived).abs() < 1e-9);
        assert!(
            (tokens.capacity(&load(0.3, 0.0)) - 80_000.0).abs() < 1e-9,
            "the KV cache binds"
        );
        assert!(
            (tokens.capacity(&load(0.5, 5.0)) - 50_000.0).abs() < 1e-9,
            "in use when the queue was full"
        );
        assert!(
            (tokens.capacity(&load(0.2, 0.0)) - 50_000.0).abs() < 1e-9,
            "remembered"
        );
    }

    /// cost_aware_optimizer.go: as many as the missing capacity takes, at once.
    #[test]
    fn what_is_missing_is_asked_for_at_once() {
        let mut analyzer = tokens();
        // 79,000 in use and ten waiting prompts in each of two: 170,000 / 0.85 is 200,000, and one that was full
        // takes 79,000: 42,000 are missing.
        let target = analyzer.target(&[load(0.79, 10.0); 2], None, &observation(2, None));
        assert_eq!(target, 3);
        // A queue of 500 in front adds 500 * 800 tokens.
        let target = analyzer.target(&[load(0.79, 10.0); 2], None, &observation(2, Some(500.0)));
        assert_eq!(target, 9);
        assert_eq!(
            analyzer.target(&[], None, &observation(4, None)),
            4,
            "nothing is known"
        );
    }
}
