use std::time::Duration;

use rheostat_simulator::EngineModel;
use rheostat_sizing::Observation;

use super::predictor::{Kind, Predictor};
use crate::bounds::round_up;
use crate::capacity::{iteration_time, largest_batch, prefill_time};
use crate::traffic::Traffic;

/// The predictive loop (`core/throughput_scaling.py`): what the next interval brings over what a replica does.
#[derive(Debug)]
pub(super) struct ThroughputLoop {
    engine: EngineModel,
    ttft: Duration,
    itl: Duration,
    interval: Duration,
    traffic: Traffic,
    /// What was counted in this interval: requests that ended, and the tokens of their prompts and answers.
    requests: f64,
    prompt_tokens: f64,
    output_tokens: f64,
    seconds: f64,
    next_requests: Predictor,
    next_prompt: Predictor,
    next_output: Predictor,
}

impl ThroughputLoop {
    pub(super) fn new(
        engine: EngineModel,
        ttft: Duration,
        itl: Duration,
        interval: Duration,
        kind: Kind,
    ) -> Self {
        Self {
            engine,
            ttft,
            itl,
            interval,
            traffic: Traffic::default(),
            requests: 0.0,
            prompt_tokens: 0.0,
            output_tokens: 0.0,
            seconds: 0.0,
            next_requests: Predictor::new(kind),
            next_prompt: Predictor::new(kind),
            next_output: Predictor::new(kind),
        }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Counts requests as its frontend does: when they end.
    pub(super) fn count(&mut self, observation: &Observation) {
        let flow = self.traffic.observe(observation);
        let (prompt, output) = flow.shape.unwrap_or_default();
        self.seconds += flow.seconds;
        self.requests += flow.finished;
        self.prompt_tokens += flow.finished * prompt;
        self.output_tokens += flow.finished * output;
    }

    /// How many replicas the next interval needs; `None` where that cannot be said, which leaves them as they
    /// are: without any traffic lengths are 0 and it never scales down (issue 6985).
    pub(super) fn replicas(&mut self) -> Option<u32> {
        let (requests, seconds) = (self.requests, self.seconds);
        // Lengths of no requests are not a number, which its predictors take for 0.
        let mean = |tokens: f64| if requests > 0.0 { tokens / requests } else { 0.0 };
        self.next_prompt.add(mean(self.prompt_tokens));
        self.next_output.add(mean(self.output_tokens));
        // Counts are whole; rates over a window leave crumbs behind.
        self.next_requests.add(requests.round());
        (
            self.requests,
            self.prompt_tokens,
            self.output_tokens,
            self.seconds,
        ) = (0.0, 0.0, 0.0, 0.0);
        let (prompt, output) = (self.next_prompt.next(), self.next_output.next());
        let demand = self.next_requests.next() / seconds;
        if seconds <= 0.0 || prompt <= 0.0 || output <= 0.0 {
            return None;
        }
        Some(round_up(demand / self.replica_rate(prompt, output)))
    }

    /// `find_best_engine_agg_rps`: the largest batch that keeps both latencies, by Little's law. Its check that
    /// prefill keeps up with decode forgets the batch on one side (`isl / (budget - x) <= osl`, where
    /// `x * isl / (budget - x) <= osl` is meant), so it hardly ever binds.
    fn replica_rate(&self, prompt: f64, output: f64) -> f64 {
        let budget = f64::from(self.engine.max_batched_tokens);
        let mut rate = 0.0;
        for batch in 1..=largest_batch(&self.engine, prompt, output) {
            let sequences = f64::from(batch);
            if batch > 1 && (sequences >= budget || prompt / (budget - sequences) > output) {
                break;
            }
            let kv = sequences * (prompt + output / 2.0);
            let prompts = (sequences * prompt / output.max(1.0)).min(budget);
            let itl = iteration_time(&self.engine, prompts, sequences, kv);
            let ttft = prefill_time(&self.engine, prompts + prompt, sequences, kv);
            let keeps = itl <= self.itl.as_secs_f64() && ttft <= self.ttft.as_secs_f64();
            if batch > 1 && !keeps {
                break;
            }
            rate = sequences / (output * itl);
            if !keeps {
                break;
            }
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::operation;
    use rheostat_reading::Seconds;

    /// perf_model/agg.py: prompts of 4,000 tokens and answers of 100 in a budget of 2,048 are in balance up to
    /// 100 * 2048 / 4100 = 49 requests, and 4000 / (2048 - x) <= 100 allows 2,008.
    #[test]
    fn its_balance_of_prefill_and_decode_does_not_bind() {
        let engine = EngineModel {
            base: Seconds(0.01),
            per_prefill_token: Seconds(0.000_01),
            per_decode_sequence: Seconds(0.0),
            per_kv_token: Seconds(0.0),
            max_sequences: 256,
            max_batched_tokens: 2048,
            kv_tokens: 10_000_000,
            ..EngineModel::named("llama-3.1-8b-h100").unwrap()
        };
        let long = Duration::from_secs(1000);
        let planner = ThroughputLoop::new(engine.clone(), long, long, long, Kind::Constant);
        let claimed = planner.replica_rate(4000.0, 100.0);
        let balanced = operation(&engine, 49, 4000.0, 100.0).rate.0;
        assert!(claimed > 5.0 * balanced, "{claimed} {balanced}");
    }
}
