//! The bound for requests that may wait against simulated fleets, among them those that know what comes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use rheostat_optimum::{Bill, Job, Load, bound, schedule};
use rheostat_reading::{Ratio, Seconds};
use rheostat_simulator::{ColdStart, Control, Controller, EngineModel, Mode, Scenario, simulate};
use rheostat_sizing::{Observation, Slo};
use rheostat_trace::{Lengths, Options, Request, Tokens, Trace};

/// How long loads are.
const MINUTES: f64 = 25.0;

/// A time to the first token in which a queue may grow and go, in milliseconds.
const LEISURE: u64 = 5000;

/// A load: its name, requests a second by the minute, median lengths of prompts and answers.
struct Case {
    name: &'static str,
    rate: fn(f64) -> f64,
    lengths: (f64, f64),
    /// How near, in parts of the bound, somebody comes where answers have time.
    near: f64,
}

impl Case {
    fn requests(&self) -> Vec<Request> {
        let lengths = |median| Tokens::Lognormal {
            median,
            sigma: 0.8,
            most: 8192,
        };
        let options = Options {
            lengths: Lengths {
                prompt: lengths(self.lengths.0),
                output: lengths(self.lengths.1),
            },
            seed: 3,
            ..Options::default()
        };
        let rates = (0..MINUTES as u32).map(|minute| (self.rate)(f64::from(minute)));
        Trace::from_rates(Duration::from_secs(60), rates, &options)
            .requests()
            .collect()
    }
}

/// Replica counts that were made beforehand, asked for a cold start ahead.
#[derive(Debug)]
struct Planned {
    replicas: Vec<u32>,
    bin: f64,
    cold_start: f64,
}

impl Controller for Planned {
    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let now = observation.now.since(rheostat_simulator::START).as_secs_f64();
        let place = |at: f64| (at / self.bin) as usize;
        let counts = self.replicas.get(place(now)..)?;
        counts[..(place(now + self.cold_start) - place(now) + 1).min(counts.len())]
            .iter()
            .copied()
            .max()
    }
}

struct Setting {
    scenario: Scenario,
    requests: Vec<Request>,
    cold_start: f64,
}

impl Setting {
    /// The counts of the cheapest plan for `factor` times the work, in bins of `bin` seconds.
    fn planned(&self, factor: f64, bin: f64) -> Planned {
        let engine = &self.scenario.engine;
        let usable = engine.usable(self.scenario.slo.itl.unwrap()).0;
        let mut bins = vec![(0.0, 0.0); (MINUTES * 60.0 / bin) as usize + 1];
        for request in &self.requests {
            let one = &mut bins[(request.at.as_secs_f64() / bin) as usize];
            let tokens = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
            one.0 += engine.work(tokens.0, tokens.1).0 / usable / bin * factor;
            one.1 += 1.0;
        }
        let load = Load::new(Duration::from_secs_f64(bin), bins).unwrap();
        let replicas = schedule(&load, self.bill());
        Planned {
            replicas: replicas.iter().map(|count| (*count).max(1)).collect(),
            bin,
            cold_start: self.cold_start,
        }
    }

    fn bill(&self) -> Bill {
        Bill {
            cold_start: Duration::from_secs_f64(self.cold_start),
            warm: self.scenario.warm,
        }
    }

    /// What the fleet spent, in parts of the bound for the attainment that it came to; with its attainment.
    fn score(&self, what: &str, control: Control) -> (f64, f64) {
        let mut scenario = self.scenario.clone();
        if let Control::Static(replicas) = control {
            scenario.warm = replicas;
        }
        let run = simulate(&scenario, self.requests.iter().copied(), control, &mut ()).unwrap();
        let slo = &scenario.slo;
        let jobs = Job::of(
            self.requests.iter().copied(),
            &scenario.engine,
            slo,
            Some(run.ended),
        );
        let bill = Bill {
            warm: scenario.warm,
            ..self.bill()
        };
        let least = bound(&jobs, bill, run.attainment.0);
        assert!(
            run.replica_seconds >= Seconds(least.replica_seconds.0),
            "{what}: {} replica-seconds at {}, but {} are needed ({})",
            run.replica_seconds.0,
            run.attainment.0,
            least.replica_seconds.0,
            least.by
        );
        (run.replica_seconds.0 / least.replica_seconds.0, run.attainment.0)
    }
}

/// Nobody spends less than the bound for what it keeps, whatever it knows; and who knows all comes near.
fn no_fleet_spends_less(case: &Case) {
    let promises = [
        ("llama2-70b-a100-tp4", 5000, 200),
        ("llama-3.1-8b-l40s", 1000, 40),
    ];
    for (engine, ttft, itl) in promises {
        for (mode, cold_start) in [(Mode::Iteration, 60.0), (Mode::Fluid, 200.0)] {
            let slo = Slo {
                ttft: Some(Duration::from_millis(ttft)),
                itl: Some(Duration::from_millis(itl)),
                e2e: None,
                attainment: Ratio(0.99),
            };
            let mut scenario = Scenario::new(EngineModel::named(engine).unwrap(), slo);
            scenario.mode = mode;
            scenario.cold_start = ColdStart::fixed(Duration::from_secs_f64(cold_start));
            scenario.warm = 3;
            let setting = Setting {
                scenario,
                requests: case.requests(),
                cold_start,
            };
            let what = |fleet: &str| format!("{} on {engine}, {mode:?}, {cold_start} s, {fleet}", case.name);
            let mut nearest = f64::INFINITY;
            let mut watch = |(spent, attainment): (f64, f64)| {
                if attainment >= 0.9 {
                    nearest = nearest.min(spent);
                }
                attainment
            };
            for replicas in 1..20 {
                let fleet = what(&format!("{replicas} replicas"));
                if watch(setting.score(&fleet, Control::Static(replicas))) > 0.995 {
                    break;
                }
            }
            for (factor, bin) in [(0.7, 60.0), (1.0, 10.0), (1.0, 60.0)] {
                let plan = setting.planned(factor, bin);
                let fleet = format!("a plan for {factor} times the work in bins of {bin} s");
                watch(setting.score(&what(&fleet), Control::Direct(Box::new(plan))));
            }
            println!("{}: {nearest:.2}", what("nearest"));
            if ttft == LEISURE {
                assert!(nearest < case.near, "{}: {nearest}", what("nearest"));
            }
        }
    }
}

#[test]
fn nobody_serves_conversations_for_less() {
    no_fleet_spends_less(&Case {
        name: "conversations",
        rate: |_| 4.0,
        lengths: (1020.0, 129.0),
        near: 1.5,
    });
}

#[test]
fn nobody_serves_bursts_of_code_for_less() {
    no_fleet_spends_less(&Case {
        name: "bursts of code",
        rate: |minute| if minute % 9.0 < 2.0 { 9.0 } else { 0.7 },
        lengths: (1500.0, 13.0),
        near: 5.0,
    });
}

#[test]
fn nobody_serves_long_answers_for_less() {
    no_fleet_spends_less(&Case {
        name: "long answers that come and go",
        rate: |minute| if minute % 12.0 < 7.0 { 0.9 } else { 0.0 },
        lengths: (200.0, 700.0),
        near: 1.8,
    });
}

#[test]
fn nobody_serves_a_tide_for_less() {
    no_fleet_spends_less(&Case {
        name: "a tide",
        rate: |minute| 3.0 - 2.6 * (minute / MINUTES * std::f64::consts::TAU).cos(),
        lengths: (700.0, 200.0),
        near: 2.0,
    });
}
