//! KAITO's KEDA scaler: all metrics above a threshold and every replica ready adds one pod, all below
//! another takes one away.

use std::time::Duration;

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::{Control, ExternalScaler, TriggerAnswer};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::query::{Signal, mean};
use crate::scaled_object::{Object, pods, window};

/// It scrapes the pods itself, each 15 s.
const SCRAPE: Duration = Duration::from_secs(15);
/// `scaleUpMultiplier`, `holdMultiplier` and `scaleDownMultiplier` of `pkg/scaledobject/provisioner.go`: any
/// above, at and below 1 do, as the HPA's rate makes one pod of them.
const UP: f64 = 2.0;
const HOLD: f64 = 1.0;
const DOWN: f64 = 0.5;

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    let cooldown =
        |name, description| Parameter::whole(name, description, 300, (1, 1800), &[30, 60, 120, 300]);
    Baseline {
        name: "kaito",
        source: "kaito-project/keda-kaito-scaler 3ce909d (2026-08-14), pkg/scaledobject/provisioner.go, README.md",
        description: "One pod more where mean waiting requests are above 10 and all are ready, one less below 1; one \
                      pod in 300 s.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "up_threshold",
                "upthreshold of vllm:num_requests_waiting",
                10.0,
                (0.0, 10_000.0),
                &[0.5, 1.0, 3.0, 5.0, 10.0],
            ),
            Parameter::number(
                "down_part",
                "downthreshold, 1, as a part of upthreshold",
                0.1,
                (0.0, 1.0),
                &[0.01, 0.1, 0.5],
            ),
            Parameter::whole(
                "evaluation_window_seconds",
                "evaluationwindow: scaleUp.stabilizationWindowSeconds",
                60,
                (0, 3600),
                &[0, 60],
            ),
            cooldown("up_cooldown_seconds", "scaleupcooldown: one pod in so long"),
            cooldown(
                "down_cooldown_seconds",
                "scaledowncooldown: one pod in so long, and the window",
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    let up = chosen.number("up_threshold")?;
    let mut bounds = chosen.bounds()?;
    // "Values <= 1 collapse to 1."
    bounds.floor = bounds.floor.max(1);
    let down_cooldown = chosen.whole("down_cooldown_seconds")?;
    Ok(Object::new(bounds, &[MetricType::Value])
        .polling(15)
        .behavior(
            pods(
                window(chosen.whole("evaluation_window_seconds")?),
                1,
                chosen.whole("up_cooldown_seconds")?,
            ),
            pods(window(down_cooldown), 1, down_cooldown),
        )
        .with(KaitoScaler {
            up,
            down: up * chosen.number("down_part")?,
            answer: TriggerAnswer::Error("nothing was read yet".to_owned()),
        }))
}

/// The readiness gate, the metric, and the formula of `scalingModifiers` over both. KEDA evaluates that
/// formula and hands its value to the HPA; here it is one trigger's value, which the HPA cannot tell apart.
#[derive(Debug)]
struct KaitoScaler {
    up: f64,
    down: f64,
    answer: TriggerAnswer,
}

impl ExternalScaler for KaitoScaler {
    fn period(&self) -> Duration {
        SCRAPE
    }

    fn observe(&mut self, observation: &Observation) {
        let waiting = mean(observation.ready().filter_map(|pod| Signal::Waiting.of(pod)));
        let all_ready = observation.ready_count() >= observation.replicas;
        self.answer = match waiting {
            None => TriggerAnswer::Error("metrics are not available yet".to_owned()),
            Some(waiting) => TriggerAnswer::Value {
                value: if all_ready && waiting > self.up {
                    UP
                } else if waiting < self.down {
                    DOWN
                } else {
                    HOLD
                },
                active: all_ready,
            },
        };
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("composite".to_owned(), 1.0)]
    }

    fn answer(&self, _: usize) -> TriggerAnswer {
        self.answer.clone()
    }
}
