//! Engines, Prometheus and the rest that the scaler asks by itself, over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use rheostat_cluster::{ContainerPort, Store, StoreWriter, Workload};
use rheostat_engines::{EngineReport, Sleep, Target};
use rheostat_fleet::{Fleet, FleetWriter};
use rheostat_prometheus::{Sampler, SamplerOptions, ServersFile};
use rheostat_proto::engine_report_to_proto;
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_reading::{Clock, EngineQuantity, Quality, Readings};
use rheostat_scaler::{Inquiries, Prometheus, Scaler};
use rheostat_scraper::{Scraper, ScraperOptions};
use rheostat_testkit::engine::{EngineOptions, Flavour, Gauges, Misbehaviour, MockEngine};
use support::{eventually, keda, metrics, object, options, snapshot, workload};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

const VLLM: &[(&str, &str)] = &[
    ("scalerAddress", "rheostat:6000"),
    ("profile", "vllm"),
    ("scrapePeriod", "1s"),
];

struct Fixture {
    clock: Clock,
    cluster: StoreWriter,
    fleet: FleetWriter,
    keda: ExternalScalerClient<Channel>,
    scaler: Scaler,
}

async fn fixture(prometheus: Option<Prometheus>) -> Fixture {
    let clock = Clock::system();
    let (cluster, store) = Store::new();
    let (fleet, view) = Fleet::by_hand(clock.clone());
    let options = rheostat_scaler::ScalerOptions {
        period: Duration::from_millis(50),
        ..options()
    };
    let scraper = ScraperOptions {
        allow_loopback: true,
        ..ScraperOptions::default()
    };
    let inquiries = Inquiries {
        scraper: Some(Scraper::start(scraper, clock.clone())),
        prometheus,
        ..Inquiries::default()
    };
    let stop = CancellationToken::new();
    let scaler = Scaler::start(options, clock.clone(), store, view, inquiries, stop)
        .await
        .unwrap();
    let keda = keda(scaler.grpc_address()).await;
    Fixture {
        clock,
        cluster,
        fleet,
        keda,
        scaler,
    }
}

impl Fixture {
    async fn value(&self, trigger: &[(&str, &str)]) -> Result<f64, Code> {
        let object = object("team-a", "chat", trigger);
        let metric = {
            let specs = self.keda.clone().get_metric_spec(object.clone()).await;
            specs.map_err(|status| status.code())?.into_inner().metric_specs[0]
                .metric_name
                .clone()
        };
        let reply = self.keda.clone().get_metrics(metrics(&object, &metric)).await;
        let values = reply.map_err(|status| status.code())?.into_inner().metric_values;
        Ok(values[0].metric_value_float)
    }

    /// A snapshot of the agent on `node-1`, which has read the engine `target`.
    fn agent_says(&self, target: &Target, running: f64) {
        let now = self.clock.now();
        let mut readings = Readings::new();
        for (quantity, value) in [
            (EngineQuantity::Running, running),
            (EngineQuantity::Waiting, 0.0),
            (EngineQuantity::Concurrency, running),
        ] {
            readings.put(quantity, value, now, Duration::ZERO, Quality::Measured);
        }
        let report = EngineReport {
            engine: Some(rheostat_engines::Engine::Vllm),
            answered_at: Some(now),
            failure: None,
            sleep: Sleep::Awake,
            readings,
            notes: Vec::new(),
        };
        let mut snapshot = snapshot("node-1", &[]);
        snapshot.scrapes_engines = true;
        snapshot.engines = vec![engine_report_to_proto(&target.id().0, &report, now)];
        self.fleet.put(&snapshot).unwrap();
    }

    async fn until(&self, trigger: &[(&str, &str)], expected: f64) {
        let is = |value: &Result<f64, Code>| value.is_ok_and(|value| (value - expected).abs() < 1e-6);
        eventually(|| self.value(trigger), is).await.unwrap();
    }

    /// What `/v1` says of the workload: to a person, or to a program.
    async fn explained(&self, accept: &str) -> String {
        let address = self.scaler.http_address();
        let request = format!(
            "GET /v1/workloads/team-a/chat HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text)
            .await
            .unwrap();
        text
    }
}

/// An engine that says it has so many requests.
async fn engine(waiting: u64, running: u64) -> MockEngine {
    let engine = MockEngine::start(EngineOptions::of(Flavour::Vllm)).await.unwrap();
    says(&engine, waiting, running);
    engine
}

fn says(engine: &MockEngine, waiting: u64, running: u64) {
    engine.set_gauges(Gauges {
        waiting: Some(waiting),
        running: Some(running),
        kv_cache_usage: Some(0.5),
    });
}

/// A workload whose pods have these engines.
fn served_by(engines: &[&MockEngine], trigger: &[(&str, &str)]) -> Workload {
    let mut workload = workload("team-a", "chat", u32::try_from(engines.len()).unwrap(), trigger);
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

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_agent_the_scaler_asks_the_engines() {
    let (one, two) = (engine(3, 5).await, engine(40, 8).await);
    let mut fixture = fixture(None).await;
    fixture.cluster.apply(served_by(&[&one, &two], VLLM));
    fixture.until(VLLM, 56.0).await;
    says(&two, 0, 0);
    fixture.until(VLLM, 8.0).await;

    let explained = fixture.explained("text/plain").await;
    for part in ["vllm", "engine.concurrency", " old"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let explained = fixture.explained("application/json").await;
    let (_, body) = explained.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let engine = &body["workloads"][0]["triggers"][0]["pods"][0]["engine"][0];
    assert_eq!(engine["engine"], "vllm", "{body:#}");
    assert_eq!(engine["reading"], "8", "{body:#}");
    assert!(engine["age_seconds"].as_f64().unwrap() < 30.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_votes_for_no_change() {
    let engines = [
        engine(0, 32).await,
        engine(0, 32).await,
        engine(0, 32).await,
        engine(0, 32).await,
        engine(0, 32).await,
    ];
    let mut fixture = fixture(None).await;
    let all: Vec<_> = engines.iter().collect();
    fixture.cluster.apply(served_by(&all, VLLM));
    fixture.until(VLLM, 160.0).await;
    let target = fixture.scaler.snapshots().latest().workloads()[0].triggers[0]
        .trigger()
        .unwrap()
        .target();
    engines[0].misbehave(Misbehaviour::Hang).await.unwrap();
    // Four that are read, and one that counts as exactly the target.
    fixture.until(VLLM, 4.0 * 32.0 + target).await;
    let explained = fixture.explained("text/plain").await;
    assert!(explained.contains("chat-0"), "{explained}");
    engines[0].misbehave(Misbehaviour::None).await.unwrap();
    fixture.until(VLLM, 160.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_word_counts_and_the_scaler_stops_asking() {
    let engine = engine(0, 7).await;
    let mut fixture = fixture(None).await;
    fixture.cluster.apply(served_by(&[&engine], VLLM));
    fixture.until(VLLM, 7.0).await;

    // What the agent of the node is to read is there for it.
    let told = fixture.fleet.engines("node-1");
    assert_eq!(told.len(), 1);
    let target = &told[0];
    assert_eq!(target.owner, "team-a/chat-0");
    let says = |running| fixture.agent_says(target, running);
    let agents = |value: &Result<f64, Code>| value.is_ok_and(|value| (value - 9.0).abs() < 1e-6);
    let asked = || async {
        says(9.0);
        fixture.value(VLLM).await
    };
    eventually(asked, agents).await.unwrap();
    // For a while both ask, so that rates have no gap; then nobody but the agent. A scaler that went on
    // would ask three times in the time that is watched.
    let quiet = || async {
        let before = engine.scrapes();
        for _ in 0..60 {
            says(9.0);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        engine.scrapes() == before
    };
    eventually(quiet, |quiet| *quiet).await;
    assert!((fixture.value(VLLM).await.unwrap() - 9.0).abs() < 1e-6);

    // A silent agent is replaced within seconds; what it said last does not count for ever.
    fixture.until(VLLM, 7.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_agent_asks_the_scaler_never_does() {
    let engine = engine(0, 7).await;
    let mut fixture = fixture(None).await;
    let mut live = snapshot("node-1", &[]);
    live.scrapes_engines = true;
    fixture.fleet.put(&live).unwrap();
    fixture.cluster.apply(served_by(&[&engine], VLLM));
    let told = || async {
        fixture.fleet.put(&live).unwrap();
        fixture.fleet.engines("node-1")
    };
    let told = eventually(told, |told| !told.is_empty()).await;
    for _ in 0..60 {
        fixture.agent_says(&told[0], 9.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((fixture.value(VLLM).await.unwrap() - 9.0).abs() < 1e-6);
    assert!(engine.scrapes().is_empty(), "{:?}", engine.scrapes());
}

const QUERY: &[(&str, &str)] = &[
    ("scalerAddress", "rheostat:6000"),
    ("signal", "prometheus"),
    ("prometheus", "main"),
    ("query", "sum(queue_length)"),
    ("target", "10"),
    ("staleAfter", "1s"),
    ("grace", "0s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_is_asked_for_the_workloads_own_namespace_and_its_loss_freezes() {
    let asked = Arc::new(parking_lot::Mutex::new(String::new()));
    let answer = Arc::new(parking_lot::Mutex::new((StatusCode::OK, "35".to_owned())));
    let (noted, given) = (Arc::clone(&asked), Arc::clone(&answer));
    let api = Router::new().route(
        "/api/v1/query",
        post(move |body: String| {
            *noted.lock() = body;
            let (status, value) = given.lock().clone();
            std::future::ready((
                status,
                format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#),
            ))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, api).await });

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.yaml");
    std::fs::write(&file, format!("main: {{ url: \"http://{address}\" }}\n")).unwrap();
    let sampler = Sampler::start(
        SamplerOptions {
            period: Duration::from_millis(200),
            ..SamplerOptions::default()
        },
        Clock::system(),
    );
    let mut fixture = fixture(Some(Prometheus::new(ServersFile::new(&file), sampler))).await;
    fixture.cluster.apply(workload("team-a", "chat", 2, QUERY));
    fixture.until(QUERY, 35.0).await;
    assert!(
        asked.lock().contains("namespace%3D%22team-a%22"),
        "{}",
        asked.lock()
    );

    *answer.lock() = (StatusCode::SERVICE_UNAVAILABLE, String::new());
    let frozen = eventually(|| fixture.value(QUERY), Result::is_err).await;
    assert_eq!(
        frozen,
        Err(Code::Unavailable),
        "an error, which leaves the replicas as they are"
    );
    *answer.lock() = (StatusCode::OK, "12".to_owned());
    fixture.until(QUERY, 12.0).await;
}
