//! GPU devices and their readings.
//!
//! [`Sampler`] reads every device of this machine in background threads and keeps the newest
//! [`GpuSnapshot`] at hand; nothing on a request path ever calls NVML. A reading that cannot be
//! taken is absent with its reason (see `rheostat-reading`).
//!
//! [`KubeletDeviceId`] and [`resolve`] find the device that the kubelet means by an id, and
//! [`pod_uid_of_cgroup`] the pod of a process on a device.

mod cgroup;
mod collector;
mod device;
mod duty_cycle;
mod event_lane;
mod fast_lane;
mod gpm_reader;
mod gpu_reader;
mod kubelet_id;
mod memory;
mod nvml;
mod partition_reader;
mod processes;
mod rate;
mod sampler;
mod sheet;
mod slow_lane;
mod throttle;
mod traffic;
mod xid;

pub use cgroup::{PodCgroup, pod_uid_of_cgroup};
pub use device::{Device, DeviceId, DeviceKind, DriverState, GpuProcess, GpuSnapshot};
pub use kubelet_id::{KubeletDeviceId, UnknownDeviceId, Unresolved, resolve};
pub use sampler::{CannotStart, Sampler, SamplerOptions};
pub use xid::is_application_xid;
