use rheostat_reading::{Ratio, Seconds};

use crate::histogram::Histogram;
use crate::run::Served;
use crate::scenario::Scenario;
use crate::server::{Finished, Unfinished};
use crate::time::{LONGEST, Picoseconds, duration, picoseconds, seconds};

/// What requests came to.
#[derive(Clone, Debug)]
pub(crate) struct Score {
    ttft_limit: Picoseconds,
    itl_limit: Picoseconds,
    e2e_limit: Picoseconds,
    scored_from: Picoseconds,
    pub(crate) requests: u64,
    pub(crate) kept: u64,
    pub(crate) undecided: u64,
    pub(crate) refused: u64,
    pub(crate) waiting: u64,
    pub(crate) ttft: Histogram,
    pub(crate) itl: Histogram,
    pub(crate) e2e: Histogram,
}

impl Score {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let limit = |limit: Option<_>| limit.map_or(LONGEST, picoseconds);
        Self {
            ttft_limit: limit(scenario.slo.ttft),
            itl_limit: limit(scenario.slo.itl),
            e2e_limit: limit(scenario.slo.e2e),
            scored_from: picoseconds(scenario.scored_from),
            requests: 0,
            kept: 0,
            undecided: 0,
            refused: 0,
            waiting: 0,
            ttft: Histogram::new(),
            itl: Histogram::new(),
            e2e: Histogram::new(),
        }
    }

    /// A request was served.
    pub(crate) fn served(&mut self, done: &Finished) -> Served {
        let job = done.job;
        let (ttft, e2e) = (done.first - job.arrived, done.at - job.arrived);
        let gaps = u64::from(job.output) - 1;
        let decoding = done.at - done.first;
        let kept = ttft <= self.ttft_limit
            && e2e <= self.e2e_limit
            // One token has no time to another, whatever rounding says.
            && (gaps == 0 || u128::from(decoding) <= u128::from(self.itl_limit) * u128::from(gaps));
        let served = Served {
            arrived: duration(job.arrived),
            prompt_tokens: job.prompt,
            output_tokens: job.output,
            ttft: Seconds(seconds(ttft)),
            itl: (gaps > 0).then(|| Seconds(seconds(decoding) / gaps as f64)),
            e2e: Seconds(seconds(e2e)),
            kept,
        };
        if job.arrived >= self.scored_from {
            self.requests += 1;
            self.kept += u64::from(kept);
            self.ttft.record(served.ttft.0);
            self.e2e.record(served.e2e.0);
            if let Some(Seconds(itl)) = served.itl {
                self.itl.record(itl);
            }
        }
        served
    }

    /// A request that can never be served.
    pub(crate) fn refused(&mut self, arrived: Picoseconds) {
        if arrived >= self.scored_from {
            self.requests += 1;
            self.refused += 1;
        }
    }

    /// A request that is not served yet at the end.
    pub(crate) fn unfinished(&mut self, request: &Unfinished, end: Picoseconds) {
        let job = request.job;
        if job.arrived < self.scored_from {
            return;
        }
        let Some(first) = request.first else {
            self.requests += 1;
            self.waiting += 1;
            return;
        };
        let gaps = u64::from(request.tokens.saturating_sub(1));
        // The token that is to come is due one gap later.
        let late = first - job.arrived > self.ttft_limit
            || end - job.arrived > self.e2e_limit
            || u128::from(end - first) > u128::from(self.itl_limit) * u128::from(gaps + 1);
        if late {
            self.requests += 1;
            self.ttft.record(seconds(first - job.arrived));
        } else {
            self.undecided += 1;
        }
    }

    pub(crate) fn attainment(&self) -> Ratio {
        if self.requests == 0 {
            return Ratio(1.0);
        }
        Ratio(self.kept as f64 / self.requests as f64)
    }
}
