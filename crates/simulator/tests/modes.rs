//! The two modes beside each other.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Poisson, scenario};
use rheostat_simulator::{ColdStart, Control, Controller, Delay, Mode, NodePool, Run, Spot, simulate};
use rheostat_sizing::Observation;

fn both(engine: &str, rate: f64, lengths: (u32, u32)) -> [Run; 2] {
    [Mode::Iteration, Mode::Fluid].map(|mode| {
        let mut scenario = scenario(engine);
        scenario.mode = mode;
        let requests = Poisson::new(|_| rate, rate, 1800.0, lengths, 1).spread();
        simulate(&scenario, requests, Control::Static(1), &mut ()).unwrap()
    })
}

fn near(iteration: f64, fluid: f64, tolerance: f64) {
    assert!(
        (fluid / iteration - 1.0).abs() <= tolerance,
        "{fluid} in fluid mode, {iteration} by iterations"
    );
}

#[test]
fn a_busy_replica_is_as_fast_in_both() {
    let [iteration, fluid] = both("llama-3.1-8b-h100", 10.0, (512, 512));
    assert_eq!(iteration.gpu_hours.to_bits(), fluid.gpu_hours.to_bits());
    let (a, b) = (iteration.itl.unwrap(), fluid.itl.unwrap());
    near(a.mean.0, b.mean.0, 0.02);
    near(a.p99.0, b.p99.0, 0.05);
    near(iteration.e2e.unwrap().mean.0, fluid.e2e.unwrap().mean.0, 0.01);
}

#[test]
fn an_overloaded_replica_makes_requests_wait_as_long_in_both() {
    let [iteration, fluid] = both("llama-3.1-8b-h100", 18.0, (512, 512));
    let (a, b) = (iteration.ttft.unwrap(), fluid.ttft.unwrap());
    assert!(a.p50.0 > 60.0);
    near(a.p50.0, b.p50.0, 0.03);
    near(a.p99.0, b.p99.0, 0.03);
}

/// As many replicas as there are requests in flight, divided.
#[derive(Debug)]
struct Proportional(f64);

impl Controller for Proportional {
    fn period(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let in_flight = observation.ready().filter_map(|pod| pod.serving?.in_flight());
        let in_flight: f64 = in_flight.map(|count| count.0).sum();
        Some(((in_flight / self.0).ceil() as u32).max(6))
    }
}

/// Bursts like those of Azure's code trace: long prompts, short answers, and peaks of a minute or two.
fn bursts(now: f64) -> f64 {
    if (now / 60.0) % 7.0 < 1.5 { 10.0 } else { 3.0 }
}

/// A load: its name, its rate over time and the most of it, and the mean lengths.
struct Load(&'static str, fn(f64) -> f64, f64, (u32, u32));

/// A policy with its name.
struct Policy(&'static str, fn() -> Control);

/// What a policy is scored by comes out alike: GPU-hours within 2 %, p99 TTFT within 10 %, attainment within
/// 0.005, or 0.02 where less than nine of ten are kept and nobody would run it.
#[test]
fn policies_score_alike_in_both() {
    let policies = [
        Policy("8 replicas", || Control::Static(8)),
        Policy("14 replicas", || Control::Static(14)),
        Policy("in proportion", || Control::Direct(Box::new(Proportional(10.0)))),
        Policy("in proportion, fewer", || {
            Control::Direct(Box::new(Proportional(16.0)))
        }),
    ];
    let loads = [
        Load("bursts", bursts, 10.0, (2000, 30)),
        Load("conversations", |_| 6.0, 6.0, (1100, 210)),
    ];
    for Load(load, rate, peak, lengths) in loads {
        for Policy(policy, control) in &policies {
            let [iteration, fluid] = [Mode::Iteration, Mode::Fluid].map(|mode| {
                let mut scenario = scenario("llama2-70b-a100-tp4");
                scenario.mode = mode;
                scenario.warm = 8;
                scenario.cold_start = ColdStart::fixed(Duration::from_secs(60));
                let requests = Poisson::new(rate, peak, 3600.0, lengths, 21).spread();
                simulate(&scenario, requests, control(), &mut ()).unwrap()
            });
            let (kept, as_flow) = (iteration.attainment.0, fluid.attainment.0);
            let (a, b) = (iteration.ttft.unwrap().p99.0, fluid.ttft.unwrap().p99.0);
            let what = format!(
                "{load}, {policy}: {kept:.4} and {as_flow:.4} kept, {a:.2} and {b:.2} s, {:.2} and {:.2} GPU-hours",
                iteration.gpu_hours, fluid.gpu_hours
            );
            let tolerance = if kept < 0.9 { 0.02 } else { 0.005 };
            assert!((as_flow - kept).abs() < tolerance, "{what}");
            assert!(
                (fluid.gpu_hours / iteration.gpu_hours - 1.0).abs() < 0.04,
                "{what}"
            );
            assert!((b / a - 1.0).abs() < 0.1, "{what}");
        }
    }
}

/// Jumps and steps end in the same run, to the last bit, whatever happens to replicas meanwhile.
#[test]
fn a_whole_run_is_the_same_by_jumps_and_by_steps() {
    for lengths in [(512, 128), (3000, 600)] {
        let [jumps, steps] = [Mode::Iteration, Mode::Stepping].map(|mode| {
            let mut scenario = scenario("llama2-70b-a100-tp4");
            scenario.mode = mode;
            scenario.nodes = Some(NodePool {
                gpus_per_node: 4,
                standing: 0,
                max_gpus: 16,
                provision: Delay::Fixed(Duration::from_secs(30)),
                removed_after: Duration::from_secs(60),
                stock_outs: Vec::new(),
                spot: Some(Spot {
                    mean_life: Duration::from_secs(200),
                    notice: Duration::from_secs(10),
                }),
            });
            let requests = Poisson::new(|_| 3.0, 3.0, 600.0, lengths, 5).spread();
            simulate(&scenario, requests, Control::Static(3), &mut ()).unwrap()
        });
        assert!(jumps.requests > 1000 && jumps.lost > 0);
        assert_eq!(jumps, steps);
    }
}
