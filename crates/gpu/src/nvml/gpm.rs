use std::mem::zeroed;
use std::ptr;
use std::sync::Arc;

use nvml_wrapper_sys::bindings::{nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t};

use super::{Handle, NvmlError, Session};

/// Metric ids of `nvml.h` (`NVML_GPM_METRIC_…`). Utilisations are percentages, traffic is in MiB/s.
pub(crate) mod metric {
    pub(crate) use nvml_wrapper_sys::bindings::{
        nvmlGpmMetricId_t_NVML_GPM_METRIC_ANY_TENSOR_UTIL as TENSOR,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_DRAM_BW_UTIL as DRAM_BANDWIDTH,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC as NVLINK_RX,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC as NVLINK_TX,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_RX_PER_SEC as PCIE_RX,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_TX_PER_SEC as PCIE_TX,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_OCCUPANCY as SM_OCCUPANCY,
        nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_UTIL as SM_UTIL,
    };
}

/// `NVML_GPM_METRICS_GET_VERSION` and `NVML_GPM_SUPPORT_VERSION`.
const VERSION: u32 = 1;

/// Room for one sample of a device's performance counters. Allocated once, filled again and again.
pub(crate) struct GpmSample {
    raw: nvmlGpmSample_t,
    session: Arc<Session>,
}

impl GpmSample {
    pub(crate) fn new(session: &Arc<Session>) -> Result<Self, NvmlError> {
        let function = session
            .symbols
            .gpm_sample_alloc
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut raw = ptr::null_mut();
        // SAFETY: NVML writes one pointer to `raw`.
        NvmlError::check(unsafe { function(&raw mut raw) })?;
        if raw.is_null() {
            return Err(NvmlError::INVALID_ARGUMENT);
        }
        Ok(Self {
            raw,
            session: Arc::clone(session),
        })
    }

    /// Takes a sample of the device, or of one GPU instance of it.
    pub(crate) fn take(&mut self, device: Handle, gpu_instance: Option<u32>) -> Result<(), NvmlError> {
        let raw_device = self.session.own(device)?;
        let symbols = &self.session.symbols;
        NvmlError::check(match gpu_instance {
            None => {
                let function = symbols.gpm_sample_get.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
                // SAFETY: the device is this session's, the sample is allocated and only ours.
                unsafe { function(raw_device, self.raw) }
            }
            Some(id) => {
                let function = symbols.gpm_mig_sample_get.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
                // SAFETY: as above.
                unsafe { function(raw_device, id, self.raw) }
            }
        })
    }
}

impl Drop for GpmSample {
    fn drop(&mut self) {
        if let Some(function) = self.session.symbols.gpm_sample_free {
            // SAFETY: allocated by this session and freed once. A failure leaks some bytes at worst.
            unsafe { function(self.raw) };
        }
    }
}

/// Room for metrics computed from two samples; some 10 KiB, so it is shared by all devices.
pub(crate) struct GpmMetrics(Box<nvmlGpmMetricsGet_t>);

impl GpmMetrics {
    pub(crate) fn new() -> Self {
        // SAFETY: a C struct of numbers and pointers, for which zero is valid.
        Self(Box::new(unsafe { zeroed() }))
    }

    /// Computes the metrics `ids` of the time between two samples of the same device.
    pub(crate) fn compute(
        &mut self,
        before: &GpmSample,
        after: &GpmSample,
        ids: &[u32],
    ) -> Result<(), NvmlError> {
        if !Arc::ptr_eq(&before.session, &after.session) || ids.len() > self.0.metrics.len() {
            return Err(NvmlError::INVALID_ARGUMENT);
        }
        let function = after
            .session
            .symbols
            .gpm_metrics_get
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        self.0.version = VERSION;
        self.0.numMetrics = u32::try_from(ids.len()).map_err(|_| NvmlError::INVALID_ARGUMENT)?;
        self.0.sample1 = before.raw;
        self.0.sample2 = after.raw;
        for (metric, &id) in self.0.metrics.iter_mut().zip(ids) {
            metric.metricId = id;
            metric.nvmlReturn = 999;
            metric.value = f64::NAN;
        }
        // SAFETY: the struct is live, its samples are allocated, and `numMetrics` is within its array.
        NvmlError::check(unsafe { function(&raw mut *self.0) })
    }

    /// The metric `id` as [`Self::compute`] last left it.
    pub(crate) fn get(&self, id: u32) -> Result<f64, NvmlError> {
        let count = usize::try_from(self.0.numMetrics)
            .unwrap_or(0)
            .min(self.0.metrics.len());
        let metric = self.0.metrics[..count]
            .iter()
            .find(|metric| metric.metricId == id)
            .ok_or(NvmlError::NOT_SUPPORTED)?;
        NvmlError::check(metric.nvmlReturn).map(|()| metric.value)
    }
}

impl Session {
    /// Whether the device has performance counters for GPM (Hopper and newer, not in a vGPU guest).
    pub(crate) fn gpm_support(&self, device: Handle) -> Result<bool, NvmlError> {
        let support = nvmlGpmSupport_t {
            version: VERSION,
            isSupportedDevice: 0,
        };
        Ok(self
            .get(self.symbols.gpm_support, device, support)?
            .isSupportedDevice
            != 0)
    }
}
