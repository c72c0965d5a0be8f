//! Loads the built shared library as an NVML client does and calls it over its C ABI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "the tests are clients of a C library")]

mod client;

use std::time::Duration;

use client::{
    Client, GPU_IS_LOST, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, TIMEOUT,
    UNINITIALIZED,
};
use nvidia_ml::{
    Curve, ErrorCode, Event, Fault, Gpu, Mig, MigInstance, Process, Scenario, Shape, Throttle, ThrottleReason,
};
use nvml_wrapper_sys::bindings as nvml;

const H100: &str = "NVIDIA H100 80GB HBM3";
const GIB: u64 = 1 << 30;

/// One busy H100 with two processes, a PCIe rate and a fixed power.
fn busy() -> Scenario {
    let mut scenario = Scenario::of(H100, 1);
    let gpu = &mut scenario.gpus[0];
    gpu.readings.utilization_percent = Some(Curve::Constant(73.0));
    gpu.readings.power_watts = Some(Curve::Constant(350.0));
    gpu.readings.pcie_rx_bytes_per_second = Some(Curve::Constant(1e9));
    gpu.processes = vec![
        Process {
            sm_percent: Curve::Constant(70.0),
            ..Process::new(101, 3 * GIB)
        },
        Process::new(102, GIB),
    ];
    scenario
}

#[test]
fn every_name_of_nvml_is_exported() {
    let client = Client::new(&busy());
    let names: Vec<_> = include_str!("symbols.txt").lines().collect();
    assert_eq!(names.len(), 428);
    let missing: Vec<_> = names.iter().filter(|name| !client.has(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn calls_need_init_and_end_with_shutdown() {
    let client = Client::new(&busy());
    let mut count = 0;
    assert_eq!(
        client.call1("nvmlDeviceGetCount_v2", &raw mut count),
        UNINITIALIZED
    );
    client.init();
    client.init();
    assert_eq!(client.call1("nvmlDeviceGetCount_v2", &raw mut count), 0);
    assert_eq!(count, 1);
    assert_eq!(client.call0("nvmlShutdown"), 0);
    assert_eq!(client.call1("nvmlDeviceGetCount_v2", &raw mut count), 0);
    assert_eq!(client.call0("nvmlShutdown"), 0);
    assert_eq!(
        client.call1("nvmlDeviceGetCount_v2", &raw mut count),
        UNINITIALIZED
    );
    assert_eq!(client.call0("nvmlShutdown"), UNINITIALIZED);
}

#[test]
fn a_mismatch_of_driver_and_library_is_found_at_init() {
    let mut scenario = busy();
    scenario
        .faults
        .push(Fault::error("nvmlInit*", ErrorCode::LibRmVersionMismatch));
    let client = Client::new(&scenario);
    for name in ["nvmlInit", "nvmlInit_v2"] {
        assert_eq!(client.call0(name), 18);
    }
    assert_eq!(client.call1("nvmlInitWithFlags", 0_u32), 18);
    client.change(&busy());
    client.init();
}

#[test]
fn readings_are_those_of_the_scenario() {
    let client = Client::ready(&busy());
    let gpu = client.gpu(0);
    assert_eq!(client.text("nvmlDeviceGetName", gpu), H100);
    let rates: nvml::nvmlUtilization_t = client.get("nvmlDeviceGetUtilizationRates", gpu).unwrap();
    assert_eq!(rates.gpu, 73);
    assert_eq!(client.get::<u32>("nvmlDeviceGetPowerUsage", gpu), Ok(350_000));
    assert_eq!(
        client.get::<u32>("nvmlDeviceGetEnforcedPowerLimit", gpu),
        Ok(700_000)
    );
    // Passively cooled.
    assert_eq!(
        client.get::<u32>("nvmlDeviceGetFanSpeed", gpu),
        Err(NOT_SUPPORTED)
    );
    let pci: nvml::nvmlPciInfo_t = client.get("nvmlDeviceGetPciInfo_v3", gpu).unwrap();
    assert_eq!(client::words(&pci.busId), "00000000:1B:00.0");
    let memory: nvml::nvmlMemory_t = client.get("nvmlDeviceGetMemoryInfo", gpu).unwrap();
    assert_eq!(memory.total, 81_559 << 20);
    assert_eq!(memory.used, 4 * GIB + (551 << 20));
    assert_eq!(memory.free + memory.used, memory.total);
}

#[test]
fn versioned_structs_are_refused_with_a_wrong_version() {
    let client = Client::ready(&busy());
    let gpu = client.gpu(0);
    let mut memory = nvml::nvmlMemory_v2_t {
        version: 2,
        total: 0,
        reserved: 0,
        free: 0,
        used: 0,
    };
    assert_eq!(
        client.call2("nvmlDeviceGetMemoryInfo_v2", gpu, &raw mut memory),
        25
    );
    memory.version = client::version::<nvml::nvmlMemory_v2_t>(2);
    assert_eq!(
        client.call2("nvmlDeviceGetMemoryInfo_v2", gpu, &raw mut memory),
        0
    );
    assert_eq!(memory.used, 4 * GIB);
    assert_eq!(memory.reserved + memory.used + memory.free, memory.total);
    let mut temperature = nvml::nvmlTemperature_t {
        version: client::version::<nvml::nvmlTemperature_t>(1),
        sensorType: 0,
        temperature: 0,
    };
    assert_eq!(
        client.call2("nvmlDeviceGetTemperatureV", gpu, &raw mut temperature),
        0
    );
    // 30 °C, and 45 °C more at 700 W.
    assert_eq!(temperature.temperature, 53);
}

#[test]
fn lists_tell_their_size_first() {
    let client = Client::ready(&busy());
    let gpu = client.gpu(0);
    let name = "nvmlDeviceGetComputeRunningProcesses_v3";
    let mut count = 0;
    let nowhere = std::ptr::null_mut::<nvml::nvmlProcessInfo_t>();
    assert_eq!(
        client.call3(name, gpu, &raw mut count, nowhere),
        INSUFFICIENT_SIZE
    );
    assert_eq!(count, 2);
    let empty = nvml::nvmlProcessInfo_t {
        pid: 0,
        usedGpuMemory: 0,
        gpuInstanceId: 0,
        computeInstanceId: 0,
    };
    let mut list = [empty; 4];
    count = 4;
    assert_eq!(client.call3(name, gpu, &raw mut count, list.as_mut_ptr()), 0);
    assert_eq!(count, 2);
    assert_eq!(
        (list[0].pid, list[0].usedGpuMemory, list[0].gpuInstanceId),
        (101, 3 * GIB, u32::MAX)
    );
    count = 0;
    assert_eq!(
        client.call3(
            "nvmlDeviceGetGraphicsRunningProcesses_v3",
            gpu,
            &raw mut count,
            nowhere
        ),
        0
    );
    assert_eq!(count, 0);
}

#[test]
fn only_active_processes_have_utilisation() {
    let client = Client::ready(&busy());
    let gpu = client.gpu(0);
    let samples = client.process_utilization(gpu, 0).unwrap();
    assert_eq!(
        samples
            .iter()
            .map(|one| (one.pid, one.smUtil))
            .collect::<Vec<_>>(),
        [(101, 70)]
    );
    // Nothing newer yet than the newest sample but one period: wait for a newer one, then ask again.
    let last = samples[0].timeStamp;
    client.eventually(|| {
        client
            .process_utilization(gpu, last)
            .is_ok_and(|new| new[0].timeStamp > last)
    });
    assert_eq!(client.process_utilization(gpu, u64::MAX).unwrap_err(), NOT_FOUND);
}

#[test]
fn samples_come_once_each_in_order() {
    let client = Client::ready(&busy());
    let gpu = client.gpu(0);
    // `NVML_GPU_UTILIZATION_SAMPLES`, then `NVML_TOTAL_POWER_SAMPLES`.
    let first = client.samples(gpu, 1, 0).unwrap();
    assert!(first.len() > 10 && first.windows(2).all(|pair| pair[0].timeStamp < pair[1].timeStamp));
    let last = first.last().unwrap().timeStamp;
    assert_eq!(
        client.samples(gpu, 1, last + 3_600_000_000).err(),
        Some(NOT_FOUND)
    );
    client.eventually(|| {
        client
            .samples(gpu, 1, last)
            .is_ok_and(|new| new.iter().all(|one| one.timeStamp > last))
    });
    let power = client.samples(gpu, 0, 0).unwrap();
    for sample in power {
        // SAFETY: samples are unsigned ints.
        assert_eq!(unsafe { sample.sampleValue.uiVal }, 350_000);
    }
}

#[test]
fn each_field_has_its_own_answer() {
    let mut scenario = busy();
    scenario.started_at_unix_seconds = Some(1_700_000_000.0);
    scenario.faults.push(Fault {
        field: Some(186),
        ..Fault::error("nvmlDeviceGetFieldValues", ErrorCode::NoPermission)
    });
    let client = Client::ready(&scenario);
    let gpu = client.gpu(0);
    let fields = client.fields(gpu, &[83, 185, 186, 198, 4_000]).unwrap();
    assert_eq!(
        fields.iter().map(|field| field.nvmlReturn).collect::<Vec<_>>(),
        [0, 0, 4, 0, NOT_SUPPORTED]
    );
    // SAFETY: the types of these fields are known.
    let (energy, power, bytes) = unsafe {
        (
            fields[0].value.ullVal,
            fields[1].value.uiVal,
            fields[3].value.ullVal,
        )
    };
    assert_eq!(power, 350_000);
    assert_eq!(fields[0].valueType, 3);
    let seconds = fields[0].timestamp as f64 / 1e6 - 1_700_000_000.0;
    assert!(
        (energy as f64 / 350_000.0 - seconds).abs() < 0.01,
        "{energy} mJ after {seconds} s"
    );
    assert!(
        (bytes as f64 / 1e9 - seconds).abs() < 0.01,
        "{bytes} bytes after {seconds} s"
    );
}

#[test]
fn throttle_times_have_the_numbers_of_the_driver() {
    let mut scenario = busy();
    scenario.gpus[0].throttle = vec![Throttle {
        reason: ThrottleReason::HwThermalSlowdown,
        from_seconds: 0.0,
        until_seconds: Some(2.0),
    }];
    scenario.started_at_unix_seconds = Some(1_700_000_000.0);
    let client = Client::ready(&scenario);
    let field = |id: u32| {
        let all = client.fields(client.gpu(0), &[id]).unwrap();
        // SAFETY: the field counts nanoseconds in a long.
        (all[0].nvmlReturn, unsafe { all[0].value.ullVal })
    };
    let (code, nanoseconds) = field(270);
    assert!(
        code == 0 && nanoseconds.abs_diff(2_000_000_000) < 1_000_000,
        "{nanoseconds}"
    );
    assert_eq!(field(252).0, NOT_SUPPORTED);
    scenario.driver.version = "570.10.01".to_owned();
    client.change(&scenario);
    client.eventually(|| field(252).0 == 0 && field(270).0 == NOT_SUPPORTED);
}

#[test]
fn mig_devices_come_and_go() {
    let mut scenario = Scenario::of(H100, 2);
    let mut first = MigInstance::of("3g.40gb");
    first.activity.sm_percent = Some(Curve::Constant(40.0));
    first.processes = vec![Process::new(103, 5 * GIB)];
    scenario.gpus[1].mig = Some(Mig {
        instances: vec![first, MigInstance::of("1g.10gb")],
        ..Mig::default()
    });
    let client = Client::ready(&scenario);
    let gpu = client.gpu(1);
    assert_eq!(
        client
            .get::<nvml::nvmlUtilization_t>("nvmlDeviceGetUtilizationRates", gpu)
            .err(),
        Some(NOT_SUPPORTED)
    );
    assert_eq!(client.get::<u32>("nvmlDeviceGetMaxMigDeviceCount", gpu), Ok(7));
    assert_eq!(
        client.get::<u32>("nvmlDeviceGetMaxMigDeviceCount", client.gpu(0)),
        Ok(0)
    );
    let mig = client.mig(gpu, 0).unwrap();
    let small = client.mig(gpu, 1).unwrap();
    assert_eq!(client.mig(gpu, 2).unwrap_err(), NOT_FOUND);
    assert_eq!(
        client.text("nvmlDeviceGetName", mig),
        format!("{H100} MIG 3g.40gb")
    );
    assert_eq!(client.get::<u32>("nvmlDeviceGetGpuInstanceId", mig), Ok(1));
    assert_eq!(client.get::<u32>("nvmlDeviceGetComputeInstanceId", mig), Ok(0));
    assert_eq!(
        client.get::<u32>("nvmlDeviceGetPowerUsage", mig),
        Err(NOT_SUPPORTED)
    );
    assert_eq!(
        client
            .get::<nvml::nvmlUtilization_t>("nvmlDeviceGetUtilizationRates", mig)
            .err(),
        Some(NOT_SUPPORTED)
    );
    let memory: nvml::nvmlMemory_t = client.get("nvmlDeviceGetMemoryInfo", mig).unwrap();
    assert_eq!(memory.used, 5 * GIB);
    let attributes: nvml::nvmlDeviceAttributes_t = client.get("nvmlDeviceGetAttributes_v2", mig).unwrap();
    assert_eq!(
        (attributes.gpuInstanceSliceCount, attributes.multiprocessorCount),
        (3, 60)
    );
    let parent = client.get::<nvml::nvmlDevice_t>("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", mig);
    assert_eq!(parent, Ok(gpu));
    let uuid = client.text("nvmlDeviceGetUUID", mig);
    assert_eq!(client.by_uuid(&uuid), Ok(mig));

    let mut instance = std::ptr::null_mut::<nvml::nvmlGpuInstance_st>();
    assert_eq!(
        client.call3("nvmlDeviceGetGpuInstanceById", gpu, 1_u32, &raw mut instance),
        0
    );
    let info: nvml::nvmlGpuInstanceInfo_t = client.get("nvmlGpuInstanceGetInfo", instance).unwrap();
    assert_eq!(
        (
            info.profileId,
            info.placement.start,
            info.placement.size,
            info.device
        ),
        (9, 4, 4, gpu)
    );

    // The large instance goes, another one comes in its place; the small one stays.
    let set = client.event_set(gpu, 0x100);
    let Some(layout) = &mut scenario.gpus[1].mig else {
        panic!("MIG is on")
    };
    layout.instances[0] = MigInstance {
        gpu_instance: Some(2),
        ..MigInstance::of("2g.20gb")
    };
    client.change(&scenario);
    let event = client.wait(set, 5_000).unwrap();
    assert_eq!((event.eventType, event.device), (0x100, gpu));
    assert_eq!(
        client.get::<u32>("nvmlDeviceGetGpuInstanceId", mig),
        Err(INVALID_ARGUMENT)
    );
    assert_eq!(client.get::<u32>("nvmlDeviceGetGpuInstanceId", small), Ok(7));
    let new = client.mig(gpu, 0).unwrap();
    assert_ne!(new, mig);
    assert_eq!(client.get::<u32>("nvmlDeviceGetGpuInstanceId", new), Ok(2));
    let gone = client
        .get::<nvml::nvmlGpuInstanceInfo_t>("nvmlGpuInstanceGetInfo", instance)
        .err();
    assert_eq!(gone, Some(INVALID_ARGUMENT));
}

#[test]
fn gpm_tells_what_happened_between_two_samples() {
    let mut scenario = busy();
    scenario.gpus[0].activity.tensor_percent = Some(Curve::Constant(30.0));
    let mut part = MigInstance::of("3g.40gb");
    part.activity.sm_percent = Some(Curve::Constant(55.0));
    scenario.gpus.push(Gpu {
        mig: Some(Mig {
            instances: vec![part],
            ..Mig::default()
        }),
        ..Gpu::default()
    });
    scenario.gpus.push(Gpu {
        model: "Tesla T4".to_owned(),
        ..Gpu::default()
    });
    let client = Client::ready(&scenario);
    let whole = client.gpm(None, client.gpu(0), &[2, 5, 20, 21, 99]).unwrap();
    assert_eq!(whole[0], Ok(73));
    assert_eq!(whole[1], Ok(30));
    assert_eq!(whole[2], Ok(0));
    // MiB a second.
    assert_eq!(whole[3], Ok(954));
    assert_eq!(whole[4], Err(NOT_SUPPORTED));
    let instance = client
        .get::<u32>(
            "nvmlDeviceGetGpuInstanceId",
            client.mig(client.gpu(1), 0).unwrap(),
        )
        .unwrap();
    let part = client.gpm(Some(instance), client.gpu(1), &[2, 10, 21]).unwrap();
    assert_eq!(part, [Ok(55), Ok(28), Err(NOT_SUPPORTED)]);
    assert_eq!(client.gpm(None, client.gpu(2), &[2]).unwrap_err(), NOT_SUPPORTED);
    assert_eq!(client.gpm_too_soon(client.gpu(0)), 21);
}

#[test]
fn an_xid_ends_a_wait_and_is_told_once() {
    let mut scenario = busy();
    let client = Client::ready(&scenario);
    let gpu = client.gpu(0);
    let set = client.event_set(gpu, 0x8);
    let before = client::monotonic_now();
    assert_eq!(client.wait(set, 60).unwrap_err(), TIMEOUT);
    assert!(before.elapsed() >= Duration::from_millis(60));
    scenario.gpus[0].events = vec![Event::xid(79, 0.0), Event::xid(31, 3_600.0)];
    client.change(&scenario);
    let event = client.wait(set, 5_000).unwrap();
    assert_eq!((event.eventType, event.eventData, event.device), (8, 79, gpu));
    assert_eq!(client.wait(set, 30).unwrap_err(), TIMEOUT);
    assert_eq!(client.call1("nvmlEventSetFree", set), 0);
    assert_eq!(client.wait(set, 30).unwrap_err(), INVALID_ARGUMENT);
}

#[test]
fn a_lost_gpu_answers_nothing_and_the_others_go_on() {
    let mut scenario = Scenario::of(H100, 2);
    let client = Client::ready(&scenario);
    let handles = [client.gpu(0), client.gpu(1)];
    scenario.faults.push(Fault::lost(0));
    client.change(&scenario);
    client.eventually(|| client.get::<u32>("nvmlDeviceGetPowerUsage", handles[0]) == Err(GPU_IS_LOST));
    let mut handle = std::ptr::null_mut::<nvml::nvmlDevice_st>();
    assert_eq!(
        client.call2("nvmlDeviceGetHandleByIndex_v2", 0_u32, &raw mut handle),
        GPU_IS_LOST
    );
    assert!(client.get::<u32>("nvmlDeviceGetPowerUsage", handles[1]).is_ok());
    scenario.faults.clear();
    client.change(&scenario);
    client.eventually(|| client.get::<u32>("nvmlDeviceGetPowerUsage", handles[0]).is_ok());
}

#[test]
fn a_fault_has_its_time() {
    let mut scenario = busy();
    let now = client::unix_now();
    scenario.started_at_unix_seconds = Some(now);
    let fault = Fault::error("nvmlDeviceGetPowerUsage", ErrorCode::NoPermission);
    scenario.faults.push(Fault {
        from_seconds: 0.4,
        until_seconds: Some(0.8),
        ..fault
    });
    let client = Client::ready(&scenario);
    let gpu = client.gpu(0);
    loop {
        let before = client::unix_now() - now;
        let answer = client.get::<u32>("nvmlDeviceGetPowerUsage", gpu);
        let after = client::unix_now() - now;
        if after < 0.4 || before >= 0.8 {
            assert_eq!(answer, Ok(350_000), "from {before} to {after} s");
        } else if before >= 0.4 && after < 0.8 {
            assert_eq!(answer, Err(4), "from {before} to {after} s");
        }
        if before > 0.9 {
            break;
        }
    }
}

#[test]
fn slow_calls_are_slow() {
    let mut scenario = busy();
    scenario
        .faults
        .push(Fault::latency("nvmlDeviceGetPowerUsage", 80.0));
    let client = Client::ready(&scenario);
    let gpu = client.gpu(0);
    let before = client::monotonic_now();
    assert!(client.get::<u32>("nvmlDeviceGetPowerUsage", gpu).is_ok());
    assert!(before.elapsed() >= Duration::from_millis(80));
    let before = client::monotonic_now();
    let mut kib = 0_u32;
    assert_eq!(
        client.call3("nvmlDeviceGetPcieThroughput", gpu, 1_u32, &raw mut kib),
        0
    );
    assert!(before.elapsed() >= Duration::from_millis(20));
    assert_eq!(kib, 976_563);
}

#[test]
fn two_copies_have_two_scenarios_and_follow_their_changes() {
    let mut scenario = busy();
    let one = Client::ready(&scenario);
    let two = Client::ready(&Scenario {
        node: "other".to_owned(),
        ..Scenario::of("Tesla T4", 3)
    });
    assert_eq!(one.text("nvmlDeviceGetName", one.gpu(0)), H100);
    assert_eq!(two.text("nvmlDeviceGetName", two.gpu(2)), "Tesla T4");
    // A handle means something only to the copy that gave it.
    assert_eq!(
        two.get::<u32>("nvmlDeviceGetPowerUsage", one.gpu(0)),
        Err(INVALID_ARGUMENT)
    );
    assert_ne!(
        one.text("nvmlDeviceGetUUID", one.gpu(0)),
        two.text("nvmlDeviceGetUUID", two.gpu(0))
    );
    let power = || one.get::<u32>("nvmlDeviceGetPowerUsage", one.gpu(0)).unwrap();
    assert_eq!(power(), 350_000);
    let energy = || {
        one.get::<u64>("nvmlDeviceGetTotalEnergyConsumption", one.gpu(0))
            .unwrap()
    };
    let before = energy();
    scenario.gpus[0].readings.power_watts = Some(Curve::Constant(120.0));
    one.change(&scenario);
    one.eventually(|| power() == 120_000);
    assert!(energy() >= before, "the counter goes on");
    assert_eq!(two.text("nvmlDeviceGetName", two.gpu(0)), "Tesla T4");
}

#[test]
fn half_a_file_leaves_the_last_good_scenario() {
    let mut scenario = busy();
    let client = Client::ready(&scenario);
    std::fs::write(client.scenario_path(), r#"{"gpus": [{"mod"#).unwrap();
    let deadline = client::monotonic_now() + Duration::from_millis(200);
    while client::monotonic_now() < deadline {
        assert_eq!(
            client.get::<u32>("nvmlDeviceGetPowerUsage", client.gpu(0)),
            Ok(350_000)
        );
    }
    scenario.gpus[0].readings.power_watts = Some(Curve::Constant(90.0));
    client.change(&scenario);
    client.eventually(|| client.get::<u32>("nvmlDeviceGetPowerUsage", client.gpu(0)) == Ok(90_000));
}

#[test]
fn a_curve_is_followed_and_energy_agrees_with_power() {
    let mut scenario = busy();
    let shape = Shape::Square {
        low: 100.0,
        high: 500.0,
        period_seconds: 0.2,
        duty: 0.5,
    };
    scenario.gpus[0].readings.power_watts = Some(Curve::Shape(shape));
    let client = Client::ready(&scenario);
    let gpu = client.gpu(0);
    let power = || client.get::<u32>("nvmlDeviceGetPowerUsage", gpu).unwrap();
    client.eventually(|| power() == 100_000);
    client.eventually(|| power() == 500_000);
    let read = || {
        let fields = client.fields(gpu, &[83]).unwrap();
        // SAFETY: energy is a long.
        (
            fields[0].timestamp as f64 / 1e6,
            unsafe { fields[0].value.ullVal } as f64 / 1e3,
        )
    };
    let (start, first) = read();
    client.eventually(|| read().0 - start > 1.0);
    let (end, last) = read();
    let mean = (last - first) / (end - start);
    // Half of the time each; at most one half period is not matched.
    assert!((260.0..=340.0).contains(&mean), "{mean} W");
}

#[test]
fn many_threads_may_call_at_once() {
    let mut scenario = busy();
    let client = Client::ready(&scenario);
    let gpu = client::Shared(client.gpu(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            let (client, gpu) = (&client, &gpu);
            threads.spawn(move || {
                for _ in 0..2_000 {
                    let power = client.get::<u32>("nvmlDeviceGetPowerUsage", gpu.0).unwrap();
                    assert!((300_000..=400_000).contains(&power));
                }
            });
        }
        for step in 0..20 {
            scenario.gpus[0].readings.power_watts = Some(Curve::Constant(300.0 + f64::from(step) * 5.0));
            client.change(&scenario);
        }
    });
}

#[test]
fn a_wrong_handle_is_refused() {
    let client = Client::ready(&busy());
    for address in [0, 8, 0xFFFF_FFFF_FFFF_FFF0] {
        let handle = std::ptr::without_provenance_mut::<nvml::nvmlDevice_st>(address);
        assert_eq!(
            client.get::<u32>("nvmlDeviceGetPowerUsage", handle),
            Err(INVALID_ARGUMENT)
        );
    }
    let null = std::ptr::null_mut::<u32>();
    assert_eq!(
        client.call2("nvmlDeviceGetPowerUsage", client.gpu(0), null),
        INVALID_ARGUMENT
    );
}

#[test]
fn no_scenario_is_no_driver() {
    let client = Client::new(&busy());
    std::fs::remove_file(client.scenario_path()).unwrap();
    assert_eq!(client.call0("nvmlInit_v2"), 9);
    client.change(&busy());
    client.init();
}
