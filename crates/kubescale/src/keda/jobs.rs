//! ScaledJobs: how many Jobs a poll creates (`scaledjob/metrics.go`, `executor/scale_jobs.go`).
//!
//! A ScaledJob has no HPA and no fallback; every poll reads each trigger and creates what is
//! missing. [`ScaledJob::decide`] is that decision. A trigger whose `GetMetricSpec` fails is skipped
//! without an error, so it is simply left out of the observations.

use serde::{Deserialize, Serialize};

use crate::calls::{CallError, MetricSpec, MetricValue};
use crate::hpa::MetricType;

/// The settings of a ScaledJob, as in its manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledJob {
    /// `minReplicaCount`: Jobs that always run, default 0.
    pub min_replica_count: Option<i32>,
    /// `maxReplicaCount`, default 100.
    pub max_replica_count: Option<i32>,
    /// `scalingStrategy`.
    pub scaling_strategy: ScalingStrategy,
}

/// `scalingStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingStrategy {
    /// `strategy`.
    pub strategy: Strategy,
    /// `customScalingQueueLengthDeduction`.
    pub custom_scaling_queue_length_deduction: Option<i32>,
    /// `customScalingRunningJobPercentage`, a text; what is not a number selects the default strategy.
    pub custom_scaling_running_job_percentage: String,
    /// `multipleScalersCalculation`.
    pub multiple_scalers_calculation: Combination,
}

/// How running and pending Jobs are taken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Wanted less running.
    #[default]
    Default,
    /// Wanted less a fixed number and a part of the running ones.
    Custom,
    /// Wanted less pending, for queues that drop an item when a Job takes it.
    Accurate,
    /// As many as there is room for.
    Eager,
}

/// How several triggers are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// The longest queue.
    #[default]
    Max,
    /// The shortest.
    Min,
    /// The mean of the active ones.
    Avg,
    /// Their sum.
    Sum,
}

/// What one trigger gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The trigger's `metricType`.
    pub metric_type: MetricType,
    /// Its specs; only the first one's metric is read, but the targets of all are averaged.
    pub specs: Vec<MetricSpec>,
    /// The values and `IsActive` of the first spec's metric, after the retry.
    pub result: Result<(Vec<MetricValue>, bool), CallError>,
}

/// The Jobs that exist and are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// All of them.
    pub running: i64,
    /// Those of them that have no pod running yet.
    pub pending: i64,
}

/// What a poll does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobDecision {
    /// Jobs to create.
    pub create: i64,
    /// Whether a trigger is active (always, with a minimum).
    pub active: bool,
    /// Whether a trigger failed.
    pub error: bool,
    /// The combined queue length, rounded up.
    pub queue_length: i64,
    /// Jobs wanted for it, at most the maximum.
    pub wanted: i64,
}

#[derive(Clone, Copy)]
struct Queue {
    length: f64,
    jobs: f64,
    active: bool,
}

impl ScaledJob {
    /// `ScaledJob.MinReplicaCount`.
    fn min(&self) -> i64 {
        let min = self.min_replica_count.unwrap_or(0);
        i64::from(self.max_replica_count.map_or(min, |max| min.min(max)))
    }

    /// `ScaledJob.MaxReplicaCount`: room above the minimum, though not where it was left out or is
    /// below the minimum.
    fn max(&self) -> i64 {
        match (self.max_replica_count, self.min_replica_count) {
            (None, _) => 100,
            (Some(max), Some(min)) if min > max => i64::from(max),
            (Some(max), _) => i64::from(max) - self.min(),
        }
    }

    /// What a poll with these observations does (`getScaledJobState`, `RequestJobScale`).
    #[must_use]
    pub fn decide(&self, triggers: &[Observation], jobs: JobCounts) -> JobDecision {
        let max = self.max();
        let queues: Vec<Queue> = triggers
            .iter()
            .filter_map(|trigger| queue(trigger, max))
            .collect();
        let combined = combine(self.scaling_strategy.multiple_scalers_calculation, &queues);
        let active = combined.active || self.min() > 0;
        let queue_length = combined.length.ceil() as i64;
        let wanted = combined.jobs.min(max as f64).ceil() as i64;
        let create = if active {
            self.creations(queue_length, wanted, jobs)
        } else {
            0
        };
        let error = triggers
            .iter()
            .any(|trigger| !trigger.specs.is_empty() && trigger.result.is_err());
        JobDecision {
            create,
            active,
            error,
            queue_length,
            wanted,
        }
    }

    /// `getScalingDecision`, `createJobs`.
    fn creations(&self, scale_to: i64, wanted: i64, jobs: JobCounts) -> i64 {
        let (min, max) = (self.min(), self.max());
        if jobs.running < min {
            return min - jobs.running;
        }
        let (room, scale_to) = self.effective(scale_to, wanted, jobs.running - min, jobs.pending, max);
        if room <= 0 { 0 } else { scale_to.min(room).max(0) }
    }

    /// `GetEffectiveMaxScale` of each strategy: how many at most, and how many are wanted.
    fn effective(&self, scale_to: i64, wanted: i64, running: i64, pending: i64, max: i64) -> (i64, i64) {
        let settings = &self.scaling_strategy;
        match (
            settings.strategy,
            settings.custom_scaling_running_job_percentage.parse::<f64>(),
        ) {
            (Strategy::Custom, Ok(percentage)) => {
                let deduction = i64::from(settings.custom_scaling_queue_length_deduction.unwrap_or(0));
                let occupied = (running as f64 * percentage) as i64;
                ((wanted - deduction - occupied).min(max), scale_to)
            }
            (Strategy::Accurate, _) if wanted + running - pending > max => (max - running, scale_to),
            (Strategy::Accurate, _) => (wanted - pending, scale_to),
            (Strategy::Eager, _) => ((max - running - pending).min(wanted), max),
            (Strategy::Default | Strategy::Custom, _) => (wanted - running, scale_to),
        }
    }
}

/// `CalculateQueueLengthAndMaxValue`; none for a trigger that gave nothing.
fn queue(trigger: &Observation, max: i64) -> Option<Queue> {
    if trigger.specs.is_empty() {
        return None;
    }
    let (values, active) = trigger.result.as_ref().ok()?;
    let length = values
        .iter()
        .map(|value| value.quantity().approximate())
        .sum::<f64>();
    let target = |spec: &MetricSpec| match trigger.metric_type {
        MetricType::AverageValue => spec.to_hpa(0, trigger.metric_type).target.quantity.approximate(),
        // A `Value` target is not an average, which leaves no Jobs at all.
        MetricType::Value => 0.0,
    };
    let target = trigger.specs.iter().map(target).sum::<f64>() / trigger.specs.len() as f64;
    let jobs = if target == 0.0 {
        0.0
    } else {
        (length / target).min(max as f64)
    };
    Some(Queue {
        length,
        jobs,
        active: *active,
    })
}

/// `IsScaledJobActive`. With `max`, an active trigger whose queue is empty does not count.
fn combine(how: Combination, queues: &[Queue]) -> Queue {
    let active = || queues.iter().copied().filter(|queue| queue.active);
    let none = Queue {
        length: 0.0,
        jobs: 0.0,
        active: false,
    };
    let sum = || {
        active().fold(none, |sum, queue| Queue {
            length: sum.length + queue.length,
            jobs: sum.jobs + queue.jobs,
            active: true,
        })
    };
    match how {
        Combination::Max => active().fold(
            none,
            |best, queue| if queue.length > best.length { queue } else { best },
        ),
        Combination::Min => active().fold(none, |best, queue| {
            if best.length == 0.0 || queue.length < best.length {
                queue
            } else {
                best
            }
        }),
        Combination::Sum => sum(),
        Combination::Avg => {
            let (sum, count) = (sum(), active().count().max(1) as f64);
            Queue {
                length: sum.length / count,
                jobs: sum.jobs / count,
                ..sum
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(value: f64, target: f64, active: bool) -> Observation {
        Observation {
            metric_type: MetricType::AverageValue,
            specs: vec![MetricSpec::new("x", target)],
            result: Ok((vec![MetricValue::new(value)], active)),
        }
    }

    fn job(strategy: Strategy) -> ScaledJob {
        let scaling_strategy = ScalingStrategy {
            strategy,
            ..ScalingStrategy::default()
        };
        ScaledJob {
            scaling_strategy,
            ..ScaledJob::default()
        }
    }

    fn create(job: &ScaledJob, value: f64, running: i64, pending: i64) -> i64 {
        job.decide(&[trigger(value, 1.0, true)], JobCounts { running, pending })
            .create
    }

    /// scale_jobs.go: GetEffectiveMaxScale of each strategy, createJobs.
    #[test]
    fn strategies_take_off_different_jobs() {
        assert_eq!(create(&job(Strategy::Default), 10.0, 3, 2), 7);
        assert_eq!(create(&job(Strategy::Default), 10.0, 12, 2), 0);
        assert_eq!(create(&job(Strategy::Accurate), 10.0, 3, 2), 8);
        assert_eq!(
            create(&job(Strategy::Accurate), 10.0, 95, 2),
            5,
            "no more than the maximum"
        );
        assert_eq!(create(&job(Strategy::Eager), 10.0, 3, 2), 10);
        assert_eq!(create(&job(Strategy::Eager), 10.0, 90, 5), 5);
        let mut custom = job(Strategy::Custom);
        custom.scaling_strategy.custom_scaling_queue_length_deduction = Some(1);
        custom.scaling_strategy.custom_scaling_running_job_percentage = "0.5".into();
        assert_eq!(create(&custom, 10.0, 3, 2), 8, "10 - 1 - int(1.5)");
        custom.scaling_strategy.custom_scaling_running_job_percentage = "half".into();
        assert_eq!(create(&custom, 10.0, 3, 2), 7, "the default strategy");
    }

    /// scaledjob/metrics.go: CalculateQueueLengthAndMaxValue; scaledjob_types.go: MaxReplicaCount.
    #[test]
    fn the_target_divides_and_the_limits_bind() {
        let decide = |job: &ScaledJob, triggers: &[Observation]| job.decide(triggers, JobCounts::default());
        let plain = job(Strategy::Default);
        assert_eq!(decide(&plain, &[trigger(10.0, 4.0, true)]).wanted, 3);
        assert_eq!(decide(&plain, &[trigger(10.0, 4.0, true)]).create, 3);
        assert_eq!(decide(&plain, &[trigger(10.0, 4.0, false)]).create, 0);
        let small = ScaledJob {
            max_replica_count: Some(5),
            min_replica_count: Some(2),
            ..plain.clone()
        };
        assert_eq!(
            decide(&small, &[trigger(0.0, 1.0, false)]).create,
            2,
            "the minimum first"
        );
        let jobs = JobCounts {
            running: 2,
            pending: 0,
        };
        assert_eq!(
            small.decide(&[trigger(50.0, 1.0, true)], jobs).create,
            3,
            "and the rest above it"
        );
        let value = Observation {
            metric_type: MetricType::Value,
            ..trigger(10.0, 1.0, true)
        };
        assert_eq!(
            decide(&plain, &[value]).create,
            0,
            "a Value target creates no Jobs"
        );
    }

    /// scaledjob/metrics.go: IsScaledJobActive.
    #[test]
    fn several_triggers_are_combined() {
        let decide = |how, triggers: &[Observation]| {
            let mut job = job(Strategy::Default);
            job.scaling_strategy.multiple_scalers_calculation = how;
            let decision = job.decide(triggers, JobCounts::default());
            (decision.queue_length, decision.wanted, decision.active)
        };
        let three = [
            trigger(8.0, 2.0, true),
            trigger(5.0, 1.0, true),
            trigger(99.0, 1.0, false),
        ];
        assert_eq!(decide(Combination::Max, &three), (8, 4, true));
        assert_eq!(decide(Combination::Min, &three), (5, 5, true));
        assert_eq!(decide(Combination::Sum, &three), (13, 9, true));
        assert_eq!(decide(Combination::Avg, &three), (7, 5, true));
        assert_eq!(
            decide(Combination::Max, &[trigger(0.0, 1.0, true)]),
            (0, 0, false),
            "an empty queue"
        );
        assert_eq!(decide(Combination::Sum, &[trigger(0.0, 1.0, true)]), (0, 0, true));
    }

    /// scale_handler.go: getScaledJobMetrics.
    #[test]
    fn errors_are_told_but_a_missing_spec_is_not() {
        let failed = Observation {
            result: Err(CallError("unavailable".into())),
            ..trigger(0.0, 1.0, false)
        };
        let missing = Observation {
            specs: Vec::new(),
            ..failed.clone()
        };
        let decide = |triggers: &[Observation]| job(Strategy::Default).decide(triggers, JobCounts::default());
        assert!(decide(std::slice::from_ref(&failed)).error);
        assert!(!decide(&[missing]).error);
        let partial = decide(&[failed, trigger(3.0, 1.0, true)]);
        assert!(partial.error && partial.active);
        assert_eq!(partial.create, 3);
    }
}
