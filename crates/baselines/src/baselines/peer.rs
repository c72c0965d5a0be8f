//! keda-gpu-scaler (`github.com/pmady/keda-gpu-scaler`, commit 5f0e6c1, 2026-07-31): its profiles for vLLM,
//! with the ScaledObject of its examples: KEDA's defaults throughout, so a polling interval of 30 s, a
//! cooldown of 300 s and `AverageValue`.

use std::time::Duration;

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::{Control, ExternalScaler, TriggerAnswer};
use rheostat_sizing::{Observation, Stage};

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::metrics_scaler::{MetricsScaler, QueryTrigger};
use crate::parameter::{Chosen, Parameter};
use crate::query::{Query, Signal};
use crate::scaled_object::{Object, window};

/// It reads when it is asked; KEDA and the HPA ask at most every 15 s.
const PERIOD: Duration = Duration::from_secs(15);

/// `vllm-inference`: memory in use, in percent.
pub(crate) fn inference(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "peer-vllm-inference",
        source: "pmady/keda-gpu-scaler 5f0e6c1 (2026-07-31), pkg/profiles/profiles.go: vllm-inference",
        description: "KEDA on GPU memory in use, the largest of one node's GPUs, AverageValue 80, activation 5.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_percent",
                "targetValue: memory in use, in percent",
                80.0,
                (1.0, 100.0),
                &[10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 95.0],
            ),
            Parameter::number(
                "memory_percent",
                "memory that a GPU with an engine has in use, in percent: vLLM takes gpu_memory_utilization at \
                 its start and keeps it, 0.9 by default",
                90.0,
                (1.0, 100.0),
                &[],
            ),
            down_window(),
            floor,
            cap,
        ],
        builder: build_inference,
    }
}

fn build_inference(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    Ok(object(chosen)?.with(MemoryScaler {
        target: chosen.number("target_percent")?,
        engine_percent: chosen.number("memory_percent")?,
        value: 0.0,
    }))
}

/// `vllm-queue-depth`: requests that wait, of the one pod that a connection through the Service reaches.
pub(crate) fn queue_depth(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "peer-vllm-queue-depth",
        source: "pmady/keda-gpu-scaler 5f0e6c1 (2026-07-31), pkg/profiles/profiles.go: vllm-queue-depth, \
                 pkg/vllm/client.go",
        description: "KEDA on one pod's waiting requests, AverageValue 5, activation 1.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_waiting",
                "targetValue: requests that wait",
                5.0,
                (0.01, 10_000.0),
                &[0.25, 0.5, 1.0, 2.0, 5.0, 10.0],
            ),
            down_window(),
            floor,
            cap,
        ],
        builder: |chosen, _| {
            let query = Query::Pinned {
                signal: Signal::Waiting,
                pod: None,
            };
            let trigger = QueryTrigger::new("vllm-queue-depth", query, chosen.number("target_waiting")?, 1.0);
            Ok(object(chosen)?.with(MetricsScaler::new(PERIOD, vec![trigger])))
        },
    }
}

fn down_window() -> Parameter {
    Parameter::whole(
        "down_window_seconds",
        "scaleDown.stabilizationWindowSeconds",
        300,
        (0, 3600),
        &[60, 300, 600, 1200],
    )
}

fn object(chosen: &Chosen) -> Result<Object, BaselineError> {
    let down = window(chosen.whole("down_window_seconds")?);
    Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue]).behavior(window(0), down))
}

/// Memory of the GPUs of the one node that KEDA's connection reaches. The best case is modelled: that node
/// runs a replica whenever there is one, and nobody else.
#[derive(Debug)]
struct MemoryScaler {
    target: f64,
    engine_percent: f64,
    value: f64,
}

impl ExternalScaler for MemoryScaler {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn observe(&mut self, observation: &Observation) {
        // An engine takes its memory while it starts, and a GPU without one is empty: the value says
        // nothing of load.
        let holds = |stage| {
            matches!(
                stage,
                Stage::Starting | Stage::Ready | Stage::Unready | Stage::Asleep
            )
        };
        let any = observation.pods.iter().any(|pod| holds(pod.stage));
        self.value = if any { self.engine_percent } else { 0.0 };
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("memory-used-percent".to_owned(), self.target)]
    }

    fn answer(&self, _: usize) -> TriggerAnswer {
        TriggerAnswer::Value {
            value: self.value,
            active: self.value > 5.0,
        }
    }
}
