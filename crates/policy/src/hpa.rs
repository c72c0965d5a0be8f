use std::fmt;
use std::str::FromStr;

/// How the HPA reads the value: a trigger's `metricType` in the ScaledObject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum MetricType {
    /// The value is the workload's total, the target is per replica. KEDA's default.
    #[default]
    AverageValue,
    /// The value is an intensity, compared with the target as it is.
    Value,
}

/// The HPA controller's tolerance where nothing else is set
/// (`--horizontal-pod-autoscaler-tolerance`).
pub const DEFAULT_TOLERANCE: f64 = 0.1;

/// The greatest number that survives KEDA's conversion to an `int64` of thousandths.
pub(crate) const GREATEST: f64 = 9.0e15;

/// The replicas that the HPA's arithmetic asks for, before its limits, behaviours and windows.
///
/// The formulas are those of Kubernetes' `pkg/controller/podautoscaler/replica_calculator.go`:
/// `ceil(value / target)` for `AverageValue`, `ceil(value / target × ready)` for `Value`, and no
/// change while the ratio lies within `tolerance` of 1. `replicas` is the size that the ratio is taken
/// of: `status.replicas` for `AverageValue`, `spec.replicas` for `Value`. `target` must be positive.
#[must_use]
pub fn hpa_desired(
    metric_type: MetricType,
    value: f64,
    target: f64,
    replicas: u32,
    ready: u32,
    tolerance: f64,
) -> u32 {
    // The HPA sees thousandths, nothing finer.
    let (value, target) = (milli(value), milli(target));
    let ratio = match metric_type {
        MetricType::AverageValue => value / (target * f64::from(replicas)),
        MetricType::Value => value / target,
    };
    // As `Tolerances.isWithin` has it; the distance from 1 is not the same in the last bit.
    let within = (1.0 - tolerance..=1.0 + tolerance).contains(&ratio);
    match metric_type {
        _ if replicas > 0 && within => replicas,
        MetricType::AverageValue => whole(value / target),
        MetricType::Value if replicas == 0 => whole(ratio),
        MetricType::Value => whole(ratio * f64::from(ready)),
    }
}

/// The value of which the HPA makes `desired` replicas, whether its tolerance is
/// [`DEFAULT_TOLERANCE`] or 0.
///
/// `replicas` as in [`hpa_desired`]. Out of reach, so that the HPA's size stays: a change by less than
/// the tolerance, which it does not see (growth from ten replicas on, shrinking from nineteen on, or by
/// the ready ones under `Value`; with a surge, staying is such a change, too), and any change under
/// `Value` while none is ready, since it multiplies by those.
pub(crate) fn value_for(
    metric_type: MetricType,
    desired: u32,
    target: f64,
    replicas: u32,
    ready: u32,
) -> f64 {
    let total = f64::from(desired) * target;
    let (exact, unchanged) = match metric_type {
        MetricType::AverageValue => (total, target * f64::from(replicas)),
        MetricType::Value if replicas == 0 => (total, target),
        MetricType::Value if ready == 0 => (target, target),
        MetricType::Value => (total / f64::from(ready), target),
    };
    // So near to no change that the tolerance would hide it: a little less gives the same whole number
    // of replicas.
    let hidden = to_milli((unchanged * (1.0 - DEFAULT_TOLERANCE) - 0.001).min(exact));
    let made =
        |value: f64, tolerance: f64| hpa_desired(metric_type, value, target, replicas, ready, tolerance);
    let asks = |value: f64, tolerance: f64| made(value, tolerance) == desired;
    let wanted = |value: f64| asks(value, DEFAULT_TOLERANCE) && asks(value, 0.0);
    // A division that rounds a whole number up by its last bit gives one replica more; a thousandth less
    // does not.
    let less = to_milli((exact - 0.001).max(0.0));
    // More are ready than there should be while some drain: a part of the growth is better than none.
    let stays = made(exact, DEFAULT_TOLERANCE) == replicas;
    let grows = stays && (replicas + 1..desired).contains(&made(hidden, DEFAULT_TOLERANCE));
    let reachable = metric_type == MetricType::AverageValue || ready > 0;
    if !reachable || wanted(exact) {
        to_milli(exact)
    } else if wanted(hidden) || grows {
        hidden
    } else if wanted(less) || !asks(exact, 0.0) && asks(less, 0.0) {
        less
    } else {
        to_milli(exact)
    }
}

/// `value` as a number that KEDA turns into exactly the nearest thousandth at or below it.
///
/// KEDA cuts `value × 1000` to an integer, so that 0.57, which is stored as slightly less, would
/// become 0.569; a ratio of exactly 1 would then be less than 1, and with a tolerance of 0 the
/// HPA would shrink. Capped where an `int64` of thousandths ends; never negative.
#[must_use]
pub fn to_milli(value: f64) -> f64 {
    let value = value.clamp(0.0, GREATEST);
    let thousandths = milli(value);
    let exact = thousandths / 1000.0;
    if (exact * 1000.0).floor() < thousandths {
        exact.next_up()
    } else {
        exact
    }
}

/// Thousandths in `value`, cut; what lies within rounding of the next one counts as that.
fn milli(value: f64) -> f64 {
    let thousandths = value * 1000.0;
    (thousandths + (thousandths.abs() * 1e-12).max(1e-6)).floor()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is wanted"
)]
fn whole(replicas: f64) -> u32 {
    replicas.ceil() as u32
}

impl fmt::Display for MetricType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
        })
    }
}

impl FromStr for MetricType {
    type Err = ();

    /// KEDA's spelling; empty is its default.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "" | "AverageValue" => Ok(Self::AverageValue),
            "Value" => Ok(Self::Value),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_formulas() {
        use MetricType::{AverageValue, Value};
        assert_eq!(hpa_desired(AverageValue, 380.0, 80.0, 4, 4, 0.1), 5);
        assert_eq!(hpa_desired(Value, 95.0, 80.0, 4, 4, 0.1), 5);
        // The peer's mistake: an intensity for AverageValue shrinks at full load.
        assert_eq!(hpa_desired(AverageValue, 95.0, 80.0, 4, 4, 0.1), 2);
        assert_eq!(
            hpa_desired(AverageValue, 330.0, 80.0, 4, 4, 0.1),
            4,
            "within tolerance"
        );
        assert_eq!(hpa_desired(AverageValue, 330.0, 80.0, 4, 4, 0.0), 5);
        // Exactly at the edge.
        assert_eq!(hpa_desired(AverageValue, 11.0, 1.0, 10, 10, 0.1), 10);
        assert_eq!(hpa_desired(Value, 80.0, 80.0, 8, 4, 0.0), 8);
        assert_eq!(hpa_desired(Value, 160.0, 80.0, 0, 0, 0.1), 2);
    }

    #[test]
    fn a_division_that_rounds_up_asks_for_no_replica_more() {
        let (desired, target) = (29, 358.365);
        let value = value_for(MetricType::Value, desired, target, 14, 7);
        for tolerance in [0.0, DEFAULT_TOLERANCE] {
            assert_eq!(
                hpa_desired(MetricType::Value, value, target, 14, 7, tolerance),
                desired
            );
        }
        // With its usual tolerance the HPA does not see this change at all.
        let value = value_for(MetricType::Value, 23, 145.845, 27, 21);
        let found = |tolerance| hpa_desired(MetricType::Value, value, 145.845, 27, 21, tolerance);
        assert_eq!((found(0.0), found(DEFAULT_TOLERANCE)), (23, 27));
    }

    proptest! {
        #[test]
        fn a_wanted_size_comes_out(
            desired in 0u32..60, replicas in 0u32..60, missing in 0u32..60, thousandths in 1000u32..1_000_000,
            metric_type in prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)],
            tolerance in prop_oneof![Just(0.0), Just(DEFAULT_TOLERANCE)],
        ) {
            // Of a tinier target a thousandth is too coarse to divide by many pods.
            let target = f64::from(thousandths) / 1000.0;
            let ready = replicas.saturating_sub(missing);
            let value = value_for(metric_type, desired, target, replicas, ready);
            let found = hpa_desired(metric_type, value, target, replicas, ready, tolerance);
            let per = match metric_type {
                MetricType::AverageValue => replicas,
                MetricType::Value => ready,
            };
            let near = (f64::from(desired) / f64::from(per) - 1.0).abs() <= tolerance + 1e-3;
            if metric_type == MetricType::Value && ready == 0 && replicas > 0 {
                prop_assert_eq!(found, replicas);
            } else if near && !(metric_type == MetricType::AverageValue && desired < replicas.min(19)) {
                prop_assert!(found == desired || found == replicas);
            } else {
                prop_assert_eq!(found, desired);
            }
        }

        #[test]
        fn thousandths_survive_the_cut(thousandths in 0u64..10_000_000_000) {
            let value = to_milli(thousandths as f64 / 1000.0);
            prop_assert_eq!((value * 1000.0) as i64, thousandths as i64);
        }

        #[test]
        fn what_is_sent_is_a_number(value in proptest::num::f64::ANY) {
            prop_assume!(!value.is_nan());
            let sent = to_milli(value);
            prop_assert!((0.0..=GREATEST * 1.000_001).contains(&sent));
            prop_assert!(sent <= value.max(0.0) + value.abs() * 1e-9 + 1e-6);
        }
    }
}
