//! One call over the C ABI: what every entry point has in common.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::handle::{self, Handle};
use crate::machine::{self, Gpu, Instance, Machine, Partition};
use crate::scenario::ErrorCode;
use crate::{clock, driver};

/// NVML's `SUCCESS`, or the error.
pub(crate) type Answer<T = ()> = Result<T, ErrorCode>;

/// A call in progress.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) machine: Arc<Machine>,
    /// When it began, in Unix seconds.
    pub(crate) now: f64,
}

/// What a device handle stands for.
#[derive(Clone, Copy)]
pub(crate) enum Device<'a> {
    Gpu(&'a Gpu),
    Partition(&'a Gpu, &'a Instance, &'a Partition),
}

/// Runs the body of entry point `name`: checks that NVML is initialised, applies the scenario's
/// faults, and keeps a panic from crossing the ABI.
pub(crate) fn run(name: &'static str, body: impl FnOnce(&Call) -> Answer) -> nvmlReturn_t {
    answer(|| {
        let call = Call {
            name,
            machine: driver::machine()?,
            now: machine::now(),
        };
        call.fault(None)?;
        body(&call)
    })
}

/// Runs `body` and gives NVML's number for its answer.
pub(crate) fn answer(body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => error.code(),
        Err(_) => ErrorCode::Unknown.code(),
    }
}

impl Call {
    /// Takes the time and gives the error that the scenario has for this call: for calls about `gpu`,
    /// or with `None` for calls about any or no GPU.
    pub(crate) fn fault(&self, gpu: Option<usize>) -> Answer {
        let (latency, error) = self.faults(gpu);
        if let Some(latency) = latency {
            clock::pause(latency);
        }
        error.map_or(Ok(()), Err)
    }

    /// Holds the caller as the real call would, unless the scenario says how long it takes.
    pub(crate) fn usually_takes(&self, gpu: &Gpu, usual: Duration) {
        if self.faults(None).0.is_none() && self.faults(Some(gpu.index)).0.is_none() {
            clock::pause(usual);
        }
    }

    /// The error of this call's fault for `gpu`, without its latency.
    pub(crate) fn error_of(&self, gpu: usize) -> Answer {
        self.faults(Some(gpu)).1.map_or(Ok(()), Err)
    }

    /// The error that the scenario has for one field of `nvmlDeviceGetFieldValues`.
    pub(crate) fn field_fault(&self, gpu: &Gpu, field: u32) -> Answer {
        let t = self.now - self.machine.zero;
        let mut faults = self.machine.scenario.faults.iter();
        let fault = faults.find(|fault| {
            fault.field == Some(field)
                && fault.gpu.is_none_or(|index| index == gpu.index)
                && fault.applies(self.name, t)
        });
        fault.and_then(|fault| fault.error).map_or(Ok(()), Err)
    }

    fn faults(&self, gpu: Option<usize>) -> (Option<Duration>, Option<ErrorCode>) {
        let t = self.now - self.machine.zero;
        let mut latency = None;
        let mut error = None;
        for fault in &self.machine.scenario.faults {
            if fault.field.is_none() && fault.gpu == gpu && fault.applies(self.name, t) {
                latency = latency.or_else(|| {
                    fault
                        .latency_milliseconds
                        .map(|ms| Duration::from_secs_f64(ms / 1e3))
                });
                error = error.or(fault.error);
            }
        }
        (latency, error)
    }

    /// The GPU or MIG device of `handle`. A handle of a GPU that is gone is lost; one of a MIG device
    /// that is gone is invalid.
    pub(crate) fn device(&self, handle: nvmlDevice_t) -> Answer<Device<'_>> {
        let device = match handle::meaning(handle)? {
            Handle::Gpu(uuid) => {
                let gpu = self.machine.gpus.iter().find(|gpu| gpu.uuid == uuid);
                Device::Gpu(gpu.ok_or(ErrorCode::GpuIsLost)?)
            }
            Handle::Partition(uuid) => {
                let (gpu, instance, part) =
                    self.machine.partition(&uuid).ok_or(ErrorCode::InvalidArgument)?;
                Device::Partition(gpu, instance, part)
            }
            Handle::GpuInstance(..) | Handle::ComputeInstance(_) => return Err(ErrorCode::InvalidArgument),
        };
        self.fault(Some(device.gpu().index))?;
        Ok(device)
    }

    /// The GPU of `handle`, for what does not exist on a MIG device.
    pub(crate) fn gpu(&self, handle: nvmlDevice_t) -> Answer<&Gpu> {
        match self.device(handle)? {
            Device::Gpu(gpu) => Ok(gpu),
            Device::Partition(..) => Err(ErrorCode::NotSupported),
        }
    }

    /// The GPU of `handle`, for what does not exist while MIG is on either.
    pub(crate) fn whole_gpu(&self, handle: nvmlDevice_t) -> Answer<&Gpu> {
        match self.gpu(handle)? {
            gpu if gpu.mig_enabled => Err(ErrorCode::NotSupported),
            gpu => Ok(gpu),
        }
    }
}

impl<'a> Device<'a> {
    /// The GPU, or that of which it is a part.
    pub(crate) fn gpu(self) -> &'a Gpu {
        match self {
            Self::Gpu(gpu) | Self::Partition(gpu, ..) => gpu,
        }
    }
}

/// Writes `value` where the caller wants it.
pub(crate) fn out<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return Err(ErrorCode::InvalidArgument);
    }
    // SAFETY: the caller of an NVML function passes a valid place for its result.
    unsafe { place.write(value) };
    Ok(())
}

/// Reads what the caller passes.
pub(crate) fn read<T: Copy>(place: *const T) -> Answer<T> {
    if place.is_null() {
        return Err(ErrorCode::InvalidArgument);
    }
    // SAFETY: the caller of an NVML function passes a valid argument.
    Ok(unsafe { place.read() })
}

/// Writes `text` into the caller's buffer of `length` bytes.
pub(crate) fn out_text(buffer: *mut c_char, length: usize, text: &str) -> Answer {
    if buffer.is_null() {
        return Err(ErrorCode::InvalidArgument);
    }
    if text.len() >= length {
        return Err(ErrorCode::InsufficientSize);
    }
    // SAFETY: the caller says that the buffer has `length` bytes, and the text with its end fits.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// The caller's text.
pub(crate) fn read_text(text: *const c_char) -> Answer<String> {
    if text.is_null() {
        return Err(ErrorCode::InvalidArgument);
    }
    // SAFETY: the caller passes a text that ends with 0.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str()
        .map(str::to_owned)
        .map_err(|_| ErrorCode::InvalidArgument)
}

/// Writes a list by NVML's protocol: `count` says how many entries fit; where they are too few, the
/// answer is `INSUFFICIENT_SIZE` and `count` becomes how many there are.
pub(crate) fn out_list<T: Copy>(entries: *mut T, count: *mut u32, list: &[T]) -> Answer {
    let room = read(count)?;
    let needed = u32::try_from(list.len()).map_err(|_| ErrorCode::Unknown)?;
    out(count, needed)?;
    if list.is_empty() {
        return Ok(());
    }
    if room < needed || entries.is_null() {
        return Err(ErrorCode::InsufficientSize);
    }
    // SAFETY: the caller says that there is room for `room` entries, and `needed` is not more.
    unsafe { std::ptr::copy_nonoverlapping(list.as_ptr(), entries, list.len()) };
    Ok(())
}

/// Checks the version in the first word of the caller's struct and gives its number: NVML's
/// versions are the number of the layout in the top byte and its size below.
pub(crate) fn version<T>(place: *const T, known: &[u32]) -> Answer<u32> {
    let version = read(place.cast::<u32>())?;
    let expected = |number: &&u32| version == size_of::<T>() as u32 | *number << 24;
    known
        .iter()
        .find(expected)
        .copied()
        .ok_or(ErrorCode::ArgumentVersionMismatch)
}
