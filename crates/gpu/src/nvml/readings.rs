use std::mem::size_of;
use std::os::raw::c_uint;

use nvml_wrapper_sys::bindings as sys;

use super::{Handle, NvmlError, Session};

/// Memory of a device in bytes. `reserved` is `None` from drivers before 510, which count it as used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryInfo {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
    pub(crate) reserved: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Sm,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throughput {
    Tx,
    Rx,
}

impl Session {
    /// Percent of time of the last sample period in which a kernel ran, and in which memory was
    /// accessed.
    pub(crate) fn utilization_rates(&self, device: Handle) -> Result<(u32, u32), NvmlError> {
        let blank = sys::nvmlUtilization_t { gpu: 0, memory: 0 };
        self.get(self.symbols.utilization_rates, device, blank)
            .map(|rates| (rates.gpu, rates.memory))
    }

    pub(crate) fn memory(&self, device: Handle) -> Result<MemoryInfo, NvmlError> {
        let blank = sys::nvmlMemory_v2_t {
            version: versioned::<sys::nvmlMemory_v2_t>(2),
            total: 0,
            reserved: 0,
            free: 0,
            used: 0,
        };
        match self.get(self.symbols.memory_info_v2, device, blank) {
            Ok(sys::nvmlMemory_v2_t {
                total,
                reserved,
                free,
                used,
                ..
            }) => Ok(MemoryInfo {
                total,
                free,
                used,
                reserved: Some(reserved),
            }),
            Err(error) if error.is_unsupported() => {
                let blank = sys::nvmlMemory_t {
                    total: 0,
                    free: 0,
                    used: 0,
                };
                let sys::nvmlMemory_t { total, free, used } =
                    self.get(self.symbols.memory_info, device, blank)?;
                Ok(MemoryInfo {
                    total,
                    free,
                    used,
                    reserved: None,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Milliwatts.
    pub(crate) fn power(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.power_usage, device, 0)
    }

    /// Milliwatts.
    pub(crate) fn power_limit(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.enforced_power_limit, device, 0)
    }

    /// Millijoules since the driver was loaded.
    pub(crate) fn energy(&self, device: Handle) -> Result<u64, NvmlError> {
        self.get(self.symbols.total_energy, device, 0)
    }

    /// Degrees Celsius of the GPU.
    pub(crate) fn temperature(&self, device: Handle) -> Result<i32, NvmlError> {
        const SENSOR: sys::nvmlTemperatureSensors_t = sys::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU;
        let blank = sys::nvmlTemperature_t {
            version: versioned::<sys::nvmlTemperature_t>(1),
            sensorType: SENSOR,
            temperature: 0,
        };
        match self.get(self.symbols.temperature_v, device, blank) {
            Ok(reading) => Ok(reading.temperature),
            Err(error) if error.is_unsupported() => {
                let degrees = self.get_with(self.symbols.temperature, device, SENSOR, 0)?;
                i32::try_from(degrees).map_err(|_| NvmlError::INVALID_ARGUMENT)
            }
            Err(error) => Err(error),
        }
    }

    /// MHz.
    pub(crate) fn clock(&self, device: Handle, clock: Clock) -> Result<u32, NvmlError> {
        let kind = match clock {
            Clock::Sm => sys::nvmlClockType_enum_NVML_CLOCK_SM,
            Clock::Memory => sys::nvmlClockType_enum_NVML_CLOCK_MEM,
        };
        self.get_with(self.symbols.clock_info, device, kind, 0)
    }

    /// Bits of `nvmlClocksEventReason…`.
    pub(crate) fn throttle_reasons(&self, device: Handle) -> Result<u64, NvmlError> {
        // Drivers before 535 know the call by its older name.
        self.get(
            self.symbols
                .clocks_event_reasons
                .or(self.symbols.clocks_throttle_reasons),
            device,
            0,
        )
    }

    /// Memory errors since the driver was loaded.
    pub(crate) fn ecc_errors(&self, device: Handle, corrected: bool) -> Result<u64, NvmlError> {
        let device = self.own(device)?;
        let function = self
            .symbols
            .total_ecc_errors
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let kind = if corrected {
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED
        } else {
            sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        };
        let mut count = 0;
        // SAFETY: NVML writes one number.
        NvmlError::check(unsafe {
            function(
                device,
                kind,
                sys::nvmlEccCounterType_enum_NVML_VOLATILE_ECC,
                &raw mut count,
            )
        })
        .map(|()| count)
    }

    /// KiB/s, measured over 20 ms in which the call blocks.
    pub(crate) fn pcie_throughput(&self, device: Handle, direction: Throughput) -> Result<u32, NvmlError> {
        let counter = match direction {
            Throughput::Tx => sys::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_TX_BYTES,
            Throughput::Rx => sys::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_RX_BYTES,
        };
        self.get_with(self.symbols.pcie_throughput, device, counter, 0)
    }

    pub(crate) fn pcie_replays(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.pcie_replay_counter, device, 0)
    }

    /// Percent, and the sample period in microseconds.
    pub(crate) fn encoder_utilization(&self, device: Handle) -> Result<(u32, u32), NvmlError> {
        self.get_two(self.symbols.encoder_utilization, device)
    }

    /// Percent, and the sample period in microseconds.
    pub(crate) fn decoder_utilization(&self, device: Handle) -> Result<(u32, u32), NvmlError> {
        self.get_two(self.symbols.decoder_utilization, device)
    }
}

/// The version word of a versioned struct (`NVML_STRUCT_VERSION`).
fn versioned<T>(version: c_uint) -> c_uint {
    c_uint::try_from(size_of::<T>()).unwrap_or(0) | version << 24
}
