//! What holds for all triggers of engines and expressions, whatever is read.
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
use proptest::prelude::*;
use rheostat_policy::{MetricType, Outcome, PodInput, Trigger};
use rheostat_reading::{Absent, EngineQuantity as Q};

fn any_engine() -> impl Strategy<Value = PodInput> {
    prop_oneof![
        6 => (0.0..60.0f64, 0.0..1.0f64).prop_map(|(waiting, kv)| engine(&[
            (Q::Waiting, waiting), (Q::KvCacheUsage, kv), (Q::Concurrency, waiting), (Q::MaxSequences, 16.0),
        ])),
        1 => Just(blind()),
        1 => Just(asleep()),
        1 => Just(pending()),
        1 => (0.0..60.0f64).prop_map(|waiting| engine(&[(Q::Waiting, waiting)])),
    ]
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    prop_oneof![Just(VLLM), Just(LOAD), Just(TOTAL)].prop_map(trigger)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_input_has_an_answer_that_is_a_number_and_an_explanation(
        trigger in any_trigger(), pods in proptest::collection::vec(any_engine(), 0..12), replicas in 0u32..15,
        queue in prop_oneof![(0.0..500.0f64).prop_map(count), Just(Err(Absent::NotYet))],
        metric_type in prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)],
    ) {
        let evaluation = run_at(&trigger, metric_type, now(), replicas, &pods, &[queue]);
        match evaluation.outcome {
            Outcome::Known { value, .. } => prop_assert!(value.is_finite() && value >= 0.0),
            Outcome::AtZero => prop_assert_eq!(replicas, 0),
            Outcome::Unknown => prop_assert!(replicas > 0 && !evaluation.unknown_reason().is_empty()),
        }
        prop_assert!(!evaluation.explain(&trigger).to_string().is_empty());
    }

    #[test]
    fn more_demand_never_means_fewer_replicas(
        trigger in any_trigger(), pods in proptest::collection::vec((0.0..60.0f64, 0.0..1.0f64), 1..10),
        more in 0.0..60.0f64, queue in 0.0..300.0f64,
        metric_type in prop_oneof![Just(MetricType::AverageValue), Just(MetricType::Value)],
    ) {
        let replicas = u32::try_from(pods.len()).unwrap();
        let at = |extra: f64| {
            let pods: Vec<_> = pods.iter().map(|(waiting, kv)| engine(&[
                (Q::Waiting, waiting + extra), (Q::KvCacheUsage, *kv), (Q::Concurrency, waiting + extra),
            ])).collect();
            let evaluation = run_at(&trigger, metric_type, now(), replicas, &pods, &[count(queue + extra)]);
            size(&trigger, &evaluation)
        };
        prop_assert!(at(more) >= at(0.0));
    }

    #[test]
    fn both_metric_types_ask_for_the_same(
        trigger in any_trigger(), pods in proptest::collection::vec((0.0..60.0f64, 0.0..1.0f64), 1..10),
        queue in 0.0..300.0f64,
    ) {
        let replicas = u32::try_from(pods.len()).unwrap();
        let pods: Vec<_> = pods.iter().map(|(waiting, kv)| engine(&[
            (Q::Waiting, *waiting), (Q::KvCacheUsage, *kv), (Q::Concurrency, *waiting),
        ])).collect();
        let [one, other] = BOTH.map(|metric_type| {
            size(&trigger, &run_at(&trigger, metric_type, now(), replicas, &pods, &[count(queue)]))
        });
        // A thousandth, cut, times ten pods can be one replica at a border.
        prop_assert!(one.abs_diff(other) <= 1, "{} and {}", one, other);
    }

    #[test]
    fn no_metadata_is_too_much(
        metadata in proptest::collection::btree_map(
            prop_oneof![
                Just("signal"), Just("signal.a"), Just("signal.b"), Just("signal.a.query"), Just("expression"),
                Just("activationExpression"), Just("over"), Just("schedule"), Just("timezone"), Just("engine"),
                Just("port"), Just("path"), Just("vllmEndpoint"), Just("target"), Just("quantile"), Just("window"),
                Just("slotsPerReplica"), Just("guard"), Just("customEngine"), Just("profile"), Just("query"),
            ].prop_map(str::to_owned),
            prop_oneof![
                Just("engine.ttft"), Just("engine.waiting"), Just("prometheus"), Just("schedule"), Just("workload"),
                Just("a/5"), Just("max(a/5, b)"), Just("a > 0 || b"), Just("500ms"), Just("80"), Just("vllm"),
                Just("count 2 from 0 8 * * * to 0 20 * * *"), Just("http://[::1]:8000/x"), Just("p99"), Just("on"),
            ].prop_map(str::to_owned).boxed().prop_union("\\PC{0,40}".boxed()),
            0..12,
        ),
    ) {
        match Trigger::parse(&metadata) {
            Ok(parsed) => {
                prop_assert!(parsed.trigger.target() >= 0.001);
                let again = Trigger::parse(&metadata).unwrap().trigger;
                prop_assert_eq!(again.canonical(), parsed.trigger.canonical());
                let evaluation = run_with(&parsed.trigger, 2, &times(2, &blind()), &[]);
                prop_assert!(!evaluation.explain(&parsed.trigger).to_string().is_empty());
            }
            Err(error) => prop_assert!(error.to_string().len() < 4000),
        }
    }
}
