use std::time::Duration;

use rheostat_kubescale::Quantity;
use rheostat_kubescale::hpa::{Behavior, MetricType, PolicyType, ScalingPolicy, ScalingRules};
use rheostat_kubescale::keda::{Advanced, HpaConfig, ScaledObject, ScaledObjectSpec, Trigger, TriggerType};
use rheostat_sizing::{Decision, Intent, Observation, Outcome, Sizer};

use crate::control::{Control, ExternalScaler, TriggerAnswer};

/// Our own policy, as the scaler answers KEDA with it: the desired replica count itself, at a target of 1.
#[derive(Debug)]
pub struct SizingScaler {
    intent: Intent,
    sizer: Sizer,
    decision: Option<Decision>,
}

/// How often it looks. The scaler evaluates each second; what it decides changes every five.
const PERIOD: Duration = Duration::from_secs(5);

impl SizingScaler {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(intent: Intent) -> Self {
        Self {
            intent,
            sizer: Sizer::new(),
            decision: None,
        }
    }

    /// With KEDA and the HPA as our examples set them: no tolerance, since the value is the replica count
    /// itself, and no windows or rates, since the policy has its own.
    #[must_use]
    pub fn through_keda(intent: Intent) -> Control {
        Control::Keda {
            object: Box::new(scaled_object(&intent)),
            scaler: Box::new(Self::new(intent)),
        }
    }

    /// What it remembers.
    #[must_use]
    pub const fn sizer(&self) -> &Sizer {
        &self.sizer
    }
}

/// The ScaledObject of our examples: the HPA does what it is told, and to zero and back is KEDA's.
fn scaled_object(intent: &Intent) -> ScaledObject {
    let signed = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let minimum = match intent.scale_to_zero_after {
        Some(_) => intent.min_replicas,
        None => intent.min_replicas.max(1),
    };
    let rules = ScalingRules {
        stabilization_window_seconds: Some(0),
        tolerance: Some(Quantity::from_int(0)),
        policies: Some(vec![ScalingPolicy {
            kind: PolicyType::Pods,
            value: signed(intent.max_replicas.max(1)),
            period_seconds: 15,
        }]),
        ..ScalingRules::default()
    };
    ScaledObject {
        spec: ScaledObjectSpec {
            polling_interval: Some(POLLING_SECONDS),
            // The policy itself says when a workload has been idle for long enough.
            cooldown_period: Some(0),
            min_replica_count: Some(signed(minimum)),
            max_replica_count: Some(signed(intent.max_replicas)),
            triggers: vec![Trigger {
                kind: TriggerType::ExternalPush,
                metric_type: MetricType::AverageValue,
                ..Trigger::default()
            }],
            advanced: Some(Advanced {
                horizontal_pod_autoscaler_config: Some(HpaConfig {
                    behavior: Some(Behavior {
                        scale_up: Some(rules.clone()),
                        scale_down: Some(rules),
                    }),
                }),
                ..Advanced::default()
            }),
            ..ScaledObjectSpec::default()
        },
        ..ScaledObject::default()
    }
}

/// `pollingInterval` of our examples.
const POLLING_SECONDS: u32 = 5;

impl ExternalScaler for SizingScaler {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn observe(&mut self, observation: &Observation) {
        self.decision = Some(self.sizer.decide(&self.intent, observation));
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("rheostat-policy".to_owned(), 1.0)]
    }

    fn answer(&self, _trigger: usize) -> TriggerAnswer {
        match &self.decision {
            Some(Decision {
                outcome: Outcome::Unknown { reason },
                ..
            }) => TriggerAnswer::Error(reason.clone()),
            Some(decision) => TriggerAnswer::Value {
                value: f64::from(decision.replicas),
                active: decision.active,
            },
            None => TriggerAnswer::Error("nothing was seen yet".to_owned()),
        }
    }

    fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }
}
