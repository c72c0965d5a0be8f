use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::baseline::BaselineError;
use crate::bounds::Bounds;

/// Something that a user of the original can set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name here: the original's own where it has one, with its unit.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// What the original uses when nobody sets it.
    pub default: Value,
    /// What it may be.
    pub allowed: Allowed,
    /// What a search tries, the default among them.
    pub candidates: Vec<Value>,
}

/// What a parameter is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(f64),
    /// One of a few words.
    Word(String),
}

/// What a parameter may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// A number, both ends included.
    Number {
        /// Smallest.
        from: f64,
        /// Largest.
        to: f64,
    },
    /// A whole number, both ends included.
    Whole {
        /// Smallest.
        from: u32,
        /// Largest.
        to: u32,
    },
    /// One of these.
    Word(&'static [&'static str]),
}

/// What is set differently from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// Everything at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one parameter; an earlier value of it is replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// What is set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of one parameter, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Whether everything is at its default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str("defaults");
        }
        for (index, (name, value)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(out, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

impl Allowed {
    /// Whether `value` is allowed.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Number { from, to }, Value::Number(number)) => (*from..=*to).contains(number),
            (Self::Whole { from, to }, Value::Number(number)) => {
                number.fract() == 0.0 && (f64::from(*from)..=f64::from(*to)).contains(number)
            }
            (Self::Word(words), Value::Word(word)) => words.contains(&word.as_str()),
            _ => false,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { from, to } => write!(out, "a number from {from} to {to}"),
            Self::Whole { from, to } => write!(out, "a whole number from {from} to {to}"),
            Self::Word(words) => write!(out, "one of {}", words.join(", ")),
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<&str> for Value {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Word(word) => out.write_str(word),
        }
    }
}

impl Parameter {
    /// A number. The default is tried first, then `candidates` in their order.
    pub(crate) fn number(
        name: &'static str,
        description: &'static str,
        default: f64,
        (from, to): (f64, f64),
        candidates: &[f64],
    ) -> Self {
        Self::with_candidates(
            name,
            description,
            default.into(),
            Allowed::Number { from, to },
            candidates.iter().map(|number| Value::Number(*number)),
        )
    }

    /// A whole number, such as replicas or seconds.
    pub(crate) fn whole(
        name: &'static str,
        description: &'static str,
        default: u32,
        (from, to): (u32, u32),
        candidates: &[u32],
    ) -> Self {
        Self::with_candidates(
            name,
            description,
            default.into(),
            Allowed::Whole { from, to },
            candidates.iter().map(|number| Value::from(*number)),
        )
    }

    /// One of a few words, all of which are tried.
    pub(crate) fn word(
        name: &'static str,
        description: &'static str,
        default: &'static str,
        words: &'static [&'static str],
    ) -> Self {
        Self::with_candidates(
            name,
            description,
            default.into(),
            Allowed::Word(words),
            words.iter().map(|word| Value::from(*word)),
        )
    }

    fn with_candidates(
        name: &'static str,
        description: &'static str,
        default: Value,
        allowed: Allowed,
        candidates: impl Iterator<Item = Value>,
    ) -> Self {
        let mut all = vec![default.clone()];
        for candidate in candidates {
            if allowed.allows(&candidate) && !all.contains(&candidate) {
                all.push(candidate);
            }
        }
        Self {
            name,
            description,
            default,
            allowed,
            candidates: all,
        }
    }
}

/// The value of every parameter of one baseline, checked.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    baseline: &'static str,
    values: BTreeMap<&'static str, Value>,
}

impl Chosen {
    pub(crate) fn new(
        baseline: &'static str,
        parameters: &[Parameter],
        settings: &Settings,
    ) -> Result<Self, BaselineError> {
        if let Some((key, _)) = settings
            .iter()
            .find(|(key, _)| !parameters.iter().any(|parameter| parameter.name == *key))
        {
            let names: Vec<_> = parameters.iter().map(|parameter| parameter.name).collect();
            return Err(BaselineError::UnknownParameter {
                baseline,
                key: key.to_owned(),
                allowed: names.join(", "),
            });
        }
        let mut values = BTreeMap::new();
        for parameter in parameters {
            let value = settings.get(parameter.name).unwrap_or(&parameter.default);
            if !parameter.allowed.allows(value) {
                return Err(BaselineError::NotAllowed {
                    baseline,
                    key: parameter.name.to_owned(),
                    value: value.to_string(),
                    allowed: parameter.allowed.to_string(),
                });
            }
            values.insert(parameter.name, value.clone());
        }
        Ok(Self { baseline, values })
    }

    pub(crate) const fn baseline(&self) -> &'static str {
        self.baseline
    }

    pub(crate) fn number(&self, name: &'static str) -> Result<f64, BaselineError> {
        match self.values.get(name) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(self.missing(name)),
        }
    }

    pub(crate) fn whole(&self, name: &'static str) -> Result<u32, BaselineError> {
        // Checked on the way in: whole, and within 32 bits.
        self.number(name).map(|number| number as u32)
    }

    pub(crate) fn seconds(&self, name: &'static str) -> Result<Duration, BaselineError> {
        self.whole(name)
            .map(|seconds| Duration::from_secs(u64::from(seconds)))
    }

    pub(crate) fn word(&self, name: &'static str) -> Result<&str, BaselineError> {
        match self.values.get(name) {
            Some(Value::Word(word)) => Ok(word),
            _ => Err(self.missing(name)),
        }
    }

    /// Floor and cap.
    pub(crate) fn bounds(&self) -> Result<Bounds, BaselineError> {
        let (floor, cap) = (self.whole("floor")?, self.whole("cap")?);
        if floor > cap {
            return Err(BaselineError::NotAllowed {
                baseline: self.baseline,
                key: "floor".to_owned(),
                value: floor.to_string(),
                allowed: format!("at most the cap, {cap}"),
            });
        }
        Ok(Bounds { floor, cap })
    }

    fn missing(&self, key: &'static str) -> BaselineError {
        BaselineError::UnknownParameter {
            baseline: self.baseline,
            key: key.to_owned(),
            allowed: self.values.keys().copied().collect::<Vec<_>>().join(", "),
        }
    }
}
