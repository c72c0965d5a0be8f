use std::sync::Arc;
use std::time::Duration;

use rheostat_baselines::{Context, Foresight, Settings, find};
use rheostat_simulator::{Control, Controller};
use rheostat_trace::Request;

use crate::support::{Load, START, context, direct, observation};

fn usage(kv_cache: f64, finished: f64, pods: u32) -> Vec<Load> {
    let load = Load {
        running: 4.0 * finished,
        kv_cache,
        finished,
        ..Load::default()
    };
    vec![load; pods as usize]
}

/// arbiter.py, BasicArbiter.scale: above 0.5 one more, then nothing for as long as a start takes.
#[test]
fn the_reactive_arbiter_adds_one_and_waits_for_it() {
    let mut arbiter = direct("sageserve-reactive", &Settings::new());
    let mut changes = Vec::new();
    for second in (0..200).step_by(5) {
        let seen = observation(f64::from(second), 3, &usage(0.6, 1.0, 3));
        if arbiter.decide(&seen) == Some(4) {
            changes.push(second);
        }
    }
    assert_eq!(changes, [5, 65, 125, 185], "the first look knows no arrivals yet");
}

/// And below 0.25 one less at every request, as long as the rest stays below.
#[test]
fn the_reactive_arbiter_drops_one_at_every_request() {
    let mut arbiter = direct("sageserve-reactive", &Settings::new());
    let _ = arbiter.decide(&observation(0.0, 10, &usage(0.06, 1.0, 10)));
    assert_eq!(
        arbiter.decide(&observation(5.0, 10, &usage(0.06, 1.0, 10))),
        Some(2),
        "0.06 of ten is 0.2 of three, and 0.3 of two"
    );
    let mut idle = direct("sageserve-reactive", &Settings::new());
    let _ = idle.decide(&observation(0.0, 10, &usage(0.0, 0.0, 10)));
    assert_eq!(
        idle.decide(&observation(600.0, 10, &usage(0.0, 0.0, 10))),
        None,
        "no request, no decision"
    );
}

/// arbiter.py, ChironArbiter: above 0.6 of the instances busy one more, and nothing until it is there;
/// otherwise one less at every request.
#[test]
fn chiron_keeps_six_tenths_busy() {
    let mut chiron = direct("chiron", &Settings::new());
    let busy = usage(0.1, 5.0, 6);
    let _ = chiron.decide(&observation(0.0, 6, &busy));
    assert_eq!(chiron.decide(&observation(5.0, 6, &busy)), Some(7));
    assert_eq!(chiron.decide(&observation(60.0, 7, &busy)), None, "it starts");
    let mut loads = busy;
    loads.resize(12, Load::default());
    assert_eq!(
        chiron.decide(&observation(65.0, 12, &loads)),
        Some(10),
        "down to nine, of which six are too many, and one up"
    );
}

/// Five requests a second for fifty minutes, then fifty.
fn foresight() -> Foresight {
    let requests = (0..4500_u64).flat_map(|second| {
        let each = if second < 3000 { 5 } else { 50 };
        (0..each).map(move |part| Request {
            at: Duration::from_secs(second) + Duration::from_millis(part * 18),
            prompt_tokens: 500,
            output_tokens: 200,
        })
    });
    Foresight::new(START, Duration::from_secs(10), requests).unwrap()
}

/// Replicas a while before the jump, on KV caches that are full enough that all that is planned is added.
fn before_the_jump(name: &str) -> u32 {
    let context = Context {
        foresight: Some(Arc::new(foresight())),
        ..context()
    };
    let baseline = find(name, &context).unwrap();
    let Control::Direct(mut arbiter) = baseline.build(&Settings::new(), &context).unwrap() else {
        panic!("{name} writes replicas itself");
    };
    let mut replicas = 2;
    for second in (0..2900).step_by(5) {
        let loads = usage(0.6, 5.0 / f64::from(replicas), replicas);
        let seen = observation(f64::from(second), replicas, &loads);
        replicas = arbiter.decide(&seen).unwrap_or(replicas);
    }
    replicas
}

/// notebooks/arima_modelling_new_data.ipynb: that forecast was fitted to the trace and read off it, so the
/// plan knows the jump before it comes; from the past alone nobody can.
#[test]
fn an_in_sample_forecast_knows_what_is_to_come() {
    let (in_sample, online) = (
        before_the_jump("sageserve-lt-ua-in-sample"),
        before_the_jump("sageserve-lt-ua"),
    );
    // 50 a second over half of 18.1.
    assert_eq!(in_sample, 6);
    assert_eq!(online, 1, "five a second are what one half-used replica does");
}

/// GlobalArbiterARIMAChecking: traffic above five times the forecast adds one against the plan.
#[test]
fn a_surprise_adds_one_against_the_plan() {
    let mut arbiter: Box<dyn Controller> = direct("sageserve-lt-ua", &Settings::new());
    let mut replicas = 1;
    for second in (0..3900).step_by(5) {
        // Calm for an hour, then twenty times as much, with KV caches that would not ask for more.
        let rate = if second < 3700 { 1.0 } else { 20.0 };
        let seen = observation(
            f64::from(second),
            replicas,
            &usage(0.3, rate / f64::from(replicas), replicas),
        );
        replicas = arbiter.decide(&seen).unwrap_or(replicas);
    }
    assert!(replicas >= 2, "{replicas}");
}
