//! Events: XID errors, changes of the MIG layout, and the scenario's others.

use std::ffi::{c_uint, c_ulonglong};
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_t};
use parking_lot::Mutex;

use super::entry_points;
use crate::call::{Answer, Call, answer, out};
use crate::handle::{self, Handle, Store};
use crate::machine::{self, Happening};
use crate::scenario::{ErrorCode, EventKind};
use crate::{clock, driver};

/// Every event type that a scenario may have.
const SUPPORTED: u64 = EventKind::SingleBitEccError as u64
    | EventKind::DoubleBitEccError as u64
    | EventKind::PState as u64
    | EventKind::Xid as u64
    | EventKind::Clock as u64
    | EventKind::MigConfigChange as u64
    | EventKind::GpuUnavailable as u64
    | EventKind::GpuRecoveryAction as u64;

/// How often a waiting call looks whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// NVML's instance id of an event that is about a whole GPU.
const NO_INSTANCE: c_uint = c_uint::MAX;

static SETS: Mutex<Store<Arc<Mutex<EventSet>>>> = Mutex::new(Store::new());

/// What a client waits for.
struct EventSet {
    /// GPU, bits of event types, and since when (Unix seconds).
    registered: Vec<(String, u64, f64)>,
    /// What it was told already, of what the scenario still has.
    told: Vec<Happening>,
}

impl EventSet {
    /// The first event that it was not told of.
    fn next(&mut self, call: &Call) -> Option<Happening> {
        let since = self
            .registered
            .iter()
            .map(|(_, _, since)| *since)
            .reduce(f64::min)?;
        let all = call.machine.happenings(since, call.now);
        self.told.retain(|told| all.contains(told));
        let wanted = |event: &Happening| {
            self.registered.iter().any(|(uuid, types, since)| {
                *uuid == event.uuid && types & event.kind as u64 != 0 && event.at >= *since
            })
        };
        let next = all
            .into_iter()
            .find(|event| wanted(event) && !self.told.contains(event))?;
        self.told.push(next.clone());
        Some(next)
    }

    /// The error that the scenario has for waiting for one of its GPUs.
    fn fault(&self, call: &Call) -> Answer {
        let mut gpus = call.machine.gpus.iter();
        gpus.try_for_each(
            |gpu| match self.registered.iter().any(|(uuid, ..)| *uuid == gpu.uuid) {
                true => call.error_of(gpu.index),
                false => Ok(()),
            },
        )
    }
}

fn wait(
    name: &'static str,
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    timeout: c_uint,
) -> nvmlReturn_t {
    answer(|| {
        let deadline = clock::monotonic_now() + Duration::from_millis(u64::from(timeout));
        let set = Arc::clone(SETS.lock().get(set)?);
        loop {
            let call = Call {
                name,
                machine: driver::machine()?,
                now: machine::now(),
            };
            call.fault(None)?;
            set.lock().fault(&call)?;
            let next = set.lock().next(&call);
            if let Some(event) = next {
                return out(
                    data,
                    nvmlEventData_t {
                        device: handle::give(Handle::Gpu(event.uuid))?,
                        eventType: event.kind as c_ulonglong,
                        eventData: event.data,
                        gpuInstanceId: event.gpu_instance.unwrap_or(NO_INSTANCE),
                        computeInstanceId: event.compute_instance.unwrap_or(NO_INSTANCE),
                    },
                );
            }
            let left = deadline.saturating_duration_since(clock::monotonic_now());
            if left.is_zero() {
                return Err(ErrorCode::Timeout);
            }
            clock::pause(left.min(LOOK_EVERY));
        }
    })
}

// SAFETY: (this and the next) the names are NVML's own; see `entry_points`.
#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetWait(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    timeout: c_uint,
) -> nvmlReturn_t {
    wait("nvmlEventSetWait", set, data, timeout)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    timeout: c_uint,
) -> nvmlReturn_t {
    wait("nvmlEventSetWait_v2", set, data, timeout)
}

entry_points! {
    fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) |_| {
        if set.is_null() {
            return Err(ErrorCode::InvalidArgument);
        }
        let new = Arc::new(Mutex::new(EventSet { registered: Vec::new(), told: Vec::new() }));
        out(set, SETS.lock().add(new)?)
    }

    fn nvmlEventSetFree(set: nvmlEventSet_t) |_| {
        SETS.lock().remove(set).map(drop)
    }

    fn nvmlDeviceGetSupportedEventTypes(device: nvmlDevice_t, types: *mut c_ulonglong) |call| {
        call.gpu(device)?;
        out(types, SUPPORTED)
    }

    fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, types: c_ulonglong, set: nvmlEventSet_t) |call| {
        let gpu = call.gpu(device)?;
        let set = Arc::clone(SETS.lock().get(set)?);
        if types & !SUPPORTED != 0 {
            return Err(ErrorCode::NotSupported);
        }
        let mut set = set.lock();
        match set.registered.iter_mut().find(|(uuid, ..)| *uuid == gpu.uuid) {
            Some((_, registered, _)) => *registered |= types,
            None => set.registered.push((gpu.uuid.clone(), types, call.now)),
        }
        Ok(())
    }
}
