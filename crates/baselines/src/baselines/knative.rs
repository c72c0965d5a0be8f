//! Knative Serving's KPA.

use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::baselines::hpa::batch_targets;
use crate::bounds::{Bounds, bounds_parameters, round_up};
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::traffic;
use crate::window::Window;

/// `tickInterval` of `pkg/autoscaler/scaling/multiscaler.go`.
const TICK: Duration = Duration::from_secs(2);
/// `scale-to-zero-grace-period`: that long the activator takes over before the last pod goes.
const ZERO_GRACE: Duration = Duration::from_secs(30);
/// `panic-threshold-percentage` 200: panic where the short window asks for twice the ready pods.
const PANIC_THRESHOLD: f64 = 2.0;
/// `max-scale-up-rate`.
const UP_RATE: f64 = 1000.0;
/// `max-scale-down-rate`.
const DOWN_RATE: f64 = 2.0;

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "knative-kpa",
        source: "knative/serving 98e5ef9 (2026-08-21), pkg/autoscaler/scaling/autoscaler.go, \
                 config/core/configmaps/autoscaler.yaml",
        description: "Requests in flight over 70 % of a concurrency target, averaged over 60 s, or over 6 s in a \
                      panic that never scales down.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "concurrency_target",
                "container-concurrency-target-default, requests per pod",
                100.0,
                (0.1, 100_000.0),
                &batch_targets(context),
            ),
            Parameter::number(
                "target_utilization",
                "container-concurrency-target-percentage, as a part",
                0.7,
                (0.01, 1.0),
                &[],
            ),
            Parameter::whole(
                "stable_window_seconds",
                "stable-window",
                60,
                (6, 3600),
                &[30, 60, 180, 600],
            ),
            Parameter::number(
                "panic_window_part",
                "panic-window-percentage, as a part of the stable window",
                0.1,
                (0.01, 1.0),
                &[],
            ),
            Parameter::whole(
                "scale_down_delay_seconds",
                "scale-down-delay: the largest count of so long",
                0,
                (0, 3600),
                &[0, 60, 300, 900, 3600],
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    let stable = chosen.seconds("stable_window_seconds")?;
    let delay = chosen.seconds("scale_down_delay_seconds")?;
    Ok(Control::Direct(Box::new(KnativeAutoscaler {
        target: chosen.number("concurrency_target")? * chosen.number("target_utilization")?,
        stable_window: stable,
        stable: Window::new(stable),
        panic: Window::new(stable.mul_f64(chosen.number("panic_window_part")?)),
        delay: (!delay.is_zero()).then(|| Window::new(delay)),
        state: None,
        zero_since: None,
        bounds: chosen.bounds()?,
    })))
}

/// The decider of one revision, and the part of its reconciler that goes to zero.
#[derive(Debug)]
struct KnativeAutoscaler {
    target: f64,
    stable_window: Duration,
    stable: Window,
    panic: Window,
    delay: Option<Window>,
    /// Absent before the first look.
    state: Option<Panic>,
    zero_since: Option<Timestamp>,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, Default)]
struct Panic {
    since: Option<Timestamp>,
    most_pods: u32,
}

impl Controller for KnativeAutoscaler {
    fn period(&self) -> Duration {
        TICK
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let now = observation.now;
        // The activator counts what waits in front, the queue-proxies what is in the pods.
        let concurrency = traffic::in_flight(observation);
        self.stable.record(now, concurrency);
        self.panic.record(now, concurrency);
        let mut wanted = self.scale(now, observation.ready_count())?;
        if let Some(delay) = &mut self.delay {
            delay.record(now, f64::from(wanted));
            wanted = delay.max().map_or(wanted, |most| most as u32);
        }
        if wanted > 0 {
            self.zero_since = None;
        } else if now.since(*self.zero_since.get_or_insert(now)) < ZERO_GRACE {
            wanted = observation.replicas.min(1);
        }
        Some(self.bounds.clamp(wanted))
    }
}

impl KnativeAutoscaler {
    /// `autoscaler.Scale`.
    fn scale(&mut self, now: Timestamp, ready: u32) -> Option<u32> {
        let pods = f64::from(ready.max(1));
        let most = (UP_RATE * pods).ceil();
        let least = (pods / DOWN_RATE).floor();
        let by_stable = (self.stable.mean()? / self.target).ceil();
        let by_panic = (self.panic.mean()? / self.target).ceil();
        let limit = |wanted: f64| round_up(wanted.max(least).min(most));
        let over = by_panic / pods >= PANIC_THRESHOLD;

        // With more than one pod it starts in panic, so that a restart, which knows no history, takes
        // nothing away.
        let state = self.state.get_or_insert_with(|| Panic {
            since: (ready > 1).then_some(now),
            most_pods: ready,
        });
        match state.since {
            _ if over => state.since = Some(now),
            Some(since) if now.since(since) > self.stable_window => *state = Panic::default(),
            _ => {}
        }
        if state.since.is_none() {
            return Some(limit(by_stable));
        }
        state.most_pods = state.most_pods.max(limit(by_stable)).max(limit(by_panic));
        Some(state.most_pods)
    }
}
