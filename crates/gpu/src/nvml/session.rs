use std::ffi::CStr;
use std::fmt;
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_uint, c_ulonglong};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::Library;
use nvml_wrapper_sys::bindings as sys;
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessUtilizationSample_t, nvmlReturn_t,
};

use super::search::candidates;
use super::symbols::Symbols;
use super::{Number, NvmlError};

/// NVML between init and shutdown. All calls may block: never make one on a request path.
pub(crate) struct Session {
    // Before `library`: what points into the library must not outlive it.
    pub(super) symbols: Symbols,
    id: u64,
    /// Where the library was found.
    pub(crate) path: String,
    _library: Library,
}

/// A device of one [`Session`]; every other session refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    raw: nvmlDevice_t,
    session: u64,
}

// SAFETY: a handle is a token that only NVML looks behind, and NVML is thread-safe (`nvml.h`).
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// No candidate for the library could be loaded and initialised: what was tried, and why it failed.
#[derive(Debug, Default)]
pub(crate) struct OpenError {
    failed: Vec<String>,
    not_there: Vec<String>,
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessList {
    Compute,
    Mps,
    Graphics,
}

/// What a partition (MIG device) is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mig {
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
    /// Profile id and first memory slice of the GPU instance; `None` where we may not ask.
    pub(crate) placement: Option<(u32, u32)>,
    /// Compute slices, slices of the GPU instance, and memory in MiB; `None` where unknown.
    pub(crate) slices: Option<(u32, u32, u64)>,
}

/// A process as NVML lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Bytes; `None` where the driver says that it does not know.
    pub(crate) used_memory: Option<u64>,
}

/// Samples out of the driver's ring buffer. Kept from call to call.
#[derive(Default)]
pub(crate) struct SampleBuffer {
    samples: Vec<sys::nvmlSample_t>,
    filled: usize,
    kind: sys::nvmlValueType_t,
}

/// Room for process lists. Kept from call to call.
#[derive(Default)]
pub(crate) struct ProcessBuffers {
    infos: Vec<nvmlProcessInfo_t>,
    activity: Vec<nvmlProcessUtilizationSample_t>,
}

/// Most processes (or samples) that are taken of one device: far above what a device can hold, so a
/// larger count is a driver's mistake.
const MOST_ENTRIES: usize = 4096;

/// `NVML_VALUE_NOT_AVAILABLE`.
const NOT_AVAILABLE: u64 = u64::MAX;

impl Session {
    /// Finds, loads and initialises NVML: from `path` alone where one is given.
    pub(crate) fn open(path: Option<&Path>) -> Result<Arc<Self>, OpenError> {
        let mut error = OpenError::default();
        for candidate in candidates(path) {
            let name = candidate.display().to_string();
            if candidate.is_absolute() && !candidate.exists() {
                error.not_there.push(name);
                continue;
            }
            match Self::load(&candidate) {
                Ok(session) => return Ok(Arc::new(session)),
                Err(cause) => error.failed.push(format!("{name}: {cause}")),
            }
        }
        Err(error)
    }

    fn load(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // SAFETY: the file is NVML by its name or by the user's word; its initialisers are the
        // driver vendor's and have no conditions.
        let library = unsafe { Library::new(path) }?;
        // SAFETY: as above; the symbols are dropped before the library.
        let symbols = unsafe { Symbols::load(&library) };
        let init = symbols.init.ok_or("it has no nvmlInit_v2, so it is not NVML")?;
        // SAFETY: no conditions.
        NvmlError::check(unsafe { init() })?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            symbols,
            id,
            path: path.display().to_string(),
            _library: library,
        })
    }

    pub(crate) fn driver_version(&self) -> Result<String, NvmlError> {
        let function = self.symbols.driver_version.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(buffer, length) })
    }

    /// CUDA version that the driver supports, such as `13.0`.
    pub(crate) fn cuda_version(&self) -> Result<String, NvmlError> {
        let function = self.symbols.cuda_version.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut version: c_int = 0;
        // SAFETY: NVML writes one number.
        NvmlError::check(unsafe { function(&raw mut version) })?;
        Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub(crate) fn device_count(&self) -> Result<u32, NvmlError> {
        let function = self.symbols.device_count.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut count = 0;
        // SAFETY: NVML writes one number.
        NvmlError::check(unsafe { function(&raw mut count) }).map(|()| count)
    }

    pub(crate) fn device(&self, index: u32) -> Result<Handle, NvmlError> {
        let function = self
            .symbols
            .device_by_index
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut raw = ptr::null_mut();
        // SAFETY: NVML writes one handle.
        NvmlError::check(unsafe { function(index, &raw mut raw) }).map(|()| self.handle(raw))
    }

    pub(crate) fn uuid(&self, device: Handle) -> Result<String, NvmlError> {
        let (device, function) = (
            self.own(device)?,
            self.symbols.uuid.ok_or(NvmlError::FUNCTION_NOT_FOUND)?,
        );
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(device, buffer, length) })
    }

    pub(crate) fn name(&self, device: Handle) -> Result<String, NvmlError> {
        let (device, function) = (
            self.own(device)?,
            self.symbols.name.ok_or(NvmlError::FUNCTION_NOT_FOUND)?,
        );
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(device, buffer, length) })
    }

    pub(crate) fn minor(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.minor_number, device, 0)
    }

    pub(crate) fn pci_bus_id(&self, device: Handle) -> Result<String, NvmlError> {
        let blank = sys::nvmlPciInfo_t {
            busIdLegacy: [0; 16],
            domain: 0,
            bus: 0,
            device: 0,
            pciDeviceId: 0,
            pciSubSystemId: 0,
            busId: [0; 32],
        };
        Ok(terminated(&self.get(self.symbols.pci_info, device, blank)?.busId))
    }

    /// Percent of time of the last sample period in which a kernel ran, and in which memory was
    /// accessed.
    pub(crate) fn utilization_rates(&self, device: Handle) -> Result<(u32, u32), NvmlError> {
        let blank = sys::nvmlUtilization_t { gpu: 0, memory: 0 };
        self.get(self.symbols.utilization_rates, device, blank)
            .map(|rates| (rates.gpu, rates.memory))
    }

    /// The samples of the percentage of time in which a kernel ran that are newer than `since`
    /// (microseconds, 0 for all). None is an empty buffer, not an error.
    pub(crate) fn utilization_samples(
        &self,
        device: Handle,
        since: u64,
        buffer: &mut SampleBuffer,
    ) -> Result<(), NvmlError> {
        const KIND: sys::nvmlSamplingType_t = sys::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES;
        buffer.filled = 0;
        let device = self.own(device)?;
        let function = self.symbols.samples.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let none = |error| {
            if error == NvmlError::NOT_FOUND {
                Ok(())
            } else {
                Err(error)
            }
        };
        if buffer.samples.is_empty() {
            let mut room: c_uint = 0;
            // SAFETY: without a buffer NVML writes only how many samples there can be.
            let size = unsafe {
                function(
                    device,
                    KIND,
                    since,
                    &raw mut buffer.kind,
                    &raw mut room,
                    ptr::null_mut(),
                )
            };
            if let Err(error) = NvmlError::check(size) {
                return none(error);
            }
            buffer.grow(room);
        }
        for _ in 0..2 {
            let mut count =
                c_uint::try_from(buffer.samples.len()).map_err(|_| NvmlError::INVALID_ARGUMENT)?;
            // SAFETY: the buffer has room for `count` samples, of which NVML writes the first.
            match NvmlError::check(unsafe {
                function(
                    device,
                    KIND,
                    since,
                    &raw mut buffer.kind,
                    &raw mut count,
                    buffer.samples.as_mut_ptr(),
                )
            }) {
                Ok(()) => {
                    buffer.filled = usize::try_from(count).unwrap_or(0).min(buffer.samples.len());
                    return Ok(());
                }
                Err(NvmlError::INSUFFICIENT_SIZE) => buffer.grow(count),
                Err(error) => return none(error),
            }
        }
        Err(NvmlError::INSUFFICIENT_SIZE)
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

    /// Appends the processes of `list` to `found`.
    pub(crate) fn processes(
        &self,
        device: Handle,
        list: ProcessList,
        buffers: &mut ProcessBuffers,
        mut found: impl FnMut(Process),
    ) -> Result<(), NvmlError> {
        let device = self.own(device)?;
        let function = match list {
            ProcessList::Compute => self.symbols.compute_processes,
            ProcessList::Mps => self.symbols.mps_processes,
            ProcessList::Graphics => self.symbols.graphics_processes,
        }
        .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let blank = nvmlProcessInfo_t {
            pid: 0,
            usedGpuMemory: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        };
        // SAFETY: the array has room for `count` entries, of which NVML writes the first.
        let count = listed(&mut buffers.infos, blank, |infos, count| unsafe {
            function(device, count, infos)
        })?;
        for info in &buffers.infos[..count] {
            let used_memory = Some(info.usedGpuMemory).filter(|&bytes| bytes != NOT_AVAILABLE);
            found(Process {
                pid: info.pid,
                used_memory,
            });
        }
        Ok(())
    }

    /// Hands `found` the pid, percent of SM time and time in microseconds of each sample newer than
    /// `since`. Nobody active is no call of `found`, not an error.
    pub(crate) fn process_utilization(
        &self,
        device: Handle,
        since: u64,
        buffers: &mut ProcessBuffers,
        mut found: impl FnMut(u32, u32, u64),
    ) -> Result<(), NvmlError> {
        let device = self.own(device)?;
        let function = self
            .symbols
            .process_utilization
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let blank = nvmlProcessUtilizationSample_t {
            pid: 0,
            timeStamp: 0,
            smUtil: 0,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        // SAFETY: the array has room for `count` entries, of which NVML writes the first.
        let count = listed(&mut buffers.activity, blank, |samples, count| unsafe {
            function(device, samples, count, since)
        });
        match count {
            Ok(count) => {
                for sample in &buffers.activity[..count] {
                    found(sample.pid, sample.smUtil, sample.timeStamp);
                }
                Ok(())
            }
            Err(NvmlError::NOT_FOUND) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether MIG is on. A GPU that knows no MIG is one where it is off.
    pub(crate) fn mig_enabled(&self, device: Handle) -> Result<bool, NvmlError> {
        match self.get_two(self.symbols.mig_mode, device) {
            Ok((current, _)) => Ok(current == sys::NVML_DEVICE_MIG_ENABLE),
            Err(error) if error.is_unsupported() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many slots for partitions the GPU has; some may be empty.
    pub(crate) fn mig_slots(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.max_mig_devices, device, 0)
    }

    /// The partition in slot `index`; `None` where the slot is empty.
    pub(crate) fn mig_device(&self, gpu: Handle, index: u32) -> Result<Option<Handle>, NvmlError> {
        match self.get_with(self.symbols.mig_device_by_index, gpu, index, ptr::null_mut()) {
            Ok(raw) => Ok(Some(self.handle(raw))),
            Err(NvmlError::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the partition `device` of `gpu` is made of.
    pub(crate) fn mig_parts(&self, gpu: Handle, device: Handle) -> Result<Mig, NvmlError> {
        let gpu_instance = self.get(self.symbols.gpu_instance_id, device, 0)?;
        let compute_instance = self.get(self.symbols.compute_instance_id, device, 0)?;
        let blank = sys::nvmlDeviceAttributes_t {
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: 0,
            computeInstanceSliceCount: 0,
            memorySizeMB: 0,
        };
        let slices = self
            .get(self.symbols.attributes, device, blank)
            .ok()
            .map(|parts| {
                (
                    parts.computeInstanceSliceCount,
                    parts.gpuInstanceSliceCount,
                    parts.memorySizeMB,
                )
            });
        // GPU instances may only be asked for by root.
        let placement = self.placement(gpu, gpu_instance).ok();
        Ok(Mig {
            gpu_instance,
            compute_instance,
            placement,
            slices,
        })
    }

    fn placement(&self, gpu: Handle, gpu_instance: u32) -> Result<(u32, u32), NvmlError> {
        let raw = self.get_with(
            self.symbols.gpu_instance_by_id,
            gpu,
            gpu_instance,
            ptr::null_mut(),
        )?;
        let function = self
            .symbols
            .gpu_instance_info
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut info = sys::nvmlGpuInstanceInfo_t {
            device: ptr::null_mut(),
            id: 0,
            profileId: 0,
            placement: sys::nvmlGpuInstancePlacement_t { start: 0, size: 0 },
        };
        // SAFETY: NVML gave the handle just now, and writes one struct.
        NvmlError::check(unsafe { function(raw, &raw mut info) })?;
        Ok((info.profileId, info.placement.start))
    }

    /// Calls an NVML getter that writes one `T` for a device.
    pub(super) fn get<T>(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, *mut T) -> nvmlReturn_t>,
        device: Handle,
        mut value: T,
    ) -> Result<T, NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        // SAFETY: the functions are those of `Symbols`, whose getters write one `T` and keep nothing.
        NvmlError::check(unsafe { function(device, &raw mut value) }).map(|()| value)
    }

    /// As [`Self::get`], for a getter that takes an argument.
    fn get_with<A, T>(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, A, *mut T) -> nvmlReturn_t>,
        device: Handle,
        argument: A,
        mut value: T,
    ) -> Result<T, NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        // SAFETY: as in `get`.
        NvmlError::check(unsafe { function(device, argument, &raw mut value) }).map(|()| value)
    }

    /// As [`Self::get`], for a getter that writes two numbers.
    fn get_two(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, *mut c_uint, *mut c_uint) -> nvmlReturn_t>,
        device: Handle,
    ) -> Result<(u32, u32), NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        let (mut first, mut second) = (0, 0);
        // SAFETY: as in `get`.
        NvmlError::check(unsafe { function(device, &raw mut first, &raw mut second) })
            .map(|()| (first, second))
    }

    pub(super) const fn handle(&self, raw: nvmlDevice_t) -> Handle {
        Handle {
            raw,
            session: self.id,
        }
    }

    /// What NVML knows the device by, if it is of this session.
    pub(super) fn own(&self, device: Handle) -> Result<nvmlDevice_t, NvmlError> {
        if device.session == self.id && !device.raw.is_null() {
            Ok(device.raw)
        } else {
            Err(NvmlError::INVALID_ARGUMENT)
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(shutdown) = self.symbols.shutdown {
            // SAFETY: init succeeded once for this session. What fails here cannot be helped.
            unsafe { shutdown() };
        }
    }
}

impl SampleBuffer {
    fn grow(&mut self, count: c_uint) {
        let count = usize::try_from(count)
            .unwrap_or(MOST_ENTRIES)
            .clamp(16, MOST_ENTRIES);
        let blank = sys::nvmlSample_t {
            timeStamp: 0,
            sampleValue: sys::nvmlValue_t { ullVal: 0 },
        };
        self.samples.resize(count.max(self.samples.len()), blank);
    }

    /// Time in microseconds and value of each sample, oldest first as the driver keeps them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Number)> {
        self.samples[..self.filled]
            .iter()
            .filter_map(|sample| Some((sample.timeStamp, Number::of(self.kind, sample.sampleValue)?)))
    }
}

/// Fills `entries` by a call that takes room and count; makes more room where the driver wants it.
fn listed<T: Copy>(
    entries: &mut Vec<T>,
    blank: T,
    call: impl Fn(*mut T, *mut c_uint) -> nvmlReturn_t,
) -> Result<usize, NvmlError> {
    if entries.is_empty() {
        entries.resize(32, blank);
    }
    // Processes come and go between two calls, so the second one can want still more room.
    for _ in 0..4 {
        let mut count = c_uint::try_from(entries.len()).map_err(|_| NvmlError::INVALID_ARGUMENT)?;
        match NvmlError::check(call(entries.as_mut_ptr(), &raw mut count)) {
            Ok(()) => return Ok(usize::try_from(count).unwrap_or(0).min(entries.len())),
            Err(NvmlError::INSUFFICIENT_SIZE) if entries.len() < MOST_ENTRIES => {
                let wanted = usize::try_from(count).unwrap_or(MOST_ENTRIES).max(entries.len()) + 16;
                entries.resize(wanted.min(MOST_ENTRIES), blank);
            }
            Err(error) => return Err(error),
        }
    }
    Err(NvmlError::INSUFFICIENT_SIZE)
}

/// The version word of a versioned struct (`NVML_STRUCT_VERSION`).
fn versioned<T>(version: c_uint) -> c_uint {
    c_uint::try_from(size_of::<T>()).unwrap_or(0) | version << 24
}

/// A string that NVML writes into a buffer of the given length.
fn text(call: impl FnOnce(*mut c_char, c_uint) -> nvmlReturn_t) -> Result<String, NvmlError> {
    let mut buffer: [c_char; 128] = [0; 128];
    NvmlError::check(call(buffer.as_mut_ptr(), 128)).map(|()| terminated(&buffer))
}

/// The text before the first NUL.
fn terminated(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer
        .iter()
        .map(|&byte| byte.to_ne_bytes()[0])
        .chain(std::iter::once(0))
        .collect();
    CStr::from_bytes_until_nul(&bytes)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.failed.join("; "))?;
        if !self.not_there.is_empty() {
            let separator = if self.failed.is_empty() { "" } else { "; " };
            write!(out, "{separator}not there: ")?;
            for (place, path) in self.not_there.iter().enumerate() {
                if place > 0 {
                    out.write_str(", ")?;
                }
                out.write_str(path)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}

// The event mask of `nvml.h` is wider than the generated constants.
const _: () = assert!(size_of::<c_ulonglong>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_all_that_was_tried() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none.so");
        let error = Session::open(Some(&missing)).err().unwrap().to_string();
        assert_eq!(error, format!("not there: {}", missing.display()));

        let text = directory.path().join("text.so");
        std::fs::write(&text, "not a library").unwrap();
        let error = Session::open(Some(&text)).err().unwrap().to_string();
        assert!(error.starts_with(&text.display().to_string()), "{error}");
    }

    #[test]
    fn a_list_is_read_again_with_the_room_it_needs() {
        let mut entries = Vec::new();
        let count = listed(&mut entries, 0_u32, |values, count| {
            // SAFETY: `listed` hands out live pointers with `count` entries of room.
            unsafe {
                let room = *count;
                *count = 100;
                if room < 100 {
                    return 7;
                }
                for place in 0..100 {
                    *values.add(place) = 5;
                }
            }
            0
        });
        assert_eq!(count, Ok(100));
        assert!(entries[..100].iter().all(|&value| value == 5));
        assert_eq!(
            listed(&mut Vec::new(), 0_u32, |_, _| 7),
            Err(NvmlError::INSUFFICIENT_SIZE)
        );
        assert_eq!(
            listed(&mut Vec::new(), 0_u32, |_, _| 4).map_err(NvmlError::name),
            Err(Some("NVML_ERROR_NO_PERMISSION"))
        );
    }

    #[test]
    fn text_ends_at_the_first_nul_or_at_the_end() {
        let bytes = |text: &str| {
            text.bytes()
                .map(|byte| c_char::from_ne_bytes([byte]))
                .collect::<Vec<_>>()
        };
        assert_eq!(terminated(&bytes("abc\0def")), "abc");
        assert_eq!(terminated(&bytes("abc")), "abc");
    }
}
