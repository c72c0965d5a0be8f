//! llm-d without its own controller: KEDA on metrics of the engines or of the endpoint picker. Its own
//! controller is in `wva`.

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::Control;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::baselines::hpa::batch_targets;
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::metrics_scaler::{MetricsScaler, QueryTrigger, SCRAPE};
use crate::parameter::{Chosen, Parameter};
use crate::query::{Query, Signal};
use crate::scaled_object::{Object, pods, window};

/// The blueprint that llm-d measures with.
pub(crate) fn blueprint(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "llm-d-blueprint",
        source: "llm-d/llm-d-autoscaling 3c06c88 (2026-09-21), \
                 benchmark/config/scenarios/guides/pd-disaggregation.yaml",
        description: "KEDA on the longest queue (20) and the fullest KV cache (0.95) of any pod, AverageValue, \
                      one pod up per 180 s and down per 300 s.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_waiting",
                "threshold of max(vllm:num_requests_waiting)",
                20.0,
                (0.1, 10_000.0),
                &[1.0, 2.0, 5.0, 10.0, 20.0],
            ),
            Parameter::number(
                "target_kv_cache",
                "threshold of max(vllm:kv_cache_usage_perc)",
                0.95,
                (0.01, 1.0),
                &[0.1, 0.2, 0.4, 0.7, 0.95],
            ),
            Parameter::whole(
                "up_period_seconds",
                "one pod up in so many seconds",
                180,
                (1, 1800),
                &[15, 60, 180],
            ),
            Parameter::whole(
                "down_window_seconds",
                "scaleDown.stabilizationWindowSeconds",
                300,
                (0, 3600),
                &[60, 300, 900],
            ),
            floor,
            cap,
        ],
        builder: build_blueprint,
    }
}

fn build_blueprint(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    let triggers = vec![
        QueryTrigger::new(
            "waiting",
            Query::Max(Signal::Waiting),
            chosen.number("target_waiting")?,
            0.0,
        ),
        QueryTrigger::new(
            "kv-cache",
            Query::Max(Signal::KvCacheUsage),
            chosen.number("target_kv_cache")?,
            0.0,
        ),
    ];
    Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue; 2])
        .polling(15)
        .behavior(
            pods(window(0), 1, chosen.whole("up_period_seconds")?),
            pods(window(chosen.whole("down_window_seconds")?), 1, 300),
        )
        .with(MetricsScaler::new(SCRAPE, triggers)))
}

/// What a pod's queue and KV cache are full at, for the endpoint picker's saturation: `DefaultQueueDepthThreshold`
/// and `DefaultKVCacheUtilThreshold` of its utilization detector (llm-d/llm-d-router 39142fb,
/// `pkg/epp/framework/plugins/flowcontrol/saturationdetector/utilization`).
const FULL: Query = Query::Saturation {
    queue: 5.0,
    kv_cache: 0.8,
};

/// The guide that llm-d gives its users: the endpoint picker's own metrics.
pub(crate) fn endpoint_picker(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "llm-d-endpoint-picker",
        source: "llm-d/llm-d 903da90 (2026), guides/workload-autoscaling/keda-epp-saturation/\
                 optimized-baseline/base/scaledobject.yaml",
        description: "KEDA on the pool's saturation (0.7) and on requests in flight (16 per replica), \
                      AverageValue.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_saturation",
                "threshold of llm_d_epp_flow_control_pool_saturation",
                0.7,
                (0.01, 10.0),
                &[0.5, 0.7, 0.8, 1.0],
            ),
            Parameter::number(
                "target_requests",
                "threshold of llm_d_epp_request_running",
                16.0,
                (0.1, 100_000.0),
                &batch_targets(context),
            ),
            Parameter::whole(
                "down_window_seconds",
                "scaleDown.stabilizationWindowSeconds",
                300,
                (0, 3600),
                &[60, 300, 600, 1200],
            ),
            floor,
            cap,
        ],
        builder: |chosen, _| {
            let triggers = vec![
                QueryTrigger::new("pool-saturation", FULL, chosen.number("target_saturation")?, 0.0),
                QueryTrigger::new(
                    "running-requests",
                    Query::InFlight,
                    chosen.number("target_requests")?,
                    0.0,
                ),
            ];
            Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue; 2])
                .polling(15)
                .behavior(window(0), window(chosen.whole("down_window_seconds")?))
                .with(MetricsScaler::new(SCRAPE, triggers)))
        },
    }
}

/// What llm-d warns of: `Value` with the queue's length, which multiplies by the replicas at each sync.
pub(crate) fn queue_value(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "llm-d-queue-value",
        source: "llm-d/llm-d-autoscaling PR 1019 (2026-04-16), docs/design/hpa-overshoot.md",
        description: "KEDA on the total queue, Value 250: the demonstration of an overshoot.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_waiting",
                "threshold of sum(vllm:num_requests_waiting)",
                250.0,
                (0.1, 1_000_000.0),
                &[5.0, 20.0, 50.0, 100.0, 250.0],
            ),
            Parameter::whole(
                "down_window_seconds",
                "scaleDown.stabilizationWindowSeconds",
                300,
                (0, 3600),
                &[60, 300, 900],
            ),
            floor,
            cap,
        ],
        builder: |chosen, _| {
            let query = Query::Sum(Signal::Waiting);
            let trigger = QueryTrigger::new("waiting", query, chosen.number("target_waiting")?, 0.0);
            Ok(Object::new(chosen.bounds()?, &[MetricType::Value])
                .polling(15)
                .behavior(window(0), window(chosen.whole("down_window_seconds")?))
                .with(MetricsScaler::new(SCRAPE, vec![trigger])))
        },
    }
}
