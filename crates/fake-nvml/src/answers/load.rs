//! Utilisation: at the moment, in the driver's sample buffers, and of each process.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEncoderSessionInfo_t, nvmlEncoderType_t, nvmlFBCSessionInfo_t, nvmlFBCStats_t,
    nvmlProcessUtilizationInfo_v1_t, nvmlProcessUtilizationSample_t, nvmlProcessesUtilizationInfo_t,
    nvmlSample_t, nvmlSamplingType_t, nvmlUtilization_t, nvmlValue_t, nvmlValueType_t,
};

use super::entry_points;
use crate::call::{Answer, Call, out, out_list, read, version};
use crate::clock::micros;
use crate::machine::{Gpu, Sampled};
use crate::scenario::ErrorCode;

/// How long the driver watches for one utilisation sample, in microseconds: 1/6 s.
const UTILIZATION_PERIOD: u64 = 166_667;
/// The same for power and clocks: 20 ms.
const POWER_PERIOD: u64 = 20_000;
/// How many samples of a kind the driver keeps.
const KEPT_SAMPLES: u64 = 120;

/// `NVML_VALUE_TYPE_UNSIGNED_INT`, which all samples have.
const UNSIGNED_INT: nvmlValueType_t = 1;

fn percent(gpu: &Gpu, what: Sampled, unix: f64) -> c_uint {
    gpu.sampled(what, unix).round() as c_uint
}

fn engine(
    call: &Call,
    device: nvmlDevice_t,
    what: Sampled,
    busy: *mut c_uint,
    period: *mut c_uint,
) -> Answer {
    let gpu = call.whole_gpu(device)?;
    out(busy, percent(gpu, what, call.now))?;
    out(period, UTILIZATION_PERIOD as c_uint)
}

/// What a sampling type samples, every how many microseconds.
fn sampled(kind: nvmlSamplingType_t) -> Answer<(Sampled, u64)> {
    match kind {
        0 => Ok((Sampled::Power, POWER_PERIOD)),
        1 => Ok((Sampled::Utilization, UTILIZATION_PERIOD)),
        2 => Ok((Sampled::MemoryUtilization, UTILIZATION_PERIOD)),
        3 => Ok((Sampled::Encoder, UTILIZATION_PERIOD)),
        4 => Ok((Sampled::Decoder, UTILIZATION_PERIOD)),
        5 => Ok((Sampled::SmClock, POWER_PERIOD)),
        6 => Ok((Sampled::MemoryClock, POWER_PERIOD)),
        8 => Ok((Sampled::Jpeg, UTILIZATION_PERIOD)),
        9 => Ok((Sampled::OpticalFlow, UTILIZATION_PERIOD)),
        // Module power is that of Grace Hopper boards.
        7 => Err(ErrorCode::NotSupported),
        _ => Err(ErrorCode::InvalidArgument),
    }
}

/// The samples since `last_seen` (microseconds), oldest first.
fn samples(gpu: &Gpu, kind: nvmlSamplingType_t, last_seen: u64, now: f64) -> Answer<Vec<nvmlSample_t>> {
    let (what, period) = sampled(kind)?;
    let scale = if what == Sampled::Power { 1e3 } else { 1.0 };
    let newest = micros(now) / period;
    let oldest = (newest.saturating_sub(KEPT_SAMPLES - 1)).max(last_seen / period);
    let all = (oldest..=newest)
        .map(|tick| tick * period)
        .filter(|stamp| *stamp > last_seen)
        .map(|stamp| {
            let value = (gpu.sampled(what, stamp as f64 / 1e6) * scale).round() as c_uint;
            let mut sample = nvmlSample_t {
                timeStamp: stamp,
                sampleValue: nvmlValue_t { ullVal: 0 },
            };
            sample.sampleValue.uiVal = value;
            sample
        });
    Ok(all.collect())
}

/// Processes that were active in the last sample period, if it ended after `last_seen`.
fn active(gpu: &Gpu, last_seen: u64, now: f64) -> Answer<Vec<nvmlProcessUtilizationSample_t>> {
    let stamp = micros(now) / UTILIZATION_PERIOD * UTILIZATION_PERIOD;
    let t = gpu.seconds(stamp as f64 / 1e6);
    let all = gpu
        .scenario
        .processes
        .iter()
        .map(|process| nvmlProcessUtilizationSample_t {
            pid: process.pid,
            timeStamp: stamp,
            smUtil: process.sm_percent.at(t).round() as c_uint,
            memUtil: process.memory_percent.at(t).round() as c_uint,
            encUtil: process.encoder_percent.at(t).round() as c_uint,
            decUtil: process.decoder_percent.at(t).round() as c_uint,
        });
    let busy: Vec<_> = all
        .filter(|one| one.smUtil + one.memUtil + one.encUtil + one.decUtil > 0)
        .collect();
    if busy.is_empty() || stamp <= last_seen {
        Err(ErrorCode::NotFound)
    } else {
        Ok(busy)
    }
}

entry_points! {
    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, rates: *mut nvmlUtilization_t) |call| {
        let gpu = call.whole_gpu(device)?;
        out(rates, nvmlUtilization_t {
            gpu: percent(gpu, Sampled::Utilization, call.now),
            memory: percent(gpu, Sampled::MemoryUtilization, call.now),
        })
    }

    fn nvmlDeviceGetEncoderUtilization(device: nvmlDevice_t, busy: *mut c_uint, period: *mut c_uint) |call| {
        engine(call, device, Sampled::Encoder, busy, period)
    }

    fn nvmlDeviceGetDecoderUtilization(device: nvmlDevice_t, busy: *mut c_uint, period: *mut c_uint) |call| {
        engine(call, device, Sampled::Decoder, busy, period)
    }

    fn nvmlDeviceGetJpgUtilization(device: nvmlDevice_t, busy: *mut c_uint, period: *mut c_uint) |call| {
        engine(call, device, Sampled::Jpeg, busy, period)
    }

    fn nvmlDeviceGetOfaUtilization(device: nvmlDevice_t, busy: *mut c_uint, period: *mut c_uint) |call| {
        engine(call, device, Sampled::OpticalFlow, busy, period)
    }

    fn nvmlDeviceGetSamples(
        device: nvmlDevice_t,
        kind: nvmlSamplingType_t,
        last_seen: c_ulonglong,
        value_type: *mut nvmlValueType_t,
        count: *mut c_uint,
        buffer: *mut nvmlSample_t,
    ) |call| {
        let gpu = match sampled(kind)?.0 {
            Sampled::Power | Sampled::SmClock | Sampled::MemoryClock => call.gpu(device)?,
            _ => call.whole_gpu(device)?,
        };
        let room = read(count)? as usize;
        out(value_type, UNSIGNED_INT)?;
        if buffer.is_null() {
            return out(count, KEPT_SAMPLES as c_uint);
        }
        if room == 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        let all = samples(gpu, kind, last_seen, call.now)?;
        if all.is_empty() {
            return Err(ErrorCode::NotFound);
        }
        let mut written = 0;
        for (index, sample) in all.into_iter().take(room).enumerate() {
            out(buffer.wrapping_add(index), sample)?;
            written += 1;
        }
        out(count, written)
    }

    fn nvmlDeviceGetProcessUtilization(
        device: nvmlDevice_t,
        buffer: *mut nvmlProcessUtilizationSample_t,
        count: *mut c_uint,
        last_seen: c_ulonglong,
    ) |call| {
        let busy = active(call.whole_gpu(device)?, last_seen, call.now)?;
        out_list(buffer, count, &busy)
    }

    fn nvmlDeviceGetProcessesUtilizationInfo(device: nvmlDevice_t, info: *mut nvmlProcessesUtilizationInfo_t) |call| {
        let gpu = call.whole_gpu(device)?;
        version(info, &[1])?;
        let mut filled = read(info)?;
        let busy: Vec<_> = active(gpu, filled.lastSeenTimeStamp, call.now)?
            .into_iter()
            .map(|sample| nvmlProcessUtilizationInfo_v1_t {
                timeStamp: sample.timeStamp,
                pid: sample.pid,
                smUtil: sample.smUtil,
                memUtil: sample.memUtil,
                encUtil: sample.encUtil,
                decUtil: sample.decUtil,
                jpgUtil: 0,
                ofaUtil: 0,
            })
            .collect();
        let written = out_list(filled.procUtilArray, &raw mut filled.processSamplesCount, &busy);
        out(info, filled)?;
        written
    }

    fn nvmlDeviceGetEncoderCapacity(device: nvmlDevice_t, _kind: nvmlEncoderType_t, _capacity: *mut c_uint) |call| {
        call.whole_gpu(device)?;
        Err(ErrorCode::NotSupported)
    }

    fn nvmlDeviceGetEncoderStats(
        device: nvmlDevice_t,
        sessions: *mut c_uint,
        frames_per_second: *mut c_uint,
        latency: *mut c_uint,
    ) |call| {
        call.whole_gpu(device)?;
        out(sessions, 0)?;
        out(frames_per_second, 0)?;
        out(latency, 0)
    }

    fn nvmlDeviceGetEncoderSessions(
        device: nvmlDevice_t,
        count: *mut c_uint,
        sessions: *mut nvmlEncoderSessionInfo_t,
    ) |call| {
        call.whole_gpu(device)?;
        out_list(sessions, count, &[])
    }

    fn nvmlDeviceGetFBCStats(device: nvmlDevice_t, stats: *mut nvmlFBCStats_t) |call| {
        call.whole_gpu(device)?;
        out(stats, nvmlFBCStats_t { sessionsCount: 0, averageFPS: 0, averageLatency: 0 })
    }

    fn nvmlDeviceGetFBCSessions(device: nvmlDevice_t, count: *mut c_uint, sessions: *mut nvmlFBCSessionInfo_t) |call| {
        call.whole_gpu(device)?;
        out_list(sessions, count, &[])
    }
}
