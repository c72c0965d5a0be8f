use std::ptr;

use nvml_wrapper_sys::bindings as sys;

use super::{Handle, NvmlError, Session};

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

impl Session {
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
}
