use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::{Observation, Serving};

use super::{MOST_DECISIONS, PERIOD, start_parameter};
use crate::baseline::{Baseline, Knowledge};
use crate::bounds::{Bounds, bounds_parameters};
use crate::context::Context;
use crate::parameter::Parameter;
use crate::traffic::Traffic;

/// Chiron's global autoscaler for interactive requests: instances that serve one over all.
pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "chiron",
        source: "Chiron, arXiv 2501.08090, as copied in shashwatj07/SageServe 0b95ca2 (2026-06-23), arbiter.py: \
                 ChironArbiter.scale",
        description: "At each request: one more where more than 0.6 of the instances serve an interactive request \
                      (the interactive backpressure), one less otherwise.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "backpressure",
                "part of the instances that may serve requests",
                0.6,
                (0.01, 1.0),
                &[0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95],
            ),
            start_parameter(context),
            floor,
            cap,
        ],
        builder: |chosen, _| {
            Ok(Control::Direct(Box::new(Chiron {
                backpressure: chosen.number("backpressure")?,
                pause: chosen.seconds("start_seconds")?,
                paused_until: None,
                traffic: Traffic::default(),
                arrived: 0.0,
                bounds: chosen.bounds()?,
            })))
        },
    }
}

#[derive(Debug)]
struct Chiron {
    backpressure: f64,
    pause: Duration,
    paused_until: Option<Timestamp>,
    traffic: Traffic,
    arrived: f64,
    bounds: Bounds,
}

impl Controller for Chiron {
    fn period(&self) -> Duration {
        PERIOD
    }

    /// On the way up it waits for what it started, as SageServe's other arbiters do; its configuration there
    /// (`chiron_arbiter.yaml`) has 0, since starts take no time there. On the way down nothing waits, so that
    /// one goes at every request as long as too few are busy.
    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let now = observation.now;
        let flow = self.traffic.observe(observation);
        self.arrived = (self.arrived + flow.arrived).clamp(0.0, MOST_DECISIONS);
        if self.paused_until.is_some_and(|until| now < until) {
            self.arrived = 0.0;
            return None;
        }
        let serving = observation
            .ready()
            .filter(|pod| {
                let in_flight = pod.serving.as_ref().and_then(Serving::in_flight);
                in_flight.is_some_and(|count| count.0 >= 0.5)
            })
            .count();
        let mut replicas = self.bounds.clamp(observation.replicas.max(1));
        while self.arrived >= 1.0 {
            self.arrived -= 1.0;
            let more = serving as f64 / f64::from(replicas) > self.backpressure;
            let next = if more {
                replicas.saturating_add(1)
            } else {
                replicas - 1
            };
            replicas = self.bounds.clamp(next.max(1));
            if more && !self.pause.is_zero() {
                self.paused_until = Some(now.plus(self.pause));
                break;
            }
        }
        Some(replicas)
    }
}
