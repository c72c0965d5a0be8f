//! What is refused or warned of in triggers of engines, expressions and schedules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use common::engines::*;
use common::*;
use rheostat_policy::EngineScheme;

#[test]
fn mistakes_are_named_with_key_and_place() {
    for (metadata, parts) in [
        (
            vec![
                ("signal.kv", "engine.kv_cache_usage"),
                ("signal.w", "engine.waiting"),
                ("expression", "w + kv"),
            ],
            vec!["expression: ", "equal units", "^"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "wating/5")],
            vec!["expression: ", "unknown name \"wating\"", "position 1"],
        ),
        (
            vec![("signal.w", "engine.wating"), ("expression", "w/5")],
            vec!["signal.w is \"engine.wating\""],
        ),
        (
            vec![("signal.w.query", "x"), ("expression", "1")],
            vec!["signal.w is missing"],
        ),
        (
            vec![
                ("signal.w", "engine.waiting"),
                ("signal.w.query", "x"),
                ("expression", "w/5"),
            ],
            vec!["signal.w.query is not allowed here", "takes"],
        ),
        (
            vec![("signal.max", "engine.waiting"), ("expression", "max/5")],
            vec!["signal.max", "word of the language"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "w")],
            vec!["target is missing"],
        ),
        (
            vec![("signal.w", "engine.waiting"), ("expression", "w > 5")],
            vec!["needs a number"],
        ),
        (
            vec![("signal", "prometheus"), ("target", "1"), ("query", "q")],
            vec!["prometheus is missing", "never an address"],
        ),
        (
            vec![
                ("signal", "prometheus"),
                ("target", "1"),
                ("query", "q"),
                ("prometheus", "http://prometheus:9090"),
            ],
            vec!["prometheus is \"http://prometheus:9090\""],
        ),
        (
            vec![("profile", "vllm"), ("port", "0")],
            vec!["port is \"0\"", "65535"],
        ),
        (
            vec![("profile", "vllm"), ("path", "http://x/metrics")],
            vec!["path", "never an address"],
        ),
        (
            vec![("profile", "vllm"), ("caSecret", "a/b")],
            vec!["caSecret", "scheme: https"],
        ),
        (
            vec![("profile", "vllm"), ("bearerTokenSecret", "other/ns/key")],
            vec!["NAME/KEY of a Secret"],
        ),
        (
            vec![("profile", "vllm"), ("engine", "custom")],
            vec!["engineConfig or customEngine is missing"],
        ),
        (
            vec![
                ("signal", "engine.waiting"),
                ("target", "5"),
                ("customEngine", r#"{"wating": {"metric": "q"}}"#),
            ],
            vec!["customEngine", "wating"],
        ),
        (
            vec![("profile", "vllm"), ("window", "5s")],
            vec!["window is \"5s\"", "from 10 s to 600 s"],
        ),
        (
            vec![("profile", "vllm"), ("schedule", "floor 2")],
            vec!["schedule: window 1", "floor|ceiling|count"],
        ),
        (
            vec![
                ("profile", "vllm"),
                ("schedule", "floor 2 from 0 8 * * * to 0 25 * * *"),
            ],
            vec!["schedule: window 1, to \"0 25 * * *\"", "hour"],
        ),
        (
            vec![
                ("profile", "vllm"),
                ("schedule", "floor 2 from 0 8 * * * to 0 9 * * * in Mars"),
            ],
            vec!["Mars", "Europe/Zurich"],
        ),
        (
            vec![
                ("signal", "gpu.power"),
                ("target", "3"),
                ("signal.w", "engine.waiting"),
                ("expression", "w/5"),
            ],
            vec!["expression", "gpu.power", "contradict"],
        ),
    ] {
        let message = refused(&metadata);
        for part in parts {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    }
}

#[test]
fn what_can_go_wrong_is_warned_of() {
    let warned = |metadata: &[(&str, &str)]| {
        let warnings = parse(metadata).unwrap().warnings;
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let expression = |text| {
        warned(&[
            ("signal.waiting", "engine.waiting"),
            ("signal.running", "engine.running"),
            ("signal.memory", "gpu.memory_used_percent"),
            ("expression", text),
        ])
    };
    for (text, part) in [
        ("3 - waiting/5", "falls when waiting rises"),
        ("running/8", "a full replica and an overloaded one look the same"),
        ("max(waiting/5, memory/80%)", "memory is memory"),
        ("waiting/5", "uses running"),
    ] {
        assert!(expression(text).contains(part), "{part}: {}", expression(text));
    }
    let clean = expression("max(waiting/5, running/8)");
    assert!(
        !clean.contains("falls") && !clean.contains("overloaded"),
        "{clean}"
    );
    let mean = warned(&[
        ("signal.waiting", "engine.waiting"),
        ("signal.kv", "engine.kv_cache_usage"),
        ("over", "workload"),
        ("expression", "max(waiting/5, kv/80%)"),
    ]);
    assert!(mean.contains("kv * ready"), "{mean}");
    let peer = parse(&[
        ("metricType", "vllm_queue_depth"),
        ("targetValue", "5"),
        ("vllmEndpoint", "http://other.ns:8001/stats"),
    ])
    .unwrap();
    let selection = &peer.trigger.needs().engine.as_ref().unwrap().selection;
    assert_eq!(selection.port.as_ref().unwrap().to_string(), "8001");
    assert_eq!(selection.path.as_deref(), Some("/stats"));
    assert_eq!(selection.scheme, EngineScheme::Http);
    assert!(
        peer.warnings
            .iter()
            .any(|warning| warning.message.contains("the address is not asked"))
    );
}

#[test]
fn a_token_without_protection_is_warned_of() {
    let token = ("bearerTokenSecret", "chat/token");
    for (scheme, warned) in [(None, true), (Some("http"), true), (Some("https"), false)] {
        let mut metadata = vec![("profile", "vllm"), token];
        metadata.extend(scheme.map(|scheme| ("scheme", scheme)));
        let warnings = parse(&metadata).unwrap().warnings;
        let told = warnings.iter().any(|warning| {
            warning.key == "bearerTokenSecret" && warning.message.contains("without protection")
        });
        assert_eq!(told, warned, "{scheme:?}");
    }
    let none = parse(VLLM).unwrap().warnings;
    assert!(none.iter().all(|warning| warning.key != "bearerTokenSecret"));
}
