//! Handles, names, numbers and modes of devices.

use std::ffi::{c_char, c_int, c_uint, c_ulong};

use nvml_wrapper_sys::bindings::{
    nvmlBrandType_t, nvmlBusType_t, nvmlComputeMode_t, nvmlDevice_t, nvmlDeviceAddressingMode_t,
    nvmlDeviceArchitecture_t, nvmlDriverModel_t, nvmlEnableState_t, nvmlGpuOperationMode_t,
    nvmlGpuVirtualizationMode_t, nvmlGridLicensableFeatures_t, nvmlHostVgpuMode_t, nvmlPciInfo_t,
    nvmlPciInfoExt_t, nvmlRestrictedAPI_t, nvmlUUID_t,
};

use super::entry_points;
use crate::call::{Answer, Call, Device, out, out_text, read, read_text, version};
use crate::handle::{self, Handle};
use crate::machine::Gpu;
use crate::scenario::{ErrorCode, pci_address};

fn handle_of(call: &Call, gpu: &Gpu, place: *mut nvmlDevice_t) -> Answer {
    call.fault(Some(gpu.index))?;
    out(place, handle::give(Handle::Gpu(gpu.uuid.clone()))?)
}

fn by_index(call: &Call, index: c_uint, place: *mut nvmlDevice_t) -> Answer {
    let gpu = call
        .machine
        .gpus
        .get(index as usize)
        .ok_or(ErrorCode::InvalidArgument)?;
    handle_of(call, gpu, place)
}

fn by_uuid(call: &Call, uuid: &str, place: *mut nvmlDevice_t) -> Answer {
    if let Some(gpu) = call.machine.gpus.iter().find(|gpu| gpu.uuid == uuid) {
        return handle_of(call, gpu, place);
    }
    let (gpu, ..) = call.machine.partition(uuid).ok_or(ErrorCode::NotFound)?;
    call.fault(Some(gpu.index))?;
    out(place, handle::give(Handle::Partition(uuid.to_owned()))?)
}

fn by_bus_id(call: &Call, text: *const c_char, place: *mut nvmlDevice_t) -> Answer {
    let address = pci_address(&read_text(text)?).ok_or(ErrorCode::InvalidArgument)?;
    let gpu = call
        .machine
        .gpus
        .iter()
        .find(|gpu| gpu.pci == address)
        .ok_or(ErrorCode::NotFound)?;
    handle_of(call, gpu, place)
}

fn pci_info(gpu: &Gpu) -> Answer<nvmlPciInfo_t> {
    let (domain, bus, device, _) = gpu.pci;
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain,
        bus,
        device,
        pciDeviceId: gpu.model.pci_device_id,
        pciSubSystemId: gpu.model.pci_device_id,
        busId: [0; 32],
    };
    out_text(
        info.busIdLegacy.as_mut_ptr(),
        info.busIdLegacy.len(),
        &gpu.bus_id(4),
    )?;
    out_text(info.busId.as_mut_ptr(), info.busId.len(), &gpu.bus_id(8))?;
    Ok(info)
}

fn driver_model(call: &Call, device: nvmlDevice_t) -> Answer {
    call.gpu(device)?;
    // Driver models exist on Windows only.
    Err(ErrorCode::NotSupported)
}

fn licensable_features(
    call: &Call,
    device: nvmlDevice_t,
    place: *mut nvmlGridLicensableFeatures_t,
) -> Answer {
    call.gpu(device)?;
    let mut features = read(place)?;
    features.isGridLicenseSupported = 0;
    features.licensableFeaturesCount = 0;
    out(place, features)
}

/// The name of a GPU, or of a MIG device: that of its GPU, `MIG` and the profile.
fn name(device: Device<'_>) -> String {
    match device {
        Device::Gpu(gpu) => gpu.scenario.model.clone(),
        Device::Partition(gpu, instance, part) => {
            let profile = &instance.profile;
            let compute = if part.slices == profile.slices {
                String::new()
            } else {
                format!("{}c.", part.slices)
            };
            format!("{} MIG {compute}{}", gpu.scenario.model, profile.name)
        }
    }
}

entry_points! {
    fn nvmlDeviceGetHandleByIndex(index: c_uint, device: *mut nvmlDevice_t) |call| {
        by_index(call, index, device)
    }

    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) |call| {
        by_index(call, index, device)
    }

    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) |call| {
        by_uuid(call, &read_text(uuid)?, device)
    }

    fn nvmlDeviceGetHandleByUUIDV(uuid: *const nvmlUUID_t, device: *mut nvmlDevice_t) |call| {
        version(uuid, &[1])?;
        // `NVML_UUID_TYPE_ASCII`; GPUs of a scenario need not have a binary UUID.
        let wanted = read(uuid)?;
        if wanted.type_ != 1 {
            return Err(ErrorCode::NotSupported);
        }
        // SAFETY: the type says that the text is what was stored.
        let text = unsafe { wanted.value.str_ };
        let bytes: Vec<u8> = text.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
        by_uuid(call, &String::from_utf8(bytes).map_err(|_| ErrorCode::InvalidArgument)?, device)
    }

    fn nvmlDeviceGetHandleBySerial(serial: *const c_char, device: *mut nvmlDevice_t) |call| {
        let serial = read_text(serial)?;
        let gpu = call.machine.gpus.iter().find(|gpu| gpu.serial == serial).ok_or(ErrorCode::NotFound)?;
        handle_of(call, gpu, device)
    }

    fn nvmlDeviceGetHandleByPciBusId(bus_id: *const c_char, device: *mut nvmlDevice_t) |call| {
        by_bus_id(call, bus_id, device)
    }

    fn nvmlDeviceGetHandleByPciBusId_v2(bus_id: *const c_char, device: *mut nvmlDevice_t) |call| {
        by_bus_id(call, bus_id, device)
    }

    fn nvmlDeviceGetName(device: nvmlDevice_t, text: *mut c_char, length: c_uint) |call| {
        out_text(text, length as usize, &name(call.device(device)?))
    }

    fn nvmlDeviceGetUUID(device: nvmlDevice_t, text: *mut c_char, length: c_uint) |call| {
        let uuid = match call.device(device)? {
            Device::Gpu(gpu) => &gpu.uuid,
            Device::Partition(_, _, part) => &part.uuid,
        };
        out_text(text, length as usize, uuid)
    }

    fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) |call| {
        let number = match call.device(device)? {
            Device::Gpu(gpu) => gpu.index,
            Device::Partition(_, _, part) => part.index,
        };
        out(index, number as c_uint)
    }

    fn nvmlDeviceGetSerial(device: nvmlDevice_t, text: *mut c_char, length: c_uint) |call| {
        let gpu = call.gpu(device)?;
        // Consumer boards have none that NVML shows.
        if gpu.model.fans > 0 && gpu.scenario.serial.is_none() {
            return Err(ErrorCode::NotSupported);
        }
        out_text(text, length as usize, &gpu.serial)
    }

    fn nvmlDeviceGetMinorNumber(device: nvmlDevice_t, number: *mut c_uint) |call| {
        out(number, call.gpu(device)?.minor)
    }

    fn nvmlDeviceGetBrand(device: nvmlDevice_t, brand: *mut nvmlBrandType_t) |call| {
        out(brand, call.device(device)?.gpu().model.brand as nvmlBrandType_t)
    }

    fn nvmlDeviceGetArchitecture(device: nvmlDevice_t, architecture: *mut nvmlDeviceArchitecture_t) |call| {
        out(architecture, call.device(device)?.gpu().model.architecture)
    }

    fn nvmlDeviceGetCudaComputeCapability(device: nvmlDevice_t, major: *mut c_int, minor: *mut c_int) |call| {
        let (first, second) = call.device(device)?.gpu().model.compute_capability;
        out(major, first)?;
        out(minor, second)
    }

    fn nvmlDeviceGetNumGpuCores(device: nvmlDevice_t, count: *mut c_uint) |call| {
        let model = call.whole_gpu(device)?.model;
        out(count, model.sms * model.cores_per_sm)
    }

    fn nvmlDeviceGetModuleId(device: nvmlDevice_t, number: *mut c_uint) |call| {
        out(number, call.gpu(device)?.index as c_uint)
    }

    fn nvmlDeviceGetBoardId(device: nvmlDevice_t, number: *mut c_uint) |call| {
        let (domain, bus, ..) = call.gpu(device)?.pci;
        out(number, domain << 16 | bus << 8)
    }

    fn nvmlDeviceGetMultiGpuBoard(device: nvmlDevice_t, is: *mut c_uint) |call| {
        call.gpu(device)?;
        out(is, 0)
    }

    fn nvmlDeviceOnSameBoard(one: nvmlDevice_t, other: nvmlDevice_t, are: *mut c_int) |call| {
        out(are, c_int::from(call.gpu(one)?.index == call.gpu(other)?.index))
    }

    fn nvmlDeviceGetNumaNodeId(device: nvmlDevice_t, node: *mut c_uint) |call| {
        out(node, call.gpu(device)?.numa_node)
    }

    fn nvmlDeviceGetMemoryAffinity(device: nvmlDevice_t, words: c_uint, set: *mut c_ulong, _scope: c_uint) |call| {
        let node = call.gpu(device)?.numa_node;
        for word in 0..words {
            let bits = if word == node / 64 { 1 << (node % 64) } else { 0 };
            out(set.wrapping_add(word as usize), bits)?;
        }
        Ok(())
    }

    fn nvmlDeviceGetPciInfo(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) |call| {
        out(info, pci_info(call.gpu(device)?)?)
    }

    fn nvmlDeviceGetPciInfo_v2(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) |call| {
        out(info, pci_info(call.gpu(device)?)?)
    }

    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) |call| {
        out(info, pci_info(call.gpu(device)?)?)
    }

    fn nvmlDeviceGetPciInfoExt(device: nvmlDevice_t, info: *mut nvmlPciInfoExt_t) |call| {
        version(info, &[1])?;
        let plain = pci_info(call.gpu(device)?)?;
        let mut filled = read(info)?;
        (filled.domain, filled.bus, filled.device) = (plain.domain, plain.bus, plain.device);
        (filled.pciDeviceId, filled.pciSubSystemId) = (plain.pciDeviceId, plain.pciSubSystemId);
        // PCI class 03: a display controller; 02: 3D.
        (filled.baseClass, filled.subClass, filled.busId) = (3, 2, plain.busId);
        out(info, filled)
    }

    fn nvmlDeviceGetBusType(device: nvmlDevice_t, kind: *mut nvmlBusType_t) |call| {
        call.gpu(device)?;
        // `NVML_BUS_TYPE_PCIE`.
        out(kind, 2)
    }

    fn nvmlDeviceGetVbiosVersion(device: nvmlDevice_t, text: *mut c_char, length: c_uint) |call| {
        call.gpu(device)?;
        out_text(text, length as usize, "96.00.89.00.01")
    }

    fn nvmlDeviceGetInforomImageVersion(device: nvmlDevice_t, text: *mut c_char, length: c_uint) |call| {
        call.gpu(device)?;
        out_text(text, length as usize, "G520.0200.00.05")
    }

    fn nvmlDeviceGetPersistenceMode(device: nvmlDevice_t, mode: *mut nvmlEnableState_t) |call| {
        out(mode, nvmlEnableState_t::from(call.gpu(device)?.scenario.persistence_mode))
    }

    fn nvmlDeviceGetDisplayMode(device: nvmlDevice_t, mode: *mut nvmlEnableState_t) |call| {
        call.gpu(device)?;
        out(mode, 0)
    }

    fn nvmlDeviceGetDisplayActive(device: nvmlDevice_t, active: *mut nvmlEnableState_t) |call| {
        call.gpu(device)?;
        out(active, 0)
    }

    fn nvmlDeviceGetComputeMode(device: nvmlDevice_t, mode: *mut nvmlComputeMode_t) |call| {
        out(mode, call.device(device)?.gpu().scenario.compute_mode as nvmlComputeMode_t)
    }

    fn nvmlDeviceGetVirtualizationMode(device: nvmlDevice_t, mode: *mut nvmlGpuVirtualizationMode_t) |call| {
        call.gpu(device)?;
        out(mode, 0)
    }

    fn nvmlDeviceGetHostVgpuMode(device: nvmlDevice_t, _mode: *mut nvmlHostVgpuMode_t) |call| {
        call.gpu(device)?;
        Err(ErrorCode::NotSupported)
    }

    fn nvmlDeviceGetGpuOperationMode(
        device: nvmlDevice_t,
        _current: *mut nvmlGpuOperationMode_t,
        _pending: *mut nvmlGpuOperationMode_t,
    ) |call| {
        call.gpu(device)?;
        Err(ErrorCode::NotSupported)
    }

    fn nvmlDeviceGetAddressingMode(device: nvmlDevice_t, mode: *mut nvmlDeviceAddressingMode_t) |call| {
        call.gpu(device)?;
        version(mode, &[1])?;
        let mut filled = read(mode)?;
        filled.value = 0;
        out(mode, filled)
    }

    fn nvmlDeviceGetDriverModel(
        device: nvmlDevice_t,
        _current: *mut nvmlDriverModel_t,
        _pending: *mut nvmlDriverModel_t,
    ) |call| {
        driver_model(call, device)
    }

    fn nvmlDeviceGetDriverModel_v2(
        device: nvmlDevice_t,
        _current: *mut nvmlDriverModel_t,
        _pending: *mut nvmlDriverModel_t,
    ) |call| {
        driver_model(call, device)
    }

    fn nvmlDeviceGetGridLicensableFeatures(device: nvmlDevice_t, features: *mut nvmlGridLicensableFeatures_t) |call| {
        licensable_features(call, device, features)
    }

    fn nvmlDeviceGetGridLicensableFeatures_v2(device: nvmlDevice_t, features: *mut nvmlGridLicensableFeatures_t) |call| {
        licensable_features(call, device, features)
    }

    fn nvmlDeviceGetGridLicensableFeatures_v3(device: nvmlDevice_t, features: *mut nvmlGridLicensableFeatures_t) |call| {
        licensable_features(call, device, features)
    }

    fn nvmlDeviceGetGridLicensableFeatures_v4(device: nvmlDevice_t, features: *mut nvmlGridLicensableFeatures_t) |call| {
        licensable_features(call, device, features)
    }

    fn nvmlDeviceGetAPIRestriction(
        device: nvmlDevice_t,
        _api: nvmlRestrictedAPI_t,
        restricted: *mut nvmlEnableState_t,
    ) |call| {
        call.gpu(device)?;
        out(restricted, 1)
    }
}
