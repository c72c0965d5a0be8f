//! Processes on devices.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlProcessDetail_v1_t, nvmlProcessDetailList_t, nvmlProcessInfo_t, nvmlProcessInfo_v1_t,
};

use super::entry_points;
use crate::call::{Answer, Call, Device, out, out_list, read, version};
use crate::machine::Running;
use crate::scenario::{ErrorCode, ProcessKind};

/// NVML's instance id of a process that runs on a whole GPU.
const NO_INSTANCE: c_uint = c_uint::MAX;
/// NVML's memory of a process whose memory the driver does not know.
const UNKNOWN_MEMORY: u64 = u64::MAX;

/// The processes of `kind` on `device`: those of all partitions for a GPU with MIG on.
fn running(device: Device<'_>, kind: ProcessKind) -> Vec<nvmlProcessInfo_t> {
    let all = match device {
        Device::Gpu(gpu) => gpu.running(),
        Device::Partition(_, instance, part) => {
            let place = Some((instance.id, part.id));
            part.processes
                .iter()
                .map(|process| Running { process, place })
                .collect()
        }
    };
    let wanted = all.iter().filter(|running| running.process.kind == kind);
    wanted
        .map(|running| nvmlProcessInfo_t {
            pid: running.process.pid,
            usedGpuMemory: running.process.memory_bytes.unwrap_or(UNKNOWN_MEMORY),
            gpuInstanceId: running.place.map_or(NO_INSTANCE, |place| place.0),
            computeInstanceId: running.place.map_or(NO_INSTANCE, |place| place.1),
        })
        .collect()
}

fn list(
    call: &Call,
    device: nvmlDevice_t,
    kind: ProcessKind,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> Answer {
    out_list(infos, count, &running(call.device(device)?, kind))
}

/// The first layout has no instance ids.
fn list_v1(
    call: &Call,
    device: nvmlDevice_t,
    kind: ProcessKind,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_v1_t,
) -> Answer {
    let all = running(call.device(device)?, kind).into_iter();
    let all: Vec<_> = all
        .map(|info| nvmlProcessInfo_v1_t {
            pid: info.pid,
            usedGpuMemory: info.usedGpuMemory,
        })
        .collect();
    out_list(infos, count, &all)
}

macro_rules! process_lists {
    ($($kind:ident: $v1:ident, $v2:ident, $v3:ident;)*) => {
        entry_points! {
            $(
                fn $v1(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_v1_t) |call| {
                    list_v1(call, device, ProcessKind::$kind, count, infos)
                }

                fn $v2(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) |call| {
                    list(call, device, ProcessKind::$kind, count, infos)
                }

                fn $v3(device: nvmlDevice_t, count: *mut c_uint, infos: *mut nvmlProcessInfo_t) |call| {
                    list(call, device, ProcessKind::$kind, count, infos)
                }
            )*
        }
    };
}

process_lists! {
    Compute: nvmlDeviceGetComputeRunningProcesses, nvmlDeviceGetComputeRunningProcesses_v2,
        nvmlDeviceGetComputeRunningProcesses_v3;
    Graphics: nvmlDeviceGetGraphicsRunningProcesses, nvmlDeviceGetGraphicsRunningProcesses_v2,
        nvmlDeviceGetGraphicsRunningProcesses_v3;
    Mps: nvmlDeviceGetMPSComputeRunningProcesses, nvmlDeviceGetMPSComputeRunningProcesses_v2,
        nvmlDeviceGetMPSComputeRunningProcesses_v3;
}

entry_points! {
    fn nvmlDeviceGetRunningProcessDetailList(device: nvmlDevice_t, details: *mut nvmlProcessDetailList_t) |call| {
        let device = call.device(device)?;
        version(details, &[1])?;
        let mut filled = read(details)?;
        let kind = match filled.mode {
            0 => ProcessKind::Compute,
            1 => ProcessKind::Graphics,
            2 => ProcessKind::Mps,
            _ => return Err(ErrorCode::InvalidArgument),
        };
        let all: Vec<_> = running(device, kind)
            .into_iter()
            .map(|info| nvmlProcessDetail_v1_t {
                pid: info.pid,
                usedGpuMemory: info.usedGpuMemory,
                gpuInstanceId: info.gpuInstanceId,
                computeInstanceId: info.computeInstanceId,
                usedGpuCcProtectedMemory: UNKNOWN_MEMORY,
            })
            .collect();
        let written = out_list(filled.procArray, &raw mut filled.numProcArrayEntries, &all);
        out(details, filled)?;
        written
    }
}
