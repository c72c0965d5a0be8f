//! Every baseline through a small day in the simulator: calm, a rise, a busy hour, calm again.

use std::sync::Arc;
use std::time::Duration;

use rheostat_baselines::{Context, Foresight, Settings, catalogue, find};
use rheostat_reading::Seconds;
use rheostat_simulator::{ColdStart, EngineModel, Mode, Run, START, Scenario, simulate};
use rheostat_trace::Request;

use crate::support::context as small_context;

const MINUTE: u64 = 60;
/// When it gets busy, when the load is at its top, when it falls, when it is calm again, and the end.
const RISE: u64 = 30 * MINUTE;
const TOP: u64 = 45 * MINUTE;
const FALL: u64 = 105 * MINUTE;
const CALM: u64 = 120 * MINUTE;
const END: u64 = 210 * MINUTE;

/// Requests per second.
fn rate(second: u64) -> f64 {
    let part = match second {
        ..RISE => 0.0,
        RISE..TOP => (second - RISE) as f64 / (TOP - RISE) as f64,
        TOP..FALL => 1.0,
        FALL..CALM => (CALM - second) as f64 / (CALM - FALL) as f64,
        _ => 0.0,
    };
    0.5 + 9.5 * part
}

/// Evenly spaced within each second, so that the test needs no randomness.
fn requests() -> impl Iterator<Item = Request> {
    let mut owed = 0.0;
    (0..END).flat_map(move |second| {
        owed += rate(second);
        let count = owed as u64;
        owed -= count as f64;
        (0..count).map(move |index| Request {
            at: Duration::from_secs(second) + Duration::from_secs(1).mul_f64(index as f64 / count as f64),
            prompt_tokens: 500,
            output_tokens: 200,
        })
    })
}

/// 16 slots and about 34 ms an iteration: a replica does 2.3 requests a second, so that the busy hour needs five.
fn engine() -> EngineModel {
    EngineModel {
        base: Seconds(0.03),
        per_prefill_token: Seconds(0.000_1),
        per_decode_sequence: Seconds(0.000_1),
        per_kv_token: Seconds(0.0),
        max_sequences: 16,
        max_batched_tokens: 2048,
        kv_tokens: 12_000,
        ..EngineModel::named("llama-3.1-8b-h100").unwrap()
    }
}

fn run(name: &str) -> Run {
    let foresight = Foresight::new(START, Duration::from_secs(10), requests()).unwrap();
    let context = Context {
        min_replicas: 1,
        max_replicas: 20,
        cold_start: Duration::from_secs(60),
        engine: engine(),
        foresight: Some(Arc::new(foresight)),
        ..small_context()
    };
    let scenario = Scenario {
        cold_start: ColdStart::fixed(Duration::from_secs(60)),
        mode: Mode::Fluid,
        until: Some(Duration::from_secs(END)),
        ..Scenario::new(engine(), context.slo)
    };
    let control = find(name, &context)
        .unwrap()
        .build(&Settings::new(), &context)
        .unwrap();
    simulate(&scenario, requests(), control, &mut ()).unwrap()
}

/// Replicas asked for, fewest and most, from one second to another.
fn asked(run: &Run, from: u64, to: u64) -> (f64, f64) {
    run.timeline
        .iter()
        .filter(|sample| (from..to).contains(&sample.at.as_secs()))
        .map(|sample| sample.asked.0)
        .fold((f64::MAX, 0.0_f64), |(least, most), asked| {
            (least.min(asked), most.max(asked))
        })
}

/// What a baseline does on this day at its defaults.
enum Expected {
    /// At least four replicas in the busy hour, where five or six are needed, and at most half of its most an
    /// hour and a half later.
    Follows,
    /// Always as many.
    Constant,
    /// It goes up, and, as it is, never comes down again.
    StaysUp,
    /// It goes up and down all the time.
    Oscillates,
    /// It never asks for more than so many.
    AtMost(f64),
}

fn expected(name: &str) -> Expected {
    match name {
        "static" | "static-peak" => Expected::Constant,
        // Memory that says that an engine runs and not how much it does; a mean over pods that nobody multiplies
        // by them.
        "peer-vllm-inference" | "aibrix-kpa" => Expected::AtMost(2.0),
        // An error as soon as two pods report.
        "production-stack" => Expected::StaysUp,
        // On the way down it takes the smallest recommendation of five minutes: from twenty to one at once.
        "aibrix-apa" => Expected::Oscillates,
        _ => Expected::Follows,
    }
}

#[test]
fn every_baseline_does_on_a_small_day_what_its_source_makes_it_do() {
    for baseline in catalogue(&small_context()) {
        let name = baseline.name;
        let run = run(name);
        let (busy, end) = (asked(&run, TOP, CALM), asked(&run, END - 300, END));
        let (fewest, most) = asked(&run, 0, END);
        println!(
            "{name:27} most {most:2.0}, at the end {:2.0}, attainment {:.3}, GPU-hours {:.2}, changes {}",
            end.1, run.attainment.0, run.gpu_hours, run.scaling_events
        );
        assert!(fewest >= 1.0 && most <= 20.0, "{name}: {fewest} to {most}");
        match expected(name) {
            Expected::Follows => {
                assert!(busy.1 >= 4.0, "{name} in the busy hour: {busy:?}");
                assert!(end.1 <= busy.1 / 2.0, "{name} at the end: {end:?} after {busy:?}");
            }
            Expected::Constant => assert!(most - fewest < 0.01, "{name}: {fewest} to {most}"),
            Expected::StaysUp => assert!(end.0 >= busy.1 && busy.1 > 2.0, "{name}: {end:?} after {busy:?}"),
            Expected::Oscillates => assert!(run.scaling_events > 100, "{name}: {}", run.scaling_events),
            Expected::AtMost(limit) => assert!(most <= limit, "{name}: {most}"),
        }
    }
}

/// It is told what comes, so it keeps the SLO for less than the peak all the time.
#[test]
fn the_oracle_keeps_the_slo_for_less_than_the_peak() {
    let (oracle, peak) = (run("oracle"), run("static-peak"));
    assert!(oracle.attainment.0 >= 0.99, "{}", oracle.attainment.0);
    assert!(peak.attainment.0 >= 0.99, "{}", peak.attainment.0);
    assert!(
        oracle.gpu_hours < 0.7 * peak.gpu_hours,
        "{} {}",
        oracle.gpu_hours,
        peak.gpu_hours
    );
}

#[test]
fn the_same_run_gives_the_same_result() {
    for name in ["llm-d-wva-v2", "dynamo-sla", "sageserve-lt-ua"] {
        assert_eq!(run(name), run(name), "{name}");
    }
}
