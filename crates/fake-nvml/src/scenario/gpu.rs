use serde::{Deserialize, Serialize};

use super::{Curve, Layout, Mig, Model, ScenarioError};

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gpu {
    /// Product name; gives capacities, limits, links and features (see [`super::model_names`]).
    pub model: String,
    /// A known model from which an unknown `model` takes everything but its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// `GPU-…`; made from the scenario's `node` and the index where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Serial number of the board; made likewise where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Number of `/dev/nvidiaN`; the index where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    /// PCI address, `domain:bus:device.function`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// NUMA node; 0 for the first half of the GPUs and 1 for the second where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// Memory, where it is not the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Power limit, where it is not the model's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_watts: Option<f64>,
    /// NVLink links, all active, where they are not the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlink_count: Option<u32>,
    /// Whether the driver stays loaded without clients.
    pub persistence_mode: bool,
    /// Who may use the GPU.
    pub compute_mode: ComputeMode,
    /// Error correction and its counters.
    pub ecc: Ecc,
    /// What the driver reports of the whole GPU.
    pub readings: Readings,
    /// What GPM reports of the whole GPU.
    pub activity: Activity,
    /// Times with lowered clocks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<Throttle>,
    /// MIG; not enabled where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<Mig>,
    /// Processes; those of a GPU with MIG on belong to its instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Events, such as XID errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            model: "NVIDIA H100 80GB HBM3".to_owned(),
            like: None,
            uuid: None,
            serial: None,
            minor: None,
            pci_bus_id: None,
            numa_node: None,
            memory_total_bytes: None,
            power_limit_watts: None,
            nvlink_count: None,
            persistence_mode: true,
            compute_mode: ComputeMode::Default,
            ecc: Ecc::default(),
            readings: Readings::default(),
            activity: Activity::default(),
            throttle: Vec::new(),
            mig: None,
            processes: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// Who may use a GPU; NVML's compute modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum ComputeMode {
    /// Everybody.
    #[default]
    Default = 0,
    /// Nobody.
    Prohibited = 2,
    /// One process at a time.
    ExclusiveProcess = 3,
}

/// Error correction: the counters since the driver was loaded (volatile) and ever (aggregate).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each says it")]
pub struct Ecc {
    /// Whether it is on; as the model allows where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    pub corrected_volatile: u64,
    pub uncorrected_volatile: u64,
    pub corrected_aggregate: u64,
    pub uncorrected_aggregate: u64,
    pub remapped_rows_corrected: u32,
    pub remapped_rows_uncorrected: u32,
    /// Whether a row waits for a reset to be remapped.
    pub remap_pending: bool,
    /// Whether remapping has failed: the board needs replacing.
    pub remap_failed: bool,
}

/// What the driver reports of a whole GPU. What is absent is derived, as each field says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Readings {
    /// Part of the time in which a kernel ran. Derived: the sum of the processes' `sm_percent`; on a
    /// GPU with MIG, the instances' `graphics_percent` weighted by slices (only power and GPM use it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<Curve>,
    /// Part of the time in which memory was read or written. Derived: likewise from `memory_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_utilization_percent: Option<Curve>,
    /// Allocated memory, without what the driver reserves. Derived: what processes or instances use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<Curve>,
    /// Power. Derived: from idle power to the power limit in proportion to utilisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<Curve>,
    /// Temperature of the GPU. Derived: 30 °C, and 45 °C more at the power limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<Curve>,
    /// Temperature of the memory. Derived: 35 °C, and 50 °C more at the power limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_temperature_celsius: Option<Curve>,
    /// SM and graphics clock. Derived: the model's highest while utilisation is above 0, else idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<Curve>,
    /// Memory clock. Derived: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<Curve>,
    /// Fan speed, where the model has fans. Derived: 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_percent: Option<Curve>,
    /// Video encoder. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_percent: Option<Curve>,
    /// Video decoder. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_percent: Option<Curve>,
    /// JPEG decoder. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jpeg_percent: Option<Curve>,
    /// Optical flow accelerator. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optical_flow_percent: Option<Curve>,
    /// PCIe traffic to the GPU. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_rx_bytes_per_second: Option<Curve>,
    /// PCIe traffic from the GPU. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_tx_bytes_per_second: Option<Curve>,
    /// NVLink traffic to the GPU, over all links alike. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlink_rx_bytes_per_second: Option<Curve>,
    /// NVLink traffic from the GPU, over all links alike. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlink_tx_bytes_per_second: Option<Curve>,
    /// Performance state, 0 (fastest) to 15. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_state: Option<u32>,
}

/// What GPM reports of a GPU or a GPU instance, in percent. What is absent is derived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Activity {
    /// Graphics or compute engine busy. Derived: the GPU's utilisation; 0 for an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphics_percent: Option<Curve>,
    /// SMs with a warp. Derived: `graphics_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_percent: Option<Curve>,
    /// Warps resident, of those that fit. Derived: half of `sm_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_occupancy_percent: Option<Curve>,
    /// Tensor cores busy. Derived: half of `sm_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_percent: Option<Curve>,
    /// Memory bandwidth used. Derived: the GPU's memory utilisation; half of `sm_percent` for an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram_percent: Option<Curve>,
    /// Integer pipe. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integer_percent: Option<Curve>,
    /// FP64 pipe. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp64_percent: Option<Curve>,
    /// FP32 pipe. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp32_percent: Option<Curve>,
    /// FP16 pipe. Derived: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp16_percent: Option<Curve>,
}

/// A time in which clocks are lowered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Why.
    pub reason: ThrottleReason,
    /// When it begins.
    #[serde(default)]
    pub from_seconds: f64,
    /// When it ends; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_seconds: Option<f64>,
}

/// NVML's clocks event reasons, by their bits. `GpuIdle` is set by itself at utilisation 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u64)]
#[expect(missing_docs, reason = "NVML's own names")]
pub enum ThrottleReason {
    ApplicationsClocksSetting = 0x2,
    SwPowerCap = 0x4,
    HwSlowdown = 0x8,
    SyncBoost = 0x10,
    SwThermalSlowdown = 0x20,
    HwThermalSlowdown = 0x40,
    HwPowerBrakeSlowdown = 0x80,
    DisplayClockSetting = 0x100,
}

/// A process on a GPU or a compute instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// What kind of work it does.
    #[serde(default)]
    pub kind: ProcessKind,
    /// Memory that it holds; the driver does not tell where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Its part of the SM time.
    #[serde(default = "nothing")]
    pub sm_percent: Curve,
    /// Its part of the memory time.
    #[serde(default = "nothing")]
    pub memory_percent: Curve,
    /// Its part of the encoder.
    #[serde(default = "nothing")]
    pub encoder_percent: Curve,
    /// Its part of the decoder.
    #[serde(default = "nothing")]
    pub decoder_percent: Curve,
}

/// What kind of work a process does on the GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessKind {
    /// CUDA.
    #[default]
    Compute,
    /// Graphics.
    Graphics,
    /// CUDA through the MPS server.
    Mps,
}

/// Something that happens to a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, after the scenario's time zero.
    pub at_seconds: f64,
    /// What.
    #[serde(default)]
    pub kind: EventKind,
    /// The XID of an XID event; else 0.
    #[serde(default)]
    pub data: u64,
    /// GPU instance that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_instance: Option<u32>,
    /// Compute instance that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_instance: Option<u32>,
}

/// NVML's event types, by their bits. A change of the MIG layout sends `MigConfigChange` by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u64)]
#[expect(missing_docs, reason = "NVML's own names")]
pub enum EventKind {
    SingleBitEccError = 0x1,
    DoubleBitEccError = 0x2,
    PState = 0x4,
    #[default]
    Xid = 0x8,
    Clock = 0x10,
    MigConfigChange = 0x100,
    GpuUnavailable = 0x4000,
    GpuRecoveryAction = 0x8000,
}

fn nothing() -> Curve {
    Curve::Constant(0.0)
}

impl Process {
    /// A compute process that holds `memory_bytes` and uses no SM time.
    #[must_use]
    pub fn new(pid: u32, memory_bytes: u64) -> Self {
        Self {
            pid,
            kind: ProcessKind::Compute,
            memory_bytes: Some(memory_bytes),
            sm_percent: nothing(),
            memory_percent: nothing(),
            encoder_percent: nothing(),
            decoder_percent: nothing(),
        }
    }

    pub(super) fn check_all(key: &str, processes: &[Self], memory: u64) -> Result<(), ScenarioError> {
        let used = processes
            .iter()
            .filter_map(|process| process.memory_bytes)
            .fold(0, u64::saturating_add);
        if used > memory {
            let problem = format!("hold {used} bytes; the device has {memory}");
            return Err(ScenarioError::value(key, problem));
        }
        for (index, process) in processes.iter().enumerate() {
            for (name, curve) in [
                ("sm_percent", &process.sm_percent),
                ("memory_percent", &process.memory_percent),
                ("encoder_percent", &process.encoder_percent),
                ("decoder_percent", &process.decoder_percent),
            ] {
                check_curve(&format!("{key}[{index}].{name}"), Some(curve), MOST_TOLD)?;
            }
        }
        Ok(())
    }
}

/// Drivers have told more than all of a process; a reader must be shown that.
const MOST_TOLD: f64 = 1000.0;

impl Event {
    /// XID number `xid` at `at_seconds`.
    #[must_use]
    pub fn xid(xid: u64, at_seconds: f64) -> Self {
        Self {
            at_seconds,
            kind: EventKind::Xid,
            data: xid,
            gpu_instance: None,
            compute_instance: None,
        }
    }
}

impl Gpu {
    /// The model whose figures it has.
    pub(crate) fn figures(&self) -> Option<&'static Model> {
        Model::named(self.like.as_ref().unwrap_or(&self.model))
    }

    pub(super) fn check(&self, key: &str) -> Result<(), ScenarioError> {
        let Some(model) = self.figures() else {
            let (key, value) = match &self.like {
                Some(like) => (format!("{key}.like"), like),
                None => (format!("{key}.model"), &self.model),
            };
            let known: Vec<_> = super::model_names().collect();
            let problem = format!(
                "is `{value}`; known models (for another one, add `like`): {}",
                known.join(", ")
            );
            return Err(ScenarioError::value(key, problem));
        };
        for (name, text) in [
            ("model", Some(&self.model)),
            ("uuid", self.uuid.as_ref()),
            ("serial", self.serial.as_ref()),
        ] {
            check_text(&format!("{key}.{name}"), text.map(String::as_str))?;
        }
        if let Some(address) = self
            .pci_bus_id
            .as_deref()
            .filter(|address| pci_address(address).is_none())
        {
            let problem = format!("is `{address}`; an address such as `00000000:1B:00.0` is needed");
            return Err(ScenarioError::value(format!("{key}.pci_bus_id"), problem));
        }
        let (least, _, greatest) = model.power_limits;
        if let Some(limit) = self
            .power_limit_watts
            .filter(|limit| !(least..=greatest).contains(limit))
        {
            let problem = format!("is {limit}; {least} to {greatest} are allowed for this model");
            return Err(ScenarioError::value(format!("{key}.power_limit_watts"), problem));
        }
        let least = (model.reserved_mib * 2) << 20;
        if let Some(total) = self
            .memory_total_bytes
            .filter(|total| !(least..1 << 50).contains(total))
        {
            let problem = format!("is {total}; at least {least} are needed");
            return Err(ScenarioError::value(format!("{key}.memory_total_bytes"), problem));
        }
        if let Some(links) = self.nvlink_count.filter(|links| *links > 18) {
            return Err(ScenarioError::value(
                format!("{key}.nvlink_count"),
                format!("is {links}; 0 to 18 are allowed"),
            ));
        }
        let memory = self.memory_total_bytes.unwrap_or(model.memory_mib << 20);
        self.readings.check(&format!("{key}.readings"), memory)?;
        self.activity.check(&format!("{key}.activity"))?;
        Process::check_all(&format!("{key}.processes"), &self.processes, memory)?;
        if let Some(mig) = &self.mig {
            Layout::new(&format!("{key}.mig"), mig, model, memory >> 20)?;
            if mig.enabled && !self.processes.is_empty() {
                let problem = "MIG is on: processes belong to its instances";
                return Err(ScenarioError::value(format!("{key}.processes"), problem));
            }
        }
        Ok(())
    }
}

impl Readings {
    fn check(&self, key: &str, memory: u64) -> Result<(), ScenarioError> {
        for (name, curve, greatest) in [
            ("utilization_percent", &self.utilization_percent, 100.0),
            (
                "memory_utilization_percent",
                &self.memory_utilization_percent,
                100.0,
            ),
            ("memory_used_bytes", &self.memory_used_bytes, memory as f64),
            ("power_watts", &self.power_watts, 10_000.0),
            ("temperature_celsius", &self.temperature_celsius, 200.0),
            (
                "memory_temperature_celsius",
                &self.memory_temperature_celsius,
                200.0,
            ),
            ("sm_clock_mhz", &self.sm_clock_mhz, 100_000.0),
            ("memory_clock_mhz", &self.memory_clock_mhz, 100_000.0),
            ("fan_percent", &self.fan_percent, 200.0),
            ("encoder_percent", &self.encoder_percent, 100.0),
            ("decoder_percent", &self.decoder_percent, 100.0),
            ("jpeg_percent", &self.jpeg_percent, 100.0),
            ("optical_flow_percent", &self.optical_flow_percent, 100.0),
            ("pcie_rx_bytes_per_second", &self.pcie_rx_bytes_per_second, 1e12),
            ("pcie_tx_bytes_per_second", &self.pcie_tx_bytes_per_second, 1e12),
            (
                "nvlink_rx_bytes_per_second",
                &self.nvlink_rx_bytes_per_second,
                1e13,
            ),
            (
                "nvlink_tx_bytes_per_second",
                &self.nvlink_tx_bytes_per_second,
                1e13,
            ),
        ] {
            check_curve(&format!("{key}.{name}"), curve.as_ref(), greatest)?;
        }
        if let Some(state) = self.performance_state.filter(|state| *state > 15) {
            let problem = format!("is {state}; 0 to 15 are allowed");
            return Err(ScenarioError::value(format!("{key}.performance_state"), problem));
        }
        Ok(())
    }
}

impl Activity {
    pub(super) fn check(&self, key: &str) -> Result<(), ScenarioError> {
        for (name, curve) in [
            ("graphics_percent", &self.graphics_percent),
            ("sm_percent", &self.sm_percent),
            ("sm_occupancy_percent", &self.sm_occupancy_percent),
            ("tensor_percent", &self.tensor_percent),
            ("dram_percent", &self.dram_percent),
            ("integer_percent", &self.integer_percent),
            ("fp64_percent", &self.fp64_percent),
            ("fp32_percent", &self.fp32_percent),
            ("fp16_percent", &self.fp16_percent),
        ] {
            check_curve(&format!("{key}.{name}"), curve.as_ref(), 100.0)?;
        }
        Ok(())
    }
}

pub(super) fn check_curve(key: &str, curve: Option<&Curve>, greatest: f64) -> Result<(), ScenarioError> {
    curve.map_or(Ok(()), |curve| {
        curve
            .check(0.0, greatest)
            .map_err(|problem| ScenarioError::value(key, problem))
    })
}

/// NVML's text buffers have room for 80 bytes and more for names, UUIDs and serial numbers.
pub(super) fn check_text(key: &str, text: Option<&str>) -> Result<(), ScenarioError> {
    match text {
        Some(text) if text.is_empty() || text.len() > 79 || text.contains('\0') => {
            Err(ScenarioError::value(key, "must be a text of 1 to 79 bytes"))
        }
        _ => Ok(()),
    }
}

/// Domain, bus, device and function of a PCI address; the domain may be left out.
pub(crate) fn pci_address(text: &str) -> Option<(u32, u32, u32, u32)> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let device = number(parts.next()?)?;
    let bus = number(parts.next()?)?;
    let domain = parts.next().map_or(Some(0), number)?;
    let function = number(function)?;
    (parts.next().is_none() && bus < 256 && device < 32 && function < 8)
        .then_some((domain, bus, device, function))
}
