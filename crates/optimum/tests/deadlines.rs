//! The bound for requests that may wait against all plans there are, on small loads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use rheostat_optimum::{Bill, Job, Request, bound};

/// Plans change at multiples of this.
const SLOT: f64 = 5.0;
const SLOTS: usize = 6;
const MOST: u32 = 3;

fn job(request: &Request) -> Job {
    Job::new(request)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A request as a plan must serve it: its prompt, then its answer, which may be done at any time until the
/// request must end. (That tokens come one after another is left out: it makes plans cheaper, never dearer.)
#[derive(Clone, Copy, Debug)]
struct Due {
    from: f64,
    by: f64,
    work: f64,
}

fn dues(requests: &[Request]) -> Vec<[Due; 2]> {
    requests
        .iter()
        .map(|request| {
            let at = request.at.as_secs_f64();
            let first = at + request.first_token.as_secs_f64();
            [
                Due {
                    from: at,
                    by: first,
                    work: request.prompt_work.as_secs_f64(),
                },
                Due {
                    from: at,
                    by: first + request.answer_longest.as_secs_f64(),
                    work: request.answer_work.as_secs_f64(),
                },
            ]
        })
        .collect()
}

/// Whether so many replicas in each slot serve all that is due in time: whatever is due first goes first,
/// which is the best order there is, in steps of which every time is a multiple.
fn serves(counts: &[u32], due: &[Due]) -> bool {
    const STEP: f64 = 0.5;
    let mut left: Vec<f64> = due.iter().map(|one| one.work).collect();
    let steps = (SLOT * SLOTS as f64 / STEP) as usize;
    for step in 0..steps {
        let now = step as f64 * STEP;
        let mut room = f64::from(counts[(now / SLOT) as usize]) * STEP;
        let mut order: Vec<usize> = (0..due.len())
            .filter(|one| due[*one].from <= now + 1e-9)
            .collect();
        order.sort_by(|one, two| due[*one].by.total_cmp(&due[*two].by));
        for one in order {
            let done = f64::min(left[one], room);
            left[one] -= done;
            room -= done;
        }
        if due
            .iter()
            .zip(&left)
            .any(|(one, left)| one.by <= now + STEP + 1e-9 && *left > 1e-6)
        {
            return false;
        }
    }
    left.iter().all(|left| *left <= 1e-6)
}

fn brute_force(requests: &[Request], bill: Bill, attainment: f64) -> Option<f64> {
    let due = dues(requests);
    let least = (attainment * requests.len() as f64 - 1e-9).ceil() as u32;
    let mut best: Option<f64> = None;
    for kept in 0..1_u32 << requests.len() {
        if kept.count_ones() < least {
            continue;
        }
        let due: Vec<Due> = due
            .iter()
            .enumerate()
            .filter(|(place, _)| kept >> place & 1 == 1)
            .flat_map(|(_, due)| *due)
            .collect();
        let mut counts = [0_u32; SLOTS];
        loop {
            let cost = cost(&counts, bill);
            if best.is_none_or(|best| cost < best) && serves(&counts, &due) {
                best = Some(cost);
            }
            let Some(place) = counts.iter().position(|count| *count < MOST) else {
                break;
            };
            counts[place] += 1;
            counts[..place].fill(0);
        }
    }
    best
}

fn cost(counts: &[u32], bill: Bill) -> f64 {
    let mut before = bill.warm;
    let mut cost = 0.0;
    for &count in counts {
        cost += f64::from(count) * SLOT;
        cost += f64::from(count.saturating_sub(before)) * bill.cold_start.as_secs_f64();
        before = count;
    }
    cost
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let half = |most: u32| (0..=most).prop_map(|halves| seconds(f64::from(halves) / 2.0));
    let one = (half(30), half(10), half(8), half(8), half(10)).prop_map(
        |(at, prompt_work, answer_work, first_token, answer_longest)| Request {
            at,
            prompt_work,
            answer_work,
            first_token: first_token + prompt_work.mul_f64(0.5).max(seconds(0.5)),
            answer_shortest: answer_longest.mul_f64(0.0),
            answer_longest,
        },
    );
    proptest::collection::vec(one, 1..4).prop_map(|mut requests| {
        for request in &mut requests {
            // Times are multiples of the steps in which plans are tried.
            request.first_token = seconds((request.first_token.as_secs_f64() * 2.0).ceil() / 2.0);
        }
        requests
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_is_cheaper_than_the_bound(
        requests in requests(),
        cold_start in 0_u64..12,
        warm in 0_u32..3,
        attainment in prop_oneof![Just(1.0), Just(0.6), Just(0.3)],
    ) {
        let bill = Bill { cold_start: Duration::from_secs(cold_start), warm };
        if let Some(best) = brute_force(&requests, bill, attainment) {
            let jobs: Vec<Job> = requests.iter().map(job).collect();
            let bound = bound(&jobs, bill, attainment);
            prop_assert!(bound.replica_seconds.0 <= best + 1e-3, "{bound:?} and {best}");
        }
    }
}

#[test]
fn a_steady_load_of_a_replica_and_a_bit_needs_two() {
    // 1.2 replicas' work each second for an hour, to be done within 5 s; a start takes longer than it pays
    // to be off for.
    let requests = (0..36_000).map(|tenth| Request {
        at: Duration::from_millis(tenth * 100),
        prompt_work: Duration::from_millis(120),
        answer_work: Duration::ZERO,
        first_token: Duration::from_secs(5),
        answer_shortest: Duration::ZERO,
        answer_longest: Duration::ZERO,
    });
    let jobs: Vec<Job> = requests.map(|request| job(&request)).collect();
    let bill = Bill {
        cold_start: Duration::from_secs(180),
        warm: 2,
    };
    let all = bound(&jobs, bill, 1.0).replica_seconds.0;
    assert!((6800.0..=7200.0).contains(&all), "{all} of 7200");
    let most = bound(&jobs, bill, 0.99).replica_seconds.0;
    assert!(most < all && most > 6000.0, "{most}");
}

#[test]
fn a_burst_that_may_wait_is_cheaper_than_one_that_may_not() {
    let burst = |first_token: u64| -> f64 {
        let jobs: Vec<Job> = (0..100)
            .map(|_| {
                job(&Request {
                    at: Duration::from_secs(600),
                    prompt_work: Duration::from_secs(1),
                    answer_work: Duration::ZERO,
                    first_token: Duration::from_secs(first_token),
                    answer_shortest: Duration::ZERO,
                    answer_longest: Duration::ZERO,
                })
            })
            .collect();
        let bill = Bill {
            cold_start: Duration::from_secs(60),
            warm: 1,
        };
        bound(&jobs, bill, 1.0).replica_seconds.0
    };
    // Ten seconds: ten replicas are started; a hundred: one is. (The warm one is not worth its keeping.)
    assert!((burst(10) - 10.0 * (60.0 + 10.0)).abs() < 1.0, "{}", burst(10));
    assert!((burst(100) - (60.0 + 100.0)).abs() < 1.0, "{}", burst(100));
}
