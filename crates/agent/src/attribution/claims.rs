use std::collections::BTreeMap;

use rheostat_gpu::{DeviceId, GpuSnapshot, KubeletDeviceId, UnknownDeviceId};
use rheostat_proto::kubelet::{ContainerDevices, PodResources};

use super::{Claim, PodRef, Sharing};

/// Which of a container's resources are GPUs of ours.
///
/// `nvidia.com/gpu`, `nvidia.com/gpu.shared`, `nvidia.com/mig-…` and the names listed here are,
/// whatever their ids look like. A resource of another name (a device plugin's `rename`) is one
/// where its id is the UUID of one of our devices; an id such as `0` proves nothing.
#[derive(Clone, Debug, Default)]
pub struct ResourceFilter {
    /// Further extended resources.
    pub extra: Vec<String>,
}

/// The DRA driver whose devices are ours.
pub(super) const DRA_DRIVER: &str = "gpu.nvidia.com";

impl ResourceFilter {
    fn is_ours(&self, resource: &str) -> bool {
        matches!(resource, "nvidia.com/gpu" | "nvidia.com/gpu.shared")
            || resource.starts_with("nvidia.com/mig-")
            || self.extra.iter().any(|extra| extra == resource)
    }
}

/// The claims of all pods on our devices, without shares.
///
/// A device is shared when two pods hold it by different ids of a device plugin, or through DRA.
/// Two pods with the *same* plugin id do not share: such an id has one holder at a time, and the
/// other is a terminated pod that a kubelet before 1.34 still lists (kubernetes#119423). Who reads
/// the claims knows the pods' phases and drops that one.
#[must_use]
pub fn resolve_claims(pods: &[PodResources], gpus: &GpuSnapshot, filter: &ResourceFilter) -> Vec<Claim> {
    let mut claims = Vec::new();
    for pod in pods {
        let pod_ref = PodRef::new(&pod.namespace, &pod.name);
        for container in &pod.containers {
            let claim = |resource: &str, id: &str, device| Claim {
                pod: pod_ref.clone(),
                container: container.name.clone(),
                resource: resource.to_owned(),
                kubelet_id: id.to_owned(),
                device,
                sharing: Sharing::Exclusive,
                share: None,
            };
            for devices in &container.devices {
                let resource = devices.resource_name.as_str();
                let ids = devices.device_ids.iter();
                claims.extend(ids.filter_map(|id| {
                    let device = plugin_device(filter, resource, id, gpus)?;
                    Some(claim(resource, id, device))
                }));
            }
            let of_dra = container
                .dynamic_resources
                .iter()
                .flat_map(|claim| &claim.claim_resources);
            for device in of_dra.filter(|device| device.driver_name == DRA_DRIVER) {
                let name = device.device_name.as_str();
                claims.push(claim(DRA_DRIVER, name, resolve(name, gpus)));
            }
        }
    }
    mark_shared(&mut claims);
    claims
}

/// How many ids of device plugins stand for each device.
pub(super) fn offered(
    allocatable: &[ContainerDevices],
    gpus: &GpuSnapshot,
    filter: &ResourceFilter,
) -> BTreeMap<DeviceId, usize> {
    let mut offered = BTreeMap::new();
    for devices in allocatable {
        for id in &devices.device_ids {
            if let Some(Ok(device)) = plugin_device(filter, &devices.resource_name, id, gpus) {
                *offered.entry(device).or_default() += 1;
            }
        }
    }
    offered
}

/// The device of a plugin's id; `None` where the resource is none of ours.
fn plugin_device(
    filter: &ResourceFilter,
    resource: &str,
    id: &str,
    gpus: &GpuSnapshot,
) -> Option<Result<DeviceId, String>> {
    if filter.is_ours(resource) {
        return Some(resolve(id, gpus));
    }
    let id = id.parse().ok()?;
    let is_uuid = matches!(id, KubeletDeviceId::Uuid { .. });
    is_uuid
        .then(|| rheostat_gpu::resolve(&id, gpus).ok())
        .flatten()
        .map(|device| Ok(device.id.clone()))
}

fn resolve(id: &str, gpus: &GpuSnapshot) -> Result<DeviceId, String> {
    let id: KubeletDeviceId = id.parse().map_err(|error: UnknownDeviceId| error.to_string())?;
    rheostat_gpu::resolve(&id, gpus)
        .map(|device| device.id.clone())
        .map_err(|error| error.to_string())
}

fn mark_shared(claims: &mut [Claim]) {
    let mut by_device = BTreeMap::<DeviceId, Vec<usize>>::new();
    for (place, claim) in claims.iter().enumerate() {
        if let Ok(device) = &claim.device {
            by_device.entry(device.clone()).or_default().push(place);
        }
    }
    for places in by_device.values() {
        let shared = places
            .iter()
            .any(|&one| places.iter().any(|&other| share(&claims[one], &claims[other])));
        if shared {
            places
                .iter()
                .for_each(|&place| claims[place].sharing = Sharing::Shared);
        }
    }
}

/// Whether two claims on one device are held side by side by two pods.
fn share(one: &Claim, other: &Claim) -> bool {
    let same_grant = one.resource != DRA_DRIVER
        && (&one.resource, &one.kubelet_id) == (&other.resource, &other.kubelet_id);
    one.pod != other.pod && !same_grant
}
