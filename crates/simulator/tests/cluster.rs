//! Replicas, nodes and bills around the engines, and what a controller sees of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{Poisson, scenario};
use rheostat_simulator::{
    ColdStart, Control, Controller, Delay, Mode, NodePool, Observer, ReadingFailures, Router, Run, START,
    Scenario, Served, Spot, StockOut, simulate,
};
use rheostat_sizing::{Observation, QueuedOutside, Stage};
use rheostat_trace::Request;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asks for what was written down beforehand, and passes on what it sees.
#[derive(Debug)]
struct Plan {
    period: Duration,
    steps: Vec<(u64, u32)>,
    seen: Sender<Observation>,
}

impl Controller for Plan {
    fn period(&self) -> Duration {
        self.period
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let _ = self.seen.send(observation.clone());
        let now = observation.now.since(START).as_secs();
        let step = self.steps.iter().rfind(|(from, _)| *from <= now);
        step.map(|(_, replicas)| *replicas)
    }
}

#[derive(Default)]
struct All(Vec<Served>);

impl Observer for All {
    fn served(&mut self, served: &Served) {
        self.0.push(*served);
    }
}

struct Done {
    run: Run,
    served: Vec<Served>,
    seen: Vec<Observation>,
}

fn play(
    scenario: &Scenario,
    requests: impl Iterator<Item = Request>,
    period: u64,
    steps: &[(u64, u32)],
) -> Done {
    let (sender, seen) = channel();
    let plan = Plan {
        period: seconds(period),
        steps: steps.to_vec(),
        seen: sender,
    };
    let mut all = All::default();
    let run = simulate(scenario, requests, Control::Direct(Box::new(plan)), &mut all).unwrap();
    Done {
        run,
        served: all.0,
        seen: seen.try_iter().collect(),
    }
}

fn nothing() -> impl Iterator<Item = Request> {
    std::iter::empty()
}

fn one(at: u64, prompt_tokens: u32, output_tokens: u32) -> impl Iterator<Item = Request> {
    std::iter::once(Request {
        at: seconds(at),
        prompt_tokens,
        output_tokens,
    })
}

fn exactly(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-6, "{found}, not {wanted}");
}

#[test]
fn a_replica_is_paid_for_from_being_asked_for_until_it_is_gone() {
    let mut scenario = scenario("llama2-70b-h100-tp8");
    scenario.cold_start = ColdStart::fixed(seconds(60));
    scenario.until = Some(seconds(300));
    let steps = [(0, 1), (100, 3), (200, 1)];
    let run = play(&scenario, nothing(), 10, &steps).run;
    exactly(run.replica_seconds.0, 300.0 + 2.0 * 100.0);
    exactly(run.gpu_hours, 8.0 * 500.0 / 3600.0);
    exactly(run.replica_seconds_wasted_starting.0, 2.0 * 60.0);
    assert_eq!(run.scaling_events, 2);
    assert_eq!(run.changes.len(), 2);

    // Asked for and taken back before they were ready: all of it was for nothing.
    let run = play(&scenario, nothing(), 10, &[(0, 1), (100, 3), (140, 1)]).run;
    exactly(run.replica_seconds.0, 300.0 + 2.0 * 40.0);
    exactly(run.replica_seconds_wasted_starting.0, 2.0 * 40.0);

    // What was before the scored part is not in the bill.
    scenario.scored_from = seconds(150);
    let run = play(&scenario, nothing(), 10, &steps).run;
    exactly(run.replica_seconds.0, 150.0 + 2.0 * 50.0);
    exactly(run.replica_seconds_wasted_starting.0, 2.0 * 10.0);
    assert_eq!(run.scaling_events, 1);
}

#[test]
fn a_replica_on_its_way_out_serves_what_it_has_and_is_paid_for_until_then() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        let mut scenario = scenario("llama-3.1-8b-h100");
        scenario.mode = mode;
        scenario.until = Some(seconds(200));
        // 7 ms for each of 10,000 tokens: 70 s or a little more.
        let done = play(&scenario, one(15, 100, 10_000), 10, &[(0, 1), (20, 0)]);
        let [served] = done.served[..] else {
            panic!("{:?}", done.served.len())
        };
        let gone = 15.0 + served.e2e.0;
        assert!(gone > 80.0, "{gone}");
        assert!(
            (done.run.replica_seconds.0 - gone).abs() < 1e-6,
            "{} {gone}",
            done.run.replica_seconds.0
        );
        let terminating = |seen: &Observation| seen.pods.iter().any(|pod| pod.stage == Stage::Terminating);
        assert!(done.seen.iter().any(terminating));
    }
}

#[test]
fn what_comes_while_there_is_no_replica_waits_in_front() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.warm = 0;
    scenario.cold_start = ColdStart::fixed(seconds(60));
    scenario.until = Some(seconds(200));
    let done = play(&scenario, one(5, 100, 10), 10, &[(0, 0), (10, 1)]);
    let queued = |at: usize| done.seen[at].queued_outside.count().unwrap().0;
    exactly(queued(0), 0.0);
    exactly(queued(1), 1.0);
    exactly(queued(8), 0.0);
    let ttft = done.served[0].ttft.0;
    assert!((65.0..65.1).contains(&ttft), "{ttft}");
    assert_eq!((done.run.requests, done.run.kept), (1, 0));

    scenario.gateway = false;
    let done = play(&scenario, one(5, 100, 10), 10, &[(0, 0)]);
    assert_eq!(done.seen[1].queued_outside, QueuedOutside::Untold, "nobody tells");
    assert_eq!((done.run.waiting, done.run.requests), (1, 1), "late at the end");
}

#[test]
fn every_request_is_in_exactly_one_place() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        for router in [Router::RoundRobin, Router::LeastRequest] {
            let mut scenario = scenario("llama-3.1-8b-l40s");
            scenario.mode = mode;
            scenario.router = router;
            scenario.engine.kv_tokens = 3000;
            scenario.cold_start = ColdStart::fixed(seconds(40));
            let steps = [(0, 1), (100, 4), (200, 1), (300, 0), (350, 5), (500, 2)];
            let load = || Poisson::new(|_| 6.0, 6.0, 600.0, (600, 150), 9).spread();
            let all = load().count() as u64;
            let done = play(&scenario, load(), 10, &steps);
            let run = &done.run;
            assert_eq!(run.requests + run.undecided, all);
            let served = done.served.len() as u64;
            assert!(served + run.refused + run.waiting + run.undecided <= all);
            // The rest was in the midst of its answer, and too slow already.
            let slow = all - served - run.refused - run.waiting - run.undecided;
            assert!(run.refused > 0 && slow < all / 4, "{} {slow}", run.refused);
            assert_eq!(
                run.kept,
                done.served.iter().filter(|served| served.kept).count() as u64
            );
            let arrivals: u64 = run.timeline.iter().map(|sample| sample.arrivals).sum();
            assert!(
                all - arrivals < 6 * 20,
                "what comes after the last sample is in none"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    let delay = |median, p90| Delay::LogNormal {
        median: seconds(median),
        p90: seconds(p90),
    };
    scenario.cold_start = ColdStart {
        schedule: delay(2, 5),
        image: delay(20, 60),
        weights: delay(30, 50),
        engine: delay(20, 30),
    };
    let steps = [(0, 1), (30, 3), (200, 1), (300, 4)];
    for mode in [Mode::Iteration, Mode::Fluid] {
        scenario.mode = mode;
        let mut run = |seed| {
            scenario.seed = seed;
            let load = Poisson::new(|_| 10.0, 10.0, 600.0, (512, 256), 3).spread();
            serde_json::to_string(&play(&scenario, load, 15, &steps).run).unwrap()
        };
        let first = run(1);
        assert_eq!(first, run(1));
        assert_ne!(first, run(2));
    }
}

fn pool() -> NodePool {
    NodePool {
        gpus_per_node: 2,
        standing: 1,
        max_gpus: 4,
        provision: Delay::Fixed(seconds(120)),
        removed_after: seconds(300),
        stock_outs: Vec::new(),
        spot: None,
    }
}

fn staged() -> ColdStart {
    ColdStart {
        schedule: Delay::Fixed(seconds(1)),
        image: Delay::Fixed(seconds(30)),
        weights: Delay::Fixed(seconds(20)),
        engine: Delay::Fixed(seconds(9)),
    }
}

/// Ready replicas at each second.
fn ready(done: &Done) -> Vec<u32> {
    done.seen.iter().map(Observation::ready_count).collect()
}

#[test]
fn nodes_take_time_and_the_quota_holds() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.warm = 2;
    scenario.cold_start = staged();
    scenario.nodes = Some(pool());
    scenario.until = Some(seconds(1500));
    let done = play(&scenario, nothing(), 1, &[(0, 2), (100, 5), (1000, 2)]);
    let ready = ready(&done);
    // Scheduled at 101, a node at 221; the image is pulled for the first replica on it only.
    assert_eq!(
        (ready[249], ready[250]),
        (2, 3),
        "the second on the node finds the image"
    );
    assert_eq!((ready[279], ready[280]), (3, 4));
    assert_eq!(
        *ready[..1000].iter().max().unwrap(),
        4,
        "the fifth has no GPU within the quota"
    );
    assert_eq!(done.seen[0].pool, Some(4));
    let pod = done.seen[290]
        .pods
        .iter()
        .find(|pod| pod.name.as_ref() == "replica-2")
        .unwrap();
    let milestone = |at: Option<rheostat_reading::Timestamp>| at.map(|at| at.since(START).as_secs());
    assert_eq!(milestone(Some(pod.created)), Some(100));
    assert_eq!(milestone(pod.milestones.scheduled), Some(221));
    assert_eq!(milestone(pod.milestones.started), Some(251));
    assert_eq!(milestone(pod.milestones.ready), Some(280));
    // Two from the beginning, two from having a node; the fifth never had one.
    exactly(done.run.replica_seconds.0, 2.0 * 1500.0 + 2.0 * (1000.0 - 221.0));
    // The second node is removed 300 s after it was empty.
    exactly(
        done.run.node_gpu_hours.unwrap(),
        2.0 * (1500.0 + (1300.0 - 221.0)) / 3600.0,
    );
}

#[test]
fn no_node_comes_while_the_market_is_empty() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.warm = 2;
    scenario.cold_start = staged();
    let mut nodes = pool();
    nodes.stock_outs = vec![StockOut {
        from: seconds(50),
        lasting: seconds(450),
    }];
    scenario.nodes = Some(nodes);
    scenario.until = Some(seconds(900));
    let done = play(&scenario, nothing(), 1, &[(0, 2), (100, 3)]);
    let ready = ready(&done);
    assert_eq!((ready[678], ready[679]), (2, 3), "ordered at 500, there at 620");
}

#[test]
fn what_loses_its_spot_node_is_served_elsewhere() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        let mut scenario = scenario("llama2-70b-h100-tp8");
        scenario.mode = mode;
        scenario.warm = 3;
        scenario.cold_start = staged();
        scenario.nodes = Some(NodePool {
            gpus_per_node: 8,
            standing: 0,
            max_gpus: 64,
            spot: Some(Spot {
                mean_life: seconds(900),
                notice: seconds(5),
            }),
            ..pool()
        });
        scenario.until = Some(seconds(8000));
        let load = || Poisson::new(|_| 1.0, 1.0, 7200.0, (500, 300), 4);
        let all = load().count();
        let done = play(&scenario, load(), 15, &[(0, 3)]);
        assert!(done.run.lost > 20, "{}", done.run.lost);
        assert_eq!(done.served.len(), all, "and nothing is lost for good");
        assert!(
            done.run.timeline.iter().any(|sample| sample.starting.0 > 0.0),
            "they are replaced"
        );
        assert!(done.run.attainment.0 > 0.8, "{:?}", done.run.attainment);
    }
}

#[test]
fn readings_fail_for_a_while_and_are_absent_then() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.failures = ReadingFailures {
        per_hour: 12.0,
        lasting: seconds(60),
    };
    scenario.until = Some(seconds(100_000));
    let done = play(&scenario, nothing(), 10, &[(0, 1)]);
    let absent = done
        .seen
        .iter()
        .filter(|seen| seen.pods[0].serving.is_none())
        .count();
    // A gap of 300 s on average, then 60 s.
    let part = absent as f64 / done.seen.len() as f64;
    assert!((0.13..0.21).contains(&part), "{part}");
}

#[test]
fn a_controller_sees_what_a_cluster_would_show() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        let mut scenario = scenario("llama-3.1-8b-h100");
        scenario.mode = mode;
        scenario.cold_start = ColdStart::fixed(seconds(30));
        let load = Poisson::new(|_| 8.0, 8.0, 1800.0, (400, 300), 8);
        let done = play(&scenario, load, 5, &[(0, 1), (600, 2)]);
        // A second until it is visible, and scrapes at even seconds.
        let serving = done.seen[60].pods[0].serving.unwrap();
        assert_eq!(serving.taken_at.since(START), seconds(298));
        assert_eq!(serving.window, seconds(60));
        let late = &done.seen[12..119];
        let mean = |of: fn(&rheostat_sizing::Serving) -> f64| {
            let sum: f64 = late.iter().map(|seen| of(&seen.pods[0].serving.unwrap())).sum();
            sum / late.len() as f64
        };
        let near = |found: f64, wanted: f64, tolerance: f64| {
            assert!((found / wanted - 1.0).abs() < tolerance, "{found}, not {wanted}");
        };
        near(mean(|serving| serving.request_rate.unwrap().0), 8.0, 0.05);
        near(mean(|serving| serving.prompt_token_rate.unwrap().0), 3200.0, 0.05);
        near(
            mean(|serving| serving.generation_token_rate.unwrap().0),
            2400.0,
            0.05,
        );
        near(mean(|serving| serving.prompt_tokens_mean.unwrap().0), 400.0, 1e-9);
        near(
            mean(|serving| serving.generation_tokens_mean.unwrap().0),
            300.0,
            1e-9,
        );
        let e2e = mean(|serving| serving.e2e.unwrap().mean.0);
        near(mean(|serving| serving.in_flight().unwrap().0), 8.0 * e2e, 0.08);
        near(
            e2e,
            mean(|serving| serving.ttft.unwrap().mean.0 + 299.0 * serving.itl.unwrap().mean.0),
            0.03,
        );
        near(
            mean(|serving| serving.kv_cache_usage.unwrap().0),
            8.0 * e2e * 550.0 / 427_000.0,
            0.1,
        );
        assert!(
            late.iter()
                .all(|seen| seen.pods[0].gpu_utilization.unwrap().0 > 0.9),
            "it is never idle"
        );
        // The second replica is ready at 630 s, and its first scrape compares with nothing.
        let young = |at: usize| done.seen[at].pods[1].serving;
        assert!(young(125).is_none());
        let first = done.seen[126]
            .pods
            .iter()
            .find(|pod| pod.name.as_ref() == "replica-1")
            .unwrap();
        assert_eq!(
            (first.stage, first.serving),
            (Stage::Ready, None),
            "not scraped yet"
        );
        let window = young(127).unwrap().window;
        assert!(window <= seconds(4), "{window:?}");
        assert_eq!(young(150).unwrap().window, seconds(60));
    }
}

#[test]
fn an_idle_replica_has_rates_of_0_and_no_latency() {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.until = Some(seconds(300));
    let done = play(&scenario, one(20, 100, 100), 10, &[(0, 1)]);
    let serving = |at: usize| done.seen[at].pods[0].serving.unwrap();
    assert!(serving(3).ttft.is_some() && serving(3).e2e.is_some());
    let idle = serving(20);
    assert_eq!(idle.request_rate, Some(rheostat_reading::PerSecond(0.0)));
    assert_eq!(idle.running, Some(rheostat_reading::Count(0.0)));
    assert_eq!(
        (idle.ttft, idle.itl, idle.e2e, idle.prompt_tokens_mean),
        (None, None, None, None)
    );
    assert_eq!(
        done.seen[20].pods[0].gpu_utilization,
        Some(rheostat_reading::Ratio(0.0))
    );
}

#[test]
fn what_cannot_be_simulated_is_named() {
    let base = scenario("llama-3.1-8b-h100");
    let error = |scenario: &Scenario, requests: Vec<Request>| {
        let run = simulate(scenario, requests.into_iter(), Control::Static(1), &mut ());
        run.unwrap_err().to_string()
    };
    let request = |at, prompt_tokens| Request {
        at: seconds(at),
        prompt_tokens,
        output_tokens: 1,
    };
    assert_eq!(
        error(&base, vec![request(2, 1), request(1, 1)]),
        "request 1 (arrival 1s): it arrives before the one before it; requests must come in order of time"
    );
    assert!(error(&base, vec![request(2, 0)]).contains("1 to 16777216 tokens"));
    let mut wrong = base.clone();
    wrong.delays.scrape = Duration::ZERO;
    assert_eq!(
        error(&wrong, Vec::new()),
        "scenario: delays.scrape is 0ns, it must be 0.1 s to 1 h"
    );
    let mut wrong = base.clone();
    wrong.nodes = Some(NodePool {
        gpus_per_node: 0,
        ..pool()
    });
    assert!(error(&wrong, Vec::new()).contains("nodes.gpus_per_node"));
    let mut wrong = base;
    wrong.warm = 20_000;
    assert!(error(&wrong, Vec::new()).contains("warm"));
}
