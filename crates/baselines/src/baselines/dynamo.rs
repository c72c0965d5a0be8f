//! NVIDIA Dynamo's planner (`ai-dynamo/dynamo`, `components/src/dynamo/planner`), for engines that do prefill
//! and decode (`mode: agg`): a predictive loop and a reactive one.

use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::{Bounds, bounds_parameters};
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};

mod load;
mod predictor;
mod throughput;

use load::{LoadLoop, Target};
use predictor::Kind;
use throughput::ThroughputLoop;

const SOURCE: &str = "ai-dynamo/dynamo 0c6da1e and 0c9050c (2026), components/src/dynamo/planner/core/load_scaling.py, \
                      throughput_scaling.py, perf_model/agg.py, load/predictors.py, config/defaults.py";

/// `load_adjustment_interval`; traffic is counted as often.
const LOAD_INTERVAL: Duration = Duration::from_secs(5);
/// `ttft` and `itl` of `config/defaults.py`, where the SLO has none.
const DEFAULT_TTFT: Duration = Duration::from_millis(500);
const DEFAULT_ITL: Duration = Duration::from_millis(50);

/// The default: the throughput loop alone (`enable_throughput_scaling`, `enable_load_scaling` off).
pub(crate) fn throughput(context: &Context) -> Baseline {
    Baseline {
        name: "dynamo-throughput",
        source: SOURCE,
        description: "Each 180 s: requests and lengths predicted for the next 180 s over what the profile says of \
                      a replica within the SLO.",
        knowledge: Knowledge::Past,
        parameters: [throughput_parameters(), bounds(context).into()].concat(),
        builder: |chosen, context| planner(chosen, Some(throughput_loop(chosen, context)?), None),
    }
}

/// `optimization_target: throughput` or `latency`: the load loop alone, by fixed thresholds.
pub(crate) fn load(context: &Context) -> Baseline {
    let target = Parameter::word(
        "optimization_target",
        "which thresholds",
        "throughput",
        &["throughput", "latency"],
    );
    Baseline {
        name: "dynamo-load",
        source: SOURCE,
        description: "Each 5 s: one more where any KV cache with its queue is above 1.0 (0.4), one less where all \
                      are below 0.6 (0.1); nothing while a change is under way.",
        knowledge: Knowledge::Past,
        parameters: [vec![target], bounds(context).into()].concat(),
        builder: |chosen, context| {
            let target = match chosen.word("optimization_target")? {
                "latency" => Target::Latency,
                _ => Target::Throughput,
            };
            planner(chosen, None, Some(LoadLoop::new(target, context)))
        },
    }
}

/// `optimization_target: sla` with both loops: the throughput loop sets a floor for the load loop.
pub(crate) fn sla(context: &Context) -> Baseline {
    let sensitivity = Parameter::number(
        "scaling_down_sensitivity",
        "load_scaling_down_sensitivity, as a part",
        0.8,
        (0.0, 1.0),
        &[0.4, 0.6, 0.8],
    );
    Baseline {
        name: "dynamo-sla",
        source: SOURCE,
        description: "Both loops: the prediction is a floor; each 5 s one more where every replica's estimated TTFT \
                      or ITL breaks the SLA, one less where the rest would keep it.",
        knowledge: Knowledge::Past,
        parameters: [throughput_parameters(), vec![sensitivity], bounds(context).into()].concat(),
        builder: |chosen, context| {
            let sensitivity = chosen.number("scaling_down_sensitivity")?;
            planner(
                chosen,
                Some(throughput_loop(chosen, context)?),
                Some(LoadLoop::new(Target::Sla { sensitivity }, context)),
            )
        },
    }
}

/// `min_endpoint`, never below 1, and `max_gpu_budget`, which its user sets to what there is.
fn bounds(context: &Context) -> [Parameter; 2] {
    bounds_parameters(context)
}

fn throughput_parameters() -> Vec<Parameter> {
    vec![
        Parameter::word(
            "load_predictor",
            "load_predictor; prophet is left out",
            "arima",
            &["arima", "kalman", "constant"],
        ),
        Parameter::whole(
            "interval_seconds",
            "throughput_adjustment_interval",
            180,
            (10, 3600),
            &[30, 60, 180, 300],
        ),
        Parameter::number(
            "sla_part",
            "how much of the SLO's latencies is given as ttft and itl",
            1.0,
            (0.05, 1.0),
            &[0.3, 0.5, 0.7, 1.0],
        ),
    ]
}

fn throughput_loop(chosen: &Chosen, context: &Context) -> Result<ThroughputLoop, BaselineError> {
    let kind = match chosen.word("load_predictor")? {
        "kalman" => Kind::Kalman,
        "constant" => Kind::Constant,
        _ => Kind::Arima,
    };
    let part = chosen.number("sla_part")?;
    Ok(ThroughputLoop::new(
        context.engine.clone(),
        context.slo.ttft.unwrap_or(DEFAULT_TTFT).mul_f64(part),
        context.slo.itl.unwrap_or(DEFAULT_ITL).mul_f64(part),
        chosen.seconds("interval_seconds")?,
        kind,
    ))
}

fn planner(
    chosen: &Chosen,
    throughput: Option<ThroughputLoop>,
    load: Option<LoadLoop>,
) -> Result<Control, BaselineError> {
    let mut bounds = chosen.bounds()?;
    bounds.floor = bounds.floor.max(1);
    Ok(Control::Direct(Box::new(Planner {
        throughput,
        load,
        floor: None,
        bounds,
        next_throughput: None,
    })))
}

/// `PlannerStateMachine`: both loops and what they share.
#[derive(Debug)]
struct Planner {
    throughput: Option<ThroughputLoop>,
    load: Option<LoadLoop>,
    /// What the throughput loop asked for, where the load loop acts above it.
    floor: Option<u32>,
    bounds: Bounds,
    next_throughput: Option<Timestamp>,
}

impl Controller for Planner {
    fn period(&self) -> Duration {
        LOAD_INTERVAL
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let mut wanted = None;
        if let Some(throughput) = &mut self.throughput {
            throughput.count(observation);
            let due = *self
                .next_throughput
                .get_or_insert_with(|| observation.now.plus(throughput.interval()));
            if observation.now >= due {
                self.next_throughput = Some(due.plus(throughput.interval()));
                let replicas = throughput.replicas();
                if self.load.is_none() {
                    wanted = replicas;
                } else {
                    self.floor = replicas.or(self.floor);
                }
            }
        }
        if let Some(load) = &self.load {
            wanted = load
                .replicas(observation)
                .map(|replicas| replicas.max(self.floor.unwrap_or(0)));
        }
        // connectors/kubernetes.py: "Deployment … is not ready, ignoring this scaling".
        let settled = observation.ready_count() == observation.replicas;
        wanted.filter(|_| settled).map(|wanted| self.bounds.clamp(wanted))
    }
}
