use std::time::Duration;

use rheostat_reading::{Count, Ratio, Seconds};
use rheostat_sizing::{Decision, Latency};
use serde::{Deserialize, Serialize};

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it ended, since the beginning of the trace.
    pub ended: Duration,
    /// Time of replicas that is paid for, from [`crate::Scenario::scored_from`] on: from when a replica is
    /// asked for (with a node pool: from when it has a node) until it has gone, with the requests that it
    /// still served while it was on its way out.
    pub replica_seconds: Seconds,
    /// The same times the GPUs of a replica, in hours.
    pub gpu_hours: f64,
    /// The part of it in which replicas were not ready yet, or never became ready.
    pub replica_seconds_wasted_starting: Seconds,
    /// GPU-hours of the pool's nodes, empty or not; `None` without a pool.
    pub node_gpu_hours: Option<f64>,
    /// Requests that count: that arrived from [`crate::Scenario::scored_from`] on, without those of
    /// [`Self::undecided`].
    pub requests: u64,
    /// Those that kept the SLO. A request that waits for its first token at the end has not.
    pub kept: u64,
    /// The part that kept it; 1 where no request counts.
    pub attainment: Ratio,
    /// Requests that were in the midst of their answer at the end and had kept the SLO so far: nobody knows
    /// whether they would have, so they do not count. Those that had broken it already do.
    pub undecided: u64,
    /// Requests that can never fit the KV cache; they count, as not kept.
    pub refused: u64,
    /// Requests that waited for their first token at the end, before or in a replica; they count, as not
    /// kept.
    pub waiting: u64,
    /// Of all that counts and got its first token, over requests; `None` where there is none.
    pub ttft: Option<Latency>,
    /// Mean time between tokens, over requests that count, have finished and had more than one token.
    pub itl: Option<Latency>,
    /// Time of whole requests, over those that count and have finished.
    pub e2e: Option<Latency>,
    /// Sequences thrown out of the batch for want of KV cache, over the whole run; 0 in fluid mode, which
    /// does not know them.
    pub preemptions: u64,
    /// Requests that lost their replica and began anew.
    pub lost: u64,
    /// Changes of the number of replicas asked for, from `scored_from` on.
    pub scaling_events: u64,
    /// What it was like over time: at most [`Self::MOST_SAMPLES`], further apart the longer it is.
    pub timeline: Vec<Sample>,
    /// Changes of the number of replicas asked for, the first [`Self::MOST_CHANGES`] of them.
    pub changes: Vec<Change>,
}

/// What it was like for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Since when, since the beginning of the trace.
    pub at: Duration,
    /// How long.
    pub lasting: Duration,
    /// Requests that came in it.
    pub arrivals: u64,
    /// Requests in flight at most, waiting ones too.
    pub in_flight: u64,
    /// Requests that waited at most, before a replica or in it.
    pub waiting: u64,
    /// Replicas asked for, on average.
    pub asked: Count,
    /// Replicas that served, on average.
    pub ready: Count,
    /// Replicas on their way, on average.
    pub starting: Count,
}

/// A change of the number of replicas asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When, since the beginning of the trace.
    pub at: Duration,
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
    /// Who, and why.
    pub why: String,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// When it arrived, since the beginning of the trace.
    pub arrived: Duration,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of its answer.
    pub output_tokens: u32,
    /// Time to its first token.
    pub ttft: Seconds,
    /// Mean time between its tokens; `None` where it had only one.
    pub itl: Option<Seconds>,
    /// Time of the whole request.
    pub e2e: Seconds,
    /// Whether it kept the SLO.
    pub kept: bool,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The newest sample.
    pub sample: Sample,
    /// Requests that have come so far.
    pub arrived: u64,
    /// Those that count so far.
    pub requests: u64,
    /// Those of them that kept the SLO.
    pub kept: u64,
    /// What was paid so far.
    pub gpu_hours: f64,
}

/// Watches a run. Nothing it does changes the run.
pub trait Observer {
    /// Each 10 simulated seconds.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// A request was served to its end.
    fn served(&mut self, served: &Served) {
        let _ = served;
    }

    /// The number of replicas asked for has changed, because of `decision` where the scaler told one.
    fn changed(&mut self, change: &Change, decision: Option<&Decision>) {
        let _ = (change, decision);
    }
}

impl Observer for () {}

impl Run {
    /// Samples that are kept at most.
    pub const MOST_SAMPLES: usize = 2000;
    /// Changes that are kept at most.
    pub const MOST_CHANGES: usize = 10_000;
}
