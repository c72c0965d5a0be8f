use rheostat_baselines::Settings;
use rheostat_simulator::Controller;
use rheostat_sizing::QueuedOutside;

use crate::support::{Load, direct, observation};

/// Target 10 a pod, so that the numbers are those of the source's own tests.
fn autoscaler() -> Box<dyn Controller> {
    let settings = Settings::new()
        .with("concurrency_target", 10.0)
        .with("target_utilization", 1.0)
        .with("floor", 0_u32);
    direct("knative-kpa", &settings)
}

fn running(each: f64, pods: usize) -> Vec<Load> {
    vec![
        Load {
            running: each,
            ..Load::default()
        };
        pods
    ]
}

/// autoscaler_test.go, TestAutoscalerStableModeIncreaseWithConcurrencyDefault: 50 at 10 a pod.
#[test]
fn the_stable_window_is_divided_by_the_target() {
    let mut kpa = autoscaler();
    assert_eq!(kpa.decide(&observation(0.0, 1, &running(50.0, 1))), Some(5));
}

/// autoscaler_test.go, TestAutoscalerPanicModeDoublePercentage…: in panic nothing is taken away until the
/// surge has been gone for a stable window.
#[test]
fn panic_holds_the_most_pods_for_a_stable_window() {
    let mut kpa = autoscaler();
    let mut last = None;
    for second in (0..20).step_by(2) {
        last = kpa.decide(&observation(f64::from(second), 1, &running(60.0, 1)));
    }
    assert_eq!(last, Some(6));
    // Ten times the load for 6 s: the short window sees it all.
    for second in (20..28).step_by(2) {
        last = kpa.decide(&observation(f64::from(second), 6, &running(100.0, 6)));
    }
    assert_eq!(
        last,
        Some(50),
        "six pods and 600 requests: sixty, of which the cap allows fifty"
    );
    // The load is gone. Panic keeps the pods for 60 s after the last look above the threshold.
    let mut fell_at = None;
    for second in (28..200).step_by(2) {
        last = kpa.decide(&observation(f64::from(second), 50, &running(0.2, 50)));
        if last < Some(50) && fell_at.is_none() {
            fell_at = Some(second);
        }
    }
    assert!((84..=92).contains(&fell_at.unwrap()), "{fell_at:?}");
    // And down by half at most at each look.
    assert_eq!(last, Some(25), "50 / 2, while 50 stay ready");
}

/// autoscaler.go, newAutoscaler: with more than one pod it starts in panic, so a restart keeps them.
#[test]
fn a_restart_takes_nothing_away() {
    let mut kpa = autoscaler();
    assert_eq!(kpa.decide(&observation(0.0, 8, &running(1.0, 8))), Some(8));
    let mut kpa = autoscaler();
    assert_eq!(
        kpa.decide(&observation(0.0, 1, &running(0.0, 1))),
        Some(1),
        "0, after the grace"
    );
    assert_eq!(kpa.decide(&observation(28.0, 1, &running(0.0, 1))), Some(1));
    assert_eq!(kpa.decide(&observation(30.0, 1, &running(0.0, 1))), Some(0));
}

/// The activator reports what waits for the first pod.
#[test]
fn from_zero_it_goes_by_what_waits_in_front() {
    let mut kpa = autoscaler();
    let mut empty = observation(0.0, 0, &[]);
    empty.queued_outside = QueuedOutside::Told(rheostat_reading::Count(25.0));
    assert_eq!(kpa.decide(&empty), Some(3));
}
