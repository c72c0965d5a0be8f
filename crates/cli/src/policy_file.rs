use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rheostat_crd::{KIND, Policy, Surroundings};
use rheostat_sizing::Objective;
use serde_json::Value;

use crate::workload::{Stated, read_bounded};

/// KEDA's `cooldownPeriod` where a ScaledObject has none: a file with a policy does not say what its ScaledObject
/// has.
pub(crate) const COOLDOWN: Duration = Duration::from_secs(300);

/// A ScalingPolicy in a file.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub(crate) policy: Policy,
    /// Whether it says how many replicas there may be.
    pub(crate) has_min: bool,
    pub(crate) has_max: bool,
    /// Whether it says when there may be none.
    to_zero: bool,
}

impl PolicyFile {
    /// Reads a manifest of a ScalingPolicy, or its `spec` alone.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_bounded(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no ScalingPolicy", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_saphyr::from_str(text)?;
        let spec = match (value.get("kind"), value.get("spec")) {
            (None, None) => &value,
            (Some(kind), Some(spec)) if kind == KIND => spec,
            (Some(kind), Some(_)) => bail!("kind is {kind}; allowed is {KIND}"),
            _ => bail!("a manifest has both `kind: {KIND}` and `spec`"),
        };
        let has = |key: &str| {
            spec.get("replicas")
                .is_some_and(|replicas| replicas.get(key).is_some())
        };
        Ok(Self {
            policy: Policy::read(spec)?,
            has_min: has("min"),
            has_max: has("max"),
            to_zero: has("scaleToZeroAfter"),
        })
    }

    /// What it says by itself of what is to be kept.
    pub(crate) fn stated(&self) -> Stated {
        let intent = self.policy.intent(&Surroundings {
            min_replicas: 0,
            max_replicas: u32::MAX,
            cooldown_period: COOLDOWN,
            gpus_per_pod: None,
        });
        Stated {
            slo: match intent.objective {
                Objective::Slo(slo) => Some(slo),
                _ => None,
            },
            // Zero where nothing else is said: with the usual one replica it would never go there.
            min_replicas: (self.has_min || self.to_zero).then_some(intent.min_replicas),
            max_replicas: self.has_max.then_some(intent.max_replicas),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_says_when_to_go_to_zero_states_no_minimum_above() {
        let least = |replicas: &str| {
            let text = format!("{{slo: {{ttft: 2s}}, replicas: {replicas}}}");
            PolicyFile::parse(&text).unwrap().stated().min_replicas
        };
        assert_eq!(least("{scaleToZeroAfter: 15m}"), Some(0));
        assert_eq!(least("{scaleToZeroAfter: 15m, min: 0}"), Some(0));
        assert_eq!(least("{min: 2}"), Some(2));
        assert_eq!(least("{max: 9}"), None);
    }
}
