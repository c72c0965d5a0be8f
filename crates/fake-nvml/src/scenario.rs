//! The scenario: what the fake driver reports, and when.

mod curve;
mod fault;
mod gpu;
mod mig;
mod model;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use curve::{Curve, Interpolation, Shape};
pub use fault::{ErrorCode, Fault};
pub(crate) use gpu::pci_address;
pub use gpu::{
    Activity, ComputeMode, Ecc, Event, EventKind, Gpu, Process, ProcessKind, Readings, Throttle,
    ThrottleReason,
};
pub use mig::{ComputeInstance, Mig, MigInstance};
pub(crate) use mig::{Layout, Profile, profiles};
pub(crate) use model::Model;
pub use model::model_names;

/// The largest scenario file that is read, in bytes.
pub const LARGEST_SCENARIO: u64 = 16 << 20;

/// The most GPUs that a scenario may have.
const MOST_GPUS: usize = 64;

/// A machine with GPUs, as the fake driver shows it.
///
/// `{"gpus": [{"model": "NVIDIA H100 80GB HBM3"}]}` is enough: everything else has a default, most
/// of it by the GPU's model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the machine; it only makes the default UUIDs and serial numbers its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The driver.
    #[serde(default)]
    pub driver: Driver,
    /// Time zero of every curve, window and event, in seconds since the Unix epoch; the time at
    /// which the file was last modified where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_unix_seconds: Option<f64>,
    /// The GPUs in NVML's order.
    pub gpus: Vec<Gpu>,
    /// Calls that fail or take long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The driver's versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Driver {
    /// Version of the kernel driver.
    pub version: String,
    /// CUDA version that the driver supports, `major.minor`.
    pub cuda: String,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            version: "580.95.05".to_owned(),
            cuda: "13.0".to_owned(),
        }
    }
}

/// Why a scenario cannot be used.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The scenario file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than [`LARGEST_SCENARIO`].
    #[error("{}: larger than {LARGEST_SCENARIO} bytes", path.display())]
    TooLarge {
        /// The scenario file.
        path: PathBuf,
    },
    /// The text is not a scenario.
    #[error("not a scenario: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is not allowed.
    #[error("{key}: {problem}")]
    Value {
        /// Where in the scenario, such as `gpus[0].readings.power_watts`.
        key: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl ScenarioError {
    fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl Scenario {
    /// A machine with `count` GPUs of `model`, all idle.
    #[must_use]
    pub fn of(model: &str, count: usize) -> Self {
        let gpu = Gpu {
            model: model.to_owned(),
            ..Gpu::default()
        };
        Self {
            gpus: vec![gpu; count],
            ..Self::default()
        }
    }

    /// Reads and checks a scenario in JSON.
    ///
    /// # Errors
    /// Where the text is no scenario or a value is not allowed.
    pub fn parse(text: &[u8]) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_slice(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Reads and checks the scenario file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read, is too large, or is no valid scenario.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let failed = |source| ScenarioError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(LARGEST_SCENARIO + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LARGEST_SCENARIO {
            return Err(ScenarioError::TooLarge {
                path: path.to_owned(),
            });
        }
        Self::parse(&text)
    }

    /// Writes the scenario to `path` in one step (write beside it, then rename), so that a library
    /// which reads at the same time sees the old or the new one, never half of it.
    ///
    /// # Errors
    /// Where the scenario is not valid or the file cannot be written.
    pub fn write_to(&self, path: &Path) -> Result<(), ScenarioError> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        self.check()?;
        let text = serde_json::to_vec_pretty(self)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(
            ".{}-{}",
            std::process::id(),
            WRITES.fetch_add(1, Ordering::Relaxed)
        ));
        let beside = PathBuf::from(beside);
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|source| ScenarioError::File {
                path: path.to_owned(),
                source,
            })
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The first value that is not allowed, with its key and what is.
    pub fn check(&self) -> Result<(), ScenarioError> {
        if self.gpus.len() > MOST_GPUS {
            let problem = format!("has {} GPUs; at most {MOST_GPUS} are allowed", self.gpus.len());
            return Err(ScenarioError::value("gpus", problem));
        }
        if !self
            .started_at_unix_seconds
            .is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0)
        {
            return Err(ScenarioError::value(
                "started_at_unix_seconds",
                "must be a time after 1970",
            ));
        }
        if self.driver.version.len() > 79 || self.driver.version.contains('\0') {
            return Err(ScenarioError::value(
                "driver.version",
                "must be a text of at most 79 bytes",
            ));
        }
        if self.cuda_version().is_none() {
            let problem = format!(
                "is `{}`; `major.minor` is needed, such as `13.0`",
                self.driver.cuda
            );
            return Err(ScenarioError::value("driver.cuda", problem));
        }
        for (index, gpu) in self.gpus.iter().enumerate() {
            gpu.check(&format!("gpus[{index}]"))?;
        }
        self.check_uuids()?;
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check(&format!("faults[{index}]"), self.gpus.len())?;
        }
        Ok(())
    }

    fn check_uuids(&self) -> Result<(), ScenarioError> {
        let mut seen = BTreeSet::new();
        for (index, gpu) in self.gpus.iter().enumerate() {
            let instances = gpu.mig.iter().flat_map(|mig| &mig.instances);
            let partitions = instances.flat_map(|instance| {
                instance.uuid.iter().chain(
                    instance
                        .compute_instances
                        .iter()
                        .filter_map(|one| one.uuid.as_ref()),
                )
            });
            if let Some(twice) = gpu
                .uuid
                .iter()
                .chain(partitions)
                .find(|uuid| !seen.insert(uuid.as_str()))
            {
                return Err(ScenarioError::value(
                    format!("gpus[{index}]"),
                    format!("UUID `{twice}` is there twice"),
                ));
            }
        }
        Ok(())
    }

    /// The CUDA version as NVML encodes it: 1000 major + 10 minor.
    pub(crate) fn cuda_version(&self) -> Option<i32> {
        let (major, minor) = self.driver.cuda.split_once('.')?;
        Some(i32::from(major.parse::<u16>().ok()?) * 1000 + i32::from(minor.parse::<u8>().ok()?) * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Scenario::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_model_is_enough() {
        let scenario = Scenario::parse(br#"{"gpus": [{"model": "NVIDIA H100 80GB HBM3"}]}"#).unwrap();
        assert_eq!(scenario, Scenario::of("NVIDIA H100 80GB HBM3", 1));
        assert_eq!(scenario.cuda_version(), Some(13_000));
    }

    #[test]
    fn a_refusal_names_key_value_and_what_is_allowed() {
        let unknown = refusal(r#"{"gpus": [{"modle": "x"}]}"#);
        assert!(
            unknown.contains("modle") && unknown.contains("model"),
            "{unknown}"
        );
        let model = refusal(r#"{"gpus": [{"model": "NVIDIA H900"}]}"#);
        assert!(
            model.contains("gpus[0].model") && model.contains("H900") && model.contains("Tesla T4"),
            "{model}"
        );
        let busy = refusal(r#"{"gpus": [{"readings": {"utilization_percent": 120}}]}"#);
        assert!(
            busy.contains("gpus[0].readings.utilization_percent") && busy.contains("0 to 100"),
            "{busy}"
        );
        let profile = refusal(r#"{"gpus": [{"mig": {"instances": [{"profile": "9g.9gb"}]}}]}"#);
        assert!(
            profile.contains("gpus[0].mig.instances[0].profile") && profile.contains("1g.10gb"),
            "{profile}"
        );
        let full = refusal(
            r#"{"gpus": [{"mig": {"instances": [{"profile": "4g.40gb"}, {"profile": "4g.40gb"}]}}]}"#,
        );
        assert!(
            full.contains("instances[1]") && full.contains("no room"),
            "{full}"
        );
        let error = refusal(r#"{"gpus": [], "faults": [{"call": "nvmlInit", "error": "BROKEN"}]}"#);
        assert!(
            error.contains("BROKEN") && error.contains("GPU_IS_LOST"),
            "{error}"
        );
        let gpu = refusal(r#"{"gpus": [], "faults": [{"call": "*", "gpu": 3, "error": "GPU_IS_LOST"}]}"#);
        assert!(gpu.contains("faults[0].gpu"), "{gpu}");
        let same = refusal(r#"{"gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-1"}]}"#);
        assert!(same.contains("GPU-1"), "{same}");
    }

    #[test]
    fn the_example_of_the_readme_is_a_scenario() {
        let readme = include_str!("../README.md");
        let example = readme
            .split("```json\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let scenario = Scenario::parse(example.as_bytes()).unwrap();
        assert_eq!(scenario.gpus.len(), 2);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scenario.json");
        let mut scenario = Scenario::of("NVIDIA A100-SXM4-80GB", 2);
        scenario.gpus[0].readings.utilization_percent = Some(Curve::Shape(Shape::Sine {
            mean: 50.0,
            amplitude: 50.0,
            period_seconds: 10.0,
            phase: 0.25,
        }));
        scenario.gpus[1].mig = Some(Mig {
            instances: vec![MigInstance::of("1g.10gb")],
            ..Mig::default()
        });
        scenario
            .faults
            .push(Fault::error("nvmlDeviceGetPowerUsage", ErrorCode::NoPermission));
        scenario.write_to(&path).unwrap();
        assert_eq!(Scenario::read(&path).unwrap(), scenario);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
