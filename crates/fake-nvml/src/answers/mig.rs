//! MIG: modes, instances, profiles, and the MIG devices that stand for compute instances.

use std::ffi::{c_char, c_uint};

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlComputeInstanceInfo_t, nvmlComputeInstancePlacement_t, nvmlDevice_t,
    nvmlDeviceAttributes_t, nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t,
    nvmlGpuInstanceProfileInfo_t, nvmlGpuInstanceProfileInfo_v2_t,
};

use super::entry_points;
use crate::call::{Answer, Call, Device, out, out_list, out_text, read, version};
use crate::handle::{self, Handle};
use crate::machine::{Gpu, Instance, Partition};
use crate::scenario::{ErrorCode, Profile, profiles};

/// The GPU of a handle, if it can do MIG.
fn capable(call: &Call, device: nvmlDevice_t) -> Answer<&Gpu> {
    let gpu = call.gpu(device)?;
    if gpu.model.mig_slices == 0 {
        Err(ErrorCode::NotSupported)
    } else {
        Ok(gpu)
    }
}

/// The GPU of a handle, if MIG is on.
fn enabled(call: &Call, device: nvmlDevice_t) -> Answer<&Gpu> {
    let gpu = call.gpu(device)?;
    if gpu.mig_enabled {
        Ok(gpu)
    } else {
        Err(ErrorCode::NotSupported)
    }
}

fn known_profiles(gpu: &Gpu) -> Vec<Profile> {
    profiles(gpu.model, gpu.memory_total >> 20)
}

fn profile_by_id(gpu: &Gpu, id: c_uint) -> Answer<Profile> {
    known_profiles(gpu)
        .into_iter()
        .find(|profile| profile.id == id)
        .ok_or(ErrorCode::InvalidArgument)
}

/// Profiles are asked for by a running number; that of none on this model is not supported.
fn profile_by_number(gpu: &Gpu, number: c_uint) -> Answer<Profile> {
    if number >= MOST_PROFILES {
        return Err(ErrorCode::InvalidArgument);
    }
    known_profiles(gpu)
        .into_iter()
        .find(|profile| profile.number == number)
        .ok_or(ErrorCode::NotSupported)
}

/// `NVML_GPU_INSTANCE_PROFILE_COUNT`.
const MOST_PROFILES: c_uint = 0x13;

fn profile_info(gpu: &Gpu, profile: &Profile) -> nvmlGpuInstanceProfileInfo_t {
    nvmlGpuInstanceProfileInfo_t {
        id: profile.id,
        isP2pSupported: c_uint::from(profile.slices == gpu.model.mig_slices),
        sliceCount: profile.slices,
        instanceCount: profile.placements.len() as c_uint,
        multiprocessorCount: profile.sms,
        copyEngineCount: profile.memory_slices,
        decoderCount: profile.decoders,
        encoderCount: 0,
        jpegCount: c_uint::from(profile.media),
        ofaCount: c_uint::from(profile.media),
        memorySizeMB: profile.memory_mib,
    }
}

fn out_profile_v2(gpu: &Gpu, profile: &Profile, place: *mut nvmlGpuInstanceProfileInfo_v2_t) -> Answer {
    version(place, &[2])?;
    let plain = profile_info(gpu, profile);
    let mut filled = read(place)?;
    filled.id = plain.id;
    filled.isP2pSupported = plain.isP2pSupported;
    filled.sliceCount = plain.sliceCount;
    filled.instanceCount = plain.instanceCount;
    filled.multiprocessorCount = plain.multiprocessorCount;
    filled.copyEngineCount = plain.copyEngineCount;
    filled.decoderCount = plain.decoderCount;
    filled.encoderCount = plain.encoderCount;
    filled.jpegCount = plain.jpegCount;
    filled.ofaCount = plain.ofaCount;
    filled.memorySizeMB = plain.memorySizeMB;
    let name: *mut c_char = filled.name.as_mut_ptr();
    out_text(name, filled.name.len(), &format!("MIG {}", profile.name))?;
    out(place, filled)
}

fn places(gpu: &Gpu, id: c_uint, count: *mut c_uint, list: *mut nvmlGpuInstancePlacement_t) -> Answer {
    let profile = profile_by_id(gpu, id)?;
    let size = profile.memory_slices;
    let all: Vec<_> = profile
        .placements
        .iter()
        .map(|start| nvmlGpuInstancePlacement_t { start: *start, size })
        .collect();
    if list.is_null() {
        return out(count, all.len() as c_uint);
    }
    out_list(list, count, &all)
}

fn instance_handle(gpu: &Gpu, instance: &Instance) -> Answer<nvmlGpuInstance_t> {
    let parts = instance.partitions.iter().map(|part| part.uuid.clone()).collect();
    handle::give(Handle::GpuInstance(gpu.uuid.clone(), instance.id, parts))
}

/// The GPU instance of a handle: refused when it has been destroyed since.
fn instance(call: &Call, handle: nvmlGpuInstance_t) -> Answer<(&Gpu, &Instance)> {
    let Handle::GpuInstance(uuid, id, parts) = handle::meaning(handle)? else {
        return Err(ErrorCode::InvalidArgument);
    };
    let gpu = call
        .machine
        .gpus
        .iter()
        .find(|gpu| gpu.uuid == uuid)
        .ok_or(ErrorCode::GpuIsLost)?;
    call.fault(Some(gpu.index))?;
    let instance = gpu.instance(id).ok_or(ErrorCode::InvalidArgument)?;
    if instance.partitions.iter().map(|part| &part.uuid).eq(&parts) {
        Ok((gpu, instance))
    } else {
        Err(ErrorCode::InvalidArgument)
    }
}

/// Whether a compute instance has the profile number `id`: those are 0 for one slice, 1 for two and so on;
/// that of the whole GPU instance comes last.
fn compute_profile(part: &Partition) -> c_uint {
    match part.slices {
        7 => 4,
        slices => slices.saturating_sub(1),
    }
}

fn compute_info(call: &Call, handle: nvmlComputeInstance_t, place: *mut nvmlComputeInstanceInfo_t) -> Answer {
    let Handle::ComputeInstance(uuid) = handle::meaning(handle)? else {
        return Err(ErrorCode::InvalidArgument);
    };
    let (gpu, instance, part) = call.machine.partition(&uuid).ok_or(ErrorCode::InvalidArgument)?;
    call.fault(Some(gpu.index))?;
    out(
        place,
        nvmlComputeInstanceInfo_t {
            device: handle::give(Handle::Gpu(gpu.uuid.clone()))?,
            gpuInstance: instance_handle(gpu, instance)?,
            id: part.id,
            profileId: compute_profile(part),
            placement: nvmlComputeInstancePlacement_t {
                start: part.start,
                size: part.slices,
            },
        },
    )
}

/// Attributes of a MIG device; a whole GPU has none.
fn attributes(call: &Call, device: nvmlDevice_t, place: *mut nvmlDeviceAttributes_t) -> Answer {
    let Device::Partition(_, instance, part) = call.device(device)? else {
        return Err(ErrorCode::NotSupported);
    };
    let profile = &instance.profile;
    out(
        place,
        nvmlDeviceAttributes_t {
            multiprocessorCount: profile.sms * part.slices / profile.slices.max(1),
            sharedCopyEngineCount: profile.memory_slices,
            sharedDecoderCount: profile.decoders,
            sharedEncoderCount: 0,
            sharedJpegCount: c_uint::from(profile.media),
            sharedOfaCount: c_uint::from(profile.media),
            gpuInstanceSliceCount: profile.slices,
            computeInstanceSliceCount: part.slices,
            memorySizeMB: profile.memory_mib,
        },
    )
}

entry_points! {
    fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) |call| {
        let gpu = capable(call, device)?;
        out(current, c_uint::from(gpu.mig_enabled))?;
        out(pending, c_uint::from(gpu.mig_enabled))
    }

    fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is: *mut c_uint) |call| {
        out(is, c_uint::from(matches!(call.device(device)?, Device::Partition(..))))
    }

    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) |call| {
        let gpu = call.gpu(device)?;
        out(count, if gpu.mig_enabled { gpu.model.mig_slices } else { 0 })
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, mig: *mut nvmlDevice_t) |call| {
        let gpu = enabled(call, device)?;
        if index >= gpu.model.mig_slices {
            return Err(ErrorCode::InvalidArgument);
        }
        let (_, part) = gpu.partitions().find(|(_, part)| part.index == index as usize).ok_or(ErrorCode::NotFound)?;
        out(mig, handle::give(Handle::Partition(part.uuid.clone()))?)
    }

    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig: nvmlDevice_t, device: *mut nvmlDevice_t) |call| {
        let Device::Partition(gpu, ..) = call.device(mig)? else { return Err(ErrorCode::InvalidArgument) };
        out(device, handle::give(Handle::Gpu(gpu.uuid.clone()))?)
    }

    fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, id: *mut c_uint) |call| {
        let Device::Partition(_, instance, _) = call.device(device)? else { return Err(ErrorCode::NotSupported) };
        out(id, instance.id)
    }

    fn nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, id: *mut c_uint) |call| {
        let Device::Partition(_, _, part) = call.device(device)? else { return Err(ErrorCode::NotSupported) };
        out(id, part.id)
    }

    fn nvmlDeviceGetAttributes(device: nvmlDevice_t, attributes_: *mut nvmlDeviceAttributes_t) |call| {
        attributes(call, device, attributes_)
    }

    fn nvmlDeviceGetAttributes_v2(device: nvmlDevice_t, attributes_: *mut nvmlDeviceAttributes_t) |call| {
        attributes(call, device, attributes_)
    }

    fn nvmlDeviceGetGpuInstanceProfileInfo(
        device: nvmlDevice_t,
        number: c_uint,
        info: *mut nvmlGpuInstanceProfileInfo_t,
    ) |call| {
        let gpu = capable(call, device)?;
        out(info, profile_info(gpu, &profile_by_number(gpu, number)?))
    }

    fn nvmlDeviceGetGpuInstanceProfileInfoV(
        device: nvmlDevice_t,
        number: c_uint,
        info: *mut nvmlGpuInstanceProfileInfo_v2_t,
    ) |call| {
        let gpu = capable(call, device)?;
        out_profile_v2(gpu, &profile_by_number(gpu, number)?, info)
    }

    fn nvmlDeviceGetGpuInstanceProfileInfoByIdV(
        device: nvmlDevice_t,
        id: c_uint,
        info: *mut nvmlGpuInstanceProfileInfo_v2_t,
    ) |call| {
        let gpu = capable(call, device)?;
        out_profile_v2(gpu, &profile_by_id(gpu, id)?, info)
    }

    fn nvmlDeviceGetGpuInstancePossiblePlacements(
        device: nvmlDevice_t,
        id: c_uint,
        list: *mut nvmlGpuInstancePlacement_t,
        count: *mut c_uint,
    ) |call| {
        places(capable(call, device)?, id, count, list)
    }

    fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
        device: nvmlDevice_t,
        id: c_uint,
        list: *mut nvmlGpuInstancePlacement_t,
        count: *mut c_uint,
    ) |call| {
        places(capable(call, device)?, id, count, list)
    }

    fn nvmlDeviceGetGpuInstanceRemainingCapacity(device: nvmlDevice_t, id: c_uint, count: *mut c_uint) |call| {
        let gpu = enabled(call, device)?;
        let profile = profile_by_id(gpu, id)?;
        let used: u32 = gpu.instances.iter().map(|instance| instance.profile.slices).sum();
        let free = profile.placements.iter().filter(|start| {
            gpu.instances.iter().all(|other| {
                let end = other.placement_start + other.profile.memory_slices;
                **start + profile.memory_slices <= other.placement_start || end <= **start
            })
        });
        out(count, (free.count() as c_uint).min((gpu.model.mig_slices - used) / profile.slices))
    }

    fn nvmlDeviceGetGpuInstances(
        device: nvmlDevice_t,
        id: c_uint,
        list: *mut nvmlGpuInstance_t,
        count: *mut c_uint,
    ) |call| {
        let gpu = enabled(call, device)?;
        profile_by_id(gpu, id)?;
        // The caller's list has room for every instance of the profile.
        let mut written = 0;
        for instance in gpu.instances.iter().filter(|instance| instance.profile.id == id) {
            out(list.wrapping_add(written), instance_handle(gpu, instance)?)?;
            written += 1;
        }
        out(count, written as c_uint)
    }

    fn nvmlDeviceGetGpuInstanceById(device: nvmlDevice_t, id: c_uint, place: *mut nvmlGpuInstance_t) |call| {
        let gpu = enabled(call, device)?;
        out(place, instance_handle(gpu, gpu.instance(id).ok_or(ErrorCode::NotFound)?)?)
    }

    fn nvmlGpuInstanceGetInfo(handle_: nvmlGpuInstance_t, info: *mut nvmlGpuInstanceInfo_t) |call| {
        let (gpu, instance) = instance(call, handle_)?;
        out(info, nvmlGpuInstanceInfo_t {
            device: handle::give(Handle::Gpu(gpu.uuid.clone()))?,
            id: instance.id,
            profileId: instance.profile.id,
            placement: nvmlGpuInstancePlacement_t {
                start: instance.placement_start,
                size: instance.profile.memory_slices,
            },
        })
    }

    fn nvmlGpuInstanceGetComputeInstances(
        handle_: nvmlGpuInstance_t,
        profile: c_uint,
        list: *mut nvmlComputeInstance_t,
        count: *mut c_uint,
    ) |call| {
        let (_, instance) = instance(call, handle_)?;
        let mut written = 0;
        for part in instance.partitions.iter().filter(|part| compute_profile(part) == profile) {
            let handle = handle::give(Handle::ComputeInstance(part.uuid.clone()))?;
            out(list.wrapping_add(written), handle)?;
            written += 1;
        }
        out(count, written as c_uint)
    }

    fn nvmlGpuInstanceGetComputeInstanceById(
        handle_: nvmlGpuInstance_t,
        id: c_uint,
        place: *mut nvmlComputeInstance_t,
    ) |call| {
        let (_, instance) = instance(call, handle_)?;
        let part = instance.partitions.iter().find(|part| part.id == id).ok_or(ErrorCode::NotFound)?;
        out(place, handle::give(Handle::ComputeInstance(part.uuid.clone()))?)
    }

    fn nvmlComputeInstanceGetInfo(handle_: nvmlComputeInstance_t, info: *mut nvmlComputeInstanceInfo_t) |call| {
        compute_info(call, handle_, info)
    }

    fn nvmlComputeInstanceGetInfo_v2(handle_: nvmlComputeInstance_t, info: *mut nvmlComputeInstanceInfo_t) |call| {
        compute_info(call, handle_, info)
    }
}
