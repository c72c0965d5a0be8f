//! GPM: metrics from the difference of two samples (Hopper and later).

use std::ffi::c_uint;
use std::ptr;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpmMetric_t, nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t,
};
use parking_lot::Mutex;

use super::entry_points;
use crate::call::{Answer, Device, out, read};
use crate::handle::Store;
use crate::machine::{Flows, Gpu, Instance, Meter};
use crate::scenario::ErrorCode;

/// `NVML_GPM_METRICS_GET_VERSION` and `NVML_GPM_SUPPORT_VERSION`.
const VERSION: c_uint = 1;

/// The counters are refreshed every 100 ms: samples that are nearer tell nothing.
const REFRESH_SECONDS: f64 = 0.1;

/// The most metrics of one request: as many as the newest header has room for.
const MOST_METRICS: c_uint = 333;

const MIB: f64 = 1_048_576.0;

/// What was sampled, and when; nothing yet in a new sample.
type Sample = Option<(Source, f64, Vec<f64>)>;

/// A GPU by UUID, or one of its GPU instances by the UUIDs of its MIG devices.
#[derive(Clone, PartialEq)]
struct Source {
    gpu: String,
    instance: Option<Vec<String>>,
}

static SAMPLES: Mutex<Store<Sample>> = Mutex::new(Store::new());

fn supported(gpu: &Gpu) -> Answer {
    if gpu.model.has_gpm() {
        Ok(())
    } else {
        Err(ErrorCode::NotSupported)
    }
}

fn take(sample: nvmlGpmSample_t, gpu: &Gpu, instance: Option<&Instance>, now: f64) -> Answer {
    supported(gpu)?;
    let flows: &Flows = instance.map_or(&gpu.flows, |instance| &instance.flows);
    let parts = instance.map(|instance| instance.partitions.iter().map(|part| part.uuid.clone()).collect());
    let source = Source {
        gpu: gpu.uuid.clone(),
        instance: parts,
    };
    *SAMPLES.lock().get_mut(sample)? = Some((source, now, flows.totals(now)));
    Ok(())
}

/// Which counter a metric comes from, and by what its rate is divided.
fn metric(id: c_uint) -> Option<(Meter, f64)> {
    Some(match id {
        1 => (Meter::Graphics, 1.0),
        2 => (Meter::Sm, 1.0),
        3 => (Meter::SmOccupancy, 1.0),
        4 => (Meter::Integer, 1.0),
        // The scenario has one kind of tensor work: half precision.
        5 | 7 => (Meter::Tensor, 1.0),
        10 => (Meter::Dram, 1.0),
        11 => (Meter::Fp64, 1.0),
        12 => (Meter::Fp32, 1.0),
        13 => (Meter::Fp16, 1.0),
        20 => (Meter::PcieTx, MIB),
        21 => (Meter::PcieRx, MIB),
        30 => (Meter::Decoder, 1.0),
        40 => (Meter::Jpeg, 1.0),
        50 => (Meter::OpticalFlow, 1.0),
        60 => (Meter::NvlinkRx, MIB),
        61 => (Meter::NvlinkTx, MIB),
        _ => return None,
    })
}

fn value(id: c_uint, first: &[f64], second: &[f64], seconds: f64, of_instance: bool) -> Answer<f64> {
    let (meter, unit) = match id {
        // Tensor work of double precision and of integers.
        6 | 9 => return Ok(0.0),
        _ => metric(id).ok_or(ErrorCode::NotSupported)?,
    };
    let link = matches!(
        meter,
        Meter::PcieRx | Meter::PcieTx | Meter::NvlinkRx | Meter::NvlinkTx
    );
    if link && of_instance {
        return Err(ErrorCode::NotSupported);
    }
    let (Some(a), Some(b)) = (first.get(meter as usize), second.get(meter as usize)) else {
        return Err(ErrorCode::NoData);
    };
    Ok((b - a) / seconds / unit)
}

entry_points! {
    fn nvmlGpmQueryDeviceSupport(device: nvmlDevice_t, support: *mut nvmlGpmSupport_t) |call| {
        let gpu = call.device(device)?.gpu();
        let mut filled = read(support)?;
        if filled.version != VERSION {
            return Err(ErrorCode::ArgumentVersionMismatch);
        }
        filled.isSupportedDevice = c_uint::from(gpu.model.has_gpm());
        out(support, filled)
    }

    fn nvmlGpmQueryIfStreamingEnabled(device: nvmlDevice_t, state: *mut c_uint) |call| {
        supported(call.gpu(device)?)?;
        out(state, 0)
    }

    fn nvmlGpmSampleAlloc(sample: *mut nvmlGpmSample_t) |_| {
        if sample.is_null() {
            return Err(ErrorCode::InvalidArgument);
        }
        out(sample, SAMPLES.lock().add(None)?)
    }

    fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) |_| {
        SAMPLES.lock().remove(sample).map(drop)
    }

    fn nvmlGpmSampleGet(device: nvmlDevice_t, sample: nvmlGpmSample_t) |call| {
        match call.device(device)? {
            Device::Gpu(gpu) => take(sample, gpu, None, call.now),
            Device::Partition(gpu, instance, _) => take(sample, gpu, Some(instance), call.now),
        }
    }

    fn nvmlGpmMigSampleGet(device: nvmlDevice_t, instance: c_uint, sample: nvmlGpmSample_t) |call| {
        let gpu = call.gpu(device)?;
        supported(gpu)?;
        if !gpu.mig_enabled {
            return Err(ErrorCode::NotSupported);
        }
        let instance = gpu.instance(instance).ok_or(ErrorCode::InvalidArgument)?;
        take(sample, gpu, Some(instance), call.now)
    }

    fn nvmlGpmMetricsGet(request: *mut nvmlGpmMetricsGet_t) |_| {
        if request.is_null() {
            return Err(ErrorCode::InvalidArgument);
        }
        // The array at the end has another length in every header: never touch the whole struct.
        // SAFETY: the caller passes the struct; these are addresses within it.
        let (version, count, one, two, metrics) = unsafe {
            (
                ptr::read(&raw const (*request).version),
                ptr::read(&raw const (*request).numMetrics),
                ptr::read(&raw const (*request).sample1),
                ptr::read(&raw const (*request).sample2),
                (&raw mut (*request).metrics).cast::<nvmlGpmMetric_t>(),
            )
        };
        if version != VERSION {
            return Err(ErrorCode::ArgumentVersionMismatch);
        }
        if count > MOST_METRICS {
            return Err(ErrorCode::InvalidArgument);
        }
        let samples = SAMPLES.lock();
        let (Some(one), Some(two)) = (samples.get(one)?, samples.get(two)?) else {
            return Err(ErrorCode::InvalidArgument);
        };
        if one.0 != two.0 {
            return Err(ErrorCode::InvalidArgument);
        }
        let seconds = two.1 - one.1;
        for index in 0..count as usize {
            let place = metrics.wrapping_add(index);
            let mut metric = read(place)?;
            let answer = if seconds < REFRESH_SECONDS {
                Err(ErrorCode::NoData)
            } else {
                value(metric.metricId, &one.2, &two.2, seconds, one.0.instance.is_some())
            };
            metric.nvmlReturn = answer.err().map_or(0, ErrorCode::code);
            metric.value = answer.unwrap_or(f64::NAN);
            out(place, metric)?;
        }
        Ok(())
    }
}
