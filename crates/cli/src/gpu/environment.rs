use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// Who started this process, and which devices it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Environment {
    /// The orchestrator.
    pub(crate) orchestrator: Orchestrator,
    /// The node, by the orchestrator's name for it.
    pub(crate) node: Option<String>,
    /// The job, where the orchestrator runs jobs.
    pub(crate) job_id: Option<String>,
    /// The process's rank within the job.
    pub(crate) task_rank: Option<u32>,
    /// The pod (Kubernetes).
    pub(crate) pod_name: Option<String>,
    /// Its namespace (Kubernetes).
    pub(crate) namespace: Option<String>,
    /// The partition, or queue, of nodes (Slurm).
    pub(crate) partition: Option<String>,
    /// The devices it was given: indices or UUIDs, as they were written. `None` where nothing says.
    pub(crate) visible_devices: Option<Vec<String>>,
    /// The variable that said so.
    pub(crate) visible_devices_from: Option<&'static str>,
}

/// What starts processes here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Orchestrator {
    Kubernetes,
    Slurm,
    Flux,
    #[default]
    Standalone,
}

/// `--env`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvironmentChoice {
    /// Found out from the environment variables.
    #[default]
    Auto,
    /// A pod.
    #[value(alias = "k8s")]
    Kubernetes,
    /// A task of a Slurm job.
    Slurm,
    /// A task of a Flux job.
    Flux,
    /// None of them.
    Standalone,
}

/// More devices than one process is ever given.
const MOST_DEVICES: usize = 256;

impl Environment {
    /// What the environment variables, read by `variable`, say.
    pub(crate) fn detect(choice: EnvironmentChoice, variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let rank = |name: &str| get(name).and_then(|rank| rank.parse().ok());
        let orchestrator = match choice {
            EnvironmentChoice::Kubernetes => Orchestrator::Kubernetes,
            EnvironmentChoice::Slurm => Orchestrator::Slurm,
            EnvironmentChoice::Flux => Orchestrator::Flux,
            // Flux is often started inside a Slurm job, and either inside a pod: the innermost
            // is the one that gave out the devices.
            EnvironmentChoice::Auto if get("FLUX_JOB_ID").is_some() => Orchestrator::Flux,
            EnvironmentChoice::Auto if get("SLURM_JOB_ID").is_some() => Orchestrator::Slurm,
            EnvironmentChoice::Auto if get("KUBERNETES_SERVICE_HOST").is_some() => Orchestrator::Kubernetes,
            EnvironmentChoice::Auto | EnvironmentChoice::Standalone => Orchestrator::Standalone,
        };
        let mut environment = Self {
            orchestrator,
            node: get("HOSTNAME").or_else(host_name),
            ..Self::default()
        };
        match orchestrator {
            Orchestrator::Flux => {
                environment.job_id = get("FLUX_JOB_ID");
                environment.task_rank = rank("FLUX_TASK_RANK");
            }
            Orchestrator::Slurm => {
                environment.node = get("SLURMD_NODENAME").or(environment.node);
                environment.job_id = get("SLURM_JOB_ID");
                environment.task_rank = rank("SLURM_PROCID");
                environment.partition = get("SLURM_JOB_PARTITION");
            }
            Orchestrator::Kubernetes => {
                environment.node = get("NODE_NAME").or(environment.node);
                environment.pod_name = get("POD_NAME");
                environment.namespace = get("POD_NAMESPACE");
            }
            Orchestrator::Standalone => {}
        }
        for &name in orchestrator.device_variables() {
            if let Some(devices) = variable(name).and_then(|list| visible_devices(&list)) {
                environment.visible_devices = Some(devices);
                environment.visible_devices_from = Some(name);
                break;
            }
        }
        environment
    }
}

impl Orchestrator {
    /// The variables that may name the devices, the best first.
    ///
    /// Slurm's CUDA_VISIBLE_DEVICES counts as NVML does in the job's own cgroup; SLURM_STEP_GPUS and
    /// SLURM_JOB_GPUS count the node's devices.
    const fn device_variables(self) -> &'static [&'static str] {
        match self {
            Self::Slurm => &[
                "CUDA_VISIBLE_DEVICES",
                "SLURM_STEP_GPUS",
                "SLURM_JOB_GPUS",
                "NVIDIA_VISIBLE_DEVICES",
            ],
            Self::Flux | Self::Kubernetes | Self::Standalone => {
                &["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"]
            }
        }
    }

    /// Whether a process is to look at its own devices only: a node is shared by jobs.
    pub(crate) const fn shows_own_devices_only(self) -> bool {
        matches!(self, Self::Slurm | Self::Flux)
    }
}

/// The devices that the variable's value lists; `None` for "all".
fn visible_devices(list: &str) -> Option<Vec<String>> {
    match list.trim() {
        "" | "all" => None,
        // CUDA: -1 hides all devices. The container toolkit: none and void do.
        "none" | "void" | "NoDevFiles" | "-1" => Some(Vec::new()),
        list => Some(
            list.split(',')
                .map(|id| id.trim().to_owned())
                .filter(|id| !id.is_empty())
                .take(MOST_DEVICES)
                .collect(),
        ),
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

impl fmt::Display for Orchestrator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Slurm => "slurm",
            Self::Flux => "flux",
            Self::Standalone => "standalone",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(choice: EnvironmentChoice, variables: &[(&str, &str)]) -> Environment {
        Environment::detect(choice, |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_slurm_job_is_known_by_its_variables() {
        let found = detect(
            EnvironmentChoice::Auto,
            &[
                ("SLURM_JOB_ID", "4711"),
                ("SLURM_PROCID", "3"),
                ("SLURMD_NODENAME", "gpu-07"),
                ("SLURM_JOB_PARTITION", "h100"),
                ("SLURM_JOB_GPUS", "2,3"),
                ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ],
        );
        let expected = Environment {
            orchestrator: Orchestrator::Slurm,
            node: Some("gpu-07".into()),
            job_id: Some("4711".into()),
            task_rank: Some(3),
            partition: Some("h100".into()),
            visible_devices: Some(vec!["2".into(), "3".into()]),
            visible_devices_from: Some("SLURM_JOB_GPUS"),
            ..Environment::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_innermost_orchestrator_counts() {
        let flux = [
            ("FLUX_JOB_ID", "ƒ26ZRMv3"),
            ("FLUX_TASK_RANK", "0"),
            ("SLURM_JOB_ID", "4711"),
        ];
        let found = detect(EnvironmentChoice::Auto, &flux);
        assert_eq!(
            (found.orchestrator, found.job_id.as_deref()),
            (Orchestrator::Flux, Some("ƒ26ZRMv3"))
        );
        assert_eq!(
            detect(EnvironmentChoice::Slurm, &flux).job_id.as_deref(),
            Some("4711")
        );
        assert_eq!(detect(EnvironmentChoice::Standalone, &flux).job_id, None);
    }

    #[test]
    fn a_pod_is_named_by_the_downward_api() {
        let pod = [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("NODE_NAME", "node-1"),
            ("POD_NAME", "llm-0"),
            ("POD_NAMESPACE", "team-a"),
            ("NVIDIA_VISIBLE_DEVICES", "all"),
        ];
        let found = detect(EnvironmentChoice::Auto, &pod);
        assert_eq!(found.orchestrator, Orchestrator::Kubernetes);
        assert_eq!(found.node.as_deref(), Some("node-1"));
        assert_eq!(
            (found.pod_name.as_deref(), found.namespace.as_deref()),
            (Some("llm-0"), Some("team-a"))
        );
        assert_eq!(found.visible_devices, None);
    }

    #[test]
    fn devices_are_indices_uuids_or_none_at_all() {
        let visible = |list: &str| {
            detect(EnvironmentChoice::Standalone, &[("CUDA_VISIBLE_DEVICES", list)]).visible_devices
        };
        let mixed = vec!["0".to_owned(), "GPU-8f6d".into(), "MIG-GPU-8f6d/3/0".into()];
        assert_eq!(visible("0, GPU-8f6d,MIG-GPU-8f6d/3/0"), Some(mixed));
        assert_eq!(visible("-1"), Some(vec![]));
        assert_eq!(visible(""), None);
        assert_eq!(visible("all"), None);
    }
}
