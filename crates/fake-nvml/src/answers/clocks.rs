//! Clocks, performance states, and why clocks are lowered.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlClockId_t, nvmlClockType_t, nvmlDevice_t, nvmlEnableState_t, nvmlPerfPolicyType_t, nvmlPstates_t,
    nvmlViolationTime_t,
};

use super::entry_points;
use crate::call::{Answer, Call, out, out_list};
use crate::clock::micros;
use crate::machine::{Gpu, Meter, Sampled};
use crate::scenario::ErrorCode;

/// `nvmlClocksEventReasonGpuIdle`.
const GPU_IDLE: u64 = 1;
/// Every reason that the GPUs of a scenario may have.
const SUPPORTED_REASONS: u64 = 0x1FF;

/// The video clock follows the SM clock at this ratio.
const VIDEO_RATIO: f64 = 0.88;

fn clock(gpu: &Gpu, kind: nvmlClockType_t, unix: f64) -> Answer<c_uint> {
    let sm = || gpu.sampled(Sampled::SmClock, unix);
    Ok(match kind {
        0 | 1 => sm(),
        2 => gpu.sampled(Sampled::MemoryClock, unix),
        3 => sm() * VIDEO_RATIO,
        _ => return Err(ErrorCode::InvalidArgument),
    }
    .round() as c_uint)
}

fn max_clock(gpu: &Gpu, kind: nvmlClockType_t) -> Answer<c_uint> {
    Ok(match kind {
        0 | 1 => gpu.model.max_sm_mhz,
        2 => gpu.model.memory_mhz,
        3 => (f64::from(gpu.model.max_sm_mhz) * VIDEO_RATIO).round() as c_uint,
        _ => return Err(ErrorCode::InvalidArgument),
    })
}

/// The bits of the reasons in force at `unix`.
fn reasons(gpu: &Gpu, unix: f64) -> c_ulonglong {
    let t = gpu.seconds(unix);
    let in_force = |from: f64, until: Option<f64>| t >= from && until.is_none_or(|until| t < until);
    let windows = gpu
        .scenario
        .throttle
        .iter()
        .filter(|one| in_force(one.from_seconds, one.until_seconds));
    let busy = gpu.gauges.value(Sampled::Utilization, unix) > 0.0;
    windows.fold(if busy { 0 } else { GPU_IDLE }, |bits, window| {
        bits | window.reason as u64
    })
}

fn pstate(gpu: &Gpu) -> nvmlPstates_t {
    gpu.scenario.readings.performance_state.unwrap_or(0)
}

/// How long a reason has been in force.
pub(super) fn violation_nanoseconds(gpu: &Gpu, meter: Meter, unix: f64) -> c_ulonglong {
    (gpu.flows.total(meter, unix) * 1e9) as c_ulonglong
}

fn current_reasons(call: &Call, device: nvmlDevice_t, place: *mut c_ulonglong) -> Answer {
    out(place, reasons(call.gpu(device)?, call.now))
}

fn supported_reasons(call: &Call, device: nvmlDevice_t, place: *mut c_ulonglong) -> Answer {
    call.gpu(device)?;
    out(place, SUPPORTED_REASONS)
}

entry_points! {
    fn nvmlDeviceGetClockInfo(device: nvmlDevice_t, kind: nvmlClockType_t, mhz: *mut c_uint) |call| {
        out(mhz, clock(call.gpu(device)?, kind, call.now)?)
    }

    fn nvmlDeviceGetMaxClockInfo(device: nvmlDevice_t, kind: nvmlClockType_t, mhz: *mut c_uint) |call| {
        out(mhz, max_clock(call.gpu(device)?, kind)?)
    }

    fn nvmlDeviceGetMaxCustomerBoostClock(device: nvmlDevice_t, kind: nvmlClockType_t, mhz: *mut c_uint) |call| {
        out(mhz, max_clock(call.gpu(device)?, kind)?)
    }

    fn nvmlDeviceGetClock(
        device: nvmlDevice_t,
        kind: nvmlClockType_t,
        which: nvmlClockId_t,
        mhz: *mut c_uint,
    ) |call| {
        let gpu = call.gpu(device)?;
        // `NVML_CLOCK_ID_…`: CURRENT, APP_CLOCK_TARGET, APP_CLOCK_DEFAULT, CUSTOMER_BOOST_MAX.
        out(mhz, match which {
            0 => clock(gpu, kind, call.now)?,
            1..=3 => max_clock(gpu, kind)?,
            _ => return Err(ErrorCode::InvalidArgument),
        })
    }

    fn nvmlDeviceGetApplicationsClock(device: nvmlDevice_t, kind: nvmlClockType_t, mhz: *mut c_uint) |call| {
        out(mhz, max_clock(call.gpu(device)?, kind)?)
    }

    fn nvmlDeviceGetDefaultApplicationsClock(device: nvmlDevice_t, kind: nvmlClockType_t, mhz: *mut c_uint) |call| {
        out(mhz, max_clock(call.gpu(device)?, kind)?)
    }

    fn nvmlDeviceGetSupportedMemoryClocks(device: nvmlDevice_t, count: *mut c_uint, mhz: *mut c_uint) |call| {
        out_list(mhz, count, &[call.gpu(device)?.model.memory_mhz])
    }

    fn nvmlDeviceGetSupportedGraphicsClocks(
        device: nvmlDevice_t,
        memory_mhz: c_uint,
        count: *mut c_uint,
        mhz: *mut c_uint,
    ) |call| {
        let model = call.gpu(device)?.model;
        if memory_mhz != model.memory_mhz {
            return Err(ErrorCode::NotFound);
        }
        // Steps of 15 MHz, from the highest down.
        let steps: Vec<_> = (model.idle_sm_mhz..=model.max_sm_mhz).rev().step_by(15).collect();
        out_list(mhz, count, &steps)
    }

    fn nvmlDeviceGetAutoBoostedClocksEnabled(
        device: nvmlDevice_t,
        _enabled: *mut nvmlEnableState_t,
        _default: *mut nvmlEnableState_t,
    ) |call| {
        call.gpu(device)?;
        // Of GPUs before Pascal.
        Err(ErrorCode::NotSupported)
    }

    fn nvmlDeviceGetPerformanceState(device: nvmlDevice_t, state: *mut nvmlPstates_t) |call| {
        out(state, pstate(call.gpu(device)?))
    }

    fn nvmlDeviceGetPowerState(device: nvmlDevice_t, state: *mut nvmlPstates_t) |call| {
        out(state, pstate(call.gpu(device)?))
    }

    fn nvmlDeviceGetCurrentClocksEventReasons(device: nvmlDevice_t, bits: *mut c_ulonglong) |call| {
        current_reasons(call, device, bits)
    }

    fn nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, bits: *mut c_ulonglong) |call| {
        current_reasons(call, device, bits)
    }

    fn nvmlDeviceGetSupportedClocksEventReasons(device: nvmlDevice_t, bits: *mut c_ulonglong) |call| {
        supported_reasons(call, device, bits)
    }

    fn nvmlDeviceGetSupportedClocksThrottleReasons(device: nvmlDevice_t, bits: *mut c_ulonglong) |call| {
        supported_reasons(call, device, bits)
    }

    fn nvmlDeviceGetViolationStatus(
        device: nvmlDevice_t,
        policy: nvmlPerfPolicyType_t,
        time: *mut nvmlViolationTime_t,
    ) |call| {
        let gpu = call.gpu(device)?;
        // `NVML_PERF_POLICY_…`: POWER, THERMAL, SYNC_BOOST; a scenario has no other.
        let violation = match policy {
            0 => violation_nanoseconds(gpu, Meter::PowerCap, call.now),
            1 => {
                violation_nanoseconds(gpu, Meter::SoftwareThermal, call.now)
                    + violation_nanoseconds(gpu, Meter::HardwareThermal, call.now)
            }
            2 => violation_nanoseconds(gpu, Meter::SyncBoost, call.now),
            3..=5 | 10 | 11 => 0,
            _ => return Err(ErrorCode::InvalidArgument),
        };
        out(time, nvmlViolationTime_t { referenceTime: micros(call.now), violationTime: violation })
    }
}
