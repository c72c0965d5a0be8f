//! Each limit binds, and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::time::Duration;

use rheostat_reading::{Ratio, Watts};
use rheostat_sizing::{
    Amount, Budget, Change, Intent, Limits, Period, RateLimit, Schedule, StepKind, WhenReached,
};
use world::{HOUR, World, capacity, intent};

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

/// One that rests draws a seventh of what it can, and a burst would start so many that serving ones had to go.
#[test]
fn what_rests_does_not_tell_how_much_power_replicas_take() {
    let wanted = limited(|intent| intent.limits.power = Some(Watts(4000.0)));
    let mut world = World::new(wanted, 1);
    world.power = Some(Watts(100.0));
    world.run(20, |_| 0.0);
    let burst = world.step(60.0 * capacity());
    assert!(burst.replicas <= 5, "700 W each by the data sheet: {burst:?}");
    // Six that serve within the limit stay, whatever they could draw.
    let wanted = limited(|intent| intent.limits.power = Some(Watts(4000.0)));
    let mut world = World::new(wanted, 6);
    world.power = Some(Watts(300.0));
    let decision = world.step(0.5);
    assert_eq!(decision.replicas, 6, "{decision:?}");
}

#[test]
fn a_power_limit_knows_the_gpus_that_are_there() {
    let wanted = limited(|intent| intent.limits.power = Some(Watts(1000.0)));
    let mut world = World::new(wanted, 3);
    let mut seen = world.seen();
    for pod in &mut seen.pods {
        pod.hardware = "NVIDIA L4".into();
        if let Some(serving) = &mut pod.serving {
            serving.waiting = Some(rheostat_reading::Count(3000.0));
        }
    }
    let decision = world.sizer.decide(&world.intent, &seen);
    assert!(decision.replicas > 3, "72 W each, and not 400: {decision:?}");
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

/// KEDA starts nothing that is not active, and takes it to zero.
#[test]
fn what_a_limit_keeps_of_an_idle_workload_is_active() {
    let idle = limited(|intent| {
        intent.min_replicas = 0;
        intent.scale_to_zero_after = Some(Duration::from_secs(60));
    });
    let floor = |replicas| Schedule {
        floor: Some(replicas),
        ..Schedule::default()
    };
    for replicas in [1, 2] {
        let mut world = World::new(idle.clone(), 0);
        world.run(100, |_| 0.0);
        let asleep = world.step(0.0);
        assert_eq!((asleep.replicas, asleep.active), (0, false));
        world.schedule = floor(replicas);
        let woken = world.step(0.0);
        assert_eq!((woken.replicas, woken.active), (replicas, true), "from zero");
        world.run(100, |_| 0.0);
        let kept = world.step(0.0);
        assert_eq!((kept.replicas, kept.active), (replicas, true), "idle");
        world.schedule = Schedule::default();
        assert!(!world.step(0.0).active, "after its time");
    }

    // What a floor keeps active is not cut down to it at once either.
    let mut world = World::new(idle.clone(), 4);
    world.schedule = floor(1);
    world.run(HOUR, |_| 3.0 * capacity());
    let there = world.replicas;
    let idle_for = world.run(14, |_| 0.0);
    assert_eq!(*idle_for.last().unwrap(), there, "70 s: {idle_for:?}");

    let mut frozen = World::new(idle.clone(), 1);
    frozen.schedule.frozen = true;
    frozen.run(100, |_| 0.0);
    let frozen = frozen.step(0.0);
    assert_eq!(
        (frozen.replicas, frozen.active),
        (1, true),
        "a blackout freezes the last one, too"
    );

    let slowly = Intent {
        limits: Limits {
            down: vec![RateLimit {
                change: Change::Replicas(1),
                within: Duration::from_secs(600),
            }],
            ..Limits::default()
        },
        ..idle
    };
    let mut world = World::new(slowly, 3);
    let mut counts = Vec::new();
    for _ in 0..HOUR {
        world.step(0.0);
        counts.push(world.replicas);
    }
    let mut kept = counts.clone();
    kept.dedup();
    assert_eq!(kept, [3, 2, 1, 0], "one by one");
    let last = counts.iter().filter(|count| **count == 1).count();
    assert!(last >= 120, "for ten minutes each: {last} looks of five seconds");
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
