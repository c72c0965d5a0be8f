//! AIBrix's PodAutoscaler: its APA and KPA strategies (`vllm-project/aibrix` e3e10f9, 2026-08-22,
//! `pkg/controller/podautoscaler`), defects included.

use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Builder, Knowledge};
use crate::baselines::hpa::batch_targets;
use crate::bounds::{Bounds, bounds_parameters};
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::query::{Signal, mean};
use crate::window::Window;

/// `DefaultResyncInterval` of `podautoscaler_controller.go`.
const RESYNC: Duration = Duration::from_secs(10);
/// `MaxScaleUpRate` and `MaxScaleDownRate` of `context/context.go`: to the double, to the half.
const UP_RATE: f64 = 2.0;
const DOWN_RATE: f64 = 2.0;
/// `PanicThreshold` of `context/context.go`.
const PANIC_THRESHOLD: f64 = 2.0;

pub(crate) fn apa(context: &Context) -> Baseline {
    Baseline {
        name: "aibrix-apa",
        source: "vllm-project/aibrix e3e10f9 (2026-08-22), \
                 pkg/controller/podautoscaler/algorithm/apa.go, samples/autoscaling/apa.yaml",
        description: "The replicas times mean KV cache use over its target 0.5, with a tolerance of 0.1, to the \
                      double or the half.",
        knowledge: Knowledge::Past,
        parameters: parameters(context, false),
        builder: builder(false),
    }
}

pub(crate) fn kpa(context: &Context) -> Baseline {
    Baseline {
        name: "aibrix-kpa",
        source: "vllm-project/aibrix e3e10f9 (2026-08-22), \
                 pkg/controller/podautoscaler/algorithm/kpa.go, samples/autoscaling/kpa.yaml",
        description: "Mean KV cache use of a pod over its target 0.5, without the number of pods: never more than \
                      two.",
        knowledge: Knowledge::Past,
        parameters: parameters(context, true),
        builder: builder(true),
    }
}

fn parameters(context: &Context, panics: bool) -> Vec<Parameter> {
    let [_, cap] = bounds_parameters(context);
    let mut all = vec![
        Parameter::word(
            "metric",
            "targetMetric of each pod",
            "kv_cache_usage",
            &["kv_cache_usage", "running", "waiting"],
        ),
        Parameter::number(
            "target_usage",
            "targetValue where the metric is KV cache use",
            0.5,
            (0.001, 1.0),
            &[0.05, 0.1, 0.2, 0.3, 0.5, 0.7],
        ),
        Parameter::number(
            "target_requests",
            "targetValue where the metric counts requests",
            10.0,
            (0.01, 100_000.0),
            &batch_targets(context),
        ),
        Parameter::number(
            "tolerance",
            "up- and down-fluctuation-tolerance",
            0.1,
            (0.0, 1.0),
            &[],
        ),
        Parameter::whole(
            "stable_window_seconds",
            "observeWindowSeconds, DefaultStableWindowDuration",
            180,
            (10, 3600),
            &[30, 60, 180, 600],
        ),
        Parameter::whole(
            "down_cooldown_seconds",
            "ScaleDownCooldownWindow: the smallest recommendation of so long, where the HPA takes the largest",
            300,
            (0, 3600),
            &[0, 60, 300],
        ),
        floor(context),
        cap,
    ];
    if panics {
        all.insert(
            5,
            Parameter::whole(
                "panic_window_seconds",
                "DefaultPanicWindowDuration",
                60,
                (10, 3600),
                &[],
            ),
        );
    }
    all
}

/// At zero it stays at zero ("scaling disabled: current replicas is 0") and has no pod to ask.
fn floor(context: &Context) -> Parameter {
    let [mut floor, _] = bounds_parameters(context);
    floor.default = context.min_replicas.max(1).into();
    floor
        .candidates
        .retain(|candidate| *candidate != 0_u32.into() && *candidate != floor.default);
    floor.candidates.insert(0, floor.default.clone());
    floor
}

fn builder(panics: bool) -> Builder {
    if panics {
        |chosen, _| build(chosen, Some(chosen.seconds("panic_window_seconds")?))
    } else {
        |chosen, _| build(chosen, None)
    }
}

fn build(chosen: &Chosen, panic_window: Option<Duration>) -> Result<Control, BaselineError> {
    let (signal, target) = match chosen.word("metric")? {
        "running" => (Signal::Running, chosen.number("target_requests")?),
        "waiting" => (Signal::Waiting, chosen.number("target_requests")?),
        _ => (Signal::KvCacheUsage, chosen.number("target_usage")?),
    };
    Ok(Control::Direct(Box::new(PodAutoscaler {
        signal,
        target,
        tolerance: chosen.number("tolerance")?,
        stable: Window::new(chosen.seconds("stable_window_seconds")?),
        panic: panic_window.map(Window::new),
        cooldown: chosen.seconds("down_cooldown_seconds")?,
        recommendations: VecDeque::new(),
        bounds: chosen.bounds()?,
    })))
}

#[derive(Debug)]
struct PodAutoscaler {
    signal: Signal,
    target: f64,
    tolerance: f64,
    stable: Window,
    /// Only for KPA.
    panic: Option<Window>,
    cooldown: Duration,
    recommendations: VecDeque<(Timestamp, u32)>,
    bounds: Bounds,
}

impl Controller for PodAutoscaler {
    fn period(&self) -> Duration {
        RESYNC
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let current = observation.replicas;
        if current == 0 || self.bounds.clamp(current) != current {
            return (current > 0).then(|| self.bounds.clamp(current));
        }
        // The mean over the pods that answer; without any the metric fails, and nothing is done.
        let signal = self.signal;
        let value = mean(observation.ready().filter_map(|pod| signal.of(pod)))?;
        self.stable.record(observation.now, value);
        let stable = self.stable.mean()?;
        let wanted = match &mut self.panic {
            None => self.apa(current, stable),
            Some(window) => {
                window.record(observation.now, value);
                let panic = window.mean()?;
                self.kpa(current, stable, panic)
            }
        };
        let wanted = self.stabilize(observation.now, current, self.bounds.clamp(wanted));
        Some(self.bounds.clamp(wanted))
    }
}

impl PodAutoscaler {
    /// `APAAlgorithm.computeTargetReplicas`.
    fn apa(&self, current: u32, value: f64) -> u32 {
        let (pods, ratio) = (f64::from(current), value / self.target);
        let wanted = if ratio > 1.0 + self.tolerance {
            (pods * ratio).ceil().min((UP_RATE * pods).ceil())
        } else if ratio < 1.0 - self.tolerance {
            (pods * ratio).ceil().max((pods / DOWN_RATE).floor())
        } else {
            pods
        };
        wanted as u32
    }

    /// `KPAAlgorithm.computeTargetReplicas`. Two defects: the value is a mean over pods and nobody
    /// multiplies by them, as Knative's total needs no multiplying; and the largest count of a panic, which
    /// no decrease may undercut, is not kept (`SetMaxPanicPods` does nothing).
    fn kpa(&self, current: u32, stable: f64, panic: f64) -> u32 {
        let pods = f64::from(current);
        let limit = |value: f64| {
            let ratio = value / self.target;
            let outside = ratio > 1.0 + self.tolerance || ratio < 1.0 - self.tolerance;
            let wanted = if outside { ratio.ceil() } else { pods };
            let least = (pods / DOWN_RATE).floor();
            wanted.max(least).min((UP_RATE * pods).ceil().max(1.0))
        };
        let panics = stable <= 0.0 || panic / stable > PANIC_THRESHOLD;
        let wanted = if panics {
            limit(stable).max(limit(panic))
        } else {
            limit(stable)
        };
        wanted as u32
    }

    /// `stabilizeRecommendation`: on the way down the smallest recommendation of the window instead of the
    /// largest, so that a cooldown makes it go down further. On the way up the window is 0.
    fn stabilize(&mut self, now: Timestamp, current: u32, wanted: u32) -> u32 {
        self.recommendations.push_back((now, wanted));
        let cooldown = self.cooldown;
        self.recommendations.retain(|(at, _)| now.since(*at) < cooldown);
        if wanted >= current {
            return wanted;
        }
        let smallest = self.recommendations.iter().map(|(_, wanted)| *wanted).min();
        smallest.unwrap_or(wanted)
    }
}
