//! PCIe, NVLink, topology.

use std::ffi::{c_uint, c_ulonglong};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEnableState_t, nvmlGpuFabricInfo_t, nvmlGpuP2PCapsIndex_t, nvmlGpuP2PStatus_t,
    nvmlGpuTopologyLevel_t, nvmlIntNvLinkDeviceType_t, nvmlNvLinkCapability_t, nvmlNvLinkErrorCounter_t,
    nvmlPciInfo_t, nvmlPcieUtilCounter_t,
};

use super::entry_points;
use crate::call::{Answer, Call, out, out_list, out_text};
use crate::handle::{self, Handle};
use crate::machine::{Gpu, Meter};
use crate::scenario::ErrorCode;

/// How long the driver counts PCIe traffic for one answer.
const PCIE_WINDOW: Duration = Duration::from_millis(20);

/// PCIe speed of a lane in MB/s by generation, as NVML counts it.
fn lane_speed(generation: u32) -> u32 {
    match generation {
        1 => 2_500,
        2 => 5_000,
        3 => 8_000,
        4 => 16_000,
        _ => 32_000,
    }
}

/// The GPU, if it has NVLink number `link`.
fn link(call: &Call, device: nvmlDevice_t, link: c_uint) -> Answer<&Gpu> {
    let gpu = call.gpu(device)?;
    if gpu.nvlinks == 0 {
        return Err(ErrorCode::NotSupported);
    }
    if link >= gpu.nvlinks {
        Err(ErrorCode::InvalidArgument)
    } else {
        Ok(gpu)
    }
}

/// The NVSwitch behind a link: addresses of an HGX board.
fn remote_pci(call: &Call, device: nvmlDevice_t, number: c_uint, info: *mut nvmlPciInfo_t) -> Answer {
    link(call, device, number)?;
    let bus = 5 + number % 4;
    let mut switch = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus,
        device: 0,
        pciDeviceId: 0x22A3_10DE,
        pciSubSystemId: 0x22A3_10DE,
        busId: [0; 32],
    };
    out_text(
        switch.busIdLegacy.as_mut_ptr(),
        switch.busIdLegacy.len(),
        &format!("0000:{bus:02X}:00.0"),
    )?;
    out_text(
        switch.busId.as_mut_ptr(),
        switch.busId.len(),
        &format!("00000000:{bus:02X}:00.0"),
    )?;
    out(info, switch)
}

/// How near two GPUs are: the same socket, or another one.
fn distance(one: &Gpu, other: &Gpu) -> nvmlGpuTopologyLevel_t {
    // `NVML_TOPOLOGY_…`: INTERNAL, NODE, SYSTEM.
    match (one.index == other.index, one.numa_node == other.numa_node) {
        (true, _) => 0,
        (_, true) => 40,
        _ => 50,
    }
}

entry_points! {
    fn nvmlDeviceGetPcieThroughput(
        device: nvmlDevice_t,
        counter: nvmlPcieUtilCounter_t,
        kib_per_second: *mut c_uint,
    ) |call| {
        let gpu = call.gpu(device)?;
        let meter = match counter {
            0 => Meter::PcieTx,
            1 => Meter::PcieRx,
            _ => return Err(ErrorCode::InvalidArgument),
        };
        call.usually_takes(gpu, PCIE_WINDOW);
        out(kib_per_second, (gpu.flows.rate(meter, call.now) / 1024.0).round() as c_uint)
    }

    fn nvmlDeviceGetMaxPcieLinkGeneration(device: nvmlDevice_t, generation: *mut c_uint) |call| {
        out(generation, call.gpu(device)?.model.pcie_generation)
    }

    fn nvmlDeviceGetGpuMaxPcieLinkGeneration(device: nvmlDevice_t, generation: *mut c_uint) |call| {
        out(generation, call.gpu(device)?.model.pcie_generation)
    }

    fn nvmlDeviceGetCurrPcieLinkGeneration(device: nvmlDevice_t, generation: *mut c_uint) |call| {
        out(generation, call.gpu(device)?.model.pcie_generation)
    }

    fn nvmlDeviceGetMaxPcieLinkWidth(device: nvmlDevice_t, lanes: *mut c_uint) |call| {
        out(lanes, call.gpu(device)?.model.pcie_width)
    }

    fn nvmlDeviceGetCurrPcieLinkWidth(device: nvmlDevice_t, lanes: *mut c_uint) |call| {
        out(lanes, call.gpu(device)?.model.pcie_width)
    }

    fn nvmlDeviceGetPcieLinkMaxSpeed(device: nvmlDevice_t, speed: *mut c_uint) |call| {
        // `NVML_PCIE_LINK_MAX_SPEED_…MBPS` are numbered like the generations.
        out(speed, call.gpu(device)?.model.pcie_generation)
    }

    fn nvmlDeviceGetPcieSpeed(device: nvmlDevice_t, mbps: *mut c_uint) |call| {
        out(mbps, lane_speed(call.gpu(device)?.model.pcie_generation))
    }

    fn nvmlDeviceGetPcieReplayCounter(device: nvmlDevice_t, count: *mut c_uint) |call| {
        call.gpu(device)?;
        out(count, 0)
    }

    fn nvmlDeviceGetNvLinkState(device: nvmlDevice_t, number: c_uint, active: *mut nvmlEnableState_t) |call| {
        link(call, device, number)?;
        out(active, 1)
    }

    fn nvmlDeviceGetNvLinkVersion(device: nvmlDevice_t, number: c_uint, version: *mut c_uint) |call| {
        out(version, link(call, device, number)?.model.nvlink_version)
    }

    fn nvmlDeviceGetNvLinkCapability(
        device: nvmlDevice_t,
        number: c_uint,
        capability: nvmlNvLinkCapability_t,
        is: *mut c_uint,
    ) |call| {
        link(call, device, number)?;
        // `NVML_NVLINK_CAP_…`: P2P, system memory, P2P atomics, system memory atomics, SLI, valid.
        out(is, match capability {
            0 | 2 | 5 => 1,
            1 | 3 | 4 => 0,
            _ => return Err(ErrorCode::InvalidArgument),
        })
    }

    fn nvmlDeviceGetNvLinkRemotePciInfo(device: nvmlDevice_t, number: c_uint, info: *mut nvmlPciInfo_t) |call| {
        remote_pci(call, device, number, info)
    }

    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(device: nvmlDevice_t, number: c_uint, info: *mut nvmlPciInfo_t) |call| {
        remote_pci(call, device, number, info)
    }

    fn nvmlDeviceGetNvLinkRemoteDeviceType(
        device: nvmlDevice_t,
        number: c_uint,
        kind: *mut nvmlIntNvLinkDeviceType_t,
    ) |call| {
        link(call, device, number)?;
        // `NVML_NVLINK_DEVICE_TYPE_SWITCH`.
        out(kind, 2)
    }

    fn nvmlDeviceGetNvLinkErrorCounter(
        device: nvmlDevice_t,
        number: c_uint,
        _counter: nvmlNvLinkErrorCounter_t,
        count: *mut c_ulonglong,
    ) |call| {
        link(call, device, number)?;
        out(count, 0)
    }

    fn nvmlDeviceGetP2PStatus(
        one: nvmlDevice_t,
        other: nvmlDevice_t,
        capability: nvmlGpuP2PCapsIndex_t,
        status: *mut nvmlGpuP2PStatus_t,
    ) |call| {
        let linked = call.gpu(one)?.nvlinks > 0 && call.gpu(other)?.nvlinks > 0;
        // `NVML_P2P_CAPS_INDEX_NVLINK`; `NVML_P2P_STATUS_OK`, `…_NOT_SUPPORTED`.
        out(status, if capability == 2 && !linked { 6 } else { 0 })
    }

    fn nvmlDeviceGetTopologyCommonAncestor(
        one: nvmlDevice_t,
        other: nvmlDevice_t,
        level: *mut nvmlGpuTopologyLevel_t,
    ) |call| {
        out(level, distance(call.gpu(one)?, call.gpu(other)?))
    }

    fn nvmlDeviceGetTopologyNearestGpus(
        device: nvmlDevice_t,
        level: nvmlGpuTopologyLevel_t,
        count: *mut c_uint,
        devices: *mut nvmlDevice_t,
    ) |call| {
        let gpu = call.gpu(device)?;
        let others = call.machine.gpus.iter().filter(|other| other.index != gpu.index);
        let near: Answer<Vec<nvmlDevice_t>> = others
            .filter(|other| distance(gpu, other) == level)
            .map(|other| handle::give(Handle::Gpu(other.uuid.clone())))
            .collect();
        out_list(devices, count, &near?)
    }

    fn nvmlDeviceGetGpuFabricInfo(device: nvmlDevice_t, info: *mut nvmlGpuFabricInfo_t) |call| {
        call.gpu(device)?;
        // `NVML_GPU_FABRIC_STATE_NOT_SUPPORTED`: links end at switches of the same machine.
        out(info, nvmlGpuFabricInfo_t { clusterUuid: [0; 16], status: 0, cliqueId: 0, state: 0 })
    }
}
