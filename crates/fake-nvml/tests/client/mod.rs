//! An NVML client: the library loaded from a directory of its own, and its functions by name.

use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libloading::Library;
use nvidia_ml::{Scenario, install};
use nvml_wrapper_sys::bindings as nvml;
use tempfile::TempDir;

pub(crate) const UNINITIALIZED: u32 = 1;
pub(crate) const INVALID_ARGUMENT: u32 = 2;
pub(crate) const NOT_SUPPORTED: u32 = 3;
pub(crate) const NOT_FOUND: u32 = 6;
pub(crate) const INSUFFICIENT_SIZE: u32 = 7;
pub(crate) const TIMEOUT: u32 = 10;
pub(crate) const GPU_IS_LOST: u32 = 15;

pub(crate) struct Client {
    library: Library,
    directory: TempDir,
}

/// A handle that threads share: to them it is a number.
pub(crate) struct Shared(pub(crate) nvml::nvmlDevice_t);

// SAFETY: nobody follows the pointer.
unsafe impl Sync for Shared {}

impl Client {
    /// Loads a copy of its own of the library, with `scenario`.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path(), scenario).unwrap();
        // SAFETY: the library runs no code when it is loaded.
        let library = unsafe { Library::new(path) }.unwrap();
        Self { library, directory }
    }

    /// The same, initialised.
    pub(crate) fn ready(scenario: &Scenario) -> Self {
        let client = Self::new(scenario);
        client.init();
        client
    }

    pub(crate) fn init(&self) {
        assert_eq!(self.call0("nvmlInit_v2"), 0);
    }

    pub(crate) fn scenario_path(&self) -> PathBuf {
        self.directory.path().join("scenario.json")
    }

    pub(crate) fn change(&self, scenario: &Scenario) {
        scenario.write_to(&self.scenario_path()).unwrap();
    }

    pub(crate) fn eventually(&self, holds: impl Fn() -> bool) {
        let deadline = monotonic_now() + Duration::from_secs(20);
        while !holds() {
            assert!(monotonic_now() < deadline, "it never came true");
            std::thread::yield_now();
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        // SAFETY: the function is not called.
        unsafe { self.library.get::<unsafe extern "C" fn()>(name) }.is_ok()
    }

    pub(crate) fn call0(&self, name: &str) -> u32 {
        // SAFETY: (here and below) the caller gives the arguments that NVML declares.
        unsafe { self.library.get::<unsafe extern "C" fn() -> u32>(name).unwrap()() }
    }

    pub(crate) fn call1<A>(&self, name: &str, a: A) -> u32 {
        // SAFETY: as above.
        unsafe { self.library.get::<unsafe extern "C" fn(A) -> u32>(name).unwrap()(a) }
    }

    pub(crate) fn call2<A, B>(&self, name: &str, a: A, b: B) -> u32 {
        // SAFETY: as above.
        unsafe {
            self.library
                .get::<unsafe extern "C" fn(A, B) -> u32>(name)
                .unwrap()(a, b)
        }
    }

    pub(crate) fn call3<A, B, C>(&self, name: &str, a: A, b: B, c: C) -> u32 {
        // SAFETY: as above.
        unsafe {
            self.library
                .get::<unsafe extern "C" fn(A, B, C) -> u32>(name)
                .unwrap()(a, b, c)
        }
    }

    /// Calls `name(handle, &result)`.
    pub(crate) fn get<T>(&self, name: &str, handle: impl Sized) -> Result<T, u32> {
        let mut result = std::mem::MaybeUninit::<T>::zeroed();
        match self.call2(name, handle, result.as_mut_ptr()) {
            // SAFETY: zero is a value of all result types used here, and the call has filled it.
            0 => Ok(unsafe { result.assume_init() }),
            code => Err(code),
        }
    }

    pub(crate) fn text(&self, name: &str, handle: nvml::nvmlDevice_t) -> String {
        let mut buffer = [0; 96];
        assert_eq!(
            self.call3(name, handle, buffer.as_mut_ptr(), buffer.len() as u32),
            0
        );
        words(&buffer)
    }

    pub(crate) fn gpu(&self, index: u32) -> nvml::nvmlDevice_t {
        let mut handle = std::ptr::null_mut();
        assert_eq!(
            self.call2("nvmlDeviceGetHandleByIndex_v2", index, &raw mut handle),
            0
        );
        handle
    }

    pub(crate) fn mig(&self, gpu: nvml::nvmlDevice_t, index: u32) -> Result<nvml::nvmlDevice_t, u32> {
        let mut handle = std::ptr::null_mut();
        match self.call3("nvmlDeviceGetMigDeviceHandleByIndex", gpu, index, &raw mut handle) {
            0 => Ok(handle),
            code => Err(code),
        }
    }

    pub(crate) fn by_uuid(&self, uuid: &str) -> Result<nvml::nvmlDevice_t, u32> {
        let uuid = CString::new(uuid).unwrap();
        self.get("nvmlDeviceGetHandleByUUID", uuid.as_ptr())
    }

    pub(crate) fn fields(
        &self,
        gpu: nvml::nvmlDevice_t,
        ids: &[u32],
    ) -> Result<Vec<nvml::nvmlFieldValue_t>, u32> {
        let mut fields: Vec<_> = ids
            .iter()
            .map(|id| nvml::nvmlFieldValue_t {
                fieldId: *id,
                scopeId: 0,
                timestamp: 0,
                latencyUsec: 0,
                valueType: 0,
                nvmlReturn: 999,
                value: nvml::nvmlValue_t { ullVal: 0 },
            })
            .collect();
        match self.call3(
            "nvmlDeviceGetFieldValues",
            gpu,
            fields.len() as i32,
            fields.as_mut_ptr(),
        ) {
            0 => Ok(fields),
            code => Err(code),
        }
    }

    pub(crate) fn samples(
        &self,
        gpu: nvml::nvmlDevice_t,
        kind: u32,
        last_seen: u64,
    ) -> Result<Vec<nvml::nvmlSample_t>, u32> {
        type Function = unsafe extern "C" fn(
            nvml::nvmlDevice_t,
            u32,
            u64,
            *mut u32,
            *mut u32,
            *mut nvml::nvmlSample_t,
        ) -> u32;
        // SAFETY: NVML's declaration.
        let function = unsafe { self.library.get::<Function>("nvmlDeviceGetSamples") }.unwrap();
        let (mut value_type, mut count) = (0, 0);
        let empty = nvml::nvmlSample_t {
            timeStamp: 0,
            sampleValue: nvml::nvmlValue_t { ullVal: 0 },
        };
        // SAFETY: a null buffer asks for the count.
        let code = unsafe {
            function(
                gpu,
                kind,
                last_seen,
                &raw mut value_type,
                &raw mut count,
                std::ptr::null_mut(),
            )
        };
        if code != 0 {
            return Err(code);
        }
        let mut all = vec![empty; count as usize];
        // SAFETY: the buffer has room for `count` samples.
        let code = unsafe {
            function(
                gpu,
                kind,
                last_seen,
                &raw mut value_type,
                &raw mut count,
                all.as_mut_ptr(),
            )
        };
        all.truncate(count as usize);
        assert_eq!(value_type, 1);
        if code == 0 { Ok(all) } else { Err(code) }
    }

    pub(crate) fn process_utilization(
        &self,
        gpu: nvml::nvmlDevice_t,
        last_seen: u64,
    ) -> Result<Vec<nvml::nvmlProcessUtilizationSample_t>, u32> {
        type Sample = nvml::nvmlProcessUtilizationSample_t;
        type Function = unsafe extern "C" fn(nvml::nvmlDevice_t, *mut Sample, *mut u32, u64) -> u32;
        // SAFETY: NVML's declaration.
        let function = unsafe { self.library.get::<Function>("nvmlDeviceGetProcessUtilization") }.unwrap();
        let mut count = 0;
        // SAFETY: a null buffer asks for the count.
        let code = unsafe { function(gpu, std::ptr::null_mut(), &raw mut count, last_seen) };
        if code != INSUFFICIENT_SIZE {
            return Err(code);
        }
        let empty = Sample {
            pid: 0,
            timeStamp: 0,
            smUtil: 0,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        let mut all = vec![empty; count as usize];
        // SAFETY: the buffer has room for `count` samples.
        let code = unsafe { function(gpu, all.as_mut_ptr(), &raw mut count, last_seen) };
        all.truncate(count as usize);
        if code == 0 { Ok(all) } else { Err(code) }
    }

    pub(crate) fn event_set(&self, gpu: nvml::nvmlDevice_t, types: u64) -> nvml::nvmlEventSet_t {
        let mut set = std::ptr::null_mut();
        assert_eq!(self.call1("nvmlEventSetCreate", &raw mut set), 0);
        assert_eq!(self.call3("nvmlDeviceRegisterEvents", gpu, types, set), 0);
        set
    }

    pub(crate) fn wait(
        &self,
        set: nvml::nvmlEventSet_t,
        milliseconds: u32,
    ) -> Result<nvml::nvmlEventData_t, u32> {
        let mut event = nvml::nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        };
        match self.call3("nvmlEventSetWait_v2", set, &raw mut event, milliseconds) {
            0 => Ok(event),
            code => Err(code),
        }
    }

    /// The metrics `ids` over a little more than the refresh time, rounded.
    pub(crate) fn gpm(
        &self,
        instance: Option<u32>,
        gpu: nvml::nvmlDevice_t,
        ids: &[u32],
    ) -> Result<Vec<Result<i64, u32>>, u32> {
        let samples = [self.gpm_sample(), self.gpm_sample()];
        self.take(instance, gpu, samples[0])?;
        let start = monotonic_now();
        self.eventually(|| start.elapsed() > Duration::from_millis(120));
        self.take(instance, gpu, samples[1])?;
        let metrics = self.metrics(samples, ids);
        for sample in samples {
            assert_eq!(self.call1("nvmlGpmSampleFree", sample), 0);
        }
        assert_eq!(self.call1("nvmlGpmSampleFree", samples[0]), INVALID_ARGUMENT);
        Ok(metrics)
    }

    /// The code of a metric of two samples without time between them.
    pub(crate) fn gpm_too_soon(&self, gpu: nvml::nvmlDevice_t) -> u32 {
        let samples = [self.gpm_sample(), self.gpm_sample()];
        for sample in samples {
            self.take(None, gpu, sample).unwrap();
        }
        self.metrics(samples, &[2])[0].unwrap_err()
    }

    fn gpm_sample(&self) -> nvml::nvmlGpmSample_t {
        let mut sample = std::ptr::null_mut();
        assert_eq!(self.call1("nvmlGpmSampleAlloc", &raw mut sample), 0);
        sample
    }

    fn take(
        &self,
        instance: Option<u32>,
        gpu: nvml::nvmlDevice_t,
        sample: nvml::nvmlGpmSample_t,
    ) -> Result<(), u32> {
        let code = match instance {
            None => self.call2("nvmlGpmSampleGet", gpu, sample),
            Some(id) => self.call3("nvmlGpmMigSampleGet", gpu, id, sample),
        };
        if code == 0 { Ok(()) } else { Err(code) }
    }

    fn metrics(&self, samples: [nvml::nvmlGpmSample_t; 2], ids: &[u32]) -> Vec<Result<i64, u32>> {
        // SAFETY: zero is a value of each of its parts.
        let mut request: Box<nvml::nvmlGpmMetricsGet_t> = unsafe { Box::new(std::mem::zeroed()) };
        request.version = 1;
        request.numMetrics = ids.len() as u32;
        [request.sample1, request.sample2] = samples;
        for (metric, id) in request.metrics.iter_mut().zip(ids) {
            metric.metricId = *id;
        }
        assert_eq!(self.call1("nvmlGpmMetricsGet", &raw mut *request), 0);
        let metrics = request.metrics.iter().take(ids.len());
        metrics
            .map(|metric| match metric.nvmlReturn {
                0 => Ok(metric.value.round() as i64),
                code => Err(code),
            })
            .collect()
    }
}

/// The text in a C buffer.
pub(crate) fn words(buffer: &[c_char]) -> String {
    let bytes = buffer
        .iter()
        .map(|byte| byte.cast_unsigned())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// NVML's version of layout `number` of a struct.
pub(crate) fn version<T>(number: u32) -> u32 {
    size_of::<T>() as u32 | number << 24
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client of a C library lives in real time"
)]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client of a C library lives in real time"
)]
pub(crate) fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
