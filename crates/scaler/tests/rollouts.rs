//! Rollouts with a surge that is within the HPA's tolerance: what it makes of them is not what was asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{PolicyId, ScalingPolicy, Store, Workload};
use rheostat_fleet::Fleet;
use rheostat_policy::{DEFAULT_TOLERANCE, MetricType, hpa_desired};
use rheostat_reading::{Clock, Timestamp};
use rheostat_scaler::{Evaluator, Findings, Sources, WorkloadReport};
use rheostat_steward::Leadership;
use serde_json::{Value, json};
use support::{pod, snapshot, workload};

const REPLICAS: u32 = 30;

/// Looks of the HPA, one each 15 s.
const LOOKS: u32 = 60;

/// What the HPA asks for in a rollout of [`REPLICAS`] that adds one replica to what is asked for and lasts for all its
/// looks, and the last report of the workload. `ready` serve all the time, of which all but one are read, and their GPUs
/// busy to `load`; what is added still loads its model. After `before` seconds without a rollout it begins.
fn rolled_out(trigger: &[(&str, &str)], ready: u32, load: f64, before: u32) -> (Vec<u32>, String) {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_800_000_000_000_000_000));
    let (mut cluster, store) = Store::new();
    cluster.apply_policy(ScalingPolicy {
        id: PolicyId {
            namespace: "team-a".into(),
            name: "chat".into(),
        },
        uid: "uid-chat".into(),
        generation: 1,
        spec: json!({"utilization": "50%"}),
        status: Value::Null,
    });
    let (agent, fleet) = Fleet::by_hand(clock.clone());
    let mut evaluator = Evaluator::default();
    let (mut spec, mut asked, mut report) = (REPLICAS, Vec::new(), String::new());
    for second in 0..before + 15 * LOOKS {
        hand.advance(Duration::from_secs(1));
        let surge = u32::from(second >= before);
        let chat = rolling(trigger, ready, spec, surge);
        let names: Vec<_> = chat.pods.iter().map(|pod| pod.name.clone()).collect();
        let read = names.iter().take(ready as usize - 1);
        let busy: Vec<_> = read.map(|pod| ("team-a", pod.as_str(), load)).collect();
        agent.put(&snapshot("node-1", &busy)).unwrap();
        cluster.apply(chat);
        let sources = Sources {
            cluster: &store.snapshot(),
            fleet: &fleet.view(),
            findings: &Findings::default(),
            leadership: &Leadership::default(),
        };
        let answers = evaluator.evaluate(clock.now(), &sources);
        let state = &answers.workloads()[0];
        report = WorkloadReport::full(state, clock.now()).to_string();
        if second >= before && second % 15 == 14 {
            let value = state.triggers[0].answer.value().unwrap();
            let target = state.triggers[0].evaluation.as_ref().unwrap().target;
            spec = hpa_desired(
                MetricType::AverageValue,
                value,
                target,
                spec + surge,
                ready,
                DEFAULT_TOLERANCE,
            );
            asked.push(spec);
        }
    }
    (asked, report)
}

/// The workload with so many replicas ready, and asked for, and in a surge beyond those.
fn rolling(trigger: &[(&str, &str)], ready: u32, spec: u32, surge: u32) -> Workload {
    let mut chat = workload("team-a", "chat", ready, trigger);
    let target = chat.target.as_mut().unwrap();
    (target.spec_replicas, target.status_replicas) = (spec, spec + surge);
    let starting =
        (ready..spec + surge).map(|place| pod("team-a", &format!("chat-{place}"), Some("node-1"), false));
    chat.pods = chat.pods.iter().cloned().chain(starting.map(Arc::new)).collect();
    chat
}

#[test]
fn a_threshold_that_holds_its_size_does_not_grow_with_a_rollout() {
    let trigger = [("signal", "gpu.utilization"), ("target", "80")];
    let (asked, report) = rolled_out(&trigger, REPLICAS - 1, 0.8, 0);
    assert!(asked.iter().all(|spec| *spec <= 33), "{asked:?}");
    assert!(asked.contains(&REPLICAS), "and comes back: {asked:?}");
    assert!(report.contains("not ready"), "it holds: {report}");
}

#[test]
fn a_policy_that_knows_too_little_does_not_grow_with_a_rollout() {
    // Met long before, so that its load alone would take replicas away.
    let (asked, report) = rolled_out(&[("policy", "chat")], REPLICAS, 0.2, 1200);
    assert!(
        asked.iter().all(|spec| (REPLICAS..=33).contains(spec)),
        "{asked:?}"
    );
    assert!(
        report.contains(
            "30 replicas asked for (the HPA took a rollout's surge for the size, and set 32), 33 created"
        ),
        "{report}"
    );
}
