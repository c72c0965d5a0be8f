//! What a trigger's metadata means, and what is refused with which words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{parse, trigger};
use proptest::prelude::*;
use rheostat_policy::{
    Aggregation, Key, KeyOrigin, PEER_METRICS, PEER_PROFILES, PeerMeaning, Profile, ProfileLoad, Signal,
    Source, Trigger, Within, parse_manual_demand,
};
use rheostat_reading::Quantity;

const UTILIZATION: (&str, &str) = ("signal", "gpu.utilization");
const TARGET: (&str, &str) = ("target", "80");

fn refused(metadata: &[(&str, &str)]) -> String {
    match parse(metadata) {
        Ok(parsed) => panic!("accepted: {parsed:?}"),
        Err(error) => error.to_string(),
    }
}

fn within(trigger: &Trigger) -> Within {
    match &trigger.signals()[0].source {
        Source::Gpu { within, .. } => *within,
        other => panic!("{other:?}"),
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

#[test]
fn five_lines_are_enough() {
    let parsed = parse(&[
        ("scalerAddress", "dns:///rheostat-scaler.rheostat.svc:6000"),
        UTILIZATION,
        TARGET,
    ])
    .unwrap();
    assert!(parsed.warnings.is_empty());
    let trigger = parsed.trigger;
    assert_eq!(trigger.signal(), Some(Signal::Gpu(Quantity::Utilization)));
    assert_eq!(
        (trigger.target(), trigger.activation(), trigger.quorum()),
        (80.0, 0.0, 0.8)
    );
    assert_eq!(
        (within(&trigger), trigger.aggregation(), trigger.gpu_index()),
        (Within::Max, Aggregation::Avg, None)
    );
    assert_eq!(
        (trigger.signals()[0].stale_after, trigger.grace()),
        (Duration::from_secs(5), Duration::from_secs(20))
    );
    assert_eq!(trigger.metric_name(), "rheostat-gpu-utilization");
    assert_eq!(
        trigger.answer_settings(Duration::from_secs(300)).idle_period,
        Duration::from_secs(300)
    );
}

#[test]
fn every_key_of_ours_has_its_effect() {
    let trigger = trigger(&[
        ("signal", "gpu.memory_used_bytes"),
        ("target", "20Gi"),
        ("activation", "1.5G"),
        ("within", "avg"),
        ("aggregation", "p95"),
        ("gpuIndex", "2"),
        ("quorum", "0.5"),
        ("staleAfter", "3s"),
        ("grace", "1m"),
        ("idlePeriod", "10m"),
        ("enableTLS", "true"),
        ("unsafeSsl", "false"),
    ]);
    assert_eq!(
        (trigger.target(), trigger.activation()),
        (20.0 * 1_073_741_824.0, 1.5e9)
    );
    assert_eq!(
        (within(&trigger), trigger.aggregation(), trigger.gpu_index()),
        (Within::Avg, Aggregation::P95, Some(2))
    );
    assert_eq!(trigger.quorum(), 0.5);
    assert_eq!(
        (trigger.signals()[0].stale_after, trigger.grace()),
        (Duration::from_secs(3), Duration::from_secs(60))
    );
    assert_eq!(
        trigger.answer_settings(Duration::from_secs(300)).idle_period,
        Duration::from_secs(600)
    );
}

#[test]
fn what_means_the_same_is_the_same() {
    let one = trigger(&[UTILIZATION, TARGET, ("scalerAddress", "a:1")]);
    let other = trigger(&[
        UTILIZATION,
        ("target", "80.0"),
        ("quorum", "0.80"),
        ("grace", "20s"),
        ("scalerAddress", "b:2"),
    ]);
    assert_eq!(one, other);
    assert_eq!(one.canonical(), other.canonical());
    for changed in [
        ("target", "81"),
        ("activation", "3"),
        ("within", "min"),
        ("aggregation", "max"),
        ("gpuIndex", "0"),
        ("quorum", "0.9"),
        ("staleAfter", "6s"),
        ("grace", "21s"),
        ("idlePeriod", "9m"),
        ("metricName", "mine"),
    ] {
        let mut metadata = BTreeMap::from([UTILIZATION, TARGET]);
        metadata.insert(changed.0, changed.1);
        let changed_trigger = trigger(&metadata.into_iter().collect::<Vec<_>>());
        assert_ne!(one.canonical(), changed_trigger.canonical(), "{changed:?}");
    }
}

#[test]
fn every_signal_is_accepted() {
    for signal in Signal::all() {
        let mut metadata = vec![("signal", signal.name()), ("target", "50")];
        metadata.extend(match signal {
            Signal::Prometheus => vec![("prometheus", "main"), ("query", "sum(q)")],
            Signal::KueuePending => vec![("queue", "gpus")],
            Signal::Schedule => vec![("schedule", "count 2 from 0 8 * * * to 0 20 * * *")],
            _ => vec![],
        });
        let trigger = trigger(&metadata);
        assert_eq!(trigger.signal(), Some(signal));
        let seconds = match signal {
            Signal::Gpu(Quantity::PcieTx | Quantity::PcieRx) => 15,
            Signal::Engine(_) => 10,
            Signal::Prometheus | Signal::KueuePending | Signal::JobUnfinished => 60,
            _ => 5,
        };
        assert_eq!(trigger.signals()[0].stale_after, Duration::from_secs(seconds));
        assert_eq!(
            trigger.metric_name(),
            format!("rheostat-{}", signal.name().replace(['.', '_'], "-"))
        );
    }
}

#[test]
fn every_profile_is_ready_and_none_goes_by_memory() {
    for profile in Profile::ALL {
        let trigger = trigger(&[("profile", profile.name())]);
        assert_eq!(
            (
                trigger.subject().to_string(),
                trigger.target(),
                trigger.activation()
            ),
            (profile.load().to_string(), profile.target(), profile.activation())
        );
        assert_eq!(trigger.aggregation(), profile.aggregation());
        assert!(
            trigger
                .signals()
                .iter()
                .all(|signal| !signal.signal.name().contains("memory"))
        );
        // Something in it goes on rising when a replica is full, wherever the engine has that.
        let blind = profile.engine().is_none();
        assert!(
            blind || trigger.signals().iter().any(|signal| !signal.signal.saturates()),
            "{profile}"
        );
        assert!(trigger.activation() < trigger.target());
        assert_eq!(trigger.guard().is_some(), profile.engine().is_some(), "{profile}");
    }
    let own_target = trigger(&[("profile", "vllm"), ("target", "60"), ("activation", "10")]);
    assert_eq!((own_target.target(), own_target.activation()), (60.0, 10.0));
}

#[test]
fn wrong_values_are_refused_with_key_value_and_what_is_allowed() {
    let targets = [
        "0", "-5", "NaN", "nan", "inf", "-inf", "Infinity", "1e999", "abc", "", " 80", "80%", "0.0001",
        "101", "1e300",
    ];
    for target in targets {
        assert_says(
            &refused(&[UTILIZATION, ("target", target)]),
            &["target", &format!("{target:?}"), "percent"],
        );
    }
    for (key, value, allowed) in [
        ("activation", "-1", "not negative"),
        ("activation", "NaN", "percent"),
        ("activation", "101", "at most 100"),
        ("within", "median", "max, sum, avg, min"),
        ("aggregation", "p50", "avg, sum, min, max, p95, p99"),
        ("gpuIndex", "-2", "-1 for all"),
        ("gpuIndex", "64", "0 to 63"),
        ("quorum", "0", "above 0"),
        ("quorum", "1.1", "at most 1"),
        ("quorum", "NaN", "share"),
        ("staleAfter", "5", "5s"),
        ("staleAfter", "0s", "from 1 s to 600 s"),
        ("grace", "6m", "to 300 s"),
        ("grace", "-1s", "duration"),
        ("idlePeriod", "forever", "duration"),
        ("metricName", "///", "letters, digits and dashes"),
        ("pollIntervalSeconds", "0", "at least 1"),
        ("pollIntervalSeconds", "-3", "at least 1"),
        ("pollIntervalSeconds", "soon", "number of seconds"),
    ] {
        assert_says(
            &refused(&[UTILIZATION, TARGET, (key, value)]),
            &[key, &format!("{value:?}"), allowed],
        );
    }
    let message = refused(&[("signal", "gpu.utilisation"), TARGET]);
    assert_says(
        &message,
        &[
            "signal",
            "\"gpu.utilisation\"",
            "gpu.utilization",
            "gpu.sm_active",
            "manual",
        ],
    );
    let message = refused(&[("profile", "vlm")]);
    assert_says(
        &message,
        &[
            "profile",
            "\"vlm\"",
            "vllm",
            "distributed-training",
            "vllm-inference",
        ],
    );
    assert_says(
        &refused(&[("signal", "gpu.memory_used_bytes"), ("target", "20GB")]),
        &["20GB", "20Gi"],
    );
    assert_says(&refused(&[UTILIZATION]), &["target is missing", "percent"]);
    assert_says(
        &refused(&[]),
        &[
            "signal, expression or profile is missing",
            "gpu.utilization",
            "training",
        ],
    );
    // Eight devices of a pod together may well exceed 100 %.
    assert_eq!(
        trigger(&[UTILIZATION, ("target", "640"), ("within", "sum")]).target(),
        640.0
    );
    // The replica at its target must count as active.
    assert_says(
        &refused(&[UTILIZATION, TARGET, ("activation", "80")]),
        &["activation 80", "target 80", "lower"],
    );
}

#[test]
fn unknown_and_unusable_keys_are_refused_with_a_hint() {
    let message = refused(&[UTILIZATION, ("targt", "80")]);
    assert_says(
        &message,
        &["\"targt\"", "did you mean target?", "staleAfter", "scalerAddress"],
    );
    assert_says(
        &refused(&[UTILIZATION, TARGET, ("Signal", "x")]),
        &["\"Signal\"", "did you mean signal?"],
    );
    assert_says(
        &refused(&[UTILIZATION, ("targetFromEnv", "80")]),
        &["targetFromEnv", "environment"],
    );
    for key in Key::ALL {
        if let KeyOrigin::Refused(reason) = key.origin {
            assert_says(
                &refused(&[UTILIZATION, TARGET, (key.name, "x")]),
                &[key.name, reason],
            );
        }
    }
    assert_says(
        &refused(&[UTILIZATION, TARGET, ("caCert", "x")]),
        &["TriggerAuthentication"],
    );
}

#[test]
fn what_this_version_lacks_is_said_plainly() {
    let signal = "gateway.concurrency";
    assert_says(
        &refused(&[("signal", signal), TARGET]),
        &["signal", signal, "the gateway", "not in this version"],
    );
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(300);
    assert_says(
        &refused(&[UTILIZATION, ("target", &long)]),
        &["value of \"target\"", "300 bytes", "at most 256"],
    );
    let message = refused(&[UTILIZATION, (&long, "1")]);
    assert_says(&message, &["key", "300 bytes", "at most 128"]);
    assert!(message.len() < 200);
    let many: Vec<_> = (0..65).map(|n| (format!("key{n}"), String::new())).collect();
    let many: Vec<_> = many
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_says(&refused(&many), &["65 keys", "at most 64"]);
}

#[test]
fn a_policy_needs_engines_that_are_read_as_often_as_it_decides() {
    let with = |period| [("policy", "chat"), ("scrapePeriod", period)];
    assert!(parse(&with("5s")).is_ok());
    assert_says(&refused(&with("30s")), &["scrapePeriod", "\"30s\"", "1 s to 5 s"]);
}

#[test]
fn contradictions_are_refused() {
    for (metadata, parts) in [
        (
            vec![UTILIZATION, TARGET, ("metricType", "power_draw")],
            ["signal \"gpu.utilization\"", "metricType \"power_draw\""],
        ),
        (
            vec![("targetGpuUtilization", "80"), ("targetMemoryUtilization", "80")],
            ["targetGpuUtilization", "targetMemoryUtilization"],
        ),
        (
            vec![UTILIZATION, TARGET, ("targetValue", "80")],
            ["target \"80\"", "give one of them"],
        ),
        (
            vec![
                UTILIZATION,
                TARGET,
                ("activation", "1"),
                ("activationThreshold", "1"),
            ],
            ["activationThreshold", "give one of them"],
        ),
    ] {
        assert_says(&refused(&metadata), &parts);
    }
    assert_says(
        &refused(&[("metricType", "AverageValue"), TARGET]),
        &["metricType", "beside metadata"],
    );
}

#[test]
fn all_names_of_the_peer_are_known() {
    assert_eq!((PEER_METRICS.len(), PEER_PROFILES.len()), (14, 10));
    for (name, meaning) in PEER_METRICS {
        if let PeerMeaning::Signal { signal, factor, .. } = meaning {
            // As large as each of them can be.
            let [target, activation] = if *factor == 100.0 {
                ["0.5", "0.25"]
            } else {
                ["40", "2"]
            };
            let parsed = parse(&[
                ("metricType", name),
                ("targetValue", target),
                ("activationThreshold", activation),
            ])
            .unwrap();
            assert_eq!(parsed.trigger.signal(), Some(*signal));
            assert_eq!(
                (parsed.trigger.target(), parsed.trigger.activation()),
                (
                    target.parse::<f64>().unwrap() * factor,
                    activation.parse::<f64>().unwrap() * factor
                )
            );
            assert!(
                parsed
                    .warnings
                    .iter()
                    .any(|warning| warning.key == "metricType" && warning.message.contains(name))
            );
        }
    }
    for (name, meaning) in PEER_PROFILES {
        if let PeerMeaning::Profile { profile, .. } = meaning {
            // Its numbers are percent, and mean nothing where ours are requests.
            let kept = matches!(profile.load(), ProfileLoad::Signal(Signal::Gpu(_)));
            // As the peer's own examples have it.
            let parsed = parse(&[
                ("profile", name),
                ("targetValue", "65"),
                ("pollIntervalSeconds", "10"),
            ])
            .unwrap();
            assert_eq!(
                (parsed.trigger.subject().to_string(), parsed.trigger.target()),
                (
                    profile.load().to_string(),
                    if kept { 65.0 } else { profile.target() }
                )
            );
            assert!(
                parsed
                    .warnings
                    .iter()
                    .any(|warning| warning.key == "profile" && warning.message.contains(name))
            );
        }
    }
}

#[test]
fn the_peers_keys_mean_what_their_author_wanted() {
    let parsed = parse(&[
        ("targetGpuUtilization", "75"),
        ("activationThreshold", "5"),
        ("gpuIndex", "-1"),
        ("aggregation", "max"),
        ("pollIntervalSeconds", "10"),
        ("cooldownSeconds", "60"),
        ("metricName", "My_GPU Metric"),
    ])
    .unwrap();
    let trigger = &parsed.trigger;
    assert_eq!(trigger.signal(), Some(Signal::Gpu(Quantity::Utilization)));
    assert_eq!(
        (trigger.target(), trigger.activation(), trigger.gpu_index()),
        (75.0, 5.0, None)
    );
    assert_eq!(trigger.aggregation(), Aggregation::Max);
    assert_eq!(trigger.metric_name(), "my-gpu-metric");
    let mut warned: Vec<_> = parsed.warnings.iter().map(|warning| &*warning.key).collect();
    warned.sort_unstable();
    assert_eq!(
        warned,
        [
            "aggregation",
            "cooldownSeconds",
            "metricName",
            "pollIntervalSeconds",
            "targetGpuUtilization"
        ]
    );

    let memory = trigger_of(&[
        ("profile", "vllm-inference"),
        ("targetMemoryUtilization", "85"),
        ("activationThreshold", "5"),
    ]);
    assert_eq!(
        (memory.signal(), memory.target()),
        (Some(Signal::Gpu(Quantity::MemoryUsedPercent)), 85.0)
    );
    assert_eq!(
        trigger_of(&[("targetValue", "80")]).signal(),
        Some(Signal::Gpu(Quantity::Utilization))
    );
    let index = parse(&[("targetValue", "80"), ("gpuIndex", "1")]).unwrap();
    assert_eq!(index.trigger.gpu_index(), Some(1));
    assert!(index.warnings.iter().any(|warning| warning.key == "gpuIndex"));
    // A figure of the peer's NVLink counter means nothing as a duty cycle.
    assert_says(
        &refused(&[("profile", "distributed-training"), ("targetValue", "50000")]),
        &["targetValue", "50000", "at most 100"],
    );
}

fn trigger_of(metadata: &[(&str, &str)]) -> Trigger {
    parse(metadata).unwrap().trigger
}

#[test]
fn what_would_surprise_is_warned_of() {
    let warned = |metadata: &[(&str, &str)]| {
        parse(metadata)
            .unwrap()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_says(
        &warned(&[("profile", "vllm")]),
        &[
            "profile: vllm",
            "does not start the workload from zero",
            "activationExpression",
        ],
    );
    assert_says(
        &warned(&[("signal", "gpu.memory_used_percent"), TARGET, ("activation", "5")]),
        &["says little of demand"],
    );
    assert_says(
        &warned(&[("signal", "gpu.power"), ("target", "300")]),
        &["activation: gpu.power is above 0 where nothing is to be done"],
    );
    assert_says(&warned(&[("signal", "manual")]), &["rheostat.dev/manual-demand"]);
}

#[test]
fn readings_that_are_stale_before_the_next_scrape_are_warned_of() {
    let warned = |metadata: &[(&str, &str)]| -> Vec<String> {
        let warnings = parse(metadata).unwrap().warnings.into_iter();
        let about = warnings.filter(|warning| warning.key.ends_with("staleAfter"));
        about.map(|warning| warning.to_string()).collect()
    };
    let slow = [("profile", "triton"), ("scrapePeriod", "30s")];
    let told = warned(&[slow[0], slow[1], ("staleAfter", "59s")]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_says(&told[0], &["staleAfter: 59s", "60s", "scrapePeriod"]);
    assert!(warned(&[slow[0], slow[1], ("staleAfter", "60s")]).is_empty());
    let waiting = [("signal.w", "engine.waiting"), ("expression", "w/5")];
    let told = warned(&[waiting[0], waiting[1], ("signal.w.staleAfter", "3s")]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_says(&told[0], &["signal.w.staleAfter: 3s", "4s"]);
    // GPUs are not scraped.
    assert!(warned(&[UTILIZATION, TARGET, ("staleAfter", "1s")]).is_empty());
}

#[test]
fn a_persons_demand() {
    assert_eq!(parse_manual_demand("3"), Ok(3.0));
    assert_eq!(parse_manual_demand("0.5"), Ok(0.5));
    for text in ["-1", "NaN", "inf", "three", "", "1e9"] {
        let message = parse_manual_demand(text).unwrap_err().to_string();
        assert_says(
            &message,
            &["rheostat.dev/manual-demand", &format!("{text:?}"), "0 to 1000000"],
        );
    }
}

proptest! {
    // Making such metadata is slow; parsing it is not.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_metadata_is_too_much(metadata in proptest::collection::btree_map("\\PC{0,20}|signal|target|activation|profile|metricType|quorum|grace", "\\PC{0,40}|gpu\\.power|-?[0-9]{1,400}(\\.[0-9]+)?|vllm", 0..70)) {
        match Trigger::parse(&metadata) {
            Ok(parsed) => {
                let trigger = parsed.trigger;
                prop_assert!(trigger.target().is_finite() && trigger.target() >= 0.001);
                prop_assert!(trigger.activation().is_finite() && trigger.activation() >= 0.0);
                prop_assert!(trigger.quorum() > 0.0 && trigger.quorum() <= 1.0);
                let name = trigger.metric_name();
                prop_assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
            Err(error) => prop_assert!(error.to_string().len() < 3000),
        }
    }
}
