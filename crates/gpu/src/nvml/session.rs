use std::ffi::CStr;
use std::fmt;
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_uint, c_ulonglong};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::Library;
use nvml_wrapper_sys::bindings as sys;
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::NvmlError;
use super::search::candidates;
use super::symbols::Symbols;

/// NVML between init and shutdown. All calls may block: never make one on a request path.
pub(crate) struct Session {
    // Before `library`: what points into the library must not outlive it.
    pub(super) symbols: Symbols,
    id: u64,
    /// Where the library was found.
    pub(crate) path: String,
    _library: Library,
}

/// A device of one [`Session`]; every other session refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    raw: nvmlDevice_t,
    session: u64,
}

// SAFETY: a handle is a token that only NVML looks behind, and NVML is thread-safe (`nvml.h`).
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// No candidate for the library could be loaded and initialised: what was tried, and why it failed.
#[derive(Debug, Default)]
pub(crate) struct OpenError {
    failed: Vec<String>,
    not_there: Vec<String>,
}

impl Session {
    /// Finds, loads and initialises NVML: from `path` alone where one is given.
    pub(crate) fn open(path: Option<&Path>) -> Result<Arc<Self>, OpenError> {
        let mut error = OpenError::default();
        for candidate in candidates(path) {
            let name = candidate.display().to_string();
            if candidate.is_absolute() && !candidate.exists() {
                error.not_there.push(name);
                continue;
            }
            match Self::load(&candidate) {
                Ok(session) => return Ok(Arc::new(session)),
                Err(cause) => error.failed.push(format!("{name}: {cause}")),
            }
        }
        Err(error)
    }

    fn load(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // SAFETY: the file is NVML by its name or by the user's word; its initialisers are the
        // driver vendor's and have no conditions.
        let library = unsafe { Library::new(path) }?;
        // SAFETY: as above; the symbols are dropped before the library.
        let symbols = unsafe { Symbols::load(&library) };
        let init = symbols.init.ok_or("it has no nvmlInit_v2, so it is not NVML")?;
        // SAFETY: no conditions.
        NvmlError::check(unsafe { init() })?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            symbols,
            id,
            path: path.display().to_string(),
            _library: library,
        })
    }

    pub(crate) fn driver_version(&self) -> Result<String, NvmlError> {
        let function = self.symbols.driver_version.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(buffer, length) })
    }

    /// CUDA version that the driver supports, such as `13.0`.
    pub(crate) fn cuda_version(&self) -> Result<String, NvmlError> {
        let function = self.symbols.cuda_version.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut version: c_int = 0;
        // SAFETY: NVML writes one number.
        NvmlError::check(unsafe { function(&raw mut version) })?;
        Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub(crate) fn device_count(&self) -> Result<u32, NvmlError> {
        let function = self.symbols.device_count.ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut count = 0;
        // SAFETY: NVML writes one number.
        NvmlError::check(unsafe { function(&raw mut count) }).map(|()| count)
    }

    pub(crate) fn device(&self, index: u32) -> Result<Handle, NvmlError> {
        let function = self
            .symbols
            .device_by_index
            .ok_or(NvmlError::FUNCTION_NOT_FOUND)?;
        let mut raw = ptr::null_mut();
        // SAFETY: NVML writes one handle.
        NvmlError::check(unsafe { function(index, &raw mut raw) }).map(|()| self.handle(raw))
    }

    pub(crate) fn uuid(&self, device: Handle) -> Result<String, NvmlError> {
        let (device, function) = (
            self.own(device)?,
            self.symbols.uuid.ok_or(NvmlError::FUNCTION_NOT_FOUND)?,
        );
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(device, buffer, length) })
    }

    pub(crate) fn name(&self, device: Handle) -> Result<String, NvmlError> {
        let (device, function) = (
            self.own(device)?,
            self.symbols.name.ok_or(NvmlError::FUNCTION_NOT_FOUND)?,
        );
        // SAFETY: NVML writes at most `length` bytes.
        text(|buffer, length| unsafe { function(device, buffer, length) })
    }

    pub(crate) fn minor(&self, device: Handle) -> Result<u32, NvmlError> {
        self.get(self.symbols.minor_number, device, 0)
    }

    pub(crate) fn pci_bus_id(&self, device: Handle) -> Result<String, NvmlError> {
        let blank = sys::nvmlPciInfo_t {
            busIdLegacy: [0; 16],
            domain: 0,
            bus: 0,
            device: 0,
            pciDeviceId: 0,
            pciSubSystemId: 0,
            busId: [0; 32],
        };
        Ok(terminated(&self.get(self.symbols.pci_info, device, blank)?.busId))
    }

    /// Calls an NVML getter that writes one `T` for a device.
    pub(super) fn get<T>(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, *mut T) -> nvmlReturn_t>,
        device: Handle,
        mut value: T,
    ) -> Result<T, NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        // SAFETY: the functions are those of `Symbols`, whose getters write one `T` and keep nothing.
        NvmlError::check(unsafe { function(device, &raw mut value) }).map(|()| value)
    }

    /// As [`Self::get`], for a getter that takes an argument.
    pub(super) fn get_with<A, T>(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, A, *mut T) -> nvmlReturn_t>,
        device: Handle,
        argument: A,
        mut value: T,
    ) -> Result<T, NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        // SAFETY: as in `get`.
        NvmlError::check(unsafe { function(device, argument, &raw mut value) }).map(|()| value)
    }

    /// As [`Self::get`], for a getter that writes two numbers.
    pub(super) fn get_two(
        &self,
        function: Option<unsafe extern "C" fn(nvmlDevice_t, *mut c_uint, *mut c_uint) -> nvmlReturn_t>,
        device: Handle,
    ) -> Result<(u32, u32), NvmlError> {
        let (device, function) = (self.own(device)?, function.ok_or(NvmlError::FUNCTION_NOT_FOUND)?);
        let (mut first, mut second) = (0, 0);
        // SAFETY: as in `get`.
        NvmlError::check(unsafe { function(device, &raw mut first, &raw mut second) })
            .map(|()| (first, second))
    }

    pub(super) const fn handle(&self, raw: nvmlDevice_t) -> Handle {
        Handle {
            raw,
            session: self.id,
        }
    }

    /// What NVML knows the device by, if it is of this session.
    pub(super) fn own(&self, device: Handle) -> Result<nvmlDevice_t, NvmlError> {
        if device.session == self.id && !device.raw.is_null() {
            Ok(device.raw)
        } else {
            Err(NvmlError::INVALID_ARGUMENT)
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(shutdown) = self.symbols.shutdown {
            // SAFETY: init succeeded once for this session. What fails here cannot be helped.
            unsafe { shutdown() };
        }
    }
}

/// A string that NVML writes into a buffer of the given length.
fn text(call: impl FnOnce(*mut c_char, c_uint) -> nvmlReturn_t) -> Result<String, NvmlError> {
    let mut buffer: [c_char; 128] = [0; 128];
    NvmlError::check(call(buffer.as_mut_ptr(), 128)).map(|()| terminated(&buffer))
}

/// The text before the first NUL.
fn terminated(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer
        .iter()
        .map(|&byte| byte.to_ne_bytes()[0])
        .chain(std::iter::once(0))
        .collect();
    CStr::from_bytes_until_nul(&bytes)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.failed.join("; "))?;
        if !self.not_there.is_empty() {
            let separator = if self.failed.is_empty() { "" } else { "; " };
            write!(out, "{separator}not there: ")?;
            for (place, path) in self.not_there.iter().enumerate() {
                if place > 0 {
                    out.write_str(", ")?;
                }
                out.write_str(path)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}

// The event mask of `nvml.h` is wider than the generated constants.
const _: () = assert!(size_of::<c_ulonglong>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_all_that_was_tried() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none.so");
        let error = Session::open(Some(&missing)).err().unwrap().to_string();
        assert_eq!(error, format!("not there: {}", missing.display()));

        let text = directory.path().join("text.so");
        std::fs::write(&text, "not a library").unwrap();
        let error = Session::open(Some(&text)).err().unwrap().to_string();
        assert!(error.starts_with(&text.display().to_string()), "{error}");
    }

    #[test]
    fn text_ends_at_the_first_nul_or_at_the_end() {
        let bytes = |text: &str| {
            text.bytes()
                .map(|byte| c_char::from_ne_bytes([byte]))
                .collect::<Vec<_>>()
        };
        assert_eq!(terminated(&bytes("abc\0def")), "abc");
        assert_eq!(terminated(&bytes("abc")), "abc");
    }
}
