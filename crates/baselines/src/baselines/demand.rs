//! Demand over capacity, held for a while: what an engineer with a load test writes in an afternoon.

use std::time::Duration;

use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::{Bounds, bounds_parameters, round_up};
use crate::capacity::replicas_busy;
use crate::context::Context;
use crate::foresight::Bin;
use crate::parameter::{Chosen, Parameter};
use crate::traffic::Traffic;
use crate::window::Window;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(15);

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "demand-moving-max",
        source: "the moving-window recommenders of Google Autopilot (EuroSys 2020), with a load test's capacity",
        description: "Arrivals of the last while over what a replica finishes within the SLO, and the largest of \
                      that over a longer while.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "utilization",
                "part of a replica's fastest steady state within the SLO that is used",
                0.7,
                (0.05, 1.0),
                &[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            ),
            Parameter::whole(
                "average_seconds",
                "over which time arrivals are averaged",
                60,
                (15, 3600),
                &[30, 60, 120, 300],
            ),
            Parameter::whole(
                "hold_seconds",
                "the largest demand of so long counts",
                600,
                (15, 86_400),
                &[60, 300, 600, 1200, 3600],
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, context: &Context) -> Result<Control, BaselineError> {
    let window = |name| Ok::<_, BaselineError>(Window::new(chosen.seconds(name)?));
    Ok(Control::Direct(Box::new(MovingMax {
        context: context.clone(),
        utilization: chosen.number("utilization")?,
        traffic: Traffic::default(),
        seconds: window("average_seconds")?,
        requests: window("average_seconds")?,
        shape: (0.0, 0.0),
        demand: window("hold_seconds")?,
        bounds: chosen.bounds()?,
    })))
}

#[derive(Debug)]
struct MovingMax {
    context: Context,
    utilization: f64,
    traffic: Traffic,
    seconds: Window,
    requests: Window,
    shape: (f64, f64),
    demand: Window,
    bounds: Bounds,
}

impl Controller for MovingMax {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let flow = self.traffic.observe(observation);
        self.shape = flow.shape.unwrap_or(self.shape);
        self.seconds.record(observation.now, flow.seconds);
        self.requests.record(observation.now, flow.arrived);
        let seconds = self.seconds.mean()?;
        if seconds <= 0.0 || flow.shape.is_none() {
            return None;
        }
        let requests = self.requests.mean()?.max(0.0);
        let arrivals = Bin {
            requests,
            prompt_tokens: requests * self.shape.0,
            output_tokens: requests * self.shape.1,
        };
        let demand = replicas_busy(arrivals, seconds, &self.context);
        self.demand.record(observation.now, demand);
        let largest = self.demand.max().unwrap_or(demand);
        Some(self.bounds.clamp(round_up(largest / self.utilization)))
    }
}
