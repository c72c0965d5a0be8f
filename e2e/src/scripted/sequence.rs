//! A sequence: what is to be recorded, as it lies in `e2e/sequences`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A workload, its ScaledObject, and what the scaler answers when.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Sequence {
    /// What is to be seen.
    pub(crate) description: String,
    pub(crate) pods: Pods,
    /// The `spec` of the ScaledObject, as a user writes it, but for `scaleTargetRef` and the
    /// address of the scaler. The triggers' metadata key `trigger` is the name that the script
    /// knows them by, `demand` where it is missing.
    pub(crate) scaled_object: BTreeMap<String, Value>,
    pub(crate) script: Vec<Step>,
    /// When the recording ends, in seconds.
    pub(crate) ends: f64,
    /// The replica counts that the Deployment has asked for by then, one after the other; missing
    /// where they depend on when in its period the HPA controller looks.
    pub(crate) expect: Option<Vec<i32>>,
}

/// The pods of the workload.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pods {
    /// How many there are at the start.
    #[serde(default)]
    pub(crate) replicas: i32,
    /// How many fit into the cluster.
    pub(crate) fit: u32,
    /// Seconds from being bound to being ready.
    #[serde(default)]
    pub(crate) cold_start: f64,
}

/// From `at` seconds on, the scaler answers so. What a step does not name stays as it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: f64,
    /// The replica count that the Deployment must ask for before this step is taken. On a busy
    /// machine that may be later than `at`; all that follows is then later by as much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) once: Option<i32>,
    #[serde(default = "default_trigger")]
    pub(crate) trigger: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<bool>,
    /// The target in the metric spec; 10 where no step names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<f64>,
    /// Whether `GetMetrics` and `IsActive` fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fails: Option<bool>,
    /// Whether `GetMetricSpec` fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spec_fails: Option<bool>,
    /// Whether the present activity is also pushed now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) push: bool,
    /// Sets the replica count of the Deployment by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<i32>,
}

pub(crate) const DEFAULT_TRIGGER: &str = "demand";

fn default_trigger() -> String {
    DEFAULT_TRIGGER.to_owned()
}

/// All sequences of the folder, as (name, sequence), in the order of their names.
pub(crate) fn all(folder: &Path) -> Result<Vec<(String, Sequence)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".yaml"))
        else {
            continue;
        };
        let yaml = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let sequence =
            serde_saphyr::from_str(&yaml).with_context(|| format!("{} is no sequence", path.display()))?;
        found.push((name.to_owned(), sequence));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}
