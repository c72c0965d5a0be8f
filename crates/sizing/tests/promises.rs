//! What a policy promises, whatever is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fleet;

use std::time::Duration;

use fleet::{Fleet, intent};
use proptest::prelude::*;
use rheostat_reading::{Count, Ratio, Watts};
use rheostat_sizing::{
    Amount, Budget, Change, Objective, Outcome, Period, RateLimit, Schedule, Sizer, StepKind, WhenReached,
};

const HOUR: u64 = 3600;

/// Requests per second that vary around a mean, without chance.
fn noisy(mean: f64, step: u64) -> f64 {
    let wave = (step * 7919 % 1000) as f64 / 1000.0 - 0.5;
    mean * (1.0 + 0.3 * wave)
}

#[test]
fn pods_that_never_become_ready_make_nothing_run_away() {
    let mut fleet = Fleet::new(intent(), 2);
    fleet.run(HOUR, 4.0);
    fleet.cold_start = None;
    let before = fleet.replicas();
    fleet.run(2 * HOUR, 9.0);
    let after = fleet.replicas();
    assert!(after >= before);
    assert!(after <= 16, "{after} replicas for 9 requests a second");
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
fn what_another_has_learned_is_taken_over() {
    let mut teacher = Fleet::new(intent(), 4);
    for step in 0..6 * HOUR / 5 {
        teacher.step(noisy(8.0, step));
    }
    let learned = teacher.sizer.learned();
    let text = serde_json::to_string(&learned).unwrap();
    assert!(
        text.len() < 256 << 10,
        "small enough for a ConfigMap: {} bytes",
        text.len()
    );
    let mut pupil = Fleet::new(intent(), 4);
    pupil.sizer.adopt(serde_json::from_str(&text).unwrap());
    let decision = pupil.run(60, 8.0);
    let sure = |decision: &rheostat_sizing::Decision| decision.figures.confidence.unwrap().0;
    let fresh = Fleet::new(intent(), 4).run(60, 8.0);
    assert!(
        sure(&decision) > sure(&fresh) + 0.2,
        "{} and {}",
        sure(&decision),
        sure(&fresh)
    );
}

#[test]
fn to_zero_when_idle_and_back_when_somebody_waits() {
    let mut intent = intent();
    intent.min_replicas = 0;
    intent.scale_to_zero_after = Some(Duration::from_secs(300));
    let mut fleet = Fleet::new(intent, 2);
    fleet.queued_outside = Some(Count(0.0));
    let decision = fleet.run(HOUR, 3.0);
    assert!(decision.active && decision.replicas > 0);
    let decision = fleet.run(200, 0.0);
    assert!(
        decision.replicas > 0 && decision.active,
        "not idle for long enough: {decision:?}"
    );
    let decision = fleet.run(HOUR, 0.0);
    assert_eq!((decision.replicas, decision.active), (0, false), "{decision:?}");
    assert_eq!(fleet.replicas(), 0);
    assert_eq!(fleet.run(60, 0.0).outcome, Outcome::AtZero);
    fleet.queued_outside = Some(Count(7.0));
    let decision = fleet.step(0.0);
    assert!(decision.replicas >= 1 && decision.active, "{decision:?}");
}

#[test]
fn what_is_not_known_is_not_idle() {
    let mut intent = intent();
    intent.min_replicas = 0;
    intent.scale_to_zero_after = Some(Duration::ZERO);
    let mut fleet = Fleet::new(intent, 3);
    fleet.visible = false;
    for _ in 0..100 {
        let decision = fleet.step(0.0);
        assert!(decision.active && decision.replicas == 3, "{decision:?}");
    }
}

#[test]
fn budgets_bind_when_they_are_used_up() {
    let budget = |when_reached| Budget {
        amount: Amount::GpuHours(20.0),
        per: Period::Hour,
        when_reached,
    };
    let with = |when_reached| {
        let mut intent = intent();
        intent.limits.budgets = vec![budget(when_reached)];
        let mut fleet = Fleet::new(intent, 4);
        // Four replicas of four GPUs are 16 GPU-hours in an hour; what 20 requests a second need is more.
        fleet.run(HOUR, 20.0);
        let before = fleet.replicas();
        let decision = fleet.run(HOUR, 40.0);
        (before, decision)
    };
    let (before, frozen) = with(WhenReached::Freeze);
    assert!(frozen.replicas <= before, "{before} and {}", frozen.replicas);
    assert!(frozen.figures.budget_left.unwrap() < Ratio(0.0));
    assert!(frozen.steps.iter().any(|step| step.why.contains("20 GPU-hours")));
    let (_, fallen) = with(WhenReached::Fall(2));
    assert_eq!(fallen.replicas, 2);
    let (_, warned) = with(WhenReached::Warn);
    assert!(warned.replicas > 10, "{}", warned.replicas);
}

#[test]
fn rates_surge_power_schedules_and_pools_bind() {
    let mut fleet = Fleet::new(intent(), 2);
    fleet.intent.limits.up = vec![RateLimit {
        change: Change::Replicas(1),
        within: Duration::from_secs(60),
    }];
    let before = fleet.replicas();
    fleet.run(300, 60.0);
    assert!(fleet.replicas() <= before + 5, "{}", fleet.replicas());

    let mut fleet = Fleet::new(intent(), 2);
    fleet.intent.limits.max_unready = Some(3);
    fleet.run(100, 60.0);
    assert!(fleet.replicas() <= 5, "{}", fleet.replicas());

    let mut fleet = Fleet::new(intent(), 2);
    fleet.intent.limits.power = Some(Watts(8000.0));
    // By the data sheet: 1600 W for four of them.
    fleet.run(HOUR, 60.0);
    assert_eq!(fleet.replicas(), 5);
    fleet.power = Some(1000.0);
    fleet.run(HOUR, 60.0);
    assert_eq!(fleet.replicas(), 8, "what is drawn counts where it is known");

    let mut fleet = Fleet::new(intent(), 2);
    fleet.schedule = Schedule {
        floor: Some(7),
        ceiling: Some(9),
        frozen: false,
    };
    assert_eq!(fleet.run(60, 0.1).replicas, 7);
    assert_eq!(fleet.run(HOUR, 60.0).replicas, 9);
    fleet.schedule = Schedule {
        frozen: true,
        ..Schedule::default()
    };
    assert_eq!(fleet.run(HOUR, 0.1).replicas, 9, "a blackout");

    let mut fleet = Fleet::new(intent(), 2);
    fleet.pool = Some(4);
    let decision = fleet.run(HOUR, 60.0);
    assert_eq!(decision.replicas, 4);
    assert!(decision.steps.iter().any(|step| step.kind == StepKind::Pool));
}

#[test]
fn a_concurrency_and_a_utilisation_can_be_what_is_kept() {
    let mut intent = intent();
    intent.objective = Objective::Concurrency(16.0);
    let mut fleet = Fleet::new(intent, 2);
    fleet.run(2 * HOUR, 6.0);
    let in_flight = fleet.step(6.0).figures.in_flight.unwrap().0;
    let found = f64::from(fleet.replicas());
    assert!(found >= in_flight / 16.0 - 1.0, "{found} for {in_flight}");
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is seen, nothing goes beyond the limits, and nothing falls while too little is known.
    #[test]
    fn limits_hold_and_unknown_never_falls(
        load in proptest::collection::vec((0.0_f64..2000.0, any::<bool>(), 0_u64..120), 5..60),
        bounds in (0_u32..5, 5_u32..40),
        ceiling in proptest::option::of(0_u32..30),
        replicas in 0_u32..30,
    ) {
        let mut intent = intent();
        (intent.min_replicas, intent.max_replicas) = bounds;
        let mut fleet = Fleet::new(intent, replicas);
        fleet.schedule.ceiling = ceiling;
        for (rate, visible, pause) in load {
            fleet.visible = visible;
            fleet.now = fleet.now.plus(Duration::from_secs(pause));
            let before = fleet.replicas();
            let decision = fleet.step(rate);
            prop_assert!(decision.replicas <= bounds.1);
            prop_assert!(ceiling.is_none_or(|ceiling| decision.replicas <= ceiling));
            prop_assert!(ceiling.is_some() || decision.replicas >= bounds.0);
            if matches!(decision.outcome, Outcome::Unknown { .. }) {
                let most = bounds.1.min(ceiling.unwrap_or(u32::MAX));
                prop_assert!(decision.replicas >= before.min(most), "{before}: {decision:?}");
            }
        }
    }
}

#[test]
fn the_very_first_look_keeps_what_is_there() {
    let fleet = Fleet::new(intent(), 5);
    let decision = Sizer::new().decide(&fleet.intent, &fleet.observation(0.0));
    assert_eq!(decision.replicas, 5);
}
