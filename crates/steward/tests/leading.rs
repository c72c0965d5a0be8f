//! Who leads, against an API server in the process; time is paused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use rheostat_steward::Leadership;
use support::{ApiServer, Scaler, decision, pass, report};

#[tokio::test(start_paused = true)]
async fn of_two_exactly_one_leads_and_writes() {
    let server = ApiServer::default();
    let two = [Scaler::start(&server, "a"), Scaler::start(&server, "b")];
    for scaler in &two {
        scaler.report(vec![report(Ok(decision(2, "two")))]);
    }
    pass(30.0).await;
    let leader = two.iter().position(Scaler::leads).unwrap();
    let other = two[1 - leader].leadership();
    let Leadership::Following { leader: name, .. } = other else {
        panic!("{other:?}");
    };
    let pod = if leader == 0 { "a_" } else { "b_" };
    assert!(name.starts_with(pod), "{name}");
    let lease = server.lease();
    assert_eq!(lease["spec"]["holderIdentity"].as_str(), Some(&*name));
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(server.statuses().len(), 1, "one status, written once");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_gives_up_before_another_leads() {
    let server = ApiServer::default();
    let first = Scaler::start(&server, "a");
    first.until_leads().await;
    let second = Scaler::start(&server, "b");
    pass(20.0).await;
    assert!(first.leads() && !second.leads());
    first.cut.send_replace(true);
    let mut waited = 0.0;
    while !second.leads() {
        assert!(waited < 20.0, "nobody took over: {:?}", second.leadership());
        pass(0.1).await;
        waited += 0.1;
        assert!(!(first.leads() && second.leads()), "two lead after {waited} s");
    }
    assert!(
        waited > 12.0,
        "taken over after {waited} s, before the lease had run out"
    );
    // Back again, it follows.
    first.cut.send_replace(false);
    pass(10.0).await;
    let now = first.leadership();
    assert!(
        matches!(&now, Leadership::Following { leader, .. } if leader.starts_with("b_")),
        "{now:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_the_lease_back() {
    let server = ApiServer::default();
    let first = Scaler::start(&server, "a");
    first.until_leads().await;
    let second = Scaler::start(&server, "b");
    pass(5.0).await;
    first.shutdown.cancel();
    let leadership = first.steward.leadership();
    first.steward.finished().await.unwrap();
    assert!(!leadership.borrow().leads());
    pass(2.5).await;
    assert!(second.leads(), "{:?}", second.leadership());
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn who_follows_takes_nothing_with_it() {
    let server = ApiServer::default();
    let first = Scaler::start(&server, "a");
    first.until_leads().await;
    let second = Scaler::start(&server, "b");
    pass(5.0).await;
    second.shutdown.cancel();
    second.steward.finished().await.unwrap();
    let holder = server.lease()["spec"]["holderIdentity"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(holder.starts_with("a_"), "{holder}");
    assert!(first.leads());
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_no_failure() {
    let server = ApiServer::default();
    server.conflict("/leases");
    let scaler = Scaler::start(&server, "a");
    pass(0.5).await;
    assert!(!scaler.leads());
    scaler.until_leads().await;
    server.conflict("/leases");
    pass(9.0).await;
    assert!(scaler.leads());
    assert_eq!(scaler.steward.stats().lease_failures.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_have_a_lease_decides_alone_and_tries_again() {
    let server = ApiServer::default();
    server.forbid("/leases");
    let scaler = Scaler::start(&server, "a");
    scaler.report(vec![report(Ok(decision(2, "two")))]);
    pass(5.0).await;
    let Leadership::Alone { reason } = scaler.leadership() else {
        panic!("{:?}", scaler.leadership());
    };
    assert!(
        reason.contains("rheostat-scaler") && reason.contains("forbidden"),
        "{reason}"
    );
    assert!(scaler.steward.stats().lease_failures.get() > 0);
    assert_eq!(server.statuses().len(), 1);
    server.allow("/leases");
    pass(3.0).await;
    assert!(matches!(scaler.leadership(), Leadership::Leading { .. }));
}

#[tokio::test(start_paused = true)]
async fn without_a_namespace_it_is_alone() {
    let server = ApiServer::default();
    let scaler = Scaler::in_namespace(&server, "a", None);
    scaler.report(vec![report(Ok(decision(2, "two")))]);
    pass(1.0).await;
    assert!(matches!(scaler.leadership(), Leadership::Alone { .. }));
    assert_eq!(server.statuses().len(), 1);
    assert!(server.changes("/leases").is_empty());
}

#[tokio::test]
async fn it_works_over_a_socket_too() {
    let server = ApiServer::default();
    let client = server.listen().await;
    let (cut, _) = tokio::sync::watch::channel(false);
    let scaler = Scaler::over(client, cut, "a", Some("rheostat"));
    scaler.report(vec![report(Ok(decision(2, "two")))]);
    scaler.until_leads().await;
    scaler.shutdown.cancel();
    scaler.steward.finished().await.unwrap();
    assert_eq!(server.statuses().len(), 1);
    assert_eq!(server.lease()["spec"]["holderIdentity"], serde_json::Value::Null);
}
