use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::{Aggregation, AnswerSettings, Signal, TriggerError, Within, parse};

/// What a trigger's metadata means: checked, complete and free of defaults left open.
///
/// Two triggers that mean the same are equal, however they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    pub(crate) signal: Signal,
    pub(crate) target: f64,
    pub(crate) activation: f64,
    pub(crate) within: Within,
    pub(crate) aggregation: Aggregation,
    pub(crate) gpu_index: Option<u32>,
    pub(crate) quorum: f64,
    pub(crate) stale_after: Duration,
    pub(crate) grace: Duration,
    pub(crate) idle_period: Option<Duration>,
    pub(crate) metric_name: String,
}

/// A trigger that was understood, and what its author should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What the metadata means.
    pub trigger: Trigger,
    /// What is taken differently than its author may think.
    pub warnings: Vec<Warning>,
}

/// Something that a trigger's author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key that it is about.
    pub key: &'static str,
    /// What it is, in words.
    pub message: String,
}

/// The annotation of a ScaledObject that the signal `manual` reads: the total demand in replicas.
pub const MANUAL_DEMAND_ANNOTATION: &str = "rheostat.dev/manual-demand";

impl Trigger {
    /// What `metadata`, as KEDA hands it over, means.
    ///
    /// # Errors
    ///
    /// Where a key or value is not allowed, missing or contradictory; the message names key,
    /// value and what is allowed.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, TriggerError> {
        parse::parse(metadata)
    }

    /// What it scales by.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// What each replica is to carry, in [`Signal::unit`]; positive, exact in thousandths.
    #[must_use]
    pub const fn target(&self) -> f64 {
        self.target
    }

    /// Above this the workload is active, in [`Signal::unit`]; at least 0.
    #[must_use]
    pub const fn activation(&self) -> f64 {
        self.activation
    }

    /// How a pod's devices become its number.
    #[must_use]
    pub const fn within(&self) -> Within {
        self.within
    }

    /// How the pods' numbers become the workload's.
    #[must_use]
    pub const fn aggregation(&self) -> Aggregation {
        self.aggregation
    }

    /// Only the pod's device of this number (from 0) counts; `None` for all of them.
    #[must_use]
    pub const fn gpu_index(&self) -> Option<u32> {
        self.gpu_index
    }

    /// The share of ready pods that must be readable, above 0 and at most 1.
    #[must_use]
    pub const fn quorum(&self) -> f64 {
        self.quorum
    }

    /// A reading older than this is none.
    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// How long the last good answer stands while too little is known.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// How long a workload must be watched idle after a gap; `None` for the ScaledObject's
    /// `cooldownPeriod`.
    #[must_use]
    pub const fn idle_period(&self) -> Option<Duration> {
        self.idle_period
    }

    /// The metric's name towards KEDA: `[a-z0-9-]`, the same as long as the trigger is.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        &self.metric_name
    }

    /// The trigger in one spelling: two triggers have the same one exactly if they are equal, so
    /// that a call's metadata can be compared with that of the watched ScaledObject.
    #[must_use]
    pub fn canonical(&self) -> String {
        let Self {
            signal,
            target,
            activation,
            within,
            aggregation,
            gpu_index,
            quorum,
            stale_after,
            grace,
            idle_period,
            metric_name,
        } = self;
        let index = gpu_index.map_or_else(|| "all".into(), |index| index.to_string());
        let idle = idle_period.map_or_else(|| "cooldownPeriod".into(), |period| format!("{period:?}"));
        format!(
            "signal={signal} target={target} activation={activation} within={within} \
             aggregation={aggregation} gpuIndex={index} quorum={quorum} staleAfter={stale_after:?} \
             grace={grace:?} idlePeriod={idle} metricName={metric_name}"
        )
    }

    /// How long to hold and to watch, for a ScaledObject with this `cooldownPeriod`.
    #[must_use]
    pub fn answer_settings(&self, cooldown_period: Duration) -> AnswerSettings {
        AnswerSettings {
            grace: self.grace,
            idle_period: self.idle_period.unwrap_or(cooldown_period),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.key, self.message)
    }
}
