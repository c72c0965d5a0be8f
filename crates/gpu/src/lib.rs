//! GPU devices and their readings.
//!
//! [`Sampler`] reads every device of this machine in background threads and keeps the newest
//! [`GpuSnapshot`] at hand; nothing on a request path ever calls NVML. A reading that cannot be
//! taken is absent with its reason (see `rheostat-reading`).

mod device;

pub use device::{Device, DeviceId, DeviceKind, DriverState, GpuProcess, GpuSnapshot};
