//! What a snapshot of 8 GPUs costs to take in, and a view of 1,000 nodes to make:
//! `cargo run --release -p rheostat-fleet --example ingest`.

use std::time::Duration;

use rheostat_fleet::Fleet;
use rheostat_proto::{agent, reading_to_proto};
use rheostat_reading::{Amount, Clock, Quality, Quantity, Reading, Timestamp};

const NODES: usize = 1000;
const ROUNDS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::system();
    let (writer, fleet) = Fleet::by_hand(clock.clone());
    let wires: Vec<Vec<u8>> = (0..NODES)
        .map(|node| prost::Message::encode_to_vec(&snapshot(node, clock.now())))
        .collect();
    let take_all = || -> Result<(), Box<dyn std::error::Error>> {
        for wire in &wires {
            writer.put(&<agent::Snapshot as prost::Message>::decode(wire.as_slice())?)?;
        }
        Ok(())
    };
    take_all()?;
    let rounds = u32::try_from(ROUNDS)?;
    let snapshots = rounds * u32::try_from(NODES)?;
    let spent = timed(&clock, || (0..ROUNDS).try_for_each(|_| take_all()))?;
    println!("bytes on the wire per snapshot  {:>8}", wires[0].len());
    println!(
        "µs to decode and take one       {:>8.1}",
        micros(spent / snapshots)
    );
    let spent = timed(&clock, || {
        (0..ROUNDS).for_each(|_| drop(fleet.view()));
        Ok(())
    })?;
    println!(
        "µs to make a view of {NODES} nodes {:>8.1}",
        micros(spent / rounds)
    );
    println!("resident MiB with {NODES} nodes    {:>8.1}", resident_mib()?);
    Ok(())
}

fn timed(
    clock: &Clock,
    work: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let start = clock.now();
    work()?;
    Ok(clock.now().since(start))
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

fn resident_mib() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// A full node: 8 GPUs with every quantity, each held by a pod.
fn snapshot(node: usize, now: Timestamp) -> agent::Snapshot {
    let current = agent::Source {
        state: agent::source::State::Current.into(),
        ..Default::default()
    };
    let readings: Vec<_> = Quantity::ALL
        .iter()
        .filter_map(|&quantity| {
            let amount = Amount::new(0.5, quantity.unit())?;
            let window = Duration::from_secs(1);
            let reading = Reading {
                amount,
                at: now,
                window,
                quality: Quality::Measured,
            };
            Some(reading_to_proto(quantity, Ok(&reading), now))
        })
        .collect();
    let id = |gpu: u32| format!("GPU-00000000-0000-0000-{node:04}-{gpu:012}");
    let device = |gpu| agent::Device {
        id: id(gpu),
        index: gpu,
        model: "NVIDIA H100 80GB HBM3".into(),
        readings: readings.clone(),
        ..Default::default()
    };
    let claim = |gpu| agent::Claim {
        namespace: "inference".into(),
        pod: format!("llm-{node}-{gpu}"),
        container: "engine".into(),
        resource: "nvidia.com/gpu".into(),
        kubelet_id: id(gpu),
        device: id(gpu),
        ..Default::default()
    };
    agent::Snapshot {
        node: format!("node-{node}"),
        version: "0.1.0".into(),
        gpus: Some(current.clone()),
        attribution: Some(current),
        devices: (0..8).map(device).collect(),
        claims: (0..8).map(claim).collect(),
        ..Default::default()
    }
}
