use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Which pods belong to a scale target: all requirements hold. Never empty: a selector without
/// requirements would take every pod of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    In(BTreeSet<String>),
    /// Holds also where the label is missing.
    NotIn(BTreeSet<String>),
    Exists,
    Missing,
}

/// A selector as it stands in the spec of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelSelector {
    pub(crate) match_labels: Option<Labels>,
    pub(crate) match_expressions: Option<Vec<Expression>>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Expression {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Option<Vec<String>>,
}

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error("the selector is empty")]
    Empty,
    #[error("unknown operator {operator:?} for label {key:?}; allowed are In, NotIn, Exists, DoesNotExist")]
    Operator { key: String, operator: String },
    #[error("operator {operator} of label {key:?} needs values")]
    NoValues { key: String, operator: String },
    #[error("cannot read {0:?} as a requirement such as key=value, key!=value, key in (a,b), key or !key")]
    Requirement(String),
}

impl Selector {
    /// Whether an object with `labels` belongs.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.condition {
                Condition::In(values) => value.is_some_and(|value| values.contains(value)),
                Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Condition::Exists => value.is_some(),
                Condition::Missing => value.is_none(),
            }
        })
    }

    /// A label that every match has with exactly this value, where there is one: what selectors
    /// are looked up by.
    pub(crate) fn exact_label(&self) -> Option<(&str, &str)> {
        self.0
            .iter()
            .find_map(|requirement| match &requirement.condition {
                Condition::In(values) if values.len() == 1 => values
                    .first()
                    .map(|value| (requirement.key.as_str(), value.as_str())),
                _ => None,
            })
    }

    /// The objects whose label `key` is `value`.
    pub(crate) fn equal(key: &str, value: &str) -> Self {
        Self(vec![Requirement {
            key: key.to_owned(),
            condition: one_of([value.to_owned()]),
        }])
    }
}

fn one_of(values: impl IntoIterator<Item = String>) -> Condition {
    Condition::In(values.into_iter().collect())
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let labels = selector.match_labels.iter().flatten();
        let mut requirements: Vec<_> = labels
            .map(|(key, value)| Requirement {
                key: key.clone(),
                condition: one_of([value.clone()]),
            })
            .collect();
        for expression in selector.match_expressions.iter().flatten() {
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
            let key = expression.key.clone();
            let operator = || expression.operator.clone();
            let condition = match expression.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => {
                    return Err(SelectorError::NoValues {
                        key,
                        operator: operator(),
                    });
                }
                "In" => Condition::In(values),
                "NotIn" => Condition::NotIn(values),
                "Exists" => Condition::Exists,
                "DoesNotExist" => Condition::Missing,
                _ => {
                    return Err(SelectorError::Operator {
                        key,
                        operator: operator(),
                    });
                }
            };
            requirements.push(Requirement { key, condition });
        }
        if requirements.is_empty() {
            Err(SelectorError::Empty)
        } else {
            Ok(Self(requirements))
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    /// Reads the form that `kubectl -l` takes and a scale subresource's status has.
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Err(SelectorError::Empty);
        }
        split_outside_parentheses(text)
            .map(|part| requirement(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let malformed = || SelectorError::Requirement(part.to_owned());
    let (key, condition) = if let Some(key) = part.strip_prefix('!') {
        (key, Condition::Missing)
    } else if let Some((key, value)) = part.split_once("!=") {
        (
            key,
            Condition::NotIn([label_value(value).ok_or_else(malformed)?].into()),
        )
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (
            key,
            Condition::In([label_value(value).ok_or_else(malformed)?].into()),
        )
    } else if let Some((head, list)) = part.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(malformed)?;
        let values = list
            .split(',')
            .map(label_value)
            .collect::<Option<_>>()
            .ok_or_else(malformed)?;
        let mut words = head.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => (key, Condition::In(values)),
            (Some(key), Some("notin"), None) => (key, Condition::NotIn(values)),
            _ => return Err(malformed()),
        }
    } else {
        (part, Condition::Exists)
    };
    let key = key.trim();
    if key.is_empty() || !key.chars().all(is_label_character) {
        return Err(malformed());
    }
    Ok(Requirement {
        key: key.to_owned(),
        condition,
    })
}

fn label_value(text: &str) -> Option<String> {
    let text = text.trim();
    text.chars().all(is_label_character).then(|| text.to_owned())
}

fn is_label_character(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/')
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Requirement { key, condition }) in self.0.iter().enumerate() {
            if place > 0 {
                out.write_str(",")?;
            }
            match condition {
                Condition::In(values) if values.len() == 1 => write!(out, "{key}={}", joined(values))?,
                Condition::In(values) => write!(out, "{key} in ({})", joined(values))?,
                Condition::NotIn(values) => write!(out, "{key} notin ({})", joined(values))?,
                Condition::Exists => write!(out, "{key}")?,
                Condition::Missing => write!(out, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn joined(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
        selector.parse::<Selector>().unwrap().matches(&labels(pairs))
    }

    #[test]
    fn every_requirement_must_hold() {
        assert!(matches("app=a", &[("app", "a"), ("x", "y")]));
        assert!(!matches("app=a", &[("app", "b")]));
        assert!(!matches("app=a,tier=web", &[("app", "a")]));
        assert!(matches(
            "app==a , tier in (web, db)",
            &[("app", "a"), ("tier", "db")]
        ));
        assert!(
            matches("tier notin (web,db)", &[]),
            "a missing label is in no list"
        );
        assert!(matches("tier!=web", &[("tier", "db")]));
        assert!(!matches("tier!=web", &[("tier", "web")]));
        assert!(matches(
            "app.kubernetes.io/name",
            &[("app.kubernetes.io/name", "")]
        ));
        assert!(!matches("!app", &[("app", "a")]));
        assert!(matches("app=", &[("app", "")]));
    }

    #[test]
    fn expressions_are_read_as_kubernetes_does() {
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"app":"a"},"matchExpressions":[
                {"key":"tier","operator":"In","values":["web","db"]},
                {"key":"canary","operator":"DoesNotExist"},
                {"key":"zone","operator":"Exists"},
                {"key":"arch","operator":"NotIn","values":["arm64"]}]}"#,
        )
        .unwrap();
        let selector = Selector::try_from(&selector).unwrap();
        assert_eq!(
            selector.to_string(),
            "app=a,tier in (db,web),!canary,zone,arch notin (arm64)"
        );
        assert!(selector.matches(&labels(&[("app", "a"), ("tier", "web"), ("zone", "1")])));
        assert!(!selector.matches(&labels(&[
            ("app", "a"),
            ("tier", "web"),
            ("zone", "1"),
            ("canary", "")
        ])));
        assert!(!selector.matches(&labels(&[
            ("app", "a"),
            ("tier", "web"),
            ("zone", "1"),
            ("arch", "arm64")
        ])));
        assert_eq!(selector.exact_label(), Some(("app", "a")));
    }

    #[test]
    fn what_cannot_be_a_selector_is_refused() {
        assert_eq!("".parse::<Selector>(), Err(SelectorError::Empty));
        assert_eq!(
            Selector::try_from(&LabelSelector::default()),
            Err(SelectorError::Empty)
        );
        for bad in [
            "a,,b",
            "a in (b",
            "a within (b)",
            "a=b=c",
            "=b",
            "a>3",
            "a b",
            "!",
            "a in b",
        ] {
            assert!(
                matches!(bad.parse::<Selector>(), Err(SelectorError::Requirement(_))),
                "{bad}"
            );
        }
        let expression = |operator: &str, values: Option<Vec<String>>| LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![Expression {
                key: "a".into(),
                operator: operator.into(),
                values,
            }]),
        };
        let error = Selector::try_from(&expression("Like", None)).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unknown operator "Like" for label "a"; allowed are In, NotIn, Exists, DoesNotExist"#
        );
        assert!(matches!(
            Selector::try_from(&expression("In", None)),
            Err(SelectorError::NoValues { .. })
        ));
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let values = || proptest::collection::btree_set("[a-c]", 1..3);
        prop_oneof![
            values().prop_map(Condition::In),
            values().prop_map(Condition::NotIn),
            Just(Condition::Exists),
            Just(Condition::Missing),
        ]
    }

    proptest! {
        #[test]
        fn a_selector_reads_back_as_it_is_written(
            parts in proptest::collection::vec(("[x-z]", condition()), 1..5),
        ) {
            let selector = Selector(
                parts.into_iter().map(|(key, condition)| Requirement { key, condition }).collect(),
            );
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }

        #[test]
        fn whatever_matches_has_the_exact_label(
            parts in proptest::collection::vec(("[x-z]", condition()), 1..5),
            labels in proptest::collection::btree_map("[x-z]", "[a-c]", 0..3),
        ) {
            let selector = Selector(
                parts.into_iter().map(|(key, condition)| Requirement { key, condition }).collect(),
            );
            if let Some((key, value)) = selector.exact_label() && selector.matches(&labels) {
                prop_assert_eq!(labels.get(key).map(String::as_str), Some(value));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = text.parse::<Selector>();
        }
    }
}
