//! From metric values to a replica count (`replica_calculator.go`). Values and targets are in
//! thousandths, as the HPA has them.

use crate::workload::Workload;

/// How far the ratio of value to target may be from 1 before anything happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Upwards: 0.1 means up to a ratio of 1.1.
    pub up: f64,
    /// Downwards: 0.1 means down to a ratio of 0.9.
    pub down: f64,
}

impl Tolerances {
    /// Whether a ratio changes nothing (`Tolerances.isWithin`); false for one that is not a number.
    #[must_use]
    pub fn allow(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Replicas for an `AverageValue` target (`GetExternalPerPodMetricReplicas`): the values' sum is the
/// workload's total, compared with `target` times the pods that exist, ready or not.
#[must_use]
pub fn per_pod_replicas(values: &[i64], target: i64, status_replicas: i32, tolerances: Tolerances) -> i32 {
    let mut usage: i64 = 0;
    for value in values {
        usage = usage.wrapping_add(*value);
        if usage < 0 {
            // The original takes any negative sum for an overflow.
            usage = i64::MAX;
            break;
        }
    }
    let ratio = usage as f64 / (target as f64 * f64::from(status_replicas));
    if tolerances.allow(ratio) {
        status_replicas
    } else {
        ceiling(usage as f64 / target as f64)
    }
}

/// Replicas for a `Value` target (`GetExternalMetricReplicas`): the values' sum is an intensity, and
/// the ready pods are scaled by its ratio to `target`. From zero replicas, tolerance and pods do not
/// count.
///
/// # Errors
/// If the selector matches no pod.
pub fn value_replicas(
    values: &[i64],
    target: i64,
    scale: &Workload,
    tolerances: Tolerances,
) -> Result<i32, String> {
    let mut usage: i64 = 0;
    for value in values {
        if *value > 0 && usage > i64::MAX - *value {
            usage = i64::MAX;
            break;
        }
        usage = usage.wrapping_add(*value);
    }
    let ratio = usage as f64 / target as f64;
    if scale.spec_replicas == 0 {
        return Ok(ceiling(ratio));
    }
    if tolerances.allow(ratio) {
        return Ok(scale.spec_replicas);
    }
    if scale.pods == 0 {
        return Err("the selector matches no pods".to_owned());
    }
    Ok(ceiling(ratio * f64::from(scale.ready_pods)))
}

/// Rounds up; what does not fit ends at the largest count.
fn ceiling(replicas: f64) -> i32 {
    replicas.ceil() as i32
}
