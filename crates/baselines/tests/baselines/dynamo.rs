use rheostat_baselines::Settings;
use rheostat_simulator::Controller;

use crate::support::{Load, direct, observation};

fn loads(load: Load, pods: u32) -> Vec<Load> {
    vec![load; pods as usize]
}

/// Looks each 5 s with `load` on every replica; gives each decision to change something, with its second.
fn watch(
    planner: &mut dyn Controller,
    seconds: std::ops::Range<u32>,
    replicas: u32,
    load: Load,
) -> Vec<(u32, u32)> {
    seconds
        .step_by(5)
        .filter_map(|second| {
            let seen = observation(f64::from(second), replicas, &loads(load, replicas));
            let wanted = planner.decide(&seen)?;
            (wanted != replicas).then_some((second, wanted))
        })
        .collect()
}

fn serving(finished: f64) -> Load {
    Load {
        running: finished * 4.0,
        kv_cache: 0.1,
        finished,
        ..Load::default()
    }
}

/// throughput_scaling.py: requests of 180 s over what one engine does within the SLO. With 7 ms an iteration,
/// 50 us a prompt token and 42 us a sequence, a batch of 64 (500 in, 200 out) has 160 prompt tokens an
/// iteration, which takes 17.7 ms: 64 / (200 * 17.7 ms) is 18.1 a second.
#[test]
fn the_throughput_loop_divides_the_prediction_by_the_profile() {
    let mut planner = direct(
        "dynamo-throughput",
        &Settings::new().with("load_predictor", "constant"),
    );
    assert_eq!(
        watch(&mut *planner, 0..180, 1, serving(60.0)),
        [],
        "nothing within the interval"
    );
    assert_eq!(
        watch(&mut *planner, 180..360, 1, serving(60.0)),
        [(180, 4)],
        "60 / 18.1"
    );
}

/// Issue 6985: without traffic the lengths are not a number, and it stays at its peak for ever.
#[test]
fn without_traffic_it_never_scales_down() {
    let mut planner = direct(
        "dynamo-throughput",
        &Settings::new().with("load_predictor", "constant"),
    );
    let _ = watch(&mut *planner, 0..365, 4, serving(15.0));
    assert_eq!(watch(&mut *planner, 365..7200, 4, Load::default()), []);
}

/// `scaling_in_progress` and `worker_count_mismatch`: nothing until every replica is ready.
#[test]
fn nothing_happens_while_replicas_start() {
    let full = Load {
        running: 64.0,
        waiting: 5000.0,
        kv_cache: 0.9,
        finished: 10.0,
        ..Load::default()
    };
    let mut planner = direct("dynamo-load", &Settings::new());
    assert_eq!(planner.decide(&observation(0.0, 3, &loads(full, 2))), None);
    assert_eq!(
        planner.decide(&observation(5.0, 3, &loads(full, 3))),
        Some(4),
        "one at a time"
    );
}

/// load_scaling.py, `_agg_easy_decision`: any above 1.0 (0.4) up, all below 0.6 (0.1) down.
#[test]
fn the_easy_modes_go_by_the_kv_cache_with_its_queue() {
    let usage = |kv_cache| Load {
        running: 10.0,
        kv_cache,
        finished: 2.0,
        ..Load::default()
    };
    let mut throughput = direct("dynamo-load", &Settings::new());
    let mut latency = direct(
        "dynamo-load",
        &Settings::new().with("optimization_target", "latency"),
    );
    let mut at = |kv_cache: [f64; 2]| {
        let seen = observation(0.0, 2, &kv_cache.map(usage));
        (throughput.decide(&seen), latency.decide(&seen))
    };
    assert_eq!(at([0.5, 0.3]), (Some(1), Some(3)));
    assert_eq!(at([0.7, 0.3]), (Some(2), Some(3)), "not all below 0.6");
    assert_eq!(at([0.05, 0.05]), (Some(1), Some(1)));
    assert_eq!(at([0.2, 0.05]), (Some(1), Some(2)));
    // 400,000 tokens: 200 waiting prompts of 500 are 0.25 more.
    let queued = Load {
        waiting: 200.0,
        ..usage(0.8)
    };
    assert_eq!(
        throughput.decide(&observation(0.0, 2, &[queued, usage(0.1)])),
        Some(3)
    );
}

/// PR 9294: 2 to 1 and back. The last one to go must leave the rest within 0.8 of the SLA.
#[test]
fn the_sla_mode_checks_the_rest_before_it_takes_one() {
    let mut planner = direct("dynamo-sla", &Settings::new());
    let calm = Load {
        running: 8.0,
        kv_cache: 0.01,
        finished: 2.0,
        ..Load::default()
    };
    assert_eq!(planner.decide(&observation(0.0, 2, &loads(calm, 2))), Some(1));
    // The KV caches of two do not fit one.
    let full = Load {
        kv_cache: 0.6,
        ..calm
    };
    assert_eq!(planner.decide(&observation(5.0, 2, &loads(full, 2))), Some(2));
    // TTFT above the SLA of 2 s everywhere: 200 prompts of 500 tokens are 49 iterations and 5 s.
    let late = Load {
        waiting: 200.0,
        ..calm
    };
    assert_eq!(planner.decide(&observation(10.0, 2, &loads(late, 2))), Some(3));
    assert_eq!(
        planner.decide(&observation(15.0, 2, &[late, calm])),
        Some(2),
        "not everywhere"
    );
}
