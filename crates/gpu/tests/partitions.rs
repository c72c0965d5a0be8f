//! MIG: what is read of partitions, and how their coming and going is followed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use nvidia_ml::{ErrorCode, Fault, Mig, MigInstance, Process, Scenario};
use rheostat_gpu::{Device, DeviceKind, GpuSnapshot, SamplerOptions, resolve};
use rheostat_reading::{Absent, Clock, Quality, Quantity};
use support::{Machine, assert_near, constant, fast, reading};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn instance(profile: &str, uuid: &str, sm_percent: f64, used_gib: f64) -> MigInstance {
    let mut instance = MigInstance::of(profile);
    instance.uuid = Some(uuid.to_owned());
    instance.activity.sm_percent = constant(sm_percent);
    instance.activity.sm_occupancy_percent = constant(sm_percent / 4.0);
    instance.activity.tensor_percent = constant(sm_percent / 2.0);
    instance.activity.dram_percent = constant(35.0);
    instance.memory_used_bytes = constant(used_gib * GIB);
    instance
}

fn partitioned(instances: Vec<MigInstance>) -> Scenario {
    let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", 2);
    scenario.gpus[0].minor = Some(6);
    scenario.gpus[0].mig = Some(Mig {
        instances,
        ..Mig::default()
    });
    scenario
}

fn two() -> Vec<MigInstance> {
    let mut large = instance("3g.40gb", "MIG-aaaa", 80.0, 12.0);
    large.processes = vec![Process::new(4001, 12 << 30)];
    vec![large, instance("1g.10gb", "MIG-bbbb", 0.0, 0.0)]
}

fn find<'a>(snapshot: &'a GpuSnapshot, id: &str) -> Option<&'a Device> {
    snapshot.devices.iter().find(|device| device.id.as_str() == id)
}

#[test]
fn a_partition_is_read_by_what_gpm_and_nvml_know_of_it() {
    let machine = Machine::start(&partitioned(two()));
    let (gpu, large, small, after) = machine.wait("activity of both partitions", |snapshot| {
        let (large, small) = (find(snapshot, "MIG-aaaa")?, find(snapshot, "MIG-bbbb")?);
        let known = |device: &Device| device.readings.get(Quantity::DutyCycle).is_ok();
        (known(large) && known(small)).then(|| {
            (
                snapshot.devices[0].clone(),
                large.clone(),
                small.clone(),
                snapshot.devices.last().unwrap().clone(),
            )
        })
    });
    assert_eq!(gpu.kind, DeviceKind::Gpu { partitioned: true });
    assert_eq!(
        gpu.readings.get(Quantity::Utilization),
        Err(&Absent::NotSupported)
    );
    assert_eq!(
        after.kind,
        DeviceKind::Gpu { partitioned: false },
        "partitions stand behind their GPU"
    );

    let DeviceKind::Partition {
        parent,
        profile,
        gpu_instance,
        compute_instance,
        placement_start,
        profile_id,
    } = &large.kind
    else {
        panic!("{large:?}")
    };
    assert_eq!(*parent, gpu.id);
    assert_eq!(
        (profile.as_str(), *compute_instance, *profile_id),
        ("3g.40gb", 0, Some(9))
    );
    assert_eq!(
        (large.minor, large.model.as_str()),
        (Some(6), "NVIDIA H100 80GB HBM3")
    );

    assert_near(&large, Quantity::SmActive, 0.8, 0.01);
    assert_near(&large, Quantity::SmOccupancy, 0.2, 0.01);
    assert_near(&large, Quantity::TensorActive, 0.4, 0.01);
    assert_near(&large, Quantity::MemoryBandwidth, 0.35, 0.01);
    assert_eq!(
        reading(&large, Quantity::MemoryBandwidth).quality,
        Quality::Measured
    );
    assert_near(&large, Quantity::MemoryUsedBytes, 12.0 * GIB, 1.0);
    assert_near(&large, Quantity::DutyCycle, 1.0, 1e-9);
    assert_near(&small, Quantity::SmActive, 0.0, 1e-9);
    assert_near(&small, Quantity::DutyCycle, 0.0, 1e-9);
    // What NVML does not tell of a partition is absent, never the whole GPU's value or 0.
    for quantity in [
        Quantity::Utilization,
        Quantity::Power,
        Quantity::Temperature,
        Quantity::PcieTx,
        Quantity::NvlinkRx,
        Quantity::EccUncorrected,
        Quantity::EncoderUtilization,
        Quantity::Energy,
    ] {
        assert_eq!(
            large.readings.get(quantity),
            Err(&Absent::NotSupported),
            "{quantity}"
        );
    }
    assert_eq!(large.processes.len(), 1);
    assert_eq!(large.processes[0].used_memory_bytes, Some(12 << 30));
    assert_eq!(large.processes[0].sm_utilization, Err(Absent::NotSupported));
    assert!(small.processes.is_empty() && small.processes_absent.is_none());

    // What the kubelet may call it leads to it.
    let start = placement_start.unwrap();
    for id in [
        "MIG-aaaa".into(),
        format!("nvidia6/gi{gpu_instance}"),
        format!("gpu-6-mig-3g40gb-9-{start}"),
        format!("0:{}", large.index),
    ] {
        let snapshot = machine.sampler.latest();
        assert_eq!(
            resolve(&id.parse().unwrap(), &snapshot).unwrap().id,
            large.id,
            "{id}"
        );
    }
}

#[test]
fn a_new_layout_is_followed_by_uuid() {
    let machine = Machine::start(&partitioned(two()));
    machine.wait("both partitions", |snapshot| {
        (find(snapshot, "MIG-aaaa").is_some() && find(snapshot, "MIG-bbbb").is_some()).then_some(())
    });
    // One goes, one stays, one comes in the place of the other.
    let layout = vec![
        instance("3g.40gb", "MIG-cccc", 20.0, 3.0),
        instance("1g.10gb", "MIG-bbbb", 50.0, 1.0),
    ];
    machine.change(&partitioned(layout));
    let (new, stayed) = machine.wait("the new layout", |snapshot| {
        let (new, stayed) = (find(snapshot, "MIG-cccc")?, find(snapshot, "MIG-bbbb")?);
        let known = |device: &Device| device.readings.get(Quantity::SmActive).is_ok();
        (find(snapshot, "MIG-aaaa").is_none() && known(new) && known(stayed))
            .then(|| (new.clone(), stayed.clone()))
    });
    assert_near(&new, Quantity::SmActive, 0.2, 0.02);
    assert_near(&new, Quantity::MemoryUsedBytes, 3.0 * GIB, 1.0);
    assert!(stayed.fault.is_none());

    // MIG is turned off, and on again.
    machine.change(&partitioned(Vec::new()));
    machine.wait("no partitions", |snapshot| {
        (snapshot.devices.len() == 2).then_some(())
    });
    let mut off = partitioned(Vec::new());
    off.gpus[0].mig = None;
    machine.change(&off);
    machine.wait("a whole GPU", |snapshot| {
        let gpu = snapshot.devices.first()?;
        (gpu.kind == DeviceKind::Gpu { partitioned: false }
            && gpu.readings.get(Quantity::Utilization).is_ok())
        .then_some(())
    });
    machine.change(&partitioned(two()));
    machine.wait("partitions again", |snapshot| {
        find(snapshot, "MIG-aaaa").map(|_| ())
    });
}

#[test]
fn the_drivers_event_alone_makes_a_new_partition_known() {
    let directory = tempfile::tempdir().unwrap();
    nvidia_ml::install(directory.path(), &partitioned(two())).unwrap();
    // Nothing is enumerated for an hour unless an event asks for it.
    let options = SamplerOptions {
        slow_period: Duration::from_secs(3600),
        ..fast()
    };
    let machine = Machine::in_directory(directory, options, Clock::system());
    let mut snapshots = 0;
    machine.wait("a partition that came later", |snapshot| {
        find(snapshot, "MIG-aaaa")?;
        // An event from before the sampler listens is lost: the layout changes until it does.
        if snapshots % 40 == 0 {
            let mut layout = two();
            layout.push(instance("1g.10gb", &format!("MIG-new-{snapshots}"), 0.0, 0.0));
            machine.change(&partitioned(layout));
        }
        snapshots += 1;
        snapshot
            .devices
            .iter()
            .any(|device| device.id.as_str().starts_with("MIG-new"))
            .then_some(())
    });
}

#[test]
fn without_permission_for_instances_placements_are_unknown_and_the_rest_is_read() {
    let mut scenario = partitioned(two());
    scenario.faults = vec![
        Fault::error("nvmlDeviceGetGpuInstanceById", ErrorCode::NoPermission),
        Fault::error("nvmlGpmMigSampleGet", ErrorCode::NoPermission),
    ];
    let machine = Machine::start(&scenario);
    machine.wait_for_more(3);
    let large = machine.wait("the partition", |snapshot| find(snapshot, "MIG-aaaa").cloned());
    let DeviceKind::Partition {
        placement_start,
        profile_id,
        profile,
        ..
    } = &large.kind
    else {
        panic!("{large:?}")
    };
    assert_eq!(
        (placement_start, profile_id, profile.as_str()),
        (&None, &None, "3g.40gb")
    );
    assert_eq!(large.readings.get(Quantity::SmActive), Err(&Absent::NoPermission));
    assert_eq!(
        large.readings.get(Quantity::DutyCycle),
        Err(&Absent::NoPermission)
    );
    assert_near(&large, Quantity::MemoryUsedBytes, 12.0 * GIB, 1.0);
}

#[test]
fn partitions_of_a_lost_gpu_are_lost_with_it() {
    let mut scenario = partitioned(two());
    let machine = Machine::start(&scenario);
    machine.wait("the partition", |snapshot| find(snapshot, "MIG-aaaa").map(|_| ()));
    scenario.faults = vec![Fault::lost(0)];
    machine.change(&scenario);
    machine.wait("lost partitions", |snapshot| {
        let lost = |id| {
            find(snapshot, id)
                .is_some_and(|device| device.readings.get(Quantity::SmActive) == Err(&Absent::DeviceLost))
        };
        (lost("MIG-aaaa") && lost("MIG-bbbb")).then_some(())
    });
    scenario.faults.clear();
    machine.change(&scenario);
    machine.wait("the partition again", |snapshot| {
        find(snapshot, "MIG-aaaa")?
            .readings
            .get(Quantity::SmActive)
            .is_ok()
            .then_some(())
    });
}
