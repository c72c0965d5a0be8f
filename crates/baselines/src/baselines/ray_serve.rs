//! Ray Serve's default autoscaling policy.

use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::baselines::hpa::batch_targets;
use crate::bounds::{Bounds, bounds_parameters};
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::traffic;
use crate::window::Window;

/// How often it looks. The original decides each 0.1 s on numbers that replicas and handles push each 10 s;
/// the delays, in seconds, are the same.
const PERIOD: Duration = Duration::from_secs(2);

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "ray-serve",
        source: "ray-project/ray 00590c4 (2026), python/ray/serve/autoscaling_policy.py, \
                 python/ray/serve/config.py",
        description: "Ongoing requests, queued ones too, averaged over 30 s, over a target of 2 a replica; up \
                      after 30 s, down after 600 s.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_ongoing_requests",
                "target_ongoing_requests",
                2.0,
                (0.01, 100_000.0),
                &batch_targets(context),
            ),
            Parameter::whole(
                "look_back_period_seconds",
                "look_back_period_s",
                30,
                (2, 3600),
                &[10, 30, 60],
            ),
            Parameter::whole(
                "upscale_delay_seconds",
                "upscale_delay_s",
                30,
                (0, 3600),
                &[0, 10, 30],
            ),
            Parameter::whole(
                "downscale_delay_seconds",
                "downscale_delay_s",
                600,
                (0, 86_400),
                &[60, 300, 600, 1200, 3600],
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    Ok(Control::Direct(Box::new(ServeAutoscaler {
        target: chosen.number("target_ongoing_requests")?,
        ongoing: Window::new(chosen.seconds("look_back_period_seconds")?),
        upscale_delay: chosen.seconds("upscale_delay_seconds")?,
        downscale_delay: chosen.seconds("downscale_delay_seconds")?,
        pending: None,
        bounds: chosen.bounds()?,
    })))
}

#[derive(Debug)]
struct ServeAutoscaler {
    target: f64,
    ongoing: Window,
    upscale_delay: Duration,
    downscale_delay: Duration,
    /// Since when every decision has been up, or down.
    pending: Option<(Direction, Timestamp)>,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Controller for ServeAutoscaler {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let now = observation.now;
        let current = observation.replicas;
        self.ongoing.record(now, traffic::in_flight(observation));
        let ongoing = self.ongoing.mean()?;
        // From no replica that runs: one, at once, or what is asked for already.
        if observation.ready_count() == 0 {
            let wanted = if ongoing > 0.0 { current.max(1) } else { current };
            return Some(self.bounds.clamp(wanted));
        }
        // N * ongoing / (target * N); both factors are 1.
        let desired = self.bounds.clamp((ongoing / self.target).ceil() as u32);
        let (direction, delay, wanted) = match desired.cmp(&current) {
            std::cmp::Ordering::Greater => (Direction::Up, self.upscale_delay, desired),
            // Only the last one may go to zero.
            std::cmp::Ordering::Less if current > 1 => {
                (Direction::Down, self.downscale_delay, desired.max(1))
            }
            std::cmp::Ordering::Less => (Direction::Down, self.downscale_delay, desired),
            std::cmp::Ordering::Equal => {
                self.pending = None;
                return None;
            }
        };
        let since = match self.pending {
            Some((pending, since)) if pending == direction => since,
            _ => now,
        };
        if now.since(since) < delay {
            self.pending = Some((direction, since));
            return None;
        }
        self.pending = None;
        Some(wanted)
    }
}
