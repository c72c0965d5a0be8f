//! The HTTP port: probes, reasons for people and programs, metrics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use rheostat_cluster::{Store, StoreWriter};
use rheostat_fleet::{AgentEndpoint, Fleet, FleetOptions, FleetWriter};
use rheostat_reading::Clock;
use rheostat_scaler::{Inquiries, Scaler, ScalerOptions};
use rheostat_transport::ClientSecurity;
use support::{eventually, options, snapshot, workload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const UTILIZATION: &[(&str, &str)] = &[("signal", "gpu.utilization"), ("target", "80")];

async fn scaler() -> (Scaler, StoreWriter, FleetWriter) {
    let clock = Clock::system();
    let (cluster, store) = Store::new();
    let (writer, fleet) = Fleet::by_hand(clock.clone());
    let options = ScalerOptions {
        period: Duration::from_millis(50),
        ..options()
    };
    let scaler = Scaler::start(
        options,
        clock,
        store,
        fleet,
        Inquiries::default(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    (scaler, cluster, writer)
}

/// Status code and body of a GET.
async fn get(address: SocketAddr, path: &str, accept: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: rheostat\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    let body = reply.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_why() {
    let (scaler, mut cluster, fleet) = scaler().await;
    let held = [
        ("team-a", "chat-0", 0.95),
        ("team-a", "chat-1", 0.95),
        ("team-b", "chat-0", 0.5),
    ];
    fleet.put(&snapshot("node-1", &held)).unwrap();
    cluster.apply(workload("team-a", "chat", 2, UTILIZATION));
    let address = scaler.http_address();
    let (_, text) = eventually(
        || get(address, "/v1/workloads/team-a/chat", "text/plain"),
        |(status, text)| *status == 200 && text.contains("answer: 190"),
    )
    .await;
    for part in [
        "ScaledObject team-a/chat",
        "Deployment chat: 2 replicas asked for, 2 created; between 0 and 100",
        "pod chat-0",
        "GPU-node-1-0 (NVIDIA H100 80GB HBM3): 95.0 %, measured",
        "ceil(190 / 80): 3 replicas",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(
        !text.contains("GPU-node-1-2"),
        "another tenant's GPU is nobody's business:\n{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_told_the_same() {
    let (scaler, mut cluster, fleet) = scaler().await;
    fleet
        .put(&snapshot("node-1", &[("team-a", "chat-0", 0.5)]))
        .unwrap();
    cluster.apply(workload("team-a", "chat", 1, UTILIZATION));
    cluster.apply(workload(
        "team-a",
        "wrong",
        1,
        &[("signal", "gpu.utilization"), ("target", "none")],
    ));
    let address = scaler.http_address();
    let json = |path: &'static str| async move {
        let (status, body) = get(address, path, "application/json").await;
        (status, serde_json::from_str::<serde_json::Value>(&body).unwrap())
    };
    let answered = |(_, body): &(u16, serde_json::Value)| {
        body["workloads"][0]["triggers"][0]["answer"]["value"].is_f64()
    };
    let (status, body) = eventually(|| json("/v1/workloads/team-a/chat"), answered).await;
    assert_eq!(status, 200);
    let trigger = &body["workloads"][0]["triggers"][0];
    assert_eq!(trigger["signal"], "gpu.utilization");
    assert_eq!(trigger["hpa_wants"], 1);
    assert_eq!(trigger["pods"][0]["devices"][0]["quality"], "measured");
    assert_eq!(trigger["pods"][0]["devices"][0]["id"], "GPU-node-1-0");
    let (_, list) = json("/v1/workloads").await;
    assert_eq!(list["workloads"].as_array().unwrap().len(), 2);
    let wrong = &list["workloads"][1]["triggers"][0]["answer"];
    assert_eq!(wrong["basis"], "error");
    assert!(wrong["because"].as_str().unwrap().contains("target"), "{wrong}");
    let (status, body) = json("/v1/workloads/team-b/chat").await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("team-b/chat"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_of_now_and_leave_with_their_workload() {
    let (scaler, mut cluster, fleet) = scaler().await;
    fleet
        .put(&snapshot("node-1", &[("team-a", "chat-0", 0.5)]))
        .unwrap();
    cluster.apply(workload("team-a", "chat", 1, UTILIZATION));
    let address = scaler.http_address();
    let line = r#"rheostat_trigger_value{kind="ScaledObject",name="chat",namespace="team-a",signal="gpu.utilization",trigger="0"} 50"#;
    let has = |page: &(u16, String)| page.1.lines().any(|found| found == line);
    let (_, page) = eventually(|| get(address, "/metrics", "text/plain"), has).await;
    assert!(
        page.contains("# TYPE rheostat_scaler_evaluations_total counter"),
        "{page}"
    );
    cluster.remove(&workload("team-a", "chat", 1, UTILIZATION).id);
    eventually(
        || get(address, "/metrics", "text/plain"),
        |page| !page.1.contains("team-a"),
    )
    .await;
    let (_, open) = get(address, "/metrics", "application/openmetrics-text; version=1.0.0").await;
    assert!(open.ends_with("# EOF\n"), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_the_agents_but_not_for_ever() {
    let (clock, hand) = Clock::manual(rheostat_reading::Timestamp::from_unix_nanos(1_000_000_000));
    let (_cluster, store) = Store::new();
    // An agent that nobody serves.
    let endpoint = AgentEndpoint {
        address: "127.0.0.1:1".into(),
        node: None,
    };
    let (_endpoints, receiver) = watch::channel(vec![endpoint]);
    let fleet = Fleet::start(
        FleetOptions::new(ClientSecurity::Plaintext),
        clock.clone(),
        receiver,
    );
    let options = ScalerOptions {
        period: Duration::from_millis(50),
        ..options()
    };
    let scaler = Scaler::start(
        options,
        clock,
        store,
        fleet,
        Inquiries::default(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let address = scaler.http_address();
    let waits = |page: &(u16, String)| page.0 == 503 && page.1.contains("127.0.0.1:1");
    eventually(|| get(address, "/readyz", "*/*"), waits).await;
    assert_eq!(get(address, "/healthz", "*/*").await.0, 200);
    hand.advance(Duration::from_secs(11));
    eventually(|| get(address, "/readyz", "*/*"), |page| page.0 == 200).await;
}
