//! The bounds against all plans there are, on small loads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use rheostat_optimum::{Bill, Load, LoadError, with_attainment, without_waiting, work};

const BIN: Duration = Duration::from_secs(10);

type Bins = Vec<(f64, f64)>;

fn load(bins: &Bins) -> Load {
    Load::new(BIN, bins.iter().copied()).unwrap()
}

/// The least cost of all sequences of replica counts that serve at least `attainment` of the requests.
fn brute_force(bins: &Bins, bill: Bill, attainment: f64) -> f64 {
    let peak = load(bins).peak();
    let total: f64 = bins.iter().map(|bin| bin.1).sum();
    let mut best = f64::INFINITY;
    let mut counts = vec![0; bins.len()];
    loop {
        let served: f64 = bins
            .iter()
            .zip(&counts)
            .map(|(&(replicas, requests), &count)| {
                if replicas == 0.0 {
                    requests
                } else {
                    requests * f64::min(1.0, f64::from(count) / replicas)
                }
            })
            .sum();
        if served >= attainment * total - 1e-9 {
            best = f64::min(best, cost(&counts, bill));
        }
        // The next sequence, as one counts.
        let Some(place) = counts.iter().position(|&count| count < peak) else {
            return best;
        };
        counts[place] += 1;
        counts[..place].fill(0);
    }
}

fn cost(counts: &[u32], bill: Bill) -> f64 {
    let mut before = bill.warm;
    let mut cost = 0.0;
    for &count in counts {
        cost += f64::from(count) * BIN.as_secs_f64();
        cost += f64::from(count.saturating_sub(before)) * bill.cold_start.as_secs_f64();
        before = count;
    }
    cost
}

fn small() -> impl Strategy<Value = (Bins, Bill, f64)> {
    let bin = prop_oneof![
        Just((0.0, 0.0)),
        (0.05..3.0_f64, 0.5..20.0_f64),
        (1_u32..=3, 1_u32..=9).prop_map(|(replicas, requests)| (f64::from(replicas), f64::from(requests))),
    ];
    let bill = (0_u64..60, 0_u32..3).prop_map(|(cold_start, warm)| Bill {
        cold_start: Duration::from_secs(cold_start),
        warm,
    });
    (proptest::collection::vec(bin, 1..6), bill, 0.0..=1.0_f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn without_waiting_the_bound_is_the_optimum((bins, bill, _) in small()) {
        let bound = without_waiting(&load(&bins), bill).0;
        let best = brute_force(&bins, bill, 1.0);
        prop_assert!((bound - best).abs() < 1e-6, "{bound} is not {best}");
    }

    #[test]
    fn with_attainment_no_plan_is_below_the_bound((bins, bill, attainment) in small()) {
        let bound = with_attainment(&load(&bins), bill, attainment).0;
        let best = brute_force(&bins, bill, attainment);
        prop_assert!(bound <= best + 1e-6, "{bound} is above {best}");
    }

    #[test]
    fn serving_everything_is_the_same_in_both((bins, bill, _) in small()) {
        let all = with_attainment(&load(&bins), bill, 1.0).0;
        let exact = without_waiting(&load(&bins), bill).0;
        prop_assert!((all - exact).abs() < 1e-6 * exact.max(1.0), "{all} is not {exact}");
    }

    #[test]
    fn more_is_never_cheaper((bins, bill, attainment) in small(), less in 0.0..=1.0_f64) {
        let load = load(&bins);
        let bound = |attainment| with_attainment(&load, bill, attainment).0;
        prop_assert!(bound(attainment * less) <= bound(attainment) + 1e-6);
        let slower = Bill { cold_start: bill.cold_start + BIN, ..bill };
        prop_assert!(without_waiting(&load, bill) <= without_waiting(&load, slower));
        let warmer = Bill { warm: bill.warm + 1, ..bill };
        prop_assert!(without_waiting(&load, warmer) <= without_waiting(&load, bill));
        prop_assert!(work(&load).0 <= without_waiting(&load, bill).0 + 1e-6);
    }
}

/// A load whose optimum can be seen: two bursts, between which a replica is worth keeping or not.
#[test]
fn a_gap_is_bridged_where_it_is_shorter_than_a_start() {
    let bursts: Bins = vec![(1.0, 1.0), (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)];
    let cost = |seconds| {
        let bill = Bill {
            cold_start: Duration::from_secs(seconds),
            warm: 0,
        };
        without_waiting(&load(&bursts), bill).0
    };
    assert!(
        (cost(5) - (5.0 + 10.0 + 5.0 + 10.0)).abs() < 1e-9,
        "started twice"
    );
    assert!((cost(60) - (60.0 + 40.0)).abs() < 1e-9, "kept");
}

#[test]
fn dropping_a_lonely_request_saves_its_start() {
    let bins: Bins = vec![(1.0, 99.0), (0.0, 0.0), (0.0, 0.0), (0.1, 1.0)];
    let bill = Bill {
        cold_start: Duration::from_secs(600),
        warm: 1,
    };
    let all = with_attainment(&load(&bins), bill, 1.0).0;
    let most = with_attainment(&load(&bins), bill, 0.99).0;
    assert!(
        (all - 40.0).abs() < 1e-6 && (most - 10.0).abs() < 1e-6,
        "{all} {most}"
    );
}

#[test]
fn a_load_that_makes_no_sense_is_refused() {
    assert_eq!(Load::new(Duration::ZERO, []), Err(LoadError::NoLength));
    for (replicas, requests) in [
        (f64::NAN, 1.0),
        (-1.0, 1.0),
        (1.0, 0.0),
        (1.0, f64::INFINITY),
        (1e9, 1.0),
    ] {
        let refused = Load::new(BIN, [(0.0, 0.0), (replicas, requests)]);
        assert!(
            matches!(refused, Err(LoadError::Impossible { bin: 1, .. })),
            "{replicas} {requests}"
        );
    }
}
