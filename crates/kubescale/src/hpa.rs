//! The HPA controller (`pkg/controller/podautoscaler`) for external metrics.
//!
//! A sync has two halves, because the metric values have to be fetched in between: [`Hpa::start`]
//! looks at the scale and either decides alone (no replicas, or outside the limits) or asks for the
//! metrics; [`Hpa::finish`] makes the decision.
//!
//! Not modelled: resource, pods and object metrics, and the alpha gate `HPAScaleToZero` (off by
//! default, and KEDA never makes an HPA with a minimum of 0).

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;
use crate::workload::Workload;

mod rate;
mod replicas;
mod settings;
mod stabilization;
#[cfg(test)]
mod tests;

use rate::ScaleEvents;
pub use replicas::{Tolerances, per_pod_replicas, value_replicas};
pub use settings::{
    Behavior, ControllerSettings, HpaMetric, HpaSettings, InvalidHpa, MetricType, PolicyType, ScalingPolicy,
    ScalingRules, SelectPolicy, Target,
};
use settings::{ResolvedBehavior, ResolvedRules};
use stabilization::Recommendations;

/// One HPA with all that the controller remembers about it between syncs.
#[derive(Clone, Debug)]
pub struct Hpa {
    settings: HpaSettings,
    behavior: Option<ResolvedBehavior>,
    controller: ControllerSettings,
    recommendations: Recommendations,
    scale_ups: ScaleEvents,
    scale_downs: ScaleEvents,
    conditions: Conditions,
}

/// How a sync begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// Decided without metrics.
    Decided(Box<Sync>),
    /// The metrics are needed; go on with [`Hpa::finish`].
    NeedsMetrics,
}

/// What one sync saw and decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// When it decided.
    pub at: Timestamp,
    /// `spec.replicas` that it saw.
    pub from: i32,
    /// `spec.replicas` that it wants; equal to `from` where nothing is to be done.
    pub to: i32,
    /// What each metric asked for, in the order of the HPA; empty if metrics were not read.
    pub proposals: Vec<Proposal>,
    /// The largest proposal: what the metrics alone would make it.
    pub recommendation: Option<i32>,
    /// The recommendation after the stabilisation windows, before rates and limits.
    pub stabilized: Option<i32>,
    /// Whether recent recommendations held the change back.
    pub stabilization: Option<ConditionReason>,
    /// Why the replica count was changed, if it was.
    pub cause: Option<RescaleCause>,
    /// The conditions after the sync.
    pub conditions: Conditions,
}

/// What one metric asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The metric.
    pub metric: String,
    /// Replicas, or why it has nothing to say.
    pub replicas: Result<i32, String>,
}

/// Why the HPA changed a replica count (`rescaleReason`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RescaleCause {
    /// There were more than the maximum.
    AboveMaximum,
    /// There were fewer than the minimum.
    BelowMinimum,
    /// This metric asked for more.
    AboveTarget {
        /// The metric with the largest proposal.
        metric: String,
    },
    /// No metric asked for as many.
    BelowTarget,
    /// The metrics asked for no change, but limits or windows did.
    Limits,
}

impl std::fmt::Display for RescaleCause {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AboveMaximum => out.write_str("more replicas than the maximum"),
            Self::BelowMinimum => out.write_str("fewer replicas than the minimum"),
            Self::AboveTarget { metric } => write!(out, "{metric} is above its target"),
            Self::BelowTarget => out.write_str("every metric is below its target"),
            Self::Limits => out.write_str("a limit or window of the HPA"),
        }
    }
}

/// The conditions of an HPA's status; absent until first set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `AbleToScale`.
    pub able_to_scale: Option<Condition>,
    /// `ScalingActive`: false at 0 replicas and while no metric can be used.
    pub scaling_active: Option<Condition>,
    /// `ScalingLimited`: true where a limit or a rate bound the result.
    pub scaling_limited: Option<Condition>,
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether its status is True.
    pub is_true: bool,
    /// Its reason.
    pub reason: ConditionReason,
}

/// The reasons of conditions, named as in the HPA's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum ConditionReason {
    SucceededGetScale,
    ReadyForNewScale,
    ScaleUpStabilized,
    ScaleDownStabilized,
    SucceededRescale,
    ScalingDisabled,
    ValidMetricFound,
    FailedGetExternalMetric,
    DesiredWithinRange,
    TooFewReplicas,
    TooManyReplicas,
    ScaleUpLimit,
    ScaleDownLimit,
}

impl Hpa {
    /// A new HPA; the controller knows nothing about it yet.
    ///
    /// # Errors
    /// If the API server would refuse it.
    pub fn new(settings: HpaSettings, controller: ControllerSettings) -> Result<Self, InvalidHpa> {
        let behavior = settings.resolve(controller.downscale_stabilization())?;
        Ok(Self {
            settings,
            behavior,
            controller,
            recommendations: Recommendations::default(),
            scale_ups: ScaleEvents::default(),
            scale_downs: ScaleEvents::default(),
            conditions: Conditions::default(),
        })
    }

    /// Changes the spec; what the controller remembers stays.
    ///
    /// # Errors
    /// If the API server would refuse it; the old spec stays.
    pub fn update(&mut self, settings: HpaSettings) -> Result<(), InvalidHpa> {
        self.behavior = settings.resolve(self.controller.downscale_stabilization())?;
        self.settings = settings;
        Ok(())
    }

    /// The spec.
    #[must_use]
    pub const fn settings(&self) -> &HpaSettings {
        &self.settings
    }

    /// The conditions of the status.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The first half of a sync (`reconcileAutoscaler`): `scale` as it is now.
    pub fn start(&mut self, now: Timestamp, scale: &Workload) -> Start {
        self.conditions.able_to_scale = condition(true, ConditionReason::SucceededGetScale);
        let current = scale.spec_replicas;
        self.recommendations.record_initial(current, now);
        let outside = if current == 0 {
            self.conditions.scaling_active = condition(false, ConditionReason::ScalingDisabled);
            None
        } else if current > self.settings.max_replicas {
            Some((self.settings.max_replicas, RescaleCause::AboveMaximum))
        } else if current < self.settings.min_replicas {
            Some((self.settings.min_replicas, RescaleCause::BelowMinimum))
        } else {
            return Start::NeedsMetrics;
        };
        let (to, cause) = outside.map_or((current, None), |(to, cause)| (to, Some(cause)));
        let mut sync = self.unchanged(now, current, Vec::new());
        self.conclude(&mut sync, to, cause);
        Start::Decided(Box::new(sync))
    }

    /// The second half: `scale` as [`Self::start`] saw it (its ready pods as they are now), and for
    /// each metric of the HPA, in order, its values or the error.
    pub fn finish(
        &mut self,
        now: Timestamp,
        scale: &Workload,
        readings: &[Result<Vec<Quantity>, String>],
    ) -> Sync {
        let current = scale.spec_replicas;
        let proposals = self.proposals(scale, readings);
        let mut sync = self.unchanged(now, current, proposals);
        let Some((recommendation, metric)) = self.recommendation(current, &sync.proposals) else {
            self.conditions.scaling_active = condition(false, ConditionReason::FailedGetExternalMetric);
            sync.conditions = self.conditions;
            return sync;
        };
        self.conditions.scaling_active = condition(true, ConditionReason::ValidMetricFound);
        sync.recommendation = Some(recommendation);
        // The original starts from 0 and takes the metrics' number only if it is larger.
        let wanted = recommendation.max(0);
        let cause = match wanted.cmp(&current) {
            std::cmp::Ordering::Greater => RescaleCause::AboveTarget { metric },
            std::cmp::Ordering::Less => RescaleCause::BelowTarget,
            std::cmp::Ordering::Equal => RescaleCause::Limits,
        };
        let to = self.normalize(&mut sync, current, wanted);
        self.conclude(&mut sync, to, Some(cause));
        sync
    }

    /// `computeReplicasForMetric` of each metric.
    fn proposals(&self, scale: &Workload, readings: &[Result<Vec<Quantity>, String>]) -> Vec<Proposal> {
        let tolerances = self.tolerances();
        let propose = |(index, metric): (usize, &HpaMetric)| {
            let values: Result<Vec<i64>, String> = match readings.get(index) {
                None => Err("was not read".to_owned()),
                Some(Err(error)) => Err(error.clone()),
                Some(Ok(values)) if values.is_empty() => Err("no values were returned".to_owned()),
                Some(Ok(values)) => Ok(values.iter().map(|value| value.milli()).collect()),
            };
            let target = metric.target.quantity.milli();
            let replicas = values.and_then(|values| match metric.target.kind {
                MetricType::AverageValue => Ok(per_pod_replicas(
                    &values,
                    target,
                    scale.status_replicas,
                    tolerances,
                )),
                MetricType::Value => value_replicas(&values, target, scale, tolerances),
            });
            Proposal {
                metric: metric.name.clone(),
                replicas,
            }
        };
        self.settings.metrics.iter().enumerate().map(propose).collect()
    }

    /// The largest proposal (`computeReplicasForMetrics`). None if no metric could be read, or if
    /// some could not and the others would scale down: an unknown metric might have said otherwise.
    fn recommendation(&self, current: i32, proposals: &[Proposal]) -> Option<(i32, String)> {
        let (mut replicas, mut metric, mut invalid) = (0, String::new(), 0);
        for proposal in proposals {
            match proposal.replicas {
                Err(_) => invalid += 1,
                Ok(proposed) if replicas == 0 || proposed > replicas => {
                    replicas = proposed;
                    metric.clone_from(&proposal.metric);
                }
                Ok(_) => {}
            }
        }
        let unusable = invalid >= self.settings.metrics.len() || (invalid > 0 && replicas < current);
        (!unusable).then_some((replicas, metric))
    }

    /// Windows, rates and limits (`normalizeDesiredReplicas`, `normalizeDesiredReplicasWithBehaviors`).
    fn normalize(&mut self, sync: &mut Sync, current: i32, wanted: i32) -> i32 {
        let now = sync.at;
        let (stabilized, to, limit) = match &self.behavior {
            None => {
                let window = self.controller.downscale_stabilization();
                let stabilized = self.recommendations.stabilize_down(now, wanted, window);
                let (to, limit) = rate::limit_by_default(
                    current,
                    stabilized,
                    self.settings.min_replicas,
                    self.settings.max_replicas,
                );
                (stabilized, to, limit)
            }
            Some(behavior) => {
                let ResolvedBehavior { up, down } = behavior;
                let stabilized =
                    self.recommendations
                        .stabilize(now, current, wanted, up.window(), down.window());
                let (to, limit) = rate::limit_by_behavior(
                    &rate::Change {
                        now,
                        current,
                        wanted: stabilized,
                        ups: &self.scale_ups,
                        downs: &self.scale_downs,
                    },
                    up,
                    down,
                    self.settings.min_replicas,
                    self.settings.max_replicas,
                );
                (stabilized, to, limit)
            }
        };
        sync.stabilized = Some(stabilized);
        if stabilized != wanted {
            let up = self.behavior.is_some() && wanted >= current;
            sync.stabilization = Some(if up {
                ConditionReason::ScaleUpStabilized
            } else {
                ConditionReason::ScaleDownStabilized
            });
        }
        let able = sync.stabilization.unwrap_or(ConditionReason::ReadyForNewScale);
        self.conditions.able_to_scale = condition(true, able);
        self.conditions.scaling_limited = condition(to != stabilized, limit);
        to
    }

    /// Writes the decision down (`storeScaleEvent`, conditions).
    fn conclude(&mut self, sync: &mut Sync, to: i32, cause: Option<RescaleCause>) {
        sync.to = to;
        if to != sync.from {
            sync.cause = cause;
            self.conditions.able_to_scale = condition(true, ConditionReason::SucceededRescale);
            if let Some(behavior) = &self.behavior {
                if to > sync.from {
                    self.scale_ups.store(sync.at, to - sync.from, &behavior.up);
                } else {
                    self.scale_downs.store(sync.at, sync.from - to, &behavior.down);
                }
            }
        }
        sync.conditions = self.conditions;
    }

    /// `tolerancesForHpa`.
    fn tolerances(&self) -> Tolerances {
        let own = |rules: &ResolvedRules| rules.tolerance.map(|tolerance| tolerance.stored().approximate());
        let behavior = self.behavior.as_ref();
        Tolerances {
            up: behavior
                .and_then(|behavior| own(&behavior.up))
                .unwrap_or(self.controller.tolerance),
            down: behavior
                .and_then(|behavior| own(&behavior.down))
                .unwrap_or(self.controller.tolerance),
        }
    }

    const fn unchanged(&self, at: Timestamp, current: i32, proposals: Vec<Proposal>) -> Sync {
        Sync {
            at,
            from: current,
            to: current,
            proposals,
            recommendation: None,
            stabilized: None,
            stabilization: None,
            cause: None,
            conditions: self.conditions,
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "conditions are optional where they are kept"
)]
const fn condition(is_true: bool, reason: ConditionReason) -> Option<Condition> {
    Some(Condition { is_true, reason })
}
