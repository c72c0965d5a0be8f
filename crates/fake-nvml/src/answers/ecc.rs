//! Error correction and row remapping.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEccCounterType_t, nvmlEccErrorCounts_t, nvmlEnableState_t, nvmlMemoryErrorType_t,
    nvmlMemoryLocation_t, nvmlPageRetirementCause_t, nvmlRepairStatus_t, nvmlRowRemapperHistogramValues_t,
};

use super::entry_points;
use crate::call::{Answer, Call, Device, out, out_list, read, version};
use crate::machine::Gpu;
use crate::scenario::ErrorCode;

/// `NVML_MEMORY_LOCATION_DRAM`, where a scenario's errors are.
const DRAM: nvmlMemoryLocation_t = 2;

/// First architecture that remaps rows instead of retiring pages: Ampere.
const FIRST_REMAPPING: u32 = 7;

/// A counter: type 0 corrected, 1 uncorrected; counter 0 volatile, 1 aggregate.
pub(super) fn errors(gpu: &Gpu, kind: nvmlMemoryErrorType_t, counter: nvmlEccCounterType_t) -> Answer<u64> {
    if !gpu.ecc_enabled() {
        return Err(ErrorCode::NotSupported);
    }
    let ecc = &gpu.scenario.ecc;
    match (kind, counter) {
        (0, 0) => Ok(ecc.corrected_volatile),
        (1, 0) => Ok(ecc.uncorrected_volatile),
        (0, 1) => Ok(ecc.corrected_aggregate),
        (1, 1) => Ok(ecc.uncorrected_aggregate),
        _ => Err(ErrorCode::InvalidArgument),
    }
}

/// Whether the GPU remaps rows and NVML shows it: not while MIG is on.
pub(super) fn remapping(gpu: &Gpu) -> Answer {
    if gpu.model.ecc && gpu.model.architecture >= FIRST_REMAPPING && !gpu.mig_enabled {
        Ok(())
    } else {
        Err(ErrorCode::NotSupported)
    }
}

/// Pages are retired by GPUs before Ampere; a scenario has no retired ones.
fn retiring(call: &Call, device: nvmlDevice_t) -> Answer {
    let model = call.gpu(device)?.model;
    if model.ecc && model.architecture < FIRST_REMAPPING {
        Ok(())
    } else {
        Err(ErrorCode::NotSupported)
    }
}

entry_points! {
    fn nvmlDeviceGetEccMode(
        device: nvmlDevice_t,
        current: *mut nvmlEnableState_t,
        pending: *mut nvmlEnableState_t,
    ) |call| {
        let gpu = call.gpu(device)?;
        if !gpu.model.ecc {
            return Err(ErrorCode::NotSupported);
        }
        out(current, nvmlEnableState_t::from(gpu.ecc_enabled()))?;
        out(pending, nvmlEnableState_t::from(gpu.ecc_enabled()))
    }

    fn nvmlDeviceGetDefaultEccMode(device: nvmlDevice_t, mode: *mut nvmlEnableState_t) |call| {
        if !call.gpu(device)?.model.ecc {
            return Err(ErrorCode::NotSupported);
        }
        out(mode, 1)
    }

    fn nvmlDeviceGetTotalEccErrors(
        device: nvmlDevice_t,
        kind: nvmlMemoryErrorType_t,
        counter: nvmlEccCounterType_t,
        count: *mut c_ulonglong,
    ) |call| {
        out(count, errors(call.gpu(device)?, kind, counter)?)
    }

    fn nvmlDeviceGetDetailedEccErrors(
        device: nvmlDevice_t,
        kind: nvmlMemoryErrorType_t,
        counter: nvmlEccCounterType_t,
        counts: *mut nvmlEccErrorCounts_t,
    ) |call| {
        let memory = errors(call.gpu(device)?, kind, counter)?;
        out(counts, nvmlEccErrorCounts_t { l1Cache: 0, l2Cache: 0, deviceMemory: memory, registerFile: 0 })
    }

    fn nvmlDeviceGetMemoryErrorCounter(
        device: nvmlDevice_t,
        kind: nvmlMemoryErrorType_t,
        counter: nvmlEccCounterType_t,
        location: nvmlMemoryLocation_t,
        count: *mut c_ulonglong,
    ) |call| {
        match call.device(device)? {
            // A MIG device has only uncorrected volatile errors outside of the DRAM.
            Device::Partition(..) if (kind, counter) != (1, 0) || location == DRAM => Err(ErrorCode::NotSupported),
            // And while MIG is on, the GPU has no volatile ones.
            Device::Gpu(gpu) if gpu.mig_enabled && counter == 0 => Err(ErrorCode::NotSupported),
            device => {
                let all = errors(device.gpu(), kind, counter)?;
                out(count, if location == DRAM { all } else { 0 })
            }
        }
    }

    fn nvmlDeviceGetRemappedRows(
        device: nvmlDevice_t,
        corrected: *mut c_uint,
        uncorrected: *mut c_uint,
        pending: *mut c_uint,
        failed: *mut c_uint,
    ) |call| {
        let gpu = call.gpu(device)?;
        remapping(gpu)?;
        let ecc = &gpu.scenario.ecc;
        out(corrected, ecc.remapped_rows_corrected)?;
        out(uncorrected, ecc.remapped_rows_uncorrected)?;
        out(pending, c_uint::from(ecc.remap_pending))?;
        out(failed, c_uint::from(ecc.remap_failed))
    }

    fn nvmlDeviceGetRowRemapperHistogram(
        device: nvmlDevice_t,
        values: *mut nvmlRowRemapperHistogramValues_t,
    ) |call| {
        let gpu = call.gpu(device)?;
        remapping(gpu)?;
        let ecc = &gpu.scenario.ecc;
        // Each bank has room for some remapped rows; those of a scenario lie in different banks.
        const BANKS: u32 = 640;
        let used = ecc.remapped_rows_corrected.saturating_add(ecc.remapped_rows_uncorrected).min(BANKS);
        out(values, nvmlRowRemapperHistogramValues_t { max: BANKS - used, high: used, partial: 0, low: 0, none: 0 })
    }

    fn nvmlDeviceGetRepairStatus(device: nvmlDevice_t, status: *mut nvmlRepairStatus_t) |call| {
        call.gpu(device)?;
        version(status, &[1])?;
        let mut filled = read(status)?;
        (filled.bChannelRepairPending, filled.bTpcRepairPending) = (0, 0);
        out(status, filled)
    }

    fn nvmlDeviceGetRetiredPages(
        device: nvmlDevice_t,
        _cause: nvmlPageRetirementCause_t,
        count: *mut c_uint,
        addresses: *mut c_ulonglong,
    ) |call| {
        retiring(call, device)?;
        out_list(addresses, count, &[])
    }

    fn nvmlDeviceGetRetiredPages_v2(
        device: nvmlDevice_t,
        _cause: nvmlPageRetirementCause_t,
        count: *mut c_uint,
        addresses: *mut c_ulonglong,
        _timestamps: *mut c_ulonglong,
    ) |call| {
        retiring(call, device)?;
        out_list(addresses, count, &[])
    }

    fn nvmlDeviceGetRetiredPagesPendingStatus(device: nvmlDevice_t, pending: *mut nvmlEnableState_t) |call| {
        retiring(call, device)?;
        out(pending, 0)
    }
}
