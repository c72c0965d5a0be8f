use std::os::raw::c_uint;
use std::ptr;

use nvml_wrapper_sys::bindings as sys;
use nvml_wrapper_sys::bindings::{nvmlProcessInfo_t, nvmlProcessUtilizationSample_t, nvmlReturn_t};

use super::{Handle, Number, NvmlError, Session};

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

/// A process as NVML lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Bytes; `None` where the driver says that it does not know.
    pub(crate) used_memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessList {
    Compute,
    Mps,
    Graphics,
}

/// Most processes (or samples) that are taken of one device: far above what a device can hold, so a
/// larger count is a driver's mistake.
const MOST_ENTRIES: usize = 4096;

/// `NVML_VALUE_NOT_AVAILABLE`.
const NOT_AVAILABLE: u64 = u64::MAX;

impl Session {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
