//! vLLM production-stack: KEDA on waiting requests, and on traffic so that it does not go to zero under load.

use std::time::Duration;

use rheostat_kubescale::hpa::MetricType;
use rheostat_simulator::Control;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::metrics_scaler::{MetricsScaler, QueryTrigger, SCRAPE};
use crate::parameter::{Chosen, Parameter};
use crate::query::{Arriving, Query, Signal};
use crate::scaled_object::{Object, window};

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "production-stack",
        source: "vllm-project/production-stack a6c01db (2026-08-05), tutorials/20-keda-autoscaling.md, \
                 helm/templates/scaledobject-vllm.yaml",
        description: "KEDA on waiting requests (5) and on whether requests come (1), polled every 15 s, to zero \
                      after 360 s.",
        knowledge: Knowledge::Past,
        parameters: vec![
            Parameter::word(
                "query",
                "the tutorial's bare metric, an error as soon as two pods report it; or its sum, as everyone \
                 writes who noticed",
                "bare",
                &["bare", "sum"],
            ),
            Parameter::number(
                "target_waiting",
                "threshold of vllm:num_requests_waiting",
                5.0,
                (0.1, 10_000.0),
                &[0.5, 1.0, 2.0, 5.0, 10.0],
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
        builder: build,
    }
}

fn build(chosen: &Chosen, _: &Context) -> Result<Control, BaselineError> {
    let waiting = if chosen.word("query")? == "bare" {
        Query::Bare(Signal::Waiting)
    } else {
        Query::Sum(Signal::Waiting)
    };
    let traffic = Query::Arriving(Arriving::within(Duration::from_secs(60)));
    let triggers = vec![
        QueryTrigger::new("waiting", waiting, chosen.number("target_waiting")?, 0.0),
        QueryTrigger::new("incoming-keepalive", traffic, 1.0, 0.0),
    ];
    Ok(Object::new(chosen.bounds()?, &[MetricType::AverageValue; 2])
        .polling(15)
        .cooldown(360)
        .behavior(window(0), window(chosen.whole("down_window_seconds")?))
        .with(MetricsScaler::new(SCRAPE, triggers)))
}
