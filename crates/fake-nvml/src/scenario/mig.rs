use serde::{Deserialize, Serialize};

use super::gpu::{Activity, Process, check_curve, check_text};
use super::{Curve, Model, ScenarioError};

/// A GPU's MIG mode and partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mig {
    /// Whether MIG is on.
    pub enabled: bool,
    /// The GPU instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<MigInstance>,
}

impl Default for Mig {
    fn default() -> Self {
        Self {
            enabled: true,
            instances: Vec::new(),
        }
    }
}

/// A GPU instance; by default with one compute instance that takes all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigInstance {
    /// Profile, such as `1g.10gb`.
    pub profile: String,
    /// GPU instance id; one that is free and usual for the profile where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_instance: Option<u32>,
    /// First memory slice; the last free place of the profile where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_start: Option<u32>,
    /// `MIG-…`, where the instance has no `compute_instances` of its own; made from the GPU's UUID,
    /// the instance's id and the profile where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Used memory; what its processes use where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<Curve>,
    /// What GPM reports of it.
    #[serde(default)]
    pub activity: Activity,
    /// Processes, where the instance has no `compute_instances` of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Compute instances, where there is not just one over the whole instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compute_instances: Vec<ComputeInstance>,
}

/// A compute instance: what NVML shows as a MIG device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeInstance {
    /// Compute slices that it takes of its GPU instance.
    pub slices: u32,
    /// `MIG-…`; made from the GPU's UUID, the profile and the ids where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
}

impl MigInstance {
    /// An idle instance of `profile`.
    #[must_use]
    pub fn of(profile: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            ..Self::default()
        }
    }
}

/// A GPU instance profile of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// `NVML_GPU_INSTANCE_PROFILE_…`.
    pub(crate) number: u32,
    pub(crate) id: u32,
    pub(crate) slices: u32,
    pub(crate) memory_slices: u32,
    pub(crate) sms: u32,
    pub(crate) memory_mib: u64,
    /// Video engines: JPEG and optical flow with `+me`, decoders by size.
    pub(crate) decoders: u32,
    pub(crate) media: bool,
    pub(crate) placements: Vec<u32>,
}

/// Number, id, slices, memory slices, suffix, places of a profile.
type Shape = (u32, u32, u32, u32, &'static str, &'static [u32]);

/// Profiles of seven-slice GPUs.
const SEVEN_SLICES: &[Shape] = &[
    (0, 19, 1, 1, "", &[0, 1, 2, 3, 4, 5, 6]),
    (7, 20, 1, 1, "+me", &[0, 1, 2, 3, 4, 5, 6]),
    (9, 15, 1, 2, "", &[0, 2, 4, 6]),
    (1, 14, 2, 2, "", &[0, 2, 4]),
    (2, 9, 3, 4, "", &[0, 4]),
    (3, 5, 4, 4, "", &[0]),
    (4, 0, 7, 8, "", &[0]),
];

/// Profiles of four-slice GPUs.
const FOUR_SLICES: &[Shape] = &[
    (0, 14, 1, 1, "", &[0, 1, 2, 3]),
    (7, 21, 1, 1, "+me", &[0, 1, 2, 3]),
    (1, 5, 2, 2, "", &[0, 2]),
    (3, 0, 4, 4, "", &[0]),
];

/// The profiles of `model` with `memory_mib`; none where it has no MIG.
pub(crate) fn profiles(model: &Model, memory_mib: u64) -> Vec<Profile> {
    let (table, memory_slices) = match model.mig_slices {
        7 => (SEVEN_SLICES, 8),
        4 => (FOUR_SLICES, 4),
        _ => return Vec::new(),
    };
    table
        .iter()
        .map(|(number, id, slices, memory, suffix, places)| Profile {
            name: format!(
                "{slices}g.{}gb{suffix}",
                (model.mig_gb * memory * 2 / memory_slices).div_ceil(2)
            ),
            number: *number,
            id: *id,
            slices: *slices,
            memory_slices: *memory,
            sms: model.mig_sms.get(*slices as usize).copied().unwrap_or_default(),
            // Whole MiB of 64 less what the driver keeps, as `nvidia-smi mig -lgip` shows.
            memory_mib: (memory_mib - model.reserved_mib) * u64::from(*memory)
                / u64::from(memory_slices)
                / 64
                * 64,
            decoders: if *suffix == "+me" {
                1
            } else {
                *memory - u32::from(*memory == 8)
            },
            media: *suffix == "+me" || *slices == model.mig_slices,
            placements: places.to_vec(),
        })
        .collect()
}

/// Where a GPU's instances lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Profile, GPU instance id and first memory slice of each, in the scenario's order.
    pub(crate) instances: Vec<(Profile, u32, u32)>,
}

impl Layout {
    /// Places the instances of `mig` on `model`.
    pub(crate) fn new(key: &str, mig: &Mig, model: &Model, memory_mib: u64) -> Result<Self, ScenarioError> {
        let known = profiles(model, memory_mib);
        if known.is_empty() {
            return Err(ScenarioError::value(key, format!("{} has no MIG", model.name)));
        }
        let mut layout = Self {
            instances: Vec::new(),
        };
        if !mig.enabled {
            return match mig.instances.is_empty() {
                true => Ok(layout),
                false => Err(ScenarioError::value(
                    format!("{key}.instances"),
                    "needs `enabled: true`",
                )),
            };
        }
        for (index, instance) in mig.instances.iter().enumerate() {
            let key = format!("{key}.instances[{index}]");
            let Some(profile) = known.iter().find(|profile| profile.name == instance.profile) else {
                let names: Vec<_> = known.iter().map(|profile| profile.name.as_str()).collect();
                let problem = format!(
                    "is `{}`; {} has {}",
                    instance.profile,
                    model.name,
                    names.join(", ")
                );
                return Err(ScenarioError::value(format!("{key}.profile"), problem));
            };
            let start = layout.place(&key, profile, instance.placement_start, model)?;
            let id = layout.identify(&key, profile, instance.gpu_instance)?;
            layout.instances.push((profile.clone(), id, start));
            instance.check(&key, profile)?;
        }
        Ok(layout)
    }

    fn place(
        &self,
        key: &str,
        profile: &Profile,
        wanted: Option<u32>,
        model: &Model,
    ) -> Result<u32, ScenarioError> {
        let used: u32 = self.instances.iter().map(|(profile, ..)| profile.slices).sum();
        let free = |start: u32| {
            self.instances.iter().all(|(other, _, other_start)| {
                start + profile.memory_slices <= *other_start || other_start + other.memory_slices <= start
            })
        };
        let fits = used + profile.slices <= model.mig_slices;
        let mut places = profile
            .placements
            .iter()
            .copied()
            .filter(|start| wanted.is_none_or(|w| w == *start));
        // From the end: the first places are the ones that the large profiles need.
        places.rfind(|start| fits && free(*start)).ok_or_else(|| {
            let allowed = &profile.placements;
            let problem = format!(
                "no room for {}: it may start at {allowed:?} where no other instance lies",
                profile.name
            );
            ScenarioError::value(key, problem)
        })
    }

    /// The id that the driver usually gives: 0 for the whole GPU, 1-2 for halves, 3-6 for quarters,
    /// 7-14 for eighths.
    fn identify(&self, key: &str, profile: &Profile, wanted: Option<u32>) -> Result<u32, ScenarioError> {
        let taken = |id: u32| self.instances.iter().any(|(_, other, _)| *other == id);
        match wanted {
            Some(id) if taken(id) || id > 31 => {
                let problem = format!("is {id}; an id from 0 to 31 that no other instance has is needed");
                Err(ScenarioError::value(format!("{key}.gpu_instance"), problem))
            }
            Some(id) => Ok(id),
            None => {
                let first = match profile.memory_slices {
                    8 => 0,
                    4 => 1,
                    2 => 3,
                    _ => 7,
                };
                Ok((first..).find(|id| !taken(*id)).unwrap_or(first))
            }
        }
    }
}

impl MigInstance {
    fn check(&self, key: &str, profile: &Profile) -> Result<(), ScenarioError> {
        let memory = profile.memory_mib * (1 << 20);
        check_curve(
            &format!("{key}.memory_used_bytes"),
            self.memory_used_bytes.as_ref(),
            memory as f64,
        )?;
        self.activity.check(&format!("{key}.activity"))?;
        check_text(&format!("{key}.uuid"), self.uuid.as_deref())?;
        if self.compute_instances.is_empty() {
            return Process::check_all(&format!("{key}.processes"), &self.processes, memory);
        }
        if self.uuid.is_some() || !self.processes.is_empty() {
            let problem = "has `compute_instances`: `uuid` and `processes` belong to each of those";
            return Err(ScenarioError::value(key, problem));
        }
        let slices: u64 = self
            .compute_instances
            .iter()
            .map(|instance| u64::from(instance.slices))
            .sum();
        if slices > u64::from(profile.slices)
            || self.compute_instances.iter().any(|instance| instance.slices == 0)
        {
            let problem = format!(
                "take {slices} slices; 1 or more each, {} together are allowed",
                profile.slices
            );
            return Err(ScenarioError::value(format!("{key}.compute_instances"), problem));
        }
        for (index, instance) in self.compute_instances.iter().enumerate() {
            let key = format!("{key}.compute_instances[{index}]");
            check_text(&format!("{key}.uuid"), instance.uuid.as_deref())?;
            Process::check_all(&format!("{key}.processes"), &instance.processes, memory)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(model: &str) -> Vec<String> {
        let model = Model::named(model).unwrap();
        profiles(model, model.memory_mib)
            .into_iter()
            .map(|profile| profile.name)
            .collect()
    }

    #[test]
    fn profiles_have_nvidias_names() {
        let h100 = [
            "1g.10gb",
            "1g.10gb+me",
            "1g.20gb",
            "2g.20gb",
            "3g.40gb",
            "4g.40gb",
            "7g.80gb",
        ];
        assert_eq!(names("NVIDIA H100 80GB HBM3"), h100);
        let h200 = [
            "1g.18gb",
            "1g.18gb+me",
            "1g.35gb",
            "2g.35gb",
            "3g.71gb",
            "4g.71gb",
            "7g.141gb",
        ];
        assert_eq!(names("NVIDIA H200"), h200);
        assert_eq!(names("NVIDIA A30"), ["1g.6gb", "1g.6gb+me", "2g.12gb", "4g.24gb"]);
        assert!(names("Tesla T4").is_empty());
    }

    #[test]
    fn instances_are_placed_side_by_side() {
        let model = Model::named("NVIDIA H100 80GB HBM3").unwrap();
        let wanted = ["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"];
        let mig = Mig {
            enabled: true,
            instances: wanted.map(MigInstance::of).to_vec(),
        };
        let layout = Layout::new("mig", &mig, model, model.memory_mib).unwrap();
        let places: Vec<_> = layout
            .instances
            .iter()
            .map(|(_, id, start)| (*id, *start))
            .collect();
        assert_eq!(places, [(1, 4), (3, 2), (7, 1), (8, 0)]);
    }
}
