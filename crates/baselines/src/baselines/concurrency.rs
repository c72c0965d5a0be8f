//! The best rule of thumb: requests in flight against what one replica takes, with windows, floor and cap.

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::Control;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::baselines::hpa::batch_targets;
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::metrics_scaler::{MetricsScaler, QueryTrigger, SCRAPE};
use crate::parameter::{Chosen, Parameter};
use crate::query::Query;
use crate::scaled_object::{Object, window};

/// Tuned, the strongest simple rule: the value is a total, so replicas that start count as supply
/// (`AverageValue`), it is not capped by the slots, and it sees what waits in front of the workload.
pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "keda-concurrency",
        source: "the rule that KEDA's http-add-on (v0.15, 2026-06-28), Knative and llm-d's guides come down to",
        description: "KEDA on requests in flight per replica, AverageValue.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::number(
                "target_requests",
                "requests in flight for each replica",
                16.0,
                (0.1, 100_000.0),
                &batch_targets(context),
            ),
            Parameter::whole(
                "up_window_seconds",
                "scaleUp.stabilizationWindowSeconds",
                0,
                (0, 3600),
                &[0, 30, 60],
            ),
            Parameter::whole(
                "down_window_seconds",
                "scaleDown.stabilizationWindowSeconds",
                300,
                (0, 3600),
                &[60, 180, 300, 600, 1200, 3600],
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    let trigger = QueryTrigger::new(
        "concurrency",
        Query::InFlight,
        chosen.number("target_requests")?,
        0.0,
    );
    Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue])
        .polling(15)
        .behavior(
            window(chosen.whole("up_window_seconds")?),
            window(chosen.whole("down_window_seconds")?),
        )
        .with(MetricsScaler::new(SCRAPE, vec![trigger])))
}
