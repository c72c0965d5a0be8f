//! The whole agent: NVML through its C ABI (the fake driver), the kubelet through its socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nvidia_ml::{Activity, Curve, ErrorCode, Fault, Mig, MigInstance, Process, Scenario};
use rheostat_agent::{Agent, AgentOptions, GpuSource};
use rheostat_gpu::{Sampler, SamplerOptions};
use rheostat_proto::agent::agent_client::AgentClient;
use rheostat_proto::agent::{Absent, Device, Quantity, Reading, Snapshot, WatchRequest, source::State};
use rheostat_reading::Clock;
use rheostat_testkit::kubelet::{FakeKubelet, FakePod};
use support::{PERIOD, get, until};
use tonic::transport::Endpoint;

fn scenario() -> Scenario {
    let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", 3);
    for (gpu, uuid) in scenario.gpus.iter_mut().zip(["GPU-a", "GPU-b", "GPU-c"]) {
        gpu.uuid = Some(uuid.into());
    }
    scenario.gpus[0].readings.utilization_percent = Some(Curve::Constant(95.0));
    scenario.gpus[1].processes = vec![Process::new(101, 10 << 30), Process::new(102, 20 << 30)];
    scenario.gpus[1].processes[0].sm_percent = Curve::Constant(60.0);
    scenario.gpus[1].processes[1].sm_percent = Curve::Constant(20.0);
    let activity = Activity {
        sm_percent: Some(Curve::Constant(40.0)),
        ..Activity::default()
    };
    let mig = MigInstance {
        uuid: Some("MIG-a".into()),
        activity,
        ..MigInstance::of("1g.10gb")
    };
    scenario.gpus[2].mig = Some(Mig {
        instances: vec![mig],
        ..Mig::default()
    });
    scenario
}

fn device<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Device> {
    snapshot.devices.iter().find(|device| device.id == id)
}

fn reading(readings: &[Reading], quantity: Quantity) -> Option<&Reading> {
    readings.iter().find(|reading| reading.quantity() == quantity)
}

fn value(readings: &[Reading], quantity: Quantity) -> Option<f64> {
    reading(readings, quantity)
        .filter(|reading| reading.absent() == Absent::No)
        .map(|reading| reading.value)
}

fn near(found: Option<f64>, wanted: f64) -> bool {
    found.is_some_and(|found| (found - wanted).abs() < 0.011)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_driver_to_the_stream() {
    let host = tempfile::tempdir().unwrap();
    let mut scenario = scenario();
    let library = nvidia_ml::install(host.path(), &scenario).unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/2/comm", "kthreadd\n");
    for (pid, name) in [(101, "one"), (102, "two")] {
        let uid = format!("{pid:08}-1111-4111-8111-111111111111");
        write(
            &format!("proc/{pid}/cgroup"),
            &format!("0::/kubepods/burstable/pod{uid}/abc\n"),
        );
        write(&format!("logs/team-b_{name}_{uid}/0.log"), "");
    }
    let kubelet = FakeKubelet::start(host.path().join("kubelet.sock")).unwrap();
    kubelet.set_pods([
        FakePod::new("team-a", "llm-0").holding("server", "nvidia.com/gpu", ["GPU-a"]),
        FakePod::new("team-b", "one").holding("c", "nvidia.com/gpu.shared", ["GPU-b::0"]),
        FakePod::new("team-b", "two").holding("c", "nvidia.com/gpu.shared", ["GPU-b::1"]),
        FakePod::new("team-c", "mig").holding("c", "nvidia.com/mig-1g.10gb", ["MIG-a"]),
    ]);

    let clock = Clock::system();
    let sampling = SamplerOptions {
        library: Some(library),
        fast_period: Duration::from_millis(50),
        slow_period: Duration::from_millis(200),
        ..SamplerOptions::default()
    };
    let sampler = Arc::new(Sampler::start(sampling, clock.clone()).unwrap());
    let mut options = AgentOptions::plaintext("node-1");
    options.grpc_address = SocketAddr::from(([127, 0, 0, 1], 0));
    options.http_address = SocketAddr::from(([127, 0, 0, 1], 0));
    options.period = PERIOD;
    options.kubelet.socket = kubelet.socket().to_owned();
    options.kubelet.period = PERIOD;
    options.proc_dir = host.path().join("proc");
    options.pod_logs_dir = Some(host.path().join("logs"));
    let agent = Agent::start(options, GpuSource::new(move || sampler.latest()), clock)
        .await
        .unwrap();
    let channel = Endpoint::new(format!("http://{}", agent.grpc_address()))
        .unwrap()
        .connect_lazy();
    let request = tokio_stream::once(WatchRequest {
        subscriber: "test".into(),
        engines: None,
    });
    let mut stream = AgentClient::new(channel)
        .watch(request)
        .await
        .unwrap()
        .into_inner();

    let share = |snapshot: &Snapshot, pod: &str, quantity| {
        let claim = snapshot.claims.iter().find(|claim| claim.pod == pod)?;
        value(&claim.share, quantity)
    };
    let whole = until(&mut stream, |snapshot| {
        let utilization =
            |id| device(snapshot, id).and_then(|found| value(&found.readings, Quantity::Utilization));
        let active = device(snapshot, "MIG-a").and_then(|found| value(&found.readings, Quantity::SmActive));
        near(utilization("GPU-a"), 0.95)
            && near(active, 0.4)
            && near(share(snapshot, "one", Quantity::Utilization), 0.6)
            && near(share(snapshot, "two", Quantity::Utilization), 0.2)
    })
    .await;
    assert!(near(
        share(&whole, "one", Quantity::MemoryUsedPercent),
        10.0 / 80.0
    ));
    let held: Vec<_> = whole
        .claims
        .iter()
        .map(|claim| (claim.pod.as_str(), claim.device.as_str()))
        .collect();
    assert_eq!(
        held,
        [
            ("llm-0", "GPU-a"),
            ("one", "GPU-b"),
            ("two", "GPU-b"),
            ("mig", "MIG-a")
        ]
    );
    let split = device(&whole, "GPU-c").unwrap();
    assert!(split.partitioned);
    assert_eq!(
        reading(&split.readings, Quantity::Utilization).unwrap().absent(),
        Absent::NotSupported
    );
    assert_eq!(device(&whole, "MIG-a").unwrap().parent, "GPU-c");

    // One GPU falls off the bus: its readings are absent on the stream and on the page, its claim stays.
    scenario.faults = vec![Fault {
        gpu: Some(0),
        ..Fault::error("nvmlDevice*", ErrorCode::GpuIsLost)
    }];
    scenario.write_to(&host.path().join("scenario.json")).unwrap();
    let lost = until(&mut stream, |snapshot| {
        device(snapshot, "GPU-a").is_some_and(|found| value(&found.readings, Quantity::Utilization).is_none())
    })
    .await;
    let gone = device(&lost, "GPU-a").unwrap();
    assert!(!gone.fault.is_empty());
    assert!(
        gone.readings.iter().all(|reading| reading.absent() != Absent::No),
        "{gone:?}"
    );
    assert_eq!(lost.claims.len(), 4);
    assert!(near(share(&lost, "one", Quantity::Utilization), 0.6));
    let (_, page) = get(agent.http_address(), "/metrics?names=both").await;
    assert!(
        page.lines()
            .any(|line| line.starts_with("rheostat_gpu_up{gpu_uuid=\"GPU-a\"") && line.ends_with(" 0"))
    );
    for name in [
        "rheostat_gpu_utilization_ratio",
        "DCGM_FI_DEV_GPU_UTIL",
        "rheostat_gpu_power_watts",
    ] {
        let of_lost = page
            .lines()
            .any(|line| line.starts_with(name) && line.contains("\"GPU-a\""));
        assert!(!of_lost, "{name} of a lost device\n{page}");
    }

    // The driver goes: nothing is read, nothing is zero, and it comes back by itself.
    scenario.faults = vec![Fault::error("*", ErrorCode::DriverNotLoaded)];
    scenario.write_to(&host.path().join("scenario.json")).unwrap();
    let none = until(&mut stream, |snapshot| {
        snapshot.gpus.as_ref().unwrap().state() == State::Stale
    })
    .await;
    assert!(
        none.devices
            .iter()
            .all(|found| value(&found.readings, Quantity::Utilization).is_none())
    );
    assert_eq!(none.claims.len(), 4);
    scenario.faults.clear();
    scenario.write_to(&host.path().join("scenario.json")).unwrap();
    until(&mut stream, |snapshot| {
        near(
            device(snapshot, "GPU-a").and_then(|found| value(&found.readings, Quantity::Utilization)),
            0.95,
        )
    })
    .await;
    agent.stop().await.unwrap();
}
