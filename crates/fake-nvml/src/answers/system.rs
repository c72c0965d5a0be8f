//! Start, end, versions, counting.

use std::ffi::{c_char, c_int, c_uint};
use std::fs;

use nvml_wrapper_sys::bindings::{nvmlExcludedDeviceInfo_t, nvmlReturn_t, nvmlSystemDriverBranchInfo_t};

use super::entry_points;
use crate::call::{Answer, Call, answer, out, out_list, out_text, read, version};
use crate::driver;
use crate::machine;
use crate::scenario::ErrorCode;

/// NVML's API version, which stands before the driver version in the library's version.
const API_VERSION: u32 = 13;

/// `NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH`.
const INIT_FLAGS: c_uint = 3;

fn init(name: &'static str, flags: c_uint) -> nvmlReturn_t {
    answer(|| {
        if flags & !INIT_FLAGS != 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        let call = Call {
            name,
            machine: driver::load()?,
            now: machine::now(),
        };
        call.fault(None)?;
        driver::acquire();
        Ok(())
    })
}

// SAFETY: (this and the next three) the names are NVML's own; see `entry_points`.
#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> nvmlReturn_t {
    init("nvmlInit", 0)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    init("nvmlInit_v2", 0)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(flags: c_uint) -> nvmlReturn_t {
    init("nvmlInitWithFlags", flags)
}

// SAFETY: as above. Needs no `nvmlInit`.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        0 => c"Success",
        1 => c"Uninitialized",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        4 => c"Insufficient Permissions",
        5 => c"Already Initialized",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        8 => c"Insufficient External Power",
        9 => c"Driver Not Loaded",
        10 => c"Timeout",
        11 => c"Interrupt Request Issue",
        12 => c"NVML Shared Library Not Found",
        13 => c"Function Not Found",
        14 => c"Corrupted infoROM",
        15 => c"GPU is lost",
        16 => c"GPU requires reset",
        17 => c"GPU access blocked by the operating system",
        18 => c"Driver/library version mismatch",
        19 => c"In use by another client",
        20 => c"Insufficient Memory",
        21 => c"No data",
        22 => c"vGPU ECC is not supported",
        23 => c"Insufficient Resources",
        24 => c"Frequency not supported",
        25 => c"Argument version mismatch",
        26 => c"Deprecated",
        27 => c"Not ready",
        28 => c"GPU not found",
        29 => c"Invalid state",
        30 => c"Reset type not supported",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

/// The first pid that Linux cannot have.
const PID_LIMIT: u32 = 1 << 22;

/// The command line's first word, as NVML names a process.
fn process_name(pid: u32) -> Answer<String> {
    if pid == 0 || pid >= PID_LIMIT {
        return Err(ErrorCode::NotFound);
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).map_err(|_| ErrorCode::NotFound)?;
    let word = line.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(word).into_owned())
}

entry_points! {
    fn nvmlShutdown() |_| {
        driver::release()
    }

    fn nvmlSystemGetDriverVersion(text: *mut c_char, length: c_uint) |call| {
        out_text(text, length as usize, &call.machine.scenario.driver.version)
    }

    fn nvmlSystemGetNVMLVersion(text: *mut c_char, length: c_uint) |call| {
        out_text(text, length as usize, &format!("{API_VERSION}.{}", call.machine.scenario.driver.version))
    }

    fn nvmlSystemGetCudaDriverVersion(number: *mut c_int) |call| {
        out(number, call.machine.scenario.cuda_version().ok_or(ErrorCode::Unknown)?)
    }

    fn nvmlSystemGetCudaDriverVersion_v2(number: *mut c_int) |call| {
        out(number, call.machine.scenario.cuda_version().ok_or(ErrorCode::Unknown)?)
    }

    fn nvmlSystemGetDriverBranch(info: *mut nvmlSystemDriverBranchInfo_t, length: c_uint) |call| {
        version(info, &[1])?;
        let release = call.machine.scenario.driver.version.split('.').next().unwrap_or_default();
        let branch = format!("r{release}_00");
        let mut filled = read(info)?;
        let room = filled.branch.len().min(length as usize);
        out_text(filled.branch.as_mut_ptr(), room, &branch)?;
        out(info, filled)
    }

    fn nvmlSystemGetProcessName(pid: c_uint, text: *mut c_char, length: c_uint) |_| {
        let name = process_name(pid)?;
        let kept = name.floor_char_boundary((length as usize).saturating_sub(1));
        out_text(text, length as usize, name.get(..kept).unwrap_or_default())
    }

    fn nvmlDeviceGetCount(count: *mut c_uint) |call| {
        out(count, call.machine.gpus.len() as c_uint)
    }

    fn nvmlDeviceGetCount_v2(count: *mut c_uint) |call| {
        out(count, call.machine.gpus.len() as c_uint)
    }

    fn nvmlUnitGetCount(count: *mut c_uint) |_| {
        out(count, 0)
    }

    fn nvmlSystemGetHicVersion(count: *mut c_uint, entries: *mut nvml_wrapper_sys::bindings::nvmlHwbcEntry_t) |_| {
        out_list(entries, count, &[])
    }

    fn nvmlGetExcludedDeviceCount(count: *mut c_uint) |_| {
        out(count, 0)
    }

    fn nvmlGetExcludedDeviceInfoByIndex(_index: c_uint, _info: *mut nvmlExcludedDeviceInfo_t) |_| {
        Err(ErrorCode::InvalidArgument)
    }
}
