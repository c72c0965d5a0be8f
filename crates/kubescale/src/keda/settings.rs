//! A ScaledObject as it is written in a manifest (`keda.sh/v1alpha1`), as far as it decides about
//! replicas: `serde` reads the real thing and skips the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hpa::{Behavior, HpaMetric, HpaSettings, MetricType, ScalingRules, SelectPolicy};

/// A ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaledObject {
    /// The annotations that steer scaling.
    #[serde(default)]
    pub annotations: Annotations,
    /// Its spec.
    pub spec: ScaledObjectSpec,
}

/// KEDA's annotations (`autoscaling.keda.sh/…`), as booleans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Annotations {
    /// `paused`: no scale loop, no HPA.
    pub paused: bool,
    /// `paused-replicas`: the same, at this count.
    pub paused_replicas: Option<i32>,
    /// `paused-scale-in`: never fewer.
    pub paused_scale_in: bool,
    /// `paused-scale-out`: never more.
    pub paused_scale_out: bool,
    /// `force-activation`: as if a trigger were active.
    pub force_activation: bool,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// `pollingInterval`, seconds, default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<u32>,
    /// `cooldownPeriod`, seconds, default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<u32>,
    /// `initialCooldownPeriod`, seconds from creation, default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<u32>,
    /// `idleReplicaCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_replica_count: Option<i32>,
    /// `minReplicaCount`, default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// `maxReplicaCount`, default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// `fallback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// `advanced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,
    /// `triggers`.
    pub triggers: Vec<Trigger>,
}

/// `advanced`. `scalingModifiers` are not modelled, and refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// `horizontalPodAutoscalerConfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HpaConfig>,
    /// `scalingModifiers`, kept only so that they can be refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaling_modifiers: BTreeMap<String, String>,
}

/// `horizontalPodAutoscalerConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HpaConfig {
    /// `behavior`, passed on to the HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
}

/// `fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// `failureThreshold`: active once more failures than this were counted in a row.
    pub failure_threshold: u32,
    /// `replicas`.
    pub replicas: i32,
    /// `behavior`.
    #[serde(default)]
    pub behavior: FallbackBehavior,
}

/// `fallback.behavior`. `scalingModifiers` needs a formula and is not modelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    /// `fallback.replicas`.
    #[default]
    Static,
    /// As many as there are.
    CurrentReplicas,
    /// The larger of both.
    CurrentReplicasIfHigher,
    /// The smaller of both.
    CurrentReplicasIfLower,
}

/// A trigger of an external scaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// `type`.
    #[serde(rename = "type", default)]
    pub kind: TriggerType,
    /// `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `metricType`.
    #[serde(default)]
    pub metric_type: MetricType,
    /// `useCachedMetrics`.
    #[serde(default)]
    pub use_cached_metrics: bool,
    /// `metadata`, for the scaler; the model does not read it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The types of triggers that are modelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerType {
    /// Polled only.
    #[default]
    External,
    /// Polled, and a push stream.
    ExternalPush,
}

/// A ScaledObject that KEDA refuses, or that is not modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ScaledObject: {key} is {value}; allowed is {allowed}")]
pub struct InvalidScaledObject {
    /// The field.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

impl ScaledObject {
    /// Checks it as admission and `CheckReplicaCountBoundsAreValid` do.
    ///
    /// # Errors
    /// On the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidScaledObject> {
        let spec = &self.spec;
        let check = |valid: bool, key, value: String, allowed| {
            if valid {
                Ok(())
            } else {
                Err(InvalidScaledObject { key, value, allowed })
            }
        };
        let (min, max) = (self.min_replicas(), self.max_replicas());
        check(
            !spec.triggers.is_empty(),
            "triggers",
            "empty".to_owned(),
            "at least one trigger",
        )?;
        check(
            self.polling_interval() >= Duration::from_secs(1),
            "pollingInterval",
            "0".to_owned(),
            "1 or more",
        )?;
        check(min >= 0, "minReplicaCount", min.to_string(), "0 or more")?;
        check(max >= 1, "maxReplicaCount", max.to_string(), "1 or more")?;
        check(
            min <= max,
            "minReplicaCount",
            min.to_string(),
            "at most maxReplicaCount",
        )?;
        if let Some(idle) = spec.idle_replica_count {
            check(idle >= 0, "idleReplicaCount", idle.to_string(), "0 or more")?;
            let below = if spec.min_replica_count.is_some() {
                self.hpa_min_replicas()
            } else {
                0
            };
            check(
                idle < below,
                "idleReplicaCount",
                idle.to_string(),
                "less than minReplicaCount",
            )?;
        }
        if let Some(fallback) = spec.fallback {
            check(
                fallback.replicas >= 0,
                "fallback.replicas",
                fallback.replicas.to_string(),
                "0 or more",
            )?;
        }
        if let Some(count) = self.annotations.paused_replicas {
            check(count >= 0, "paused-replicas", count.to_string(), "0 or more")?;
        }
        let modifiers = spec
            .advanced
            .as_ref()
            .is_none_or(|advanced| advanced.scaling_modifiers.is_empty());
        check(
            modifiers,
            "advanced.scalingModifiers",
            "set".to_owned(),
            "none: they are not modelled",
        )
    }

    /// The time between polls.
    #[must_use]
    pub fn polling_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.polling_interval.unwrap_or(30)))
    }

    /// The time from the last activity to zero.
    #[must_use]
    pub fn cooldown(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.cooldown_period.unwrap_or(300)))
    }

    /// The time from creation to zero, if it was never active.
    #[must_use]
    pub fn initial_cooldown(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.initial_cooldown_period.unwrap_or(0)))
    }

    /// `minReplicaCount`.
    #[must_use]
    pub fn min_replicas(&self) -> i32 {
        self.spec.min_replica_count.unwrap_or(0)
    }

    /// `maxReplicaCount`.
    #[must_use]
    pub fn max_replicas(&self) -> i32 {
        self.spec.max_replica_count.unwrap_or(100)
    }

    /// The HPA's minimum (`GetHPAMinReplicas`), also the count that activation starts with.
    #[must_use]
    pub fn hpa_min_replicas(&self) -> i32 {
        self.min_replicas().max(1)
    }

    /// Whether the scale loop takes over what the HPA's reads observed, instead of asking the scaler
    /// itself (`UsesHPAObservations`): wherever it could change nothing.
    #[must_use]
    pub fn uses_hpa_observations(&self) -> bool {
        self.min_replicas() > 0
            && self.spec.idle_replica_count.is_none()
            && !self
                .spec
                .triggers
                .iter()
                .any(|trigger| trigger.use_cached_metrics)
    }

    /// Whether the annotations stop everything.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.annotations.paused || self.annotations.paused_replicas.is_some()
    }

    /// The HPA that KEDA makes of it (`newHPAForScaledObject`).
    #[must_use]
    pub fn hpa(&self, metrics: Vec<HpaMetric>) -> HpaSettings {
        let config = self
            .spec
            .advanced
            .as_ref()
            .and_then(|a| a.horizontal_pod_autoscaler_config.as_ref());
        let mut behavior = config.and_then(|config| config.behavior.clone());
        let disable = |rules: &mut Option<ScalingRules>| {
            rules.get_or_insert_default().select_policy = Some(SelectPolicy::Disabled);
        };
        if self.annotations.paused_scale_in {
            disable(&mut behavior.get_or_insert_default().scale_down);
        }
        if self.annotations.paused_scale_out {
            disable(&mut behavior.get_or_insert_default().scale_up);
        }
        HpaSettings {
            min_replicas: self.hpa_min_replicas(),
            max_replicas: self.max_replicas(),
            metrics,
            behavior,
        }
    }
}
