//! What is written, against an API server in the process; time is paused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use rheostat_reading::Ratio;
use rheostat_sizing::{Learned, Outcome};
use rheostat_steward::{decode_learned, encode_learned};
use serde_json::{Value, json};
use support::{ApiServer, Scaler, decision, pass, report, report_over};

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array().unwrap();
    all.iter().find(|condition| condition["type"] == kind).unwrap()
}

async fn leader(server: &ApiServer) -> Scaler {
    let scaler = Scaler::start(server, "a");
    scaler.until_leads().await;
    scaler
}

#[tokio::test(start_paused = true)]
async fn a_status_says_what_is_decided_and_why() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    scaler.report(vec![report(Ok(decision(4, "four are needed")))]);
    pass(1.0).await;
    let statuses = server.statuses();
    let [status] = statuses.as_slice() else {
        panic!("{statuses:?}");
    };
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(status["leader"], server.lease()["spec"]["holderIdentity"]);
    assert_eq!(status["desired"], 4);
    assert_eq!(status["why"], "four are needed");
    assert_eq!(status["attainment"], "99.50%");
    let workload = &status["workloads"][0];
    assert_eq!(workload["name"], "chat");
    assert_eq!(
        (&workload["desired"], &workload["active"]),
        (&json!(4), &json!(true))
    );
    assert_eq!(condition(status, "Ready")["status"], "True");
    assert_eq!(condition(status, "Limited")["status"], "False");
    let (_, body) = server.changes("/status").remove(0);
    assert_eq!(
        body["metadata"]["uid"], "policy-uid",
        "never that of another object"
    );
}

#[tokio::test(start_paused = true)]
async fn a_count_is_written_at_once_and_figures_once_a_minute() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    for step in 0..120 {
        let mut decision = decision(if step < 60 { 4 } else { 5 }, "by need");
        decision.figures.attainment = Some(Ratio(0.99 + f64::from(step) / 1e5));
        scaler.report(vec![report(Ok(decision))]);
        pass(1.0).await;
    }
    let statuses = server.statuses();
    let counts: Vec<_> = statuses
        .iter()
        .map(|status| status["desired"].as_u64().unwrap())
        .collect();
    assert!(counts.len() <= 4, "{counts:?}");
    assert!(counts.starts_with(&[4]) && counts.ends_with(&[5]), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_count_that_flaps_is_written_once_a_second() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    for step in 0..100 {
        scaler.report(vec![report(Ok(decision(4 + step % 2, "by need")))]);
        pass(0.1).await;
    }
    let written = server.statuses().len();
    assert!((2..=11).contains(&written), "{written} in 10 s");
}

#[tokio::test(start_paused = true)]
async fn what_stands_there_already_is_not_written_again_but_for_who_leads() {
    let server = ApiServer::default();
    let first = leader(&server).await;
    first.report(vec![report(Ok(decision(4, "by need")))]);
    pass(1.0).await;
    first.shutdown.cancel();
    first.steward.finished().await.unwrap();
    let status = server.statuses().remove(0);
    let second = leader(&server).await;
    second.report(vec![report_over(status, Ok(decision(4, "by need")), None)]);
    pass(300.0).await;
    // Who follows must know that the count is the word of who leads now.
    let mut statuses = server.statuses();
    assert_eq!(statuses.len(), 2);
    let leaders = [0, 1].map(|at: usize| statuses[at]["leader"].take());
    assert_ne!(leaders[0], leaders[1]);
    assert!(leaders[1].as_str().unwrap().starts_with("a_"), "{leaders:?}");
    assert_eq!(statuses[0], statuses[1]);
    assert!(server.changes("/events").is_empty(), "nor told again");
}

#[tokio::test(start_paused = true)]
async fn conditions_keep_the_time_of_their_last_change() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    scaler.report(vec![report(Ok(decision(4, "by need")))]);
    pass(10.0).await;
    let unknown = || {
        let mut unknown = decision(4, "by need");
        unknown.outcome = Outcome::Unknown {
            reason: "only 1 of 4 ready pods are known".into(),
        };
        unknown
    };
    scaler.report(vec![report(Ok(unknown()))]);
    pass(10.0).await;
    scaler.report(vec![report(Err("the engine is not known"))]);
    pass(10.0).await;
    let statuses = server.statuses();
    let ready: Vec<_> = statuses.iter().map(|status| condition(status, "Ready")).collect();
    assert_eq!(ready.len(), 3);
    assert_eq!(ready[1]["reason"], "WorkloadUnknown");
    assert_eq!(ready[1]["message"], "chat: only 1 of 4 ready pods are known");
    let unknown = |at: usize| &statuses[at]["workloads"][0]["unknown"];
    assert_eq!(*unknown(0), Value::Null);
    assert_eq!(*unknown(1), "only 1 of 4 ready pods are known");
    assert_eq!(ready[2]["reason"], "Undecided");
    assert_eq!(ready[2]["message"], "chat: the engine is not known");
    let since = |at: usize| ready[at]["lastTransitionTime"].as_str().unwrap();
    assert!(since(0) < since(1), "{ready:?}");
    assert_eq!(since(1), since(2), "it was not ready before either");
    assert_eq!(
        statuses[2]["desired"],
        Value::Null,
        "taken away, not left standing"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_write_tries_less_and_less_often() {
    let server = ApiServer::default();
    server.forbid("/status");
    let scaler = leader(&server).await;
    scaler.report(vec![report(Ok(decision(4, "by need")))]);
    pass(600.0).await;
    let failures = scaler.steward.stats().status_failures.get();
    assert!((8..=30).contains(&failures), "{failures} in ten minutes");
    server.allow("/status");
    pass(61.0).await;
    assert_eq!(server.statuses().len(), 1);
    assert_eq!(scaler.steward.stats().statuses.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    server.conflict("/status");
    scaler.report(vec![report(Ok(decision(4, "by need")))]);
    pass(5.0).await;
    assert_eq!(scaler.steward.stats().status_failures.get(), 1);
    assert_eq!(scaler.steward.stats().statuses.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_written_in_spite_of_an_error_is_written_over() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    scaler.report(vec![report(Ok(decision(4, "by need")))]);
    pass(5.0).await;
    server.lose_answer("/status");
    scaler.report(vec![report(Ok(decision(9, "by need")))]);
    pass(0.5).await;
    // Before it is tried again, the count is back at what was written last as far as the scaler knows.
    scaler.report(vec![report(Ok(decision(4, "by need")))]);
    pass(5.0).await;
    let counts: Vec<_> = server
        .statuses()
        .iter()
        .map(|status| status["desired"].clone())
        .collect();
    assert_eq!(counts, [4, 9, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_is_kept_and_written_now_and_then_and_at_the_end() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    let before = "v1:what another scaler wrote";
    let status = json!({"workloads": [{"name": "chat", "gpus": 8.0, "learned": before}]});
    let learned = Some(Arc::new(Learned::default()));
    let reports = |learned| vec![report_over(status.clone(), Ok(decision(4, "by need")), learned)];
    scaler.report(reports(learned.clone()));
    pass(5.0).await;
    let written = |at: usize| server.statuses()[at]["workloads"][0]["learned"].clone();
    assert_eq!(written(0), before, "kept until there is more");
    assert_eq!(server.statuses()[0]["workloads"][0]["gpus"], 8.0, "of no pod now");
    for _ in 0..400 {
        scaler.report(reports(learned.clone()));
        pass(1.0).await;
    }
    assert_eq!(server.statuses().len(), 2);
    let text = written(1);
    assert_eq!(
        decode_learned(text.as_str().unwrap()).unwrap(),
        Learned::default()
    );
    // What is learned in the last minutes goes out with the scaler.
    let newest: Learned =
        serde_json::from_value(json!({"ledger": {"minutes": [[28_333_333, 0.5]], "hours": [],
        "at": null, "gpus": 4.0, "counts": []}}))
        .unwrap();
    scaler.report(reports(Some(Arc::new(newest.clone()))));
    pass(1.0).await;
    assert_eq!(server.statuses().len(), 2);
    scaler.shutdown.cancel();
    scaler.steward.finished().await.unwrap();
    assert_eq!(written(2), encode_learned(&newest).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_changed_count_is_an_event_and_the_same_again_is_one_more_of_it() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    scaler.report(vec![report(Ok(decision(5, "five are needed")))]);
    pass(2.0).await;
    assert!(server.changes("/events").is_empty(), "nothing is known of before");
    for count in [7, 5, 7] {
        scaler.report(vec![report(Ok(decision(count, "by need")))]);
        pass(2.0).await;
    }
    let events = server.changes("/events");
    let (method, event) = &events[0];
    assert_eq!(method, hyper::Method::POST);
    assert_eq!(event["note"], "7 replicas (was 5): by need");
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&json!("Normal"), &json!("ReplicasDecided"))
    );
    let regarding = &event["regarding"];
    assert_eq!(regarding["kind"], "ScaledObject");
    assert_eq!(
        (&regarding["name"], &regarding["uid"]),
        (&json!("chat"), &json!("object-uid"))
    );
    assert_eq!(events[1].1["note"], "5 replicas (was 7): by need");
    let (method, again) = &events[2];
    assert_eq!(method, hyper::Method::PATCH);
    assert_eq!(again["series"]["count"], 2);
    assert_eq!(scaler.steward.stats().events.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_too_many_events() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    for count in 0..100 {
        scaler.report(vec![report(Ok(decision(count, "by need")))]);
        pass(0.5).await;
    }
    let events = server.changes("/events").len();
    assert!((10..=12).contains(&events), "{events}");
    assert!(scaler.steward.stats().events_dropped.get() >= 87);
}

#[tokio::test(start_paused = true)]
async fn warnings_come_once_for_what_somebody_should_look_at() {
    let server = ApiServer::default();
    let scaler = leader(&server).await;
    let warnings = || {
        let all = server.changes("/events").into_iter();
        let warned = all.filter(|(_, event)| event["type"] == "Warning");
        warned
            .map(|(_, event)| {
                let text = |key: &str| event[key].as_str().unwrap().to_owned();
                (text("reason"), text("note"))
            })
            .collect::<Vec<_>>()
    };
    let invalid = |problem: &str| {
        let mut report = report(Err("its policy means nothing"));
        report.problem = Some(problem.into());
        vec![report]
    };
    for _ in 0..10 {
        scaler.report(invalid("spec.concurrency is 0; allowed: 0.01 to 1000000"));
        pass(1.0).await;
    }
    let [(reason, note)] = &warnings()[..] else {
        panic!("{:?}", warnings());
    };
    assert_eq!(reason, "PolicyInvalid");
    assert_eq!(note, "spec.concurrency is 0; allowed: 0.01 to 1000000");
    let status = server.statuses().pop().unwrap();
    assert_eq!(condition(&status, "Ready")["reason"], "Invalid");
    assert_eq!(condition(&status, "Learned")["status"], "Unknown");
    pass(400.0).await;
    scaler.report(invalid("spec.concurrency is 0; allowed: 0.01 to 1000000"));
    pass(2.0).await;
    assert_eq!(warnings()[1].0, "WorkloadUnknown");
    assert_eq!(warnings().len(), 2);
    let over = || {
        let mut over = decision(3, "by need");
        over.figures.budget_left = Some(Ratio(-0.01));
        vec![report(Ok(over))]
    };
    scaler.report(over());
    pass(2.0).await;
    scaler.report(over());
    pass(2.0).await;
    assert_eq!(warnings()[2].0, "BudgetExceeded");
    assert_eq!(warnings().len(), 3);
    let status = server.statuses().pop().unwrap();
    assert_eq!(condition(&status, "BudgetExceeded")["status"], "True");
    assert_eq!(status["workloads"][0]["budgetLeft"], "-1%");
}
