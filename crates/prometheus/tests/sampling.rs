//! A sampler against a fake API over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rheostat_engines::Secret;
use rheostat_prometheus::{
    BindError, Enforcement, QueryId, QueryResult, Sampler, SamplerOptions, ServerConfig, Servers,
};
use rheostat_reading::{Clock, Timestamp};
use support::{Api, Reply};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn sampler(clock: Clock) -> Sampler {
    let options = SamplerOptions {
        period: Duration::from_millis(50),
        max_pause: Duration::from_millis(100),
        spread: Duration::from_millis(10),
        seed: 1,
    };
    Sampler::start(options, clock)
}

fn servers(config: ServerConfig) -> Servers {
    [("main".to_owned(), config)].into_iter().collect()
}

/// Waits until `condition` holds.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until what is known of `query` is so.
async fn known(sampler: &Sampler, query: &QueryId, is: impl Fn(&QueryResult) -> bool) -> Arc<QueryResult> {
    let board = sampler.board();
    let mut changes = board.changes();
    let waiting = async {
        loop {
            if let Some(result) = board.get(query).filter(|result| is(result)) {
                return result;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("{query}: only {:?}", board.get(query)))
}

fn values(result: &QueryResult) -> Vec<f64> {
    result.answered.as_ref().unwrap().answer.data.values()
}

fn reason(result: &QueryResult) -> String {
    result.failed.as_ref().unwrap().reason.clone()
}

#[tokio::test]
async fn a_bound_query_is_asked_again_and_again_and_equal_ones_once() {
    let api = Api::start(ANY).await;
    let bound = r#"sum(x{namespace="a"})"#;
    api.reply(bound, Reply::Vector(vec!["3"])).await;
    let start = Timestamp::from_unix_nanos(5_000_000_000);
    let (clock, hand) = Clock::manual(start);
    let sampler = sampler(clock);
    let servers = servers(ServerConfig::at(&api.url()));
    let query = servers.bind("main", "a", "sum(x)").unwrap();
    let same = servers.bind("main", "a", "sum( x{} ) # the same").unwrap();
    assert_eq!((&*query.query, &query), (bound, &same));
    assert_ne!(servers.bind("main", "b", "sum(x)").unwrap(), query);
    sampler.set_servers(&servers);
    sampler.set_queries([query.clone(), same]);
    assert_eq!(sampler.board().all().len(), 1);

    let result = known(&sampler, &query, |result| result.answered.is_some()).await;
    let answered = result.answered.as_ref().unwrap();
    assert_eq!(values(&result), [3.0]);
    assert_eq!(answered.answer.warnings, ["w"]);
    assert_eq!((answered.asked_at, answered.answered_at), (start, start));
    assert_eq!(
        answered.age(start.plus(Duration::from_secs(9))),
        Duration::from_secs(9)
    );
    assert!(result.failed.is_none());

    api.reply(bound, Reply::Vector(vec!["4", "NaN"])).await;
    hand.advance(Duration::from_secs(1));
    let is_new = |result: &QueryResult| {
        result
            .answered
            .as_ref()
            .is_some_and(|answered| answered.answer.data.values().len() == 2)
    };
    let result = known(&sampler, &query, is_new).await;
    assert!(values(&result)[1].is_nan());
    api.reply(bound, Reply::Vector(vec![])).await;
    known(&sampler, &query, |result| values(result).is_empty()).await;
    for asked in api.asked.lock().await.iter() {
        assert_eq!((asked.query.as_str(), asked.timeout.as_str()), (bound, "10000ms"));
        assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    }
    let stats = &sampler.stats()[0];
    assert_eq!((&*stats.0, stats.1.failures().len()), ("main", 0));
    assert!(stats.1.queries.get() >= 3);

    sampler.set_queries([]);
    assert!(sampler.board().get(&query).is_none());
    api.stop().await;
}

#[tokio::test]
async fn a_server_that_is_down_leaves_the_last_answer_to_grow_old() {
    let api = Api::start(ANY).await;
    let address = api.address;
    api.reply("x", Reply::Vector(vec!["7"])).await;
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000));
    let sampler = sampler(clock.clone());
    let off = ServerConfig {
        enforcement: Enforcement::Off,
        ..ServerConfig::at(&api.url())
    };
    let servers = servers(off);
    let query = servers.bind("main", "a", "x").unwrap();
    sampler.set_servers(&servers);
    sampler.set_queries([query.clone()]);
    known(&sampler, &query, |result| result.answered.is_some()).await;

    api.stop().await;
    hand.advance(Duration::from_secs(60));
    let result = known(&sampler, &query, |result| {
        result.failed.as_ref().is_some_and(|failed| failed.attempts > 1)
    })
    .await;
    assert_eq!(values(&result), [7.0], "frozen, not zero");
    assert_eq!(
        result.answered.as_ref().unwrap().age(clock.now()),
        Duration::from_secs(60)
    );
    assert!(reason(&result).contains("cannot connect"), "{}", reason(&result));
    assert!(
        reason(&result).contains("/prefix/api/v1/query"),
        "{}",
        reason(&result)
    );
    let failed = result.failed.clone().unwrap();
    assert_eq!((failed.since, failed.last), (clock.now(), clock.now()));
    assert!(sampler.stats()[0].1.failures()["connect"] > 1);

    let api = Api::start(address).await;
    api.reply("x", Reply::Vector(vec!["8"])).await;
    let result = known(&sampler, &query, |result| {
        result.failed.is_none() && values(result) == [8.0]
    })
    .await;
    assert_eq!(result.answered.as_ref().unwrap().age(clock.now()), Duration::ZERO);
    api.stop().await;
}

#[tokio::test]
async fn every_failure_is_told_and_none_is_a_number() {
    let api = Api::start(ANY).await;
    let config = ServerConfig {
        enforcement: Enforcement::Off,
        timeout: Duration::from_millis(100),
        max_concurrent: 16,
        ..ServerConfig::at(&api.url())
    };
    let servers = servers(config);
    let sampler = sampler(Clock::system());
    sampler.set_servers(&servers);
    let error = r#"{"status":"error","errorType":"execution","error":"multiple matches"}"#;
    let cases = [
        (
            "bad",
            Reply::Raw(422, error.into()),
            "the server says execution: multiple matches",
        ),
        (
            "success",
            Reply::Raw(200, error.into()),
            "the server says execution: multiple matches",
        ),
        (
            "gone",
            Reply::Raw(503, "no healthy upstream".into()),
            "503 Service Unavailable: \"no healthy upstream\"",
        ),
        (
            "login",
            Reply::Raw(302, String::new()),
            "redirects are not followed",
        ),
        (
            "html",
            Reply::Raw(200, "<html>".into()),
            "not that of Prometheus' API",
        ),
        (
            "matrix",
            Reply::Raw(
                200,
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.into(),
            ),
            "a range vector",
        ),
        (
            "huge",
            Reply::Raw(200, " ".repeat(3 << 20)),
            "more than 2097152 bytes",
        ),
        ("hang", Reply::Hang, "within 600ms"),
    ];
    for (query, reply, _) in &cases {
        api.reply(query, reply.clone()).await;
    }
    api.reply("fine", Reply::Vector(vec!["1"])).await;
    let id = |query: &str| servers.bind("main", "a", query).unwrap();
    sampler.set_queries(cases.iter().map(|case| id(case.0)).chain([id("fine")]));
    for (query, _, expected) in &cases {
        let result = known(&sampler, &id(query), |result| result.failed.is_some()).await;
        assert!(reason(&result).contains(expected), "{query}: {}", reason(&result));
        assert!(result.answered.is_none());
    }
    known(&sampler, &id("fine"), |result| result.answered.is_some()).await;
    let failures = sampler.stats()[0].1.failures();
    for kind in ["api", "status", "answer", "too_large", "timeout"] {
        assert!(failures[kind] > 0, "{kind}: {failures:?}");
    }
    api.stop().await;
}

#[tokio::test]
async fn credentials_are_read_again_when_they_rotate() {
    let api = Api::start(ANY).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let mut config = ServerConfig {
        bearer_token_file: Some(token.clone()),
        ..ServerConfig::at(&api.url())
    };
    config
        .headers
        .insert("X-Scope-OrgID".into(), Secret::new("team-a".into()));
    let bearer = servers(config);
    let sampler = sampler(Clock::system());
    sampler.set_servers(&bearer);
    let query = bearer.bind("main", "a", "x").unwrap();
    sampler.set_queries([query.clone()]);
    let result = known(&sampler, &query, |result| result.failed.is_some()).await;
    assert!(
        reason(&result).starts_with(&format!("cannot use {}: ", token.display())),
        "{}",
        reason(&result)
    );
    let sent = |expected: &'static str| {
        let api = &api;
        until(expected, move || async move {
            let asked = api.asked.lock().await;
            asked
                .last()
                .is_some_and(|asked| asked.headers["authorization"] == expected)
        })
    };
    for (written, expected) in [("first\n", "Bearer first"), ("second", "Bearer second")] {
        std::fs::write(&token, written).unwrap();
        sent(expected).await;
    }
    assert_eq!(
        api.asked.lock().await.last().unwrap().headers["x-scope-orgid"],
        "team-a"
    );
    assert_eq!(
        sampler.stats()[0]
            .1
            .failures()
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        ["configuration"]
    );

    // Another configuration of the same name takes over, with the old answer until the new one comes.
    let password = folder.path().join("password");
    std::fs::write(&password, "open sesame\n").unwrap();
    let basic = servers(ServerConfig {
        basic_auth: Some(("Aladdin".into(), password)),
        ..ServerConfig::at(&api.url())
    });
    known(&sampler, &query, |result| result.answered.is_some()).await;
    sampler.set_servers(&basic);
    assert!(sampler.board().get(&query).unwrap().answered.is_some());
    sent("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").await;
    assert!(
        !api.asked
            .lock()
            .await
            .last()
            .unwrap()
            .headers
            .contains_key("x-scope-orgid")
    );

    sampler.set_servers(&Servers::default());
    let result = known(&sampler, &query, |result| result.failed.is_some()).await;
    assert_eq!(reason(&result), "no Prometheus is configured as \"main\"");
    assert!(result.answered.is_some());
    assert!(sampler.stats().is_empty());
    api.stop().await;
}

#[tokio::test]
async fn a_servers_limits_hold() {
    let api = Api::start(ANY).await;
    let config = ServerConfig {
        max_queries: 6,
        max_concurrent: 2,
        enforcement: Enforcement::Off,
        ..ServerConfig::at(&api.url())
    };
    let servers = servers(config);
    let sampler = sampler(Clock::system());
    let ids: Vec<QueryId> = (0..8)
        .map(|number| servers.bind("main", "a", &format!("x{number}")).unwrap())
        .collect();
    sampler.set_servers(&servers);
    sampler.set_queries(ids[2..].to_vec());
    for id in &ids[2..] {
        known(&sampler, id, |result| result.answered.is_some()).await;
    }
    // The first two would come first, but the others are there already.
    sampler.set_queries(ids.clone());
    for id in &ids[..2] {
        let result = known(&sampler, id, |result| result.failed.is_some()).await;
        assert!(reason(&result).contains("maxQueries"), "{}", reason(&result));
    }
    let before = api.count("x7").await;
    until("x7 is asked on", || async { api.count("x7").await > before + 2 }).await;
    assert_eq!(api.count("x0").await, 0);
    // Before anything is cancelled, which the server sees only a moment later.
    assert!(api.busiest.load(Ordering::SeqCst) <= 2);
    sampler.set_queries(ids[..6].to_vec());
    for id in &ids[..2] {
        known(&sampler, id, |result| {
            result.answered.is_some() && result.failed.is_none()
        })
        .await;
    }
    api.stop().await;
}

#[tokio::test]
async fn a_trigger_is_told_why_it_is_not_asked() {
    let servers = servers(ServerConfig::at("http://localhost:9"));
    let bind = |server: &str, query: &str| servers.bind(server, "a", query).unwrap_err();
    assert_eq!(
        bind("mian", "x").to_string(),
        "no Prometheus is configured as \"mian\"; configured are main"
    );
    assert!(matches!(bind("main", "x +"), BindError::Query(_)));
    assert!(
        bind("main", "x{namespace=\"b\"}")
            .to_string()
            .contains("may only see namespace=\"a\"")
    );
    assert_eq!(
        Servers::default().bind("main", "a", "x").unwrap_err().to_string(),
        "no Prometheus is configured as \"main\"; none is configured"
    );
}
