use rheostat_baselines::Settings;
use rheostat_reading::Count;
use rheostat_sizing::QueuedOutside;

use crate::support::{Load, direct, observation};

fn running(each: f64, pods: usize) -> Vec<Load> {
    vec![
        Load {
            running: each,
            ..Load::default()
        };
        pods
    ]
}

/// autoscaling_policy.py: a decision has to hold for upscale_delay_s (30) or downscale_delay_s (600).
#[test]
fn a_decision_has_to_last() {
    let mut serve = direct(
        "ray-serve",
        &Settings::new().with("look_back_period_seconds", 2_u32),
    );
    let mut up_at = None;
    for second in (0..60).step_by(2) {
        if let Some(wanted) = serve.decide(&observation(f64::from(second), 1, &running(8.0, 1))) {
            up_at = Some((second, wanted));
            break;
        }
    }
    assert_eq!(up_at, Some((30, 4)), "8 ongoing at a target of 2");
    let mut down_at = None;
    for second in (100..1000).step_by(2) {
        // A blip up restarts the wait.
        let each = if second == 400 { 8.0 } else { 1.0 };
        if let Some(wanted) = serve.decide(&observation(f64::from(second), 4, &running(each, 4))) {
            down_at = Some((second, wanted));
            break;
        }
    }
    assert_eq!(down_at, None, "the blip at 400 s");
    for second in (1000..1400).step_by(2) {
        if let Some(wanted) = serve.decide(&observation(f64::from(second), 4, &running(1.0, 4))) {
            down_at = Some((second, wanted));
            break;
        }
    }
    assert_eq!(
        down_at,
        Some((1002, 2)),
        "600 s after it: 4 ongoing at a target of 2"
    );
}

/// `_get_cold_start_scale_up_replicas`: from zero at once, to one.
#[test]
fn from_zero_it_starts_one_at_once() {
    let mut serve = direct("ray-serve", &Settings::new().with("floor", 0_u32));
    let mut empty = observation(0.0, 0, &[]);
    empty.queued_outside = QueuedOutside::Told(Count(0.0));
    assert_eq!(serve.decide(&empty), Some(0));
    let mut waiting = observation(2.0, 0, &[]);
    waiting.queued_outside = QueuedOutside::Told(Count(40.0));
    assert_eq!(serve.decide(&waiting), Some(1), "however many wait");
}

/// `_apply_delay_logic`: only the last replica may go to zero, and it waits anew.
#[test]
fn zero_is_reached_by_way_of_one() {
    let mut serve = direct("ray-serve", &Settings::new().with("floor", 0_u32));
    let mut seen = Vec::new();
    let mut replicas = 3_u32;
    for second in (0..1400).step_by(2) {
        let loads = running(0.0, replicas as usize);
        if let Some(wanted) = serve.decide(&observation(f64::from(second), replicas, &loads)) {
            seen.push((second, wanted));
            replicas = wanted;
            if replicas == 0 {
                break;
            }
        }
    }
    assert_eq!(seen, [(600, 1), (1202, 0)]);
}
