use std::collections::BTreeMap;

use crate::TriggerError;

/// A key of a trigger's metadata that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whose it is, and what is done with it.
    pub origin: KeyOrigin,
}

/// Whose a key is, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Rheostat's own.
    Ours,
    /// Rheostat's own; NAME stands for the name of a signal, OPTION for an option of it.
    Named,
    /// KEDA's own: accepted and left to KEDA.
    Keda,
    /// keda-gpu-scaler's: accepted, so that a migration changes only the address.
    Peer,
    /// Known and refused, for the reason given.
    Refused(&'static str),
}

const MOST_KEYS: usize = 64;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;
/// Of the keys that hold a text of their own language.
const LONGEST_TEXT: usize = 4096;
const TEXTS: [&str; 5] = [
    "expression",
    "activationExpression",
    "query",
    "schedule",
    "customEngine",
];

/// What a key of a named signal begins with.
pub(crate) const NAMED: &str = "signal.";

/// The options that a signal can have, after its name or for all signals that have none of their
/// own.
pub(crate) const OPTIONS: [&str; 11] = [
    "within",
    "quantile",
    "staleAfter",
    "prometheus",
    "query",
    "onEmpty",
    "onNaN",
    "onMany",
    "queue",
    "count",
    "schedule",
];

const TRIGGER_AUTHENTICATION: &str =
    "KEDA reads it only from a TriggerAuthentication or ClusterTriggerAuthentication, never from metadata";

impl Key {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::new("policy", KeyOrigin::Ours),
        Self::new("signal", KeyOrigin::Ours),
        Self::new("profile", KeyOrigin::Ours),
        Self::new("target", KeyOrigin::Ours),
        Self::new("activation", KeyOrigin::Ours),
        Self::new("within", KeyOrigin::Ours),
        Self::new("aggregation", KeyOrigin::Ours),
        Self::new("gpuIndex", KeyOrigin::Ours),
        Self::new("quorum", KeyOrigin::Ours),
        Self::new("staleAfter", KeyOrigin::Ours),
        Self::new("grace", KeyOrigin::Ours),
        Self::new("idlePeriod", KeyOrigin::Ours),
        Self::new("signal.NAME", KeyOrigin::Named),
        Self::new("signal.NAME.OPTION", KeyOrigin::Named),
        Self::new("expression", KeyOrigin::Ours),
        Self::new("over", KeyOrigin::Ours),
        Self::new("activationExpression", KeyOrigin::Ours),
        Self::new("guard", KeyOrigin::Ours),
        Self::new("slotsPerReplica", KeyOrigin::Ours),
        Self::new("schedule", KeyOrigin::Ours),
        Self::new("timezone", KeyOrigin::Ours),
        Self::new("quantile", KeyOrigin::Ours),
        Self::new("prometheus", KeyOrigin::Ours),
        Self::new("query", KeyOrigin::Ours),
        Self::new("onEmpty", KeyOrigin::Ours),
        Self::new("onNaN", KeyOrigin::Ours),
        Self::new("onMany", KeyOrigin::Ours),
        Self::new("queue", KeyOrigin::Ours),
        Self::new("count", KeyOrigin::Ours),
        Self::new("engine", KeyOrigin::Ours),
        Self::new("port", KeyOrigin::Ours),
        Self::new("path", KeyOrigin::Ours),
        Self::new("scheme", KeyOrigin::Ours),
        Self::new("caSecret", KeyOrigin::Ours),
        Self::new("insecureSkipVerify", KeyOrigin::Ours),
        Self::new("bearerTokenSecret", KeyOrigin::Ours),
        Self::new("model", KeyOrigin::Ours),
        Self::new("adapter", KeyOrigin::Ours),
        Self::new("window", KeyOrigin::Ours),
        Self::new("scrapePeriod", KeyOrigin::Ours),
        Self::new("engineConfig", KeyOrigin::Ours),
        Self::new("customEngine", KeyOrigin::Ours),
        Self::new("scalerAddress", KeyOrigin::Keda),
        Self::new("enableTLS", KeyOrigin::Keda),
        Self::new("unsafeSsl", KeyOrigin::Keda),
        Self::new("metricType", KeyOrigin::Peer),
        Self::new("targetValue", KeyOrigin::Peer),
        Self::new("targetGpuUtilization", KeyOrigin::Peer),
        Self::new("targetMemoryUtilization", KeyOrigin::Peer),
        Self::new("activationThreshold", KeyOrigin::Peer),
        Self::new("pollIntervalSeconds", KeyOrigin::Peer),
        Self::new("cooldownSeconds", KeyOrigin::Peer),
        Self::new("metricName", KeyOrigin::Peer),
        Self::new("vllmEndpoint", KeyOrigin::Peer),
        Self::new("tritonEndpoint", KeyOrigin::Peer),
        Self::new("caCert", KeyOrigin::Refused(TRIGGER_AUTHENTICATION)),
        Self::new("tlsClientCert", KeyOrigin::Refused(TRIGGER_AUTHENTICATION)),
        Self::new("tlsClientKey", KeyOrigin::Refused(TRIGGER_AUTHENTICATION)),
        Self::new(
            "tlsCertFile",
            KeyOrigin::Refused("KEDA removed it in 2.17; put caCert into a TriggerAuthentication instead"),
        ),
    ];

    const fn new(name: &'static str, origin: KeyOrigin) -> Self {
        Self { name, origin }
    }

    /// The key called `name`.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        Self::ALL
            .iter()
            .find(|key| key.name == name && key.origin != KeyOrigin::Named)
    }

    /// The names that a trigger may use, for error messages.
    pub(crate) fn allowed() -> String {
        let allowed = Self::ALL
            .iter()
            .filter(|key| !matches!(key.origin, KeyOrigin::Refused(_)));
        allowed.map(|key| key.name).collect::<Vec<_>>().join(", ")
    }
}

/// Sizes, and that every key is one that may be used.
pub(crate) fn check_keys(metadata: &BTreeMap<String, String>) -> Result<(), TriggerError> {
    if metadata.len() > MOST_KEYS {
        return Err(TriggerError::TooManyKeys {
            count: metadata.len(),
            most: MOST_KEYS,
        });
    }
    for (key, value) in metadata {
        if key.len() > LONGEST_KEY {
            let (shown, bytes) = (shorten(key), key.len());
            return Err(TriggerError::TooLong {
                what: "key".into(),
                shown,
                bytes,
                most: LONGEST_KEY,
            });
        }
        let last = key.rsplit('.').next().unwrap_or_default();
        let most = if TEXTS.contains(&last) {
            LONGEST_TEXT
        } else {
            LONGEST_VALUE
        };
        if value.len() > most {
            let (what, shown) = (format!("value of {key:?}"), shorten(value));
            return Err(TriggerError::TooLong {
                what,
                shown,
                bytes: value.len(),
                most,
            });
        }
        if key.ends_with("FromEnv") {
            let reason = "KEDA would fill it from the workload's environment, secrets included, drop it silently \
                          where the variable is empty, and send it along with every call; write the value itself";
            return Err(TriggerError::RefusedKey {
                key: key.clone(),
                reason,
            });
        }
        match Key::find(key).map(|known| known.origin) {
            Some(KeyOrigin::Refused(reason)) => {
                return Err(TriggerError::RefusedKey {
                    key: key.clone(),
                    reason,
                });
            }
            Some(_) => {}
            None if named(key).is_some() => {}
            None => {
                let usable = Key::ALL
                    .iter()
                    .filter(|key| !matches!(key.origin, KeyOrigin::Refused(_)));
                let nearest = nearest(key, usable.map(|key| key.name));
                return Err(TriggerError::UnknownKey {
                    key: key.clone(),
                    nearest,
                    allowed: Key::allowed(),
                });
            }
        }
    }
    Ok(())
}

/// The name and option of a named signal's key, `signal.NAME` or `signal.NAME.OPTION`; `None` for
/// any other key, or one with an option that there is not.
pub(crate) fn named(key: &str) -> Option<(&str, Option<&str>)> {
    let rest = key.strip_prefix(NAMED)?;
    match rest.split_once('.') {
        None => Some((rest, None)),
        Some((name, option)) => OPTIONS.contains(&option).then_some((name, Some(option))),
    }
}

/// How a text begins, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(32).collect()
}

/// The one of `allowed` that `name` was probably meant to be.
fn nearest<'a>(name: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    allowed
        .map(|candidate| (distance(&wanted, &candidate.to_ascii_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(2))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance of two short texts, by bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.bytes().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_slip_finds_its_key() {
        let names = || Key::ALL.iter().map(|key| key.name);
        assert_eq!(nearest("targt", names()), Some("target"));
        assert_eq!(nearest("stale_after", names()), Some("staleAfter"));
        assert_eq!(nearest("scaleraddress", names()), Some("scalerAddress"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzzzzzzzzz", names()), None);
    }
}
