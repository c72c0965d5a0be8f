use std::mem::zeroed;
use std::os::raw::c_ulonglong;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    nvmlEventMigConfigChange as MIG_CHANGE, nvmlEventSet_t,
    nvmlEventTypeGpuRecoveryAction as RECOVERY_ACTION, nvmlEventTypeGpuUnavailableError as GPU_UNAVAILABLE,
    nvmlEventTypeXidCriticalError as XID,
};

use super::{Handle, NvmlError, Session};

/// The GPU instance of an event that is not of one.
const NO_INSTANCE: u32 = u32::MAX;

/// Events that devices are asked to report.
const WANTED: c_ulonglong = (XID | MIG_CHANGE | GPU_UNAVAILABLE | RECOVERY_ACTION) as c_ulonglong;

/// What a device reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A critical error with its XID number; of one GPU instance where the driver says which.
    Xid {
        device: Handle,
        gpu_instance: Option<u32>,
        xid: u64,
    },
    /// Partitions or the state of a device changed: devices should be enumerated anew.
    Changed,
}

/// A queue of events from registered devices.
pub(crate) struct EventSet {
    raw: nvmlEventSet_t,
    session: Arc<Session>,
}

impl EventSet {
    pub(crate) fn new(session: Arc<Session>) -> Result<Self, NvmlError> {
        let function = session
            .symbols
            .event_set_create
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut raw = ptr::null_mut();
        // SAFETY: NVML writes one pointer to `raw`.
        NvmlError::check(unsafe { function(&raw mut raw) })?;
        if raw.is_null() {
            return Err(NvmlError::INVALID_ARGUMENT);
        }
        Ok(Self { raw, session })
    }

    /// Adds the events of `device` that it supports and that we want.
    pub(crate) fn register(&self, device: Handle) -> Result<(), NvmlError> {
        let symbols = &self.session.symbols;
        let types = WANTED & self.session.get(symbols.supported_event_types, device, 0)?;
        if types == 0 {
            return Err(NvmlError::NOT_SUPPORTED);
        }
        let function = symbols.register_events.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let device = self.session.own(device)?;
        // SAFETY: the device is this session's, the set is live.
        NvmlError::check(unsafe { function(device, types, self.raw) })
    }

    /// The next event; `None` where none comes within `timeout`. Blocks as long.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<Event>, NvmlError> {
        let function = self
            .session
            .symbols
            .event_set_wait
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        // SAFETY: a C struct of numbers and a pointer, for which zero is valid.
        let mut data = unsafe { zeroed() };
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: the set is live, and NVML writes one struct to `data`.
        match NvmlError::check(unsafe { function(self.raw, &raw mut data, millis) }) {
            Ok(()) if data.eventType & c_ulonglong::from(XID) != 0 => {
                let device = self.session.handle(data.device);
                let gpu_instance = Some(data.gpuInstanceId).filter(|&id| id != NO_INSTANCE);
                Ok(Some(Event::Xid {
                    device,
                    gpu_instance,
                    xid: data.eventData,
                }))
            }
            Ok(()) => Ok(Some(Event::Changed)),
            Err(NvmlError::TIMEOUT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        if let Some(function) = self.session.symbols.event_set_free {
            // SAFETY: created by this session and freed once. A failure leaks the set at worst.
            unsafe { function(self.raw) };
        }
    }
}
