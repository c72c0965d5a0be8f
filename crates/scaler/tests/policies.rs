//! Triggers that leave the replica count to a ScalingPolicy, over real gRPC and real engines' HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{
    ContainerPort, MetricType, PolicyId, ScalingPolicy, Store, StoreWriter, Workload, WorkloadKind,
};
use rheostat_fleet::Fleet;
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_reading::Clock;
use rheostat_scaler::{Agreement, Inquiries, PolicyState, Scaler};
use rheostat_scraper::{Scraper, ScraperOptions};
use rheostat_sizing::Outcome;
use rheostat_steward::Leadership;
use rheostat_testkit::engine::{EngineOptions, Flavour, Gauges, Misbehaviour, MockEngine};
use serde_json::{Value, json};
use support::{eventually, keda, metrics, object, options, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

const TRIGGER: &[(&str, &str)] = &[
    ("scalerAddress", "rheostat:6000"),
    ("policy", "steady"),
    ("scrapePeriod", "1s"),
];

struct Fixture {
    cluster: StoreWriter,
    keda: ExternalScalerClient<Channel>,
    scaler: Scaler,
}

async fn fixture() -> Fixture {
    fixture_with(None).await
}

async fn fixture_with(agreement: Option<Agreement>) -> Fixture {
    let clock = Clock::system();
    let (cluster, store) = Store::new();
    let (_, view) = Fleet::by_hand(clock.clone());
    let options = rheostat_scaler::ScalerOptions {
        period: Duration::from_millis(50),
        agreement,
        ..options()
    };
    let scraper = ScraperOptions {
        allow_loopback: true,
        ..ScraperOptions::default()
    };
    let inquiries = Inquiries {
        scraper: Some(Scraper::start(scraper, clock.clone())),
        ..Inquiries::default()
    };
    let scaler = Scaler::start(options, clock, store, view, inquiries, CancellationToken::new())
        .await
        .unwrap();
    let keda = keda(scaler.grpc_address()).await;
    Fixture {
        cluster,
        keda,
        scaler,
    }
}

impl Fixture {
    async fn value_of(&self, name: &str, trigger: &[(&str, &str)]) -> Result<f64, Status> {
        let object = object("team-a", name, trigger);
        let request = metrics(&object, "rheostat-policy");
        let values = self
            .keda
            .clone()
            .get_metrics(request)
            .await?
            .into_inner()
            .metric_values;
        assert_eq!(values.len(), 1, "the HPA would sum several");
        Ok(values[0].metric_value_float)
    }

    async fn value(&self, trigger: &[(&str, &str)]) -> Result<f64, Status> {
        self.value_of("chat", trigger).await
    }

    async fn active(&self, trigger: &[(&str, &str)]) -> Result<bool, Status> {
        let reply = self
            .keda
            .clone()
            .is_active(object("team-a", "chat", trigger))
            .await;
        Ok(reply?.into_inner().result)
    }

    /// A page of the HTTP port, head included.
    async fn page(&self, path: &str, accept: &str) -> String {
        let address = self.scaler.http_address();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// How the workload fares with its policy.
    fn state(&self, name: &str) -> PolicyState {
        let snapshot = self.scaler.snapshots().latest();
        let mut workloads = snapshot.workloads().iter();
        let found = workloads.find(|state| state.workload.id.name == name).unwrap();
        found.triggers[0].policy.as_deref().unwrap().clone()
    }

    /// Pods of the first workload that are known, and ready.
    fn coverage(&self) -> (u32, u32) {
        let snapshot = self.scaler.snapshots().latest();
        let evaluation = snapshot.workloads()[0].triggers[0].evaluation.clone().unwrap();
        (evaluation.coverage.known, evaluation.coverage.ready)
    }

    /// Waits for an error with this code that says `part`; the spec is answered all the same.
    async fn refused(&self, trigger: &[(&str, &str)], code: Code, part: &str) {
        let is = |answer: &Result<f64, Status>| {
            let refused = |status: &Status| status.code() == code && status.message().contains(part);
            answer.as_ref().is_err_and(refused)
        };
        eventually(|| self.value(trigger), is).await.unwrap_err();
        let spec = self
            .keda
            .clone()
            .get_metric_spec(object("team-a", "chat", trigger))
            .await;
        assert!(spec.is_ok(), "the spec never fails: {spec:?}");
    }
}

fn policy(name: &str, spec: Value) -> ScalingPolicy {
    ScalingPolicy {
        id: PolicyId {
            namespace: "team-a".into(),
            name: name.into(),
        },
        uid: format!("uid-{name}"),
        generation: 1,
        spec,
        status: Value::Null,
    }
}

/// An engine that says it has so many requests.
async fn engine(waiting: u64, running: u64) -> MockEngine {
    let engine = MockEngine::start(EngineOptions::of(Flavour::Vllm)).await.unwrap();
    engine.set_gauges(Gauges {
        waiting: Some(waiting),
        running: Some(running),
        kv_cache_usage: Some(0.5),
    });
    engine
}

/// A workload whose pods have these engines.
fn served_by(name: &str, engines: &[&MockEngine], trigger: &[(&str, &str)]) -> Workload {
    let replicas = u32::try_from(engines.len()).unwrap();
    let mut workload = workload("team-a", name, replicas, trigger);
    workload.min_replicas = 1;
    workload.pods = workload
        .pods
        .iter()
        .zip(engines)
        .map(|(pod, engine)| {
            let mut pod = (**pod).clone();
            pod.ip = Some(engine.metrics_address().ip());
            pod.ports = vec![ContainerPort {
                name: Some("http".into()),
                port: engine.metrics_address().port(),
            }];
            Arc::new(pod)
        })
        .collect();
    workload
}

fn with_grace(grace: &'static str) -> Vec<(&'static str, &'static str)> {
    [TRIGGER, &[("grace", grace)]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_replica_count_that_the_policy_decides() {
    let (one, two) = (engine(30, 8).await, engine(34, 8).await);
    let mut fixture = fixture().await;
    fixture
        .cluster
        .apply_policy(policy("steady", json!({"concurrency": 8})));
    fixture.cluster.apply(served_by("chat", &[&one, &two], TRIGGER));
    let enough = |value: &Result<f64, Status>| value.as_ref().is_ok_and(|value| *value >= 10.0);
    let value = eventually(|| fixture.value(TRIGGER), enough).await.unwrap();
    let state = fixture.state("chat");
    let decision = state.decision.unwrap();
    let in_flight = decision.figures.in_flight.unwrap();
    assert!(
        (in_flight.0 - 80.0).abs() < 1e-9,
        "80 requests, 8 each: {decision:?}"
    );
    assert!(
        (value - f64::from(decision.replicas)).abs() < 1e-9,
        "{value} {decision:?}"
    );
    assert_eq!(fixture.coverage(), (2, 2));
    assert!(fixture.active(TRIGGER).await.unwrap());
    let spec = fixture
        .keda
        .get_metric_spec(object("team-a", "chat", TRIGGER))
        .await;
    let spec = spec.unwrap().into_inner().metric_specs.remove(0);
    assert_eq!(
        (spec.metric_name.as_str(), spec.target_size),
        ("rheostat-policy", 1)
    );
    let page = fixture.page("/metrics", "text/plain").await;
    let labels = r#"{name="chat",namespace="team-a",policy="steady"} "#;
    for part in [
        "rheostat_policy_desired_replicas",
        "rheostat_policy_demand_replicas",
    ] {
        assert!(page.contains(&format!("{part}{labels}")), "{part}: {page}");
    }
    let known =
        r#"rheostat_policy_outcome{name="chat",namespace="team-a",outcome="known",policy="steady"} 1"#;
    assert!(page.contains(known), "{page}");
    assert!(
        page.contains("rheostat_scaler_decision_log_lost_total 0"),
        "{page}"
    );
    let explained = fixture.page("/v1/workloads/team-a/chat", "text/plain").await;
    for part in [
        "policy steady; this scaler decides alone",
        "Demand: 80.0 requests in flight",
        "demand 10.00 replicas",
        "chat-0: Ready, vllm: 38 requests, read",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let json = fixture
        .page("/v1/workloads/team-a/chat", "application/json")
        .await;
    let json: Value = serde_json::from_str(json.split_once("\r\n\r\n").unwrap().1).unwrap();
    let told = &json["workloads"][0]["triggers"][0]["policy"];
    assert_eq!(told["policy"], "steady", "{json:#}");
    assert_eq!(told["decision"]["outcome"], "known", "{json:#}");
    assert_eq!(told["decision"]["figures"]["in_flight"], 80.0, "{json:#}");
    assert_eq!(told["decision"]["steps"][0]["kind"], "demand", "{json:#}");
    fixture.cluster.apply_policy(policy(
        "steady",
        json!({"concurrency": 8, "replicas": {"max": 4}}),
    ));
    let limited = |value: &Result<f64, Status>| value.as_ref().is_ok_and(|value| *value <= 4.0);
    let value = eventually(|| fixture.value(TRIGGER), limited).await.unwrap();
    assert!((value - 4.0).abs() < 1e-9, "{value}");
    let explained = fixture.page("/v1/workloads/team-a/chat", "text/plain").await;
    assert!(explained.contains("bound by: never more than 4"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nothing_changes_and_somebody_is_told() {
    let mut fixture = fixture().await;
    let trigger = with_grace("0s");
    fixture.cluster.apply(workload("team-a", "chat", 2, &trigger));
    fixture
        .refused(
            &trigger,
            Code::FailedPrecondition,
            "ScalingPolicy team-a/steady does not exist",
        )
        .await;
    fixture
        .cluster
        .apply_policy(policy("steady", json!({"concurency": 8})));
    fixture
        .refused(&trigger, Code::FailedPrecondition, "concurency")
        .await;
    // At zero there is nothing to lose, and an error would end KEDA's push stream.
    fixture.cluster.apply(workload("team-a", "chat", 0, &trigger));
    let value = eventually(|| fixture.value(&trigger), Result::is_ok)
        .await
        .unwrap();
    assert!(value.abs() < 1e-9, "{value}");
    assert!(!fixture.active(&trigger).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_a_moment_later_is_waited_for() {
    let mut fixture = fixture().await;
    let trigger = with_grace("1m");
    fixture.cluster.apply(workload("team-a", "chat", 3, &trigger));
    let value = eventually(|| fixture.value(&trigger), Result::is_ok)
        .await
        .unwrap();
    assert!((value - 3.0).abs() < 1e-9, "as many as now: {value}");
    assert!(fixture.active(&trigger).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn blindness_takes_nothing_away() {
    let (one, two) = (engine(0, 1).await, engine(0, 1).await);
    one.misbehave(Misbehaviour::Status(500)).await.unwrap();
    // Of no engine that is known.
    two.misbehave(Misbehaviour::Foreign).await.unwrap();
    let mut fixture = fixture().await;
    let trigger = with_grace("0s");
    fixture
        .cluster
        .apply_policy(policy("steady", json!({"concurrency": 8})));
    fixture.cluster.apply(served_by("chat", &[&one, &two], &trigger));
    fixture
        .refused(&trigger, Code::Unavailable, "none of the ready pods' engines")
        .await;
    // Why, by the first pod that does not tell.
    fixture.refused(&trigger, Code::Unavailable, "; chat-0: ").await;
    fixture.refused(&trigger, Code::Unavailable, "500").await;
    assert_eq!(fixture.coverage(), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_policy_can_decide_is_refused_with_what_is_allowed() {
    let mut fixture = fixture().await;
    fixture
        .cluster
        .apply_policy(policy("steady", json!({"concurrency": 8})));
    let mut by_value = workload("team-a", "chat", 2, TRIGGER);
    by_value.triggers[0].metric_type = Ok(MetricType::Value);
    fixture.cluster.apply(by_value);
    let allowed = "metricType is Value; allowed with policy \"steady\": AverageValue";
    fixture.refused(TRIGGER, Code::FailedPrecondition, allowed).await;

    let mut twice = workload("team-a", "chat", 2, TRIGGER);
    let other = [("policy", "other")];
    let mut second = workload("team-a", "chat", 2, &other).triggers.remove(0);
    second.index = 1;
    twice.triggers.push(second);
    fixture.cluster.apply(twice);
    fixture
        .refused(
            &other,
            Code::FailedPrecondition,
            "trigger 0 names \"steady\" already",
        )
        .await;

    let mut jobs = workload("team-a", "chat", 2, TRIGGER);
    jobs.id.kind = WorkloadKind::ScaledJob;
    fixture.cluster.remove(&workload("team-a", "chat", 2, TRIGGER).id);
    fixture.cluster.apply(jobs);
    fixture
        .refused(TRIGGER, Code::FailedPrecondition, "ScaledJob")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_with_the_leaders_count_and_reports_its_own() {
    let following = Leadership::Following {
        leader: "scaler-0_ab".into(),
        until: Clock::system().now().plus(Duration::from_secs(3600)),
    };
    let (leads, leadership) = watch::channel(following);
    let (reports, mut reported) = watch::channel(Arc::default());
    let mut fixture = fixture_with(Some(Agreement {
        leadership,
        reports,
        stats: Arc::default(),
    }))
    .await;
    let one = engine(0, 4).await;
    let mut steady = policy("steady", json!({"concurrency": 8}));
    steady.status =
        json!({"leader": "scaler-0_ab", "workloads": [{"name": "chat", "desired": 6, "active": true}]});
    fixture.cluster.apply_policy(steady);
    fixture.cluster.apply(served_by("chat", &[&one], TRIGGER));
    let is = |count: f64| {
        move |value: &Result<f64, Status>| value.as_ref().is_ok_and(|value| (value - count).abs() < 1e-9)
    };
    eventually(|| fixture.value(TRIGGER), is(6.0)).await.unwrap();
    let known = reported
        .wait_for(|reports| {
            let decision = reports.first().and_then(|report| report.workloads.first());
            decision.is_some_and(|workload| {
                let decision = workload.decision.as_ref();
                decision.is_ok_and(|decision| decision.outcome == Outcome::Known)
            })
        })
        .await
        .unwrap()
        .clone();
    let own = known[0].workloads[0].decision.as_ref().unwrap().replicas;
    assert!(own < 6, "what it decides itself, for four requests: {own}");
    leads.send_replace(Leadership::Leading {
        since: Clock::system().now(),
    });
    eventually(|| fixture.value(TRIGGER), is(f64::from(own)))
        .await
        .unwrap();
}
