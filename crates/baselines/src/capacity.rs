use std::time::Duration;

use rheostat_reading::{PerSecond, Seconds};
use rheostat_simulator::EngineModel;

use crate::context::Context;
use crate::foresight::{Bin, Foresight};

/// A steady state of one replica, for requests of one shape: what a load test or a profile tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operation {
    /// Requests that it finishes per second.
    pub(crate) rate: PerSecond,
    /// Time between two tokens.
    pub(crate) itl: Seconds,
    /// Time to the first token, without a queue.
    pub(crate) ttft: Seconds,
}

/// How long an iteration takes.
pub(crate) fn iteration_time(engine: &EngineModel, prompt: f64, sequences: f64, kv: f64) -> f64 {
    engine.base.0
        + engine.per_prefill_token.0 * prompt
        + engine.per_decode_sequence.0 * sequences
        + engine.per_kv_token.0 * kv
}

/// How long it takes to read `prompt` tokens, in chunks, beside sequences that are decoding.
pub(crate) fn prefill_time(engine: &EngineModel, prompt: f64, sequences: f64, kv: f64) -> f64 {
    let chunk = f64::from(engine.max_batched_tokens);
    let chunks = (prompt / chunk).ceil();
    // The time is linear in the tokens, so only the number of iterations depends on the chunks.
    chunks * iteration_time(engine, 0.0, sequences, kv) + engine.per_prefill_token.0 * prompt
}

/// The steady state with `batch` requests: each iteration gives every one a token and reads as many prompts
/// as requests finish (Little's law). Prompts that do not fit one iteration stretch it over several.
pub(crate) fn operation(engine: &EngineModel, batch: u32, prompt: f64, output: f64) -> Operation {
    let sequences = f64::from(batch);
    let output = output.max(1.0);
    let prompts = sequences * prompt / output;
    let kv = sequences * (prompt + output / 2.0);
    let room = (f64::from(engine.max_batched_tokens) - sequences).max(1.0);
    let stretch = (prompts / room).max(1.0);
    let itl = iteration_time(engine, prompts / stretch, sequences, kv) * stretch;
    Operation {
        rate: PerSecond(sequences / (output * itl)),
        itl: Seconds(itl),
        ttft: Seconds(prefill_time(engine, prompts + prompt, sequences, kv)),
    }
}

/// The largest batch that slots and KV cache hold, at least 1.
pub(crate) fn largest_batch(engine: &EngineModel, prompt: f64, output: f64) -> u32 {
    let held = (prompt + output / 2.0).max(1.0);
    let by_cache = (f64::from(engine.kv_tokens) / held).floor() as u32;
    by_cache.min(engine.max_sequences).max(1)
}

/// The fastest steady state that keeps both latencies; one request at a time where not even that does.
pub(crate) fn best_operation(
    engine: &EngineModel,
    prompt: f64,
    output: f64,
    ttft: Option<Duration>,
    itl: Option<Duration>,
) -> Operation {
    let keeps = |operation: Operation| {
        ttft.is_none_or(|limit| operation.ttft.0 <= limit.as_secs_f64())
            && itl.is_none_or(|limit| operation.itl.0 <= limit.as_secs_f64())
    };
    // Latencies grow with the batch, so the largest that keeps them is found by halving.
    let (mut low, mut high) = (1, largest_batch(engine, prompt, output));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if keeps(operation(engine, middle, prompt, output)) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    operation(engine, low, prompt, output)
}

/// How many replicas are busy, as a real number, while `arrivals` come in `seconds`.
pub(crate) fn replicas_busy(arrivals: Bin, seconds: f64, context: &Context) -> f64 {
    if arrivals.requests <= 0.0 || seconds <= 0.0 {
        return 0.0;
    }
    let operation = best_operation(
        &context.engine,
        arrivals.prompt_tokens / arrivals.requests,
        arrivals.output_tokens / arrivals.requests,
        context.slo.ttft,
        context.slo.itl,
    );
    arrivals.requests / seconds / operation.rate.0
}

/// How many replicas are busy in each bin of `width` of a trace.
pub(crate) fn needs(foresight: &Foresight, width: Duration, context: &Context) -> Vec<f64> {
    let bins_each = (width.as_nanos() / foresight.width().as_nanos()).max(1) as usize;
    let seconds = foresight.width().as_secs_f64() * bins_each as f64;
    foresight
        .bins()
        .chunks(bins_each)
        .map(|bins| {
            let mut sum = Bin::default();
            bins.iter().for_each(|bin| sum.add(*bin));
            replicas_busy(sum, seconds, context)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> EngineModel {
        EngineModel {
            base: Seconds(0.01),
            per_prefill_token: Seconds(0.000_1),
            per_decode_sequence: Seconds(0.000_1),
            per_kv_token: Seconds(0.0),
            max_sequences: 100,
            max_batched_tokens: 2048,
            kv_tokens: 1_000_000,
            ..EngineModel::named("llama-3.1-8b-h100").unwrap()
        }
    }

    #[test]
    fn a_steady_state_follows_from_littles_law() {
        // Ten sequences of 100 prompt and 100 output tokens: ten prompt tokens an iteration.
        let found = operation(&engine(), 10, 100.0, 100.0);
        assert!((found.itl.0 - (0.01 + 0.001 + 0.001)).abs() < 1e-12);
        assert!((found.rate.0 - 10.0 / (100.0 * 0.012)).abs() < 1e-9);
        assert!((found.ttft.0 - (0.01 + 0.001 + 0.011)).abs() < 1e-12);
    }

    #[test]
    fn the_best_steady_state_is_the_largest_batch_within_the_slo() {
        let engine = engine();
        let limit = Duration::from_millis(20);
        let best = best_operation(&engine, 100.0, 100.0, None, Some(limit));
        // 10 ms + 0.2 ms a sequence: fifty of them take exactly 20 ms, or one less where that is rounded up.
        let (at_50, at_49) = (
            operation(&engine, 50, 100.0, 100.0),
            operation(&engine, 49, 100.0, 100.0),
        );
        assert!(best == at_50 || best == at_49, "{best:?}");
        let hopeless = best_operation(&engine, 100.0, 100.0, None, Some(Duration::from_millis(1)));
        assert_eq!(hopeless, operation(&engine, 1, 100.0, 100.0));
        assert_eq!(
            largest_batch(&engine, 15_000.0, 10_000.0),
            50,
            "the KV cache holds 50 of 20,000 tokens"
        );
    }

    #[test]
    fn the_simulators_engine_agrees_on_what_fits_a_latency() {
        // `EngineModel::usable`: the part of the time that may be work at this ITL; work over time is the rate.
        let engine = engine();
        let best = best_operation(&engine, 100.0, 100.0, None, Some(Duration::from_millis(20)));
        let by_work = engine.usable(Duration::from_millis(20)).0 / engine.work(100.0, 100.0).0;
        assert!(
            (best.rate.0 / by_work - 1.0).abs() < 0.03,
            "{} {by_work}",
            best.rate.0
        );
    }
}
