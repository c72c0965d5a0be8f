use std::os::raw::{c_char, c_int, c_uint, c_ulonglong};

use libloading::Library;
use nvml_wrapper_sys::bindings::{
    nvmlClockType_t, nvmlDevice_t, nvmlDeviceAttributes_t, nvmlEccCounterType_t, nvmlEventData_t,
    nvmlEventSet_t, nvmlFieldValue_t, nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t,
    nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlMemoryErrorType_t,
    nvmlPciInfo_t, nvmlPcieUtilCounter_t, nvmlProcessInfo_t, nvmlProcessUtilizationSample_t, nvmlReturn_t,
    nvmlSample_t, nvmlSamplingType_t, nvmlTemperature_t, nvmlTemperatureSensors_t, nvmlUtilization_t,
    nvmlValueType_t,
};

macro_rules! symbols {
    ($($field:ident = $name:literal ($($argument:ty),*);)*) => {
        /// The entry points of NVML that we call; `None` where the library lacks one.
        pub(super) struct Symbols {
            $(pub(super) $field: Option<unsafe extern "C" fn($($argument),*) -> nvmlReturn_t>,)*
        }

        impl Symbols {
            /// Looks all of them up in `library`.
            ///
            /// # Safety
            ///
            /// `library` is NVML: its symbols have the signatures of `nvml.h`. What is returned must
            /// not be called after the library is unloaded.
            pub(super) unsafe fn load(library: &Library) -> Self {
                // SAFETY: the caller vouches for the signatures.
                unsafe {
                    Self { $($field: library.get(concat!($name, "\0")).ok().map(|symbol| *symbol),)* }
                }
            }
        }
    };
}

symbols! {
    init = "nvmlInit_v2" ();
    shutdown = "nvmlShutdown" ();
    driver_version = "nvmlSystemGetDriverVersion" (*mut c_char, c_uint);
    cuda_version = "nvmlSystemGetCudaDriverVersion_v2" (*mut c_int);

    device_count = "nvmlDeviceGetCount_v2" (*mut c_uint);
    device_by_index = "nvmlDeviceGetHandleByIndex_v2" (c_uint, *mut nvmlDevice_t);
    uuid = "nvmlDeviceGetUUID" (nvmlDevice_t, *mut c_char, c_uint);
    name = "nvmlDeviceGetName" (nvmlDevice_t, *mut c_char, c_uint);
    minor_number = "nvmlDeviceGetMinorNumber" (nvmlDevice_t, *mut c_uint);
    pci_info = "nvmlDeviceGetPciInfo_v3" (nvmlDevice_t, *mut nvmlPciInfo_t);

    utilization_rates = "nvmlDeviceGetUtilizationRates" (nvmlDevice_t, *mut nvmlUtilization_t);
    samples = "nvmlDeviceGetSamples" (
        nvmlDevice_t, nvmlSamplingType_t, c_ulonglong, *mut nvmlValueType_t, *mut c_uint, *mut nvmlSample_t
    );
    memory_info = "nvmlDeviceGetMemoryInfo" (nvmlDevice_t, *mut nvmlMemory_t);
    memory_info_v2 = "nvmlDeviceGetMemoryInfo_v2" (nvmlDevice_t, *mut nvmlMemory_v2_t);
    power_usage = "nvmlDeviceGetPowerUsage" (nvmlDevice_t, *mut c_uint);
    enforced_power_limit = "nvmlDeviceGetEnforcedPowerLimit" (nvmlDevice_t, *mut c_uint);
    total_energy = "nvmlDeviceGetTotalEnergyConsumption" (nvmlDevice_t, *mut c_ulonglong);
    temperature = "nvmlDeviceGetTemperature" (nvmlDevice_t, nvmlTemperatureSensors_t, *mut c_uint);
    temperature_v = "nvmlDeviceGetTemperatureV" (nvmlDevice_t, *mut nvmlTemperature_t);
    clock_info = "nvmlDeviceGetClockInfo" (nvmlDevice_t, nvmlClockType_t, *mut c_uint);
    clocks_event_reasons = "nvmlDeviceGetCurrentClocksEventReasons" (nvmlDevice_t, *mut c_ulonglong);
    clocks_throttle_reasons = "nvmlDeviceGetCurrentClocksThrottleReasons" (nvmlDevice_t, *mut c_ulonglong);
    total_ecc_errors = "nvmlDeviceGetTotalEccErrors" (
        nvmlDevice_t, nvmlMemoryErrorType_t, nvmlEccCounterType_t, *mut c_ulonglong
    );
    field_values = "nvmlDeviceGetFieldValues" (nvmlDevice_t, c_int, *mut nvmlFieldValue_t);
    pcie_throughput = "nvmlDeviceGetPcieThroughput" (nvmlDevice_t, nvmlPcieUtilCounter_t, *mut c_uint);
    pcie_replay_counter = "nvmlDeviceGetPcieReplayCounter" (nvmlDevice_t, *mut c_uint);
    encoder_utilization = "nvmlDeviceGetEncoderUtilization" (nvmlDevice_t, *mut c_uint, *mut c_uint);
    decoder_utilization = "nvmlDeviceGetDecoderUtilization" (nvmlDevice_t, *mut c_uint, *mut c_uint);

    compute_processes = "nvmlDeviceGetComputeRunningProcesses_v3" (
        nvmlDevice_t, *mut c_uint, *mut nvmlProcessInfo_t
    );
    mps_processes = "nvmlDeviceGetMPSComputeRunningProcesses_v3" (
        nvmlDevice_t, *mut c_uint, *mut nvmlProcessInfo_t
    );
    graphics_processes = "nvmlDeviceGetGraphicsRunningProcesses_v3" (
        nvmlDevice_t, *mut c_uint, *mut nvmlProcessInfo_t
    );
    process_utilization = "nvmlDeviceGetProcessUtilization" (
        nvmlDevice_t, *mut nvmlProcessUtilizationSample_t, *mut c_uint, c_ulonglong
    );

    mig_mode = "nvmlDeviceGetMigMode" (nvmlDevice_t, *mut c_uint, *mut c_uint);
    max_mig_devices = "nvmlDeviceGetMaxMigDeviceCount" (nvmlDevice_t, *mut c_uint);
    mig_device_by_index = "nvmlDeviceGetMigDeviceHandleByIndex" (nvmlDevice_t, c_uint, *mut nvmlDevice_t);
    gpu_instance_id = "nvmlDeviceGetGpuInstanceId" (nvmlDevice_t, *mut c_uint);
    compute_instance_id = "nvmlDeviceGetComputeInstanceId" (nvmlDevice_t, *mut c_uint);
    gpu_instance_by_id = "nvmlDeviceGetGpuInstanceById" (nvmlDevice_t, c_uint, *mut nvmlGpuInstance_t);
    gpu_instance_info = "nvmlGpuInstanceGetInfo" (nvmlGpuInstance_t, *mut nvmlGpuInstanceInfo_t);
    attributes = "nvmlDeviceGetAttributes_v2" (nvmlDevice_t, *mut nvmlDeviceAttributes_t);

    gpm_support = "nvmlGpmQueryDeviceSupport" (nvmlDevice_t, *mut nvmlGpmSupport_t);
    gpm_sample_alloc = "nvmlGpmSampleAlloc" (*mut nvmlGpmSample_t);
    gpm_sample_free = "nvmlGpmSampleFree" (nvmlGpmSample_t);
    gpm_sample_get = "nvmlGpmSampleGet" (nvmlDevice_t, nvmlGpmSample_t);
    gpm_mig_sample_get = "nvmlGpmMigSampleGet" (nvmlDevice_t, c_uint, nvmlGpmSample_t);
    gpm_metrics_get = "nvmlGpmMetricsGet" (*mut nvmlGpmMetricsGet_t);

    event_set_create = "nvmlEventSetCreate" (*mut nvmlEventSet_t);
    event_set_free = "nvmlEventSetFree" (nvmlEventSet_t);
    event_set_wait = "nvmlEventSetWait_v2" (nvmlEventSet_t, *mut nvmlEventData_t, c_uint);
    supported_event_types = "nvmlDeviceGetSupportedEventTypes" (nvmlDevice_t, *mut c_ulonglong);
    register_events = "nvmlDeviceRegisterEvents" (nvmlDevice_t, c_ulonglong, nvmlEventSet_t);
}
