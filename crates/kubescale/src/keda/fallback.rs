//! Observations of triggers, and what stands in for one that failed (`pkg/fallback`).

use std::collections::BTreeMap;

use super::conditions::{Condition, Status};
use super::settings::{Fallback, FallbackBehavior};
use crate::hpa::{HpaMetric, MetricType};
use crate::quantity::Quantity;
use crate::workload::Workload;

/// What one read of one metric gave (`metricscache.MetricsRecord`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) values: Vec<Quantity>,
    pub(crate) active: bool,
    pub(crate) fallback_active: bool,
    pub(crate) error: Option<String>,
}

/// Failures in a row per metric (`status.health`). KEDA keeps copies of it in the scale loop and in
/// the scalers cache; since every failure drops that cache, they agree, and here there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(BTreeMap<String, u32>);

impl Health {
    /// Counts the outcome of a read, and replaces a failure where fallback is due
    /// (`GetMetricsWithFallback`).
    pub(crate) fn observe(
        &mut self,
        raw: Record,
        metric: &HpaMetric,
        fallback: Option<&Fallback>,
        workload: &Workload,
    ) -> Record {
        let Some(fallback) = fallback else {
            return Record {
                fallback_active: false,
                ..raw
            };
        };
        let failures = self.0.entry(metric.name.clone()).or_default();
        let Some(error) = raw.error else {
            *failures = 0;
            return Record {
                fallback_active: false,
                ..raw
            };
        };
        *failures = failures.saturating_add(1);
        if *failures <= fallback.failure_threshold {
            return Record {
                error: Some(error),
                fallback_active: false,
                ..raw
            };
        }
        match substitute(fallback, metric, workload) {
            Some(value) => Record {
                values: vec![value],
                fallback_active: true,
                error: None,
                ..raw
            },
            None => Record {
                values: Vec::new(),
                fallback_active: false,
                error: Some("fallback is not possible: no replica is ready".to_owned()),
                ..raw
            },
        }
    }

    /// Forgets metrics that are no more (`updateHealthStatus`).
    pub(crate) fn retain(&mut self, metrics: &[HpaMetric]) {
        self.0
            .retain(|name, _| metrics.iter().any(|metric| metric.name == *name));
    }

    /// The `Fallback` condition (`fallbackExceededThreshold`).
    pub(crate) fn condition(&self, fallback: Option<&Fallback>) -> Condition {
        match fallback {
            Some(fallback)
                if self
                    .0
                    .values()
                    .any(|failures| *failures > fallback.failure_threshold) =>
            {
                Condition::new(Status::True, "FallbackExists")
            }
            _ => Condition::new(Status::False, "NoFallbackFound"),
        }
    }
}

/// A value that makes the HPA arrive at the fallback's replicas (`doFallback`).
fn substitute(fallback: &Fallback, metric: &HpaMetric, workload: &Workload) -> Option<Quantity> {
    let current = workload.spec_replicas;
    let replicas = f64::from(match fallback.behavior {
        FallbackBehavior::Static => fallback.replicas,
        FallbackBehavior::CurrentReplicas => current,
        FallbackBehavior::CurrentReplicasIfHigher => current.max(fallback.replicas),
        FallbackBehavior::CurrentReplicasIfLower => current.min(fallback.replicas),
    });
    let replicas = match metric.target.kind {
        MetricType::AverageValue => replicas,
        MetricType::Value if workload.ready_pods == 0 => return None,
        MetricType::Value => replicas / f64::from(workload.ready_pods),
    };
    Some(Quantity::from_milli(
        (metric.target.quantity.approximate() * 1000.0 * replicas) as i64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::Target;

    fn metric(kind: MetricType, target: f64) -> HpaMetric {
        HpaMetric {
            name: "s0-x".into(),
            target: Target {
                kind,
                quantity: Quantity::from_float(target),
            },
        }
    }

    fn failed() -> Record {
        Record {
            error: Some("unavailable".into()),
            ..Record::default()
        }
    }

    fn fallback(behavior: FallbackBehavior, failure_threshold: u32) -> Fallback {
        Fallback {
            failure_threshold,
            replicas: 3,
            behavior,
        }
    }

    /// fallback.go: GetMetricsWithFallback.
    #[test]
    fn it_takes_more_failures_than_the_threshold_in_a_row() {
        let (mut health, settings) = (Health::default(), fallback(FallbackBehavior::Static, 2));
        let metric = metric(MetricType::AverageValue, 80.0);
        let mut read = |raw| health.observe(raw, &metric, Some(&settings), &Workload::settled(5));
        assert!(read(failed()).error.is_some());
        assert!(read(failed()).error.is_some());
        assert!(
            read(Record::default()).error.is_none(),
            "a success starts the count anew"
        );
        assert!(read(failed()).error.is_some());
        assert!(read(failed()).error.is_some());
        let third = read(failed());
        assert!(third.fallback_active && third.error.is_none());
        assert_eq!(third.values, [Quantity::from_milli(240_000)]);
        assert_eq!(health.condition(Some(&settings)).status, Status::True);
    }

    /// fallback.go: doFallback.
    #[test]
    fn each_behaviour_has_its_replicas() {
        let value = |behavior, current, kind, ready| {
            let workload = Workload {
                ready_pods: ready,
                ..Workload::settled(current)
            };
            substitute(&fallback(behavior, 0), &metric(kind, 10.0), &workload).map(Quantity::milli)
        };
        use FallbackBehavior as B;
        use MetricType::{AverageValue, Value};
        assert_eq!(value(B::Static, 5, AverageValue, 5), Some(30_000));
        assert_eq!(value(B::CurrentReplicas, 5, AverageValue, 0), Some(50_000));
        assert_eq!(
            value(B::CurrentReplicasIfHigher, 5, AverageValue, 5),
            Some(50_000)
        );
        assert_eq!(
            value(B::CurrentReplicasIfHigher, 2, AverageValue, 2),
            Some(30_000)
        );
        assert_eq!(value(B::CurrentReplicasIfLower, 5, AverageValue, 5), Some(30_000));
        assert_eq!(value(B::CurrentReplicasIfLower, 2, AverageValue, 2), Some(20_000));
        assert_eq!(value(B::Static, 5, Value, 4), Some(7_500));
        assert_eq!(value(B::Static, 5, Value, 0), None);
    }

    #[test]
    fn without_fallback_nothing_is_counted_or_replaced() {
        let mut health = Health::default();
        for _ in 0..9 {
            let seen = health.observe(
                failed(),
                &metric(MetricType::Value, 1.0),
                None,
                &Workload::settled(1),
            );
            assert!(seen.error.is_some() && !seen.fallback_active);
        }
        assert_eq!(health.condition(None).status, Status::False);
    }
}
