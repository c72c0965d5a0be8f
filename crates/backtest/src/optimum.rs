use std::time::Duration;

use rheostat_optimum::{Bill, Job, Request, bound};
use serde::{Deserialize, Serialize};

use crate::case::Conditions;
use crate::trace_part::TracePart;

/// The least that any policy must spend to keep the SLO, however well it foresees the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimum {
    /// No policy spends less.
    pub gpu_hours: f64,
    /// Which bound it is: the greatest of those that hold for this SLO.
    pub bound: String,
}

/// The optimum over what is scored, where `warm` replicas serve at the beginning of the trace.
///
/// Everything that could make the bound too high is left out: what may be done after the end, and, where a
/// part of the trace is not scored, the starts of replicas that may be there already.
pub(crate) fn optimum(trace: &TracePart, conditions: &Conditions, warm: u32) -> Optimum {
    let end = trace.scored();
    let mut jobs = Vec::new();
    let mut all = 0_u64;
    for request in trace.scored_requests() {
        all += 1;
        let arrived = request.at.saturating_sub(trace.scored_from);
        let request = needed(request, arrived, end, conditions);
        if arrived + request.first_token + request.answer_longest <= end {
            jobs.push(Job::new(&request));
        }
    }
    // Those at the end may be among the late ones, or not: as many may be late of the others as of all.
    let late = all as f64 * (1.0 - conditions.slo.attainment.0);
    let attainment = 1.0 - late / (jobs.len() as f64).max(1.0);
    let bill = Bill {
        cold_start: conditions.cold_start,
        warm: if trace.scored_from.is_zero() {
            warm
        } else {
            conditions.max_replicas
        },
    };
    let bound = bound(&jobs, bill, attainment);
    let floor = f64::from(conditions.min_replicas) * end.as_secs_f64();
    let (replica_seconds, by) = if floor > bound.replica_seconds.0 {
        (floor, "the floor".to_owned())
    } else {
        (bound.replica_seconds.0, bound.by.to_string())
    };
    Optimum {
        gpu_hours: replica_seconds / 3600.0 * f64::from(conditions.engine.gpus),
        bound: by,
    }
}

/// What one request asks for and is promised.
///
/// What it takes of a replica is its work over the part of a replica's time that may be work if the ITL is to
/// be kept. Prompts are an exception: where nothing decodes, they only take their part of the iterations
/// that they fill, so that the lesser of the two is taken.
fn needed(
    request: &rheostat_trace::Request,
    at: Duration,
    end: Duration,
    conditions: &Conditions,
) -> Request {
    let (engine, slo) = (&conditions.engine, &conditions.slo);
    let usable = slo.itl.map_or(1.0, |itl| engine.usable(itl).0);
    let (prompt, output) = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
    let prompt_work = engine.per_prefill_token.0 * prompt;
    let answer_work = (engine.work(prompt, output).0 - prompt_work).max(0.0);
    let alone = engine.base.0 / f64::from(engine.max_batched_tokens.max(1)) * prompt;
    let gaps = request.output_tokens.saturating_sub(1);
    let shortest = engine.base.0 * f64::from(gaps) + answer_work;
    // Where nothing is promised, it may take until the end.
    let whole = slo.e2e.unwrap_or(end);
    Request {
        at,
        prompt_work: seconds(f64::min(prompt_work / usable, prompt_work + alone)),
        answer_work: seconds(answer_work / usable),
        first_token: slo.ttft.unwrap_or(whole).min(whole),
        answer_shortest: seconds(shortest),
        answer_longest: slo.itl.map_or(whole, |itl| (itl * gaps).min(whole)),
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
