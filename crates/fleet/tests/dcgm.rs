//! dcgm-exporters in the place of agents, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_fleet::{DcgmEndpoint, DcgmOptions, DcgmSource, Fleet, NodeView, SourceState, dcgm_view};
use rheostat_proto::agent;
use rheostat_reading::{Clock, Quantity, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(30);

fn start() -> Timestamp {
    Timestamp::from_unix_nanos(100_000_000_000)
}

/// Two GPUs: one of a pod's own, one that two pods share, with their processes told apart.
const PAGE: &str = concat!(
    "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-a\",modelName=\"H100\",namespace=\"team-a\",pod=\"llm-0\",container=\"server\"} 95\n",
    "DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-a\",modelName=\"H100\",namespace=\"team-a\",pod=\"llm-0\",container=\"server\"} 64000\n",
    "DCGM_FI_DEV_FB_FREE{gpu=\"0\",UUID=\"GPU-a\",modelName=\"H100\",namespace=\"team-a\",pod=\"llm-0\",container=\"server\"} 16000\n",
    "DCGM_FI_DEV_FB_RESERVED{gpu=\"0\",UUID=\"GPU-a\",modelName=\"H100\",namespace=\"team-a\",pod=\"llm-0\",container=\"server\"} 0\n",
    "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",modelName=\"H100\",namespace=\"team-a\",pod=\"llm-0\",container=\"server\"} 412.5\n",
    "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",UUID=\"GPU-b\",modelName=\"H100\",namespace=\"team-b\",pod=\"one\",container=\"c\"} 40\n",
    "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",UUID=\"GPU-b\",modelName=\"H100\",namespace=\"team-b\",pod=\"two\",container=\"c\"} 10\n",
);

/// What our agent says of the same node.
fn snapshot() -> agent::Snapshot {
    let current = || {
        Some(agent::Source {
            state: agent::source::State::Current.into(),
            ..Default::default()
        })
    };
    let reading = |quantity: agent::Quantity, value| agent::Reading {
        quantity: quantity.into(),
        value,
        ..Default::default()
    };
    let device = |id: &str, index, readings| agent::Device {
        id: id.into(),
        index,
        model: "H100".into(),
        readings,
        ..Default::default()
    };
    let claim =
        |namespace: &str, pod: &str, container: &str, device: &str, sharing: agent::Sharing| agent::Claim {
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            device: device.into(),
            sharing: sharing.into(),
            ..Default::default()
        };
    let mib = 1024.0 * 1024.0;
    let of_a = vec![
        reading(agent::Quantity::Utilization, 0.95),
        reading(agent::Quantity::MemoryUsedPercent, 0.8),
        reading(agent::Quantity::MemoryUsedBytes, 64000.0 * mib),
        reading(agent::Quantity::MemoryFreeBytes, 16000.0 * mib),
        reading(agent::Quantity::MemoryReservedBytes, 0.0),
        reading(agent::Quantity::MemoryTotalBytes, 80000.0 * mib),
        reading(agent::Quantity::Power, 412.5),
    ];
    let of_b = vec![reading(agent::Quantity::Utilization, 0.5)];
    let share = |value| vec![reading(agent::Quantity::Utilization, value)];
    agent::Snapshot {
        node: "node-1".into(),
        version: "1".into(),
        gpus: current(),
        attribution: current(),
        devices: vec![device("GPU-a", 0, of_a), device("GPU-b", 1, of_b)],
        claims: vec![
            claim("team-a", "llm-0", "server", "GPU-a", agent::Sharing::Exclusive),
            agent::Claim {
                share: share(0.4),
                ..claim("team-b", "one", "c", "GPU-b", agent::Sharing::Shared)
            },
            agent::Claim {
                share: share(0.1),
                ..claim("team-b", "two", "c", "GPU-b", agent::Sharing::Shared)
            },
        ],
        ..Default::default()
    }
}

/// What a trigger can see of a node: devices, numbers and who holds what.
fn signals(view: &NodeView) -> String {
    let mut text = String::new();
    for device in &view.devices {
        text += &format!(
            "{} {} {} {:?} {}\n",
            device.id, device.index, device.model, device.parent, device.partitioned
        );
        for &quantity in Quantity::ALL {
            if let Some(value) = device.readings.value(quantity) {
                text += &format!("  {quantity} {value}\n");
            }
        }
    }
    for claim in view.claims() {
        let share: Vec<_> = Quantity::ALL
            .iter()
            .filter_map(|&quantity| Some((quantity, claim.share.value(quantity)?)))
            .collect();
        text += &format!(
            "{}/{} {} {:?} shared={} {share:?}\n",
            claim.namespace, claim.pod, claim.container, claim.device, claim.shared
        );
    }
    text
}

#[test]
fn the_same_signals_come_out_as_from_our_agent() {
    let (writer, fleet) = Fleet::by_hand(Clock::manual(start()).0);
    writer.put(&snapshot()).unwrap();
    let agents = fleet.node("node-1").unwrap();
    let exporters = dcgm_view(PAGE.as_bytes(), "node-1", start(), WINDOW).unwrap();
    assert_eq!(signals(&exporters), signals(&agents));
    assert_eq!(exporters.attribution, SourceState::Current);
    assert_eq!(exporters.claims_of("team-a", "llm-0").len(), 1);
    assert!(exporters.claims_of("team-a", "other").is_empty());
}

#[test]
fn a_node_view_of_mig_instances() {
    let page: String = [(1, "3g.40gb", "large", "0.6"), (9, "1g.10gb", "small", "0.07")]
        .iter()
        .map(|(id, profile, pod, active)| {
            let labels = format!("gpu=\"0\",UUID=\"GPU-m\",modelName=\"A100\",GPU_I_ID=\"{id}\",GPU_I_PROFILE=\"{profile}\",namespace=\"n\",pod=\"{pod}\"");
            format!("DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{labels}}} {active}\nDCGM_FI_DEV_POWER_USAGE{{{labels}}} 200\n")
        })
        .collect();
    let view = dcgm_view(page.as_bytes(), "node-1", start(), WINDOW).unwrap();
    assert_eq!(
        signals(&view),
        "GPU-m 0 A100 None true\n  power 200\n\
         GPU-m/gi1 1 A100 Some(\"GPU-m\") false\n  utilization 0.6\n\
         GPU-m/gi9 9 A100 Some(\"GPU-m\") false\n  utilization 0.07\n\
         n/large  Some(\"GPU-m/gi1\") shared=false []\n\
         n/small  Some(\"GPU-m/gi9\") shared=false []\n"
    );
    let nobody = dcgm_view(
        b"DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-a\"} 5\n",
        "node-1",
        start(),
        WINDOW,
    )
    .unwrap();
    assert!(
        matches!(nobody.attribution, SourceState::Unknown { .. }),
        "no pods named is not nobody holds it"
    );
}

/// Serves a page, or what else it is told to, until it is dropped.
struct FakeExporter {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    server: JoinHandle<()>,
}

fn ok(page: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    )
}

impl FakeExporter {
    async fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(ok(page)));
        let shared = Arc::clone(&answer);
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answer = shared.lock().clone();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            answer,
            server,
        }
    }

    fn endpoint(&self) -> DcgmEndpoint {
        DcgmEndpoint {
            node: "node-1".into(),
            address: self.address,
            path: "/metrics".into(),
        }
    }
}

impl Drop for FakeExporter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn an_exporter_stands_in_until_the_agent_is_back() {
    let exporter = FakeExporter::start(PAGE).await;
    let (clock, hand) = Clock::manual(start());
    let (endpoints, watched) = watch::channel(vec![exporter.endpoint()]);
    let options = DcgmOptions {
        period: Duration::from_millis(20),
        max_pause: Duration::from_millis(40),
        ..DcgmOptions::default()
    };
    let source = DcgmSource::start(options, clock.clone(), watched);
    let pages = || {
        source
            .exporters()
            .first()
            .map_or(0, |(_, exporter)| exporter.pages)
    };
    until("a page", || pages() > 0).await;
    let (writer, fleet) = Fleet::by_hand(clock.clone());
    let version = || {
        let view = source.stand_in(&fleet.view(), 5 * SECOND, clock.now());
        view.node("node-1").map(|node| node.agent_version.clone())
    };
    assert_eq!(
        version().as_deref(),
        Some("dcgm-exporter"),
        "no agent was ever heard"
    );
    assert_eq!(source.node("node-1").unwrap().heard_since, start());

    // An agent comes and wins, then dies.
    writer.put(&snapshot()).unwrap();
    assert_eq!(version().as_deref(), Some("1"));
    hand.advance(6 * SECOND);
    until("a newer page", || {
        source.node("node-1").unwrap().received_at == clock.now()
    })
    .await;
    assert_eq!(version().as_deref(), Some("dcgm-exporter"));
    assert_eq!(
        source.node("node-1").unwrap().heard_since,
        start(),
        "heard without a gap"
    );

    // The exporter fails too: nothing newer, nothing zero, and the agent's last word stands again.
    *exporter.answer.lock() = ok("<html>starting</html>");
    until("a failure", || source.exporters()[0].1.failure.is_some()).await;
    let before = source.node("node-1").unwrap().received_at;
    hand.advance(6 * SECOND);
    assert_eq!(version().as_deref(), Some("1"));
    let view = source.node("node-1").unwrap();
    assert_eq!((view.received_at, view.age(clock.now())), (before, 6 * SECOND));
    assert_eq!(
        view.device("GPU-a")
            .unwrap()
            .readings
            .value(Quantity::Utilization),
        Some(0.95)
    );
    let (since, reason) = source.exporters()[0].1.failure.clone().unwrap();
    assert!(
        since <= clock.now() && reason.contains("HTML") || reason.contains("html"),
        "{reason}"
    );

    *exporter.answer.lock() = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nnvml!".into();
    until("the status", || {
        source.exporters()[0]
            .1
            .failure
            .as_ref()
            .is_some_and(|(_, reason)| reason.contains("nvml!"))
    })
    .await;
    *exporter.answer.lock() = ok(PAGE);
    until("it is back", || {
        source.node("node-1").unwrap().received_at == clock.now()
    })
    .await;
    assert_eq!(version().as_deref(), Some("dcgm-exporter"));
    assert_eq!(
        source.node("node-1").unwrap().heard_since,
        clock.now(),
        "heard anew"
    );

    endpoints.send(vec![]).unwrap();
    until("it is forgotten", || source.node("node-1").is_none()).await;
    assert_eq!(version().as_deref(), Some("1"));
}
