//! Engines that subscribers name: over real gRPC streams, from real HTTP pages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rheostat_agent::{AgentOptions, EngineOptions};
use rheostat_fleet::{AgentEndpoint, EngineReader, Fleet, FleetOptions, FleetView, NoAgent};
use rheostat_proto::agent::source::State;
use rheostat_proto::agent::{EngineList, EngineQuantity, EngineReport, EngineTarget, Snapshot, WatchRequest};
use rheostat_proto::engine_target_from_proto;
use rheostat_reading::{Clock, Timestamp};
use rheostat_transport::ClientSecurity;
use support::engine::{SmallEngine, value};
use support::{Node, PATIENCE, until};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// A grace that no test outlives.
const LONG: Duration = Duration::from_secs(3600);

/// A subscriber that may change its list.
struct Subscriber {
    requests: mpsc::UnboundedSender<WatchRequest>,
    snapshots: Streaming<Snapshot>,
}

impl Subscriber {
    async fn wanting(node: &Node, targets: impl IntoIterator<Item = EngineTarget>) -> Self {
        let (requests, outgoing) = mpsc::unbounded_channel();
        requests.send(wanted(targets)).unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let snapshots = node.client().watch(outgoing).await.unwrap().into_inner();
        Self { requests, snapshots }
    }

    fn want(&self, targets: impl IntoIterator<Item = EngineTarget>) {
        self.requests.send(wanted(targets)).unwrap();
    }

    async fn until(&mut self, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        until(&mut self.snapshots, holds).await
    }

    /// The snapshot in which everything that was named has been read.
    async fn all_read(&mut self, count: usize) -> Snapshot {
        let read = |report: &EngineReport| report.source.as_ref().unwrap().state() == State::Current;
        self.until(|snapshot| snapshot.engines.len() == count && snapshot.engines.iter().all(read))
            .await
    }
}

fn wanted(targets: impl IntoIterator<Item = EngineTarget>) -> WatchRequest {
    WatchRequest {
        subscriber: "test".into(),
        engines: Some(EngineList {
            targets: targets.into_iter().collect(),
        }),
    }
}

fn scraping(grace: Duration) -> impl FnOnce(&mut AgentOptions) {
    move |options| {
        options.engines = Some(EngineOptions {
            grace,
            allow_loopback: true,
            ..EngineOptions::default()
        });
    }
}

async fn node(grace: Duration) -> Node {
    Node::start_with(Clock::system(), scraping(grace)).await
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<_> = snapshot
        .engines
        .iter()
        .map(|report| report.target.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn of<'a>(snapshot: &'a Snapshot, name: &str) -> &'a EngineReport {
    snapshot
        .engines
        .iter()
        .find(|report| report.target == name)
        .unwrap()
}

fn reason(report: &EngineReport) -> &str {
    &report.source.as_ref().unwrap().reason
}

/// Waits until `holds`.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, waiting).await;
    held.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn everybody_hears_of_what_it_named_and_of_nothing_else() {
    let node = node(LONG).await;
    let (one, two, three) = (
        SmallEngine::start(1).await,
        SmallEngine::start(2).await,
        SmallEngine::start(3).await,
    );
    // The same name for different engines, and different names for the same.
    let mut first = Subscriber::wanting(&node, [one.named("a"), two.named("b")]).await;
    let mut second = Subscriber::wanting(&node, [two.named("a"), three.named("c")]).await;
    let heard = first.all_read(2).await;
    assert!(heard.scrapes_engines);
    assert_eq!(names(&heard), ["a", "b"]);
    let waiting = |snapshot: &Snapshot, name: &str| value(of(snapshot, name), EngineQuantity::Waiting);
    assert_eq!(
        (waiting(&heard, "a"), waiting(&heard, "b")),
        (Some(1.0), Some(2.0))
    );
    assert_eq!(value(of(&heard, "a"), EngineQuantity::Concurrency), Some(4.0));
    assert_eq!(of(&heard, "a").engine, "vllm");
    let heard = second.all_read(2).await;
    assert_eq!(names(&heard), ["a", "c"]);
    assert_eq!(
        (waiting(&heard, "a"), waiting(&heard, "c")),
        (Some(2.0), Some(3.0))
    );

    let mut silent = node.watch().await;
    assert!(until(&mut silent, |_| true).await.engines.is_empty());
}

#[tokio::test]
async fn an_engine_is_scraped_once_for_all_who_want_it() {
    let node = node(LONG).await;
    let engine = SmallEngine::start(1).await;
    let alone = SmallEngine::start(1).await;
    let mut other_view = engine.named("y");
    other_view.model = "llama".into();
    other_view.window_millis = 30_000;
    let mut subscribers = vec![Subscriber::wanting(&node, [alone.named("x")]).await];
    for _ in 0..5 {
        let targets = [engine.named("x"), other_view.clone()];
        subscribers.push(Subscriber::wanting(&node, targets).await);
    }
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.all_read(if number == 0 { 1 } else { 2 }).await;
    }
    let before = (engine.asked(), alone.asked());
    eventually("more scrapes", || alone.asked() >= before.1 + 6).await;
    let more = engine.asked() - before.0;
    assert!(more <= 15, "asked {more} times while another was asked 6 times");
    let engines = node.agent.snapshots().borrow().clone().unwrap().engines.clone();
    assert_eq!(engines.unwrap().len(), 3);
}

#[tokio::test]
async fn a_list_replaces_the_one_before() {
    let node = node(LONG).await;
    let (one, two) = (SmallEngine::start(1).await, SmallEngine::start(2).await);
    let mut subscriber = Subscriber::wanting(&node, [one.named("a")]).await;
    subscriber.all_read(1).await;
    subscriber.want([two.named("b")]);
    let changed = subscriber
        .until(|snapshot| {
            snapshot
                .engines
                .iter()
                .any(|report| value(report, EngineQuantity::Waiting) == Some(2.0))
        })
        .await;
    assert_eq!(names(&changed), ["b"]);
    subscriber.want([]);
    subscriber.until(|snapshot| snapshot.engines.is_empty()).await;
    let now = two.asked();
    let third = SmallEngine::start(3).await;
    subscriber.want([third.named("c")]);
    subscriber.all_read(1).await;
    eventually("scrapes of the third", || third.asked() >= 4).await;
    assert!(two.asked() <= now + 1, "who is not wanted is not asked");
}

#[tokio::test]
async fn what_a_subscriber_named_is_forgotten_after_the_grace() {
    let node = node(Duration::from_millis(300)).await;
    let (one, two) = (SmallEngine::start(1).await, SmallEngine::start(2).await);
    let mut leaves = Subscriber::wanting(&node, [one.named("a"), two.named("b")]).await;
    let mut stays = Subscriber::wanting(&node, [two.named("b")]).await;
    leaves.all_read(2).await;
    stays.all_read(1).await;
    drop(leaves);
    let mut snapshots = node.agent.snapshots();
    let only_one = snapshots.wait_for(|latest| {
        let engines = latest.as_ref().and_then(|latest| latest.engines.as_deref());
        engines.is_some_and(|engines| engines.len() == 1 && engines[0].target.endpoint.address == two.address)
    });
    tokio::time::timeout(PATIENCE, only_one).await.unwrap().unwrap();
    stays.all_read(1).await;
}

#[tokio::test]
async fn who_comes_back_finds_everything_as_it_was() {
    let node = node(LONG).await;
    let engine = SmallEngine::start(1).await;
    let mut subscriber = Subscriber::wanting(&node, [engine.named("a")]).await;
    subscriber.all_read(1).await;
    drop(subscriber);
    let mut page = String::new();
    while !page.contains("rheostat_agent_subscribers 0\n") {
        page = node.get("/metrics").await.1;
    }
    let mut again = Subscriber::wanting(&node, [engine.named("a")]).await;
    let first = again.until(|_| true).await;
    assert_eq!(
        of(&first, "a").source.as_ref().unwrap().state(),
        State::Current,
        "{first:?}"
    );
    assert_eq!(value(of(&first, "a"), EngineQuantity::Waiting), Some(1.0));
}

#[tokio::test]
async fn bad_targets_are_refused_one_by_one() {
    let node = Node::start_with(Clock::system(), |options| {
        options.engines = Some(EngineOptions {
            max_targets: 4,
            allow_loopback: true,
            ..EngineOptions::default()
        });
    })
    .await;
    let (one, two) = (SmallEngine::start(1).await, SmallEngine::start(2).await);
    let mut name = one.named("name");
    name.address = "engine.example".into();
    let mut token = one.named("token");
    token.bearer_token = "not a token".into();
    let mut metadata = one.named("metadata");
    metadata.address = "169.254.169.254".into();
    let targets = [
        name,
        token,
        metadata,
        one.named("good"),
        two.named("too many"),
        two.named("good"),
    ];
    let mut subscriber = Subscriber::wanting(&node, targets).await;
    let heard = subscriber
        .until(|snapshot| {
            let mut reports = snapshot.engines.iter();
            reports.any(|report| value(report, EngineQuantity::Waiting).is_some())
                && !reason(of(snapshot, "metadata")).is_empty()
        })
        .await;
    assert_eq!(names(&heard), ["good", "metadata", "name", "token", "too many"]);
    for (name, expected) in [
        (
            "name",
            "address \"engine.example\" is not accepted: an IP address",
        ),
        (
            "token",
            "bearer_token \"…\" is not accepted: printable ASCII without spaces",
        ),
        ("too many", "the list is too long: 4 targets are accepted"),
    ] {
        let report = of(&heard, name);
        assert_eq!((reason(report), report.refused), (expected, true));
        assert_eq!(report.source.as_ref().unwrap().state(), State::Unknown);
    }
    let metadata = reason(of(&heard, "metadata"));
    assert!(metadata.contains("link-local"), "{metadata}");
    assert_eq!(value(of(&heard, "good"), EngineQuantity::Waiting), Some(1.0));
    let (_, page) = node.get("/metrics").await;
    for line in [
        "rheostat_agent_engine_targets 2",
        "rheostat_agent_engine_targets_refused 4",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
}

#[tokio::test]
async fn targets_beyond_the_limit_wait_for_their_turn() {
    let node = Node::start_with(Clock::system(), |options| {
        options.engines = Some(EngineOptions {
            max_targets: 1,
            allow_loopback: true,
            grace: Duration::ZERO,
            ..EngineOptions::default()
        });
    })
    .await;
    let (one, two) = (SmallEngine::start(1).await, SmallEngine::start(2).await);
    let mut first = Subscriber::wanting(&node, [one.named("a")]).await;
    first.all_read(1).await;
    let mut second = Subscriber::wanting(&node, [two.named("b")]).await;
    let refused = second.until(|snapshot| !snapshot.engines.is_empty()).await;
    assert_eq!(
        (of(&refused, "b").refused, reason(of(&refused, "b"))),
        (
            true,
            "the agent reads 1 other targets already, the most that it may"
        )
    );
    drop(first);
    second.all_read(1).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_costs_nobody_its_gpus() {
    let node = node(LONG).await;
    let engine = SmallEngine::start(1).await;
    let mut subscriber = Subscriber::wanting(&node, [engine.named("a")]).await;
    let before = subscriber.all_read(1).await;
    let large = (0..100).map(|number| EngineTarget {
        id: number.to_string(),
        custom_engine: "x".repeat(60_000),
        ..engine.named("")
    });
    subscriber.want(large);
    let mut page = String::new();
    while !page.contains("rheostat_agent_broken_requests_total 1\n") {
        page = node.get("/metrics").await.1;
    }
    let after = subscriber
        .until(|snapshot| snapshot.sequence > before.sequence + 5)
        .await;
    assert_eq!((after.devices.len(), names(&after)), (2, vec!["a"]));
}

#[tokio::test]
async fn an_agent_that_scrapes_nothing_says_so() {
    let node = Node::start_with(Clock::system(), |options| options.engines = None).await;
    let engine = SmallEngine::start(1).await;
    let mut subscriber = Subscriber::wanting(&node, [engine.named("a")]).await;
    let snapshot = subscriber.until(|snapshot| snapshot.sequence > 5).await;
    assert!(!snapshot.scrapes_engines && snapshot.engines.is_empty());
    assert_eq!(engine.asked(), 0);
}

#[tokio::test]
async fn loopback_is_not_scraped_unless_it_is_allowed() {
    let node = Node::start().await;
    let engine = SmallEngine::start(1).await;
    let mut subscriber = Subscriber::wanting(&node, [engine.named("a")]).await;
    let refused = subscriber
        .until(|snapshot| snapshot.engines.iter().any(|report| !reason(report).is_empty()))
        .await;
    assert!(
        reason(of(&refused, "a")).contains("loopback"),
        "{}",
        reason(of(&refused, "a"))
    );
    assert_eq!(engine.asked(), 0);
}

#[tokio::test]
async fn the_page_shows_engines() {
    let node = node(LONG).await;
    let engine = SmallEngine::start(7).await;
    let mut longer = engine.named("longer");
    longer.window_millis = 120_000;
    let mut model = engine.named("model");
    model.model = "llama".into();
    let mut gone = engine.named("gone");
    gone.pod = "gone-0".into();
    // Nobody listens where somebody did a moment ago.
    gone.port = {
        let closed = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        closed.local_addr().unwrap().port().into()
    };
    let closed = gone.port;
    let mut subscriber = Subscriber::wanting(&node, [engine.named("a"), longer, model, gone]).await;
    subscriber
        .until(|snapshot| {
            snapshot.engines.len() == 4
                && snapshot
                    .engines
                    .iter()
                    .all(|report| match report.target.as_str() {
                        "gone" => !reason(report).is_empty(),
                        _ => value(report, EngineQuantity::Waiting).is_some(),
                    })
        })
        .await;
    let port = engine.address.port();
    let labels = |model: &str| {
        format!(
            "{{adapter=\"\",engine=\"vllm\",model=\"{model}\",namespace=\"team-a\",pod=\"llm-{port}\",port=\"{port}\"}}"
        )
    };
    let (_, page) = node.get("/metrics").await;
    let has = |line: &str| assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    has(&format!("rheostat_engine_waiting{} 7", labels("")));
    has(&format!("rheostat_engine_waiting{} 7", labels("llama")));
    has(&format!("rheostat_engine_concurrency{} 10", labels("")));
    has(&format!("rheostat_engine_up{} 1", labels("")));
    has("rheostat_agent_engine_targets 4");
    has("rheostat_agent_engine_endpoints 2");
    let of_series = |start: &str| page.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        of_series("rheostat_engine_waiting{"),
        2,
        "windows are no series of their own:\n{page}"
    );
    let down = format!("pod=\"gone-0\",port=\"{closed}\"}} 0");
    assert!(
        page.lines()
            .any(|line| line.starts_with("rheostat_engine_up{") && line.ends_with(&down)),
        "{page}"
    );
    assert!(
        !page
            .lines()
            .any(|line| line.starts_with("rheostat_engine_waiting") && line.contains("gone-0")),
        "{page}"
    );
    assert!(
        of_series("rheostat_engine_readings_absent{quantity=") > 0,
        "{page}"
    );
    assert!(
        of_series("rheostat_agent_engine_scrape_failures_total{reason=\"connect\"}") == 1,
        "{page}"
    );
    assert!(
        of_series("rheostat_agent_engine_scrape_duration_seconds_count") == 1,
        "{page}"
    );
    let (_, dcgm) = node.get("/metrics?names=dcgm").await;
    assert!(!dcgm.contains("rheostat_engine"), "{dcgm}");
}

#[tokio::test]
async fn the_fleet_sees_an_agent_die_and_tells_the_next_one_everything() {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000_000));
    let first = node(LONG).await;
    let address = first.agent.grpc_address();
    let engine = SmallEngine::start(4).await;
    let target = Arc::new(engine_target_from_proto(&engine.named("a")).unwrap());
    let endpoint = AgentEndpoint {
        address: address.to_string(),
        node: None,
    };
    let (_endpoints, endpoints) = watch::channel(vec![endpoint]);
    let options = FleetOptions {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(100),
        ..FleetOptions::new(ClientSecurity::Plaintext)
    };
    let fleet = Fleet::start(options, clock.clone(), endpoints);
    fleet.set_engines(HashMap::from([("node-1".into(), vec![Arc::clone(&target)])]));
    let id = target.id();
    let waiting = |view: &FleetView| match view.engine_reader("node-1", &id, clock.now()) {
        EngineReader::Agent(engine) => engine
            .report
            .readings
            .value(rheostat_reading::EngineQuantity::Waiting),
        EngineReader::Undecided | EngineReader::NoAgent(_) => None,
    };
    eventually("a reading", || waiting(&fleet.view()) == Some(4.0)).await;

    drop(first);
    eventually("the loss", || fleet.view().agents()[0].connected_since.is_none()).await;
    assert_eq!(waiting(&fleet.view()), Some(4.0), "nobody takes over at once");
    let silence = Duration::from_secs(6);
    hand.advance(silence);
    let view = fleet.view();
    let alone = view.engine_reader("node-1", &id, clock.now());
    assert!(
        matches!(&alone, EngineReader::NoAgent(NoAgent::Silent(age)) if *age >= silence),
        "{alone:?}"
    );

    // Its port can be had again once the dead agent's socket is closed.
    let asked = engine.asked();
    let second = Node::start_with(Clock::system(), |options| {
        scraping(LONG)(options);
        options.grpc_address = SocketAddr::new(address.ip(), address.port());
    })
    .await;
    eventually("a reading of the next agent", || {
        waiting(&fleet.view()) == Some(4.0) && engine.asked() > asked
    })
    .await;
    drop(second);
}
