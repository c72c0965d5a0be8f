use std::time::Duration;

use rheostat_reading::Count;
use rheostat_simulator::{Change, Observer, Progress, Run, Sample, Served};
use rheostat_sizing::Decision;
use serde::{Deserialize, Serialize};

use crate::tally::Tally;

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Over all that is scored.
    pub whole: Tally,
    /// Over its first and its second half. Requests belong to the half in which they arrived.
    pub halves: [Tally; 2],
    /// Sequences thrown out of the batch for want of KV cache.
    pub preemptions: u64,
    /// What it was like over time, where it was to be shown.
    pub record: Option<Record>,
}

/// What a run was like over time, for people to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// At most [`Record::MOST_SAMPLES`].
    pub samples: Vec<Sample>,
    /// Changes of the replica count, with their reasons: the first [`Record::MOST_CHANGES`] of them.
    pub changes: Vec<ExplainedChange>,
    /// How many more there were.
    pub changes_left_out: u64,
}

/// A change of the replica count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedChange {
    /// What was changed.
    #[serde(flatten)]
    pub change: Change,
    /// The steps of the decision that it came from, where its maker gives reasons.
    pub steps: Vec<String>,
}

impl Record {
    /// What fits the width of a chart.
    pub const MOST_SAMPLES: usize = 480;
    /// What somebody may still look through, and a browser shows at once.
    pub const MOST_CHANGES: usize = 1000;
}

/// Watches a run and counts.
pub(crate) struct Meter<'a> {
    scored_from: Duration,
    middle: Duration,
    halves: [Tally; 2],
    gpus: f64,
    starting: f64,
    /// What was paid, and wasted starting, until the middle.
    until_middle: (f64, f64),
    record: Option<Record>,
    inner: Option<&'a mut dyn Observer>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(
        scored_from: Duration,
        middle: Duration,
        gpus: u32,
        detailed: bool,
        inner: Option<&'a mut dyn Observer>,
    ) -> Self {
        Self {
            scored_from,
            middle,
            halves: Default::default(),
            gpus: f64::from(gpus),
            starting: 0.0,
            until_middle: (0.0, 0.0),
            record: detailed.then(Record::default),
            inner,
        }
    }

    /// What came of it, from what the simulator says of the whole.
    pub(crate) fn outcome(mut self, run: &Run) -> Outcome {
        let mut whole = self.halves[0].plus(&self.halves[1]);
        whole.gpu_hours = run.gpu_hours;
        whole.gpu_hours_starting = run.replica_seconds_wasted_starting.0 * self.gpus / 3600.0;
        whole.requests = run.requests;
        whole.kept = run.kept;
        whole.waiting = run.waiting;
        whole.scaling_events = run.scaling_events;
        // Whatever the observer is not told of one by one, such as what waits at the end, is of the end.
        let [first, second] = &mut self.halves;
        (first.gpu_hours, first.gpu_hours_starting) = self.until_middle;
        second.gpu_hours = whole.gpu_hours - first.gpu_hours;
        second.gpu_hours_starting = (whole.gpu_hours_starting - first.gpu_hours_starting).max(0.0);
        second.requests = whole.requests - first.requests;
        second.kept = whole.kept - first.kept;
        second.waiting = whole.waiting;
        if let Some(record) = &mut self.record {
            record.samples = coarser(&run.timeline, Record::MOST_SAMPLES);
        }
        Outcome {
            whole,
            halves: self.halves,
            preemptions: run.preemptions,
            record: self.record,
        }
    }
}

impl Observer for Meter<'_> {
    fn progress(&mut self, progress: &Progress) {
        let Progress {
            sample, gpu_hours, ..
        } = progress;
        let end = sample.at + sample.lasting;
        if end > self.scored_from {
            self.starting += sample.starting.0 * sample.lasting.as_secs_f64();
        }
        if end <= self.middle {
            self.until_middle = (*gpu_hours, self.starting * self.gpus / 3600.0);
        }
        if let Some(inner) = &mut self.inner {
            inner.progress(progress);
        }
    }

    fn served(&mut self, served: &Served) {
        if served.arrived >= self.scored_from {
            let half = &mut self.halves[usize::from(served.arrived >= self.middle)];
            half.requests += 1;
            half.kept += u64::from(served.kept);
            half.ttft.add(served.ttft);
            if let Some(itl) = served.itl {
                half.itl.add(itl);
            }
        }
        if let Some(inner) = &mut self.inner {
            inner.served(served);
        }
    }

    fn changed(&mut self, change: &Change, decision: Option<&Decision>) {
        if change.at >= self.scored_from {
            self.halves[usize::from(change.at >= self.middle)].scaling_events += 1;
            if let Some(record) = &mut self.record {
                if record.changes.len() < Record::MOST_CHANGES {
                    let steps = decision.into_iter().flat_map(|decision| &decision.steps);
                    record.changes.push(ExplainedChange {
                        change: change.clone(),
                        steps: steps
                            .map(|step| format!("{}: {}", step.replicas, step.why))
                            .collect(),
                    });
                } else {
                    record.changes_left_out += 1;
                }
            }
        }
        if let Some(inner) = &mut self.inner {
            inner.changed(change, decision);
        }
    }
}

/// At most `most` samples: neighbours become one, with the mean of what there was and the most of what was
/// in flight.
fn coarser(samples: &[Sample], most: usize) -> Vec<Sample> {
    let together = samples.len().div_ceil(most.max(1)).max(1);
    samples.chunks(together).map(joined).collect()
}

fn joined(samples: &[Sample]) -> Sample {
    let Some(first) = samples.first() else {
        return Sample::default();
    };
    let lasting: Duration = samples.iter().map(|sample| sample.lasting).sum();
    let mean = |value: &dyn Fn(&Sample) -> f64| {
        let sum: f64 = samples
            .iter()
            .map(|sample| value(sample) * sample.lasting.as_secs_f64())
            .sum();
        sum / lasting.as_secs_f64().max(f64::MIN_POSITIVE)
    };
    Sample {
        at: first.at,
        lasting,
        arrivals: samples.iter().map(|sample| sample.arrivals).sum(),
        in_flight: samples.iter().map(|sample| sample.in_flight).max().unwrap_or(0),
        waiting: samples.iter().map(|sample| sample.waiting).max().unwrap_or(0),
        asked: Count(mean(&|sample| sample.asked.0)),
        ready: Count(mean(&|sample| sample.ready.0)),
        starting: Count(mean(&|sample| sample.starting.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one() {
        let sample = |at: u64, ready: f64, waiting: u64| Sample {
            at: Duration::from_secs(at),
            lasting: Duration::from_secs(10),
            arrivals: 1,
            in_flight: waiting,
            waiting,
            asked: Count(ready),
            ready: Count(ready),
            starting: Count(0.0),
        };
        let samples = [sample(0, 1.0, 5), sample(10, 2.0, 3), sample(20, 4.0, 0)];
        let joined = coarser(&samples, 2);
        assert_eq!(joined.len(), 2);
        assert_eq!(
            (joined[0].ready, joined[0].waiting, joined[0].arrivals),
            (Count(1.5), 5, 2)
        );
        assert_eq!(joined[1], samples[2]);
        assert!(coarser(&[], 2).is_empty());
    }
}
