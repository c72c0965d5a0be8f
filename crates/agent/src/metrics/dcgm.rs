use rheostat_gpu::{Device, DeviceKind, DriverState};
use rheostat_promtext::{Encoder, Kind};
use rheostat_reading::{Quantity, Readings};

use super::own::number;
use super::{Labels, family};
use crate::NodeSnapshot;
use crate::attribution::{Claim, Holding};

/// One of dcgm-exporter's fields (its `default-counters.csv` and DCGM's field list).
struct Field {
    name: &'static str,
    help: &'static str,
    quantity: Quantity,
    /// Into DCGM's unit: what our base unit is multiplied with.
    factor: f64,
    of: Of,
}

/// Which devices a field is given for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    /// Whole GPUs only: DCGM's GPU_UTIL is not defined on MIG.
    Gpus,
    Partitions,
    /// Devices with profiling metrics (GPM).
    Profiled,
    Unprofiled,
}

const PERCENT: f64 = 100.0;
const PER_MIB: f64 = 1.0 / (1024.0 * 1024.0);
const PER_MHZ: f64 = 1e-6;
const MILLIJOULES: f64 = 1000.0;

const fn field(name: &'static str, help: &'static str, quantity: Quantity, factor: f64, of: Of) -> Field {
    Field {
        name,
        help,
        quantity,
        factor,
        of,
    }
}

const FIELDS: &[Field] = &[
    field(
        "DCGM_FI_DEV_SM_CLOCK",
        "SM clock frequency (in MHz).",
        Quantity::SmClock,
        PER_MHZ,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_MEM_CLOCK",
        "Memory clock frequency (in MHz).",
        Quantity::MemoryClock,
        PER_MHZ,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_GPU_TEMP",
        "GPU temperature (in C).",
        Quantity::Temperature,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_POWER_USAGE",
        "Power draw (in W).",
        Quantity::Power,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        "Power limit (in W).",
        Quantity::PowerLimit,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "Total energy consumption since boot (in mJ).",
        Quantity::Energy,
        MILLIJOULES,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
        "Total number of PCIe retries.",
        Quantity::PcieReplays,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_GPU_UTIL",
        "GPU utilization (in %).",
        Quantity::Utilization,
        PERCENT,
        Of::Gpus,
    ),
    field(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "Ratio of time the graphics engine is active.",
        Quantity::Utilization,
        1.0,
        Of::Partitions,
    ),
    field(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "Memory utilization (in %).",
        Quantity::MemoryBandwidth,
        PERCENT,
        Of::Unprofiled,
    ),
    field(
        "DCGM_FI_DEV_ENC_UTIL",
        "Encoder utilization (in %).",
        Quantity::EncoderUtilization,
        PERCENT,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_DEC_UTIL",
        "Decoder utilization (in %).",
        Quantity::DecoderUtilization,
        PERCENT,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_FB_FREE",
        "Framebuffer memory free (in MiB).",
        Quantity::MemoryFreeBytes,
        PER_MIB,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_FB_USED",
        "Framebuffer memory used (in MiB).",
        Quantity::MemoryUsedBytes,
        PER_MIB,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_FB_RESERVED",
        "Framebuffer memory reserved (in MiB).",
        Quantity::MemoryReservedBytes,
        PER_MIB,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_FB_TOTAL",
        "Framebuffer memory total (in MiB).",
        Quantity::MemoryTotalBytes,
        PER_MIB,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "Single-bit volatile ECC errors.",
        Quantity::EccCorrected,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Double-bit volatile ECC errors.",
        Quantity::EccUncorrected,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_SM_ACTIVE",
        "Ratio of cycles an SM has a warp assigned.",
        Quantity::SmActive,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_SM_OCCUPANCY",
        "Ratio of warps resident on an SM.",
        Quantity::SmOccupancy,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "Ratio of cycles the tensor pipe is active.",
        Quantity::TensorActive,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "Ratio of cycles the memory interface is active.",
        Quantity::MemoryBandwidth,
        1.0,
        Of::Profiled,
    ),
    field(
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "PCIe bytes sent per second.",
        Quantity::PcieTx,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "PCIe bytes received per second.",
        Quantity::PcieRx,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
        "NVLink bytes sent per second.",
        Quantity::NvlinkTx,
        1.0,
        Of::All,
    ),
    field(
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "NVLink bytes received per second.",
        Quantity::NvlinkRx,
        1.0,
        Of::All,
    ),
];

/// The quantities that dcgm-exporter, too, tells by pod where a device is shared.
const BY_POD: [Quantity; 2] = [Quantity::Utilization, Quantity::MemoryUsedBytes];

/// The snapshot as dcgm-exporter would show it. Every family is a gauge: its counters lack the
/// `_total` that a counter's name must have, and queries do not look at the type.
///
/// A shared device whose pods' parts are known has utilisation and used memory by pod, as
/// dcgm-exporter's process metrics do, and the rest without a pod.
pub(super) fn write(page: &mut Encoder, snapshot: &NodeSnapshot) {
    let rows: Vec<Row<'_>> = snapshot
        .gpus
        .devices
        .iter()
        .map(|device| Row::new(device, snapshot))
        .collect();
    for field in FIELDS {
        let samples = rows
            .iter()
            .filter(|row| row.has(field.of))
            .flat_map(|row| row.samples(field));
        family(page, field.name, Kind::Gauge, "", field.help, samples);
    }
    let xids = rows
        .iter()
        .filter_map(|row| Some((row.labels(row.holder), number(row.device.last_xid?.0))));
    family(
        page,
        "DCGM_FI_DEV_XID_ERRORS",
        Kind::Gauge,
        "",
        "Value of the last XID error encountered.",
        xids,
    );
}

struct Row<'a> {
    device: &'a Device,
    /// The GPU, of a partition its parent.
    gpu_uuid: &'a str,
    gpu_index: String,
    device_file: Option<String>,
    instance: Option<(String, &'a str)>,
    holder: Option<&'a Claim>,
    /// The claims with a share, of a shared device.
    sharers: Vec<(&'a Claim, &'a Readings)>,
    node: &'a str,
    driver: &'a str,
}

impl<'a> Row<'a> {
    fn new(device: &'a Device, snapshot: &'a NodeSnapshot) -> Self {
        let (gpu, instance) = match &device.kind {
            DeviceKind::Gpu { .. } => (Some(device), None),
            DeviceKind::Partition {
                parent,
                profile,
                gpu_instance,
                ..
            } => (
                snapshot.gpus.devices.iter().find(|gpu| gpu.id == *parent),
                Some((gpu_instance.to_string(), profile.as_str())),
            ),
        };
        let is_known = snapshot.attribution_source.is_current();
        let holder = match snapshot.attribution.holding(device, &snapshot.gpus) {
            Holding::Exclusive(claim) if is_known => Some(claim),
            _ => None,
        };
        let claims = snapshot
            .attribution
            .claims
            .iter()
            .filter(|claim| is_known && claim.device.as_ref() == Ok(&device.id));
        Self {
            device,
            gpu_uuid: gpu.map_or("", |gpu| gpu.id.as_str()),
            gpu_index: gpu.map_or_else(String::new, |gpu| gpu.index.to_string()),
            device_file: device.minor.map(|minor| format!("nvidia{minor}")),
            instance,
            holder,
            sharers: claims
                .filter_map(|claim| Some((claim, claim.share.as_ref()?)))
                .collect(),
            node: &snapshot.node,
            driver: match &snapshot.gpus.driver {
                DriverState::Ready { driver_version, .. } => driver_version,
                DriverState::Unavailable { .. } => "",
            },
        }
    }

    fn has(&self, of: Of) -> bool {
        let is_profiled = self.device.readings.value(Quantity::SmActive).is_some();
        match of {
            Of::All => true,
            Of::Gpus => self.instance.is_none(),
            Of::Partitions => self.instance.is_some(),
            Of::Profiled => is_profiled,
            Of::Unprofiled => !is_profiled,
        }
    }

    fn samples(&self, field: &Field) -> Vec<(Labels<'_>, f64)> {
        let by_pod: Vec<_> = self
            .sharers
            .iter()
            .filter(|_| BY_POD.contains(&field.quantity))
            .filter_map(|(claim, share)| Some((self.labels(Some(claim)), share.value(field.quantity)?)))
            .collect();
        let samples = if by_pod.is_empty() {
            let value = self.device.readings.value(field.quantity);
            value
                .map(|value| (self.labels(self.holder), value))
                .into_iter()
                .collect()
        } else {
            by_pod
        };
        samples
            .into_iter()
            .map(|(labels, value)| (labels, rounded(value * field.factor)))
            .collect()
    }

    /// dcgm-exporter's labels. It renamed `Hostname` to `hostname` in 2026-05: both are given.
    fn labels(&self, claim: Option<&'a Claim>) -> Labels<'_> {
        let mut labels = vec![
            ("gpu", self.gpu_index.as_str()),
            ("UUID", self.gpu_uuid),
            ("pci_bus_id", &self.device.pci_bus_id),
            ("modelName", &self.device.model),
            ("Hostname", self.node),
            ("hostname", self.node),
            ("DCGM_FI_DRIVER_VERSION", self.driver),
        ];
        if let Some(file) = &self.device_file {
            labels.push(("device", file));
        }
        if let Some((id, profile)) = &self.instance {
            labels.extend([("GPU_I_ID", id.as_str()), ("GPU_I_PROFILE", profile)]);
        }
        if let Some(claim) = claim {
            labels.extend([
                ("namespace", claim.pod.namespace.as_str()),
                ("pod", &claim.pod.name),
                ("container", &claim.container),
            ]);
        }
        labels
    }
}

/// Without the last bits that multiplying leaves: 7 %, not 7.000000000000001 %.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
