//! The two modes beside each other.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Poisson, scenario};
use rheostat_simulator::{Control, Mode, Run, simulate};

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
