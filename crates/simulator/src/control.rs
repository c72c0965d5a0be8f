use std::fmt;
use std::time::Duration;

use rheostat_kubescale::keda::ScaledObject;
use rheostat_sizing::{Decision, Observation};

/// Who decides the number of replicas, and how it is carried out.
#[derive(Debug)]
pub enum Control {
    /// A controller that writes the replica count by itself, as Knative's does.
    Direct(Box<dyn Controller>),
    /// A scaler that KEDA and the HPA ask; they write the replica count.
    Keda {
        /// The ScaledObject, as a user would have it.
        object: Box<ScaledObject>,
        /// What answers its triggers.
        scaler: Box<dyn ExternalScaler>,
    },
    /// So many replicas all the time.
    Static(u32),
}

/// Decides replica counts by itself.
pub trait Controller: fmt::Debug + Send {
    /// How often it looks.
    fn period(&self) -> Duration;

    /// How many replicas there are to be from now on; `None` leaves them as they are.
    fn decide(&mut self, observation: &Observation) -> Option<u32>;

    /// The decision that the last number rests on, with its reasons, where there is one.
    fn decision(&self) -> Option<&Decision> {
        None
    }
}

/// Answers the triggers of one ScaledObject.
pub trait ExternalScaler: fmt::Debug + Send {
    /// How often it looks; KEDA and the HPA are answered from the last look.
    fn period(&self) -> Duration;

    /// Looks.
    fn observe(&mut self, observation: &Observation);

    /// Name and target of each trigger's metric.
    fn targets(&self) -> Vec<(String, f64)>;

    /// What the trigger `trigger` answers now.
    fn answer(&self, trigger: usize) -> TriggerAnswer;

    /// The decision that the answers rest on, with its reasons, where there is one.
    fn decision(&self) -> Option<&Decision> {
        None
    }
}

/// What KEDA is told of one trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerAnswer {
    /// A value, and whether there is demand.
    Value {
        /// For `GetMetrics`.
        value: f64,
        /// For `IsActive`.
        active: bool,
    },
    /// An error: KEDA and the HPA leave the replicas as they are.
    Error(String),
}
