use std::time::Duration;

use rheostat_simulator::{ExternalScaler, TriggerAnswer};
use rheostat_sizing::Observation;

use crate::query::Query;

/// How often Prometheus scrapes. What a trigger is told is up to this old; 15 s is what the guides'
/// ServiceMonitors and PodMonitorings have (GKE's, kube-prometheus-stack's for vLLM).
pub(crate) const SCRAPE: Duration = Duration::from_secs(15);

/// Answers triggers with queries, as KEDA's Prometheus scaler does.
#[derive(Debug)]
pub(crate) struct MetricsScaler {
    period: Duration,
    triggers: Vec<QueryTrigger>,
}

#[derive(Debug)]
pub(crate) struct QueryTrigger {
    name: &'static str,
    target: f64,
    activation: f64,
    query: Query,
    answer: TriggerAnswer,
}

impl MetricsScaler {
    pub(crate) const fn new(period: Duration, triggers: Vec<QueryTrigger>) -> Self {
        Self { period, triggers }
    }
}

impl QueryTrigger {
    /// `threshold` and `activationThreshold` of a trigger; active is strictly above the latter.
    pub(crate) fn new(name: &'static str, query: Query, target: f64, activation: f64) -> Self {
        Self {
            name,
            target,
            activation,
            query,
            answer: TriggerAnswer::Error("nothing was read yet".to_owned()),
        }
    }
}

impl ExternalScaler for MetricsScaler {
    fn period(&self) -> Duration {
        self.period
    }

    fn observe(&mut self, observation: &Observation) {
        for trigger in &mut self.triggers {
            trigger.answer = match trigger.query.evaluate(observation) {
                Ok(value) => TriggerAnswer::Value {
                    value,
                    active: value > trigger.activation,
                },
                Err(reason) => TriggerAnswer::Error(reason),
            };
        }
    }

    fn targets(&self) -> Vec<(String, f64)> {
        self.triggers
            .iter()
            .map(|trigger| (trigger.name.to_owned(), trigger.target))
            .collect()
    }

    fn answer(&self, trigger: usize) -> TriggerAnswer {
        self.triggers.get(trigger).map_or_else(
            || TriggerAnswer::Error(format!("there is no trigger {trigger}")),
            |trigger| trigger.answer.clone(),
        )
    }
}
