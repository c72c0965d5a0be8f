use std::fmt;
use std::sync::Arc;

use rheostat_reading::{Absent, Observed, Readings, Timestamp};

/// Every device of this machine as it was at one moment.
#[derive(Clone, Debug)]
pub struct GpuSnapshot {
    /// When the sampler finished it.
    pub taken_at: Timestamp,
    /// Whether there is a driver to ask, and which.
    pub driver: DriverState,
    /// GPUs in NVML's order, each followed by its partitions. A device that was seen once and is
    /// lost stays, with a fault and absent readings, until the driver no longer lists it.
    pub devices: Vec<Device>,
}

/// The driver and its library, as the sampler last found them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverState {
    /// Loaded and answering.
    Ready {
        /// Such as `580.95.05`.
        driver_version: String,
        /// CUDA version of the driver, such as `13.0`; empty where unknown.
        cuda_version: String,
    },
    /// Not there or not answering; the sampler keeps trying.
    Unavailable {
        /// What was tried and why it failed.
        reason: String,
    },
}

/// A GPU or a partition of one.
#[derive(Clone, Debug)]
pub struct Device {
    /// NVML UUID.
    pub id: DeviceId,
    /// Whether it is a whole GPU or a partition.
    pub kind: DeviceKind,
    /// NVML index of the GPU, or of the partition within its GPU.
    pub index: u32,
    /// Number of `/dev/nvidiaN`, of the GPU itself also for a partition; differs from the index
    /// where devices are reordered.
    pub minor: Option<u32>,
    /// Product name, such as `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// PCI address of the GPU, such as `00000000:1B:00.0`.
    pub pci_bus_id: String,
    /// Why the device cannot be read as a whole (lost, reset needed); `None` when it can.
    pub fault: Option<String>,
    /// What was read.
    pub readings: Readings,
    /// Reasons for lowered clocks in force, by NVML's names; empty also where they could not be read
    /// (`throttle_reasons_absent`).
    pub throttle_reasons: Vec<&'static str>,
    /// Why `throttle_reasons` could not be read; `None` when it was.
    pub throttle_reasons_absent: Option<Absent>,
    /// The newest critical XID event seen since the sampler started, and when.
    pub last_xid: Option<(u64, Timestamp)>,
    /// Processes on the device; empty also where the driver does not tell (`processes_absent`).
    pub processes: Vec<GpuProcess>,
    /// Why `processes` could not be read; `None` when it was.
    pub processes_absent: Option<Absent>,
}

impl Device {
    /// The device as it is before anything was read of it: no reading, no process, no fault.
    #[must_use]
    pub fn unread(id: DeviceId, kind: DeviceKind) -> Self {
        Self {
            id,
            kind,
            index: 0,
            minor: None,
            model: String::new(),
            pci_bus_id: String::new(),
            fault: None,
            readings: Readings::new(),
            throttle_reasons: Vec::new(),
            throttle_reasons_absent: Some(Absent::NotYet),
            last_xid: None,
            processes: Vec::new(),
            processes_absent: Some(Absent::NotYet),
        }
    }
}

/// Whether a [`Device`] is a whole GPU or a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A whole GPU.
    Gpu {
        /// Whether MIG is on: the GPU is then used through its partitions.
        partitioned: bool,
    },
    /// A MIG instance.
    Partition {
        /// The GPU it is part of.
        parent: DeviceId,
        /// MIG profile, such as `1g.10gb`.
        profile: String,
        /// NVML GPU instance id.
        gpu_instance: u32,
        /// NVML compute instance id.
        compute_instance: u32,
        /// First memory slice of the GPU instance, where known: part of a DRA device's name.
        placement_start: Option<u32>,
        /// NVML GPU instance profile id, where known: part of a DRA device's name.
        profile_id: Option<u32>,
    },
}

/// A process that uses a device.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuProcess {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// Memory that it holds on the device, in bytes; `None` where the driver does not tell.
    pub used_memory_bytes: Option<u64>,
    /// Its part of the SM time, as a ratio over the driver's sampling window; absent where the
    /// device does not report it (MIG). A process that the driver lists but does not mention
    /// among the active ones was idle: 0.
    pub sm_utilization: Observed,
}

/// NVML UUID of a device: `GPU-…` or `MIG-…`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// The device with NVML UUID `uuid`.
    #[must_use]
    pub fn new(uuid: &str) -> Self {
        Self(uuid.into())
    }

    /// As NVML writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
