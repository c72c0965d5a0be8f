//! KEDA's contract over real gRPC: what is answered, refused, streamed and held.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_cluster::{Store, StoreWriter};
use rheostat_fleet::{Fleet, FleetWriter};
use rheostat_proto::agent;
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_reading::Clock;
use rheostat_scaler::{Inquiries, Scaler, StreamLimits};
use support::{absent, device, eventually, keda, metrics, object, options, pod, snapshot, workload};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

const UTILIZATION: &[(&str, &str)] = &[
    ("scalerAddress", "rheostat:6000"),
    ("signal", "gpu.utilization"),
    ("target", "80"),
];
const METRIC: &str = "rheostat-gpu-utilization";

struct Fixture {
    cluster: StoreWriter,
    fleet: FleetWriter,
    keda: ExternalScalerClient<Channel>,
    shutdown: CancellationToken,
    scaler: Scaler,
}

async fn fixture(streams: StreamLimits) -> Fixture {
    let clock = Clock::system();
    let (cluster, store) = Store::new();
    let (fleet, view) = Fleet::by_hand(clock.clone());
    let shutdown = CancellationToken::new();
    let options = rheostat_scaler::ScalerOptions {
        period: Duration::from_millis(50),
        streams,
        ..options()
    };
    let scaler = Scaler::start(
        options,
        clock,
        store,
        view,
        Inquiries::default(),
        shutdown.clone(),
    )
    .await
    .unwrap();
    let keda = keda(scaler.grpc_address()).await;
    Fixture {
        cluster,
        fleet,
        keda,
        shutdown,
        scaler,
    }
}

impl Fixture {
    async fn value(&self, object: &rheostat_proto::keda::ScaledObjectRef) -> Result<f64, Code> {
        let reply = self.keda.clone().get_metrics(metrics(object, METRIC)).await;
        let values = reply.map_err(|status| status.code())?.into_inner().metric_values;
        assert_eq!(values.len(), 1, "the HPA would sum several");
        assert_eq!(values[0].metric_name, METRIC);
        Ok(values[0].metric_value_float)
    }

    async fn active(&self, object: &rheostat_proto::keda::ScaledObjectRef) -> Result<bool, Code> {
        let reply = self.keda.clone().is_active(object.clone()).await;
        reply
            .map(|reply| reply.into_inner().result)
            .map_err(|status| status.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_at_95_are_a_demand_of_380() {
    let mut fixture = fixture(StreamLimits::default()).await;
    let held: Vec<_> = ["chat-0", "chat-1", "chat-2", "chat-3"]
        .map(|pod| ("team-a", pod, 0.95))
        .to_vec();
    fixture.fleet.put(&snapshot("node-1", &held)).unwrap();
    fixture.cluster.apply(workload("team-a", "chat", 4, UTILIZATION));
    let object = object("team-a", "chat", UTILIZATION);
    let value = eventually(|| fixture.value(&object), Result::is_ok)
        .await
        .unwrap();
    assert!((value - 380.0).abs() < 1e-6, "{value}");
    assert_eq!(fixture.active(&object).await, Ok(true));
    let specs = fixture
        .keda
        .get_metric_spec(object)
        .await
        .unwrap()
        .into_inner()
        .metric_specs;
    assert_eq!(specs.len(), 1);
    assert_eq!(
        (specs[0].metric_name.as_str(), specs[0].target_size),
        (METRIC, 80)
    );
    assert!((specs[0].target_size_float - 80.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_load_on_the_same_node_changes_nothing() {
    let mut fixture = fixture(StreamLimits::default()).await;
    fixture
        .fleet
        .put(&snapshot(
            "node-1",
            &[("team-a", "chat-0", 0.10), ("team-b", "chat-0", 1.0)],
        ))
        .unwrap();
    // After the agent was heard: otherwise the first answer can be "as many as now".
    fixture.cluster.apply(workload("team-a", "chat", 1, UTILIZATION));
    let object = object("team-a", "chat", UTILIZATION);
    let value = eventually(|| fixture.value(&object), Result::is_ok)
        .await
        .unwrap();
    assert!((value - 10.0).abs() < 1e-6, "{value}");
    // A name is not enough to see another namespace's workload.
    let stranger = support::object("team-b", "chat", UTILIZATION);
    assert_eq!(fixture.value(&stranger).await, Err(Code::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_an_error_and_what_is_at_zero_is_not() {
    let mut fixture = fixture(StreamLimits::default()).await;
    let unread = [("staleAfter", "1s"), ("grace", "0s")];
    let trigger = [UTILIZATION, &unread].concat();
    fixture.cluster.apply(workload("team-a", "chat", 2, &trigger));
    fixture.cluster.apply(workload("team-a", "asleep", 0, &trigger));
    let (running, asleep) = (
        object("team-a", "chat", &trigger),
        object("team-a", "asleep", &trigger),
    );
    // No agent was ever heard.
    assert_eq!(
        eventually(|| fixture.value(&asleep), Result::is_ok).await,
        Ok(0.0)
    );
    assert_eq!(fixture.active(&asleep).await, Ok(false));
    assert_eq!(fixture.value(&running).await, Err(Code::Unavailable));
    assert_eq!(fixture.active(&running).await, Err(Code::Unavailable));
    // The spec never fails for want of data.
    assert!(fixture.keda.get_metric_spec(running.clone()).await.is_ok());
    // One GPU is lost: half of the pods is below the quorum.
    let mut broken = snapshot("node-1", &[("team-a", "chat-0", 0.9), ("team-a", "chat-1", 0.9)]);
    broken.devices[1] = device("node-1", 1, absent(agent::Absent::DeviceLost));
    fixture.fleet.put(&broken).unwrap();
    let status = fixture
        .keda
        .get_metrics(metrics(&running, METRIC))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    eventually(
        || async {
            fixture
                .keda
                .clone()
                .get_metrics(metrics(&running, METRIC))
                .await
                .unwrap_err()
                .message()
                .to_owned()
        },
        |message: &String| message.contains("chat-1") && message.contains("the device is lost"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_first_seen_idle_is_not_called_idle_at_once() {
    let mut fixture = fixture(StreamLimits::default()).await;
    let trigger = [UTILIZATION, &[("idlePeriod", "1s"), ("activation", "5")]].concat();
    fixture.cluster.apply(workload("team-a", "chat", 1, &trigger));
    let fleet = fixture.fleet.clone();
    let feed = tokio::spawn(async move {
        loop {
            fleet
                .put(&snapshot("node-1", &[("team-a", "chat-0", 0.0)]))
                .unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let object = object("team-a", "chat", &trigger);
    let first = eventually(|| fixture.active(&object), Result::is_ok).await;
    assert_eq!(first, Ok(true), "its past is not known");
    assert_eq!(
        eventually(|| fixture.active(&object), |active| *active == Ok(false)).await,
        Ok(false)
    );
    feed.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_triggers_are_refused_by_name_and_harm_nobody() {
    let mut fixture = fixture(StreamLimits::default()).await;
    fixture
        .fleet
        .put(&snapshot("node-1", &[("team-a", "good-0", 0.5)]))
        .unwrap();
    fixture.cluster.apply(workload("team-a", "good", 1, UTILIZATION));
    // Until it was evaluated for the first time, whoever asks is told that it has only just started.
    let good = object("team-a", "good", UTILIZATION);
    eventually(|| fixture.value(&good), Result::is_ok).await.unwrap();
    let long = "x".repeat(100_000);
    let bad: &[(&[(&str, &str)], &str)] = &[
        (&[("signal", "gpu.utilization"), ("target", "NaN")], "target"),
        (&[("signal", "gpu.utilization"), ("target", "0")], "target"),
        (&[("signal", "gpu.utilization"), ("target", "-3")], "target"),
        (&[("signal", "gpu.utilisation"), ("target", "80")], "signal"),
        (
            &[("signal", "gpu.utilization"), ("target", "80"), ("tarqet", "1")],
            "tarqet",
        ),
        (
            &[
                ("signal", "gpu.utilization"),
                ("target", "80"),
                ("pollIntervalSeconds", "0"),
            ],
            "pollIntervalSeconds",
        ),
        (&[("signal", "gpu.utilization"), ("target", &long)], "target"),
        (&[("target", "80")], "signal"),
    ];
    for (trigger, key) in bad {
        let object = object("team-a", "good", trigger);
        let mut keda = fixture.keda.clone();
        // Without a spec, KEDA would never ask for what it tells the user.
        let spec = keda.get_metric_spec(object.clone()).await.unwrap().into_inner();
        let name = &spec.metric_specs[0].metric_name;
        for status in [
            keda.get_metrics(metrics(&object, name)).await.unwrap_err(),
            keda.is_active(object.clone()).await.unwrap_err(),
            keda.stream_is_active(object.clone()).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::InvalidArgument, "{key}: {status}");
            assert!(status.message().contains(key), "{key}: {}", status.message());
            assert!(status.message().len() < 2_000, "{key}: the message is bounded");
        }
    }
    let value = eventually(|| fixture.value(&good), Result::is_ok).await.unwrap();
    assert!((value - 50.0).abs() < 1e-6);
    let wrong_metric = fixture
        .keda
        .get_metrics(metrics(&good, "s0-nonsense"))
        .await
        .unwrap_err();
    assert_eq!(wrong_metric.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_tells_the_state_and_the_rising_edge_and_ends_well() {
    const MANUAL: &[(&str, &str)] = &[("signal", "manual"), ("target", "1")];
    let lifetime = Duration::from_secs(2)..Duration::from_secs(3);
    let mut fixture = fixture(StreamLimits {
        lifetime,
        ..StreamLimits::default()
    })
    .await;
    fixture.cluster.apply(workload("team-a", "batch", 0, MANUAL));
    let object = object("team-a", "batch", MANUAL);
    assert_eq!(
        eventually(|| fixture.active(&object), |active| *active == Ok(false)).await,
        Ok(false)
    );
    let mut stream = fixture
        .keda
        .stream_is_active(object.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(
        !stream.message().await.unwrap().unwrap().result,
        "the present state"
    );
    let mut wanted = workload("team-a", "batch", 0, MANUAL);
    wanted
        .annotations
        .insert(rheostat_policy::MANUAL_DEMAND_ANNOTATION.into(), "3".into());
    fixture.cluster.apply(wanted);
    assert!(stream.message().await.unwrap().unwrap().result, "the rising edge");
    // No edge and no error any more: the stream's life ends with OK.
    while let Some(message) = stream.message().await.expect("streams end with OK") {
        assert!(message.result);
    }
    let mut specs = fixture
        .keda
        .stream_metric_spec(object.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        specs.message().await.unwrap().unwrap().metric_specs[0].metric_name,
        "rheostat-manual"
    );
    // A shutdown ends open streams with OK too.
    let mut open = fixture.keda.stream_is_active(object).await.unwrap().into_inner();
    assert!(open.message().await.unwrap().unwrap().result);
    fixture.shutdown.cancel();
    while open.message().await.expect("a shutdown is a clean end").is_some() {}
    fixture.scaler.finished().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_are_allowed_are_refused_and_places_come_back() {
    let fixture = fixture(StreamLimits {
        most: 1,
        ..StreamLimits::default()
    })
    .await;
    let object = object("team-a", "chat", UTILIZATION);
    let first = fixture
        .keda
        .clone()
        .stream_metric_spec(object.clone())
        .await
        .unwrap();
    let refused = fixture
        .keda
        .clone()
        .stream_metric_spec(object.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(first);
    eventually(
        || async {
            fixture
                .keda
                .clone()
                .stream_metric_spec(object.clone())
                .await
                .is_ok()
        },
        |ok| *ok,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_replicas_pending_neither_shrinks_nor_runs_away() {
    let mut fixture = fixture(StreamLimits::default()).await;
    let mut half = workload("team-a", "chat", 2, UTILIZATION);
    let target = half.target.as_mut().unwrap();
    (target.spec_replicas, target.status_replicas) = (4, 4);
    half.pods = half
        .pods
        .iter()
        .cloned()
        .chain(["chat-2", "chat-3"].map(|name| pod("team-a", name, None, false).into()))
        .collect();
    fixture.cluster.apply(half);
    fixture
        .fleet
        .put(&snapshot(
            "node-1",
            &[("team-a", "chat-0", 1.0), ("team-a", "chat-1", 1.0)],
        ))
        .unwrap();
    let object = object("team-a", "chat", UTILIZATION);
    let value = eventually(|| fixture.value(&object), Result::is_ok)
        .await
        .unwrap();
    assert!(
        (value - 320.0).abs() < 1e-6,
        "4 replicas at target are held: {value}"
    );
}
