use std::time::Duration;

use rheostat_simulator::EngineModel;
use rheostat_sizing::{Observation, Serving};

use super::{DEFAULT_ITL, DEFAULT_TTFT};
use crate::capacity::{iteration_time, prefill_time};
use crate::context::Context;

/// The reactive loop (`core/load_scaling.py`), at most one replica up or down at a time.
#[derive(Debug)]
pub(super) struct LoadLoop {
    target: Target,
    engine: EngineModel,
    ttft: Duration,
    itl: Duration,
}

/// `optimization_target`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Fixed thresholds, `_DECODE_THROUGHPUT_SCALE_UP` 1.0 and `…_DOWN` 0.6.
    Throughput,
    /// Fixed thresholds, `_DECODE_LATENCY_SCALE_UP` 0.4 and `…_DOWN` 0.1.
    Latency,
    /// Estimated latencies against the SLA.
    Sla {
        /// `load_scaling_down_sensitivity`: the part of the SLA that the rest must keep.
        sensitivity: f64,
    },
}

/// One engine, as its forward-pass metrics show it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Engine {
    running: f64,
    /// Tokens in the KV cache.
    kv: f64,
    /// Tokens that fit.
    kv_capacity: f64,
    /// Tokens of prompts that wait. The original counts them; here it is requests times their mean prompt.
    queued: f64,
    /// Mean prompt, and the mean context of a sequence.
    prompt: f64,
    context: f64,
    /// Prompt tokens that an iteration has on average.
    prompts: f64,
}

impl LoadLoop {
    pub(super) fn new(target: Target, context: &Context) -> Self {
        Self {
            target,
            engine: context.engine.clone(),
            ttft: context.slo.ttft.unwrap_or(DEFAULT_TTFT),
            itl: context.slo.itl.unwrap_or(DEFAULT_ITL),
        }
    }

    /// How many replicas there are to be; `None` where nothing can be said, above all while a change is under
    /// way (`scaling_in_progress`) or not every engine reports (`worker_count_mismatch`).
    pub(super) fn replicas(&self, observation: &Observation) -> Option<u32> {
        let ready = observation.ready_count();
        if ready == 0 || ready != observation.replicas {
            return None;
        }
        let engines: Vec<Engine> = observation
            .ready()
            .filter_map(|pod| Engine::of(pod.serving.as_ref()?, &self.engine))
            .collect();
        if engines.len() != ready as usize {
            return None;
        }
        let (up, down) = match self.target {
            Target::Throughput => by_usage(&engines, 1.0, 0.6),
            Target::Latency => by_usage(&engines, 0.4, 0.1),
            Target::Sla { sensitivity } => self.by_latency(&engines, sensitivity),
        };
        Some(if up {
            ready + 1
        } else if down && ready > 1 {
            ready - 1
        } else {
            ready
        })
    }

    /// `_agg_prefill_scaling` and `_agg_decode_scaling`: up where every engine breaks one latency, down where
    /// none would break either with N/(N-1) of its load.
    fn by_latency(&self, engines: &[Engine], sensitivity: f64) -> (bool, bool) {
        let (ttft, itl) = (self.ttft.as_secs_f64(), self.itl.as_secs_f64());
        let up = engines
            .iter()
            .all(|engine| self.ttft(engine, engine.queued) > ttft)
            || engines.iter().all(|engine| self.itl(engine) > itl);
        let count = engines.len() as f64;
        let factor = count / (count - 1.0).max(1.0);
        let down = engines.iter().all(|engine| {
            let more = engine.with(factor);
            let own = self.ttft(&more, 0.0);
            let budget = (ttft - own) * sensitivity;
            let combined = Engine {
                kv: more.kv + more.queued,
                ..more
            };
            budget > 0.0
                && self.ttft(&more, more.queued) - own < budget
                && combined.kv < engine.kv_capacity
                && self.itl(&combined) < itl * sensitivity
        });
        (up, down)
    }

    /// `estimate_next_ttft`: what waits, and a prompt of its own.
    fn ttft(&self, engine: &Engine, queued: f64) -> f64 {
        prefill_time(&self.engine, queued + engine.prompt, engine.running, engine.kv)
    }

    /// `estimate_next_itl`: with one more sequence.
    fn itl(&self, engine: &Engine) -> f64 {
        iteration_time(
            &self.engine,
            engine.prompts,
            engine.running + 1.0,
            engine.kv + engine.context,
        )
    }
}

impl Engine {
    fn of(serving: &Serving, engine: &EngineModel) -> Option<Self> {
        let kv_capacity = serving.kv_tokens?.0;
        let running = serving.running?.0;
        let prompt = serving.prompt_tokens_mean.map_or(0.0, |count| count.0);
        let output = serving.generation_tokens_mean.map_or(0.0, |count| count.0);
        Some(Self {
            running,
            kv: serving.kv_cache_usage?.0 * kv_capacity,
            kv_capacity,
            queued: serving.waiting?.0 * prompt,
            prompt,
            context: prompt + output / 2.0,
            prompts: (running * prompt / output.max(1.0)).min(f64::from(engine.max_batched_tokens)),
        })
    }

    /// With `factor` times its load.
    fn with(self, factor: f64) -> Self {
        Self {
            running: self.running * factor,
            kv: self.kv * factor,
            queued: self.queued * factor,
            ..self
        }
    }
}

/// `_agg_easy_decision`: up where any KV cache with what waits for it is above a threshold, down where all are
/// below another.
fn by_usage(engines: &[Engine], up: f64, down: f64) -> (bool, bool) {
    let usage = |engine: &Engine| (engine.kv + engine.queued) / engine.kv_capacity;
    (
        engines.iter().any(|engine| usage(engine) > up),
        engines.iter().all(|engine| usage(engine) < down),
    )
}
