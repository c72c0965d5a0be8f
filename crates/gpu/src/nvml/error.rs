use std::fmt;

use nvml_wrapper_sys::bindings::nvmlReturn_t;
use rheostat_reading::Absent;

/// An NVML return code other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NvmlError(nvmlReturn_t);

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only this reading.
    Reading,
    /// The handle no longer names a device: devices must be enumerated anew.
    Handle,
    /// The device, until it is reset or comes back.
    Device,
    /// The driver: the library must be shut down and initialised anew.
    Driver,
}

impl NvmlError {
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const FUNCTION_NOT_FOUND: Self = Self(13);
    pub(crate) const NO_DATA: Self = Self(21);
    pub(crate) const ARGUMENT_VERSION_MISMATCH: Self = Self(25);

    /// Success, or the error that `code` stands for.
    pub(crate) const fn check(code: nvmlReturn_t) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }

    /// The name in `nvml.h`, of NVML 13.
    pub(crate) const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "NVML_ERROR_UNINITIALIZED",
            2 => "NVML_ERROR_INVALID_ARGUMENT",
            3 => "NVML_ERROR_NOT_SUPPORTED",
            4 => "NVML_ERROR_NO_PERMISSION",
            5 => "NVML_ERROR_ALREADY_INITIALIZED",
            6 => "NVML_ERROR_NOT_FOUND",
            7 => "NVML_ERROR_INSUFFICIENT_SIZE",
            8 => "NVML_ERROR_INSUFFICIENT_POWER",
            9 => "NVML_ERROR_DRIVER_NOT_LOADED",
            10 => "NVML_ERROR_TIMEOUT",
            11 => "NVML_ERROR_IRQ_ISSUE",
            12 => "NVML_ERROR_LIBRARY_NOT_FOUND",
            13 => "NVML_ERROR_FUNCTION_NOT_FOUND",
            14 => "NVML_ERROR_CORRUPTED_INFOROM",
            15 => "NVML_ERROR_GPU_IS_LOST",
            16 => "NVML_ERROR_RESET_REQUIRED",
            17 => "NVML_ERROR_OPERATING_SYSTEM",
            18 => "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
            19 => "NVML_ERROR_IN_USE",
            20 => "NVML_ERROR_MEMORY",
            21 => "NVML_ERROR_NO_DATA",
            22 => "NVML_ERROR_VGPU_ECC_NOT_SUPPORTED",
            23 => "NVML_ERROR_INSUFFICIENT_RESOURCES",
            24 => "NVML_ERROR_FREQ_NOT_SUPPORTED",
            25 => "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
            26 => "NVML_ERROR_DEPRECATED",
            27 => "NVML_ERROR_NOT_READY",
            28 => "NVML_ERROR_GPU_NOT_FOUND",
            29 => "NVML_ERROR_INVALID_STATE",
            30 => "NVML_ERROR_RESET_TYPE_NOT_SUPPORTED",
            999 => "NVML_ERROR_UNKNOWN",
            _ => return None,
        })
    }

    /// How far it reaches. Device and driver errors mean the same from every call; that a handle is
    /// no longer valid is told by `INVALID_ARGUMENT` or `NOT_FOUND`, which other causes have too.
    pub(crate) const fn reach(self) -> Reach {
        match self.0 {
            1 | 9 | 12 | 18 => Reach::Driver,
            15 | 16 => Reach::Device,
            2 | 6 | 28 => Reach::Handle,
            _ => Reach::Reading,
        }
    }

    /// Whether the device or its driver does not offer what was asked, now or ever.
    pub(crate) const fn is_unsupported(self) -> bool {
        // 13: the driver's library lacks the function; 22 and 24: as the names say; 25: the driver
        // does not know this version of the struct; 26: it offers the function no longer.
        matches!(self.0, 3 | 13 | 22 | 24 | 25 | 26)
    }
}

impl fmt::Display for NvmlError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.write_str(name),
            None => write!(out, "NVML error {}", self.0),
        }
    }
}

impl std::error::Error for NvmlError {}

impl From<NvmlError> for Absent {
    fn from(error: NvmlError) -> Self {
        match error.0 {
            4 => Self::NoPermission,
            _ if error.is_unsupported() => Self::NotSupported,
            _ => match error.reach() {
                Reach::Device => Self::DeviceLost,
                Reach::Driver => Self::NoDriver(error.to_string()),
                Reach::Handle | Reach::Reading => Self::Failed(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(code: u32) -> Absent {
        NvmlError::check(code).unwrap_err().into()
    }

    #[test]
    fn every_code_is_absent_for_the_right_reason() {
        assert_eq!(NvmlError::check(0), Ok(()));
        for code in [3, 13, 22, 24, 25, 26] {
            assert_eq!(absent(code), Absent::NotSupported, "{code}");
        }
        assert_eq!(absent(4), Absent::NoPermission);
        for code in [15, 16] {
            assert_eq!(absent(code), Absent::DeviceLost, "{code}");
        }
        for (code, name) in [
            (1, "NVML_ERROR_UNINITIALIZED"),
            (9, "NVML_ERROR_DRIVER_NOT_LOADED"),
            (12, "NVML_ERROR_LIBRARY_NOT_FOUND"),
            (18, "NVML_ERROR_LIB_RM_VERSION_MISMATCH"),
        ] {
            assert_eq!(absent(code), Absent::NoDriver(name.into()));
        }
        for (code, name) in [
            (2, "NVML_ERROR_INVALID_ARGUMENT"),
            (5, "NVML_ERROR_ALREADY_INITIALIZED"),
            (6, "NVML_ERROR_NOT_FOUND"),
            (7, "NVML_ERROR_INSUFFICIENT_SIZE"),
            (8, "NVML_ERROR_INSUFFICIENT_POWER"),
            (10, "NVML_ERROR_TIMEOUT"),
            (11, "NVML_ERROR_IRQ_ISSUE"),
            (14, "NVML_ERROR_CORRUPTED_INFOROM"),
            (17, "NVML_ERROR_OPERATING_SYSTEM"),
            (19, "NVML_ERROR_IN_USE"),
            (20, "NVML_ERROR_MEMORY"),
            (21, "NVML_ERROR_NO_DATA"),
            (23, "NVML_ERROR_INSUFFICIENT_RESOURCES"),
            (27, "NVML_ERROR_NOT_READY"),
            (28, "NVML_ERROR_GPU_NOT_FOUND"),
            (29, "NVML_ERROR_INVALID_STATE"),
            (30, "NVML_ERROR_RESET_TYPE_NOT_SUPPORTED"),
            (999, "NVML_ERROR_UNKNOWN"),
        ] {
            assert_eq!(absent(code), Absent::Failed(name.into()));
        }
        assert_eq!(absent(31), Absent::Failed("NVML error 31".into()));
        assert_eq!(absent(u32::MAX), Absent::Failed("NVML error 4294967295".into()));
    }

    #[test]
    fn the_named_constants_are_those_of_the_header() {
        use nvml_wrapper_sys::bindings as sys;
        for (ours, theirs) in [
            (
                NvmlError::INVALID_ARGUMENT,
                sys::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
            ),
            (
                NvmlError::NOT_SUPPORTED,
                sys::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
            ),
            (NvmlError::NOT_FOUND, sys::nvmlReturn_enum_NVML_ERROR_NOT_FOUND),
            (
                NvmlError::INSUFFICIENT_SIZE,
                sys::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE,
            ),
            (NvmlError::TIMEOUT, sys::nvmlReturn_enum_NVML_ERROR_TIMEOUT),
            (
                NvmlError::FUNCTION_NOT_FOUND,
                sys::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND,
            ),
            (NvmlError::NO_DATA, sys::nvmlReturn_enum_NVML_ERROR_NO_DATA),
            (
                NvmlError::ARGUMENT_VERSION_MISMATCH,
                sys::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            ),
        ] {
            assert_eq!(ours.0, theirs);
        }
    }
}
