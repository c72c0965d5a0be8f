use nvml_wrapper_sys::bindings as nvml;
use serde::{Deserialize, Serialize};

use super::ScenarioError;

/// A call that fails or takes long, for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The call: its exact name; its name without `_v2`-like suffix, which stands for all its
    /// versions; or a beginning with `*`, such as `nvmlDeviceGet*` or `*`.
    pub call: String,
    /// Only calls about this GPU (index in the scenario) and its partitions; all calls, also those
    /// about no GPU, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<usize>,
    /// Only this field id of `nvmlDeviceGetFieldValues`: the call succeeds, the field's own code
    /// is the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<u32>,
    /// What the call answers; its usual answer where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
    /// How long the call takes; a call that is slow on real hardware takes its usual time where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<f64>,
    /// When it begins, in seconds after the scenario's time zero.
    #[serde(default)]
    pub from_seconds: f64,
    /// When it ends; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_seconds: Option<f64>,
}

/// NVML's errors, by their names without `NVML_ERROR_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "NVML's own names")]
pub enum ErrorCode {
    Uninitialized,
    InvalidArgument,
    NotSupported,
    NoPermission,
    NotFound,
    InsufficientSize,
    InsufficientPower,
    DriverNotLoaded,
    Timeout,
    IrqIssue,
    CorruptedInforom,
    GpuIsLost,
    ResetRequired,
    OperatingSystem,
    /// Kernel driver and library are of different versions.
    LibRmVersionMismatch,
    InUse,
    Memory,
    NoData,
    InsufficientResources,
    ArgumentVersionMismatch,
    NotReady,
    GpuNotFound,
    InvalidState,
    Unknown,
}

impl ErrorCode {
    /// NVML's number.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Uninitialized => nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED,
            Self::InvalidArgument => nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
            Self::NotSupported => nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
            Self::NoPermission => nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION,
            Self::NotFound => nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND,
            Self::InsufficientSize => nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE,
            Self::InsufficientPower => nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_POWER,
            Self::DriverNotLoaded => nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED,
            Self::Timeout => nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT,
            Self::IrqIssue => nvml::nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE,
            Self::CorruptedInforom => nvml::nvmlReturn_enum_NVML_ERROR_CORRUPTED_INFOROM,
            Self::GpuIsLost => nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST,
            Self::ResetRequired => nvml::nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED,
            Self::OperatingSystem => nvml::nvmlReturn_enum_NVML_ERROR_OPERATING_SYSTEM,
            Self::LibRmVersionMismatch => nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            Self::InUse => nvml::nvmlReturn_enum_NVML_ERROR_IN_USE,
            Self::Memory => nvml::nvmlReturn_enum_NVML_ERROR_MEMORY,
            Self::NoData => nvml::nvmlReturn_enum_NVML_ERROR_NO_DATA,
            Self::InsufficientResources => nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_RESOURCES,
            Self::ArgumentVersionMismatch => nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            Self::NotReady => nvml::nvmlReturn_enum_NVML_ERROR_NOT_READY,
            Self::GpuNotFound => nvml::nvmlReturn_enum_NVML_ERROR_GPU_NOT_FOUND,
            Self::InvalidState => nvml::nvmlReturn_enum_NVML_ERROR_INVALID_STATE,
            Self::Unknown => nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN,
        }
    }
}

impl Fault {
    /// `call` fails with `error`, always and on every GPU.
    #[must_use]
    pub fn error(call: &str, error: ErrorCode) -> Self {
        Self {
            call: call.to_owned(),
            gpu: None,
            field: None,
            error: Some(error),
            latency_milliseconds: None,
            from_seconds: 0.0,
            until_seconds: None,
        }
    }

    /// `call` takes `milliseconds`, always and on every GPU.
    #[must_use]
    pub fn latency(call: &str, milliseconds: f64) -> Self {
        Self {
            error: None,
            latency_milliseconds: Some(milliseconds),
            ..Self::error(call, ErrorCode::Unknown)
        }
    }

    /// GPU number `gpu` has fallen off the bus: every call about it fails.
    #[must_use]
    pub fn lost(gpu: usize) -> Self {
        Self {
            gpu: Some(gpu),
            ..Self::error("*", ErrorCode::GpuIsLost)
        }
    }

    /// Whether it is about `call` at `t` seconds.
    pub(crate) fn applies(&self, call: &str, t: f64) -> bool {
        t >= self.from_seconds && self.until_seconds.is_none_or(|until| t < until) && self.names(call)
    }

    fn names(&self, call: &str) -> bool {
        match self.call.strip_suffix('*') {
            Some(beginning) => call.starts_with(beginning),
            None => call == self.call || unversioned(call) == self.call,
        }
    }

    pub(super) fn check(&self, key: &str, gpus: usize) -> Result<(), ScenarioError> {
        if !self.call.starts_with("nvml") && self.call != "*" {
            let problem = format!(
                "is `{}`; the name of an NVML function or `*` is needed",
                self.call
            );
            return Err(ScenarioError::value(format!("{key}.call"), problem));
        }
        if let Some(gpu) = self.gpu.filter(|gpu| *gpu >= gpus) {
            let problem = format!("is {gpu}; the scenario has {gpus} GPUs, counted from 0");
            return Err(ScenarioError::value(format!("{key}.gpu"), problem));
        }
        if self.error.is_none() && self.latency_milliseconds.is_none() {
            return Err(ScenarioError::value(
                key,
                "has neither `error` nor `latency_milliseconds`",
            ));
        }
        if !self
            .latency_milliseconds
            .is_none_or(|ms| (0.0..=600_000.0).contains(&ms))
        {
            return Err(ScenarioError::value(
                format!("{key}.latency_milliseconds"),
                "must be 0 to 600000",
            ));
        }
        Ok(())
    }
}

/// `nvmlInit` for `nvmlInit_v2`.
fn unversioned(call: &str) -> &str {
    match call.rsplit_once("_v") {
        Some((name, version)) if version.parse::<u8>().is_ok() => name,
        _ => call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_a_call_its_versions_or_a_beginning() {
        let exact = Fault::error("nvmlInit_v2", ErrorCode::DriverNotLoaded);
        assert!(exact.applies("nvmlInit_v2", 0.0) && !exact.applies("nvmlInit", 0.0));
        let every = Fault::error("nvmlInit", ErrorCode::DriverNotLoaded);
        assert!(every.applies("nvmlInit_v2", 0.0) && every.applies("nvmlInit", 0.0));
        assert!(!every.applies("nvmlInitWithFlags", 0.0));
        let beginning = Fault::error("nvmlInit*", ErrorCode::DriverNotLoaded);
        assert!(beginning.applies("nvmlInitWithFlags", 0.0));
    }

    #[test]
    fn a_fault_begins_and_ends() {
        let fault = Fault {
            from_seconds: 2.0,
            until_seconds: Some(3.0),
            ..Fault::error("*", ErrorCode::GpuIsLost)
        };
        assert_eq!(
            [1.9, 2.0, 2.9, 3.0].map(|t| fault.applies("nvmlInit", t)),
            [false, true, true, false]
        );
    }
}
