use std::fmt;

use rheostat_kubescale::keda::InvalidScaledObject;
use rheostat_simulator::{Control, InvalidEngine};

use crate::context::Context;
use crate::parameter::{Chosen, Parameter, Settings};

/// An autoscaler of others, with what can be set.
#[derive(Clone)]
pub struct Baseline {
    /// Its name here.
    pub name: &'static str,
    /// Where it was read: project, file, version or date.
    pub source: &'static str,
    /// How it decides, in a sentence.
    pub description: &'static str,
    /// What it knows: a score of one that knows the future is a bound, not a competitor's.
    pub knowledge: Knowledge,
    /// What can be set, with the original's defaults and what a search tries.
    pub parameters: Vec<Parameter>,
    pub(crate) builder: Builder,
}

/// What a baseline knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// What it has seen so far, as anyone could in a cluster.
    Past,
    /// The trace that it is run on.
    Future,
}

pub(crate) type Builder = fn(&Chosen, &Context) -> Result<Control, BaselineError>;

/// Why a baseline cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BaselineError {
    /// There is none of this name.
    #[error("baseline is {name:?}; allowed is one of {allowed}")]
    UnknownBaseline {
        /// What was asked for.
        name: String,
        /// What there is.
        allowed: String,
    },
    /// It has no such parameter.
    #[error("{baseline}: {key} is no parameter; allowed is one of {allowed}")]
    UnknownParameter {
        /// The baseline.
        baseline: &'static str,
        /// What was set.
        key: String,
        /// What can be set.
        allowed: String,
    },
    /// A value is out of bounds.
    #[error("{baseline}: {key} is {value}; allowed is {allowed}")]
    NotAllowed {
        /// The baseline.
        baseline: &'static str,
        /// What was set.
        key: String,
        /// To what.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// It needs to know the requests that will come.
    #[error("{baseline}: foresight is missing; allowed is the trace that it is run on")]
    NoForesight {
        /// The baseline.
        baseline: &'static str,
    },
    /// The context makes no sense.
    #[error("context: {key} is {value}; allowed is {allowed}")]
    Context {
        /// The field.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The engine cannot be.
    #[error("context: {0}")]
    Engine(#[source] InvalidEngine),
    /// KEDA would refuse what it is configured as.
    #[error("{baseline}: {source}")]
    Object {
        /// The baseline.
        baseline: &'static str,
        /// Why.
        source: InvalidScaledObject,
    },
}

impl Baseline {
    /// Makes it ready to run; what `settings` leave out is at its default.
    ///
    /// # Errors
    /// If a setting is unknown or out of bounds, the context makes no sense, or it needs foresight and the
    /// context has none.
    pub fn build(&self, settings: &Settings, context: &Context) -> Result<Control, BaselineError> {
        context.check()?;
        let chosen = Chosen::new(self.name, &self.parameters, settings)?;
        let control = (self.builder)(&chosen, context)?;
        if let Control::Keda { object, .. } = &control {
            object.validate().map_err(|source| BaselineError::Object {
                baseline: self.name,
                source,
            })?;
        }
        Ok(control)
    }

    /// The parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// How many combinations of candidates there are; a search over one parameter after the other needs
    /// only their sum.
    #[must_use]
    pub fn combinations(&self) -> u64 {
        self.parameters
            .iter()
            .map(|parameter| parameter.candidates.len() as u64)
            .fold(1, u64::saturating_mul)
    }
}

impl fmt::Debug for Baseline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Baseline")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}
