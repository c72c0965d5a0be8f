//! The stream of snapshots and its health service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_gpu::{DriverState, GpuSnapshot};
use rheostat_proto::agent::{Quantity, source::State};
use rheostat_reading::{Absent, Clock, Timestamp};
use support::{Node, PATIENCE, STANDING_STILL, busy_gpu, snapshot, subscribing, until};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn the_current_snapshot_comes_at_once() {
    let hour = Duration::from_secs(3600);
    let node = Node::start_with(Clock::system(), |options| options.kubelet.period = hour).await;
    let mut first = node.watch().await;
    until(&mut first, |_| true).await;
    // The kubelet's next answer is an hour away, and so would be a snapshot that waits for it.
    let mut second = node.watch().await;
    let now = until(&mut second, |_| true).await;
    assert_eq!((now.node.as_str(), now.devices.len()), ("node-1", 2));
    assert_eq!(now.version, env!("CARGO_PKG_VERSION"));
    assert!(now.sequence >= 1);
    let utilization = now.devices[0]
        .readings
        .iter()
        .find(|reading| reading.quantity() == Quantity::Utilization);
    assert_eq!(utilization.map(|reading| reading.value), Some(0.95));
}

#[tokio::test]
async fn a_missing_driver_is_told_and_recovered_from() {
    let node = Node::start().await;
    let mut stream = node.watch().await;
    until(&mut stream, |_| true).await;
    let ready = node.gpus.load_full();
    let driver = DriverState::Unavailable {
        reason: "driver/library version mismatch".into(),
    };
    let mut devices = ready.devices.clone();
    for device in &mut devices {
        device.readings.set(
            rheostat_reading::Quantity::Utilization,
            Err(Absent::NoDriver("mismatch".into())),
        );
    }
    node.gpus.store(
        GpuSnapshot {
            taken_at: ready.taken_at,
            driver,
            devices,
        }
        .into(),
    );
    let stale = until(&mut stream, |snapshot| {
        snapshot.gpus.as_ref().unwrap().state() == State::Stale
    })
    .await;
    assert_eq!(stale.gpus.unwrap().reason, "driver/library version mismatch");
    let utilization = stale.devices[0]
        .readings
        .iter()
        .find(|reading| reading.quantity() == Quantity::Utilization);
    assert_eq!(
        utilization.unwrap().absent(),
        rheostat_proto::agent::Absent::NoDriver
    );
    node.gpus.store(ready);
    until(&mut stream, |snapshot| {
        snapshot.gpus.as_ref().unwrap().state() == State::Current
    })
    .await;
}

#[tokio::test]
async fn one_subscriber_too_many_is_refused_until_another_leaves() {
    let node = Node::start_with(Clock::system(), |options| options.max_subscribers = 2).await;
    let (first, _second) = (node.watch().await, node.watch().await);
    let request = || subscribing("third");
    let refused = node.client().watch(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("2 subscribers"), "{refused}");
    drop(first);
    let admitted = async {
        while node.client().watch(request()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, admitted).await.unwrap();
}

#[tokio::test]
async fn a_slow_subscriber_skips_to_the_newest() {
    let node = Node::start().await;
    // Snapshots of some 300 KB, several times what HTTP/2 lets a server send unread.
    let now = node.clock.now();
    let devices = (0..2000).map(|index| busy_gpu(index, &format!("GPU-{index}"), 0.5, now));
    node.gpus.store(snapshot(now, devices).into());
    let mut client = node.client().max_decoding_message_size(64 << 20);
    let mut slow = client.watch(subscribing("slow")).await.unwrap().into_inner();
    let first = until(&mut slow, |snapshot| snapshot.devices.len() == 2000).await;

    let mut snapshots = node.agent.snapshots();
    let far = first.sequence + 40;
    let reached = snapshots.wait_for(|latest| latest.as_ref().is_some_and(|latest| latest.sequence >= far));
    tokio::time::timeout(PATIENCE, reached).await.unwrap().unwrap();
    let mut received = Vec::new();
    while received.last().is_none_or(|last| *last < far) {
        received.push(until(&mut slow, |_| true).await.sequence);
    }
    assert!(received.len() < 20, "of 40 snapshots it was sent {received:?}");
}

#[tokio::test]
async fn a_stop_ends_streams_in_order() {
    let node = Node::start().await;
    let mut stream = node.watch().await;
    until(&mut stream, |_| true).await;
    node.agent.stop().await.unwrap();
    let rest = async { while stream.message().await.expect("it ends with OK").is_some() {} };
    tokio::time::timeout(PATIENCE, rest).await.unwrap();
}

#[tokio::test]
async fn health_follows_the_loops() {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000_000));
    let node = Node::start_with(clock, |_| {}).await;
    let mut health = HealthClient::new(node.channel());
    let request = HealthCheckRequest {
        service: "rheostat.agent.v1.Agent".into(),
    };
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let mut becomes = async |wanted: ServingStatus| {
        let change = async { while changes.message().await.unwrap().unwrap().status() != wanted {} };
        tokio::time::timeout(PATIENCE, change).await.unwrap();
    };
    becomes(ServingStatus::Serving).await;
    assert_eq!(node.get("/healthz").await, (200, "ok\n".into()));

    let going = node.gpus.load_full();
    node.gpus.store(
        GpuSnapshot {
            taken_at: STANDING_STILL,
            ..(*going).clone()
        }
        .into(),
    );
    hand.advance(Duration::from_secs(60));
    becomes(ServingStatus::NotServing).await;
    let (status, reason) = node.get("/healthz").await;
    assert_eq!(status, 503);
    assert!(
        reason.contains("the GPU sampler loop has stood still"),
        "{reason}"
    );
    node.gpus.store(going);
    becomes(ServingStatus::Serving).await;
}
