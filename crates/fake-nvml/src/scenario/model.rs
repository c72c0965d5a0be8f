//! What is known of each GPU model: capacities, limits, clocks, links, features.

/// NVML's brand numbers that the models have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Tesla = 2,
    GeForce = 5,
    Nvidia = 14,
}

/// A GPU model, from NVIDIA's data sheets and published `nvidia-smi -q` output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) brand: Brand,
    /// NVML's architecture number: 5 Volta, 6 Turing, 7 Ampere, 8 Ada, 9 Hopper, 10 Blackwell.
    pub(crate) architecture: u32,
    pub(crate) compute_capability: (i32, i32),
    pub(crate) memory_mib: u64,
    /// Memory that driver and firmware keep.
    pub(crate) reserved_mib: u64,
    pub(crate) bar1_mib: u64,
    pub(crate) memory_bus_bits: u32,
    pub(crate) ecc: bool,
    /// Least, default and greatest power limit.
    pub(crate) power_limits: (f64, f64, f64),
    pub(crate) idle_watts: f64,
    pub(crate) has_energy_counter: bool,
    pub(crate) sms: u32,
    pub(crate) cores_per_sm: u32,
    pub(crate) idle_sm_mhz: u32,
    pub(crate) max_sm_mhz: u32,
    pub(crate) memory_mhz: u32,
    pub(crate) pcie_generation: u32,
    pub(crate) pcie_width: u32,
    pub(crate) pci_device_id: u32,
    pub(crate) nvlinks: u32,
    pub(crate) nvlink_version: u32,
    /// One link's speed in MB/s.
    pub(crate) nvlink_mbps: u32,
    pub(crate) fans: u32,
    /// Whether the memory has its own temperature sensor that NVML shows.
    pub(crate) memory_temperature: bool,
    /// GPU and memory maximum, slowdown and shutdown temperature in °C.
    pub(crate) temperature_limits: (u32, u32, u32, u32),
    /// MIG: compute slices (0 for none), nominal GB in the profile names, SMs of a profile by its slices.
    pub(crate) mig_slices: u32,
    pub(crate) mig_gb: u32,
    pub(crate) mig_sms: [u32; 8],
}

impl Model {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// GPM came with Hopper.
    pub(crate) fn has_gpm(&self) -> bool {
        self.architecture >= 9
    }
}

/// Names of the models that a scenario's `model` or `like` may have.
pub fn model_names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

const H100: Model = Model {
    name: "NVIDIA H100 80GB HBM3",
    brand: Brand::Nvidia,
    architecture: 9,
    compute_capability: (9, 0),
    memory_mib: 81_559,
    reserved_mib: 551,
    bar1_mib: 131_072,
    memory_bus_bits: 5120,
    ecc: true,
    power_limits: (200.0, 700.0, 700.0),
    idle_watts: 70.0,
    has_energy_counter: true,
    sms: 132,
    cores_per_sm: 128,
    idle_sm_mhz: 345,
    max_sm_mhz: 1980,
    memory_mhz: 2619,
    pcie_generation: 5,
    pcie_width: 16,
    pci_device_id: 0x2330_10DE,
    nvlinks: 18,
    nvlink_version: 6,
    nvlink_mbps: 26_562,
    fans: 0,
    memory_temperature: true,
    temperature_limits: (87, 95, 90, 95),
    mig_slices: 7,
    mig_gb: 80,
    mig_sms: [0, 16, 32, 60, 64, 0, 0, 132],
};

const A100: Model = Model {
    name: "NVIDIA A100-SXM4-80GB",
    architecture: 7,
    compute_capability: (8, 0),
    memory_mib: 81_920,
    reserved_mib: 582,
    power_limits: (100.0, 400.0, 400.0),
    idle_watts: 60.0,
    sms: 108,
    cores_per_sm: 64,
    idle_sm_mhz: 210,
    max_sm_mhz: 1410,
    memory_mhz: 1593,
    pcie_generation: 4,
    pci_device_id: 0x20B2_10DE,
    nvlinks: 12,
    nvlink_version: 4,
    nvlink_mbps: 25_000,
    temperature_limits: (85, 95, 89, 92),
    mig_sms: [0, 14, 28, 42, 56, 0, 0, 98],
    ..H100
};

const A10: Model = Model {
    name: "NVIDIA A10",
    compute_capability: (8, 6),
    memory_mib: 23_028,
    reserved_mib: 290,
    bar1_mib: 32_768,
    memory_bus_bits: 384,
    power_limits: (100.0, 150.0, 150.0),
    idle_watts: 20.0,
    sms: 72,
    cores_per_sm: 128,
    max_sm_mhz: 1695,
    memory_mhz: 6251,
    pci_device_id: 0x2236_10DE,
    nvlinks: 0,
    memory_temperature: false,
    mig_slices: 0,
    mig_gb: 0,
    mig_sms: [0; 8],
    ..A100
};

const L4: Model = Model {
    name: "NVIDIA L4",
    architecture: 8,
    compute_capability: (8, 9),
    memory_mib: 23_034,
    reserved_mib: 435,
    memory_bus_bits: 192,
    power_limits: (40.0, 72.0, 72.0),
    idle_watts: 16.0,
    sms: 58,
    max_sm_mhz: 2040,
    pci_device_id: 0x27B8_10DE,
    ..A10
};

const MODELS: &[Model] = &[
    H100,
    Model {
        name: "NVIDIA H100 PCIe",
        power_limits: (200.0, 350.0, 350.0),
        idle_watts: 45.0,
        sms: 114,
        max_sm_mhz: 1755,
        memory_mhz: 1593,
        pci_device_id: 0x2331_10DE,
        nvlinks: 12,
        mig_sms: [0, 16, 30, 46, 60, 0, 0, 114],
        ..H100
    },
    Model {
        name: "NVIDIA H100 NVL",
        memory_mib: 95_830,
        power_limits: (200.0, 400.0, 400.0),
        idle_watts: 60.0,
        max_sm_mhz: 1785,
        pci_device_id: 0x2321_10DE,
        nvlinks: 12,
        mig_gb: 94,
        ..H100
    },
    Model {
        name: "NVIDIA H200",
        memory_mib: 143_771,
        bar1_mib: 262_144,
        memory_mhz: 3201,
        memory_bus_bits: 6144,
        pci_device_id: 0x2335_10DE,
        mig_gb: 141,
        ..H100
    },
    Model {
        name: "NVIDIA GH200 480GB",
        memory_mib: 97_871,
        power_limits: (100.0, 900.0, 900.0),
        memory_bus_bits: 6144,
        pci_device_id: 0x2342_10DE,
        mig_gb: 96,
        ..H100
    },
    Model {
        name: "NVIDIA B200",
        architecture: 10,
        compute_capability: (10, 0),
        memory_mib: 183_359,
        reserved_mib: 716,
        bar1_mib: 262_144,
        memory_bus_bits: 7680,
        power_limits: (200.0, 1000.0, 1000.0),
        idle_watts: 140.0,
        sms: 148,
        idle_sm_mhz: 120,
        max_sm_mhz: 1965,
        memory_mhz: 3996,
        pci_device_id: 0x2901_10DE,
        nvlink_version: 7,
        nvlink_mbps: 53_125,
        mig_gb: 180,
        mig_sms: [0, 18, 36, 70, 72, 0, 0, 148],
        ..H100
    },
    A100,
    Model {
        name: "NVIDIA A100-SXM4-40GB",
        memory_mib: 40_960,
        reserved_mib: 557,
        bar1_mib: 65_536,
        memory_mhz: 1215,
        pci_device_id: 0x20B0_10DE,
        mig_gb: 40,
        ..A100
    },
    Model {
        name: "NVIDIA A100 80GB PCIe",
        power_limits: (150.0, 300.0, 300.0),
        idle_watts: 45.0,
        memory_mhz: 1512,
        pci_device_id: 0x20B5_10DE,
        ..A100
    },
    Model {
        name: "NVIDIA A30",
        memory_mib: 24_576,
        reserved_mib: 306,
        bar1_mib: 32_768,
        memory_bus_bits: 3072,
        power_limits: (100.0, 165.0, 165.0),
        idle_watts: 30.0,
        sms: 56,
        max_sm_mhz: 1440,
        memory_mhz: 1215,
        pci_device_id: 0x20B7_10DE,
        nvlinks: 4,
        mig_slices: 4,
        mig_gb: 24,
        mig_sms: [0, 14, 28, 0, 56, 0, 0, 0],
        ..A100
    },
    A10,
    L4,
    Model {
        name: "NVIDIA L40S",
        memory_mib: 46_068,
        reserved_mib: 573,
        bar1_mib: 65_536,
        memory_bus_bits: 384,
        power_limits: (100.0, 350.0, 350.0),
        idle_watts: 35.0,
        sms: 142,
        max_sm_mhz: 2520,
        memory_mhz: 9001,
        pci_device_id: 0x26B9_10DE,
        ..L4
    },
    Model {
        name: "Tesla T4",
        brand: Brand::Tesla,
        architecture: 6,
        compute_capability: (7, 5),
        memory_mib: 15_360,
        reserved_mib: 442,
        bar1_mib: 256,
        memory_bus_bits: 256,
        power_limits: (60.0, 70.0, 70.0),
        idle_watts: 10.0,
        sms: 40,
        cores_per_sm: 64,
        idle_sm_mhz: 300,
        max_sm_mhz: 1590,
        memory_mhz: 5001,
        pcie_generation: 3,
        pci_device_id: 0x1EB8_10DE,
        ..A10
    },
    Model {
        name: "Tesla V100-SXM2-32GB",
        brand: Brand::Tesla,
        architecture: 5,
        compute_capability: (7, 0),
        memory_mib: 32_768,
        reserved_mib: 265,
        bar1_mib: 32_768,
        memory_bus_bits: 4096,
        power_limits: (150.0, 300.0, 300.0),
        idle_watts: 42.0,
        sms: 80,
        cores_per_sm: 64,
        idle_sm_mhz: 135,
        max_sm_mhz: 1530,
        memory_mhz: 877,
        pcie_generation: 3,
        pci_device_id: 0x1DB5_10DE,
        nvlinks: 6,
        nvlink_version: 2,
        nvlink_mbps: 25_781,
        memory_temperature: true,
        ..A10
    },
    Model {
        name: "NVIDIA GeForce RTX 4090",
        brand: Brand::GeForce,
        memory_mib: 24_564,
        reserved_mib: 361,
        bar1_mib: 32_768,
        memory_bus_bits: 384,
        ecc: false,
        power_limits: (150.0, 450.0, 600.0),
        idle_watts: 20.0,
        sms: 128,
        max_sm_mhz: 3105,
        memory_mhz: 10_501,
        pci_device_id: 0x2684_10DE,
        fans: 2,
        ..L4
    },
];
