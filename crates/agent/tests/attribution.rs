//! Who holds which device, without sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_agent::attribution::{
    Attribution, Claim, Holding, Owner, PodRef, ProcessOwners, ResourceFilter, Sharing, resolve_claims,
    split_shared_devices,
};
use rheostat_gpu::{DeviceKind, GpuSnapshot};
use rheostat_proto::kubelet::PodResources;
use rheostat_reading::{Absent, Quality, Quantity, Timestamp};
use rheostat_testkit::kubelet::FakePod;
use support::{GIB, busy_gpu, gpu, partition, process, snapshot};

const AT: Timestamp = Timestamp::from_unix_nanos(5_000_000_000);

fn claims(pods: impl IntoIterator<Item = FakePod>, gpus: &GpuSnapshot) -> Vec<Claim> {
    let pods: Vec<PodResources> = pods.into_iter().map(Into::into).collect();
    resolve_claims(&pods, gpus, &ResourceFilter::default())
}

/// Pod, device and sharing of each claim.
fn told(claims: &[Claim]) -> Vec<(&str, &str, Sharing)> {
    claims
        .iter()
        .map(|claim| {
            (
                claim.pod.name.as_str(),
                claim.device.as_ref().unwrap().as_str(),
                claim.sharing,
            )
        })
        .collect()
}

fn mig_node() -> GpuSnapshot {
    let mut parent = gpu(0, "GPU-a");
    parent.kind = DeviceKind::Gpu { partitioned: true };
    let (one, two) = (
        partition(0, "MIG-1", &parent, 0),
        partition(1, "MIG-2", &parent, 1),
    );
    snapshot(AT, [parent, one, two, gpu(1, "GPU-b")])
}

#[test]
fn every_form_of_id_finds_its_device() {
    let node = mig_node();
    let found = claims(
        [
            FakePod::new("ns", "uuid").holding("c", "nvidia.com/gpu", ["GPU-b"]),
            FakePod::new("ns", "mig").holding("c", "nvidia.com/mig-1g.10gb", ["MIG-1"]),
            FakePod::new("ns", "gke").holding("c", "nvidia.com/gpu", ["nvidia0/gi8"]),
            FakePod::new("ns", "index").holding("c", "nvidia.com/gpu", ["1"]),
            FakePod::new("ns", "dra").claiming(
                "c",
                "claim",
                "gpu.nvidia.com",
                "node-1",
                "gpu-0-mig-1g10gb-19-1",
            ),
        ],
        &node,
    );
    let devices: Vec<_> = told(&found)
        .into_iter()
        .map(|(pod, device, _)| (pod, device))
        .collect();
    assert_eq!(
        devices,
        [
            ("uuid", "GPU-b"),
            ("mig", "MIG-1"),
            ("gke", "MIG-2"),
            ("index", "GPU-b"),
            ("dra", "MIG-2")
        ]
    );
}

#[test]
fn only_gpus_are_claims() {
    let node = snapshot(AT, [gpu(0, "GPU-a")]);
    let pods = || {
        [
            FakePod::new("ns", "nic").holding("c", "rdma/hca", ["0"]),
            FakePod::new("ns", "nic").claiming("c", "claim", "dra.example.com", "node-1", "gpu-0"),
            FakePod::new("ns", "renamed").holding("c", "example.com/h100", ["GPU-a::0"]),
            FakePod::new("ns", "listed").holding("c", "example.com/slot", ["0"]),
        ]
    };
    let found = claims(pods(), &node);
    assert_eq!(told(&found), [("renamed", "GPU-a", Sharing::Exclusive)]);

    let filter = ResourceFilter {
        extra: vec!["example.com/slot".into()],
    };
    let listed = resolve_claims(&pods().map(Into::into), &node, &filter);
    assert_eq!(
        told(&listed),
        [
            ("renamed", "GPU-a", Sharing::Shared),
            ("listed", "GPU-a", Sharing::Shared)
        ]
    );
}

#[test]
fn an_id_that_names_no_device_stays_with_its_reason() {
    let node = snapshot(AT, [gpu(0, "GPU-a")]);
    let found = claims(
        [FakePod::new("ns", "pod").holding("c", "nvidia.com/gpu", ["GPU-x", "what?"])],
        &node,
    );
    let reasons: Vec<_> = found
        .iter()
        .map(|claim| claim.device.clone().unwrap_err())
        .collect();
    assert!(reasons[0].contains("GPU-x"), "{reasons:?}");
    assert!(reasons[1].contains("what?"), "{reasons:?}");
}

#[test]
fn replicas_are_shared_only_between_pods() {
    let node = snapshot(AT, [gpu(0, "GPU-a"), gpu(1, "GPU-b")]);
    let one = claims(
        [FakePod::new("ns", "one").holding("c", "nvidia.com/gpu.shared", ["GPU-a::0", "GPU-a::1"])],
        &node,
    );
    assert!(one.iter().all(|claim| claim.sharing == Sharing::Exclusive));
    let two = claims(
        [
            FakePod::new("ns", "one").holding("c", "nvidia.com/gpu.shared", ["GPU-a::0"]),
            FakePod::new("ns", "two").holding("c", "nvidia.com/gpu.shared", ["GPU-a::3", "GPU-b::0"]),
        ],
        &node,
    );
    assert_eq!(
        told(&two),
        [
            ("one", "GPU-a", Sharing::Shared),
            ("two", "GPU-a", Sharing::Shared),
            ("two", "GPU-b", Sharing::Exclusive)
        ]
    );
}

#[test]
fn one_dra_claim_of_several_pods_is_shared() {
    let node = snapshot(AT, [gpu(0, "GPU-a")]);
    let pod =
        |name: &str| FakePod::new("ns", name).claiming("c", "claim", "gpu.nvidia.com", "node-1", "gpu-0");
    assert_eq!(
        told(&claims([pod("one")], &node)),
        [("one", "GPU-a", Sharing::Exclusive)]
    );
    let two = claims([pod("one"), pod("two")], &node);
    assert_eq!(
        told(&two),
        [
            ("one", "GPU-a", Sharing::Shared),
            ("two", "GPU-a", Sharing::Shared)
        ]
    );
    let two_containers = pod("one").claiming("sidecar", "claim", "gpu.nvidia.com", "node-1", "gpu-0");
    assert!(
        claims([two_containers], &node)
            .iter()
            .all(|claim| claim.sharing == Sharing::Exclusive)
    );
}

#[test]
fn a_terminated_pod_that_is_still_listed_shares_nothing() {
    let node = snapshot(AT, [gpu(0, "GPU-a")]);
    let pods = ["finished-job", "running"].map(|name| {
        FakePod::new("ns", name)
            .holding("c", "nvidia.com/gpu", ["GPU-a"])
            .into()
    });
    let mut owners = ProcessOwners::new("/nowhere".into(), None);
    let attribution = Attribution::new(&pods, None, &node, &ResourceFilter::default(), &mut owners);
    assert!(
        attribution
            .claims
            .iter()
            .all(|claim| claim.sharing == Sharing::Exclusive)
    );
    assert_eq!(attribution.contested_ids(), 1);
}

#[test]
fn holders_of_partitions_hold_the_gpu_together() {
    let node = mig_node();
    let mut owners = ProcessOwners::new("/nowhere".into(), None);
    let pods = [FakePod::new("ns", "mig")
        .holding("c", "nvidia.com/mig-1g.10gb", ["MIG-1"])
        .into()];
    let allocatable = [rheostat_proto::kubelet::ContainerDevices {
        resource_name: "nvidia.com/gpu.shared".into(),
        device_ids: vec!["GPU-b::0".into(), "GPU-b::1".into()],
        topology: None,
    }];
    let attribution = Attribution::new(
        &pods,
        Some(&allocatable),
        &node,
        &ResourceFilter::default(),
        &mut owners,
    );
    let holding = |place: usize| attribution.holding(&node.devices[place], &node);
    assert_eq!(holding(0), Holding::Shared);
    assert!(matches!(holding(1), Holding::Exclusive(claim) if claim.pod == PodRef::new("ns", "mig")));
    assert_eq!(holding(2), Holding::Unallocated);
    assert_eq!(holding(3), Holding::Unallocated);
    assert_eq!(
        attribution.offered.unwrap(),
        BTreeMap::from([(node.devices[3].id.clone(), 2)])
    );
}

/// Two pods on one time-sliced GPU at 80 %, with the processes of `processes`.
fn shared_node(processes: &[(u32, f64, u64)]) -> (GpuSnapshot, Vec<Claim>) {
    let mut device = busy_gpu(0, "GPU-a", 0.8, AT);
    device.processes = processes
        .iter()
        .map(|&(pid, sm, memory)| process(pid, sm, memory))
        .collect();
    let node = snapshot(AT, [device]);
    let found = claims(
        [
            FakePod::new("ns", "one").holding("c", "nvidia.com/gpu.shared", ["GPU-a::0"]),
            FakePod::new("ns", "two").holding("c", "nvidia.com/gpu.shared", ["GPU-a::1"]),
        ],
        &node,
    );
    (node, found)
}

fn owners(pairs: &[(u32, &str)]) -> BTreeMap<u32, Owner> {
    let owner = |name: &str| match name {
        "host" => Owner::Host,
        "?" => Owner::Unknown("test".into()),
        pod => Owner::Pod(PodRef::new("ns", pod)),
    };
    pairs.iter().map(|(pid, name)| (*pid, owner(name))).collect()
}

fn shares(processes: &[(u32, f64, u64)], of: &[(u32, &str)]) -> Vec<Claim> {
    let (node, mut found) = shared_node(processes);
    split_shared_devices(&mut found, &node, &owners(of));
    found
}

fn part(claim: &Claim, quantity: Quantity) -> Result<f64, Absent> {
    let share = claim.share.as_ref().unwrap();
    share
        .get(quantity)
        .map(|reading| reading.amount.value())
        .map_err(Clone::clone)
}

#[test]
fn a_shared_device_is_split_by_its_processes() {
    let found = shares(
        &[(1, 0.3, 10 << 30), (2, 0.05, 4 << 30), (3, 0.05, 6 << 30)],
        &[(1, "one"), (2, "two"), (3, "two")],
    );
    assert!((part(&found[0], Quantity::Utilization).unwrap() - 0.6).abs() < 1e-9);
    assert!((part(&found[1], Quantity::Utilization).unwrap() - 0.2).abs() < 1e-9);
    assert!((part(&found[0], Quantity::Power).unwrap() - 225.0).abs() < 1e-9);
    assert_eq!(part(&found[1], Quantity::MemoryUsedBytes), Ok(10.0 * GIB));
    assert_eq!(part(&found[1], Quantity::MemoryUsedPercent), Ok(0.125));
    assert_eq!(part(&found[1], Quantity::Temperature), Ok(60.0));
    assert_eq!(part(&found[1], Quantity::Energy), Err(Absent::Unattributable));
    assert_eq!(part(&found[1], Quantity::NvlinkTx), Err(Absent::NotYet));
    let share = found[0].share.as_ref().unwrap();
    let reading = share.get(Quantity::Utilization).unwrap();
    assert_eq!(
        (reading.quality, reading.at, reading.window),
        (Quality::Estimated, AT, Duration::from_secs(1))
    );
}

#[test]
fn a_pod_without_a_process_has_no_part_where_processes_are_visible() {
    let found = shares(&[(1, 0.4, 10 << 30)], &[(1, "one")]);
    assert_eq!(part(&found[0], Quantity::Utilization), Ok(0.8));
    assert_eq!(part(&found[1], Quantity::Utilization), Ok(0.0));
    assert_eq!(part(&found[1], Quantity::MemoryUsedBytes), Ok(0.0));
}

#[test]
fn doubt_makes_a_part_absent_not_zero() {
    let unattributable = |claim: &Claim| {
        assert_eq!(part(claim, Quantity::Utilization), Err(Absent::Unattributable));
        assert_eq!(part(claim, Quantity::Power), Err(Absent::Unattributable));
    };
    // No process is visible; or none can be traced to a pod.
    for found in [
        shares(&[], &[]),
        shares(&[(1, 0.4, 1)], &[(1, "?")]),
        shares(&[(1, 0.4, 1)], &[(1, "host")]),
    ] {
        for claim in &found {
            unattributable(claim);
            assert_eq!(
                part(claim, Quantity::MemoryUsedBytes),
                Err(Absent::Unattributable)
            );
        }
    }
    // A busy process of unknown work: an MPS server, or a pod that was not traced.
    for stranger in ["?", "host", "mps-server"] {
        let found = shares(&[(1, 0.4, 1), (2, 0.4, 1)], &[(1, "one"), (2, stranger)]);
        found.iter().for_each(unattributable);
    }
    // An idle stranger takes nothing.
    let found = shares(&[(1, 0.4, 1), (2, 0.0, 1)], &[(1, "one"), (2, "host")]);
    assert_eq!(part(&found[0], Quantity::Utilization), Ok(0.8));
    // The device was busy, but no process: the windows differ.
    let found = shares(&[(1, 0.0, 1)], &[(1, "one")]);
    found.iter().for_each(unattributable);
}

#[test]
fn memory_that_the_driver_does_not_tell_is_absent() {
    let (mut node, mut found) = shared_node(&[(1, 0.4, 5)]);
    node.devices[0].processes[0].used_memory_bytes = None;
    split_shared_devices(&mut found, &node, &owners(&[(1, "one")]));
    assert_eq!(
        part(&found[0], Quantity::MemoryUsedBytes),
        Err(Absent::Unattributable)
    );
    assert_eq!(part(&found[0], Quantity::Utilization), Ok(0.8));
    let (mut node, mut found) = shared_node(&[(1, 0.4, 5)]);
    node.devices[0].processes[0].sm_utilization = Err(Absent::NotSupported);
    split_shared_devices(&mut found, &node, &owners(&[(1, "one")]));
    assert_eq!(
        part(&found[0], Quantity::Utilization),
        Err(Absent::Unattributable)
    );
    assert_eq!(part(&found[0], Quantity::MemoryUsedBytes), Ok(5.0));
    let (mut node, mut found) = shared_node(&[(1, 0.4, 5)]);
    node.devices[0].processes_absent = Some(Absent::NoPermission);
    split_shared_devices(&mut found, &node, &owners(&[(1, "one")]));
    assert_eq!(
        part(&found[0], Quantity::MemoryUsedBytes),
        Err(Absent::Unattributable)
    );
}

#[test]
fn an_idle_device_is_idle_for_all() {
    let (mut node, mut found) = shared_node(&[(1, 0.0, 5)]);
    node.devices[0]
        .readings
        .put(Quantity::Utilization, 0.0, AT, Duration::ZERO, Quality::Measured);
    split_shared_devices(&mut found, &node, &owners(&[(1, "one")]));
    assert_eq!(part(&found[1], Quantity::Utilization), Ok(0.0));
    assert_eq!(part(&found[1], Quantity::Power), Err(Absent::Unattributable));
}

proptest! {
    /// The parts never add up to more than the device, and only a device that was read has any.
    #[test]
    fn parts_make_the_whole(processes in proptest::collection::vec((0.0..1.0f64, 0u64..1 << 40, 0usize..4), 0..12)) {
        let names = ["one", "two", "host", "?"];
        let listed: Vec<_> =
            processes.iter().zip(1u32..).map(|(&(sm, memory, _), pid)| (pid, sm, memory)).collect();
        let of: Vec<_> = processes.iter().zip(1u32..).map(|(&(_, _, owner), pid)| (pid, names[owner])).collect();
        let found = shares(&listed, &of);
        let parts: Vec<_> = found.iter().map(|claim| part(claim, Quantity::Utilization)).collect();
        match (&parts[0], &parts[1]) {
            (Ok(one), Ok(two)) => prop_assert!((one + two - 0.8).abs() < 1e-9),
            (Err(one), Err(two)) => prop_assert_eq!((one, two), (&Absent::Unattributable, &Absent::Unattributable)),
            other => prop_assert!(false, "one part is known and the other not: {other:?}"),
        }
    }

    /// Whatever a kubelet says, it is read without panic and bounded by what it said.
    #[test]
    fn any_ids_are_read(ids in proptest::collection::vec(("[a-z./-]{0,20}|nvidia.com/gpu", "(GPU-|MIG-|nvidia|gpu-)?[a-f0-9:/-]{0,12}"), 0..20)) {
        let pods = ids.iter().map(|(resource, id)| FakePod::new("ns", "pod").holding("c", resource, [id.clone()]));
        prop_assert!(claims(pods, &mig_node()).len() <= ids.len());
    }
}
