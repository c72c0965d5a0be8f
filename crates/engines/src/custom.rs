use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Combine, Take};
use crate::fact::Shape;
use crate::index::{Index, LabelSet, Name};
use crate::{Engine, Fact};

/// An engine as its user describes it: which metric tells which fact.
///
/// ```
/// use rheostat_engines::CustomEngine;
///
/// let engine = CustomEngine::parse(
///     "waiting: { metric: my_queue_length }
/// running: { metric: my_requests, labels: { state: active } }
/// e2e: { metric: my_latency_ms, scale: 0.001 }",
/// )?;
/// assert_eq!(engine, CustomEngine::parse(&engine.to_json())?);
/// # Ok::<(), rheostat_engines::CustomError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CustomEngine {
    facts: BTreeMap<Fact, CustomMetric>,
    model_label: Option<String>,
    adapter_label: Option<String>,
    rank_label: Option<String>,
}

/// Where one fact is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomMetric {
    /// Name of the metric; of a histogram without `_bucket`.
    metric: String,
    /// Labels that its series must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// What it is; by default what its fact usually is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// With `kind: sum`, the counter of the observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<String>,
    /// What its values are multiplied with, such as 0.001 for milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
    /// How several series become one number; by default the mean for ratios, the sum for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    combine: Option<How>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Gauge,
    Counter,
    Histogram,
    Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Sum,
    Mean,
    Max,
}

/// A description of a custom engine that means nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustomError {
    /// It is longer than anybody needs.
    #[error("the engine's description has {0} bytes; at most {most} are allowed", most = CustomEngine::LONGEST)]
    TooLong(usize),
    /// It is not YAML (or JSON) of the right form.
    #[error("the engine's description cannot be read: {0}")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// A key is none of the facts.
    #[error(
        "`{key}` is nothing that an engine can tell; allowed are model_label, adapter_label, rank_label, {allowed}"
    )]
    UnknownFact {
        /// The key.
        key: String,
        /// All facts.
        allowed: String,
    },
    /// A key has a value of the wrong form.
    #[error("`{key}` is not described as it should be: {source}")]
    Entry {
        /// The key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A value that is not allowed.
    #[error("`{key}` is `{value}`; allowed is {allowed}")]
    Value {
        /// The key, with the fact's name and a dot before it.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It describes nothing.
    #[error("the engine's description names no metric")]
    Empty,
}

/// What a name of a metric or label may have, in characters.
const NAME: usize = 200;

impl CustomEngine {
    /// Bytes that a description may have.
    pub const LONGEST: usize = 16 << 10;

    /// Labels that one metric may be selected by.
    const LABELS: usize = 8;

    /// Reads a description in YAML, of which JSON is a part.
    ///
    /// # Errors
    ///
    /// Which key and value are wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, CustomError> {
        if text.len() > Self::LONGEST {
            return Err(CustomError::TooLong(text.len()));
        }
        let entries: BTreeMap<String, serde_json::Value> =
            serde_saphyr::from_str(text).map_err(|error| CustomError::Syntax(Box::new(error)))?;
        let mut engine = Self {
            facts: BTreeMap::new(),
            model_label: None,
            adapter_label: None,
            rank_label: None,
        };
        for (key, value) in entries {
            let entry = |source| CustomError::Entry {
                key: key.clone(),
                source,
            };
            let label = match key.as_str() {
                "model_label" => &mut engine.model_label,
                "adapter_label" => &mut engine.adapter_label,
                "rank_label" => &mut engine.rank_label,
                name => {
                    let fact = name.parse().map_err(|()| unknown(name))?;
                    let metric: CustomMetric = serde_json::from_value(value).map_err(entry)?;
                    metric.check(fact)?;
                    engine.facts.insert(fact, metric);
                    continue;
                }
            };
            let name: String = serde_json::from_value(value).map_err(entry)?;
            check_name(&key, &name, false)?;
            *label = Some(name);
        }
        if engine.facts.is_empty() {
            return Err(CustomError::Empty);
        }
        Ok(engine)
    }

    /// The same description as JSON, always in the same words and order.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut entries = serde_json::Map::new();
        for (key, label) in [
            ("model_label", &self.model_label),
            ("adapter_label", &self.adapter_label),
            ("rank_label", &self.rank_label),
        ] {
            if let Some(label) = label {
                entries.insert(key.to_owned(), label.clone().into());
            }
        }
        for (fact, metric) in &self.facts {
            if let Ok(value) = serde_json::to_value(metric) {
                entries.insert(fact.name().to_owned(), value);
            }
        }
        serde_json::Value::Object(entries).to_string()
    }

    /// What its names mean.
    pub(crate) fn index(&self) -> Index {
        let mut index = Index::empty();
        let label = |name: &Option<String>| name.iter().map(|name| name.clone().into()).collect();
        let source = index.add_source(
            Engine::Custom,
            LabelSet {
                model: label(&self.model_label),
                adapter: label(&self.adapter_label),
                rank: label(&self.rank_label),
                copies: Vec::new(),
            },
        );
        for (&fact, metric) in &self.facts {
            let name = Name {
                metric: &metric.metric,
                usual: true,
                plus: &[],
                take: metric.take(fact),
                count: metric.count.as_deref(),
                filter: metric
                    .labels
                    .iter()
                    .map(|(label, value)| (label.clone().into(), value.clone().into()))
                    .collect(),
                scale: metric.scale.unwrap_or(1.0),
                combine: metric.combine(fact),
            };
            index.add(source, fact, &name);
        }
        index.prepared()
    }
}

impl CustomMetric {
    fn check(&self, fact: Fact) -> Result<(), CustomError> {
        let wrong = |key: &str, value: String, allowed| CustomError::Value {
            key: format!("{fact}.{key}"),
            value,
            allowed,
        };
        check_name(&format!("{fact}.metric"), &self.metric, true)?;
        if self.labels.len() > CustomEngine::LABELS {
            let count = format!("{} labels", self.labels.len());
            return Err(wrong("labels", count, "at most 8"));
        }
        for (label, value) in &self.labels {
            check_name(&format!("{fact}.labels"), label, false)?;
            if value.len() > NAME {
                return Err(wrong(
                    "labels",
                    value.chars().take(40).collect(),
                    "at most 200 bytes",
                ));
            }
        }
        if let Some(count) = &self.count {
            check_name(&format!("{fact}.count"), count, true)?;
        }
        if let Some(scale) = self.scale
            && !(scale.is_finite() && scale > 0.0)
        {
            return Err(wrong("scale", scale.to_string(), "a number above 0"));
        }
        let kind = format!("{:?}", self.kind.unwrap_or(Kind::Gauge)).to_lowercase();
        match (self.kind, fact.shape()) {
            (Some(Kind::Counter | Kind::Histogram | Kind::Sum), Shape::Gauge) => {
                return Err(wrong("kind", kind, "gauge"));
            }
            (Some(Kind::Histogram | Kind::Sum), Shape::Counter) => {
                return Err(wrong("kind", kind, "counter, or gauge for a rate per second"));
            }
            (Some(Kind::Counter), Shape::Distribution) => {
                return Err(wrong(
                    "kind",
                    kind,
                    "histogram, sum (with `count`), or gauge for a mean",
                ));
            }
            _ => {}
        }
        match (self.kind == Some(Kind::Sum), &self.count) {
            (true, None) => Err(wrong(
                "count",
                "missing".to_owned(),
                "the counter of what `metric` is the sum of",
            )),
            (false, Some(count)) => Err(wrong("count", count.clone(), "nothing, unless `kind` is sum")),
            _ => Ok(()),
        }
    }

    fn take(&self, fact: Fact) -> Take {
        match (self.kind, fact.shape()) {
            (Some(Kind::Gauge), _) | (None, Shape::Gauge) => Take::Gauge,
            (Some(Kind::Counter), _) | (None, Shape::Counter) => Take::Counter,
            (Some(Kind::Histogram), _) | (None, Shape::Distribution) => Take::Histogram,
            (Some(Kind::Sum), _) => Take::SumWithCount(""),
        }
    }

    fn combine(&self, fact: Fact) -> Combine {
        match self.combine {
            Some(How::Mean) => Combine::Mean,
            Some(How::Max) => Combine::Max,
            None if matches!(fact, Fact::KvCacheUsage | Fact::PrefixCacheHitRate) => Combine::Mean,
            // A gauge that stands for a distribution is a mean.
            None if fact.shape() == Shape::Distribution => Combine::Mean,
            None if fact == Fact::MaxContext => Combine::Max,
            Some(How::Sum) | None => Combine::Sum,
        }
    }
}

fn check_name(key: &str, name: &str, colons: bool) -> Result<(), CustomError> {
    let mut bytes = name.bytes();
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':');
    let good = bytes.next().is_some_and(starts)
        && bytes.all(|byte| starts(byte) || byte.is_ascii_digit())
        && name.len() <= NAME;
    if good {
        return Ok(());
    }
    Err(CustomError::Value {
        key: key.to_owned(),
        value: name.chars().take(40).collect(),
        allowed: if colons {
            "the name of a metric: letters, digits, `_` and `:`, at most 200"
        } else {
            "the name of a label: letters, digits and `_`, at most 200"
        },
    })
}

fn unknown(key: &str) -> CustomError {
    let names: Vec<&str> = Fact::ALL.iter().map(|fact| fact.name()).collect();
    CustomError::UnknownFact {
        key: key.chars().take(40).collect(),
        allowed: names.join(", "),
    }
}
