//! The loop through KEDA and the HPA.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Poisson, scenario};
use rheostat_kubescale::keda::{ScaledObject, ScaledObjectSpec};
use rheostat_simulator::{ColdStart, Control, ExternalScaler, Mode, Run, Scenario, TriggerAnswer, simulate};
use rheostat_sizing::Observation;

/// Requests in flight, of which each replica is to have so many; unknown where a ready replica tells nothing.
#[derive(Debug)]
struct Concurrency {
    target: f64,
    in_flight: Option<f64>,
}

impl ExternalScaler for Concurrency {
    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn observe(&mut self, observation: &Observation) {
        let queued = observation.queued_outside.count().map_or(0.0, |queued| queued.0);
        let served: Option<f64> = observation
            .ready()
            .map(|pod| Some(pod.serving?.in_flight()?.0))
            .sum();
        self.in_flight = served.map(|served| served + queued);
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("concurrency".to_owned(), self.target)]
    }

    fn answer(&self, _: usize) -> TriggerAnswer {
        match self.in_flight {
            Some(value) => TriggerAnswer::Value {
                value,
                active: value > 0.0,
            },
            None => TriggerAnswer::Error("not every replica tells".to_owned()),
        }
    }
}

fn control(kind: &str, minimum: u32) -> Control {
    let spec = format!(
        r#"{{"minReplicaCount": {minimum}, "maxReplicaCount": 12, "cooldownPeriod": 120, "pollingInterval": 30,
            "advanced": {{"horizontalPodAutoscalerConfig": {{"behavior": {{
                "scaleDown": {{"stabilizationWindowSeconds": 120}}}}}}}},
            "triggers": [{{"type": "{kind}"}}]}}"#
    );
    let spec: ScaledObjectSpec = serde_json::from_str(&spec).unwrap();
    Control::Keda {
        object: Box::new(ScaledObject {
            spec,
            ..ScaledObject::default()
        }),
        scaler: Box::new(Concurrency {
            target: 60.0,
            in_flight: None,
        }),
    }
}

fn loaded(mode: Mode) -> Scenario {
    let mut scenario = scenario("llama-3.1-8b-h100");
    scenario.mode = mode;
    scenario.cold_start = ColdStart::fixed(Duration::from_secs(60));
    scenario.until = Some(Duration::from_secs(3600));
    scenario
}

/// Two requests a second, thirty from 600 to 1,800 s, none from 2,400 to 3,000 s.
fn wave(now: f64) -> f64 {
    match now {
        600.0..1800.0 => 30.0,
        2400.0..3000.0 => 0.0,
        _ => 2.0,
    }
}

fn play(mode: Mode, kind: &str, minimum: u32) -> Run {
    let requests = Poisson::new(wave, 30.0, 3600.0, (512, 256), 2);
    simulate(&loaded(mode), requests, control(kind, minimum), &mut ()).unwrap()
}

fn asked(run: &Run, from: u64, to: u64) -> Vec<f64> {
    run.timeline
        .iter()
        .filter(|sample| (from..to).contains(&sample.at.as_secs()))
        .map(|sample| sample.asked.0)
        .collect()
}

#[test]
fn it_follows_the_load_up_and_down_through_the_hpa() {
    for mode in [Mode::Iteration, Mode::Fluid] {
        let run = play(mode, "external", 1);
        assert!(
            asked(&run, 300, 600)
                .iter()
                .all(|asked| (asked - 1.0).abs() < 1e-9)
        );
        let busy = asked(&run, 1200, 1800);
        assert!(busy.iter().all(|asked| (2.0..=6.0).contains(asked)), "{busy:?}");
        assert!(
            asked(&run, 2200, 3600)
                .iter()
                .all(|asked| (asked - 1.0).abs() < 1e-9)
        );
        assert!(run.changes.iter().all(|change| change.why.starts_with("HPA: ")));
        // What the step up costs: thirty a second for the sync of the HPA and the cold start, one request of
        // sixteen.
        assert!(run.attainment.0 > 0.94, "{:?}", run.attainment);
    }
}

#[test]
fn it_goes_to_zero_after_the_cooldown_and_comes_back_at_once_by_push() {
    let polled = play(Mode::Iteration, "external", 0);
    let pushed = play(Mode::Iteration, "external-push", 0);
    for run in [&polled, &pushed] {
        let idle = asked(run, 2700, 3000);
        assert!(idle.iter().all(|asked| asked.abs() < 1e-9), "{idle:?}");
        assert!(
            run.changes
                .iter()
                .any(|change| change.to == 0 && change.why.starts_with("KEDA: "))
        );
    }
    let back = |run: &Run| {
        let up = run.changes.iter().find(|change| change.from == 0).unwrap();
        up.at.as_secs_f64() - 3000.0
    };
    assert!((0.0..=35.0).contains(&back(&polled)), "{}", back(&polled));
    assert!((0.0..=7.0).contains(&back(&pushed)), "{}", back(&pushed));
}

#[test]
fn nothing_shrinks_while_readings_fail() {
    let mut scenario = loaded(Mode::Iteration);
    scenario.failures.per_hour = 3600.0;
    scenario.failures.lasting = Duration::from_secs(24 * 3600);
    scenario.warm = 4;
    let requests = Poisson::new(|_| 1.0, 1.0, 3600.0, (100, 50), 1);
    let run = simulate(&scenario, requests, control("external", 1), &mut ()).unwrap();
    let least = asked(&run, 60, 3600).into_iter().fold(f64::INFINITY, f64::min);
    assert!(least >= 4.0, "{least}");
}
