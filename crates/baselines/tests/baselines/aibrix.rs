use rheostat_baselines::Settings;
use rheostat_simulator::Controller;

use crate::support::{Load, direct, observation};

fn usage(kv_cache: f64, pods: usize) -> Vec<Load> {
    vec![
        Load {
            kv_cache,
            ..Load::default()
        };
        pods
    ]
}

/// Looks each 10 s, long enough for the windows to forget what was before; gives the last decision.
fn settled(controller: &mut dyn Controller, from: u32, replicas: u32, kv_cache: f64) -> u32 {
    let loads = usage(kv_cache, replicas as usize);
    let mut last = None;
    for second in (from..from + 200).step_by(10) {
        last = controller.decide(&observation(f64::from(second), replicas, &loads));
    }
    last.unwrap()
}

/// apa_test.go: within 0.1 of the target nothing, beyond it the ratio, to the double and the half at most.
#[test]
fn apa_follows_the_ratio_within_its_rates() {
    let at = |replicas, kv_cache| {
        settled(
            &mut *direct("aibrix-apa", &Settings::new()),
            0,
            replicas,
            kv_cache,
        )
    };
    assert_eq!(at(4, 0.54), 4, "within the tolerance");
    assert_eq!(at(4, 0.6), 5, "4 * 1.2");
    assert_eq!(at(4, 1.0), 8, "to the double");
    assert_eq!(at(4, 0.4), 4, "4 * 0.8, rounded up");
    assert_eq!(at(8, 0.3), 5, "8 * 0.6");
    assert_eq!(at(8, 0.01), 4, "to the half");
}

/// kpa.go divides the mean over pods by the target, and nothing multiplies by the pods: at a target of 0.5 a
/// full KV cache asks for 2, however many there are and however full they are (AIBrix issue 617 has a log of
/// an older build that did reach 6).
#[test]
fn kpa_never_asks_for_more_than_two_at_a_target_of_a_half() {
    for replicas in 1..=40 {
        let mut kpa = direct("aibrix-kpa", &Settings::new());
        let wanted = settled(&mut *kpa, 0, replicas, 1.0);
        assert!(wanted <= 2.max(replicas / 2), "{replicas} to {wanted}");
    }
    // Ten replicas at full load: down to the half, again and again, until there are two.
    let (mut kpa, mut replicas) = (direct("aibrix-kpa", &Settings::new()), 10);
    for round in 0..5 {
        replicas = settled(&mut *kpa, round * 400, replicas, 1.0);
    }
    assert_eq!(replicas, 2);
}

/// context.go: `SetMaxPanicPods` does nothing, so a panic forgets the most pods that it asked for.
#[test]
fn a_panic_of_kpa_takes_pods_away() {
    let settings = Settings::new()
        .with("metric", "running")
        .with("target_requests", 1.0)
        .with("stable_window_seconds", 600_u32)
        .with("down_cooldown_seconds", 0_u32);
    let mut kpa = direct("aibrix-kpa", &settings);
    let mut at = |second: u32, replicas: u32, running: f64| {
        let load = Load {
            running,
            ..Load::default()
        };
        kpa.decide(&observation(
            f64::from(second),
            replicas,
            &vec![load; replicas as usize],
        ))
    };
    for second in (0..600).step_by(10) {
        let _ = at(second, 20, 0.1);
    }
    let _ = at(600, 20, 100.0);
    for second in (610..650).step_by(10) {
        let _ = at(second, 20, 0.1);
    }
    assert_eq!(
        at(650, 20, 60.0),
        Some(27),
        "160.4 / 6 in the last minute, 0.1 before: panic"
    );
    // The first burst has left the short window, which is still at 10.1 against 2.8: still panic, where
    // Knative's would keep the 27.
    assert_eq!(at(660, 27, 0.1), Some(13), "to the half");
}

/// podautoscaler_controller.go, stabilizeRecommendation: on the way down the smallest of the window, so that
/// a short lull of minutes ago still counts when the load is back.
#[test]
fn the_cooldown_takes_the_smallest_where_the_hpa_takes_the_largest() {
    let settings = |cooldown: u32| {
        Settings::new()
            .with("stable_window_seconds", 10_u32)
            .with("down_cooldown_seconds", cooldown)
    };
    let lull_then_slightly_low = |cooldown| {
        let mut apa = direct("aibrix-apa", &settings(cooldown));
        // A lull: half of them would do; then nearly, but not quite, the target again.
        let _ = apa.decide(&observation(0.0, 8, &usage(0.2, 8)));
        apa.decide(&observation(100.0, 8, &usage(0.43, 8))).unwrap()
    };
    assert_eq!(lull_then_slightly_low(0), 7, "8 * 0.86");
    assert_eq!(
        lull_then_slightly_low(300),
        4,
        "what the lull of 100 s ago asked for"
    );
}

/// "scaling disabled: current replicas is 0".
#[test]
fn at_zero_it_does_nothing() {
    let mut apa = direct("aibrix-apa", &Settings::new());
    assert_eq!(apa.decide(&observation(0.0, 0, &[])), None);
    assert_eq!(
        apa.decide(&observation(10.0, 2, &[])),
        None,
        "no pod answers: the metric fails"
    );
}
