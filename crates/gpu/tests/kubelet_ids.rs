//! Every form of device id that the kubelet hands out finds its device, and says why when it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use rheostat_gpu::{Device, DeviceId, DeviceKind, DriverState, GpuSnapshot, KubeletDeviceId, resolve};
use rheostat_reading::Timestamp;

const GPU0: &str = "GPU-5d4aa0ff-2a1a-4f0e-b1b8-3c37e9a1b001";
const GPU1: &str = "GPU-5d4aa0ff-2a1a-4f0e-b1b8-3c37e9a1b002";
const MIG0: &str = "MIG-0a1b2c3d-1111-5222-8333-444455556666";
const MIG1: &str = "MIG-0a1b2c3d-1111-5222-8333-444455556667";
const MIG2: &str = "MIG-0a1b2c3d-1111-5222-8333-444455556668";
const CLAIM: &str = "6f1d3c2b-9b7e-4c1a-8a55-2f0e8d7c6b5a";

fn gpu(id: &str, index: u32, minor: u32, partitioned: bool) -> Device {
    let kind = DeviceKind::Gpu { partitioned };
    Device {
        index,
        minor: Some(minor),
        ..Device::unread(DeviceId::new(id), kind)
    }
}

fn partition(
    id: &str,
    index: u32,
    profile: &str,
    instances: (u32, u32),
    place: Option<(u32, u32)>,
) -> Device {
    let kind = DeviceKind::Partition {
        parent: DeviceId::new(GPU1),
        profile: profile.into(),
        gpu_instance: instances.0,
        compute_instance: instances.1,
        profile_id: place.map(|place| place.0),
        placement_start: place.map(|place| place.1),
    };
    Device {
        index,
        minor: Some(4),
        ..Device::unread(DeviceId::new(id), kind)
    }
}

/// A whole GPU with minor number 5 and a partitioned one with minor number 4.
fn snapshot(placed: bool) -> GpuSnapshot {
    let place = |profile, start| placed.then_some((profile, start));
    GpuSnapshot {
        taken_at: Timestamp::default(),
        driver: DriverState::Unavailable {
            reason: "none needed".into(),
        },
        devices: vec![
            gpu(GPU0, 0, 5, false),
            gpu(GPU1, 1, 4, true),
            partition(MIG0, 0, "1g.10gb", (7, 0), place(19, 4)),
            partition(MIG1, 1, "1g.10gb", (8, 0), place(19, 5)),
            partition(MIG2, 2, "3g.40gb", (2, 0), place(9, 0)),
        ],
    }
}

fn found(id: &str, snapshot: &GpuSnapshot) -> String {
    resolve(&id.parse().unwrap(), snapshot).unwrap().id.to_string()
}

#[test]
fn every_form_finds_its_device() {
    let snapshot = snapshot(true);
    for (id, device) in [
        (GPU0.to_owned(), GPU0),
        (GPU0.to_uppercase(), GPU0),
        (format!("{GPU0}::3"), GPU0),
        (MIG1.to_owned(), MIG1),
        (format!("{MIG1}::0"), MIG1),
        (format!("MIG-{GPU1}/8/0"), MIG1),
        (format!("MIG-{GPU1}/8/0::1"), MIG1),
        ("nvidia5".to_owned(), GPU0),
        ("nvidia4".to_owned(), GPU1),
        ("nvidia5/vgpu2".to_owned(), GPU0),
        ("nvidia4/gi7".to_owned(), MIG0),
        ("nvidia4/gi2/vgpu1".to_owned(), MIG2),
        ("0".to_owned(), GPU0),
        ("1".to_owned(), GPU1),
        ("1:2".to_owned(), MIG2),
        ("0::1".to_owned(), GPU0),
        ("gpu-5".to_owned(), GPU0),
        ("gpu-4-mig-1g10gb-19-5".to_owned(), MIG1),
        ("gpu-4-mig-3g40gb-9-0".to_owned(), MIG2),
        (format!("k8s.gpu.nvidia.com/claim={CLAIM}-gpu-5"), GPU0),
        (
            format!("k8s.gpu.nvidia.com/claim={CLAIM}-gpu-4-mig-1g10gb-19-4"),
            MIG0,
        ),
        ("k8s.gpu.nvidia.com/device=gpu-4".to_owned(), GPU1),
        (format!("nvidia.com/gpu={GPU1}"), GPU1),
        ("nvidia.com/gpu=1:0".to_owned(), MIG0),
    ] {
        assert_eq!(found(&id, &snapshot), device, "{id}");
    }
}

#[test]
fn a_replica_says_so() {
    for id in [
        format!("{GPU0}::0"),
        "nvidia0/vgpu1".into(),
        "nvidia0/gi1/vgpu0".into(),
        "0:1::2".into(),
    ] {
        assert!(id.parse::<KubeletDeviceId>().unwrap().is_replica(), "{id}");
    }
    for id in [GPU0, "nvidia0/gi1", "0:1", "gpu-0"] {
        assert!(!id.parse::<KubeletDeviceId>().unwrap().is_replica(), "{id}");
    }
}

#[test]
fn what_is_not_found_is_explained() {
    let snapshot = snapshot(true);
    for (id, message) in [
        (
            "nvidia3",
            "device id `nvidia3` was read as a name of GKE's device plugin; there is no GPU with minor number 3 \
             among 5 devices",
        ),
        (
            "MIG-0000",
            "device id `MIG-0000` was read as an NVML UUID; there is no device with UUID MIG-0000 among 5 devices",
        ),
        (
            "gpu-4-mig-1g10gb-19-6",
            "device id `gpu-4-mig-1g10gb-19-6` was read as a name of NVIDIA's DRA driver; there is no partition \
             1g10gb (profile 19) at memory slice 6 of a GPU with minor number 4 among 5 devices",
        ),
        (
            "0:1",
            "device id `0:1` was read as an index; there is no partition 1 of a GPU with index 0 among 5 devices",
        ),
        (
            "nvidia4/gi3",
            "device id `nvidia4/gi3` was read as a name of GKE's device plugin; there is no GPU instance 3 of a \
             GPU with minor number 4 among 5 devices",
        ),
    ] {
        assert_eq!(
            resolve(&id.parse().unwrap(), &snapshot).unwrap_err().to_string(),
            message
        );
    }
}

#[test]
fn without_placements_a_profile_that_occurs_once_is_enough_and_no_other() {
    let snapshot = snapshot(false);
    assert_eq!(found("gpu-4-mig-3g40gb-9-0", &snapshot), MIG2);
    let error = resolve(&"gpu-4-mig-1g10gb-19-5".parse().unwrap(), &snapshot)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("NVML did not tell their placement"), "{error}");
}

#[test]
fn other_ids_are_refused() {
    for id in [
        "",
        "GPU-",
        "GPU-a b",
        "MIG-GPU-x/1",
        "MIG-GPU-x/1/2/3",
        "nvidia",
        "nvidiactl",
        "nvidia0/gi",
        "nvidia0/vgpu1/gi0",
        "nvidia0/gi1/gi2",
        "-1",
        "+1",
        "0:",
        ":0",
        "0:1:2",
        "4294967296",
        "gpu-",
        "gpu-x",
        "gpu-0-mig--1-2",
        "gpu-0-mig-1g10gb-19",
        "GPU-x::",
        "GPU-x::-1",
        "amd.com/gpu=0",
        "nvidia.com=0",
        "0000:03:00.0",
        "tpu-0",
        "k8s.gpu.nvidia.com/claim=gpu-0",
    ] {
        let error = id.parse::<KubeletDeviceId>().unwrap_err();
        assert_eq!(error.id, id);
    }
    let long = format!("GPU-{}", "a".repeat(300));
    assert_eq!(long.parse::<KubeletDeviceId>().unwrap_err().id.len(), 64);
}

proptest! {
    #[test]
    fn any_string_is_read_without_panic(text in "\\PC*") {
        if let Ok(id) = text.parse::<KubeletDeviceId>() {
            let _ = resolve(&id, &snapshot(true));
        }
    }

    #[test]
    fn what_is_read_is_written_the_same(text in "(GPU|MIG)-[0-9a-f-]{1,40}(::(0|[1-9][0-9]{0,2}))?|nvidia[0-9](/gi[0-9])?(/vgpu[0-9])?|[0-9](:[0-9])?(::[0-9])?|gpu-[0-9](-mig-[0-9]g[0-9]{1,2}gb(-me)?-[1-9][0-9]?-[0-9])?|MIG-GPU-[0-9a-f-]{1,36}/[0-9]/[0-9]") {
        let id: KubeletDeviceId = text.parse().unwrap();
        prop_assert_eq!(id.to_string(), text);
        // Whatever it names, the answer is a device or a reason.
        match resolve(&id, &snapshot(true)) {
            Ok(device) => prop_assert!(!device.id.as_str().is_empty()),
            Err(unresolved) => prop_assert!(unresolved.to_string().contains(&id.to_string())),
        }
    }
}
