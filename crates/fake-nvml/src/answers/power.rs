//! Power, energy, temperature, fans.

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEnableState_t, nvmlFanSpeedInfo_t, nvmlMarginTemperature_t, nvmlPowerSource_t,
    nvmlTemperature_t, nvmlTemperatureSensors_t, nvmlTemperatureThresholds_t,
};

use super::entry_points;
use crate::call::{Answer, Call, out, read, version};
use crate::machine::{Gpu, Meter};
use crate::scenario::ErrorCode;

/// Milliwatts, as NVML counts power.
pub(super) fn milliwatts(watts: f64) -> c_uint {
    (watts * 1e3).round() as c_uint
}

pub(super) fn power(gpu: &Gpu, unix: f64) -> c_uint {
    milliwatts(gpu.gauges.power.at(gpu.seconds(unix)))
}

/// Millijoules since the driver was loaded.
pub(super) fn energy(gpu: &Gpu, unix: f64) -> Answer<c_ulonglong> {
    if !gpu.model.has_energy_counter {
        return Err(ErrorCode::NotSupported);
    }
    Ok((gpu.flows.total(Meter::Energy, unix) * 1e3) as c_ulonglong)
}

fn temperature(gpu: &Gpu, sensor: nvmlTemperatureSensors_t, unix: f64) -> Answer<c_uint> {
    // `NVML_TEMPERATURE_GPU` is the only sensor.
    if sensor != 0 {
        return Err(ErrorCode::InvalidArgument);
    }
    Ok(gpu.gauges.temperature.at(gpu.seconds(unix)).round() as c_uint)
}

fn fan_speed(call: &Call, device: nvmlDevice_t, fan: c_uint) -> Answer<c_uint> {
    let gpu = call.gpu(device)?;
    if gpu.model.fans == 0 {
        return Err(ErrorCode::NotSupported);
    }
    if fan >= gpu.model.fans {
        return Err(ErrorCode::InvalidArgument);
    }
    let speed = gpu
        .scenario
        .readings
        .fan_percent
        .as_ref()
        .map_or(30.0, |fan| fan.at(gpu.seconds(call.now)));
    Ok(speed.round() as c_uint)
}

entry_points! {
    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, usage: *mut c_uint) |call| {
        out(usage, power(call.gpu(device)?, call.now))
    }

    fn nvmlDeviceGetPowerManagementMode(device: nvmlDevice_t, mode: *mut nvmlEnableState_t) |call| {
        call.gpu(device)?;
        out(mode, 1)
    }

    fn nvmlDeviceGetPowerManagementLimit(device: nvmlDevice_t, limit: *mut c_uint) |call| {
        out(limit, milliwatts(call.gpu(device)?.power_limit))
    }

    fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, limit: *mut c_uint) |call| {
        out(limit, milliwatts(call.gpu(device)?.power_limit))
    }

    fn nvmlDeviceGetPowerManagementDefaultLimit(device: nvmlDevice_t, limit: *mut c_uint) |call| {
        out(limit, milliwatts(call.gpu(device)?.model.power_limits.1))
    }

    fn nvmlDeviceGetPowerManagementLimitConstraints(
        device: nvmlDevice_t,
        least: *mut c_uint,
        greatest: *mut c_uint,
    ) |call| {
        let limits = call.gpu(device)?.model.power_limits;
        out(least, milliwatts(limits.0))?;
        out(greatest, milliwatts(limits.2))
    }

    fn nvmlDeviceGetPowerSource(device: nvmlDevice_t, source: *mut nvmlPowerSource_t) |call| {
        call.gpu(device)?;
        out(source, 0)
    }

    fn nvmlDeviceGetTotalEnergyConsumption(device: nvmlDevice_t, total: *mut c_ulonglong) |call| {
        out(total, energy(call.gpu(device)?, call.now)?)
    }

    fn nvmlDeviceGetTemperature(
        device: nvmlDevice_t,
        sensor: nvmlTemperatureSensors_t,
        celsius: *mut c_uint,
    ) |call| {
        out(celsius, temperature(call.gpu(device)?, sensor, call.now)?)
    }

    fn nvmlDeviceGetTemperatureV(device: nvmlDevice_t, info: *mut nvmlTemperature_t) |call| {
        let gpu = call.gpu(device)?;
        version(info, &[1])?;
        let mut filled = read(info)?;
        filled.temperature = temperature(gpu, filled.sensorType, call.now)? as c_int;
        out(info, filled)
    }

    fn nvmlDeviceGetTemperatureThreshold(
        device: nvmlDevice_t,
        kind: nvmlTemperatureThresholds_t,
        celsius: *mut c_uint,
    ) |call| {
        let model = call.gpu(device)?.model;
        let (gpu_max, memory_max, slowdown, shutdown) = model.temperature_limits;
        // `NVML_TEMPERATURE_THRESHOLD_…`: SHUTDOWN, SLOWDOWN, MEM_MAX, GPU_MAX; the rest is of
        // boards with an acoustic limit.
        out(celsius, match kind {
            0 => shutdown,
            1 => slowdown,
            2 if model.memory_temperature => memory_max,
            3 => gpu_max,
            2 | 4..8 => return Err(ErrorCode::NotSupported),
            _ => return Err(ErrorCode::InvalidArgument),
        })
    }

    fn nvmlDeviceGetMarginTemperature(device: nvmlDevice_t, info: *mut nvmlMarginTemperature_t) |call| {
        let gpu = call.gpu(device)?;
        version(info, &[1])?;
        let mut filled = read(info)?;
        let now = temperature(gpu, 0, call.now)? as c_int;
        filled.marginTemperature = gpu.model.temperature_limits.2 as c_int - now;
        out(info, filled)
    }

    fn nvmlDeviceGetNumFans(device: nvmlDevice_t, count: *mut c_uint) |call| {
        out(count, call.gpu(device)?.model.fans)
    }

    fn nvmlDeviceGetFanSpeed(device: nvmlDevice_t, percent: *mut c_uint) |call| {
        out(percent, fan_speed(call, device, 0)?)
    }

    fn nvmlDeviceGetFanSpeed_v2(device: nvmlDevice_t, fan: c_uint, percent: *mut c_uint) |call| {
        out(percent, fan_speed(call, device, fan)?)
    }

    fn nvmlDeviceGetTargetFanSpeed(device: nvmlDevice_t, fan: c_uint, percent: *mut c_uint) |call| {
        out(percent, fan_speed(call, device, fan)?)
    }

    fn nvmlDeviceGetFanSpeedRPM(device: nvmlDevice_t, info: *mut nvmlFanSpeedInfo_t) |call| {
        call.gpu(device)?;
        version(info, &[1])?;
        let mut filled = read(info)?;
        // Fans of these boards turn 30 times a minute for each percent.
        filled.speed = fan_speed(call, device, filled.fan)? * 30;
        out(info, filled)
    }
}
