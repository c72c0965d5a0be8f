use std::time::Duration;

use rheostat_simulator::{ExternalScaler, TriggerAnswer};
use rheostat_sizing::{Observation, Stage};

use crate::query::Signal;

/// `--horizontal-pod-autoscaler-tolerance` of kube-controller-manager.
pub(crate) const TOLERANCE: f64 = 0.1;

/// A metric of type `Pods` in an HPA, through Prometheus and its adapter: the HPA averages it over pods,
/// with its own rules for pods that are missing or not running yet.
///
/// `rheostat-kubescale` knows external metrics only, so the proposal is computed here and handed to it as a
/// number of replicas with target 1 and no tolerance; its windows, rates and limits do the rest.
#[derive(Debug)]
pub(crate) struct PodsMetricScaler {
    signal: Signal,
    target: f64,
    period: Duration,
    answer: TriggerAnswer,
}

impl PodsMetricScaler {
    pub(crate) fn new(signal: Signal, target: f64, period: Duration) -> Self {
        Self {
            signal,
            target,
            period,
            answer: TriggerAnswer::Error("nothing was read yet".to_owned()),
        }
    }
}

impl ExternalScaler for PodsMetricScaler {
    fn period(&self) -> Duration {
        self.period
    }

    fn observe(&mut self, observation: &Observation) {
        self.answer = match Pods::of(observation, self.signal).replicas(self.target, observation.replicas) {
            Some(replicas) => TriggerAnswer::Value {
                value: f64::from(replicas),
                active: true,
            },
            None => TriggerAnswer::Error("no metrics returned from the custom metrics API".to_owned()),
        };
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("replicas".to_owned(), 1.0)]
    }

    fn answer(&self, _: usize) -> TriggerAnswer {
        self.answer.clone()
    }
}

/// Pods as the HPA sorts them (`groupPods` in `replica_calculator.go` of Kubernetes 1.36, for metrics
/// other than CPU).
#[derive(Clone, Debug, Default, PartialEq)]
struct Pods {
    /// Values of running pods.
    values: Vec<f64>,
    /// Pods in phase Pending: without a node, or with containers that do not run yet.
    pending: usize,
    /// Running pods without a value.
    missing: usize,
}

impl Pods {
    fn of(observation: &Observation, signal: Signal) -> Self {
        let mut pods = Self::default();
        for pod in &observation.pods {
            match pod.stage {
                Stage::Terminating => {}
                Stage::Pending => pods.pending += 1,
                Stage::Starting if pod.milestones.started.is_none() => pods.pending += 1,
                Stage::Starting | Stage::Ready | Stage::Unready | Stage::Asleep => match signal.of(pod) {
                    Some(value) => pods.values.push(value),
                    None => pods.missing += 1,
                },
            }
        }
        pods
    }

    /// Replicas for an `AverageValue` target (`calcPlainMetricReplicas`); `None` without any value.
    ///
    /// Pods without a value are taken to use what makes the smallest change: all of the target on the way
    /// down, nothing on the way up; a direction that turns by that changes nothing.
    fn replicas(&self, target: f64, current: u32) -> Option<u32> {
        let count = self.values.len();
        if count == 0 {
            return None;
        }
        let sum: f64 = self.values.iter().sum();
        let ratio = sum / (target * count as f64);
        let up = ratio > 1.0;
        if !(up && self.pending > 0) && self.missing == 0 {
            let within = (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio);
            return Some(if within {
                current
            } else {
                (ratio * count as f64).ceil() as u32
            });
        }
        let mut filled = count;
        let mut sum = sum;
        if ratio < 1.0 {
            sum += target * self.missing as f64;
            filled += self.missing;
        } else if up {
            filled += self.missing + self.pending;
        }
        let guarded = sum / (target * filled as f64);
        if (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&guarded) || (guarded > 1.0) != up {
            return Some(current);
        }
        let replicas = (guarded * filled as f64).ceil() as u32;
        let turned = if up {
            replicas < current
        } else {
            replicas > current
        };
        Some(if turned { current } else { replicas })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(values: &[f64], pending: usize, missing: usize) -> Pods {
        Pods {
            values: values.to_vec(),
            pending,
            missing,
        }
    }

    /// replica_calculator_test.go of Kubernetes: the cases for pods metrics.
    #[test]
    fn replicas_follow_the_mean_with_tolerance() {
        assert_eq!(
            pods(&[20.0, 10.0, 30.0], 0, 0).replicas(15.0, 3),
            Some(4),
            "scale up"
        );
        assert_eq!(pods(&[95.0; 4], 0, 0).replicas(80.0, 4), Some(5));
        assert_eq!(
            pods(&[75.0; 4], 0, 0).replicas(70.0, 4),
            Some(4),
            "within the tolerance"
        );
        assert_eq!(pods(&[12.0; 5], 0, 0).replicas(20.0, 5), Some(3), "scale down");
        assert_eq!(pods(&[], 2, 1).replicas(20.0, 5), None);
    }

    #[test]
    fn pods_that_start_damp_the_way_up() {
        // Two at twice the target and two pending: the mean is the target, so nothing happens.
        assert_eq!(pods(&[140.0, 140.0], 2, 0).replicas(70.0, 4), Some(4));
        // And pods without a value never make it go down faster.
        assert_eq!(pods(&[10.0, 10.0], 0, 2).replicas(20.0, 4), Some(3));
        assert_eq!(pods(&[30.0, 30.0], 0, 2).replicas(20.0, 4), Some(4));
    }
}
