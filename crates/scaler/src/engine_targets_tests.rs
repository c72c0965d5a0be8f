use std::collections::BTreeMap;
use std::time::Duration;

use rheostat_cluster::{ContainerPort, HpaTolerances, TargetProblem, WorkloadId, WorkloadKind};
use rheostat_reading::Timestamp;

use super::*;

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "a".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node: Some("node-1".into()),
        phase: PodPhase::Running,
        ready: true,
        terminating: false,
        created_at: Timestamp::default(),
        scheduled_at: None,
        started_at: None,
        ready_since: None,
        unready_since: None,
        gpus_requested: 1,
        resource_claims: 0,
        host_network: false,
        ip: Some([10, 0, 0, 7].into()),
        ports: vec![declared_port("http", 8000)],
        annotations: BTreeMap::new(),
    }
}

fn declared_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        port,
    }
}

fn workload(pods: Vec<Pod>) -> Workload {
    Workload {
        id: WorkloadId {
            namespace: "a".into(),
            name: "chat".into(),
            kind: WorkloadKind::ScaledObject,
        },
        uid: "u".into(),
        generation: 1,
        triggers: Vec::new(),
        other_triggers: 0,
        min_replicas: 0,
        max_replicas: 8,
        idle_replicas: None,
        polling_interval: Duration::from_secs(10),
        cooldown_period: Duration::from_secs(300),
        paused: false,
        annotations: BTreeMap::new(),
        tolerances: HpaTolerances::default(),
        scale_down_stabilization: None,
        target: Err(TargetProblem::NotYet { what: "it" }),
        pods: pods.into_iter().map(Arc::new).collect(),
    }
}

/// The one target of `pod`, or why there is none.
fn target_of(pod: Pod, selection: &EngineSelection) -> Result<Arc<Target>, Unseen> {
    let targets = pod_targets(&workload(vec![pod]), selection, &Values::default());
    let [only] = targets.as_slice() else {
        panic!("{targets:?}");
    };
    only.target.clone().map(|(_, target)| target)
}

/// The port that is asked, or why none is, which waiting does not cure.
fn port_of(pod: Pod, selection: &EngineSelection) -> Result<u16, String> {
    let target = target_of(pod, selection).map_err(reason)?;
    Ok(target.endpoint.address.port())
}

fn reason(unseen: Unseen) -> String {
    match unseen {
        Unseen::EngineUnreachable { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn named(engine: Engine) -> EngineSelection {
    EngineSelection {
        engine: EngineSource::Named(engine),
        ..EngineSelection::default()
    }
}

#[test]
fn the_port_is_the_triggers_then_the_annotations_then_the_usual_one() {
    let mut two = pod("x");
    two.ports.push(declared_port("metrics", 9000));
    let with = |port| EngineSelection {
        port: Some(port),
        ..named(Engine::Vllm)
    };
    assert_eq!(port_of(two.clone(), &with(EnginePort::Number(77))), Ok(77));
    assert_eq!(
        port_of(two.clone(), &with(EnginePort::Named("metrics".into()))),
        Ok(9000)
    );
    let missing = port_of(two.clone(), &with(EnginePort::Named("web".into()))).unwrap_err();
    assert_eq!(
        missing,
        "the pod has no TCP port named \"web\"; it has http (8000), metrics (9000)"
    );

    assert_eq!(
        port_of(two.clone(), &named(Engine::Vllm)),
        Ok(8000),
        "the usual one"
    );
    assert_eq!(
        port_of(two.clone(), &EngineSelection::default()),
        Ok(8000),
        "the only usual one"
    );
    let cannot = port_of(two.clone(), &named(Engine::Sglang)).unwrap_err();
    assert!(cannot.contains("set the trigger's `port`"), "{cannot}");

    two.annotations
        .insert("prometheus.io/port".into(), "metrics".into());
    assert_eq!(port_of(two.clone(), &named(Engine::Vllm)), Ok(9000));
    two.annotations
        .insert("rheostat.dev/engine-port".into(), "7000".into());
    assert_eq!(
        port_of(two.clone(), &named(Engine::Vllm)),
        Ok(7000),
        "ours comes first"
    );
    two.annotations
        .insert("rheostat.dev/engine-port".into(), "0".into());
    assert!(
        port_of(two, &named(Engine::Vllm))
            .unwrap_err()
            .contains("rheostat.dev/engine-port")
    );
}

#[test]
fn a_pod_that_declares_one_port_means_it_and_one_that_declares_none_means_the_usual() {
    let mut odd = pod("x");
    odd.ports = vec![declared_port("http", 1234)];
    assert_eq!(port_of(odd.clone(), &named(Engine::Sglang)), Ok(1234));
    odd.ports.clear();
    assert_eq!(port_of(odd.clone(), &named(Engine::Sglang)), Ok(30000));
    assert!(port_of(odd, &EngineSelection::default()).is_err());
}

#[test]
fn a_path_of_a_pod_is_a_path() {
    let mut pod = pod("x");
    pod.annotations
        .insert("prometheus.io/path".into(), "/custom/metrics".into());
    let target = target_of(pod.clone(), &named(Engine::Vllm)).unwrap();
    assert_eq!(target.endpoint.path.as_deref(), Some("/custom/metrics"));
    for bad in ["http://elsewhere/", "x", "/a b", "/a\r\nHost: b"] {
        pod.annotations.insert("prometheus.io/path".into(), bad.into());
        let refused = reason(target_of(pod.clone(), &named(Engine::Vllm)).unwrap_err());
        assert!(refused.contains("prometheus.io/path"), "{refused}");
    }
}

#[test]
fn a_path_that_was_written_for_another_port_is_not_asked_of_this_one() {
    let mut meshed = pod("x");
    for (key, value) in [("port", "15020"), ("path", "/stats/prometheus")] {
        meshed
            .annotations
            .insert(format!("prometheus.io/{key}"), value.into());
    }
    let of = |selection: &EngineSelection| {
        let target = target_of(meshed.clone(), selection).unwrap();
        (target.endpoint.address.port(), target.endpoint.path.clone())
    };
    assert_eq!(
        of(&named(Engine::Vllm)),
        (15020, Some("/stats/prometheus".to_owned()))
    );
    let own = EngineSelection {
        port: Some(EnginePort::Number(8000)),
        ..named(Engine::Vllm)
    };
    assert_eq!(of(&own), (8000, None));
}

#[test]
fn on_its_nodes_network_a_pod_is_asked_only_where_it_says_it_listens() {
    let mut pod = pod("x");
    pod.host_network = true;
    assert_eq!(port_of(pod.clone(), &named(Engine::Vllm)), Ok(8000));
    let kubelet = EngineSelection {
        port: Some(EnginePort::Number(10250)),
        ..named(Engine::Vllm)
    };
    let refused = port_of(pod, &kubelet).unwrap_err();
    assert!(refused.contains("10250 is none of http (8000)"), "{refused}");
}

#[test]
fn pods_that_cannot_answer_are_not_asked() {
    let mut pending = pod("pending");
    pending.phase = PodPhase::Pending;
    let mut leaving = pod("leaving");
    leaving.terminating = true;
    let mut starting = pod("starting");
    starting.ready = false;
    let mut nameless = pod("no-address");
    nameless.ip = None;
    let workload = workload(vec![leaving, nameless, pending, starting]);
    let targets = pod_targets(&workload, &named(Engine::Vllm), &Values::default());
    let asked: Vec<_> = targets
        .iter()
        .map(|one| (one.pod.as_str(), one.target.is_ok()))
        .collect();
    assert_eq!(
        asked,
        [("no-address", false), ("starting", true)],
        "a starting one is asked before it is ready"
    );
}

#[test]
fn a_secret_that_cannot_be_read_is_named() {
    let key = ObjectKey {
        name: "token".into(),
        key: "bearer".into(),
    };
    let selection = EngineSelection {
        bearer_token: Some(key),
        ..named(Engine::Vllm)
    };
    let wanted: Vec<_> = value_refs("a", &selection).collect();
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].namespace, "a", "only the workload's own namespace");
    let unread = target_of(pod("x"), &selection).unwrap_err();
    let reason = "key \"bearer\" of Secret a/token has not been read yet".to_owned();
    assert_eq!(unread, Unseen::EngineNotKnown { reason });

    let values = Values::by_hand([(wanted[0].clone(), "abc\n".into())], Timestamp::default());
    let targets = pod_targets(&workload(vec![pod("x")]), &selection, &values);
    let (_, target) = targets[0].target.clone().unwrap();
    assert_eq!(
        target.endpoint.bearer.as_ref().map(Secret::reveal),
        Some("abc"),
        "without the line's end"
    );
}

#[test]
fn equal_wishes_have_equal_names() {
    let id = |selection: &EngineSelection| target_of(pod("x"), selection).unwrap().id();
    let vllm = named(Engine::Vllm);
    assert_eq!(id(&vllm), id(&vllm.clone()));
    let other = EngineSelection {
        window: Duration::from_secs(30),
        ..vllm.clone()
    };
    assert_ne!(id(&vllm), id(&other));
}

#[test]
fn a_custom_engine_is_read_however_it_is_spelled() {
    let custom = |text: &str| EngineSelection {
        engine: EngineSource::Inline(text.into()),
        port: Some(EnginePort::Number(9000)),
        ..EngineSelection::default()
    };
    let one = target_of(pod("x"), &custom("waiting: { metric: my_queue }")).unwrap();
    let same = target_of(pod("x"), &custom(r#"{"waiting": {"metric": "my_queue"}}"#)).unwrap();
    assert_eq!(one.id(), same.id());
    let wrong = reason(target_of(pod("x"), &custom("wating: { metric: my_queue }")).unwrap_err());
    assert!(
        wrong.contains("the custom engine") && wrong.contains("wating"),
        "{wrong}"
    );
}
