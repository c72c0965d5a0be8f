use std::collections::HashSet;

use rheostat_baselines::{Baseline, BaselineError, Settings, catalogue, find};
use rheostat_simulator::{Control, SizingScaler};
use rheostat_sizing::{Intent, Limits, Objective, ReplicaShape};

use crate::case::Case;

/// The name of our own policy.
pub const OURS: &str = "rheostat";

/// The baseline that keeps one level.
pub(crate) const STATIC: &str = "static";

/// What decides, by its name and with its settings.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Its name: [`OURS`] or that of a baseline.
    pub name: String,
    /// What is set differently from its defaults.
    pub settings: Settings,
}

impl Policy {
    /// The policy `name` with its defaults.
    #[must_use]
    pub fn defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            settings: Settings::new(),
        }
    }

    /// Makes it ready to run on `case`.
    ///
    /// # Errors
    ///
    /// No such policy, or settings that it does not have or allow.
    pub fn build(&self, case: &Case) -> Result<Control, BaselineError> {
        if self.name != OURS {
            return find(&self.name, &case.context)?.build(&self.settings, &case.context);
        }
        match self.settings.iter().next() {
            None => Ok(SizingScaler::through_keda(intent(case))),
            // It is told what is wanted, and nothing else: there is nothing to tune.
            Some((key, _)) => Err(BaselineError::UnknownParameter {
                baseline: OURS,
                key: key.to_owned(),
                allowed: "none; it is told by the SLO, the bounds and the cold start alone".to_owned(),
            }),
        }
    }

    /// The baseline that it is; `None` for our own policy.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn baseline(&self, case: &Case) -> Result<Option<Baseline>, BaselineError> {
        if self.name == OURS {
            return Ok(None);
        }
        find(&self.name, &case.context).map(Some)
    }

    /// Names of all policies, ours first.
    #[must_use]
    pub fn names(case: &Case) -> Vec<String> {
        let others = catalogue(&case.context).into_iter().map(|one| one.name);
        std::iter::once(OURS).chain(others).map(str::to_owned).collect()
    }
}

/// What our policy is told of `case`: what a user knows who has set no threshold.
#[must_use]
pub(crate) fn intent(case: &Case) -> Intent {
    let conditions = &case.conditions;
    Intent {
        objective: Objective::Slo(conditions.slo),
        min_replicas: conditions.min_replicas,
        max_replicas: conditions.max_replicas,
        cold_start: conditions.cold_start,
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: f64::from(conditions.engine.gpus),
            price_per_gpu_hour: None,
            parameters: parameters(&conditions.engine.name),
        },
        role: None,
    }
}

/// The model's parameters, where the engine's name tells them, as in `llama2-70b-a100-tp4`.
fn parameters(name: &str) -> Option<f64> {
    let billions = |part: &str| part.strip_suffix('b')?.parse::<f64>().ok();
    let found = name.split('-').find_map(billions)?;
    (found > 0.0 && found.is_finite()).then_some(found * 1e9)
}

/// The policies `asked` for, each once, or all where none is.
///
/// # Errors
///
/// There is none of a name.
pub(crate) fn names(case: &Case, asked: &[String]) -> Result<Vec<String>, BaselineError> {
    let all = Policy::names(case);
    if asked.is_empty() {
        return Ok(all);
    }
    match asked.iter().find(|name| !all.contains(name)) {
        Some(unknown) => Err(BaselineError::UnknownBaseline {
            name: unknown.clone(),
            allowed: all.join(", "),
        }),
        None => Ok(once(asked)),
    }
}

/// Each of `values` once, where it came first.
fn once(values: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let first = values.iter().filter(|value| seen.insert(*value));
    first.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_names_its_size() {
        assert_eq!(parameters("llama2-70b-a100-tp4"), Some(70e9));
        assert_eq!(parameters("llama-3.1-8b-h100"), Some(8e9));
        assert_eq!(parameters("mine"), None);
    }
}
