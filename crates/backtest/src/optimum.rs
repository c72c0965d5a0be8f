use rheostat_optimum::{Bill, Job, bound};
use rheostat_trace::Request;
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
    let requests = trace.scored_requests().map(|request| Request {
        at: request.at.saturating_sub(trace.scored_from),
        ..*request
    });
    let jobs = Job::of(requests, &conditions.engine, &conditions.slo, Some(end));
    let bill = Bill {
        cold_start: conditions.cold_start,
        warm: if trace.scored_from.is_zero() {
            warm
        } else {
            conditions.max_replicas
        },
    };
    let bound = bound(&jobs, bill, conditions.slo.attainment.0);
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
