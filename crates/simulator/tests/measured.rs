//! The calibrated engines beside what was measured: the figures of `policies.md` §E.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::slo;
use rheostat_simulator::{Control, EngineModel, Mode, Observer, Run, Scenario, Served, simulate};
use rheostat_trace::Request;

fn engine(name: &str) -> EngineModel {
    EngineModel::named(name).unwrap()
}

fn near(found: f64, measured: f64, tolerance: f64, what: &str) {
    assert!(
        (found / measured - 1.0).abs() <= tolerance,
        "{what}: {found}, measured {measured}"
    );
}

#[derive(Default)]
struct All(Vec<Served>);

impl Observer for All {
    fn served(&mut self, served: &Served) {
        self.0.push(*served);
    }
}

/// Serves requests that all come at once, and nothing else.
fn together(engine: EngineModel, count: u32, prompt_tokens: u32, output_tokens: u32) -> Vec<Served> {
    let mut scenario = Scenario::new(engine, slo(1000, 1000));
    scenario.until = Some(Duration::from_secs(10_000));
    let request = Request {
        at: Duration::ZERO,
        prompt_tokens,
        output_tokens,
    };
    let mut all = All::default();
    let requests = (0..count).map(|_| request);
    simulate(&scenario, requests, Control::Static(1), &mut all).unwrap();
    all.0
}

/// Splitwise's medians: a prompt alone, and an iteration of so many sequences at 512 tokens of context.
#[test]
fn the_tables_of_splitwise_come_out() {
    let prompts = [128, 512, 1024, 2048, 4096, 8192];
    let batches = [1, 8, 16, 32, 64];
    let tables: [(&str, [f64; 6], [f64; 5]); 4] = [
        (
            "llama2-70b-a100-tp4",
            [64.0, 127.0, 227.0, 403.0, 965.0, 2279.0],
            [44.5, 45.8, 48.5, 52.3, 72.9],
        ),
        (
            "llama2-70b-a100-tp8",
            [65.0, 93.0, 154.0, 274.0, 661.0, 1550.0],
            [45.0, 46.5, 50.4, 53.0, 71.6],
        ),
        (
            "llama2-70b-h100-tp4",
            [49.0, 60.0, 106.0, 201.0, 464.0, 954.0],
            [29.4, 31.4, 32.8, 36.9, 52.4],
        ),
        (
            "llama2-70b-h100-tp8",
            [58.0, 54.0, 78.0, 137.0, 390.0, 845.0],
            [30.6, 32.5, 34.2, 38.6, 50.2],
        ),
    ];
    for (name, prefill, decode) in tables {
        for (tokens, measured) in prompts.into_iter().zip(prefill) {
            // One step for the whole prompt, as it was measured.
            let mut engine = engine(name);
            engine.max_batched_tokens = 16_384;
            let ttft = together(engine, 1, tokens, 1)[0].ttft.0 * 1e3;
            // Attention grows with the square of a prompt, the model does not.
            let tolerance = match tokens {
                512..=2048 => 0.19,
                _ => 0.45,
            };
            near(ttft, measured, tolerance, &format!("{name}, prompt of {tokens}"));
        }
        for (batch, measured) in batches.into_iter().zip(decode) {
            let mut engine = engine(name);
            engine.max_batched_tokens = 64 * 512;
            let itl = together(engine, batch, 512, 2)[0].itl.unwrap().0 * 1e3;
            near(itl, measured, 0.1, &format!("{name}, batch of {batch}"));
        }
    }
}

/// WVA's fit, 6.958 + 0.042 ms a sequence, and its run with 7.0 ms alone and 8.7 ms with 64 (7,252 tokens a
/// second); and its L40S.
#[test]
fn the_figures_of_wva_come_out() {
    let itl = |name, batch| {
        let mut engine = engine(name);
        engine.max_batched_tokens = 64 * 512;
        together(engine, batch, 512, 2)[0].itl.unwrap().0 * 1e3
    };
    let h100 = "llama-3.1-8b-h100";
    near(itl(h100, 1), 7.0, 0.01, "H100 alone");
    near(itl(h100, 64), 6.958 + 0.042 * 64.0, 0.01, "H100, 64 by the fit");
    near(itl(h100, 64), 8.7, 0.12, "H100, 64 as in the other run");
    near(64.0 / itl(h100, 64) * 1e3, 7252.0, 0.1, "H100, tokens a second");
    near(itl("llama-3.1-8b-l40s", 16), 22.6 + 0.181 * 16.0, 0.01, "L40S");
    near(itl("llama-3.1-8b-a100-tp2", 8), 10.2, 0.05, "A100 TP2, 8");
    near(itl("llama-3.1-8b-a100-tp2", 32), 16.1, 0.05, "A100 TP2, 32");
}

/// The requests of LLMServingSim's runs: 300 in 29 s, 857 tokens in and 653 out on average.
fn overload() -> impl Iterator<Item = Request> {
    let rows = include_str!("data/llmservingsim-300.csv").lines();
    rows.filter(|row| !row.starts_with('#')).map(|row| {
        let fields: Vec<u32> = row.split(',').map(|field| field.parse().unwrap()).collect();
        Request {
            at: Duration::from_millis(fields[0].into()),
            prompt_tokens: fields[1],
            output_tokens: fields[2],
        }
    })
}

fn run_of(name: &str, max_sequences: u32, mode: Mode) -> Run {
    let mut engine = engine(name);
    engine.max_sequences = max_sequences;
    let mut scenario = Scenario::new(engine, slo(1000, 1000));
    scenario.until = Some(Duration::from_secs(1000));
    scenario.mode = mode;
    simulate(&scenario, overload(), Control::Static(1), &mut ()).unwrap()
}

/// With 128 sequences, which is what binds: TTFT 9.44 s (p50) and 18.4 s (p95), TPOT 33.4 and 36.9 ms,
/// 28.2 s for a whole request on average.
#[test]
fn an_overloaded_rtx_pro_6000_is_as_slow_as_it_was() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        let run = run_of("llama-3.1-8b-rtx-pro-6000", 128, mode);
        let (ttft, itl) = (run.ttft.unwrap(), run.itl.unwrap());
        near(ttft.p50.0, 9.44, 0.12, "TTFT p50");
        near(ttft.p95.0, 18.4, 0.12, "TTFT p95");
        near(itl.p50.0, 33.4e-3, 0.06, "TPOT p50");
        near(itl.p95.0, 36.9e-3, 0.06, "TPOT p95");
        near(run.e2e.unwrap().mean.0, 28.2, 0.08, "whole requests");
        assert_eq!(run.preemptions, 0);
    }
}

/// With a KV cache of 41,408 tokens, which is what binds: TTFT 60.1 s (p50) and 122.7 s (p95), TPOT 30.8 and
/// 48.1 ms, 86.6 s for a whole request on average.
#[test]
fn an_overloaded_rtx_4090_is_as_slow_as_it_was() {
    let run = run_of("llama-3.1-8b-rtx-4090", 256, Mode::Iteration);
    let (ttft, itl) = (run.ttft.unwrap(), run.itl.unwrap());
    near(ttft.p50.0, 60.1, 0.05, "TTFT p50");
    near(ttft.p95.0, 122.7, 0.1, "TTFT p95");
    near(itl.p50.0, 30.8e-3, 0.03, "TPOT p50");
    near(itl.p95.0, 48.1e-3, 0.08, "TPOT p95");
    near(run.e2e.unwrap().mean.0, 86.6, 0.02, "whole requests");
    assert!(run.preemptions > 100, "{}", run.preemptions);

    // The flow throws nothing out, so that tokens come faster than they did, and nothing is read twice.
    let run = run_of("llama-3.1-8b-rtx-4090", 256, Mode::Fluid);
    let (ttft, itl) = (run.ttft.unwrap(), run.itl.unwrap());
    near(ttft.p50.0, 60.1, 0.05, "TTFT p50, as a flow");
    near(ttft.p95.0, 122.7, 0.1, "TTFT p95, as a flow");
    near(itl.p50.0, 30.8e-3, 0.12, "TPOT p50, as a flow");
}
