//! The evaluation by itself: what is remembered between two of them, and that it is a function of its
//! sources and times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_cluster::{Store, Workload};
use rheostat_fleet::Fleet;
use rheostat_policy::{Answer, ErrorKind};
use rheostat_reading::{Clock, Timestamp};
use rheostat_scaler::{Evaluator, Findings, Snapshot, Sources, WorkloadReport};
use rheostat_steward::Leadership;
use support::{snapshot, workload};

const TRIGGER: &[(&str, &str)] = &[
    ("signal", "gpu.utilization"),
    ("target", "80"),
    ("activation", "5"),
    ("grace", "5s"),
];

/// One second of a history: the workload as it stands, and what its pod's GPU does (`None`: the agent
/// is silent).
type Second = (Workload, Option<f64>);

/// The answers to `history`, a second each.
fn answers(history: &[Second]) -> Vec<Answer> {
    let answer = |snapshot: Snapshot| snapshot.workloads()[0].triggers[0].answer.clone();
    snapshots(history).into_iter().map(answer).collect()
}

/// What `history` evaluates to, a second each.
fn snapshots(history: &[Second]) -> Vec<Snapshot> {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000_000));
    let (mut cluster, store) = Store::new();
    let (writer, fleet) = Fleet::by_hand(clock.clone());
    let mut evaluator = Evaluator::default();
    history
        .iter()
        .map(|(workload, utilization)| {
            hand.advance(Duration::from_secs(1));
            cluster.apply(workload.clone());
            if let Some(utilization) = utilization {
                writer
                    .put(&snapshot("node-1", &[("team-a", "chat-0", *utilization)]))
                    .unwrap();
            }
            let sources = Sources {
                cluster: &store.snapshot(),
                fleet: &fleet.view(),
                findings: &Findings::default(),
                leadership: &Leadership::default(),
            };
            evaluator.evaluate(clock.now(), &sources)
        })
        .collect()
}

fn chat(replicas: u32) -> Workload {
    let mut workload = workload("team-a", "chat", replicas, TRIGGER);
    workload.cooldown_period = Duration::from_secs(20);
    workload
}

#[test]
fn a_replay_reaches_the_same_answers_bit_for_bit() {
    let history: Vec<Second> = (0..300u32)
        .map(|second| {
            let load = f64::from(second * 37 % 100) / 100.0;
            let replicas = u32::from(second % 90 < 80);
            (chat(replicas), (second % 50 < 35).then_some(load / 3.0))
        })
        .collect();
    assert_eq!(answers(&history), answers(&history));
}

#[test]
fn after_an_outage_idle_is_said_only_when_it_was_watched() {
    let busy = std::iter::repeat_n((chat(1), Some(0.9)), 5);
    // Silent for longer than staleAfter (5 s) and grace (5 s) together, then idle.
    let silent = std::iter::repeat_n((chat(1), None), 15);
    let idle = std::iter::repeat_n((chat(1), Some(0.0)), 40);
    let answers = answers(&busy.chain(silent).chain(idle).collect::<Vec<_>>());
    assert!(
        answers[..15].iter().all(|answer| answer.active() == Some(true)),
        "known, then held: {answers:?}"
    );
    assert!(matches!(answers[19], Answer::Error { .. }), "{}", answers[19]);
    let first_inactive = answers
        .iter()
        .position(|answer| answer.active() == Some(false))
        .unwrap();
    assert!(
        (40..=42).contains(&first_inactive),
        "20 s after the first sight at 20: {first_inactive}"
    );
}

#[test]
fn an_edited_target_is_no_reason_to_forget() {
    let mut edited = chat(1);
    edited.triggers[0].metadata.insert("target".into(), "70".into());
    edited.generation = 2;
    let idle = std::iter::repeat_n((chat(1), Some(0.0)), 30);
    let answers = answers(&idle.chain([(edited, Some(0.0))]).collect::<Vec<_>>());
    assert_eq!(answers[29].active(), Some(false));
    assert_eq!(answers[30].active(), Some(false), "{}", answers[30]);
}

#[test]
fn a_new_object_of_the_same_name_has_no_past() {
    let mut reborn = chat(1);
    reborn.uid = "another".into();
    let idle = std::iter::repeat_n((chat(1), Some(0.0)), 30);
    let answers = answers(&idle.chain([(reborn, Some(0.0))]).collect::<Vec<_>>());
    assert_eq!(answers[29].active(), Some(false));
    assert_eq!(answers[30].active(), Some(true), "{}", answers[30]);
}

/// A Secret is read a moment after the workload that names it was seen; an error until then could take to zero what
/// KEDA never saw active.
#[test]
fn a_secret_that_was_not_read_yet_is_no_lasting_fault() {
    let trigger = [
        ("signal", "engine.concurrency"),
        ("target", "8"),
        ("bearerTokenSecret", "token/bearer"),
        ("grace", "5s"),
    ];
    let mut chat = workload("team-a", "chat", 2, &trigger);
    let mut pod = (*chat.pods[0]).clone();
    pod.ip = Some([10, 0, 0, 7].into());
    chat.pods = [std::sync::Arc::new(pod)].into();
    let answers = answers(&vec![(chat, None); 8]);
    assert_eq!(
        (answers[0].value(), answers[0].active()),
        (Some(16.0), Some(true)),
        "as many as now: {}",
        answers[0]
    );
    match &answers[7] {
        Answer::Error { kind, reason } => {
            assert_eq!(*kind, ErrorKind::Unavailable);
            assert!(
                reason.contains("Secret team-a/token has not been read yet"),
                "{reason}"
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn at_zero_a_mistyped_annotation_is_no_error_and_is_told_elsewhere() {
    let chat = |replicas: u32| {
        let trigger = [("signal", "manual"), ("target", "1")];
        let mut chat = workload("team-a", "chat", replicas, &trigger);
        let key = rheostat_policy::MANUAL_DEMAND_ANNOTATION;
        chat.annotations.insert(key.to_owned(), "three".to_owned());
        chat
    };
    let snapshots = snapshots(&[(chat(0), None), (chat(2), None)]);
    let told = |snapshot: &Snapshot| {
        let state = &snapshot.workloads()[0];
        let report = WorkloadReport::brief(state, Timestamp::default());
        let mut warnings = report.triggers[0].warnings.iter();
        assert!(warnings.any(|warning| warning.contains("three")), "{report}");
        state.triggers[0].answer.clone()
    };
    assert_eq!(told(&snapshots[0]), Answer::AtZero);
    assert!(matches!(told(&snapshots[1]), Answer::Error { .. }));
}

#[test]
fn a_workload_that_leaves_is_forgotten() {
    let (clock, _) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000_000));
    let (mut cluster, store) = Store::new();
    let (_, fleet) = Fleet::by_hand(clock.clone());
    let mut evaluator = Evaluator::default();
    cluster.apply(chat(0));
    let both = chat(0).id;
    let count = |evaluator: &mut Evaluator| {
        let sources = Sources {
            cluster: &store.snapshot(),
            fleet: &fleet.view(),
            findings: &Findings::default(),
            leadership: &Leadership::default(),
        };
        evaluator.evaluate(clock.now(), &sources).workloads().len()
    };
    assert_eq!(count(&mut evaluator), 1);
    assert_eq!(evaluator.remembered(), 1);
    cluster.remove(&both);
    assert_eq!(count(&mut evaluator), 0);
    assert_eq!(evaluator.remembered(), 0);
}
