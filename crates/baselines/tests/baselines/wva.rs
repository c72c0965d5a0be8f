//! The analyzers are tested beside their code; here they act through the HPA of their chart.

use rheostat_baselines::Settings;

use rheostat_simulator::{Control, TriggerAnswer};

use crate::support::{Cluster, Load, build, observation};

/// With as many slots as requests come, so that the KV cache is what fills.
fn cluster(name: &str) -> Cluster {
    let mut cluster = Cluster::new(build(name, &Settings::new()));
    cluster.slots = 1e9;
    cluster
}

/// Requests in flight so that each of `replicas` uses this part of its KV cache (400,000 tokens, 600 each).
fn arrivals(kv_cache: f64, replicas: f64) -> f64 {
    kv_cache * 400_000.0 / 600.0 * replicas / 4.0
}

/// charts/workload-variant-autoscaler: windows of 240 s on both sides.
#[test]
fn v1_takes_a_step_after_the_window_and_a_start() {
    let mut cluster = cluster("llm-d-wva-v1");
    cluster.run(200, |_| arrivals(0.75, 1.0));
    assert_eq!(cluster.last().replicas, 1, "the window holds it back");
    cluster.run(400, |_| arrivals(0.75, 1.0));
    assert_eq!(cluster.last().replicas, 2);
    cluster.run(1500, |_| arrivals(0.05, 1.0));
    assert_eq!(cluster.last().replicas, 1);
}

/// engine.go: the interval of 60 s that is configured is not used, the loop takes 30 s.
#[test]
fn it_looks_each_thirty_seconds() {
    let Control::Keda { mut scaler, .. } = build("llm-d-wva-v1", &Settings::new()) else {
        panic!("an HPA carries it out");
    };
    let full = Load {
        running: 64.0,
        kv_cache: 0.79,
        ..Load::default()
    };
    let mut at = |seconds, load| {
        scaler.observe(&observation(seconds, 1, &[load]));
        match scaler.answer(0) {
            TriggerAnswer::Value { value, .. } => Some(value),
            TriggerAnswer::Error(_) => None,
        }
    };
    assert_eq!(at(0.0, Load::default()), Some(1.0));
    assert_eq!(at(15.0, full), Some(1.0), "not yet");
    assert_eq!(at(30.0, full), Some(2.0));
}

/// Follows from its sources, not from an issue: at ten replicas one step is a ratio of 1.1, within the HPA's
/// tolerance, so it is not carried out; the analyzer then sees a transition that never ends.
#[test]
fn v1_stops_at_ten_replicas() {
    let mut cluster = cluster("llm-d-wva-v1");
    cluster.run(4 * 3600, |_| arrivals(0.78, 14.0));
    assert_eq!(cluster.last().replicas, 10);
    cluster.run(6 * 3600, |_| 0.0);
    assert_eq!(cluster.last().replicas, 10, "and it never comes down again");
}

/// One replica takes 64 sequences of 600 tokens, as it derives from the engine's arguments: 38,400. 150
/// requests in flight are 90,000 tokens, or 2.8 replicas at a utilisation of 0.85. What had piled up during the
/// start made it four, and there it stays: 4 * 38,400 - 90,000 / 0.7 tokens to spare are less than one takes.
#[test]
fn v2_asks_for_all_that_is_missing() {
    let mut cluster = Cluster::new(build("llm-d-wva-v2", &Settings::new()));
    cluster.run(600, |_| 2.0);
    assert_eq!(cluster.last().replicas, 1);
    cluster.run(3600, |_| 37.5);
    assert_eq!(cluster.last().replicas, 4, "{:?}", cluster.last());
    cluster.run(2 * 3600, |_| 2.0);
    assert_eq!(cluster.last().replicas, 1, "{:?}", cluster.last());
}
