//! Told the truth: the requests that will have come by the time that a replica asked for now serves.
//!
//! Not an autoscaler of anybody, but an upper bound on what the optimum costs: it runs in the same simulator
//! as everyone else, so what it spends can be spent. Ours.

use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::{Bounds, bounds_parameters, round_up};
use crate::capacity::needs;
use crate::context::Context;
use crate::foresight::Foresight;
use crate::parameter::{Chosen, Parameter};

/// How often it looks; also how late its decision may be, so it looks that much further ahead.
const PERIOD: Duration = Duration::from_secs(10);

pub(crate) fn baseline(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    // Within the time that a request may wait, arrivals may be averaged; over longer, bursts would be lost.
    let wait = context.slo.ttft.unwrap_or(PERIOD).as_secs_f64().ceil();
    Baseline {
        name: "oracle",
        source: "ours; after the look-ahead of Lu and Chen, arXiv 1112.0442: beyond one cold start it is worthless",
        description: "Told the true arrivals one cold start ahead: the most that any moment until then needs.",
        knowledge: Knowledge::Future,
        parameters: vec![
            Parameter::number(
                "utilization",
                "part of a replica's fastest steady state within the SLO that is used",
                0.7,
                (0.05, 1.0),
                &[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
            ),
            Parameter::whole(
                "bin_seconds",
                "over which time arrivals are averaged, at least a bin of the foresight; the time to the first token \
                 where nobody says",
                (wait as u32).clamp(1, 3600),
                (1, 3600),
                &[1, 2, 5, 10, 30, 60],
            ),
            Parameter::whole(
                "keep_seconds",
                "how long a replica is kept beyond what is needed, on top of the cold start",
                0,
                (0, 86_400),
                &[0, 60, 180, 600],
            ),
            floor,
            cap,
        ],
        builder: build,
    }
}

fn build(chosen: &Chosen, context: &Context) -> Result<Control, BaselineError> {
    let foresight = context
        .foresight
        .clone()
        .ok_or_else(|| BaselineError::NoForesight {
            baseline: chosen.baseline(),
        })?;
    let width = chosen.seconds("bin_seconds")?.max(foresight.width());
    let utilization = chosen.number("utilization")?;
    let replicas = needs(&foresight, width, context)
        .into_iter()
        .map(|need| round_up(need / utilization))
        .collect();
    Ok(Control::Direct(Box::new(Oracle {
        foresight,
        width,
        replicas,
        ahead: context.cold_start + PERIOD,
        keep: chosen.seconds("keep_seconds")?,
        bounds: chosen.bounds()?,
    })))
}

#[derive(Debug)]
struct Oracle {
    foresight: Arc<Foresight>,
    width: Duration,
    /// What each bin needs.
    replicas: Vec<u32>,
    ahead: Duration,
    keep: Duration,
    bounds: Bounds,
}

impl Oracle {
    fn bin(&self, moment: Timestamp) -> usize {
        (moment.since(self.foresight.start()).as_nanos() / self.width.as_nanos()) as usize
    }
}

impl Controller for Oracle {
    fn period(&self) -> Duration {
        PERIOD
    }

    /// The most that any moment needs from now until a replica asked for at the next look would serve. A
    /// replica that is needed again within a cold start stays, since starting it anew costs as much.
    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let from = self.bin(observation.now.minus(self.keep));
        let to = self.bin(observation.now.plus(self.ahead));
        let last = self.replicas.len().min(to.saturating_add(1));
        let need = self.replicas.get(from..last).unwrap_or_default();
        Some(self.bounds.clamp(need.iter().copied().max().unwrap_or(0)))
    }
}
