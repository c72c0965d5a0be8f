//! Targets and reports of engines over the wire and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use rheostat_engines::{
    Endpoint, Engine, EngineChoice, EngineReport, Scheme, Secret, Sleep, Target, TargetId, View,
};
use rheostat_proto::agent::{self, EngineTarget};
use rheostat_proto::{
    ReceivedReport, engine_refusal_to_proto, engine_report_from_proto, engine_report_to_proto,
    engine_target_from_proto, engine_target_to_proto,
};
use rheostat_reading::{Absent, EngineQuantity, Quality, Readings, Timestamp};

const SENT: Timestamp = Timestamp::from_unix_nanos(5_000_000_000_000_000);
const RECEIVED: Timestamp = Timestamp::from_unix_nanos(9_000_000_000_000_000);

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?"
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[^\u{0}]{1,40}")
}

fn scheme() -> impl Strategy<Value = Scheme> {
    let https =
        (text(), text(), any::<bool>()).prop_map(|(ca_pem, server_name, skip_verification)| Scheme::Https {
            ca_pem,
            server_name,
            skip_verification,
        });
    prop_oneof![Just(Scheme::Http), https]
}

fn choice() -> impl Strategy<Value = EngineChoice> {
    let named = proptest::sample::select(Engine::ALL)
        .prop_filter("a custom engine is described", |engine| *engine != Engine::Custom)
        .prop_map(EngineChoice::Named);
    let custom = ".{1,80}".prop_map(EngineChoice::Custom);
    prop_oneof![Just(EngineChoice::Recognise), named, custom]
}

prop_compose! {
    fn endpoint()(
        ip in any::<IpAddr>(),
        port in 1u16..,
        scheme in scheme(),
        path in proptest::option::of("/[!-\"$-~]{0,60}"),
        bearer in proptest::option::of("[!-~]{1,60}"),
        engine in choice(),
        period in 500u64..=60_000,
        pod_uid in "[0-9a-f-]{0,36}",
    ) -> Endpoint {
        Endpoint {
            address: SocketAddr::new(ip, port),
            pod_uid,
            scheme,
            path,
            bearer: bearer.map(Secret::new),
            engine,
            period: Duration::from_millis(period),
        }
    }
}

prop_compose! {
    fn target()(
        endpoint in endpoint(),
        model in text(),
        adapter in text(),
        window in 1_000u64..=3_600_000,
        namespace in name(),
        pod in name(),
    ) -> Target {
        let window = Duration::from_millis(window);
        Target { endpoint, view: View { model, adapter, window }, owner: format!("{namespace}/{pod}") }
    }
}

fn absent() -> impl Strategy<Value = Absent> {
    prop_oneof![
        Just(Absent::NotSupported),
        Just(Absent::NotYet),
        Just(Absent::NoTraffic),
        (0u32..).prop_map(|age| Absent::Stale(Duration::from_millis(age.into()))),
        ".{0,60}".prop_map(Absent::Failed),
    ]
}

prop_compose! {
    /// A report whose times are `shift` later at the receiver.
    fn report(shift: Duration)(
        engine in proptest::option::of(proptest::sample::select(Engine::ALL)),
        age in proptest::option::of(0u64..10_000_000),
        failure in proptest::option::of(".{1,60}"),
        sleep in proptest::sample::select(vec![Sleep::Unknown, Sleep::Awake, Sleep::Asleep]),
        readings in proptest::collection::vec(
            (proptest::sample::select(EngineQuantity::ALL),
             proptest::result::maybe_ok((-1e12..1e12f64, 0u64..1_000_000, 0u64..4_000_000), absent())),
            0..40,
        ),
        notes in proptest::collection::vec(".{0,60}", 0..5),
    ) -> (EngineReport, EngineReport) {
        let at = |age: u64| SENT.minus(Duration::from_millis(age));
        let mut sent = Readings::new();
        let mut received = Readings::new();
        for (quantity, observed) in readings {
            match observed {
                Ok((value, age, window)) => {
                    let window = Duration::from_millis(window);
                    sent.put(quantity, value, at(age), window, Quality::Derived);
                    received.put(quantity, value, at(age).plus(shift), window, Quality::Derived);
                }
                Err(reason) => {
                    sent.set(quantity, Err(reason.clone()));
                    received.set(quantity, Err(reason));
                }
            }
        }
        let sent = EngineReport { engine, answered_at: age.map(at), failure, sleep, readings: sent, notes };
        let received = EngineReport {
            answered_at: sent.answered_at.map(|at| at.plus(shift)),
            readings: received,
            ..sent.clone()
        };
        (sent, received)
    }
}

proptest! {
    #[test]
    fn every_target_goes_over_the_wire_and_back(target in target()) {
        let wire = engine_target_to_proto(&target.id(), &target);
        prop_assert_eq!(&wire.id, &target.id().0);
        let back = engine_target_from_proto(&wire).unwrap();
        prop_assert_eq!(back.id(), target.id());
        prop_assert_eq!(back, target);
    }

    #[test]
    fn every_report_goes_over_the_wire_and_back((sent, received) in report(RECEIVED.since(SENT))) {
        let wire = engine_report_to_proto("a", &sent, SENT);
        let expected = ReceivedReport {
            target: TargetId("a".into()),
            report: received,
            refused: false,
            malformed: 0,
        };
        prop_assert_eq!(engine_report_from_proto(&wire, RECEIVED), expected);
    }

    #[test]
    fn no_target_is_shown_with_its_token(mut target in target(), token in "[!-~]{20,60}") {
        target.endpoint.bearer = Some(Secret::new(token.clone()));
        let mut wire = engine_target_to_proto(&target.id(), &target);
        let shown = format!("{wire:?} {target:?}");
        prop_assert!(!shown.contains(&token), "{}", shown);
        wire.bearer_token.push(' ');
        let refused = engine_target_from_proto(&wire).unwrap_err();
        let shown = format!("{refused} {refused:?}");
        prop_assert!(!shown.contains(&token), "{}", shown);
    }
}

fn wire() -> EngineTarget {
    EngineTarget {
        id: "x".into(),
        namespace: "team-a".into(),
        pod: "llm-0".into(),
        address: "10.0.0.7".into(),
        port: 8000,
        window_millis: 60_000,
        period_millis: 2_000,
        ..Default::default()
    }
}

#[test]
fn bad_targets_are_told_what_is_wrong() {
    type Spoil = fn(&mut EngineTarget);
    let cases: [(Spoil, &str); 14] = [
        (
            |target| target.address = "engine.example".into(),
            "address \"engine.example\" is not accepted: an IP address",
        ),
        (|target| target.port = 0, "port \"0\" is not accepted: 1 to 65535"),
        (
            |target| target.port = 65_536,
            "port \"65536\" is not accepted: 1 to 65535",
        ),
        (
            |target| target.path = "metrics".into(),
            "path \"metrics\" is not accepted: begins with /, without spaces, # and characters beyond ASCII",
        ),
        (
            |target| target.path = "/a b".into(),
            "path \"/a b\" is not accepted: begins with /, without spaces, # and characters beyond ASCII",
        ),
        (
            |target| target.scheme = 7,
            "scheme \"7\" is not accepted: http or https",
        ),
        (
            |target| target.skip_verification = true,
            "scheme \"http\" is not accepted: https where ca_pem, server_name or skip_verification is set",
        ),
        (
            |target| target.engine = "vlm".into(),
            "engine \"vlm\" is not accepted: vllm, sglang, tgi, tei, triton, trtllm-serve, nim, lmdeploy, \
             llama.cpp, ollama, torchserve, tensorflow-serving",
        ),
        (
            |target| {
                target.engine = "vllm".into();
                target.custom_engine = "{}".into();
            },
            "engine \"vllm\" is not accepted: empty beside a custom_engine",
        ),
        (
            |target| target.window_millis = 0,
            "window_millis \"0\" is not accepted: 1000 to 3600000",
        ),
        (
            |target| target.period_millis = 1,
            "period_millis \"1\" is not accepted: 500 to 60000",
        ),
        (
            |target| target.pod = String::new(),
            "pod \"\" is not accepted: the name of a Kubernetes object",
        ),
        (
            |target| target.bearer_token = "two words".into(),
            "bearer_token \"…\" is not accepted: printable ASCII without spaces",
        ),
        (
            |target| target.model = "m".repeat(513),
            "model has 513 bytes; at most 512 are accepted",
        ),
    ];
    assert!(engine_target_from_proto(&wire()).is_ok());
    for (spoil, expected) in cases {
        let mut target = wire();
        spoil(&mut target);
        let refused = engine_target_from_proto(&target).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn a_refusal_says_why() {
    let received = engine_report_from_proto(&engine_refusal_to_proto("x", "one too many"), RECEIVED);
    assert!(received.refused);
    assert_eq!(received.report.failure.as_deref(), Some("one too many"));
    assert_eq!(received.report.answered_at, None);
}

#[test]
fn what_makes_no_sense_is_left_out_and_what_is_long_is_cut() {
    let nan = agent::EngineReading {
        quantity: agent::EngineQuantity::Waiting.into(),
        value: f64::NAN,
        ..Default::default()
    };
    let newer = agent::EngineReading {
        quantity: 999,
        ..Default::default()
    };
    let wire = agent::EngineReport {
        target: "x".into(),
        engine: "an engine of the future".into(),
        readings: vec![nan, newer],
        notes: vec!["ä".repeat(1000); 100],
        sleep: 9,
        ..Default::default()
    };
    let received = engine_report_from_proto(&wire, RECEIVED);
    assert_eq!((received.malformed, received.report.engine), (1, None));
    let waiting = received.report.readings.get(EngineQuantity::Waiting);
    assert_eq!(waiting, Err(&Absent::NotYet));
    assert_eq!(
        (
            received.report.notes.len(),
            received.report.notes[0].len(),
            received.report.sleep
        ),
        (16, 256, Sleep::Unknown)
    );
    assert!(
        received.report.failure.is_some(),
        "what is not said to be current is not"
    );
}
