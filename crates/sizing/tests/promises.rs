//! What a policy promises, whatever is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use rheostat_reading::Count;
use rheostat_sizing::{Intent, Outcome, Sizer};
use world::{HOUR, World, capacity, intent, noise};

#[test]
fn a_blind_fleet_keeps_its_size_and_says_so() {
    let mut world = World::new(intent(), 8);
    world.run(HOUR, |_| 4.0 * capacity());
    world.known = false;
    let before = world.replicas;
    for _ in 0..2 * HOUR {
        let decision = world.step(0.0);
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{decision:?}"
        );
        assert_eq!(decision.replicas, before);
    }
    world.known = true;
    world.run(120, |_| 4.0 * capacity());
    let decision = world.step(4.0 * capacity());
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
        before in 0.4..5.0_f64,
        after in 0.04..5.0_f64,
        waiting in 20.0..200.0_f64,
    ) {
        let mut world = World::new(intent(), 8);
        world.run(HOUR, |_| before * capacity());
        let mut queueing = || world.step_told(after * capacity(), |told| told.waiting = Some(Count(waiting)));
        // One look may find a burst that is over in a moment.
        let mut there = queueing().replicas;
        for _ in 0..60 {
            let decision = queueing();
            prop_assert!(decision.replicas >= there, "{} of {there}: {:?}", decision.replicas, decision.steps);
            there = decision.replicas;
        }
    }
}

#[test]
fn a_state_that_was_saved_and_restored_decides_the_same() {
    let noisy = |mean: f64, step: usize| mean * capacity() * (1.0 + 0.15 * noise(step as u64, 1));
    let mut one = World::new(intent(), 3);
    one.run(HOUR, |step| noisy(2.5, step));
    let saved = serde_json::to_string(&one.sizer).unwrap();
    let mut other = one.clone();
    other.sizer = serde_json::from_str(&saved).unwrap();
    assert_eq!(one.sizer, other.sizer);
    for step in 0..HOUR {
        let rate = noisy(5.0, step);
        assert_eq!(one.step(rate), other.step(rate), "step {step}");
    }
}

#[test]
fn an_engine_that_does_not_tell_its_rate_is_not_taken_for_idle() {
    let mut world = World::new(intent(), 6);
    world.run(HOUR, |_| 4.0 * capacity());
    let before = world.replicas;
    for _ in 0..HOUR {
        let decision = world.step_told(4.0 * capacity(), |told| told.request_rate = None);
        assert!(decision.replicas >= before, "{decision:?}");
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{decision:?}"
        );
    }
}

#[test]
fn an_absurd_reading_is_none() {
    let mut world = World::new(intent(), 4);
    world.run(HOUR, |_| 2.5 * capacity());
    let usual = world.replicas;
    for absurd in [1e300, f64::NAN, f64::INFINITY, -1.0] {
        let decision = world.step_told(2.5 * capacity(), |told| {
            told.generation_tokens_mean = Some(Count(absurd));
        });
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{absurd}: {decision:?}"
        );
    }
    world.run(120, |_| 2.5 * capacity());
    assert!(world.replicas <= usual + 1, "{usual}, then {}", world.replicas);
}

#[test]
fn what_was_learned_counts_at_zero_too() {
    let wanted = Intent {
        min_replicas: 0,
        scale_to_zero_after: Some(Duration::from_secs(300)),
        ..intent()
    };
    let mut world = World::new(wanted, 2);
    world.run(2 * HOUR, |_| 1.25 * capacity());
    let learned = world.step(1.25 * capacity()).figures;
    world.run(HOUR, |_| 0.0);
    let at_zero = world.step(0.0);
    assert_eq!(at_zero.replicas, 0);
    let (before, after) = (learned.capacity.unwrap().0, at_zero.figures.capacity.unwrap().0);
    assert!(
        (after / before - 1.0).abs() < 0.2,
        "{before} and then {after} requests a second"
    );
}

#[test]
fn decisions_between_looks_still_obey_the_limits() {
    let mut world = World::new(intent(), 6);
    world.run(HOUR, |_| 4.0 * capacity());
    let mut seen = world.seen();
    seen.now = seen.now.plus(Duration::from_secs(1));
    seen.schedule.ceiling = Some(2);
    assert_eq!(world.sizer.decide(&world.intent, &seen).replicas, 2);
}

#[test]
fn the_very_first_look_keeps_what_is_there() {
    let world = World::new(intent(), 5);
    let decision = Sizer::new().decide(&world.intent, &world.seen());
    assert_eq!(decision.replicas, 5);
}
