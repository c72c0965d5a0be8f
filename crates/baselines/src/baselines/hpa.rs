//! The HPA on a metric of pods, through Prometheus and its adapter: what most people begin with.

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::Control;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::metrics_scaler::SCRAPE;
use crate::parameter::{Chosen, Parameter};
use crate::pods_metric::PodsMetricScaler;
use crate::query::Signal;
use crate::scaled_object::{Object, exactly, window};

/// HPA on `DCGM_FI_DEV_GPU_UTIL`.
pub(crate) fn gpu_utilization(context: &Context) -> Baseline {
    let target = Parameter::number(
        "target_percent",
        "GPU utilisation to keep, mean over pods",
        70.0,
        (1.0, 100.0),
        &[40.0, 50.0, 60.0, 70.0, 80.0, 90.0],
    );
    Baseline {
        name: "hpa-gpu-utilization",
        source: "Kubernetes 1.36 pkg/controller/podautoscaler/replica_calculator.go, with dcgm-exporter and \
                 prometheus-adapter as in NVIDIA's and Google's guides",
        description: "HPA with a Pods metric: mean GPU utilisation against 70 %.",
        knowledge: Knowledge::Past,
        parameters: hpa_parameters(target, context),
        builder: |chosen, _| build(chosen, Signal::GpuUtilization, chosen.number("target_percent")?),
    }
}

/// GKE's guide, by the queue: `vllm:num_requests_waiting`.
pub(crate) fn gke_queue_size(context: &Context) -> Baseline {
    let target = Parameter::number(
        "target_waiting",
        "requests that wait, mean over pods",
        5.0,
        (0.1, 10_000.0),
        &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0],
    );
    Baseline {
        name: "gke-queue-size",
        source: "GKE, Best practices for autoscaling LLM inference workloads with GPUs (2026-10-02): begin with \
                 3 to 5; its samples: vLLM 5, TPU 10",
        description: "HPA with a Pods metric: waiting requests per replica, AverageValue 5.",
        knowledge: Knowledge::Past,
        parameters: hpa_parameters(target, context),
        builder: |chosen, _| build(chosen, Signal::Waiting, chosen.number("target_waiting")?),
    }
}

/// GKE's guide, by the batch: `vllm:num_requests_running`.
pub(crate) fn gke_batch_size(context: &Context) -> Baseline {
    let slots = f64::from(context.engine.max_sequences);
    // "Slightly under the largest batch that a latency test allows": of the slots where nobody tested.
    let target = Parameter::number(
        "target_running",
        "requests in the batch, mean over pods",
        (slots * 0.9).max(1.0),
        (0.1, 100_000.0),
        &batch_targets(context),
    );
    Baseline {
        name: "gke-batch-size",
        source: "GKE, Best practices for autoscaling LLM inference workloads with GPUs (2026-10-02): a target \
                 slightly below the largest batch size",
        description: "HPA with a Pods metric: running requests per replica against a bit less than fit.",
        knowledge: Knowledge::Past,
        parameters: hpa_parameters(target, context),
        builder: |chosen, _| build(chosen, Signal::Running, chosen.number("target_running")?),
    }
}

/// Targets for requests in the batch: parts of the slots, and small absolute numbers.
pub(crate) fn batch_targets(context: &Context) -> Vec<f64> {
    let slots = f64::from(context.engine.max_sequences);
    let mut targets: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0]
        .into_iter()
        .filter(|target| *target <= slots)
        .collect();
    targets.extend([0.25, 0.5, 0.7, 0.8, 0.9].map(|part| (slots * part).round().max(1.0)));
    targets
}

fn hpa_parameters(target: Parameter, context: &Context) -> Vec<Parameter> {
    let [floor, cap] = bounds_parameters(context);
    vec![
        target,
        Parameter::whole(
            "up_window_seconds",
            "scaleUp.stabilizationWindowSeconds",
            0,
            (0, 3600),
            &[0, 60, 180],
        ),
        Parameter::whole(
            "down_window_seconds",
            "scaleDown.stabilizationWindowSeconds",
            300,
            (0, 3600),
            &[60, 300, 600, 1200, 3600],
        ),
        floor,
        cap,
    ]
}

fn build(chosen: &Chosen, signal: Signal, target: f64) -> Result<Control, BaselineError> {
    Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue])
        .polling(15)
        .behavior(
            exactly(window(chosen.whole("up_window_seconds")?)),
            exactly(window(chosen.whole("down_window_seconds")?)),
        )
        .with(PodsMetricScaler::new(signal, target, SCRAPE)))
}
