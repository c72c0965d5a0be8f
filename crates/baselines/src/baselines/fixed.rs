//! So many replicas all the time.

use std::time::Duration;

use rheostat_simulator::Control;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::round_up;
use crate::capacity::needs;
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};

/// What is called the peak: the busiest minute. Of a shorter time, chance makes more of it than load does.
const PEAK: Duration = Duration::from_secs(60);

/// A level that somebody chose; the lowest that keeps the SLO is found by trying its candidates upwards.
pub(crate) fn fixed(context: &Context) -> Baseline {
    let max = context.max_replicas;
    let mut levels: Vec<u32> = Vec::new();
    let mut level = context.min_replicas.max(1);
    while level <= max {
        levels.push(level);
        // Every level up to 64, then steps of 2 %: a level that is 2 % too high costs 2 %.
        level += 1 + level / 64;
    }
    Baseline {
        name: "static",
        source: "what there is without an autoscaler",
        description: "A fixed number of replicas.",
        knowledge: Knowledge::Past,
        parameters: vec![Parameter::whole(
            "replicas",
            "how many",
            max,
            (context.min_replicas, max),
            &levels,
        )],
        builder: |chosen, _| Ok(Control::Static(chosen.whole("replicas")?)),
    }
}

/// What the busiest minute of the trace needs, all the time.
pub(crate) fn peak(_: &Context) -> Baseline {
    Baseline {
        name: "static-peak",
        source: "capacity planning for the peak",
        description: "The replicas that the busiest minute of the trace needs, all the time.",
        knowledge: Knowledge::Future,
        parameters: vec![Parameter::number(
            "utilization",
            "part of a replica's fastest steady state within the SLO that is planned with",
            0.8,
            (0.05, 1.0),
            &[0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        )],
        builder: build_peak,
    }
}

fn build_peak(chosen: &Chosen, context: &Context) -> Result<Control, BaselineError> {
    let utilization = chosen.number("utilization")?;
    let foresight = context
        .foresight
        .as_ref()
        .ok_or_else(|| BaselineError::NoForesight {
            baseline: chosen.baseline(),
        })?;
    let peak = needs(foresight, PEAK, context).into_iter().fold(0.0, f64::max);
    Ok(Control::Static(
        round_up(peak / utilization).clamp(context.min_replicas.max(1), context.max_replicas),
    ))
}
