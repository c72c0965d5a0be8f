//! The watches against an API server over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{
    Resource, ServiceEndpoint, Snapshot, Store, TargetProblem, WatchGuard, WatchOptions, WatchState,
    WatchTiming, Workload, WorkloadKind, watch_cluster, watch_endpoints,
};
use rheostat_reading::Clock;
use serde_json::{Value, json};
use support::{
    ApiServer, DEPLOYMENTS, ENDPOINT_SLICES, JOBS, PODS, SCALED_JOBS, SCALED_OBJECTS, STATEFUL_SETS, status,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn hasty() -> WatchOptions {
    let millis = Duration::from_millis;
    WatchOptions {
        timing: WatchTiming {
            renew: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            first_pause: millis(20),
            longest_pause: millis(100),
            missing_pause: millis(50),
        },
        scale_period: millis(50),
        coalesce: millis(5),
        ..WatchOptions::default()
    }
}

fn start(server: &ApiServer, options: WatchOptions) -> (Store, WatchGuard) {
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

fn one<'a>(snapshot: &'a Snapshot, namespace: &str, name: &str) -> Option<&'a Arc<Workload>> {
    snapshot.find(namespace, name).first()
}

fn pods_of(snapshot: &Snapshot, namespace: &str, name: &str) -> Vec<String> {
    one(snapshot, namespace, name).map_or_else(Vec::new, |found| {
        found.pods.iter().map(|p| p.name.clone()).collect()
    })
}

fn replicas(snapshot: &Snapshot, namespace: &str, name: &str) -> Option<(u32, u32)> {
    let target = one(snapshot, namespace, name)?.target.as_ref().ok()?;
    Some((target.spec_replicas, target.status_replicas))
}

fn scaled_object(namespace: &str, name: &str, target: &Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "generation": 1},
        "spec": {"scaleTargetRef": target, "triggers": [
            {"type": "external-push", "metadata": {"scalerAddress": "x:6000", "signal": "gpu.utilization"}}]}})
}

fn replicated(namespace: &str, name: &str, app: &str, replicas: u32) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}}}, "status": {"replicas": replicas}})
}

fn pod(namespace: &str, name: &str, app: &str, ready: bool) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": name, "labels": {"app": app}},
        "spec": {"nodeName": "node-1", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

#[tokio::test]
async fn a_workload_is_followed_through_its_life() {
    let server = ApiServer::start().await;
    let (store, _guard) = start(&server, hasty());
    let empty = until(&store, "an empty cluster, synced", |snapshot| snapshot.synced).await;
    assert!(empty.workloads().is_empty());

    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    server.put(PODS, pod("a", "llm-0", "llm", false));
    server.put(PODS, pod("a", "other", "other", true));
    server.put(PODS, pod("b", "llm-elsewhere", "llm", true));
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    let seen = until(&store, "the pod", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["llm-0"]
    })
    .await;
    let workload = one(&seen, "a", "llm").unwrap();
    assert_eq!(workload.id.kind, WorkloadKind::ScaledObject);
    assert_eq!(workload.triggers[0].metadata["signal"], "gpu.utilization");
    assert_eq!(workload.target.as_ref().unwrap().selector, "app=llm");
    assert_eq!(workload.pods[0].node.as_deref(), Some("node-1"));
    assert_eq!(
        (workload.pods[0].gpus_requested, workload.pods[0].ready),
        (1, false)
    );

    server.put(PODS, pod("a", "llm-0", "llm", true));
    until(&store, "ready", |s| {
        one(s, "a", "llm").is_some_and(|found| found.pods.iter().all(|p| p.ready))
    })
    .await;
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 3));
    until(&store, "3 replicas", |snapshot| {
        replicas(snapshot, "a", "llm") == Some((3, 3))
    })
    .await;
    server.put(PODS, pod("a", "llm-1", "llm", false));
    until(&store, "2 pods", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["llm-0", "llm-1"]
    })
    .await;
    server.delete(PODS, "a", "llm-0");
    until(&store, "1 pod", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["llm-1"]
    })
    .await;
    // The selector changes, and with it whose pods they are.
    server.put(DEPLOYMENTS, replicated("a", "llm", "other", 3));
    until(&store, "the other pod", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["other"]
    })
    .await;

    server.delete(DEPLOYMENTS, "a", "llm");
    let gone = until(&store, "no target", |s| {
        one(s, "a", "llm").is_some_and(|found| found.target.is_err())
    })
    .await;
    let workload = one(&gone, "a", "llm").unwrap();
    assert!(
        matches!(workload.target, Err(TargetProblem::NotFound { .. })),
        "{:?}",
        workload.target
    );
    assert!(workload.pods.is_empty());
    server.delete(SCALED_OBJECTS, "a", "llm");
    until(&store, "nothing", |snapshot| snapshot.workloads().is_empty()).await;
    // Nothing of another namespace was even asked for.
    assert!(
        server
            .requests()
            .iter()
            .all(|path| !path.contains("/namespaces/b/"))
    );
}

#[tokio::test]
async fn a_scaled_object_that_stops_being_ours_leaves() {
    let server = ApiServer::start().await;
    let (store, _guard) = start(&server, hasty());
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    until(&store, "it", |snapshot| one(snapshot, "a", "llm").is_some()).await;
    let mut cron = scaled_object("a", "llm", &json!({"name": "llm"}));
    cron["spec"]["triggers"][0]["type"] = json!("cron");
    server.put(SCALED_OBJECTS, cron);
    until(&store, "nothing", |snapshot| snapshot.workloads().is_empty()).await;
}

#[tokio::test]
async fn what_happened_while_a_watch_was_too_old_is_not_missed() {
    let server = ApiServer::start().await;
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 2));
    server.put(PODS, pod("a", "llm-0", "llm", true));
    server.put(PODS, pod("a", "llm-1", "llm", true));
    let (store, _guard) = start(&server, hasty());
    until(&store, "2 pods", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 2
    })
    .await;
    server.delete_unseen(PODS, "a", "llm-0");
    server.expire();
    until(&store, "1 pod", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["llm-1"]
    })
    .await;
    server.put(PODS, pod("a", "llm-2", "llm", true));
    until(&store, "2 pods", |snapshot| {
        pods_of(snapshot, "a", "llm") == ["llm-1", "llm-2"]
    })
    .await;
}

#[tokio::test]
async fn a_bookmark_saves_a_new_list() {
    let server = ApiServer::start().await;
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    let (store, _guard) = start(&server, hasty());
    until(&store, "the target", |snapshot| {
        replicas(snapshot, "a", "llm").is_some()
    })
    .await;
    let watches = |server: &ApiServer| {
        let is_pods = |path: &&String| path.contains("/pods?") && path.contains("watch=true");
        server.requests().iter().filter(is_pods).count()
    };
    wait_for("a watch on pods", || watches(&server) == 1).await;
    server.bookmark();
    // The bookmark is on its way; only then may the watch end.
    server.put(PODS, pod("a", "llm-0", "llm", true));
    until(&store, "the pod", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 1
    })
    .await;
    server.end_watches();
    wait_for("the next watch", || watches(&server) >= 2).await;
    server.put(PODS, pod("a", "llm-1", "llm", true));
    until(&store, "the next pod", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 2
    })
    .await;
    let lists = server
        .requests()
        .iter()
        .filter(|p| p.contains("/pods?") && !p.contains("watch="))
        .count();
    assert_eq!(lists, 1);
}

#[tokio::test]
async fn during_an_outage_what_is_known_stays_and_is_called_old() {
    let server = ApiServer::start().await;
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    server.put(PODS, pod("a", "llm-0", "llm", true));
    let (store, _guard) = start(&server, hasty());
    let good = until(&store, "synced", |snapshot| {
        snapshot.synced && pods_of(snapshot, "a", "llm").len() == 1
    })
    .await;
    assert_eq!(good.health.stale_for(one(&good, "a", "llm").unwrap()), None);

    server.set_down(true);
    let is_broken = |snapshot: &Snapshot| {
        snapshot
            .health
            .iter()
            .all(|(_, state)| matches!(state, WatchState::Broken(_)))
    };
    let down = until(&store, "every watch broken", is_broken).await;
    assert!(down.synced, "known once is known");
    let workload = one(&down, "a", "llm").unwrap();
    assert_eq!(pods_of(&down, "a", "llm"), ["llm-0"]);
    assert_eq!(replicas(&down, "a", "llm"), Some((1, 1)));
    let (_, stale) = down.health.stale_for(workload).unwrap();
    assert!(!stale.reason.is_empty());

    server.put(PODS, pod("a", "llm-1", "llm", true));
    server.set_down(false);
    let back = until(&store, "the new pod", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 2
            && snapshot
                .health
                .iter()
                .all(|(_, state)| *state == WatchState::Current)
    })
    .await;
    assert_eq!(back.health.stale_for(one(&back, "a", "llm").unwrap()), None);
}

#[tokio::test]
async fn a_connection_that_went_dead_without_a_word_is_noticed() {
    let server = ApiServer::start().await;
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    server.put(PODS, pod("a", "llm-0", "llm", true));
    let mut options = hasty();
    options.timing.renew = Duration::from_secs(1);
    options.timing.grace = Duration::from_millis(500);
    let (store, _guard) = start(&server, options);
    until(&store, "the pod", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 1
    })
    .await;
    server.set_frozen(true);
    let dead = until(&store, "every watch broken", |snapshot| {
        snapshot
            .health
            .iter()
            .all(|(_, state)| matches!(state, WatchState::Broken(_)))
    })
    .await;
    assert_eq!(pods_of(&dead, "a", "llm"), ["llm-0"]);
    server.put(PODS, pod("a", "llm-1", "llm", true));
    server.set_frozen(false);
    until(&store, "the new pod", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 2
            && snapshot
                .health
                .iter()
                .all(|(_, state)| *state == WatchState::Current)
    })
    .await;
}

#[tokio::test]
async fn pods_that_may_not_be_listed_are_not_taken_for_none() {
    let server = ApiServer::start().await;
    server.set_forbidden(PODS, true);
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    let (store, _guard) = start(&server, hasty());
    let refused = until(&store, "the refusal", |snapshot| {
        one(snapshot, "a", "llm")
            .is_some_and(|found| matches!(found.target, Err(TargetProblem::Failed { .. })))
    })
    .await;
    let problem = one(&refused, "a", "llm")
        .unwrap()
        .target
        .as_ref()
        .unwrap_err()
        .to_string();
    assert!(problem.contains("forbidden"), "{problem}");
    assert!(!refused.synced);
    server.put(PODS, pod("a", "llm-0", "llm", true));
    server.set_forbidden(PODS, false);
    until(&store, "the pod", |snapshot| {
        snapshot.synced && pods_of(snapshot, "a", "llm") == ["llm-0"]
    })
    .await;
}

#[tokio::test]
async fn only_the_namespaces_asked_for_are_seen() {
    let server = ApiServer::start().await;
    for namespace in ["a", "b", "c"] {
        server.put(
            SCALED_OBJECTS,
            scaled_object(namespace, "llm", &json!({"name": "llm"})),
        );
    }
    let options = WatchOptions {
        namespaces: vec!["a".into(), "c".into()],
        ..hasty()
    };
    let (store, _guard) = start(&server, options);
    let seen = until(&store, "both", |snapshot| {
        snapshot.synced && snapshot.workloads().len() == 2
    })
    .await;
    let namespaces: Vec<_> = seen
        .workloads()
        .iter()
        .map(|found| found.id.namespace.clone())
        .collect();
    assert_eq!(namespaces, ["a", "c"]);
    assert!(
        server
            .requests()
            .iter()
            .all(|path| path.contains("/namespaces/") && !path.contains("/namespaces/b/"))
    );
}

#[tokio::test]
async fn stateful_sets_and_scaled_jobs_are_scale_targets_too() {
    let server = ApiServer::start().await;
    server.put(STATEFUL_SETS, replicated("a", "train", "train", 2));
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "train"});
    server.put(SCALED_OBJECTS, scaled_object("a", "train", &target));
    server.put(PODS, pod("a", "train-0", "train", true));
    let job = |name: &str, done: bool| {
        json!({"metadata": {"namespace": "a", "name": name, "labels": {"scaledjob.keda.sh/name": "batch"}},
            "status": {"conditions": if done { json!([{"type": "Complete", "status": "True"}]) } else { json!([]) }}})
    };
    let mut batch = scaled_object("a", "batch", &Value::Null);
    batch["spec"]["jobTargetRef"] = json!({});
    server.put(SCALED_JOBS, batch);
    server.put(JOBS, job("batch-1", false));
    server.put(JOBS, job("batch-2", false));
    server.put(JOBS, json!({"metadata": {"namespace": "a", "name": "unrelated"}}));
    let mut worker = pod("a", "batch-1-x", "none", true);
    worker["metadata"]["labels"] = json!({"scaledjob.keda.sh/name": "batch"});
    server.put(PODS, worker);
    let (store, _guard) = start(&server, hasty());
    let seen = until(&store, "both", |s| {
        replicas(s, "a", "batch") == Some((2, 2)) && s.synced
    })
    .await;
    assert_eq!(replicas(&seen, "a", "train"), Some((2, 2)));
    assert_eq!(pods_of(&seen, "a", "train"), ["train-0"]);
    assert_eq!(pods_of(&seen, "a", "batch"), ["batch-1-x"]);
    assert_eq!(one(&seen, "a", "batch").unwrap().id.kind, WorkloadKind::ScaledJob);
    server.put(JOBS, job("batch-1", true));
    until(&store, "one job less", |snapshot| {
        replicas(snapshot, "a", "batch") == Some((1, 1))
    })
    .await;
}

#[tokio::test]
async fn a_kind_with_a_scale_subresource_is_read_through_it() {
    let server = ApiServer::start().await;
    let path = "/apis/serving.example/v1/namespaces/a/servers/llm/scale";
    let scale = |replicas: u32| {
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "llm", "namespace": "a"},
            "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=llm,tier in (gpu)"}})
    };
    let resources = |resources: Value| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "serving.example/v1", "resources": resources});
    let server_kind = json!({"name": "servers", "singularName": "server", "namespaced": true, "kind": "Server", "verbs": ["get"]});
    let plain_kind = json!({"name": "notes", "singularName": "note", "namespaced": true, "kind": "Note", "verbs": ["get"]});
    let scale_kind = json!({"name": "servers/scale", "singularName": "", "namespaced": true, "kind": "Scale",
        "group": "autoscaling", "version": "v1", "verbs": ["get"]});
    server.fix(
        "/apis/serving.example/v1",
        200,
        resources(json!([server_kind, scale_kind, plain_kind])),
    );
    server.fix(path, 200, scale(2));
    let mut llm = pod("a", "llm-0", "llm", true);
    llm["metadata"]["labels"]["tier"] = json!("gpu");
    server.put(PODS, llm);
    let target =
        |kind: &str, name: &str| json!({"apiVersion": "serving.example/v1", "kind": kind, "name": name});
    server.put(
        SCALED_OBJECTS,
        scaled_object("a", "llm", &target("Server", "llm")),
    );
    server.put(SCALED_OBJECTS, scaled_object("a", "note", &target("Note", "x")));
    server.put(SCALED_OBJECTS, scaled_object("a", "what", &target("What", "x")));
    server.put(
        SCALED_OBJECTS,
        scaled_object("a", "sly", &target("Server", "../../../b/servers/llm")),
    );
    let (store, _guard) = start(&server, hasty());
    let seen = until(&store, "all of them", |snapshot| {
        snapshot.synced && snapshot.workloads().len() == 4
    })
    .await;
    assert_eq!(replicas(&seen, "a", "llm"), Some((2, 2)));
    assert_eq!(pods_of(&seen, "a", "llm"), ["llm-0"]);
    let problem = |name: &str| one(&seen, "a", name).unwrap().target.clone().unwrap_err();
    assert!(
        matches!(problem("note"), TargetProblem::NotScalable { .. }),
        "{:?}",
        problem("note")
    );
    assert!(
        matches!(problem("what"), TargetProblem::UnknownKind { .. }),
        "{:?}",
        problem("what")
    );
    assert!(
        matches!(problem("sly"), TargetProblem::Reference(_)),
        "{:?}",
        problem("sly")
    );

    server.fix(path, 200, scale(5));
    until(&store, "5 replicas", |snapshot| {
        replicas(snapshot, "a", "llm") == Some((5, 5))
    })
    .await;
    server.fix(path, 500, status(500, "InternalError", "etcd is away"));
    let is_stale = |s: &Snapshot| {
        one(s, "a", "llm")
            .is_some_and(|found| found.target.as_ref().is_ok_and(|target| target.stale.is_some()))
    };
    let stale = until(&store, "it called stale", is_stale).await;
    assert_eq!(
        (replicas(&stale, "a", "llm"), pods_of(&stale, "a", "llm").len()),
        (Some((5, 5)), 1)
    );
    server.fix(path, 200, scale(6));
    let back = until(&store, "6 replicas", |snapshot| {
        replicas(snapshot, "a", "llm") == Some((6, 6))
    })
    .await;
    assert!(!is_stale(&back));
    server.fix(path, 404, status(404, "NotFound", "servers \"llm\" not found"));
    until(&store, "it gone", |s| {
        one(s, "a", "llm").is_some_and(|found| matches!(found.target, Err(TargetProblem::NotFound { .. })))
    })
    .await;
}

#[tokio::test]
async fn a_cluster_without_scaled_jobs_is_fine_until_it_has_some() {
    let server = ApiServer::start().await;
    server.set_missing(SCALED_JOBS, true);
    let (store, _guard) = start(&server, hasty());
    let synced = until(&store, "synced", |snapshot| snapshot.synced).await;
    let state = |snapshot: &Snapshot| {
        let jobs = snapshot
            .health
            .iter()
            .find(|(watch, _)| watch.resource == Resource::ScaledJobs);
        jobs.map(|(_, state)| state.clone())
    };
    assert_eq!(state(&synced), Some(WatchState::Missing));
    server.put(SCALED_JOBS, scaled_object("a", "batch", &Value::Null));
    server.set_missing(SCALED_JOBS, false);
    let found = until(&store, "the ScaledJob", |snapshot| {
        one(snapshot, "a", "batch").is_some()
    })
    .await;
    assert_eq!(state(&found), Some(WatchState::Current));
}

#[tokio::test]
async fn a_scaled_object_that_cannot_be_read_does_not_spoil_the_others() {
    let server = ApiServer::start().await;
    let mut bad = scaled_object("a", "bad", &json!({"name": "llm"}));
    bad["spec"]["minReplicaCount"] = json!("many");
    server.put(SCALED_OBJECTS, bad);
    server.put(
        SCALED_OBJECTS,
        scaled_object("b", "good", &json!({"name": "llm"})),
    );
    let (store, _guard) = start(&server, hasty());
    let seen = until(&store, "the good one", |snapshot| {
        one(snapshot, "b", "good").is_some()
    })
    .await;
    assert_eq!(seen.workloads().len(), 1);
}

#[tokio::test]
async fn long_lists_arrive_whole() {
    let server = ApiServer::start().await;
    server.put(SCALED_OBJECTS, scaled_object("a", "llm", &json!({"name": "llm"})));
    server.put(DEPLOYMENTS, replicated("a", "llm", "llm", 1));
    for number in 0..1203 {
        server.put(PODS, pod("a", &format!("llm-{number:04}"), "llm", true));
    }
    let (store, _guard) = start(&server, hasty());
    until(&store, "1203 pods", |snapshot| {
        pods_of(snapshot, "a", "llm").len() == 1203
    })
    .await;
    let lists = server
        .requests()
        .iter()
        .filter(|p| p.contains("/pods?") && !p.contains("watch="))
        .count();
    assert_eq!(lists, 3, "pages of 500");
}

#[tokio::test]
async fn endpoints_of_a_service_come_and_go() {
    let server = ApiServer::start().await;
    let slice = |name: &str, service: &str, addresses: &[(&str, &str)]| {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|(address, node)| json!({"addresses": [address], "nodeName": node, "conditions": {"ready": false}}))
            .collect();
        json!({"metadata": {"namespace": "rheostat", "name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "grpc", "port": 6001}], "endpoints": endpoints})
    };
    server.put(
        ENDPOINT_SLICES,
        slice("agents-1", "agents", &[("10.0.0.1", "node-1")]),
    );
    server.put(
        ENDPOINT_SLICES,
        slice("others-1", "others", &[("10.0.0.9", "node-9")]),
    );
    let timing = hasty().timing;
    let mut watch = watch_endpoints(
        server.client(),
        "rheostat",
        "agents",
        "grpc",
        timing,
        Clock::system(),
    );
    let endpoint = |address: &str, node: &str| ServiceEndpoint {
        address: address.into(),
        node_name: Some(node.into()),
    };
    let mut wait = async |wanted: Vec<ServiceEndpoint>| {
        let seen = tokio::time::timeout(PATIENCE, watch.endpoints.wait_for(|found| *found == wanted)).await;
        drop(seen.unwrap_or_else(|_| panic!("never saw {wanted:?}")).unwrap());
    };
    wait(vec![endpoint("10.0.0.1:6001", "node-1")]).await;
    server.put(
        ENDPOINT_SLICES,
        slice("agents-2", "agents", &[("10.0.0.2", "node-2")]),
    );
    let both = vec![
        endpoint("10.0.0.1:6001", "node-1"),
        endpoint("10.0.0.2:6001", "node-2"),
    ];
    wait(both.clone()).await;
    server.delete(ENDPOINT_SLICES, "rheostat", "agents-1");
    wait(vec![endpoint("10.0.0.2:6001", "node-2")]).await;
    server.set_down(true);
    let broken = watch
        .state
        .wait_for(|state| matches!(state, WatchState::Broken(_)));
    drop(tokio::time::timeout(PATIENCE, broken).await.unwrap().unwrap());
    assert_eq!(watch.endpoints.borrow().len(), 1, "the last ones stay");
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never saw {what}"));
}
