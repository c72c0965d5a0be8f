use std::collections::HashMap;
use std::sync::LazyLock;

use rheostat_promtext::Families;
use rheostat_reading::{Absent, Quality, Quantity};

/// One of dcgm-exporter's families and what it means (its `default-counters.csv`, and DCGM's list of
/// field identifiers for units and scope).
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Its name in the exporter's old namespace, where it had one.
    pub(crate) old_name: Option<&'static str>,
    pub(crate) quantity: Quantity,
    pub(crate) scale: Scale,
    pub(crate) of: Of,
    pub(crate) quality: Quality,
}

/// How a field's numbers become base units, and which of them are possible at all: DCGM writes a field
/// that has no value as a huge number.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Percent,
    /// Already 0 to 1.
    Ratio,
    Mebibytes,
    Megahertz,
    Watts,
    Celsius,
    Millijoules,
    BytesPerSecond,
    Count,
}

/// Of what a field speaks where MIG is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of the instance on whose row it stands.
    Instance,
    /// Of the whole GPU, also on the row of an instance: there is one sensor, one clock, one bus.
    Gpu,
    /// Of a GPU without MIG. On an instance it is 0 or its GPU's, both wrong (dcgm-exporter #216).
    Undivided,
}

const fn field(name: &'static str, quantity: Quantity, scale: Scale, of: Of) -> Field {
    Field {
        name,
        old_name: None,
        quantity,
        scale,
        of,
        quality: Quality::Measured,
    }
}

impl Field {
    const fn once(mut self, old_name: &'static str) -> Self {
        self.old_name = Some(old_name);
        self
    }

    const fn derived(mut self) -> Self {
        self.quality = Quality::Derived;
        self
    }
}

/// All that are read. Of two with the same quantity the first that the page has stands.
///
/// Not read: `DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL` and the `…_THROUGHPUT` counters, which do not tell
/// directions or units apart. The `DCGM_FI_PROF_*_BYTES` are rates whatever their `# TYPE` says; old
/// lists call them counters.
pub(crate) const FIELDS: &[Field] = &[
    field(
        "DCGM_FI_DEV_GPU_UTIL",
        Quantity::Utilization,
        Scale::Percent,
        Of::Undivided,
    )
    .once("dcgm_gpu_utilization"),
    // The share of time with the graphics or compute engine busy: close to the utilisation, and the only one
    // there is of an instance.
    field(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        Quantity::Utilization,
        Scale::Ratio,
        Of::Instance,
    )
    .derived()
    .once("dcgm_fi_prof_gr_engine_active"),
    field(
        "DCGM_FI_PROF_SM_ACTIVE",
        Quantity::SmActive,
        Scale::Ratio,
        Of::Instance,
    )
    .once("dcgm_fi_prof_sm_active"),
    field(
        "DCGM_FI_PROF_SM_OCCUPANCY",
        Quantity::SmOccupancy,
        Scale::Ratio,
        Of::Instance,
    )
    .once("dcgm_fi_prof_sm_occupancy"),
    field(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        Quantity::TensorActive,
        Scale::Ratio,
        Of::Instance,
    )
    .once("dcgm_fi_prof_pipe_tensor_active"),
    field(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        Quantity::MemoryBandwidth,
        Scale::Ratio,
        Of::Instance,
    )
    .once("dcgm_fi_prof_dram_active"),
    field(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        Quantity::MemoryBandwidth,
        Scale::Percent,
        Of::Undivided,
    )
    .once("dcgm_mem_copy_utilization"),
    field(
        "DCGM_FI_DEV_FB_USED",
        Quantity::MemoryUsedBytes,
        Scale::Mebibytes,
        Of::Instance,
    )
    .once("dcgm_fb_used"),
    field(
        "DCGM_FI_DEV_FB_FREE",
        Quantity::MemoryFreeBytes,
        Scale::Mebibytes,
        Of::Instance,
    )
    .once("dcgm_fb_free"),
    field(
        "DCGM_FI_DEV_FB_RESERVED",
        Quantity::MemoryReservedBytes,
        Scale::Mebibytes,
        Of::Instance,
    ),
    field(
        "DCGM_FI_DEV_FB_TOTAL",
        Quantity::MemoryTotalBytes,
        Scale::Mebibytes,
        Of::Instance,
    ),
    field("DCGM_FI_DEV_POWER_USAGE", Quantity::Power, Scale::Watts, Of::Gpu).once("dcgm_power_usage"),
    field(
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
        Quantity::PowerLimit,
        Scale::Watts,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        Quantity::PowerLimit,
        Scale::Watts,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        Quantity::Energy,
        Scale::Millijoules,
        Of::Gpu,
    )
    .once("dcgm_total_energy_consumption"),
    field(
        "DCGM_FI_DEV_GPU_TEMP",
        Quantity::Temperature,
        Scale::Celsius,
        Of::Gpu,
    )
    .once("dcgm_gpu_temp"),
    field(
        "DCGM_FI_DEV_SM_CLOCK",
        Quantity::SmClock,
        Scale::Megahertz,
        Of::Gpu,
    )
    .once("dcgm_sm_clock"),
    field(
        "DCGM_FI_DEV_MEM_CLOCK",
        Quantity::MemoryClock,
        Scale::Megahertz,
        Of::Gpu,
    )
    .once("dcgm_memory_clock"),
    field(
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        Quantity::PcieTx,
        Scale::BytesPerSecond,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        Quantity::PcieRx,
        Scale::BytesPerSecond,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
        Quantity::NvlinkTx,
        Scale::BytesPerSecond,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        Quantity::NvlinkRx,
        Scale::BytesPerSecond,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_DEV_ENC_UTIL",
        Quantity::EncoderUtilization,
        Scale::Percent,
        Of::Undivided,
    )
    .once("dcgm_enc_utilization"),
    field(
        "DCGM_FI_DEV_DEC_UTIL",
        Quantity::DecoderUtilization,
        Scale::Percent,
        Of::Undivided,
    )
    .once("dcgm_dec_utilization"),
    field(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        Quantity::EccCorrected,
        Scale::Count,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        Quantity::EccUncorrected,
        Scale::Count,
        Of::Gpu,
    ),
    field(
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
        Quantity::PcieReplays,
        Scale::Count,
        Of::Gpu,
    )
    .once("dcgm_pcie_replay_counter"),
];

/// The gauge of the last XID.
pub(crate) const XID: [&str; 2] = ["DCGM_FI_DEV_XID_ERRORS", "dcgm_xid_errors"];

/// The place in [`FIELDS`] of each name.
pub(crate) static BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let fields = FIELDS.iter().enumerate();
    fields
        .flat_map(|(place, field)| {
            [Some(field.name), field.old_name]
                .into_iter()
                .flatten()
                .map(move |name| (name, place))
        })
        .collect()
});

/// What is wanted from a page.
pub(crate) static FAMILIES: LazyLock<Families> =
    LazyLock::new(|| Families::new(BY_NAME.keys().copied().chain(XID)));

impl Scale {
    /// `written` in the base unit.
    pub(crate) fn apply(self, written: f64) -> Result<f64, Absent> {
        let (factor, least, most) = match self {
            // Rounding can give a little more than the whole.
            Self::Percent => (0.01, 0.0, 105.0),
            Self::Ratio => (1.0, 0.0, 1.05),
            // 16 TiB; DCGM's blanks are larger, as are those of the others.
            Self::Mebibytes => (1024.0 * 1024.0, 0.0, 16_777_216.0),
            Self::Megahertz => (1e6, 0.0, 1e5),
            Self::Watts => (1.0, 0.0, 1e5),
            Self::Celsius => (1.0, -100.0, 300.0),
            Self::Millijoules => (1e-3, 0.0, 9e18),
            Self::BytesPerSecond => (1.0, 0.0, 1e13),
            // One less than DCGM's blank of 32 bits.
            Self::Count => (1.0, 0.0, 2_147_483_631.0),
        };
        if !(least..=most).contains(&written) {
            return Err(Absent::Failed(format!("dcgm-exporter reports {written}")));
        }
        let value = if self == Self::Percent {
            written / 100.0
        } else {
            written * factor
        };
        Ok(if matches!(self, Self::Percent | Self::Ratio) {
            value.min(1.0)
        } else {
            value
        })
    }

    /// Whether the value covers the time since the last collecting rather than a moment.
    pub(crate) const fn is_mean(self) -> bool {
        matches!(self, Self::Percent | Self::Ratio | Self::BytesPerSecond)
    }
}
