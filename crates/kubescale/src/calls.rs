//! What KEDA asks an external scaler, and what it makes of the answers: the client side of
//! `externalscaler.proto` (`pkg/scalers/external_scaler.go`), without the network.

use serde::{Deserialize, Serialize};

use crate::hpa::{HpaMetric, MetricType, Target};
use crate::quantity::Quantity;

/// One call that is to be made now. Its answer goes to `Autoscaler::answer` with the same id; a
/// stream's messages go to `Autoscaler::push`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call in its answer.
    pub id: CallId,
    /// Position of the trigger in the ScaledObject.
    pub trigger: usize,
    /// On whose behalf KEDA asks.
    pub caller: Caller,
    /// What it asks.
    pub request: Request,
}

/// Names one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

/// Which part of KEDA makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Caller {
    /// The controller that creates and updates the HPA.
    Reconcile,
    /// The scale loop.
    Poll,
    /// A metric read by the HPA.
    Hpa,
    /// A push stream.
    Push,
}

/// The RPC of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GetMetricSpec`.
    MetricSpec,
    /// `GetMetrics`, with the name as the scaler gave it (without KEDA's `sN-` prefix).
    Metrics {
        /// The metric's name.
        metric_name: String,
    },
    /// `IsActive`.
    IsActive,
    /// Open `StreamIsActive`.
    StreamIsActive,
}

/// The answer to a call; it has to fit the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Request::MetricSpec`].
    MetricSpec(Result<Vec<MetricSpec>, CallError>),
    /// To [`Request::Metrics`].
    Metrics(Result<Vec<MetricValue>, CallError>),
    /// To [`Request::IsActive`].
    IsActive(Result<bool, CallError>),
}

/// A call that failed: the gRPC status as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub struct CallError(pub String);

/// `MetricSpec` of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// `metricName`.
    pub metric_name: String,
    /// `targetSize`, the old integer field.
    #[serde(default)]
    pub target_size: i64,
    /// `targetSizeFloat`, which wins where it is above 0.
    #[serde(default)]
    pub target_size_float: f64,
}

/// `MetricValue` of the protocol. Its name is left out: KEDA ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// `metricValue`, the old integer field.
    #[serde(default)]
    pub metric_value: i64,
    /// `metricValueFloat`, which wins where it is above 0.
    #[serde(default)]
    pub metric_value_float: f64,
}

/// What comes over a push stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// A message with this `result`.
    Message(bool),
    /// The stream ended: `clean` if the server ended it with OK.
    Ended {
        /// Whether it was an orderly end.
        clean: bool,
    },
}

impl MetricSpec {
    /// A spec as our scaler sends it.
    #[must_use]
    pub fn new(metric_name: impl Into<String>, target: f64) -> Self {
        Self {
            metric_name: metric_name.into(),
            target_size: target.ceil() as i64,
            target_size_float: target,
        }
    }

    /// The metric of the HPA that KEDA makes of it (`buildMetricSpecs`).
    pub(crate) fn to_hpa(&self, trigger: usize, kind: MetricType) -> HpaMetric {
        let quantity = if self.target_size_float > 0.0 {
            Quantity::from_float(self.target_size_float)
        } else {
            Quantity::from_int(self.target_size)
        };
        HpaMetric {
            name: format!("s{trigger}-{}", self.metric_name),
            target: Target { kind, quantity },
        }
    }
}

impl MetricValue {
    /// A value as our scaler sends it.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self {
            metric_value: 0,
            metric_value_float: value,
        }
    }

    /// The quantity that KEDA makes of it (`GetMetricsAndActivity`): the float if it is above 0, the
    /// integer otherwise, both through a float.
    #[must_use]
    pub fn quantity(self) -> Quantity {
        let value = if self.metric_value_float > 0.0 {
            self.metric_value_float
        } else {
            self.metric_value as f64
        };
        Quantity::from_float(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// external_scaler.go: GetMetricsAndActivity.
    #[test]
    fn the_float_wins_where_it_is_positive() {
        let milli = |int, float| {
            MetricValue {
                metric_value: int,
                metric_value_float: float,
            }
            .quantity()
            .milli()
        };
        assert_eq!(milli(7, 2.5), 2500);
        assert_eq!(milli(7, 0.0), 7000, "a left-over integer is taken");
        assert_eq!(milli(7, -1.0), 7000);
        assert_eq!(milli(7, f64::NAN), 7000);
        assert_eq!(milli(0, f64::INFINITY), 0);
        assert_eq!(milli(-7, 0.0), 0);
        assert_eq!(milli(0, 0.0), 0);
    }

    /// external_scaler.go: buildMetricSpecs.
    #[test]
    fn targets_follow_the_same_rule_but_integers_pass_unchecked() {
        let target = |int, float| {
            MetricSpec {
                metric_name: "x".into(),
                target_size: int,
                target_size_float: float,
            }
            .to_hpa(2, MetricType::AverageValue)
        };
        assert_eq!(target(1, 0.8).target.quantity.milli(), 800);
        assert_eq!(target(3, 0.0).target.quantity.milli(), 3000);
        assert_eq!(target(-3, 0.0).target.quantity.milli(), -3000);
        assert_eq!(target(0, 0.0001).target.quantity.milli(), 0);
        assert_eq!(target(1, 1.0).name, "s2-x");
    }
}
