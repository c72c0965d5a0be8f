use std::fmt;
use std::str::FromStr;

use crate::{Device, DeviceKind, GpuSnapshot};

/// A device as the kubelet names it, in one of the forms that device plugins and DRA drivers use.
///
/// Several forms carry a *replica*: the device is shared by time-slicing or MPS, and the number only
/// tells the sharers apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KubeletDeviceId {
    /// `GPU-…` or `MIG-…`, with `::N` for a replica: NVIDIA's device plugin.
    Uuid {
        /// NVML UUID.
        uuid: String,
        /// Replica of a shared device.
        replica: Option<u32>,
    },
    /// `MIG-GPU-<uuid>/<gi>/<ci>`: a MIG device under drivers before 470.
    LegacyMig {
        /// UUID of the GPU, with `GPU-`.
        gpu: String,
        /// NVML GPU instance id.
        gpu_instance: u32,
        /// NVML compute instance id.
        compute_instance: u32,
        /// Replica of a shared device.
        replica: Option<u32>,
    },
    /// `nvidia0`, `nvidia0/gi1`, `nvidia0/vgpu2`, `nvidia0/gi1/vgpu2`: GKE's device plugin.
    Gke {
        /// Number of `/dev/nvidiaN`.
        minor: u32,
        /// NVML GPU instance id of a partition.
        gpu_instance: Option<u32>,
        /// Replica of a shared device.
        replica: Option<u32>,
    },
    /// `0` or `0:1`: plugins that count devices (Tegra, WSL, index strategies).
    Index {
        /// NVML index of the GPU.
        gpu: u32,
        /// Index of the partition within it.
        partition: Option<u32>,
        /// Replica of a shared device.
        replica: Option<u32>,
    },
    /// `gpu-<minor>`: NVIDIA's DRA driver.
    DraGpu {
        /// Number of `/dev/nvidiaN`.
        minor: u32,
    },
    /// `gpu-<minor>-mig-<profile>-<profile id>-<start>`: a partition by NVIDIA's DRA driver.
    DraMig {
        /// Number of `/dev/nvidiaN` of the GPU.
        minor: u32,
        /// Profile without its dots, such as `1g10gb`.
        profile: String,
        /// NVML GPU instance profile id.
        profile_id: u32,
        /// First memory slice.
        placement_start: u32,
    },
}

/// A device id of no form that we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "device id `{id}` has none of the known forms: GPU-<uuid>, MIG-<uuid>, MIG-GPU-<uuid>/<gi>/<ci>, \
     nvidia<minor>[/gi<id>][/vgpu<n>], <index>[:<index>], gpu-<minor>[-mig-<profile>-<id>-<start>], \
     or a CDI name of one of them"
)]
pub struct UnknownDeviceId {
    /// The id, shortened.
    pub id: String,
}

/// A device id that names no device of the snapshot, or not one alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device id `{id}` was read as {form}; {looked_for}")]
pub struct Unresolved {
    /// The id.
    pub id: KubeletDeviceId,
    /// The form that it was read as.
    pub form: &'static str,
    /// What was looked for, and among what.
    pub looked_for: String,
}

/// Longer ids than any of the forms can be are refused unread.
const LONGEST: usize = 256;

impl FromStr for KubeletDeviceId {
    type Err = UnknownDeviceId;

    fn from_str(text: &str) -> Result<Self, UnknownDeviceId> {
        let unknown = || UnknownDeviceId {
            id: text.chars().take(64).collect(),
        };
        if text.len() > LONGEST {
            return Err(unknown());
        }
        let name = match text.split_once('=') {
            Some((kind, name)) => cdi_device(kind, name).ok_or_else(unknown)?,
            None => text,
        };
        plain(name).ok_or_else(unknown)
    }
}

/// The device's name in the CDI name `<vendor>/<class>=<name>`.
///
/// NVIDIA's DRA driver makes one name for each device of a claim, `k8s.gpu.nvidia.com/claim=<claim
/// UID>-<device>`; CDI specifications of the container toolkit name devices as the device plugin
/// does.
fn cdi_device<'a>(kind: &str, name: &'a str) -> Option<&'a str> {
    let (vendor, class) = kind.split_once('/')?;
    if !(vendor == "nvidia.com" || vendor.ends_with(".nvidia.com")) {
        return None;
    }
    if class != "claim" {
        return Some(name);
    }
    let (uid, rest) = name.split_at_checked(36)?;
    (is_uuid(uid)).then_some(rest)?.strip_prefix('-')
}

fn plain(name: &str) -> Option<KubeletDeviceId> {
    if let Some(dra) = name.strip_prefix("gpu-").and_then(dra) {
        return Some(dra);
    }
    let (base, replica) = match name.split_once("::") {
        Some((base, replica)) => (base, Some(number(replica)?)),
        None => (name, None),
    };
    if let Some(rest) = base.strip_prefix("MIG-GPU-") {
        let mut parts = rest.split('/');
        let (gpu, gpu_instance, compute_instance) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !is_identifier(gpu) {
            return None;
        }
        return Some(KubeletDeviceId::LegacyMig {
            gpu: format!("GPU-{gpu}"),
            gpu_instance: number(gpu_instance)?,
            compute_instance: number(compute_instance)?,
            replica,
        });
    }
    if let Some(rest) = base.strip_prefix("GPU-").or_else(|| base.strip_prefix("MIG-")) {
        return is_identifier(rest).then(|| KubeletDeviceId::Uuid {
            uuid: base.to_owned(),
            replica,
        });
    }
    if let Some(rest) = base.strip_prefix("nvidia") {
        return if replica.is_none() { gke(rest) } else { None };
    }
    let (gpu, partition) = match base.split_once(':') {
        Some((gpu, partition)) => (gpu, Some(number(partition)?)),
        None => (base, None),
    };
    Some(KubeletDeviceId::Index {
        gpu: number(gpu)?,
        partition,
        replica,
    })
}

fn gke(rest: &str) -> Option<KubeletDeviceId> {
    let mut parts = rest.split('/').peekable();
    let minor = number(parts.next()?)?;
    let gpu_instance = parts
        .next_if(|part| part.starts_with("gi"))
        .map(|part| number(&part[2..]));
    let replica = parts
        .next_if(|part| part.starts_with("vgpu"))
        .map(|part| number(&part[4..]));
    if parts.next().is_some() {
        return None;
    }
    let all = |number: Option<Option<u32>>| match number {
        Some(None) => None,
        Some(read) => Some(read),
        None => Some(None),
    };
    Some(KubeletDeviceId::Gke {
        minor,
        gpu_instance: all(gpu_instance)?,
        replica: all(replica)?,
    })
}

fn dra(rest: &str) -> Option<KubeletDeviceId> {
    let Some((minor, mig)) = rest.split_once("-mig-") else {
        return Some(KubeletDeviceId::DraGpu { minor: number(rest)? });
    };
    let mut parts = mig.rsplitn(3, '-');
    let (placement_start, profile_id, profile) = (parts.next()?, parts.next()?, parts.next()?);
    if profile.is_empty() {
        return None;
    }
    Some(KubeletDeviceId::DraMig {
        minor: number(minor)?,
        profile: profile.to_owned(),
        profile_id: number(profile_id)?,
        placement_start: number(placement_start)?,
    })
}

/// A decimal number without sign: `u32::from_str` alone takes `+1` too.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Whether `text` can be the part of an NVML UUID after its prefix.
fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

impl KubeletDeviceId {
    /// Whether the id says by itself that the device is shared (time-slicing or MPS).
    #[must_use]
    pub const fn is_replica(&self) -> bool {
        match self {
            Self::Uuid { replica, .. }
            | Self::LegacyMig { replica, .. }
            | Self::Gke { replica, .. }
            | Self::Index { replica, .. } => replica.is_some(),
            Self::DraGpu { .. } | Self::DraMig { .. } => false,
        }
    }

    /// The form that the id was read as, for messages.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Uuid { .. } => "an NVML UUID",
            Self::LegacyMig { .. } => "a MIG name of drivers before 470",
            Self::Gke { .. } => "a name of GKE's device plugin",
            Self::Index { .. } => "an index",
            Self::DraGpu { .. } | Self::DraMig { .. } => "a name of NVIDIA's DRA driver",
        }
    }
}

/// The device of `snapshot` that the kubelet calls `id`.
///
/// # Errors
///
/// [`Unresolved`] with what was looked for, where no device has that name or several could be meant.
pub fn resolve<'a>(id: &KubeletDeviceId, snapshot: &'a GpuSnapshot) -> Result<&'a Device, Unresolved> {
    let devices = &snapshot.devices;
    let unresolved = |looked_for: String| Unresolved {
        id: id.clone(),
        form: id.form(),
        looked_for,
    };
    let missing = |looked_for: String| {
        unresolved(format!(
            "there is no {looked_for} among {} devices",
            devices.len()
        ))
    };
    let gpus = || devices.iter().filter(|device| is_gpu(device));
    match id {
        KubeletDeviceId::Uuid { uuid, .. } => devices
            .iter()
            .find(|device| device.id.as_str().eq_ignore_ascii_case(uuid))
            .ok_or_else(|| missing(format!("device with UUID {uuid}"))),
        KubeletDeviceId::LegacyMig {
            gpu,
            gpu_instance,
            compute_instance,
            ..
        } => devices
            .iter()
            .find(|device| {
                partition_of(device).is_some_and(|part| {
                    part.parent.eq_ignore_ascii_case(gpu)
                        && part.gpu_instance == *gpu_instance
                        && part.compute_instance == *compute_instance
                })
            })
            .ok_or_else(|| {
                missing(format!(
                    "GPU instance {gpu_instance} with compute instance {compute_instance} of {gpu}"
                ))
            }),
        KubeletDeviceId::Gke {
            minor,
            gpu_instance: None,
            ..
        }
        | KubeletDeviceId::DraGpu { minor } => gpus()
            .find(|device| device.minor == Some(*minor))
            .ok_or_else(|| missing(format!("GPU with minor number {minor}"))),
        KubeletDeviceId::Gke {
            minor,
            gpu_instance: Some(instance),
            ..
        } => devices
            .iter()
            .filter(|device| device.minor == Some(*minor))
            .filter_map(|device| Some((device, partition_of(device)?)))
            .filter(|(_, part)| part.gpu_instance == *instance)
            // The plugin hands out GPU instances whole: the first compute instance stands for it.
            .min_by_key(|(_, part)| part.compute_instance)
            .map(|(device, _)| device)
            .ok_or_else(|| {
                missing(format!(
                    "GPU instance {instance} of a GPU with minor number {minor}"
                ))
            }),
        KubeletDeviceId::Index {
            gpu, partition: None, ..
        } => gpus()
            .find(|device| device.index == *gpu)
            .ok_or_else(|| missing(format!("GPU with index {gpu}"))),
        KubeletDeviceId::Index {
            gpu,
            partition: Some(index),
            ..
        } => {
            let parent = gpus()
                .find(|device| device.index == *gpu)
                .map(|device| device.id.as_str());
            devices
                .iter()
                .find(|device| {
                    device.index == *index
                        && partition_of(device).is_some_and(|part| Some(part.parent) == parent)
                })
                .ok_or_else(|| missing(format!("partition {index} of a GPU with index {gpu}")))
        }
        KubeletDeviceId::DraMig {
            minor,
            profile,
            profile_id,
            placement_start,
        } => {
            let of_gpu = || {
                devices
                    .iter()
                    .filter(|device| device.minor == Some(*minor))
                    .filter_map(|device| Some((device, partition_of(device)?)))
            };
            let placed = (Some(*profile_id), Some(*placement_start));
            if let Some((device, _)) = of_gpu().find(|(_, part)| (part.profile_id, part.start) == placed) {
                return Ok(device);
            }
            // Where NVML did not tell placements, a profile that occurs once is as good a name.
            let mut by_profile = of_gpu().filter(|(_, part)| {
                part.profile_id.is_none() && dotless(part.profile).eq(profile.chars().map(plain_letter))
            });
            let wanted = format!(
                "partition {profile} (profile {profile_id}) at memory slice {placement_start} of a GPU with minor \
                 number {minor}"
            );
            match (by_profile.next(), by_profile.next()) {
                (Some((device, _)), None) => Ok(device),
                (Some(_), Some(_)) => Err(unresolved(format!(
                    "several partitions could be the {wanted}: NVML did not tell their placement"
                ))),
                (None, _) => Err(missing(wanted)),
            }
        }
    }
}

struct Partition<'a> {
    parent: &'a str,
    profile: &'a str,
    gpu_instance: u32,
    compute_instance: u32,
    start: Option<u32>,
    profile_id: Option<u32>,
}

fn partition_of(device: &Device) -> Option<Partition<'_>> {
    match &device.kind {
        DeviceKind::Partition {
            parent,
            profile,
            gpu_instance,
            compute_instance,
            placement_start,
            profile_id,
        } => Some(Partition {
            parent: parent.as_str(),
            profile,
            gpu_instance: *gpu_instance,
            compute_instance: *compute_instance,
            start: *placement_start,
            profile_id: *profile_id,
        }),
        DeviceKind::Gpu { .. } => None,
    }
}

const fn is_gpu(device: &Device) -> bool {
    matches!(device.kind, DeviceKind::Gpu { .. })
}

/// A profile as it stands in a DRA device name, where only letters, digits and `-` may.
fn dotless(profile: &str) -> impl Iterator<Item = char> + '_ {
    profile.chars().filter(|&letter| letter != '.').map(plain_letter)
}

const fn plain_letter(letter: char) -> char {
    if letter.is_ascii_alphanumeric() {
        letter.to_ascii_lowercase()
    } else {
        '-'
    }
}

impl fmt::Display for KubeletDeviceId {
    /// As the kubelet writes it, without what a CDI name had before it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = match self {
            Self::Uuid { uuid, replica } => {
                out.write_str(uuid)?;
                replica
            }
            Self::LegacyMig {
                gpu,
                gpu_instance,
                compute_instance,
                replica,
            } => {
                write!(out, "MIG-{gpu}/{gpu_instance}/{compute_instance}")?;
                replica
            }
            Self::Index {
                gpu,
                partition,
                replica,
            } => {
                write!(out, "{gpu}")?;
                if let Some(partition) = partition {
                    write!(out, ":{partition}")?;
                }
                replica
            }
            Self::Gke {
                minor,
                gpu_instance,
                replica,
            } => {
                write!(out, "nvidia{minor}")?;
                if let Some(gpu_instance) = gpu_instance {
                    write!(out, "/gi{gpu_instance}")?;
                }
                return replica.map_or(Ok(()), |replica| write!(out, "/vgpu{replica}"));
            }
            Self::DraGpu { minor } => return write!(out, "gpu-{minor}"),
            Self::DraMig {
                minor,
                profile,
                profile_id,
                placement_start,
            } => {
                return write!(out, "gpu-{minor}-mig-{profile}-{profile_id}-{placement_start}");
            }
        };
        replica.map_or(Ok(()), |replica| write!(out, "::{replica}"))
    }
}
