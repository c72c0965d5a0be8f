//! Field values: many readings by number in one call, each with a code of its own.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings::{field_id, nvmlDevice_t, nvmlFieldValue_t, nvmlValue_t};

use super::clocks::violation_nanoseconds;
use super::ecc::{errors, remapping};
use super::entry_points;
use super::power::{energy, milliwatts, power};
use crate::call::{Answer, Call, out, read};
use crate::clock::{micros, unix_now};
use crate::machine::{Gpu, Meter};
use crate::scenario::ErrorCode;

/// The most fields of one call.
const MOST_FIELDS: c_int = 1024;

/// `NVML_MODULE_SCOPE…`: the scope of power fields.
const SCOPE_GPU: c_uint = 0;

/// The driver from which the numbers of the thermal and power-brake reasons are 269-271 and not 251-253.
const RENUMBERED: (u32, u32) = (580, 82);

/// A value with its NVML type.
enum Value {
    Unsigned(c_uint),
    Long(u64),
}

/// Which reason's time a field tells: their numbers moved with driver 580.82.
fn reason_meter(call: &Call, id: c_uint) -> Option<Meter> {
    let mut version = call
        .machine
        .scenario
        .driver
        .version
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    let first = if version >= RENUMBERED { 269 } else { 251 };
    match id.checked_sub(first)? {
        0 => Some(Meter::SoftwareThermal),
        1 => Some(Meter::HardwareThermal),
        2 => Some(Meter::PowerBrake),
        _ => None,
    }
}

/// The NVLink traffic that a field counts, in bytes: of the link `scope`, or of all for `u32::MAX`.
fn nvlink(gpu: &Gpu, meter: Meter, scope: c_uint, unix: f64) -> Answer<f64> {
    if gpu.nvlinks == 0 {
        return Err(ErrorCode::NotSupported);
    }
    let all = gpu.flows.total(meter, unix);
    match scope {
        c_uint::MAX => Ok(all),
        link if link < gpu.nvlinks => Ok(all / f64::from(gpu.nvlinks)),
        _ => Err(ErrorCode::InvalidArgument),
    }
}

/// NVLink throughput in KiB, which links before version 5 count (NVML's version number 7).
fn nvlink_kib(gpu: &Gpu, meter: Meter, scope: c_uint, unix: f64) -> Answer<Value> {
    if gpu.model.nvlink_version >= 7 {
        return Err(ErrorCode::NotSupported);
    }
    Ok(Value::Long((nvlink(gpu, meter, scope, unix)? / 1024.0) as u64))
}

/// NVLink traffic in units of `size` bytes, which links from version 5 on count.
fn nvlink_count(gpu: &Gpu, meter: Meter, scope: c_uint, unix: f64, size: f64) -> Answer<Value> {
    if gpu.model.nvlink_version < 7 {
        return Err(ErrorCode::NotSupported);
    }
    Ok(Value::Long((nvlink(gpu, meter, scope, unix)? / size) as u64))
}

/// Power of the board: of the GPU alone the driver knows nothing else.
fn board_power(gpu: &Gpu, scope: c_uint, unix: f64) -> Answer<Value> {
    if scope == SCOPE_GPU {
        Ok(Value::Unsigned(power(gpu, unix)))
    } else {
        Err(ErrorCode::NotSupported)
    }
}

fn value(call: &Call, gpu: &Gpu, id: c_uint, scope: c_uint) -> Answer<Value> {
    let now = call.now;
    if let Some(meter) = reason_meter(call, id) {
        return Ok(Value::Long(violation_nanoseconds(gpu, meter, now)));
    }
    let ecc = &gpu.scenario.ecc;
    let (least, default, greatest) = gpu.model.power_limits;
    let (gpu_max, memory_max, slowdown, shutdown) = gpu.model.temperature_limits;
    let margin = |limit: u32| Ok(Value::Unsigned(limit.saturating_sub(gpu_max)));
    let remapped = |rows: u32| remapping(gpu).map(|()| Value::Unsigned(rows));
    match id {
        field_id::NVML_FI_DEV_ECC_CURRENT | field_id::NVML_FI_DEV_ECC_PENDING if gpu.model.ecc => {
            Ok(Value::Unsigned(c_uint::from(gpu.ecc_enabled())))
        }
        field_id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL => errors(gpu, 0, 0).map(Value::Long),
        field_id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL => errors(gpu, 1, 0).map(Value::Long),
        field_id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL => errors(gpu, 0, 1).map(Value::Long),
        field_id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL => errors(gpu, 1, 1).map(Value::Long),
        field_id::NVML_FI_DEV_PERF_POLICY_POWER => {
            Ok(Value::Long(violation_nanoseconds(gpu, Meter::PowerCap, now)))
        }
        field_id::NVML_FI_DEV_PERF_POLICY_THERMAL => Ok(Value::Long(
            violation_nanoseconds(gpu, Meter::SoftwareThermal, now)
                + violation_nanoseconds(gpu, Meter::HardwareThermal, now),
        )),
        field_id::NVML_FI_DEV_PERF_POLICY_SYNC_BOOST => {
            Ok(Value::Long(violation_nanoseconds(gpu, Meter::SyncBoost, now)))
        }
        field_id::NVML_FI_DEV_MEMORY_TEMP if gpu.model.memory_temperature => Ok(Value::Unsigned(
            gpu.gauges.memory_temperature.at(gpu.seconds(now)).round() as c_uint,
        )),
        field_id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION | field_id::NVML_FI_DEV_ENERGY => {
            energy(gpu, now).map(Value::Long)
        }
        field_id::NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON | field_id::NVML_FI_DEV_NVLINK_GET_SPEED
            if gpu.nvlinks > 0 =>
        {
            Ok(Value::Unsigned(gpu.model.nvlink_mbps))
        }
        field_id::NVML_FI_DEV_NVLINK_LINK_COUNT | field_id::NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT => {
            Ok(Value::Unsigned(gpu.nvlinks))
        }
        field_id::NVML_FI_DEV_NVLINK_GET_STATE if scope < gpu.nvlinks => Ok(Value::Unsigned(1)),
        field_id::NVML_FI_DEV_NVLINK_GET_VERSION if scope < gpu.nvlinks => {
            Ok(Value::Unsigned(gpu.model.nvlink_version))
        }
        field_id::NVML_FI_DEV_PCIE_REPLAY_COUNTER | field_id::NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER => {
            Ok(Value::Unsigned(0))
        }
        field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX | field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_TX => {
            nvlink_kib(gpu, Meter::NvlinkTx, scope, now)
        }
        field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX | field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_RX => {
            nvlink_kib(gpu, Meter::NvlinkRx, scope, now)
        }
        // Packets of the largest size, 256 bytes.
        field_id::NVML_FI_DEV_NVLINK_COUNT_XMIT_PACKETS => {
            nvlink_count(gpu, Meter::NvlinkTx, scope, now, 256.0)
        }
        field_id::NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES => nvlink_count(gpu, Meter::NvlinkTx, scope, now, 1.0),
        field_id::NVML_FI_DEV_NVLINK_COUNT_RCV_PACKETS => {
            nvlink_count(gpu, Meter::NvlinkRx, scope, now, 256.0)
        }
        field_id::NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES => nvlink_count(gpu, Meter::NvlinkRx, scope, now, 1.0),
        field_id::NVML_FI_DEV_REMAPPED_COR => remapped(ecc.remapped_rows_corrected),
        field_id::NVML_FI_DEV_REMAPPED_UNC => remapped(ecc.remapped_rows_uncorrected),
        field_id::NVML_FI_DEV_REMAPPED_PENDING => remapped(c_uint::from(ecc.remap_pending)),
        field_id::NVML_FI_DEV_REMAPPED_FAILURE => remapped(c_uint::from(ecc.remap_failed)),
        field_id::NVML_FI_DEV_POWER_AVERAGE | field_id::NVML_FI_DEV_POWER_INSTANT => {
            board_power(gpu, scope, now)
        }
        field_id::NVML_FI_DEV_POWER_MIN_LIMIT => Ok(Value::Unsigned(milliwatts(least))),
        field_id::NVML_FI_DEV_POWER_MAX_LIMIT => Ok(Value::Unsigned(milliwatts(greatest))),
        field_id::NVML_FI_DEV_POWER_DEFAULT_LIMIT => Ok(Value::Unsigned(milliwatts(default))),
        field_id::NVML_FI_DEV_POWER_CURRENT_LIMIT | field_id::NVML_FI_DEV_POWER_REQUESTED_LIMIT => {
            Ok(Value::Unsigned(milliwatts(gpu.power_limit)))
        }
        field_id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT => margin(shutdown),
        field_id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT => margin(slowdown),
        field_id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT => margin(memory_max),
        field_id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT => margin(gpu_max),
        // Counted since Hopper.
        field_id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES if gpu.model.has_gpm() => {
            Ok(Value::Long(gpu.flows.total(Meter::PcieTx, now) as u64))
        }
        field_id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES if gpu.model.has_gpm() => {
            Ok(Value::Long(gpu.flows.total(Meter::PcieRx, now) as u64))
        }
        // `NVML_GPU_RECOVERY_ACTION_NONE`.
        field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => Ok(Value::Unsigned(0)),
        _ => Err(ErrorCode::NotSupported),
    }
}

entry_points! {
    fn nvmlDeviceGetFieldValues(device: nvmlDevice_t, count: c_int, values: *mut nvmlFieldValue_t) |call| {
        let gpu = call.gpu(device)?;
        if !(1..=MOST_FIELDS).contains(&count) {
            return Err(ErrorCode::InvalidArgument);
        }
        for index in 0..count.unsigned_abs() as usize {
            let place = values.wrapping_add(index);
            let mut field = read(place)?;
            let answer = call
                .field_fault(gpu, field.fieldId)
                .and_then(|()| value(call, gpu, field.fieldId, field.scopeId));
            field.timestamp = micros(call.now).cast_signed();
            field.latencyUsec = ((unix_now() - call.now) * 1e6) as i64;
            field.value = nvmlValue_t { ullVal: 0 };
            // `NVML_VALUE_TYPE_UNSIGNED_INT`, `…_UNSIGNED_LONG_LONG`.
            (field.valueType, field.nvmlReturn) = match answer {
                Ok(Value::Unsigned(number)) => {
                    field.value.uiVal = number;
                    (1, 0)
                }
                Ok(Value::Long(number)) => {
                    field.value.ullVal = number;
                    (3, 0)
                }
                Err(error) => (1, error.code()),
            };
            out(place, field)?;
        }
        Ok(())
    }
}
