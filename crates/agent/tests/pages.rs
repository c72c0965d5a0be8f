//! `/metrics` and `/readyz`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_agent::metrics::MetricNames;
use rheostat_gpu::DeviceKind;
use rheostat_reading::{Absent, Clock, Quality, Quantity, Timestamp};
use rheostat_testkit::kubelet::FakePod;
use support::{GIB, Node, PATIENCE, busy_gpu, gpu, partition, process, snapshot};

/// The page once it has `line`.
async fn page_with(node: &Node, path: &str, line: &str) -> String {
    let mut page = String::new();
    let found = async {
        loop {
            page = node.get(path).await.1;
            if page.lines().any(|found| found == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, found).await.is_err() {
        panic!("no line {line}\nin {page}");
    }
    page
}

fn has(page: &str, line: &str) {
    assert!(
        page.lines().any(|found| found == line),
        "no line {line}\nin {page}"
    );
}

/// A node with an exclusive GPU, a time-sliced one, one that is free and broken, and a split one.
async fn node() -> Node {
    let node = Node::start_with(Clock::system(), |options| {
        options.metric_names = MetricNames::Rheostat;
    })
    .await;
    let at = node.clock.now();
    let exclusive = busy_gpu(0, "GPU-a", 0.95, at);
    let mut shared = busy_gpu(1, "GPU-b", 0.5, at);
    shared.processes = vec![process(1, 0.5, 1)];
    let mut broken = gpu(2, "GPU-c");
    broken.fault = Some("GPU is lost".into());
    broken.last_xid = Some((79, Timestamp::from_unix_nanos(1_700_000_000_000_000_000)));
    broken.readings.set(Quantity::Power, Err(Absent::DeviceLost));
    let mut split = gpu(3, "GPU-d");
    split.kind = DeviceKind::Gpu { partitioned: true };
    split.throttle_reasons = vec!["sw_power_cap"];
    split.readings.put(
        Quantity::SmActive,
        0.25,
        at,
        Duration::from_secs(1),
        Quality::Measured,
    );
    split.readings.put(
        Quantity::MemoryBandwidth,
        0.125,
        at,
        Duration::from_secs(1),
        Quality::Measured,
    );
    let mut mig = partition(0, "MIG-1", &split, 0);
    mig.readings.put(
        Quantity::Utilization,
        0.07,
        at,
        Duration::from_secs(1),
        Quality::Measured,
    );
    mig.readings.put(
        Quantity::MemoryUsedBytes,
        2.0 * GIB,
        at,
        Duration::ZERO,
        Quality::Measured,
    );
    node.gpus
        .store(snapshot(at, [exclusive, shared, broken, split, mig]).into());
    node.kubelet.set_pods([
        FakePod::new("team-a", "llm-0").holding("server", "nvidia.com/gpu", ["GPU-a"]),
        FakePod::new("team-b", "one").holding("c", "nvidia.com/gpu.shared", ["GPU-b::0"]),
        FakePod::new("team-b", "two").holding("c", "nvidia.com/gpu.shared", ["GPU-b::1"]),
        FakePod::new("team-c", "mig").holding("c", "nvidia.com/mig-1g.10gb", ["MIG-1"]),
        FakePod::new("team-c", "odd").holding("c", "nvidia.com/gpu", ["GPU-gone"]),
    ]);
    node.kubelet.set_allocatable("nvidia.com/gpu", ["GPU-a", "GPU-c"]);
    node.kubelet
        .set_allocatable("nvidia.com/gpu.shared", ["GPU-b::0", "GPU-b::1", "GPU-b::2"]);
    node
}

const EXCLUSIVE: &str = "rheostat_gpu_utilization_ratio{attribution=\"exclusive\",container=\"server\",gpu_uuid=\"GPU-a\",\
    index=\"0\",namespace=\"team-a\",partition=\"\",pod=\"llm-0\"} 0.95";

#[tokio::test]
async fn our_names() {
    let node = node().await;
    let page = page_with(&node, "/metrics", EXCLUSIVE).await;
    for line in [
        "# TYPE rheostat_gpu_utilization_ratio gauge",
        "rheostat_gpu_utilization_ratio{attribution=\"shared\",gpu_uuid=\"GPU-b\",index=\"1\",partition=\"\"} 0.5",
        "rheostat_gpu_utilization_ratio{attribution=\"exclusive\",container=\"c\",gpu_uuid=\"GPU-d\",index=\"3:0\",\
         namespace=\"team-c\",partition=\"MIG-1\",pod=\"mig\"} 0.07",
        "rheostat_gpu_sm_active_ratio{attribution=\"shared\",gpu_uuid=\"GPU-d\",index=\"3\",partition=\"\"} 0.25",
        "# TYPE rheostat_gpu_energy_joules_total counter",
        "rheostat_gpu_energy_joules_total{attribution=\"shared\",gpu_uuid=\"GPU-b\",index=\"1\",partition=\"\"} 1234.5",
        "rheostat_gpu_memory_used_ratio{attribution=\"shared\",gpu_uuid=\"GPU-b\",index=\"1\",partition=\"\"} 0.5",
        "rheostat_gpu_info{cuda_version=\"13.0\",driver_version=\"580.95.05\",gpu_uuid=\"GPU-d\",index=\"3:0\",\
         model=\"NVIDIA H100 80GB HBM3\",node=\"node-1\",partition=\"MIG-1\",pci_bus_id=\"00000000:03:00.0\",\
         profile=\"1g.10gb\"} 1",
        "rheostat_gpu_up{gpu_uuid=\"GPU-c\",index=\"2\",partition=\"\"} 0",
        "rheostat_gpu_up{gpu_uuid=\"GPU-a\",index=\"0\",partition=\"\"} 1",
        "rheostat_gpu_last_xid_code{gpu_uuid=\"GPU-c\",index=\"2\",partition=\"\"} 79",
        "rheostat_gpu_throttled{gpu_uuid=\"GPU-d\",index=\"3\",partition=\"\",reason=\"sw_power_cap\"} 1",
        "rheostat_gpu_readings_absent{quantity=\"power\",reason=\"device_lost\"} 1",
        "rheostat_gpu_allocation_info{container=\"c\",gpu_uuid=\"GPU-b\",index=\"1\",kubelet_id=\"GPU-b::0\",\
         namespace=\"team-b\",partition=\"\",pod=\"one\",resource=\"nvidia.com/gpu.shared\",sharing=\"shared\"} 1",
        "rheostat_kubelet_ids_unresolved{resource=\"nvidia.com/gpu\"} 1",
        "rheostat_kubelet_ids_contested 0",
        "rheostat_pod_gpu_readings_absent{quantity=\"utilization\",reason=\"unattributable\"} 2",
        "rheostat_source_state{source=\"attribution\",state=\"current\"} 1",
        "rheostat_source_state{source=\"attribution\",state=\"stale\"} 0",
        "rheostat_source_state{source=\"gpus\",state=\"current\"} 1",
        "rheostat_agent_subscribers 0",
    ] {
        has(&page, line);
    }
    // What is absent has no series: neither a lost device's power nor a part that cannot be told.
    assert!(
        !page
            .lines()
            .any(|line| line.starts_with("rheostat_gpu_power_watts") && line.contains("GPU-c")),
        "{page}"
    );
    assert!(!page.contains("rheostat_pod_gpu_utilization_ratio"), "{page}");
    assert!(!page.contains("DCGM"), "{page}");
    let allocatable = "rheostat_gpu_allocatable_ids{gpu_uuid=\"GPU-b\",index=\"1\",partition=\"\"} 3";
    page_with(&node, "/metrics", allocatable).await;
}

#[tokio::test]
async fn without_a_kubelet_nobody_is_named() {
    let node = node().await;
    page_with(&node, "/metrics", EXCLUSIVE).await;
    node.kubelet.stop().await;
    let unknown = "rheostat_gpu_utilization_ratio{attribution=\"unknown\",gpu_uuid=\"GPU-a\",index=\"0\",partition=\"\"} 0.95";
    let page = page_with(&node, "/metrics?names=both", unknown).await;
    has(
        &page,
        "rheostat_source_state{source=\"attribution\",state=\"stale\"} 1",
    );
    assert!(!page.contains("team-"), "{page}");
    assert!(
        page.lines()
            .any(|line| line.starts_with("rheostat_kubelet_requests_total{code=\"unavailable\"}")),
        "{page}"
    );
}

#[tokio::test]
async fn the_names_of_dcgm_exporter() {
    let node = node().await;
    page_with(&node, "/metrics", EXCLUSIVE).await;
    let (status, page) = node.get("/metrics?names=dcgm").await;
    assert_eq!(status, 200);
    let labels = |gpu: u32, uuid: &str, instance: &str, pod: &str| {
        let container = if pod.is_empty() { "" } else { "container=\"c\"," };
        let container = if uuid == "GPU-a" {
            "container=\"server\","
        } else {
            container
        };
        format!(
            "{{DCGM_FI_DRIVER_VERSION=\"580.95.05\",{instance}Hostname=\"node-1\",UUID=\"{uuid}\",{container}\
             device=\"nvidia{gpu}\",gpu=\"{gpu}\",hostname=\"node-1\",modelName=\"NVIDIA H100 80GB HBM3\",{pod}}}"
        )
    };
    let pci = |gpu: u32| format!("pci_bus_id=\"00000000:0{gpu}:00.0\"");
    let exclusive = labels(
        0,
        "GPU-a",
        "",
        &format!("namespace=\"team-a\",{},pod=\"llm-0\"", pci(0)),
    );
    let shared = labels(1, "GPU-b", "", &pci(1)).replace("container=\"c\",", "");
    let mig = labels(
        3,
        "GPU-d",
        "GPU_I_ID=\"7\",GPU_I_PROFILE=\"1g.10gb\",",
        &format!("namespace=\"team-c\",{},pod=\"mig\"", pci(3)),
    );
    for line in [
        format!("DCGM_FI_DEV_GPU_UTIL{exclusive} 95"),
        format!("DCGM_FI_DEV_GPU_UTIL{shared} 50"),
        format!("DCGM_FI_DEV_FB_USED{exclusive} 40960"),
        format!("DCGM_FI_DEV_FB_USED{mig} 2048"),
        format!("DCGM_FI_DEV_POWER_USAGE{exclusive} 300"),
        format!("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{exclusive} 1234500"),
        format!("DCGM_FI_DEV_GPU_TEMP{exclusive} 60"),
        format!("DCGM_FI_PROF_GR_ENGINE_ACTIVE{mig} 0.07"),
    ] {
        has(&page, &line);
    }
    assert!(
        page.contains("DCGM_FI_PROF_SM_ACTIVE{") && page.contains("DCGM_FI_PROF_DRAM_ACTIVE{"),
        "{page}"
    );
    assert!(
        page.contains("DCGM_FI_DEV_XID_ERRORS{") && page.contains("} 79\n"),
        "{page}"
    );
    // MIG has no GPU_UTIL and the lost device nothing but its XID: no zeros in their place.
    let of = |name: &str, uuid: &str| {
        page.lines()
            .any(|line| line.starts_with(name) && line.contains(&format!("UUID=\"{uuid}\"")))
    };
    assert!(
        !of("DCGM_FI_DEV_GPU_UTIL", "GPU-d") && !of("DCGM_FI_DEV_MEM_COPY_UTIL", "GPU-d"),
        "{page}"
    );
    assert!(
        !of("DCGM_FI_DEV_POWER_USAGE", "GPU-c") && !of("DCGM_FI_DEV_GPU_UTIL", "GPU-c"),
        "{page}"
    );
    assert!(!page.contains("rheostat_"), "{page}");
}

#[tokio::test]
async fn unknown_names_are_refused() {
    let node = Node::start().await;
    let (status, body) = node.get("/metrics?names=nvidia").await;
    assert_eq!(
        (status, body.as_str()),
        (400, "names \"nvidia\": use rheostat, dcgm or both\n")
    );
}

#[tokio::test]
async fn readiness_tells_how_the_sources_fare() {
    let hour = Duration::from_secs(3600);
    let node = Node::start_with(Clock::system(), |options| {
        options.kubelet.socket = "/nowhere/kubelet.sock".into();
        options.kubelet.timeout = hour;
    })
    .await;
    let mut snapshots = node.agent.snapshots();
    let refused = |latest: &Option<std::sync::Arc<rheostat_agent::NodeSnapshot>>| {
        latest
            .as_ref()
            .and_then(|latest| latest.attribution_source.reason())
            .is_some_and(|why| why.contains("nowhere"))
    };
    tokio::time::timeout(PATIENCE, snapshots.wait_for(refused))
        .await
        .unwrap()
        .unwrap();
    let (status, body) = node.get("/readyz").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("gpus: current\nattribution: unknown: kubelet at /nowhere/kubelet.sock"),
        "{body}"
    );
}
