//! Memory and BAR1.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlBAR1Memory_t, nvmlDevice_t, nvmlMemory_t, nvmlMemory_v2_t};

use super::entry_points;
use crate::call::{Call, Device, out, read, version};

/// Memory of a device in bytes.
struct Memory {
    total: u64,
    /// Kept by driver and firmware; a MIG device's is its GPU's.
    reserved: u64,
    used: u64,
}

fn memory(call: &Call, device: Device<'_>) -> Memory {
    match device {
        Device::Gpu(gpu) => Memory {
            total: gpu.memory_total,
            reserved: gpu.memory_reserved(),
            used: gpu.memory_used(call.now),
        },
        Device::Partition(gpu, instance, _) => Memory {
            total: instance.memory_total(),
            reserved: 0,
            used: instance.memory_used(gpu.seconds(call.now)),
        },
    }
}

entry_points! {
    // The first version counts what is reserved as used.
    fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, info: *mut nvmlMemory_t) |call| {
        let Memory { total, reserved, used } = memory(call, call.device(device)?);
        out(info, nvmlMemory_t { total, free: total - reserved - used, used: reserved + used })
    }

    // The second one tells it apart: total = reserved + used + free.
    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, info: *mut nvmlMemory_v2_t) |call| {
        let device = call.device(device)?;
        version(info, &[2])?;
        let Memory { total, reserved, used } = memory(call, device);
        let version = read(info)?.version;
        out(info, nvmlMemory_v2_t { version, total, reserved, free: total - reserved - used, used })
    }

    fn nvmlDeviceGetBAR1MemoryInfo(device: nvmlDevice_t, info: *mut nvmlBAR1Memory_t) |call| {
        let total = call.device(device)?.gpu().model.bar1_mib << 20;
        let used = 4 << 20;
        out(info, nvmlBAR1Memory_t { bar1Total: total, bar1Free: total - used, bar1Used: used })
    }

    fn nvmlDeviceGetMemoryBusWidth(device: nvmlDevice_t, bits: *mut c_uint) |call| {
        out(bits, call.gpu(device)?.model.memory_bus_bits)
    }
}
