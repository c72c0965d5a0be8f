use rheostat_kubescale::Quantity;
use rheostat_kubescale::hpa::{Behavior, MetricType, PolicyType, ScalingPolicy, ScalingRules};
use rheostat_kubescale::keda::{Advanced, HpaConfig, ScaledObject, ScaledObjectSpec, Trigger, TriggerType};
use rheostat_simulator::{Control, ExternalScaler};

use crate::bounds::Bounds;

/// A ScaledObject in the making: what a guide sets, KEDA's defaults for the rest.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    object: ScaledObject,
}

impl Object {
    pub(crate) fn new(bounds: Bounds, triggers: &[MetricType]) -> Self {
        let triggers = triggers
            .iter()
            .map(|metric_type| Trigger {
                kind: TriggerType::External,
                metric_type: *metric_type,
                ..Trigger::default()
            })
            .collect();
        Self {
            object: ScaledObject {
                spec: ScaledObjectSpec {
                    min_replica_count: Some(signed(bounds.floor)),
                    max_replica_count: Some(signed(bounds.cap)),
                    triggers,
                    ..ScaledObjectSpec::default()
                },
                ..ScaledObject::default()
            },
        }
    }

    /// `pollingInterval` in seconds.
    pub(crate) fn polling(mut self, seconds: u32) -> Self {
        self.object.spec.polling_interval = Some(seconds);
        self
    }

    /// `cooldownPeriod` in seconds; only for the way to zero.
    pub(crate) fn cooldown(mut self, seconds: u32) -> Self {
        self.object.spec.cooldown_period = Some(seconds);
        self
    }

    /// `behavior` of the HPA.
    pub(crate) fn behavior(mut self, up: ScalingRules, down: ScalingRules) -> Self {
        self.object.spec.advanced = Some(Advanced {
            horizontal_pod_autoscaler_config: Some(HpaConfig {
                behavior: Some(Behavior {
                    scale_up: Some(up),
                    scale_down: Some(down),
                }),
            }),
            ..Advanced::default()
        });
        self
    }

    pub(crate) fn with(self, scaler: impl ExternalScaler + 'static) -> Control {
        Control::Keda {
            object: Box::new(self.object),
            scaler: Box::new(scaler),
        }
    }
}

/// Rules with a stabilisation window in seconds, and the HPA's own rates.
pub(crate) fn window(seconds: u32) -> ScalingRules {
    ScalingRules {
        stabilization_window_seconds: Some(seconds),
        ..ScalingRules::default()
    }
}

/// At most so many pods in so many seconds.
pub(crate) fn pods(mut rules: ScalingRules, pods: u32, period_seconds: u32) -> ScalingRules {
    rules.policies = Some(vec![ScalingPolicy {
        kind: PolicyType::Pods,
        value: signed(pods),
        period_seconds,
    }]);
    rules
}

/// Without tolerance: for values that have been through it already, or that are replica counts.
pub(crate) fn exactly(mut rules: ScalingRules) -> ScalingRules {
    rules.tolerance = Some(Quantity::from_int(0));
    rules
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
