//! The spec of an HPA (`autoscaling/v2`, written as in a manifest) and the flags of its controller.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// The spec of an HPA with external metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HpaSettings {
    /// `minReplicas`, at least 1.
    pub min_replicas: i32,
    /// `maxReplicas`.
    pub max_replicas: i32,
    /// The metrics, in order.
    pub metrics: Vec<HpaMetric>,
    /// `behavior`. Without it the controller uses other, older rules than with an empty one.
    #[serde(default)]
    pub behavior: Option<Behavior>,
}

/// An external metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HpaMetric {
    /// Its name in the external metrics API.
    pub name: String,
    /// Its target.
    pub target: Target,
}

/// A target value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// What the value is compared with.
    pub kind: MetricType,
    /// How much.
    pub quantity: Quantity,
}

/// `metricType` of a trigger, `target.type` of an external metric. `Utilization` is refused by KEDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetricType {
    /// The value is a total, the target is per pod. KEDA's default.
    #[default]
    AverageValue,
    /// The value is an intensity, compared with the target as it is.
    Value,
}

/// `spec.behavior`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behavior {
    /// `scaleUp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// `scaleDown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// `HPAScalingRules`; what is left out is filled in by the API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// `stabilizationWindowSeconds`, 0 to 3600. Default: 0 up, the controller's window down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilization_window_seconds: Option<u32>,
    /// `selectPolicy`, default `Max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// `policies`. Default: 4 pods or 100 % in 15 s up, 100 % in 15 s down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<ScalingPolicy>>,
    /// `tolerance`; default is the controller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
}

/// `selectPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The policy that allows the largest change.
    #[default]
    Max,
    /// The policy that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// One rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub kind: PolicyType,
    /// How many pods or percent, above 0.
    pub value: i32,
    /// In how many seconds, 1 to 1800.
    pub period_seconds: u32,
}

/// The unit of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyType {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// Flags of kube-controller-manager.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControllerSettings {
    /// `--horizontal-pod-autoscaler-sync-period`, in seconds.
    pub sync_period_seconds: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`, in seconds.
    pub downscale_stabilization_seconds: f64,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            sync_period_seconds: 15.0,
            downscale_stabilization_seconds: 300.0,
            tolerance: 0.1,
        }
    }
}

impl ControllerSettings {
    /// The time between two syncs.
    #[must_use]
    pub fn sync_period(&self) -> Duration {
        Duration::from_secs_f64(self.sync_period_seconds.clamp(0.001, 1e9))
    }

    /// The window that holds back scaling down.
    #[must_use]
    pub fn downscale_stabilization(&self) -> Duration {
        Duration::from_secs_f64(self.downscale_stabilization_seconds.clamp(0.0, 1e9))
    }
}

/// An HPA that the API server refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HPA: {key} is {value}; allowed is {allowed}")]
pub struct InvalidHpa {
    /// The field.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

/// Rules with nothing left out.
#[derive(Clone, Debug)]
pub(super) struct ResolvedRules {
    pub(super) stabilization_window_seconds: u32,
    pub(super) select: SelectPolicy,
    pub(super) policies: Vec<ScalingPolicy>,
    pub(super) tolerance: Option<Quantity>,
}

/// A behaviour with nothing left out.
#[derive(Clone, Debug)]
pub(super) struct ResolvedBehavior {
    pub(super) up: ResolvedRules,
    pub(super) down: ResolvedRules,
}

impl ResolvedRules {
    pub(super) const fn window(&self) -> Duration {
        Duration::from_secs(self.stabilization_window_seconds as u64)
    }
}

impl HpaSettings {
    /// Checks the spec as the API server does, and fills in the behaviour
    /// (`SetDefaults_HorizontalPodAutoscalerBehavior`, `maybeInitScaleDownStabilizationWindow`).
    pub(super) fn resolve(&self, downscale: Duration) -> Result<Option<ResolvedBehavior>, InvalidHpa> {
        let invalid = |key: &str, value: String, allowed| {
            Err(InvalidHpa {
                key: key.to_owned(),
                value,
                allowed,
            })
        };
        if self.min_replicas < 1 {
            return invalid("minReplicas", self.min_replicas.to_string(), "1 or more");
        }
        if self.max_replicas < self.min_replicas {
            return invalid(
                "maxReplicas",
                self.max_replicas.to_string(),
                "minReplicas or more",
            );
        }
        if self.metrics.is_empty() {
            return invalid("metrics", "empty".to_owned(), "at least one external metric");
        }
        for metric in &self.metrics {
            if metric.target.quantity.milli() <= 0 {
                let value = metric.target.quantity.to_string();
                return invalid(&format!("the target of {}", metric.name), value, "more than 0");
            }
        }
        let Some(behavior) = &self.behavior else {
            return Ok(None);
        };
        let whole_seconds = u32::try_from(downscale.as_secs()).unwrap_or(u32::MAX);
        let pods = ScalingPolicy {
            kind: PolicyType::Pods,
            value: 4,
            period_seconds: 15,
        };
        let percent = ScalingPolicy {
            kind: PolicyType::Percent,
            value: 100,
            period_seconds: 15,
        };
        Ok(Some(ResolvedBehavior {
            up: resolve_rules("scaleUp", behavior.scale_up.as_ref(), 0, vec![pods, percent])?,
            down: resolve_rules(
                "scaleDown",
                behavior.scale_down.as_ref(),
                whole_seconds,
                vec![percent],
            )?,
        }))
    }
}

fn resolve_rules(
    side: &str,
    rules: Option<&ScalingRules>,
    window: u32,
    policies: Vec<ScalingPolicy>,
) -> Result<ResolvedRules, InvalidHpa> {
    let given = rules.cloned().unwrap_or_default();
    let resolved = ResolvedRules {
        stabilization_window_seconds: given.stabilization_window_seconds.unwrap_or(window),
        select: given.select_policy.unwrap_or_default(),
        policies: given.policies.unwrap_or(policies),
        tolerance: given.tolerance,
    };
    let invalid = |key: &str, value: String, allowed| {
        Err(InvalidHpa {
            key: format!("behavior.{side}.{key}"),
            value,
            allowed,
        })
    };
    if given
        .stabilization_window_seconds
        .is_some_and(|seconds| seconds > 3600)
    {
        let seconds = resolved.stabilization_window_seconds.to_string();
        return invalid("stabilizationWindowSeconds", seconds, "0 to 3600");
    }
    if resolved.policies.is_empty() {
        return invalid("policies", "empty".to_owned(), "at least one policy");
    }
    for policy in &resolved.policies {
        if policy.value <= 0 {
            return invalid("policies.value", policy.value.to_string(), "more than 0");
        }
        if !(1..=1800).contains(&policy.period_seconds) {
            return invalid(
                "policies.periodSeconds",
                policy.period_seconds.to_string(),
                "1 to 1800",
            );
        }
    }
    if let Some(tolerance) = resolved
        .tolerance
        .filter(|tolerance| tolerance.approximate() < 0.0)
    {
        return invalid("tolerance", tolerance.to_string(), "0 or more");
    }
    Ok(resolved)
}
