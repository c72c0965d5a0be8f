//! Secrets, ConfigMaps and queues, read from an API server over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rheostat_cluster::{Holder, LocalQueue, QueueWatch, Value, ValueRef, ValueWatch, WatchTiming, Work};
use rheostat_reading::Clock;
use serde_json::json;
use support::{ApiServer, KUEUE_WORKLOADS, LOCAL_QUEUES, status};

const PATIENCE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(50);
const TOKEN: &str = "/api/v1/namespaces/a/secrets/token";

fn value(holder: Holder, name: &str, key: &str) -> ValueRef {
    ValueRef {
        holder,
        namespace: "a".into(),
        name: name.into(),
        key: key.into(),
    }
}

async fn until_value(values: &ValueWatch, wanted: &ValueRef, holds: impl Fn(&Value) -> bool) -> Value {
    let mut changes = values.changes();
    let waiting = async {
        loop {
            if let Some(found) = changes
                .borrow_and_update()
                .get(wanted)
                .filter(|found| holds(found))
            {
                return found.clone();
            }
            changes.changed().await.unwrap();
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("{wanted}: {:?}", values.latest()))
}

fn text(value: &Value) -> Option<&str> {
    value.text.as_ref().map(|(text, _)| &**text)
}

#[tokio::test]
async fn values_are_read_followed_and_not_made_up() {
    let server = ApiServer::start().await;
    server.fix(TOKEN, 200, json!({"data": {"bearer": "c2VjcmV0"}}));
    server.fix(
        "/api/v1/namespaces/a/configmaps/engine",
        200,
        json!({"data": {"engine.json": "{}"}}),
    );
    let values = ValueWatch::start(server.client(), PERIOD, Clock::system());
    let token = value(Holder::Secret, "token", "bearer");
    let other_key = value(Holder::Secret, "token", "other");
    let config = value(Holder::ConfigMap, "engine", "engine.json");
    let missing = value(Holder::ConfigMap, "none", "x");
    let all = [&token, &other_key, &config, &missing];
    values.want(all.into_iter().cloned().collect());
    let found = until_value(&values, &token, |value| text(value) == Some("secret")).await;
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    until_value(&values, &config, |value| text(value) == Some("{}")).await;
    let gone = until_value(&values, &missing, |value| value.problem.is_some()).await;
    let problem = gone.problem.unwrap();
    assert_eq!(problem, "key \"x\" of ConfigMap a/none does not exist");
    let gone = until_value(&values, &other_key, |value| value.problem.is_some()).await;
    assert!(gone.text.is_none() && gone.problem.unwrap().contains("no such key"));

    // A new token is known after a period; one that cannot be read stays, with the problem.
    server.fix(TOKEN, 200, json!({"data": {"bearer": "bmV3"}}));
    until_value(&values, &token, |value| text(value) == Some("new")).await;
    server.fix(
        TOKEN,
        403,
        status(403, "Forbidden", "secrets \"token\" is forbidden"),
    );
    let kept = until_value(&values, &token, |value| value.problem.is_some()).await;
    assert_eq!(text(&kept), Some("new"));
    assert!(kept.problem.unwrap().contains("forbidden"));

    // What nobody wants any more is not kept.
    values.want(BTreeSet::from([config.clone()]));
    let mut changes = values.changes();
    let forgotten = changes.wait_for(|known| known.get(&token).is_none());
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_cannot_lead_elsewhere() {
    let server = ApiServer::start().await;
    let values = ValueWatch::start(server.client(), PERIOD, Clock::system());
    let crooked = value(Holder::Secret, "../../b/secrets/token", "bearer");
    values.want(BTreeSet::from([crooked.clone()]));
    let refused = until_value(&values, &crooked, |value| value.problem.is_some()).await;
    assert!(refused.problem.unwrap().contains("not a Kubernetes name"));
    assert!(!server.requests().iter().any(|path| path.contains("secrets")));
}

fn hasty() -> WatchTiming {
    WatchTiming {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(100),
        missing_pause: Duration::from_millis(50),
        ..WatchTiming::default()
    }
}

async fn until_work(queues: &QueueWatch, queue: &LocalQueue, expected: (u32, u32)) {
    let sees = |found: &Result<Work, String>| {
        found
            .as_ref()
            .is_ok_and(|work| (work.workloads, work.gpus) == (expected.0, Some(expected.1)))
    };
    until(queues, queue, &format!("{expected:?}"), sees).await;
}

async fn until(
    queues: &QueueWatch,
    queue: &LocalQueue,
    what: &str,
    mut sees: impl FnMut(&Result<Work, String>) -> bool,
) {
    let waiting = async {
        while !sees(&queues.work(queue)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, waiting).await;
    seen.unwrap_or_else(|_| panic!("{queue}: expected {what}, is {:?}", queues.work(queue)));
}

fn kueue_workload(
    name: &str,
    queue: &str,
    pods: u32,
    gpus: u32,
    condition: Option<&str>,
) -> serde_json::Value {
    let conditions: Vec<_> = condition
        .map(|kind| json!({"type": kind, "status": "True"}))
        .into_iter()
        .collect();
    json!({"metadata": {"namespace": "a", "name": name},
        "spec": {"queueName": queue, "podSets": [{"name": "main", "count": pods, "template": {"spec": {
            "containers": [{"name": "x", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}}]}}}]},
        "status": {"conditions": conditions}})
}

#[tokio::test]
async fn only_what_waits_in_a_local_queue_counts() {
    let server = ApiServer::start().await;
    let queue = LocalQueue {
        namespace: "a".into(),
        name: "batch".into(),
    };
    let queues = QueueWatch::start(server.client(), hasty(), Clock::system());
    assert!(queues.work(&queue).is_err(), "unknown is not nothing");
    queues.want(BTreeSet::from([queue.clone()]));
    until(&queues, &queue, "not served", |found| {
        found
            .as_ref()
            .is_err_and(|reason| reason.contains("does not serve"))
    })
    .await;

    // Kueue is installed later.
    server.put(KUEUE_WORKLOADS, kueue_workload("one", "batch", 4, 2, None));
    server.put(KUEUE_WORKLOADS, kueue_workload("other", "elsewhere", 4, 2, None));
    server.put(
        KUEUE_WORKLOADS,
        kueue_workload("runs", "batch", 4, 2, Some("QuotaReserved")),
    );
    server.put(
        KUEUE_WORKLOADS,
        kueue_workload("over", "batch", 4, 2, Some("Finished")),
    );
    server.fix(
        "/apis/kueue.x-k8s.io",
        200,
        json!({"kind": "APIGroup", "versions": [{"groupVersion": "x", "version": "v1beta1"},
            {"groupVersion": "x", "version": "v1beta2"}]}),
    );
    until(&queues, &queue, "no such queue", |found| {
        found
            .as_ref()
            .is_err_and(|reason| reason == "LocalQueue a/batch does not exist")
    })
    .await;
    server.put(
        LOCAL_QUEUES,
        json!({"metadata": {"namespace": "a", "name": "batch"}}),
    );
    until_work(&queues, &queue, (1, 8)).await;
    server.put(KUEUE_WORKLOADS, kueue_workload("two", "batch", 1, 1, None));
    until_work(&queues, &queue, (2, 9)).await;
    server.put(
        KUEUE_WORKLOADS,
        kueue_workload("one", "batch", 4, 2, Some("Admitted")),
    );
    until_work(&queues, &queue, (1, 1)).await;

    // An outage leaves what is known, and its time stops.
    server.set_down(true);
    let mut last = None;
    until(&queues, &queue, "an old time", |found| {
        let as_of = found.as_ref().unwrap().as_of;
        last.replace(as_of) == Some(as_of)
    })
    .await;
    assert_eq!(
        queues.work(&queue).map(|work| (work.workloads, work.gpus)),
        Ok((1, Some(1)))
    );
}
