//! The scraper against engines that behave well and badly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{
    Endpoint, Engine, EngineChoice, EngineReport, Scheme, Secret, Sleep, Target, TargetId, View,
};
use rheostat_reading::{Clock, EngineQuantity};
use rheostat_scraper::{FailureKind, Scraper, ScraperOptions};
use support::{Asked, PATIENCE, Reply, Server, certificates, page};
use tokio::time::timeout;

/// The shortest that is allowed.
const PERIOD: Duration = Duration::from_millis(500);

fn options() -> ScraperOptions {
    ScraperOptions {
        allow_loopback: true,
        ..ScraperOptions::default()
    }
}

fn start(options: ScraperOptions) -> Scraper {
    Scraper::start(options, Clock::system())
}

fn target(server: &Server) -> Target {
    Target {
        endpoint: Endpoint {
            address: server.address,
            pod_uid: "uid".into(),
            scheme: Scheme::Http,
            path: Some("/metrics".into()),
            bearer: None,
            engine: EngineChoice::Recognise,
            period: PERIOD,
        },
        view: view(60),
        owner: "team-a/model-0".into(),
    }
}

fn view(seconds: u64) -> View {
    View {
        model: None,
        adapter: None,
        window: Duration::from_secs(seconds),
    }
}

fn named(name: &str, target: Target) -> (TargetId, Target) {
    (TargetId(name.into()), target)
}

fn id(name: &str) -> TargetId {
    TargetId(name.into())
}

fn vllm(waiting: usize) -> Reply {
    page(format!(
        "# TYPE vllm:num_requests_waiting gauge\n\
         vllm:num_requests_waiting{{engine=\"0\",model_name=\"m\"}} {waiting}\n\
         # TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} 3\n\
         # TYPE vllm:prompt_tokens_total counter\n\
         vllm:prompt_tokens_total{{engine=\"0\",model_name=\"m\"}} {waiting}00\n"
    ))
}

fn missing() -> Reply {
    Reply::Status(404, String::new(), b"Not Found".to_vec())
}

/// What vLLM does without its development server.
fn engine(asked: &Asked) -> Reply {
    match asked.line.as_str() {
        "GET /metrics" => vllm(asked.number),
        _ => missing(),
    }
}

/// Waits until the target's report is as wanted.
async fn until(scraper: &Scraper, name: &str, wanted: impl Fn(&EngineReport) -> bool) -> Arc<EngineReport> {
    let board = scraper.board();
    let mut changes = board.changes();
    let found = async {
        loop {
            changes.borrow_and_update();
            match board.get(&id(name)) {
                Some(report) if wanted(&report) => return report,
                _ => changes.changed().await.unwrap(),
            }
        }
    };
    timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("still waiting: {:?}", board.get(&id(name))))
}

fn failed(scraper: &Scraper, kind: FailureKind) -> u64 {
    let stats = scraper.stats();
    let mut failures = stats.failures();
    failures.find(|(other, _)| *other == kind).unwrap().1.get()
}

#[tokio::test]
async fn an_engine_is_recognised_and_read_and_asked_with_its_token() {
    let server = Server::start(engine).await;
    let scraper = start(options());
    let mut wanted = target(&server);
    wanted.endpoint.bearer = Some(Secret::new("t0ken".into()));
    scraper.set_targets([named("a", wanted)]);
    assert_eq!(scraper.board().get(&id("a")).unwrap().answered_at, None);
    let report = until(&scraper, "a", |report| {
        report.readings.value(EngineQuantity::PromptTokenRate).is_some()
    })
    .await;
    assert_eq!(report.engine, Some(Engine::Vllm));
    assert_eq!(report.failure, None);
    assert_eq!(report.readings.value(EngineQuantity::Running), Some(3.0));
    assert!(report.readings.value(EngineQuantity::Waiting).unwrap() >= 1.0);
    let counts = server.counts();
    assert!(
        counts
            .asked
            .iter()
            .all(|asked| asked.head.contains("authorization: bearer t0ken"))
    );
    assert_eq!(counts.connections, 1);
    let stats = scraper.stats();
    assert!(stats.scrapes.get() >= 2 && stats.pages.get() >= 2 && stats.bytes.get() > 0);
    assert_eq!(
        (stats.connections.get(), stats.endpoints(), stats.refused()),
        (1, 1, 0)
    );
    assert!(stats.durations.snapshot().count() >= 2);
    assert!(stats.failures().all(|(_, count)| count.get() == 0));
}

#[tokio::test]
async fn one_endpoint_is_scraped_once_for_all_its_views() {
    let server = Server::start(engine).await;
    let scraper = start(options());
    let with = |seconds| Target {
        view: view(seconds),
        ..target(&server)
    };
    scraper.set_targets([
        named("a", with(30)),
        named("b", with(60)),
        named("c", with(120)),
        named("d", with(30)),
    ]);
    for name in ["a", "b", "c", "d"] {
        until(&scraper, name, |report| report.answered_at.is_some()).await;
    }
    let reports = scraper.board().all();
    assert_eq!(reports.len(), 4);
    // All from one page: it says another number each time.
    let counts = server.until(|counts| counts.asked.len() >= 4).await;
    assert_eq!(counts.connections, 1);
    assert_eq!(scraper.stats().endpoints(), 1);
    let same = |name| scraper.board().get(&id(name)).unwrap();
    assert!(Arc::ptr_eq(&same("a"), &same("d")));
}

#[tokio::test]
async fn a_new_view_of_a_known_endpoint_is_served_soon_and_the_old_one_forgets_nothing() {
    let server = Server::start(engine).await;
    let scraper = start(options());
    let mut slow = target(&server);
    slow.endpoint.period = Duration::from_secs(60);
    scraper.set_targets([named("a", slow.clone())]);
    let first = until(&scraper, "a", |report| report.answered_at.is_some()).await;
    let other = Target {
        view: view(30),
        ..slow.clone()
    };
    // Long before the next period.
    scraper.set_targets([named("a", slow), named("b", other)]);
    until(&scraper, "b", |report| report.answered_at.is_some()).await;
    let second = until(&scraper, "a", |report| report.answered_at != first.answered_at).await;
    // A rate needs two scrapes: the first one was not forgotten.
    assert!(second.readings.value(EngineQuantity::PromptTokenRate).is_some());
    assert_eq!(server.counts().connections, 1);
}

#[tokio::test]
async fn equal_sets_change_nothing() {
    let server = Server::start(engine).await;
    let scraper = start(options());
    scraper.set_targets([named("a", target(&server))]);
    until(&scraper, "a", |report| report.answered_at.is_some()).await;
    let before = server.asked();
    for _ in 0..10 {
        scraper.set_targets([named("a", target(&server))]);
        assert!(scraper.board().get(&id("a")).unwrap().answered_at.is_some());
    }
    let scrapes = scraper.stats().scrapes.get();
    until(&scraper, "a", |report| {
        report.readings.value(EngineQuantity::PromptTokenRate).is_some()
    })
    .await;
    let counts = server.counts();
    assert_eq!(counts.connections, 1);
    // Not one request for each set.
    assert!(
        counts.asked.len() - before <= 5,
        "{before}: {}",
        counts.asked.len()
    );
    assert!(scrapes <= 2);
}

#[tokio::test]
async fn what_is_removed_vanishes_at_once_and_is_asked_no_more() {
    let (gone, stays) = (Server::start(engine).await, Server::start(engine).await);
    let scraper = start(options());
    scraper.set_targets([named("a", target(&gone)), named("b", target(&stays))]);
    until(&scraper, "a", |report| report.answered_at.is_some()).await;
    scraper.set_targets([named("b", target(&stays))]);
    assert!(scraper.board().get(&id("a")).is_none());
    assert_eq!((scraper.board().len(), scraper.stats().endpoints()), (1, 1));
    let asked = gone
        .until(|counts| counts.closed == counts.connections)
        .await
        .asked
        .len();
    let before = stays.asked();
    stays.until(|counts| counts.asked.len() > before + 3).await;
    assert_eq!(gone.asked(), asked);
    // And all of it with the scraper.
    drop(scraper);
    stays.until(|counts| counts.closed == counts.connections).await;
}

#[tokio::test]
async fn paths_are_tried_in_turn_and_the_right_one_is_remembered() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /metrics" => page("go_goroutines 7\n"),
        "GET /prometheus/metrics" => vllm(1),
        _ => missing(),
    })
    .await;
    let scraper = start(options());
    let mut wanted = target(&server);
    wanted.endpoint.path = None;
    scraper.set_targets([named("a", wanted)]);
    until(&scraper, "a", |report| report.engine == Some(Engine::Vllm)).await;
    let counts = server.until(|counts| counts.asked.len() >= 8).await;
    let metrics = |line: &str| counts.asked.iter().filter(|asked| asked.line == line).count();
    assert_eq!(metrics("GET /metrics"), 1);
    assert_eq!(metrics("GET /v1/metrics"), 1);
    // Asked once, and not again before long: this engine has no such page.
    assert_eq!(metrics("GET /is_sleeping"), 1);
    assert!(metrics("GET /prometheus/metrics") >= 4);
}

#[tokio::test]
async fn a_page_of_no_engine_says_so() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /metrics" => page("<html><body>Welcome</body></html>"),
        _ => missing(),
    })
    .await;
    let scraper = start(options());
    let mut wanted = target(&server);
    wanted.endpoint.path = None;
    scraper.set_targets([named("a", wanted)]);
    let report = until(&scraper, "a", |report| report.failure.is_some()).await;
    let why = report.failure.clone().unwrap();
    assert!(
        why.starts_with(&format!("http://{}/metrics: ", server.address)),
        "{why}"
    );
    assert!(
        why.ends_with("(nor is there an engine's page at 4 other paths)"),
        "{why}"
    );
    assert_eq!(report.answered_at, None);
    assert!(failed(&scraper, FailureKind::Page) >= 1);
}

#[tokio::test]
async fn an_engine_that_sleeps_is_seen_asleep() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /is_sleeping" => page("{\"is_sleeping\":true}"),
        _ => vllm(0),
    })
    .await;
    let scraper = start(options());
    let mut wanted = target(&server);
    wanted.endpoint.engine = EngineChoice::Named(Engine::Vllm);
    scraper.set_targets([named("a", wanted)]);
    until(&scraper, "a", |report| report.sleep == Sleep::Asleep).await;
    let counts = server.until(|counts| counts.asked.len() >= 6).await;
    let times = counts
        .asked
        .iter()
        .filter(|asked| asked.line == "GET /is_sleeping");
    // Far less often than for the metrics.
    assert!(times.count() <= 2);
}

#[tokio::test]
async fn an_answer_about_sleep_is_a_word_and_never_more_than_4_kib() {
    for (length, sleep) in [(4096, Sleep::Asleep), (4097, Sleep::Unknown)] {
        let server = Server::start(move |asked| match asked.line.as_str() {
            "GET /is_sleeping" => page(format!("{:length$}", "{\"is_sleeping\":true}")),
            _ => vllm(0),
        })
        .await;
        let scraper = start(options());
        let mut wanted = target(&server);
        wanted.endpoint.engine = EngineChoice::Named(Engine::Vllm);
        scraper.set_targets([named("a", wanted)]);
        let report = until(&scraper, "a", |report| report.answered_at.is_some()).await;
        assert_eq!(report.sleep, sleep, "{length}");
        assert_eq!(report.failure, None);
        // It has been asked, and the engine is read all the same.
        let asked = server.counts().asked;
        assert!(asked.iter().any(|asked| asked.line == "GET /is_sleeping"));
    }
}

#[tokio::test]
async fn a_failing_engine_keeps_its_last_readings_is_left_alone_and_comes_back() {
    let server = Server::start(engine).await;
    let scraper = start(options());
    scraper.set_targets([named("a", target(&server))]);
    let before = until(&scraper, "a", |report| report.answered_at.is_some()).await;
    server.behave(|_| Reply::Status(500, String::new(), b"out of memory".to_vec()));
    let report = until(&scraper, "a", |report| report.failure.is_some()).await;
    let why = report.failure.clone().unwrap();
    assert!(
        why.ends_with("/metrics: 500 Internal Server Error: \"out of memory\""),
        "{why}"
    );
    assert!(report.answered_at >= before.answered_at);
    assert_eq!(report.readings.value(EngineQuantity::Running), Some(3.0));
    // While another endpoint is asked twenty times, this one is asked ever less often.
    let steady = Server::start(engine).await;
    scraper.set_targets([named("a", target(&server)), named("b", target(&steady))]);
    let failures = server.asked();
    steady.until(|counts| counts.asked.len() >= 20).await;
    let attempts = server.asked() - failures;
    assert!((1..=12).contains(&attempts), "{attempts}");
    server.behave(engine);
    let report = until(&scraper, "a", |report| report.failure.is_none()).await;
    assert!(report.answered_at > before.answered_at);
    let recovered = server.asked();
    server.until(|counts| counts.asked.len() >= recovered + 3).await;
    assert!(failed(&scraper, FailureKind::Status) >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_that_hang_cost_the_other_hundred_and_fifty_nothing() {
    const ROUNDS: usize = 10;
    let mut healthy = Vec::new();
    let mut hanging = Vec::new();
    for number in 0..200 {
        if number % 4 == 0 {
            hanging.push(Server::start(|_| Reply::Hang).await);
        } else {
            healthy.push(Server::start(engine).await);
        }
    }
    let scraper = start(options());
    let targets = |servers: &[Server], kind: &str| -> Vec<_> {
        let named = |(number, server)| named(&format!("{kind}-{number}"), target(server));
        servers.iter().enumerate().map(named).collect()
    };
    scraper.set_targets(
        targets(&hanging, "hanging")
            .into_iter()
            .chain(targets(&healthy, "healthy")),
    );
    // Once one of the healthy ones has been asked so often, the others have been too.
    healthy[0].until(|counts| counts.asked.len() > ROUNDS).await;
    let rounds: Vec<usize> = healthy.iter().map(Server::asked).collect();
    let least = *rounds.iter().min().unwrap();
    assert!(least + 3 >= ROUNDS, "{rounds:?}");
    for server in &healthy {
        assert!(server.counts().connections <= 2);
    }
    // Each of them is given time, and up, ever less often.
    for server in &hanging {
        assert!(
            (1..=5).contains(&server.counts().connections),
            "{}",
            server.counts().connections
        );
    }
    until(&scraper, "hanging-0", |report| {
        report
            .failure
            .as_ref()
            .is_some_and(|why| why.ends_with("no answer within 1s"))
    })
    .await;
    assert!(scraper.stats().in_flight() <= 200);
}

#[tokio::test]
async fn targets_that_nobody_may_ask_are_told_why() {
    let server = Server::start(engine).await;
    let with = |change: fn(&mut Target)| {
        let mut target = target(&server);
        change(&mut target);
        target
    };
    let scraper = start(ScraperOptions {
        allow_loopback: true,
        max_targets: 6,
        ..ScraperOptions::default()
    });
    scraper.set_targets([
        named(
            "link-local",
            with(|target| target.endpoint.address = "169.254.169.254:80".parse().unwrap()),
        ),
        named("port", with(|target| target.endpoint.address.set_port(0))),
        named(
            "period",
            with(|target| target.endpoint.period = Duration::from_millis(1)),
        ),
        named(
            "path",
            with(|target| target.endpoint.path = Some("metrics".into())),
        ),
        named(
            "token",
            with(|target| target.endpoint.bearer = Some(Secret::new("a\r\nb".into()))),
        ),
        named("good", target(&server)),
        named("good", with(|target| target.endpoint.address.set_port(0))),
        named(
            "one too many",
            with(|target| target.view.window = Duration::from_secs(9)),
        ),
    ]);
    let why = |name: &str| scraper.board().get(&id(name)).unwrap().failure.clone().unwrap();
    assert_eq!(
        why("link-local"),
        "refused: 169.254.169.254 is a link-local address, which no engine has"
    );
    assert_eq!(why("port"), "refused: port 0 of 127.0.0.1 is none");
    assert_eq!(why("period"), "refused: period 1ms: 500ms to 60s is allowed");
    assert!(why("path").starts_with("refused: path \"metrics\""));
    assert_eq!(
        why("token"),
        "refused: the value of header authorization holds characters other than visible ASCII, space and tab"
    );
    assert_eq!(why("one too many"), "refused: more than 6 targets");
    assert_eq!((scraper.stats().refused(), scraper.stats().endpoints()), (6, 1));
    until(&scraper, "good", |report| report.answered_at.is_some()).await;

    let strict = start(ScraperOptions::default());
    strict.set_targets([named("a", target(&server))]);
    let report = strict.board().get(&id("a")).unwrap();
    assert_eq!(
        report.failure.as_deref(),
        Some("refused: 127.0.0.1 is a loopback address, which no engine has")
    );
}

#[tokio::test]
async fn a_protected_engine_is_read_by_its_ca_and_not_without() {
    let (ca, config) = certificates(&["engine.example"]);
    let server = Server::with_tls(Some(config), engine).await;
    let with = |ca_pem: Option<String>, skip_verification| {
        let mut target = target(&server);
        target.endpoint.scheme = Scheme::Https {
            ca_pem,
            server_name: Some("engine.example".into()),
            skip_verification,
        };
        target
    };
    let (other, _) = certificates(&["engine.example"]);
    let scraper = start(options());
    scraper.set_targets([
        named("ca", with(Some(ca), false)),
        named("skip", with(None, true)),
        named("wrong", with(Some(other), false)),
        named("broken", with(Some("no PEM".into()), false)),
    ]);
    until(&scraper, "ca", |report| report.answered_at.is_some()).await;
    until(&scraper, "skip", |report| report.answered_at.is_some()).await;
    let report = until(&scraper, "wrong", |report| report.failure.is_some()).await;
    assert!(report.failure.as_ref().unwrap().contains("no TLS connection"));
    assert_eq!(report.answered_at, None);
    let report = until(&scraper, "broken", |report| report.failure.is_some()).await;
    assert_eq!(
        report.failure.as_deref(),
        Some("refused: the CA holds no certificate in PEM form")
    );
}
