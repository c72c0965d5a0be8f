//! Whatever happens to a GPU or to the driver, the sampler stays up, says so and recovers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use nvidia_ml::{ErrorCode, Event, EventKind, Fault, Scenario};
use rheostat_gpu::{DriverState, GpuSnapshot, SamplerOptions};
use rheostat_reading::{Absent, Clock, Quantity};
use support::{Machine, constant, fast, value};

fn two() -> Scenario {
    let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", 2);
    for gpu in &mut scenario.gpus {
        gpu.readings.utilization_percent = constant(50.0);
        gpu.readings.pcie_tx_bytes_per_second = constant(1e9);
    }
    scenario
}

fn unavailable(snapshot: &GpuSnapshot) -> Option<String> {
    match &snapshot.driver {
        DriverState::Unavailable { reason } => Some(reason.clone()),
        DriverState::Ready { .. } => None,
    }
}

fn ready(snapshot: &GpuSnapshot, devices: usize) -> bool {
    unavailable(snapshot).is_none()
        && snapshot.devices.len() == devices
        && snapshot
            .devices
            .iter()
            .all(|device| device.readings.get(Quantity::Utilization).is_ok())
}

#[test]
fn a_lost_gpu_is_a_fault_of_that_gpu_alone_and_comes_back() {
    let mut scenario = two();
    let machine = Machine::start(&scenario);
    machine.wait("two GPUs", |snapshot| ready(snapshot, 2).then_some(()));
    scenario.faults = vec![Fault::lost(1)];
    machine.change(&scenario);
    let lost = machine.wait_for_device(1, "a fault", |device| device.fault.is_some());
    assert_eq!(lost.fault.as_deref(), Some("NVML_ERROR_GPU_IS_LOST"));
    for &quantity in Quantity::ALL {
        assert_eq!(
            lost.readings.get(quantity),
            Err(&Absent::DeviceLost),
            "{quantity}"
        );
    }
    assert_eq!(lost.processes_absent, Some(Absent::DeviceLost));
    assert_eq!(lost.throttle_reasons_absent, Some(Absent::DeviceLost));
    // The other one goes on, and the lost one stays on the list, also over enumerations.
    let clock = Clock::system();
    let start = clock.now();
    machine.wait("a second of two GPUs", |snapshot| {
        assert_eq!(snapshot.devices.len(), 2);
        assert_eq!(snapshot.devices[0].fault, None);
        assert!(snapshot.devices[0].readings.get(Quantity::Utilization).is_ok());
        assert!(unavailable(snapshot).is_none());
        (clock.now().since(start) > Duration::from_secs(1)).then_some(())
    });
    scenario.faults.clear();
    machine.change(&scenario);
    let back = machine.wait_for_device(1, "the GPU", |device| {
        device.readings.get(Quantity::PcieTx).is_ok()
    });
    assert_eq!(back.fault, None);
    assert_eq!(back.id, lost.id);
}

#[test]
fn a_gpu_that_needs_a_reset_is_lost_until_then() {
    let mut scenario = two();
    scenario.faults = vec![Fault {
        gpu: Some(0),
        ..Fault::error("nvmlDeviceGetPowerUsage", ErrorCode::ResetRequired)
    }];
    let machine = Machine::start(&scenario);
    let device = machine.wait_for_device(0, "a fault", |device| device.fault.is_some());
    assert_eq!(device.fault.as_deref(), Some("NVML_ERROR_RESET_REQUIRED"));
    assert_eq!(
        device.readings.get(Quantity::Utilization),
        Err(&Absent::DeviceLost)
    );
}

#[test]
fn a_gpu_that_the_driver_no_longer_lists_is_gone_and_a_new_one_is_found() {
    let mut scenario = two();
    let machine = Machine::start(&scenario);
    machine.wait("two GPUs", |snapshot| ready(snapshot, 2).then_some(()));
    let second = scenario.gpus.pop().unwrap();
    machine.change(&scenario);
    machine.wait("one GPU", |snapshot| ready(snapshot, 1).then_some(()));
    scenario.gpus.push(second);
    machine.change(&scenario);
    machine.wait("two GPUs again", |snapshot| ready(snapshot, 2).then_some(()));
}

#[test]
fn without_a_driver_it_says_what_it_tried_and_goes_on_looking() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::in_directory(directory, fast(), Clock::system());
    let library = machine.directory.path().join("libnvidia-ml.so.1");
    let missing = format!("not there: {}", library.display());
    machine.wait("what was tried", |snapshot| {
        (unavailable(snapshot)? == missing).then_some(())
    });
    // It lives: snapshots go on.
    machine.wait_for_more(5);
    assert!(machine.sampler.latest().devices.is_empty());
    nvidia_ml::install(machine.directory.path(), &two()).unwrap();
    machine.wait("the driver", |snapshot| ready(snapshot, 2).then_some(()));
}

#[test]
fn a_file_that_is_no_library_is_named_with_the_loaders_reason() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libnvidia-ml.so.1");
    std::fs::write(&library, "not a library").unwrap();
    let machine = Machine::in_directory(directory, fast(), Clock::system());
    let start = format!("{}: ", library.display());
    machine.wait("the loader's reason", |snapshot| {
        unavailable(snapshot).filter(|reason| reason.starts_with(&start) && reason.len() > start.len() + 5)
    });
}

#[test]
fn a_library_that_is_not_nvml_is_said_to_be_none() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|word| word.contains("/libc"))
        .expect("the C library is loaded");
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(libc, directory.path().join("libnvidia-ml.so.1")).unwrap();
    let machine = Machine::in_directory(directory, fast(), Clock::system());
    machine.wait("the reason", |snapshot| {
        unavailable(snapshot).filter(|reason| reason.ends_with("it has no nvmlInit_v2, so it is not NVML"))
    });
}

#[test]
fn a_library_of_another_version_than_the_driver_is_waited_out() {
    let mut scenario = two();
    scenario.faults = vec![Fault::error("nvmlInit", ErrorCode::LibRmVersionMismatch)];
    let machine = Machine::start(&scenario);
    machine.wait("the mismatch", |snapshot| {
        unavailable(snapshot).filter(|reason| reason.contains("NVML_ERROR_LIB_RM_VERSION_MISMATCH"))
    });
    scenario.faults.clear();
    machine.change(&scenario);
    machine.wait("the driver", |snapshot| ready(snapshot, 2).then_some(()));
}

#[test]
fn a_driver_that_is_reloaded_is_found_again_and_devices_stay_known_meanwhile() {
    for error in [
        ErrorCode::Uninitialized,
        ErrorCode::DriverNotLoaded,
        ErrorCode::LibRmVersionMismatch,
    ] {
        let mut scenario = two();
        let machine = Machine::start(&scenario);
        let known = machine.wait("two GPUs", |snapshot| {
            ready(snapshot, 2).then(|| snapshot.devices[1].id.clone())
        });
        scenario.faults = vec![Fault::error("*", error)];
        machine.change(&scenario);
        let (reason, device) = machine.wait("no driver", |snapshot| {
            Some((unavailable(snapshot)?, snapshot.devices.get(1)?.clone()))
        });
        assert!(reason.contains("NVML_ERROR_"), "{reason}");
        assert_eq!(device.id, known);
        assert!(device.fault.is_some());
        for &quantity in Quantity::ALL {
            assert!(
                matches!(device.readings.get(quantity), Err(Absent::NoDriver(_))),
                "{quantity}"
            );
        }
        // Devices are still told after several tries.
        machine.wait_for_more(10);
        assert_eq!(machine.sampler.latest().devices.len(), 2);
        scenario.faults.clear();
        machine.change(&scenario);
        machine.wait("the driver again", |snapshot| ready(snapshot, 2).then_some(()));
    }
}

#[test]
fn a_call_that_blocks_delays_nothing_else() {
    let mut scenario = Scenario::of("NVIDIA A100-SXM4-80GB", 2);
    scenario.gpus[0].readings.utilization_percent = constant(40.0);
    scenario.faults = vec![Fault::latency("nvmlDeviceGetPcieThroughput", 5_000.0)];
    let machine = Machine::start(&scenario);
    machine.wait("two GPUs", |snapshot| ready(snapshot, 2).then_some(()));
    let clock = Clock::system();
    let start = clock.now();
    machine.wait_for_more(20);
    let spent = clock.now().since(start);
    // Twenty snapshots of 25 ms; four calls of the slow lane alone take 20 s.
    assert!(spent < Duration::from_secs(5), "20 snapshots took {spent:?}");
    let snapshot = machine.sampler.latest();
    assert!((value(&snapshot.devices[0], Quantity::Utilization) - 0.4).abs() < 1e-9);
    assert_eq!(
        snapshot.devices[0].readings.get(Quantity::PcieTx),
        Err(&Absent::NotYet)
    );
}

#[test]
fn what_the_slow_lane_could_not_read_keeps_its_reason() {
    let mut scenario = Scenario::of("NVIDIA A100-SXM4-80GB", 1);
    scenario.faults = vec![Fault::error(
        "nvmlDeviceGetPcieThroughput",
        ErrorCode::NoPermission,
    )];
    let machine = Machine::start(&scenario);
    machine.wait_for_device(0, "the reason", |device| {
        device.readings.get(Quantity::PcieTx) == Err(&Absent::NoPermission)
    });
}

#[test]
fn a_call_that_hangs_does_not_hang_the_drop() {
    let mut scenario = Scenario::of("NVIDIA A100-SXM4-80GB", 1);
    scenario.faults = vec![Fault::latency("nvmlDeviceGetPcieThroughput", 600_000.0)];
    let machine = Machine::start(&scenario);
    machine.wait("the GPU", |snapshot| ready(snapshot, 1).then_some(()));
    machine.wait_for_more(5);
    let clock = Clock::system();
    let start = clock.now();
    drop(machine);
    let spent = clock.now().since(start);
    assert!(spent < Duration::from_secs(20), "the drop took {spent:?}");
}

#[test]
fn a_drop_is_prompt_whatever_the_periods() {
    let directory = tempfile::tempdir().unwrap();
    nvidia_ml::install(directory.path(), &two()).unwrap();
    let hour = Duration::from_secs(3600);
    let options = SamplerOptions {
        fast_period: hour,
        slow_period: hour,
        ..SamplerOptions::default()
    };
    let machine = Machine::in_directory(directory, options, Clock::system());
    machine.wait("two GPUs", |snapshot| ready(snapshot, 2).then_some(()));
    let clock = Clock::system();
    let start = clock.now();
    drop(machine);
    let spent = clock.now().since(start);
    assert!(spent < Duration::from_secs(2), "the drop took {spent:?}");
}

#[test]
fn a_critical_error_is_told_with_its_number() {
    let mut scenario = two();
    let machine = Machine::start(&scenario);
    machine.wait("two GPUs", |snapshot| ready(snapshot, 2).then_some(()));
    let unix = machine.sampler.latest().taken_at.unix_nanos() as f64 / 1e9;
    scenario.started_at_unix_seconds = Some(unix);
    for (number, xid) in [31, 79].into_iter().enumerate() {
        scenario.gpus[1].events.push(Event {
            at_seconds: 0.5 + number as f64 * 0.1,
            kind: EventKind::Xid,
            data: xid,
            gpu_instance: None,
            compute_instance: None,
        });
    }
    machine.change(&scenario);
    let device = machine.wait_for_device(1, "the last XID", |device| {
        device.last_xid.is_some_and(|(number, _)| number == 79)
    });
    assert_eq!(device.fault, None);
    assert_eq!(machine.sampler.latest().devices[0].last_xid, None);
}
