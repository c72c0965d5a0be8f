//! What the sampler reads over NVML's C ABI is what the scenario says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use nvidia_ml::{ErrorCode, Fault, Gpu, Process, ProcessKind, Scenario, Throttle, ThrottleReason};
use rheostat_gpu::{Device, DeviceKind, DriverState, SamplerOptions};
use rheostat_reading::{Absent, Clock, Quality, Quantity};
use support::{Machine, assert_near, constant, is_near, reading, value};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn h100() -> Gpu {
    let mut gpu = Gpu {
        minor: Some(3),
        ..Gpu::default()
    };
    gpu.uuid = Some("GPU-11111111-2222-3333-4444-555555555555".into());
    gpu.pci_bus_id = Some("00000000:1B:00.0".into());
    let readings = &mut gpu.readings;
    readings.utilization_percent = constant(73.0);
    readings.memory_utilization_percent = constant(31.0);
    readings.memory_used_bytes = constant(20.0 * GIB);
    readings.power_watts = constant(412.5);
    readings.temperature_celsius = constant(61.0);
    readings.sm_clock_mhz = constant(1755.0);
    readings.memory_clock_mhz = constant(2619.0);
    readings.encoder_percent = constant(12.0);
    readings.decoder_percent = constant(7.0);
    readings.pcie_tx_bytes_per_second = constant(3e9);
    readings.pcie_rx_bytes_per_second = constant(5e9);
    readings.nvlink_tx_bytes_per_second = constant(100e9);
    readings.nvlink_rx_bytes_per_second = constant(50e9);
    gpu.activity.sm_percent = constant(64.0);
    gpu.activity.sm_occupancy_percent = constant(25.0);
    gpu.activity.tensor_percent = constant(40.0);
    gpu.activity.dram_percent = constant(55.0);
    gpu.ecc.corrected_volatile = 5;
    gpu.ecc.uncorrected_volatile = 1;
    gpu.power_limit_watts = Some(600.0);
    gpu
}

fn of(gpu: Gpu) -> Scenario {
    Scenario {
        gpus: vec![gpu],
        ..Scenario::default()
    }
}

/// Everything that needs a second sample has had it.
const LATE: [Quantity; 7] = [
    Quantity::SmActive,
    Quantity::PcieTx,
    Quantity::PcieRx,
    Quantity::NvlinkTx,
    Quantity::NvlinkRx,
    Quantity::DutyCycle,
    Quantity::MemoryBandwidth,
];

#[test]
fn every_reading_of_a_gpu_is_what_the_driver_says() {
    let mut gpu = h100();
    gpu.throttle = vec![
        Throttle {
            reason: ThrottleReason::SwPowerCap,
            from_seconds: 0.0,
            until_seconds: None,
        },
        Throttle {
            reason: ThrottleReason::HwThermalSlowdown,
            from_seconds: 0.0,
            until_seconds: None,
        },
    ];
    let machine = Machine::start(&of(gpu));
    let device = machine.wait_for_device(0, "all readings", |device| {
        LATE.iter().all(|&late| device.readings.get(late).is_ok())
    });

    assert_eq!(device.id.as_str(), "GPU-11111111-2222-3333-4444-555555555555");
    assert_eq!(device.kind, DeviceKind::Gpu { partitioned: false });
    assert_eq!((device.index, device.minor), (0, Some(3)));
    assert_eq!(device.model, "NVIDIA H100 80GB HBM3");
    assert_eq!(device.pci_bus_id, "00000000:1B:00.0");
    assert_eq!(device.fault, None);
    assert_eq!(device.throttle_reasons, ["SwPowerCap", "HwThermalSlowdown"]);
    assert_eq!(device.throttle_reasons_absent, None);

    for (quantity, expected, tolerance) in [
        (Quantity::Utilization, 0.73, 1e-9),
        (Quantity::SmActive, 0.64, 0.01),
        (Quantity::SmOccupancy, 0.25, 0.01),
        (Quantity::TensorActive, 0.40, 0.01),
        (Quantity::MemoryBandwidth, 0.55, 0.01),
        (Quantity::DutyCycle, 1.0, 1e-9),
        (Quantity::MemoryUsedBytes, 20.0 * GIB, 1.0),
        (Quantity::MemoryTotalBytes, 81_559.0 * 1024.0 * 1024.0, 1.0),
        (Quantity::MemoryReservedBytes, 551.0 * 1024.0 * 1024.0, 1.0),
        (
            Quantity::MemoryFreeBytes,
            (81_559.0 - 551.0) * 1024.0 * 1024.0 - 20.0 * GIB,
            1.0,
        ),
        (Quantity::MemoryUsedPercent, 20.0 * 1024.0 / 81_559.0, 1e-6),
        (Quantity::Power, 412.5, 1e-3),
        (Quantity::PowerLimit, 600.0, 1e-3),
        (Quantity::Temperature, 61.0, 1e-9),
        (Quantity::SmClock, 1.755e9, 1.0),
        (Quantity::MemoryClock, 2.619e9, 1.0),
        (Quantity::EncoderUtilization, 0.12, 1e-9),
        (Quantity::DecoderUtilization, 0.07, 1e-9),
        (Quantity::EccCorrected, 5.0, 1e-9),
        (Quantity::EccUncorrected, 1.0, 1e-9),
        (Quantity::PcieReplays, 0.0, 1e-9),
    ] {
        assert_near(&device, quantity, expected, tolerance);
    }
    // No quantity was forgotten: each has a reading.
    for &quantity in Quantity::ALL {
        let reading = reading(&device, quantity);
        assert!(reading.at.unix_nanos() > 0);
        assert_eq!(reading.amount.unit(), quantity.unit());
    }
    assert_eq!(
        reading(&device, Quantity::MemoryBandwidth).quality,
        Quality::Measured
    );
    assert_eq!(reading(&device, Quantity::DutyCycle).quality, Quality::Derived);
    assert_eq!(reading(&device, Quantity::PcieTx).quality, Quality::Derived);
    assert!(reading(&device, Quantity::SmActive).window >= Duration::from_millis(100));
    assert!(!reading(&device, Quantity::PcieTx).window.is_zero());

    let snapshot = machine.sampler.latest();
    assert_eq!(
        snapshot.driver,
        DriverState::Ready {
            driver_version: "580.95.05".into(),
            cuda_version: "13.0".into()
        }
    );
}

/// One tick of 25 ms can be stretched by a busy machine, so a rate is judged over many ticks.
#[test]
fn counters_become_the_rates_that_fed_them() {
    let machine = Machine::start(&of(h100()));
    for (quantity, expected) in [
        (Quantity::PcieTx, 3e9),
        (Quantity::PcieRx, 5e9),
        (Quantity::NvlinkTx, 100e9),
        (Quantity::NvlinkRx, 50e9),
    ] {
        machine.wait_for_device(0, quantity.name(), |device| {
            device
                .readings
                .value(quantity)
                .is_some_and(|rate| is_near(rate, expected, expected * 0.02))
        });
    }
    let start = machine.wait_for_device(0, "energy", |device| {
        device.readings.get(Quantity::Energy).is_ok()
    });
    let start = reading(&start, Quantity::Energy);
    let end = machine.wait_for_device(0, "more energy", |device| {
        device
            .readings
            .get(Quantity::Energy)
            .is_ok_and(|energy| energy.at.since(start.at) > Duration::from_secs(1))
    });
    let end = reading(&end, Quantity::Energy);
    let watts = (end.amount.value() - start.amount.value()) / end.at.since(start.at).as_secs_f64();
    assert!(is_near(watts, 412.5, 412.5 * 0.05), "{watts} W");
}

#[test]
fn nvlink_5_counts_bytes() {
    let mut gpu = h100();
    gpu.model = nvidia_ml::model_names()
        .find(|name| name.contains("B200"))
        .expect("a Blackwell model")
        .to_owned();
    gpu.readings.power_watts = None;
    gpu.power_limit_watts = None;
    let machine = Machine::start(&of(gpu));
    machine.wait_for_device(0, "NVLink traffic", |device| {
        device
            .readings
            .value(Quantity::NvlinkTx)
            .is_some_and(|rate| is_near(rate, 100e9, 2e9))
    });
}

#[test]
fn a_gpu_before_hopper_has_no_gpm_and_an_estimate_of_its_bandwidth() {
    let mut gpu = h100();
    gpu.model = "NVIDIA A100-SXM4-80GB".into();
    gpu.readings.power_watts = constant(300.0);
    gpu.power_limit_watts = None;
    let machine = Machine::start(&of(gpu));
    // Its PCIe counters cannot be read as fields, so the slow lane measures them.
    let device = machine.wait_for_device(0, "PCIe traffic", |device| {
        [
            Quantity::PcieTx,
            Quantity::PcieRx,
            Quantity::DutyCycle,
            Quantity::NvlinkTx,
        ]
        .iter()
        .all(|&late| device.readings.get(late).is_ok())
    });
    for quantity in [Quantity::SmActive, Quantity::SmOccupancy, Quantity::TensorActive] {
        assert_eq!(device.readings.get(quantity), Err(&Absent::NotSupported));
    }
    assert_near(&device, Quantity::MemoryBandwidth, 0.31, 1e-9);
    assert_eq!(
        reading(&device, Quantity::MemoryBandwidth).quality,
        Quality::Estimated
    );
    assert_near(&device, Quantity::PcieTx, 3e9, 3e7);
    assert_near(&device, Quantity::PcieRx, 5e9, 5e7);
    assert_eq!(reading(&device, Quantity::PcieTx).quality, Quality::Measured);
    assert_eq!(
        reading(&device, Quantity::PcieTx).window,
        Duration::from_millis(20)
    );
}

#[test]
fn a_gpu_without_ecc_and_nvlink_has_no_errors_and_traffic_of_zero() {
    let mut gpu = h100();
    gpu.ecc.enabled = Some(false);
    gpu.nvlink_count = Some(0);
    gpu.readings.nvlink_tx_bytes_per_second = None;
    gpu.readings.nvlink_rx_bytes_per_second = None;
    let machine = Machine::start(&of(gpu));
    let device = machine.wait_for_device(0, "PCIe traffic", |device| {
        device.readings.get(Quantity::PcieTx).is_ok()
    });
    for quantity in [Quantity::EccCorrected, Quantity::EccUncorrected] {
        assert_eq!(
            device.readings.get(quantity),
            Err(&Absent::NotSupported),
            "{quantity}"
        );
    }
}

#[test]
fn an_absent_reading_keeps_the_drivers_reason() {
    let mut scenario = of(h100());
    scenario.faults = vec![
        Fault::error("nvmlDeviceGetPowerUsage", ErrorCode::NotSupported),
        Fault::error("nvmlDeviceGetEnforcedPowerLimit", ErrorCode::NoPermission),
        Fault::error("nvmlDeviceGetTemperature*", ErrorCode::Timeout),
        Fault::error("nvmlDeviceGetClockInfo", ErrorCode::OperatingSystem),
        Fault::error("nvmlDeviceGetEncoderUtilization", ErrorCode::CorruptedInforom),
        Fault::error("nvmlDeviceGetDecoderUtilization", ErrorCode::Unknown),
        Fault::error("nvmlDeviceGetSamples", ErrorCode::NotSupported),
        Fault::error("nvmlDeviceGetUtilizationRates", ErrorCode::NotReady),
        Fault::error("nvmlGpmQueryDeviceSupport", ErrorCode::NoPermission),
        Fault::error("nvmlDeviceGetMemoryInfo*", ErrorCode::InsufficientResources),
        Fault::error("nvmlDeviceGetCurrentClocks*", ErrorCode::NotSupported),
        Fault {
            field: Some(83),
            ..Fault::error("nvmlDeviceGetFieldValues", ErrorCode::IrqIssue)
        },
        Fault {
            field: Some(197),
            ..Fault::error("nvmlDeviceGetFieldValues", ErrorCode::Memory)
        },
    ];
    let machine = Machine::start(&scenario);
    machine.wait_for_more(4);
    let device = machine.wait_for_device(0, "a device", |_| true);
    assert_eq!(device.fault, None, "the errors are of single readings");
    let failed = |name: &str| Absent::Failed(format!("NVML_ERROR_{name}"));
    for (quantity, reason) in [
        (Quantity::Power, Absent::NotSupported),
        (Quantity::PowerLimit, Absent::NoPermission),
        (Quantity::Temperature, failed("TIMEOUT")),
        (Quantity::SmClock, failed("OPERATING_SYSTEM")),
        (Quantity::MemoryClock, failed("OPERATING_SYSTEM")),
        (Quantity::EncoderUtilization, failed("CORRUPTED_INFOROM")),
        (Quantity::DecoderUtilization, failed("UNKNOWN")),
        (Quantity::Utilization, failed("NOT_READY")),
        (Quantity::DutyCycle, failed("NOT_READY")),
        (Quantity::SmActive, Absent::NoPermission),
        (Quantity::MemoryBandwidth, Absent::NoPermission),
        (Quantity::MemoryUsedBytes, failed("INSUFFICIENT_RESOURCES")),
        (Quantity::MemoryUsedPercent, failed("INSUFFICIENT_RESOURCES")),
        (Quantity::MemoryTotalBytes, failed("INSUFFICIENT_RESOURCES")),
        (Quantity::Energy, failed("IRQ_ISSUE")),
        (Quantity::PcieTx, failed("MEMORY")),
    ] {
        assert_eq!(device.readings.get(quantity), Err(&reason), "{quantity}");
    }
    assert_eq!(device.throttle_reasons_absent, Some(Absent::NotSupported));
    assert!(
        device.readings.get(Quantity::PcieRx).is_ok(),
        "the other fields of the batch are read"
    );
}

#[test]
fn an_old_driver_answers_by_its_older_calls() {
    let mut scenario = of(h100());
    let mut faults = vec![
        Fault::error("nvmlDeviceGetMemoryInfo_v2", ErrorCode::NotSupported),
        Fault::error("nvmlDeviceGetTemperatureV", ErrorCode::NotSupported),
        Fault::error("nvmlDeviceGetSamples", ErrorCode::NotSupported),
    ];
    for field in [3, 4, 83, 94] {
        faults.push(Fault {
            field: Some(field),
            ..Fault::error("nvmlDeviceGetFieldValues", ErrorCode::NotSupported)
        });
    }
    scenario.faults = faults;
    let machine = Machine::start(&scenario);
    let device = machine.wait_for_device(0, "a duty cycle", |device| {
        device.readings.get(Quantity::DutyCycle).is_ok()
    });
    assert_near(&device, Quantity::Utilization, 0.73, 1e-9);
    assert_near(&device, Quantity::DutyCycle, 1.0, 1e-9);
    assert_near(&device, Quantity::Temperature, 61.0, 1e-9);
    assert_near(&device, Quantity::EccCorrected, 5.0, 1e-9);
    assert_near(&device, Quantity::EccUncorrected, 1.0, 1e-9);
    assert_near(&device, Quantity::PcieReplays, 0.0, 1e-9);
    assert!(value(&device, Quantity::Energy) > 0.0);
    // The older call counts what the driver keeps as used, and does not say how much it is.
    assert_near(
        &device,
        Quantity::MemoryUsedBytes,
        20.0 * GIB + 551.0 * 1024.0 * 1024.0,
        1.0,
    );
    assert_eq!(
        device.readings.get(Quantity::MemoryReservedBytes),
        Err(&Absent::NotSupported)
    );
}

#[test]
fn the_duty_cycle_tells_how_much_of_the_time_the_gpu_was_busy() {
    let mut gpu = h100();
    gpu.readings.utilization_percent = constant(2.0);
    let machine = Machine::start(&of(gpu.clone()));
    let idle = machine.wait_for_device(0, "a duty cycle", |device| {
        device.readings.get(Quantity::DutyCycle).is_ok()
    });
    assert_near(&idle, Quantity::DutyCycle, 0.0, 1e-9);
    gpu.readings.utilization_percent = constant(90.0);
    machine.change(&of(gpu));
    let busier = machine.wait_for_device(0, "a busy half", |device| {
        device
            .readings
            .value(Quantity::DutyCycle)
            .is_some_and(|duty| duty > 0.5)
    });
    // The idle time before is still in the window.
    assert!(value(&busier, Quantity::DutyCycle) < 1.0);
}

#[test]
fn processes_are_told_with_memory_and_activity() {
    let mut gpu = h100();
    let process = |pid, gib: f64, sm, kind| Process {
        sm_percent: sm,
        kind,
        ..Process::new(pid, (gib * GIB) as u64)
    };
    gpu.processes = vec![
        process(4001, 10.0, 60.0.into(), ProcessKind::Compute),
        process(4002, 6.0, 13.0.into(), ProcessKind::Mps),
        process(4003, 1.0, 0.0.into(), ProcessKind::Graphics),
    ];
    gpu.processes.push(Process {
        memory_bytes: None,
        ..process(4004, 0.0, 0.0.into(), ProcessKind::Compute)
    });
    // What early drivers of the 535 branch list: numbers that no process has.
    gpu.processes
        .push(process(u32::MAX, 1.0, 9.0.into(), ProcessKind::Compute));
    let machine = Machine::start(&of(gpu.clone()));
    let device = machine.wait_for_device(0, "active processes", |device| {
        device.processes.iter().any(|process| {
            process
                .sm_utilization
                .as_ref()
                .is_ok_and(|reading| reading.amount.value() > 0.0)
        })
    });
    assert_eq!(device.processes_absent, None);
    let mut found: Vec<_> = device
        .processes
        .iter()
        .map(|process| {
            let active = process
                .sm_utilization
                .as_ref()
                .map(|reading| reading.amount.value())
                .unwrap();
            (
                process.pid,
                process.used_memory_bytes.map(|bytes| bytes as f64 / GIB),
                active,
            )
        })
        .collect();
    found.sort_by_key(|found| found.0);
    assert_eq!(
        found,
        [
            (4001, Some(10.0), 0.6),
            (4002, Some(6.0), 0.13),
            (4003, Some(1.0), 0.0),
            (4004, None, 0.0)
        ]
    );
    // A tick that finds no newer sample is no idle tick.
    for _ in 0..20 {
        machine.wait_for_more(1);
        let now = machine.sampler.latest();
        let active = now.devices[0]
            .processes
            .iter()
            .find(|process| process.pid == 4001)
            .unwrap();
        assert_near_ratio(active.sm_utilization.as_ref().unwrap().amount.value(), 0.6);
    }
    // What no process can use is not taken for none.
    gpu.processes[2].sm_percent = 400.0.into();
    machine.change(&of(gpu.clone()));
    machine.wait_for_device(0, "a utilisation of 400 %", |device| {
        let of = |pid| device.processes.iter().find(|process| process.pid == pid);
        let absent = of(4003).and_then(|process| process.sm_utilization.clone().err());
        absent.is_some_and(|reason| reason.to_string().contains("400"))
            && of(4004).is_some_and(|process| process.sm_utilization.is_ok())
    });
    for process in &mut gpu.processes {
        process.sm_percent = 0.0.into();
    }
    machine.change(&of(gpu));
    machine.wait_for_device(0, "idle processes", |device| {
        device.processes.len() == 4
            && device.processes.iter().all(|process| {
                process
                    .sm_utilization
                    .as_ref()
                    .is_ok_and(|reading| reading.amount.value() <= 0.0)
            })
    });
}

fn assert_near_ratio(found: f64, expected: f64) {
    assert!(is_near(found, expected, 1e-9), "{found} is not {expected}");
}

#[test]
fn more_processes_than_there_is_room_for_are_all_told() {
    let mut gpu = h100();
    gpu.processes = (0..200)
        .map(|number| Process {
            sm_percent: 0.4.into(),
            ..Process::new(5000 + number, 1 << 20)
        })
        .collect();
    let machine = Machine::start(&of(gpu));
    machine.wait_for_device(0, "200 processes", |device| device.processes.len() == 200);
}

#[test]
fn processes_that_may_not_be_seen_are_absent_not_none() {
    let mut scenario = of(h100());
    scenario.gpus[0].processes = vec![Process::new(4001, 1 << 30)];
    scenario.faults = vec![Fault::error(
        "nvmlDeviceGetProcessUtilization",
        ErrorCode::NoPermission,
    )];
    let machine = Machine::start(&scenario);
    let device = machine.wait_for_device(0, "a process", |device| !device.processes.is_empty());
    assert_eq!(device.processes[0].sm_utilization, Err(Absent::NoPermission));
    scenario.faults = vec![Fault::error(
        "nvmlDeviceGetComputeRunningProcesses",
        ErrorCode::NoPermission,
    )];
    machine.change(&scenario);
    let device = machine.wait_for_device(0, "no processes", |device| device.processes_absent.is_some());
    assert_eq!(device.processes_absent, Some(Absent::NoPermission));
    assert!(device.processes.is_empty());
}

/// As the demo runs it: everything ten times as fast, with the usual options.
#[test]
fn a_faster_clock_makes_a_faster_sampler() {
    let directory = tempfile::tempdir().unwrap();
    let mut gpu = h100();
    gpu.processes = vec![Process {
        sm_percent: 60.0.into(),
        ..Process::new(4001, 1 << 30)
    }];
    nvidia_ml::install(directory.path(), &of(gpu)).unwrap();
    let options = SamplerOptions {
        speed: 10.0,
        ..SamplerOptions::default()
    };
    let machine = Machine::in_directory(directory, options, Clock::scaled(10.0));
    let active = |device: &Device| {
        let reading = device.processes.first()?.sm_utilization.as_ref().ok()?;
        Some(reading.amount.value())
    };
    machine.wait_for_device(0, "all readings", |device| {
        LATE.iter().all(|&late| device.readings.get(late).is_ok())
            && active(device).is_some_and(|active| active > 0.0)
    });
    let real = Clock::system();
    let start = real.now();
    for _ in 0..10 {
        machine.wait_for_more(1);
        let device = machine.wait_for_device(0, "a GPU", |_| true);
        assert_near(&device, Quantity::SmActive, 0.64, 0.02);
        assert_near(&device, Quantity::Utilization, 0.73, 1e-9);
        assert_near_ratio(active(&device).expect("activity"), 0.6);
    }
    // Ten snapshots a second of the clock's time apart take a second of real time.
    assert!(real.now().since(start) < Duration::from_secs(8));
}

#[test]
fn gpus_are_told_in_nvmls_order() {
    let scenario = Scenario::of("NVIDIA L4", 4);
    let machine = Machine::start(&scenario);
    let indices = machine.wait("four GPUs", |snapshot| {
        (snapshot.devices.len() == 4).then(|| {
            snapshot
                .devices
                .iter()
                .map(|device| device.index)
                .collect::<Vec<_>>()
        })
    });
    assert_eq!(indices, [0, 1, 2, 3]);
}
