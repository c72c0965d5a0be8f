//! An agent with a fake kubelet and GPUs by hand, and clients for its ports.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod engine;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rheostat_agent::{Agent, AgentOptions, GpuSource};
use rheostat_gpu::{Device, DeviceId, DeviceKind, DriverState, GpuProcess, GpuSnapshot};
use rheostat_proto::agent::agent_client::AgentClient;
use rheostat_proto::agent::{Snapshot, WatchRequest};
use rheostat_reading::{Amount, Clock, Quality, Quantity, Reading, Timestamp, Unit};
use rheostat_testkit::kubelet::FakeKubelet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two snapshots of the agents under test.
pub const PERIOD: Duration = Duration::from_millis(20);

pub struct Node {
    pub agent: Agent,
    pub kubelet: FakeKubelet,
    pub gpus: Arc<ArcSwap<GpuSnapshot>>,
    pub clock: Clock,
    pub directory: tempfile::TempDir,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(Clock::system(), |_| {}).await
    }

    /// A node with two GPUs, whose agent's options `adjust` may change.
    pub async fn start_with(clock: Clock, adjust: impl FnOnce(&mut AgentOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubelet = FakeKubelet::start(directory.path().join("kubelet.sock")).unwrap();
        let gpus = [
            busy_gpu(0, "GPU-a", 0.95, clock.now()),
            busy_gpu(1, "GPU-b", 0.2, clock.now()),
        ];
        let gpus = Arc::new(ArcSwap::from_pointee(snapshot(clock.now(), gpus)));
        let mut options = AgentOptions::plaintext("node-1");
        options.grpc_address = SocketAddr::from(([127, 0, 0, 1], 0));
        options.http_address = SocketAddr::from(([127, 0, 0, 1], 0));
        options.period = PERIOD;
        options.kubelet.socket = kubelet.socket().to_owned();
        options.kubelet.period = PERIOD;
        adjust(&mut options);
        // As a sampler would, it takes a new snapshot each time; the tests choose what is in it.
        let (source, now) = (Arc::clone(&gpus), clock.clone());
        let source = GpuSource::new(move || {
            let gpus = source.load_full();
            if gpus.taken_at == STANDING_STILL {
                return gpus;
            }
            Arc::new(GpuSnapshot {
                taken_at: now.now(),
                ..(*gpus).clone()
            })
        });
        let agent = Agent::start(options, source, clock.clone()).await.unwrap();
        Self {
            agent,
            kubelet,
            gpus,
            clock,
            directory,
        }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.agent.grpc_address()))
            .unwrap()
            .connect_lazy()
    }

    pub fn client(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel())
    }

    pub async fn watch(&self) -> Streaming<Snapshot> {
        let request = subscribing("test");
        self.client().watch(request).await.unwrap().into_inner()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.agent.http_address(), path).await
    }
}

/// The request of a subscriber that names no engines.
pub fn subscribing(name: &str) -> tokio_stream::Once<WatchRequest> {
    tokio_stream::once(WatchRequest {
        subscriber: name.into(),
        engines: None,
    })
}

/// A time of taking that marks a sampler that does not go round.
pub const STANDING_STILL: Timestamp = Timestamp::from_unix_nanos(1);

/// The first snapshot of the stream that `wanted` likes.
pub async fn until(stream: &mut Streaming<Snapshot>, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let found = async {
        loop {
            let snapshot = stream.message().await.unwrap().expect("the stream has ended");
            if wanted(&snapshot) {
                return snapshot;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("no such snapshot came")
}

pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub fn snapshot(at: Timestamp, devices: impl IntoIterator<Item = Device>) -> GpuSnapshot {
    let driver = DriverState::Ready {
        driver_version: "580.95.05".into(),
        cuda_version: "13.0".into(),
    };
    GpuSnapshot {
        taken_at: at,
        driver,
        devices: devices.into_iter().collect(),
    }
}

pub fn gpu(index: u32, id: &str) -> Device {
    let mut gpu = Device::unread(DeviceId::new(id), DeviceKind::Gpu { partitioned: false });
    gpu.index = index;
    gpu.minor = Some(index);
    gpu.model = "NVIDIA H100 80GB HBM3".into();
    gpu.pci_bus_id = format!("00000000:{index:02X}:00.0");
    gpu.processes_absent = None;
    gpu
}

pub fn busy_gpu(index: u32, id: &str, utilization: f64, at: Timestamp) -> Device {
    let mut gpu = gpu(index, id);
    let second = Duration::from_secs(1);
    gpu.readings
        .put(Quantity::Utilization, utilization, at, second, Quality::Measured);
    gpu.readings
        .put(Quantity::Power, 300.0, at, second, Quality::Measured);
    gpu.readings.put(
        Quantity::MemoryUsedBytes,
        40.0 * GIB,
        at,
        Duration::ZERO,
        Quality::Measured,
    );
    gpu.readings.put(
        Quantity::MemoryTotalBytes,
        80.0 * GIB,
        at,
        Duration::ZERO,
        Quality::Measured,
    );
    gpu.readings.put(
        Quantity::MemoryUsedPercent,
        0.5,
        at,
        Duration::ZERO,
        Quality::Derived,
    );
    gpu.readings
        .put(Quantity::Temperature, 60.0, at, Duration::ZERO, Quality::Measured);
    gpu.readings
        .put(Quantity::Energy, 1234.5, at, Duration::ZERO, Quality::Measured);
    gpu
}

pub const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub fn partition(index: u32, id: &str, parent: &Device, start: u32) -> Device {
    let kind = DeviceKind::Partition {
        parent: parent.id.clone(),
        profile: "1g.10gb".into(),
        gpu_instance: index + 7,
        compute_instance: 0,
        placement_start: Some(start),
        profile_id: Some(19),
    };
    let mut partition = Device::unread(DeviceId::new(id), kind);
    partition.index = index;
    partition.minor = parent.minor;
    partition.model.clone_from(&parent.model);
    partition.pci_bus_id.clone_from(&parent.pci_bus_id);
    partition.processes_absent = None;
    partition
}

pub fn process(pid: u32, sm: f64, memory: u64) -> GpuProcess {
    let reading = Reading {
        amount: Amount::new(sm, Unit::Ratio).unwrap(),
        at: Timestamp::from_unix_nanos(0),
        window: Duration::from_secs(1),
        quality: Quality::Measured,
    };
    GpuProcess {
        pid,
        used_memory_bytes: Some(memory),
        sm_utilization: Ok(reading),
    }
}
