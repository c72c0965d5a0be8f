//! What a policy promises, whatever is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fleet;

use std::time::Duration;

use fleet::{Fleet, intent};
use proptest::prelude::*;
use rheostat_reading::Count;
use rheostat_sizing::{Outcome, Sizer};

const HOUR: u64 = 3600;

/// Requests per second that vary around a mean, without chance.
fn noisy(mean: f64, step: u64) -> f64 {
    let wave = (step * 7919 % 1000) as f64 / 1000.0 - 0.5;
    mean * (1.0 + 0.3 * wave)
}

#[test]
fn a_blind_fleet_keeps_its_size_and_says_so() {
    let mut fleet = Fleet::new(intent(), 8);
    fleet.run(HOUR, 10.0);
    fleet.visible = false;
    let before = fleet.replicas();
    for _ in 0..2 * HOUR / 5 {
        let decision = fleet.step(0.0);
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{decision:?}"
        );
        assert_eq!(decision.replicas, before);
    }
    fleet.visible = true;
    let decision = fleet.run(600, 10.0);
    assert_eq!(decision.outcome, Outcome::Known);
    assert!(
        decision.replicas + 2 >= before,
        "no fall after it: {before} and {}",
        decision.replicas
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn while_requests_queue_nothing_is_taken_away(
        before in 1.0..12.0_f64,
        after in 0.1..12.0_f64,
        waiting in 20.0..200.0_f64,
    ) {
        let mut fleet = Fleet::new(intent(), 8);
        fleet.run(HOUR, before);
        fleet.waiting = waiting;
        // One look may find a burst that is over in a moment.
        fleet.step(after);
        for _ in 0..60 {
            let there = fleet.replicas();
            let decision = fleet.step(after);
            prop_assert!(decision.replicas >= there, "{} of {there}: {:?}", decision.replicas, decision.steps);
        }
    }
}

#[test]
fn a_state_that_was_saved_and_restored_decides_the_same() {
    let mut one = Fleet::new(intent(), 3);
    for step in 0..HOUR / 5 {
        one.step(noisy(6.0, step));
    }
    let saved = serde_json::to_string(&one.sizer).unwrap();
    let mut other = Fleet::new(intent(), 3);
    for step in 0..HOUR / 5 {
        other.step(noisy(6.0, step));
    }
    other.sizer = serde_json::from_str(&saved).unwrap();
    assert_eq!(one.sizer, other.sizer);
    for step in 0..HOUR / 5 {
        let rate = noisy(12.0, step);
        assert_eq!(one.step(rate), other.step(rate), "step {step}");
    }
}

#[test]
fn an_engine_that_does_not_tell_its_rate_is_not_taken_for_idle() {
    let mut fleet = Fleet::new(intent(), 6);
    fleet.run(HOUR, 10.0);
    let before = fleet.replicas();
    for _ in 0..HOUR / 5 {
        fleet.now = fleet.now.plus(fleet::STEP);
        let mut seen = fleet.observation(10.0);
        for pod in &mut seen.pods {
            if let Some(serving) = &mut pod.serving {
                serving.request_rate = None;
            }
        }
        let decision = fleet.sizer.decide(&fleet.intent, &seen);
        assert!(decision.replicas >= before, "{decision:?}");
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{decision:?}"
        );
    }
}

#[test]
fn an_absurd_reading_is_none() {
    let mut fleet = Fleet::new(intent(), 4);
    fleet.run(HOUR, 6.0);
    let usual = fleet.replicas();
    for absurd in [1e300, f64::NAN, f64::INFINITY, -1.0] {
        fleet.now = fleet.now.plus(fleet::STEP);
        let mut seen = fleet.observation(6.0);
        for pod in &mut seen.pods {
            if let Some(serving) = &mut pod.serving {
                serving.generation_tokens_mean = Some(Count(absurd));
            }
        }
        let decision = fleet.sizer.decide(&fleet.intent, &seen);
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{absurd}: {decision:?}"
        );
    }
    let decision = fleet.run(600, 6.0);
    assert!(
        decision.replicas <= usual + 1,
        "{usual}, then {}",
        decision.replicas
    );
}

#[test]
fn what_was_learned_counts_at_zero_too() {
    let mut intent = intent();
    intent.min_replicas = 0;
    intent.scale_to_zero_after = Some(Duration::from_secs(300));
    let mut fleet = Fleet::new(intent, 2);
    fleet.queued_outside = Some(Count(0.0));
    let learned = fleet.run(2 * HOUR, 3.0).figures;
    let at_zero = fleet.run(HOUR, 0.0);
    assert_eq!(at_zero.replicas, 0);
    let (before, after) = (learned.capacity.unwrap().0, at_zero.figures.capacity.unwrap().0);
    assert!(
        (after / before - 1.0).abs() < 0.2,
        "{before} and then {after} requests a second"
    );
}

#[test]
fn decisions_between_looks_still_obey_the_limits() {
    let mut fleet = Fleet::new(intent(), 6);
    fleet.run(HOUR, 10.0);
    let mut seen = fleet.observation(10.0);
    seen.now = seen.now.plus(Duration::from_secs(1));
    seen.schedule.ceiling = Some(2);
    assert_eq!(fleet.sizer.decide(&fleet.intent, &seen).replicas, 2);
}

#[test]
fn the_very_first_look_keeps_what_is_there() {
    let fleet = Fleet::new(intent(), 5);
    let decision = Sizer::new().decide(&fleet.intent, &fleet.observation(0.0));
    assert_eq!(decision.replicas, 5);
}
