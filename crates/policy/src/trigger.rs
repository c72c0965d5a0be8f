use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rheostat_expression::Expression;

use crate::{
    Aggregation, AnswerSettings, EngineSignal, NamedSignal, Needs, Schedule, Signal, SignalUnit,
    TriggerError, parse,
};

/// What a trigger's metadata means: checked, complete and free of defaults left open.
///
/// Two triggers that mean the same are equal, however they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    pub(crate) signals: Vec<NamedSignal>,
    pub(crate) load: Load,
    pub(crate) unit: SignalUnit,
    pub(crate) target: f64,
    pub(crate) activation: f64,
    pub(crate) activation_expression: Option<Expression>,
    pub(crate) aggregation: Aggregation,
    pub(crate) gpu_index: Option<u32>,
    pub(crate) quorum: f64,
    pub(crate) grace: Duration,
    pub(crate) idle_period: Option<Duration>,
    pub(crate) guard: Option<Guard>,
    pub(crate) limits: Schedule,
    pub(crate) metric_name: String,
    pub(crate) needs: Needs,
}

/// What a trigger's number is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// The first of its signals.
    Signal(Signal),
    /// An expression that each ready pod has a result of.
    PerPod(Expression),
    /// An expression over the workload's totals, whose result is the demand of all replicas.
    OverWorkload(Expression),
    /// What the ScalingPolicy of this name, in the workload's own namespace, decides.
    Policy(String),
}

/// Keeps as many replicas as the running requests need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Requests that fit one replica; `None` for what its engine reports.
    pub slots: Option<f64>,
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
    pub key: Cow<'static, str>,
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

    /// Its signals: the one that it scales by first, where it has no expression.
    #[must_use]
    pub fn signals(&self) -> &[NamedSignal] {
        &self.signals
    }

    /// What its number is made of.
    #[must_use]
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// The signal that it scales by; `None` where that is an expression.
    #[must_use]
    pub const fn signal(&self) -> Option<Signal> {
        match self.load {
            Load::Signal(signal) => Some(signal),
            Load::PerPod(_) | Load::OverWorkload(_) | Load::Policy(_) => None,
        }
    }

    /// The ScalingPolicy that decides; `None` where the trigger says by itself what it scales by.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        match &self.load {
            Load::Policy(name) => Some(name),
            Load::Signal(_) | Load::PerPod(_) | Load::OverWorkload(_) => None,
        }
    }

    /// What it scales by, in a word: the name of a signal, the text of an expression, or `policy` and a
    /// name.
    #[must_use]
    pub fn subject(&self) -> Cow<'_, str> {
        match &self.load {
            Load::Policy(name) => format!("policy {name}").into(),
            Load::Signal(signal) => signal.name().into(),
            Load::PerPod(expression) | Load::OverWorkload(expression) => expression.text().into(),
        }
    }

    /// What kind of thing it scales by: the name of a signal, `expression` or `policy`. One of a few words,
    /// as the label of a metric has to be.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.load {
            Load::Signal(signal) => signal.name(),
            Load::PerPod(_) | Load::OverWorkload(_) => "expression",
            Load::Policy(_) => "policy",
        }
    }

    /// The unit of its target and activation, and of the value towards KEDA.
    #[must_use]
    pub const fn unit(&self) -> SignalUnit {
        self.unit
    }

    /// What each replica is to carry, in [`Trigger::unit`]; positive, exact in thousandths.
    #[must_use]
    pub const fn target(&self) -> f64 {
        self.target
    }

    /// Above this the workload is active, in [`Trigger::unit`]; at least 0.
    #[must_use]
    pub const fn activation(&self) -> f64 {
        self.activation
    }

    /// What tells whether the workload is active, in the place of its load: a condition, or a
    /// number to compare with [`Trigger::activation`].
    #[must_use]
    pub const fn activation_expression(&self) -> Option<&Expression> {
        self.activation_expression.as_ref()
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

    /// Whether running requests keep their replicas, and how many fit one.
    #[must_use]
    pub const fn guard(&self) -> Option<Guard> {
        self.guard
    }

    /// The windows that bound the replica count; none where there is no schedule beside the load.
    #[must_use]
    pub const fn limits(&self) -> &Schedule {
        &self.limits
    }

    /// The metric's name towards KEDA: `[a-z0-9-]`, the same as long as the trigger is.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        &self.metric_name
    }

    /// What has to be fetched to evaluate it.
    #[must_use]
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }

    /// The trigger in one spelling: two triggers have the same one exactly if they are equal, so
    /// that a call's metadata can be compared with that of the watched ScaledObject.
    #[must_use]
    pub fn canonical(&self) -> String {
        let Self {
            signals,
            load,
            unit: _,
            target,
            activation,
            activation_expression,
            aggregation,
            gpu_index,
            quorum,
            grace,
            idle_period,
            guard,
            limits,
            metric_name,
            needs,
        } = self;
        let index = gpu_index.map_or_else(|| "all".into(), |index| index.to_string());
        let idle = idle_period.map_or_else(|| "cooldownPeriod".into(), |period| format!("{period:?}"));
        let load = match load {
            Load::Signal(signal) => format!("signal {signal}"),
            Load::PerPod(expression) => format!("over pods {}", expression.canonical()),
            Load::OverWorkload(expression) => format!("over workload {}", expression.canonical()),
            Load::Policy(name) => format!("policy {name}"),
        };
        let activation_expression = activation_expression
            .as_ref()
            .map_or_else(String::new, Expression::canonical);
        let engine = needs.engine.as_ref().map(|engine| &engine.selection);
        // Of a trigger with signals, each has its own.
        let stale_after = self.policy().map(|_| needs.gpu_stale_after);
        format!(
            "load={load:?} signals={signals:?} target={target} activation={activation} \
             activationExpression={activation_expression:?} aggregation={aggregation} gpuIndex={index} \
             quorum={quorum} grace={grace:?} idlePeriod={idle} guard={guard:?} limits={limits:?} \
             engine={engine:?} staleAfter={stale_after:?} metricName={metric_name}"
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

    /// Its target, where that says how many requests a replica is to have. So many that wait
    /// say nothing of those that run.
    pub(crate) fn target_of_requests(&self) -> Option<f64> {
        self.load.is_requests().then_some(self.target)
    }

    /// Whether its load needs readings of the pods.
    pub(crate) fn looks_at_pods(&self) -> bool {
        match &self.load {
            Load::Signal(signal) => signal.is_per_pod(),
            Load::PerPod(_) | Load::Policy(_) => true,
            Load::OverWorkload(expression) => self.uses_pods(expression),
        }
    }

    /// Whether `expression` uses a signal that each pod has.
    pub(crate) fn uses_pods(&self, expression: &Expression) -> bool {
        let used = expression.used();
        self.signals
            .iter()
            .enumerate()
            .any(|(place, signal)| used.contains(place) && signal.signal.is_per_pod())
    }
}

impl Load {
    /// Whether it is the number of requests that the replicas have.
    pub(crate) const fn is_requests(&self) -> bool {
        matches!(
            self,
            Self::Signal(Signal::Engine(EngineSignal::Concurrency | EngineSignal::Running))
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.key, self.message)
    }
}
