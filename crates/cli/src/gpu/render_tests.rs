use std::time::Duration;

use rheostat_gpu::DeviceId;
use rheostat_reading::{Absent, Quality};

use super::*;
use crate::gpu::environment::Orchestrator;

const MIB: f64 = 1024.0 * 1024.0;

fn at() -> Timestamp {
    Timestamp::from_unix_nanos(1_700_000_000_250_000_000)
}

fn snapshot() -> GpuSnapshot {
    let mut gpu = Device::unread(DeviceId::new("GPU-a"), DeviceKind::Gpu { partitioned: true });
    gpu.model = "NVIDIA H100 80GB HBM3".into();
    gpu.throttle_reasons = vec!["sw_power_cap"];
    gpu.processes_absent = Some(Absent::NoPermission);
    for &quantity in Quantity::ALL {
        gpu.readings.set(quantity, Err(Absent::NotSupported));
    }
    gpu.readings
        .put(Quantity::Power, 312.5, at(), Duration::ZERO, Quality::Measured);
    gpu.readings.set(
        Quantity::NvlinkTx,
        Err(Absent::Failed("a \"quoted\", odd reason".into())),
    );
    let kind = DeviceKind::Partition {
        parent: DeviceId::new("GPU-a"),
        profile: "1g.10gb".into(),
        gpu_instance: 7,
        compute_instance: 0,
        placement_start: None,
        profile_id: None,
    };
    let mut partition = Device::unread(DeviceId::new("MIG-b"), kind);
    partition.index = 1;
    partition.readings.put(
        Quantity::MemoryUsedBytes,
        512.0 * MIB,
        at(),
        Duration::ZERO,
        Quality::Measured,
    );
    partition.readings.put(
        Quantity::Utilization,
        0.0,
        at(),
        Duration::from_secs(1),
        Quality::Measured,
    );
    GpuSnapshot {
        taken_at: at(),
        driver: DriverState::Ready {
            driver_version: "580.95.05".into(),
            cuda_version: "13.0".into(),
        },
        devices: vec![gpu, partition],
    }
}

fn environment() -> Environment {
    Environment {
        orchestrator: Orchestrator::Slurm,
        job_id: Some("4711".into()),
        ..Environment::default()
    }
}

fn shown(show: impl Fn(&Report<'_>) -> String) -> String {
    let (snapshot, environment) = (snapshot(), environment());
    let devices = snapshot.devices.iter().collect();
    show(&Report {
        environment: &environment,
        snapshot: &snapshot,
        devices,
        now: at().plus(Duration::from_millis(500)),
    })
}

#[test]
fn the_table_shows_what_is_absent_and_why() {
    let table = shown(|report| report.table(false));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "Environment: slurm  |  job: 4711  |  driver: 580.95.05, CUDA 13.0"
    );
    let gpu: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(gpu[..6], ["0", "NVIDIA", "H100", "80GB", "HBM3", "(MIG)"]);
    assert!(lines[3].contains("312.5 W / -"), "{table}");
    assert!(
        lines[4].contains("0.0 %") && lines[4].contains("512.0 MiB / -"),
        "{table}"
    );
    assert!(
        table.contains("\nGPU 0: utilization: not supported by the device or its driver\n"),
        "{table}"
    );
    assert!(table.contains("\nGPU 0:1: power: not sampled yet\n"), "{table}");
    assert!(
        table.contains("\nGPU 0: clocks lowered: sw_power_cap\n"),
        "{table}"
    );
    let quiet = shown(|report| report.table(true));
    assert!(
        !quiet.contains("Environment") && !quiet.contains("not sampled yet"),
        "{quiet}"
    );
}

#[test]
fn json_has_null_and_the_reason() {
    let (snapshot, environment) = (snapshot(), environment());
    let devices = snapshot.devices.iter().collect();
    let now = at().plus(Duration::from_millis(500));
    let json = Report {
        environment: &environment,
        snapshot: &snapshot,
        devices,
        now,
    }
    .json();
    assert_eq!(json["environment"]["orchestrator"], "slurm");
    assert_eq!(json["environment"]["job_id"], "4711");
    assert_eq!(json["driver_version"], "580.95.05");
    assert_eq!(json["collected_at"], "2023-11-14T22:13:20.250Z");
    let gpu = &json["devices"][0];
    assert_eq!(gpu["readings"]["power_watts"]["value"], 312.5);
    assert_eq!(gpu["readings"]["power_watts"]["age_seconds"], 0.5);
    assert_eq!(gpu["readings"]["utilization_ratio"], Value::Null);
    assert_eq!(
        gpu["absent"]["utilization_ratio"],
        "not supported by the device or its driver"
    );
    assert_eq!(gpu["absent"]["power_watts"], Value::Null);
    assert_eq!(gpu["processes"], Value::Null);
    assert_eq!(gpu["processes_absent"], "no permission to read it");
    let partition = &json["devices"][1];
    assert_eq!(
        (&partition["parent_uuid"], &partition["mig_profile"]),
        (&json!("GPU-a"), &json!("1g.10gb"))
    );
    assert_eq!(partition["readings"]["utilization_ratio"]["value"], 0.0);
}

#[test]
fn csv_leaves_absent_fields_empty() {
    let header = Report::csv_header();
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general enough"
    )]
    let csv = shown(|report| report.csv_lines());
    let lines: Vec<&str> = csv.lines().collect();
    let names: Vec<&str> = header.trim_end().split(',').collect();
    assert_eq!(
        names[..5],
        ["orchestrator", "node", "job_id", "task_rank", "collected_at"]
    );
    let field = |line: &str, name: &str| {
        let place = names.iter().position(|found| *found == name).unwrap();
        line.split(',').nth(place).unwrap().to_owned()
    };
    assert_eq!(field(lines[0], "power_watts"), "312.5");
    assert_eq!(field(lines[0], "utilization_ratio"), "");
    assert_eq!(field(lines[1], "utilization_ratio"), "0");
    assert_eq!(field(lines[1], "parent_uuid"), "GPU-a");
    assert_eq!(lines[1].split(',').count(), names.len());
    assert!(
        lines[0].contains("nvlink_tx_bytes_per_second: read failed: a \"\"quoted\"\", odd reason"),
        "{csv}"
    );
}

#[test]
fn no_driver_is_said() {
    let environment = Environment::default();
    let driver = DriverState::Unavailable {
        reason: "libnvidia-ml.so.1 was not found".into(),
    };
    let snapshot = GpuSnapshot {
        taken_at: at(),
        driver,
        devices: Vec::new(),
    };
    let report = Report {
        environment: &environment,
        snapshot: &snapshot,
        devices: Vec::new(),
        now: at(),
    };
    assert!(
        report
            .table(false)
            .contains("no driver: libnvidia-ml.so.1 was not found")
    );
    assert_eq!(report.json()["driver_version"], Value::Null);
    assert_eq!(
        report.json()["driver_unavailable"],
        "libnvidia-ml.so.1 was not found"
    );
}
