//! What binds, binds whatever is seen; and what is not known takes nothing away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp, Watts};
use rheostat_sizing::{
    Amount, Budget, Change, Intent, Latency, Milestones, Objective, Observation, Outcome, Period, RateLimit,
    Replica, Schedule, Serving, Sizer, Stage, StepKind, WhenReached,
};
use world::{STEP, World, capacity, intent, start};

fn limited(limit: impl FnOnce(&mut Intent)) -> Intent {
    let mut intent = intent();
    limit(&mut intent);
    intent
}

#[test]
fn rates_bind_up_and_down() {
    let wanted = limited(|intent| {
        intent.limits.up = vec![RateLimit {
            change: Change::Replicas(2),
            within: Duration::from_secs(60),
        }];
        intent.limits.down = vec![RateLimit {
            change: Change::Replicas(1),
            within: Duration::from_secs(120),
        }];
    });
    let mut world = World::new(wanted, 2);
    let mut counts = vec![2];
    for step in 0..1500 {
        let load = if step < 200 { 12.0 } else { 1.0 };
        counts.push(world.step(load * capacity()).replicas);
    }
    assert!(counts[..200].iter().max().unwrap() >= &12);
    assert!(counts.last().unwrap() < &6);
    for end in 1..counts.len() {
        // Twelve steps are a minute.
        let least = counts[end.saturating_sub(12)..=end].iter().min().unwrap();
        assert!(
            counts[end] <= least + 2,
            "{:?}",
            &counts[end.saturating_sub(12)..=end]
        );
        let most = counts[end.saturating_sub(24)..=end].iter().max().unwrap();
        assert!(
            counts[end] + 1 >= *most,
            "{:?}",
            &counts[end.saturating_sub(24)..=end]
        );
    }
}

#[test]
fn a_part_of_the_replicas_is_rounded_up() {
    let wanted = limited(|intent| {
        let within = Duration::from_secs(60);
        intent.limits.up = vec![RateLimit {
            change: Change::Part(Ratio(0.25)),
            within,
        }];
    });
    let mut world = World::new(wanted, 2);
    let decision = world.step(40.0 * capacity());
    assert!(decision.replicas <= 3);
    world.run(300, |_| 30.0 * capacity());
    assert!(world.replicas > 20, "{}", world.replicas);
}

#[test]
fn no_more_than_so_many_start_at_once() {
    let wanted = limited(|intent| intent.limits.max_unready = Some(3));
    let mut world = World::new(wanted, 2);
    for _ in 0..200 {
        let ready = world.seen().ready_count();
        let decision = world.step(20.0 * capacity());
        let ready = ready.max(world.seen().ready_count());
        assert!(
            decision.replicas <= ready + 3,
            "{} with {ready} ready",
            decision.replicas
        );
    }
    assert!(world.replicas > 15, "{}", world.replicas);
}

fn budget(amount: Amount, when_reached: WhenReached) -> Intent {
    limited(|intent| {
        intent.limits.budgets = vec![Budget {
            amount,
            per: Period::Hour,
            when_reached,
        }];
    })
}

#[test]
fn a_budget_freezes_falls_or_only_warns() {
    // Eight replicas for half an hour use it up; then twice as much comes.
    let spend = |intent: Intent| {
        let mut world = World::new(intent, 8);
        let (mut left, mut said) = (Vec::new(), Vec::new());
        for step in 0..500 {
            let load = if step < 300 { 7.0 } else { 14.0 };
            let decision = world.step(load * capacity());
            left.push((decision.figures.budget_left.unwrap().0, decision.replicas));
            said = decision.steps.into_iter().map(|step| step.why).collect();
        }
        (left, said)
    };
    for (amount, in_words) in [
        (Amount::GpuHours(3.0), "3 GPU-hours"),
        (Amount::Money(9.0), "9 of money"),
    ] {
        let (frozen, said) = spend(budget(amount, WhenReached::Freeze));
        assert!(said.iter().any(|why| why.contains(in_words)), "{said:?}");
        assert!(frozen[0].0 > 0.9);
        let reached = frozen.iter().position(|(left, _)| *left <= 0.0).unwrap();
        let then = frozen[reached].1;
        for (left, replicas) in &frozen[reached..] {
            assert!(*left > 0.0 || *replicas <= then, "{replicas} after {then}");
        }
        let (fallen, _) = spend(budget(amount, WhenReached::Fall(2)));
        let reached = fallen.iter().position(|(left, _)| *left <= 0.0).unwrap();
        assert_eq!(fallen[reached].1, 2);
        let (warned, _) = spend(budget(amount, WhenReached::Warn));
        assert!(warned.last().unwrap().0 <= 0.0 && warned.last().unwrap().1 > 10);
    }
}

#[test]
fn a_budget_in_money_without_a_price_is_said_to_bind_nothing() {
    let mut wanted = budget(Amount::Money(1.0), WhenReached::Fall(0));
    wanted.replica.price_per_gpu_hour = None;
    let decision = World::new(wanted, 4).step(2.0 * capacity());
    assert!(decision.replicas > 0 && decision.figures.budget_left.is_none());
    assert!(
        decision
            .steps
            .iter()
            .any(|step| step.why.contains("what a GPU costs is not said"))
    );
}

#[test]
fn power_binds_by_what_is_drawn_or_else_by_the_data_sheet() {
    let wanted = limited(|intent| intent.limits.power = Some(Watts(4000.0)));
    let mut drawn = World::new(wanted.clone(), 4);
    drawn.power = Some(Watts(500.0));
    let mut unknown = World::new(wanted, 4);
    for _ in 0..100 {
        assert!(drawn.step(30.0 * capacity()).replicas <= 8);
        assert!(unknown.step(30.0 * capacity()).replicas <= 5);
    }
    assert_eq!((drawn.replicas, unknown.replicas), (8, 5));
    unknown.power = Some(Watts(500.0));
    unknown.run(100, |_| 30.0 * capacity());
    assert_eq!(unknown.replicas, 8, "what is drawn counts once it is known");
}

#[test]
fn a_pool_binds_and_says_so() {
    let mut world = World::new(intent(), 2);
    world.pool = Some(4);
    world.run(100, |_| 20.0 * capacity());
    let decision = world.step(20.0 * capacity());
    assert_eq!(decision.replicas, 4);
    assert!(decision.steps.iter().any(|step| step.kind == StepKind::Pool));
}

#[test]
fn a_floor_holds_without_load_and_a_ceiling_under_any() {
    let mut world = World::new(intent(), 2);
    world.schedule = Schedule {
        floor: Some(7),
        ceiling: Some(9),
        frozen: false,
    };
    assert_eq!(world.step(0.1).replicas, 7);
    world.run(100, |_| 20.0 * capacity());
    assert_eq!(world.replicas, 9);
}

#[test]
fn a_blackout_leaves_the_count_as_it_is_and_a_ceiling_holds_against_a_floor() {
    let mut world = World::new(intent(), 4);
    world.schedule.frozen = true;
    for load in [0.0, 40.0] {
        for _ in 0..200 {
            let decision = world.step(load * capacity());
            assert_eq!(decision.replicas, 4);
        }
    }
    world.schedule = Schedule {
        floor: Some(30),
        ceiling: Some(7),
        frozen: false,
    };
    let decision = world.step(20.0 * capacity());
    assert_eq!(decision.replicas, 7);
    assert!(decision.steps.iter().any(|step| step.kind == StepKind::Schedule));
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
    Option<f64>,
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
        prop::option::weighted(0.2, odd(100.0)),
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
        queued_outside: outside.map(Count),
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
        .prop_map(|(objective, min, more, headroom, idle, max_unready)| {
            limited(|intent| {
                intent.objective = objective;
                intent.min_replicas = min;
                intent.max_replicas = min + more;
                intent.headroom = headroom;
                intent.scale_to_zero_after = idle.filter(|_| min == 0).map(Duration::from_secs);
                intent.limits.max_unready = max_unready;
            })
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
            if blind || matches!(decision.outcome, Outcome::Unknown { .. }) {
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
