//! Who holds which device: the kubelet's word joined with NVML's.

mod claims;
mod processes;
mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rheostat_gpu::{Device, DeviceId, DeviceKind, GpuSnapshot};
use rheostat_proto::kubelet::{ContainerDevices, PodResources};
use rheostat_reading::Readings;

pub use claims::{ResourceFilter, resolve_claims};
pub use processes::{Owner, ProcessOwners};
pub use shares::split_shared_devices;

/// Who holds what on this node.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// One entry for each device of each container.
    pub claims: Vec<Claim>,
    /// How many ids the device plugins offer for each device, in use or not: 1 for a device that
    /// is not shared. `None` where the kubelet did not tell.
    pub offered: Option<BTreeMap<DeviceId, usize>>,
}

/// One container's hold on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The pod. PodResources has no UID.
    pub pod: PodRef,
    /// The container's name.
    pub container: String,
    /// Extended resource (`nvidia.com/gpu`) or, for DRA, the driver's name (`gpu.nvidia.com`).
    pub resource: String,
    /// The kubelet's id of the device: a device plugin's id, or DRA's device name.
    pub kubelet_id: String,
    /// The device, or why the id names none of ours.
    pub device: Result<DeviceId, String>,
    /// Whether other pods hold the device too.
    pub sharing: Sharing,
    /// This pod's part of a shared device's readings; `None` for an exclusive one.
    pub share: Option<Readings>,
}

/// Whether a pod has a device for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It has.
    Exclusive,
    /// Other pods hold it too (time-slicing, MPS, a shared claim).
    Shared,
}

/// A pod by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Who holds one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Holding<'a> {
    /// One pod, through this claim (the first, where several of its containers have one).
    Exclusive(&'a Claim),
    /// Several pods; or, for a GPU that is split, the holders of its partitions.
    Shared,
    /// Nobody.
    Unallocated,
}

impl Attribution {
    /// Joins what the kubelet said with the devices there are. Shared devices are split among
    /// their pods by what `owners` tells of the processes on them.
    #[must_use]
    pub fn new(
        pods: &[PodResources],
        allocatable: Option<&[ContainerDevices]>,
        gpus: &GpuSnapshot,
        filter: &ResourceFilter,
        owners: &mut ProcessOwners,
    ) -> Self {
        let mut claims = resolve_claims(pods, gpus, filter);
        let shared: BTreeSet<&DeviceId> = claims
            .iter()
            .filter(|claim| claim.sharing == Sharing::Shared)
            .filter_map(|claim| claim.device.as_ref().ok())
            .collect();
        let pids = gpus
            .devices
            .iter()
            .filter(|device| shared.contains(&device.id))
            .flat_map(|device| device.processes.iter().map(|process| process.pid));
        let owners = owners.of(pids);
        split_shared_devices(&mut claims, gpus, &owners);
        let offered = allocatable.map(|devices| claims::offered(devices, gpus, filter));
        Self { claims, offered }
    }

    /// Who holds `device`.
    #[must_use]
    pub fn holding(&self, device: &Device, gpus: &GpuSnapshot) -> Holding<'_> {
        let mut claims = self
            .claims
            .iter()
            .filter(|claim| claim.device.as_ref() == Ok(&device.id));
        match claims.next() {
            Some(claim) if claim.sharing == Sharing::Exclusive => Holding::Exclusive(claim),
            Some(_) => Holding::Shared,
            None if self.any_partition_is_held(&device.id, gpus) => Holding::Shared,
            None => Holding::Unallocated,
        }
    }

    /// How many of a kubelet's ids more than one pod is said to hold. A device plugin's id has one
    /// holder at a time, so each of these is a terminated pod that an old kubelet still lists.
    #[must_use]
    pub fn contested_ids(&self) -> usize {
        let mut holders = BTreeMap::<(&str, &str), BTreeSet<&PodRef>>::new();
        for claim in self
            .claims
            .iter()
            .filter(|claim| claim.resource != claims::DRA_DRIVER)
        {
            holders
                .entry((&claim.resource, &claim.kubelet_id))
                .or_default()
                .insert(&claim.pod);
        }
        holders.values().filter(|pods| pods.len() > 1).count()
    }

    fn any_partition_is_held(&self, gpu: &DeviceId, gpus: &GpuSnapshot) -> bool {
        gpus.devices.iter().any(|device| {
            matches!(&device.kind, DeviceKind::Partition { parent, .. } if parent == gpu)
                && self
                    .claims
                    .iter()
                    .any(|claim| claim.device.as_ref() == Ok(&device.id))
        })
    }
}

impl PodRef {
    /// The pod `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}
