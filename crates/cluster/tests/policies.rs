//! ScalingPolicies against an API server over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Snapshot, Store, WatchGuard, WatchOptions, WatchState, WatchTiming, watch_cluster};
use rheostat_reading::Clock;
use serde_json::{Value, json};
use support::{ApiServer, SCALING_POLICIES};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(server: &ApiServer, namespaces: &[&str]) -> (Store, WatchGuard) {
    let millis = Duration::from_millis;
    let options = WatchOptions {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        timing: WatchTiming {
            first_pause: millis(20),
            longest_pause: millis(100),
            missing_pause: millis(50),
            ..WatchTiming::default()
        },
        coalesce: millis(5),
        ..WatchOptions::default()
    };
    watch_cluster(server.client(), options, Clock::system())
}

async fn until(store: &Store, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let mut changes = store.changes();
    let waiting = async {
        loop {
            let snapshot = store.snapshot();
            if holds(&snapshot) {
                return snapshot;
            }
            changes.changed().await.unwrap();
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("never saw {what}: {:#?}", store.snapshot()))
}

fn policy(namespace: &str, name: &str, concurrency: u32) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": "u", "generation": 1},
        "spec": {"concurrency": concurrency}, "status": {"desired": 3}})
}

fn concurrency(snapshot: &Snapshot, namespace: &str, name: &str) -> Option<u64> {
    snapshot.policy(namespace, name)?.spec["concurrency"].as_u64()
}

#[tokio::test]
async fn policies_come_change_and_go() {
    let server = ApiServer::start().await;
    server.put(SCALING_POLICIES, policy("a", "chat", 8));
    let (store, _guard) = start(&server, &[]);
    let seen = until(&store, "the policy", |all| {
        concurrency(all, "a", "chat") == Some(8)
    })
    .await;
    assert_eq!(seen.policy("a", "chat").unwrap().status["desired"], 3);
    assert_eq!(seen.policy("b", "chat"), None, "another namespace has none");
    server.put(SCALING_POLICIES, policy("a", "chat", 16));
    until(&store, "the change", |all| {
        concurrency(all, "a", "chat") == Some(16)
    })
    .await;
    server.put(SCALING_POLICIES, policy("a", "other", 4));
    server.expire();
    server.delete_unseen(SCALING_POLICIES, "a", "chat");
    server.end_watches();
    let seen = until(&store, "what is gone", |all| all.policy("a", "chat").is_none()).await;
    assert_eq!(concurrency(&seen, "a", "other"), Some(4));
    assert_eq!(seen.policies().len(), 1);
}

#[tokio::test]
async fn only_the_namespaces_that_are_watched_count() {
    let server = ApiServer::start().await;
    server.put(SCALING_POLICIES, policy("a", "chat", 8));
    server.put(SCALING_POLICIES, policy("b", "chat", 9));
    let (store, _guard) = start(&server, &["a"]);
    let seen = until(&store, "the policy", |all| {
        concurrency(all, "a", "chat") == Some(8)
    })
    .await;
    assert_eq!(seen.policies().len(), 1);
    assert_eq!(seen.health.of_policies("b"), None);
}

#[tokio::test]
async fn whoever_may_not_read_policies_or_has_no_crd_is_not_kept_waiting() {
    let server = ApiServer::start().await;
    server.set_forbidden(SCALING_POLICIES, true);
    let (store, _guard) = start(&server, &[]);
    let told = |all: &Snapshot, missing: bool| match all.health.of_policies("a") {
        Some(WatchState::Starting {
            problem: Some(problem),
        }) => !missing && problem.contains("forbidden"),
        Some(WatchState::Missing) => missing,
        _ => false,
    };
    until(&store, "synced although forbidden", |all| {
        all.synced && told(all, false)
    })
    .await;
    server.set_forbidden(SCALING_POLICIES, false);
    server.set_missing(SCALING_POLICIES, true);
    until(&store, "missing", |all| told(all, true)).await;
    server.set_missing(SCALING_POLICIES, false);
    server.put(SCALING_POLICIES, policy("a", "chat", 8));
    until(&store, "the policy", |all| {
        concurrency(all, "a", "chat") == Some(8)
    })
    .await;
}
