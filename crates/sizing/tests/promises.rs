//! What a policy promises, whatever is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp, Watts};
use rheostat_sizing::{
    Intent, Latency, Limits, Milestones, Objective, Observation, Outcome, QueuedOutside, Replica, Schedule,
    Serving, Sizer, Stage,
};
use world::{HOUR, STEP, World, capacity, intent, noise, start};

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

#[test]
fn what_is_not_known_is_not_idle() {
    let mut world = World::new(
        Intent {
            min_replicas: 0,
            scale_to_zero_after: Some(Duration::ZERO),
            ..intent()
        },
        3,
    );
    world.known = false;
    for _ in 0..100 {
        let decision = world.step(1.0);
        assert!(
            matches!(decision.outcome, Outcome::Unknown { .. }),
            "{decision:?}"
        );
        assert!(decision.active && decision.replicas == 3, "{decision:?}");
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

/// One number that no engine can have neither sizes the fleet nor stays in the state.
#[test]
fn one_absurd_reading_is_forgotten() {
    let mut world = World::new(intent(), 4);
    world.run(200, |_| 3.0 * capacity());
    let mut absurd = Some(Count(1e300));
    world.step_told(3.0 * capacity(), |first| {
        first.generation_tokens_mean = absurd.take().or(first.generation_tokens_mean);
    });
    let counts = world.run(2 * HOUR, |_| 3.0 * capacity());
    assert!(*counts.last().unwrap() <= 6, "{}", counts.last().unwrap());
    let text = serde_json::to_string(&world.sizer).unwrap();
    assert_eq!(serde_json::from_str::<Sizer>(&text).unwrap(), world.sizer);
}

#[test]
fn the_very_first_look_keeps_what_is_there() {
    let world = World::new(intent(), 5);
    let decision = Sizer::new().decide(&world.intent, &world.seen());
    assert_eq!(decision.replicas, 5);
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

/// A number, or one that no engine should say.
fn odd(most: f64) -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..most, 1 => Just(0.0), 1 => Just(1e12), 1 => Just(-1.0)]
}

prop_compose! {
    fn serving()(
        waiting in prop::option::of(odd(200.0)), running in prop::option::of(odd(64.0)),
        rate in prop::option::of(odd(30.0)), prompt in prop::option::of(odd(4000.0)),
        output in prop::option::of(odd(800.0)), itl in prop::option::of(odd(0.2)),
        ttft in prop::option::of(odd(20.0)), age in 0_u64..40,
    ) -> Serving {
        let latency = |value: f64| Latency {
            mean: Seconds(value), p50: Seconds(value), p90: Seconds(value * 1.2),
            p95: Seconds(value * 1.4), p99: Seconds(value * 2.0),
        };
        Serving {
            // Its age, until the observation that it belongs to is known.
            taken_at: start().minus(Duration::from_secs(age)),
            window: Duration::from_secs(30),
            waiting: waiting.map(Count), running: running.map(Count),
            kv_cache_usage: None, kv_tokens: None, max_sequences: Some(Count(64.0)),
            request_rate: rate.map(PerSecond),
            prompt_token_rate: rate.zip(prompt).map(|(one, two)| PerSecond(one * two)),
            generation_token_rate: rate.zip(output).map(|(one, two)| PerSecond(one * two)),
            prompt_tokens_mean: prompt.map(Count), generation_tokens_mean: output.map(Count),
            preemption_rate: None,
            ttft: ttft.map(latency), itl: itl.map(latency), tpot: itl.map(latency), e2e: None,
        }
    }
}

prop_compose! {
    fn pod()(
        stage in prop_oneof![
            6 => Just(Stage::Ready), 1 => Just(Stage::Pending), 1 => Just(Stage::Starting),
            1 => Just(Stage::Unready), 1 => Just(Stage::Terminating),
        ],
        serving in prop::option::weighted(0.8, serving()),
        busy in prop::option::of(0.0_f64..1.0),
        power in prop::option::of(odd(1500.0)),
        age in 0_u64..2000,
    ) -> (Stage, Option<Serving>, Option<f64>, Option<f64>, u64) {
        (stage, serving, busy, power, age)
    }
}

/// What is seen in one step: seconds since the last, replicas asked for, pods, requests outside, floor, ceiling, blackout, pool.
type Sight = (
    u64,
    u32,
    Vec<(Stage, Option<Serving>, Option<f64>, Option<f64>, u64)>,
    QueuedOutside,
    Option<u32>,
    Option<u32>,
    bool,
    Option<u32>,
);

fn sight() -> impl Strategy<Value = Sight> {
    (
        // Looks may be late.
        prop_oneof![3 => Just(STEP.as_secs()), 1 => STEP.as_secs()..125],
        0_u32..30,
        prop::collection::vec(pod(), 0..12),
        prop_oneof![
            7 => Just(QueuedOutside::Untold),
            2 => odd(100.0).prop_map(|requests| QueuedOutside::Told(Count(requests))),
            1 => Just(QueuedOutside::Unknown("nobody answers".into())),
        ],
        prop::option::weighted(0.2, 0_u32..40),
        prop::option::weighted(0.2, 0_u32..40),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 0_u32..40),
    )
}

/// What is seen, each as long after the one before as it says.
fn observations(sights: &[Sight]) -> Vec<Observation> {
    let mut now = start();
    let observe = |sight: &Sight| {
        now = now.plus(Duration::from_secs(sight.0));
        observation(now, sight)
    };
    sights.iter().map(observe).collect()
}

fn observation(now: Timestamp, sight: &Sight) -> Observation {
    let (_, replicas, pods, outside, floor, ceiling, frozen, pool) = sight;
    let pods = pods
        .iter()
        .enumerate()
        .map(|(number, (stage, serving, busy, power, age))| Replica {
            name: format!("chat-{number}").into(),
            hardware: if number % 3 == 0 {
                "NVIDIA A100-SXM4-80GB"
            } else {
                ""
            }
            .into(),
            created: now.minus(Duration::from_secs(*age)),
            stage: *stage,
            milestones: Milestones {
                ready: (*stage == Stage::Ready).then(|| now.minus(Duration::from_secs(age / 2))),
                ..Milestones::default()
            },
            serving: serving.map(|serving| Serving {
                taken_at: now.minus(start().since(serving.taken_at)),
                ..serving
            }),
            gpu_utilization: busy.map(Ratio),
            power: power.map(Watts),
        });
    Observation {
        now,
        replicas: *replicas,
        pods: pods.collect(),
        queued_outside: outside.clone(),
        schedule: Schedule {
            floor: *floor,
            ceiling: *ceiling,
            frozen: *frozen,
        },
        pool: *pool,
        partner: None,
    }
}

fn wanted() -> impl Strategy<Value = Intent> {
    let objective = prop_oneof![
        Just(intent().objective),
        (1.0_f64..64.0).prop_map(Objective::Concurrency),
        (0.1_f64..1.0).prop_map(|part| Objective::Utilization(Ratio(part))),
    ];
    (
        objective,
        0_u32..6,
        0_u32..40,
        0_u32..3,
        prop::option::of(0_u64..900),
        prop::option::of(0_u32..5),
    )
        .prop_map(|(objective, min, more, headroom, idle, max_unready)| Intent {
            objective,
            min_replicas: min,
            max_replicas: min + more,
            headroom,
            scale_to_zero_after: idle.filter(|_| min == 0).map(Duration::from_secs),
            limits: Limits {
                max_unready,
                ..Limits::default()
            },
            ..intent()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_seen_gets_it_beyond_its_limits(
        intent in wanted(),
        sights in prop::collection::vec(sight(), 1..40),
    ) {
        let mut sizer = Sizer::new();
        for (step, seen) in observations(&sights).into_iter().enumerate() {
            let decision = sizer.decide(&intent, &seen);
            let why = || format!("step {step}: {decision:?}\n{intent:?}\n{seen:?}");
            if seen.schedule.frozen {
                prop_assert!(decision.replicas == seen.replicas, "{}", why());
                continue;
            }
            let top = [Some(intent.max_replicas), seen.schedule.ceiling, seen.pool]
                .into_iter().flatten().min().unwrap();
            prop_assert!(decision.replicas <= top, "beyond {top}, {}", why());
            let bottom = intent.min_replicas.max(seen.schedule.floor.unwrap_or(0)).min(top);
            prop_assert!(decision.replicas >= bottom, "below {bottom}, {}", why());
            if let Some(most) = intent.limits.max_unready {
                let unready = seen.replicas.saturating_sub(seen.ready_count());
                let surge = (seen.replicas + most.saturating_sub(unready)).max(bottom);
                prop_assert!(decision.replicas <= surge, "beyond {surge}, {}", why());
            }
            // What is not known takes nothing away that no limit forbids.
            let blind = seen.ready_count() > 0
                && seen.ready().all(|pod| pod.serving.is_none() && pod.gpu_utilization.is_none());
            let untold = matches!(seen.queued_outside, QueuedOutside::Unknown(_));
            prop_assert!(!untold || seen.replicas == 0 || matches!(decision.outcome, Outcome::Unknown { .. }), "{}", why());
            if blind || untold || matches!(decision.outcome, Outcome::Unknown { .. }) {
                prop_assert!(decision.replicas >= seen.replicas.min(top), "{}", why());
            }
            prop_assert!(!decision.active || decision.replicas > 0, "{}", why());
            prop_assert!(decision.steps.last().is_none_or(|step| step.replicas == decision.replicas), "{}", why());
        }
    }

    /// Saved and restored in the middle, it decides the same bit for bit.
    #[test]
    fn a_saved_sizer_goes_on_as_if_nothing_had_been(
        intent in wanted(),
        sights in prop::collection::vec(sight(), 2..40),
        at in 0_usize..40,
    ) {
        let mut sizer = Sizer::new();
        let mut restored: Option<Sizer> = None;
        for (step, seen) in observations(&sights).into_iter().enumerate() {
            if step == at.min(sights.len() - 1) {
                let text = serde_json::to_string(&sizer).unwrap();
                let read: Sizer = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
                restored = Some(read);
            }
            let decision = sizer.decide(&intent, &seen);
            if let Some(restored) = &mut restored {
                let again = restored.decide(&intent, &seen);
                prop_assert_eq!(
                    serde_json::to_string(&again).unwrap(),
                    serde_json::to_string(&decision).unwrap()
                );
            }
        }
        prop_assert_eq!(restored.as_ref(), Some(&sizer));
    }
}
