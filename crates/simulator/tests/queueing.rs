//! Engines that are queues of the textbook: what requests wait against what theory says.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::borrow::Cow;
use std::time::Duration;

use common::{Poisson, slo};
use rheostat_reading::Seconds;
use rheostat_simulator::{Control, EngineModel, Mode, Router, Scenario, simulate};

/// Iterations of a millisecond whatever is in them: each sequence is a server, and each token of an answer
/// takes it a millisecond.
const MILLI: f64 = 1e-3;

fn servers(count: u32) -> EngineModel {
    EngineModel {
        name: Cow::Borrowed("servers"),
        hardware: Cow::Borrowed("none"),
        gpus: 1,
        base: Seconds(MILLI),
        per_prefill_token: Seconds(0.0),
        per_decode_sequence: Seconds(0.0),
        per_kv_token: Seconds(0.0),
        max_sequences: count,
        max_batched_tokens: 65_536,
        kv_tokens: 1 << 30,
        block_tokens: 16,
    }
}

/// Mean time until service begins, over so many requests a second for `seconds`.
fn mean_wait(mode: Mode, count: u32, rate: f64, tokens: u32, spread: bool, seconds: f64) -> f64 {
    let mut scenario = Scenario::new(servers(count), slo(1000, 1000));
    scenario.mode = mode;
    scenario.router = Router::RoundRobin;
    scenario.scored_from = Duration::from_secs(500);
    let requests = Poisson::new(|_| rate, rate, seconds, (1, tokens), 11);
    let requests = if spread {
        requests.spread_outputs()
    } else {
        requests
    };
    let run = simulate(&scenario, requests, Control::Static(1), &mut ()).unwrap();
    // The first token takes an iteration, and the one that runs has to end: half of one on average.
    run.ttft.unwrap().mean.0 - 1.5 * MILLI
}

/// The probability of waiting in M/M/c with `load` Erlangs (Erlang's C formula).
fn erlang_c(servers: u32, load: f64) -> f64 {
    let mut blocking = 1.0;
    for n in 1..=servers {
        blocking = load * blocking / (f64::from(n) + load * blocking);
    }
    let part = load / f64::from(servers);
    blocking / (1.0 - part * (1.0 - blocking))
}

fn near(found: f64, theory: f64, tolerance: f64) {
    assert!(
        (found / theory - 1.0).abs() < tolerance,
        "{found} s, {theory} s by theory"
    );
}

/// Pollaczek and Khinchine: constant service of `D` at a load `rho` waits `rho D / (2 (1 - rho))`.
#[test]
fn one_server_with_constant_service_is_m_d_1() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        for load in [0.5, 0.8] {
            let wait = mean_wait(mode, 1, load / 0.2, 200, false, 20_000.0);
            near(wait, load * 0.2 / (2.0 * (1.0 - load)), 0.05);
        }
    }
}

#[test]
fn several_servers_with_exponential_service_are_m_m_c() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        for (count, load) in [(1, 0.7), (4, 0.8), (16, 0.9)] {
            let service = 0.5;
            let erlangs = load * f64::from(count);
            let rate = erlangs / service;
            let theory = erlang_c(count, erlangs) * service / (f64::from(count) - erlangs);
            let wait = mean_wait(mode, count, rate, 500, true, 500.0 + 120_000.0 / rate);
            near(wait, theory, 0.08);
        }
    }
}

#[test]
fn erlangs_formula_has_its_known_values() {
    near(erlang_c(1, 0.7), 0.7, 1e-9);
    // Two servers: 2 rho^2 / (1 + rho).
    near(erlang_c(2, 1.0), 2.0 * 0.25 / 1.5, 1e-9);
}

/// By Little's law requests in flight are the rate times the time each takes.
#[test]
fn time_in_the_system_is_by_littles_law() {
    let mut scenario = Scenario::new(servers(10), slo(1000, 1000));
    scenario.scored_from = Duration::from_secs(100);
    let requests = Poisson::new(|_| 12.0, 12.0, 10_000.0, (1, 500), 5);
    let run = simulate(&scenario, requests, Control::Static(1), &mut ()).unwrap();
    let samples = &run.timeline[20..];
    let in_flight = samples.iter().map(|sample| sample.in_flight as f64).sum::<f64>() / samples.len() as f64;
    let rate = run.requests as f64 / 9900.0;
    near(in_flight, rate * run.e2e.unwrap().mean.0, 0.03);
}
