//! A thousand agents in one process: real streams over real sockets, simulated GPUs.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use rheostat_proto::agent::agent_server::{Agent, AgentServer};
use rheostat_proto::agent::{self, Snapshot, WatchRequest};
use rheostat_proto::reading_to_proto;
use rheostat_reading::{Clock, Quality, Quantity, Readings, Timestamp};
use rheostat_transport::{ServerSecurity, grpc_server, listen, serve_grpc};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::layout::{self, GPUS_PER_NODE, Layout};
use crate::process;

/// What an H100 reports.
const QUANTITIES: [Quantity; 20] = [
    Quantity::Utilization,
    Quantity::SmActive,
    Quantity::SmOccupancy,
    Quantity::TensorActive,
    Quantity::DutyCycle,
    Quantity::MemoryUsedPercent,
    Quantity::MemoryUsedBytes,
    Quantity::MemoryFreeBytes,
    Quantity::MemoryReservedBytes,
    Quantity::MemoryTotalBytes,
    Quantity::MemoryBandwidth,
    Quantity::Power,
    Quantity::PowerLimit,
    Quantity::Energy,
    Quantity::Temperature,
    Quantity::SmClock,
    Quantity::PcieTx,
    Quantity::PcieRx,
    Quantity::NvlinkTx,
    Quantity::NvlinkRx,
];

/// The agents' period.
const PERIOD: Duration = Duration::from_secs(1);

/// Serves until its input ends. Says the agents' addresses, in the order of the nodes.
pub(crate) fn serve_agents(layout: Layout) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = process::ordered_to_end();
        let mut servers = JoinSet::new();
        for node in 0..layout.agents {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = listen(any, &ServerSecurity::Plaintext).await?;
            println!("{}", listener.local_addr());
            let agent = SimulatedAgent {
                layout,
                node,
                clock: Clock::system(),
            };
            let router = grpc_server().add_service(AgentServer::new(agent));
            servers.spawn(serve_grpc(listener, router, end.clone().cancelled_owned()));
        }
        println!();
        end.cancelled().await;
        // Their streams never end by themselves.
        servers.shutdown().await;
        Ok(())
    })
}

struct SimulatedAgent {
    layout: Layout,
    node: usize,
    clock: Clock,
}

#[tonic::async_trait]
impl Agent for SimulatedAgent {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Snapshot, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut snapshot = self.snapshot();
        let (node, clock) = (self.node, self.clock.clone());
        // Subscribers come spread over time, and so the agents' beats are.
        let beats = IntervalStream::new(interval_at(Instant::now(), PERIOD));
        Ok(Response::new(Box::pin(beats.map(move |_| {
            snapshot.sequence += 1;
            for (gpu, device) in snapshot.devices.iter_mut().enumerate() {
                device.readings = readings(node, gpu, snapshot.sequence, clock.now());
            }
            Ok(snapshot.clone())
        }))))
    }
}

impl SimulatedAgent {
    /// Everything but the readings, which change each time.
    fn snapshot(&self) -> Snapshot {
        let current = agent::Source {
            state: agent::source::State::Current.into(),
            ..Default::default()
        };
        let device = |gpu| agent::Device {
            id: self.uuid(gpu),
            index: u32::try_from(gpu).unwrap_or(u32::MAX),
            model: "NVIDIA H100 80GB HBM3".into(),
            ..Default::default()
        };
        let claim = |gpu| {
            let holder = self.layout.holder(self.node, gpu)?;
            Some(agent::Claim {
                namespace: layout::namespace(holder.workload),
                pod: layout::pod_name(holder),
                container: "engine".into(),
                resource: "nvidia.com/gpu".into(),
                kubelet_id: self.uuid(gpu),
                device: self.uuid(gpu),
                ..Default::default()
            })
        };
        Snapshot {
            node: layout::node_name(self.node),
            version: env!("CARGO_PKG_VERSION").into(),
            gpus: Some(current.clone()),
            attribution: Some(current),
            devices: (0..GPUS_PER_NODE).map(device).collect(),
            claims: (0..GPUS_PER_NODE).filter_map(claim).collect(),
            ..Default::default()
        }
    }

    fn uuid(&self, gpu: usize) -> String {
        format!("GPU-00000000-0000-4000-8000-{:08}{gpu:04}", self.node)
    }
}

/// Readings that differ from GPU to GPU and wander from second to second.
fn readings(node: usize, gpu: usize, second: u64, now: Timestamp) -> Vec<agent::Reading> {
    let place = u32::try_from(node * GPUS_PER_NODE + gpu).unwrap_or(u32::MAX);
    let second = u32::try_from(second).unwrap_or(u32::MAX);
    let level = (f64::from(place) * 0.618_034 + f64::from(second) * 0.037).fract();
    let mut readings = Readings::new();
    for quantity in QUANTITIES {
        let value = match quantity {
            Quantity::Power => 100.0 + 600.0 * level,
            Quantity::PowerLimit => 700.0,
            Quantity::Temperature => 35.0 + 40.0 * level,
            Quantity::Energy => f64::from(second) * 400.0,
            quantity if quantity.unit() == rheostat_reading::Unit::Ratio => level,
            _ => 80e9 * level,
        };
        readings.put(quantity, value, now, PERIOD, Quality::Measured);
    }
    readings
        .iter()
        .map(|(quantity, observed)| reading_to_proto(quantity, observed, now))
        .collect()
}
