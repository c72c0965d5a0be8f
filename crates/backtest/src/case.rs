use std::sync::Arc;
use std::time::Duration;

use rheostat_baselines::{BaselineError, Context, Foresight};
use rheostat_reading::Seconds;
use rheostat_simulator::{ColdStart, EngineModel, Mode, START, Scenario};
use rheostat_sizing::Slo;
use serde::{Deserialize, Serialize};

use crate::optimum::{Optimum, optimum};
use crate::trace_part::TracePart;

/// What is the same for all policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conditions {
    /// How a replica serves.
    pub engine: EngineModel,
    /// What is to be kept.
    pub slo: Slo,
    /// How long a start takes.
    pub cold_start: Duration,
    /// Never fewer replicas.
    pub min_replicas: u32,
    /// Never more replicas.
    pub max_replicas: u32,
    /// How exactly replicas are simulated.
    pub mode: Mode,
    /// Of all randomness.
    pub seed: u64,
}

/// One trace under one set of conditions: what every policy is run on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The requests.
    pub trace: Arc<TracePart>,
    /// What is the same for all policies.
    pub conditions: Conditions,
    /// What a baseline's user would configure anyway.
    pub context: Context,
    /// How it is simulated.
    pub scenario: Scenario,
    /// Replicas that the load keeps busy, over time: at most [`Case::MOST_BINS`].
    pub demand: Vec<Demand>,
    /// The least that any policy must spend.
    pub optimum: Optimum,
    /// Of a long trace: the busiest hours of the first and of the second half of what is scored, on which
    /// searches begin. Empty for a short one.
    pub(crate) busiest: Vec<Case>,
    /// See [`Self::peak`].
    peak: u32,
    /// See [`Self::burst`].
    burst: u32,
}

/// What the load needs for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Since when, seconds since the beginning of the trace.
    pub at: f64,
    /// Replicas that its work keeps as busy as the SLO allows, on average.
    pub replicas: f64,
}

/// Why a case cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CaseError {
    /// What baselines would be told makes no sense.
    #[error(transparent)]
    Context(#[from] BaselineError),
    /// Bounds between which there is no replica count, or more than is simulated.
    #[error(
        "--min-replicas (a policy's replicas.min) is {min} and --max-replicas (its replicas.max) is {max}; allowed is \
         a max of 1 to {}, and a min of at most that max",
        Context::MOST_REPLICAS
    )]
    Replicas {
        /// Never fewer.
        min: u32,
        /// Never more.
        max: u32,
    },
    /// No replica, however idle, keeps the SLO.
    #[error(
        "slo itl={itl:?} cannot be kept by engine {engine}, whose iterations take {base:?} at least; it must be \
         more than that"
    )]
    TooSlow {
        /// The engine.
        engine: String,
        /// What was asked for.
        itl: Duration,
        /// The least that an iteration takes.
        base: Duration,
    },
}

/// Every policy begins with what the worst burst of this time needs, or of the time that a first start takes
/// where that is longer: with less, not even one that is told the future keeps the SLO at the beginning, and
/// all are judged by how they were switched on. Longer would give away a rise that comes later.
const FIRST: Duration = Duration::from_secs(300);

/// What passes between a need and a replica's being asked for: a poll of KEDA's and a sync of the HPA.
const ASKING: Duration = Duration::from_secs(60);

/// Searches on a long trace begin on so much of each half. Shorter, and a search learns nothing of floors and
/// caps over a rise and a fall; longer, and it has no time for more than a few settings.
const SEARCHED: Duration = Duration::from_secs(3 * 3600);

/// Over what time the peak of a static fleet is averaged, and the longest that a burst is looked for in.
const MINUTE: Duration = Duration::from_secs(60);

/// Bursts are not looked for in shorter times: of those, one long prompt makes one.
const SHORTEST_BURST: Duration = Duration::from_secs(1);

/// What the future is told in: fine enough for bursts that matter to a time to the first token of seconds.
const FORESIGHT_BIN: Duration = Duration::from_secs(1);

/// The least width of a bin of [`Case::demand`].
const DEMAND_BIN: Duration = Duration::from_secs(10);

impl Case {
    /// What fits the width of a chart.
    pub const MOST_BINS: u32 = 480;

    /// `trace` under `conditions`.
    ///
    /// # Errors
    ///
    /// Bounds that make no sense, an SLO that nothing keeps, or a trace of more bins than baselines may be told.
    pub fn new(trace: Arc<TracePart>, conditions: Conditions) -> Result<Self, CaseError> {
        let (min, max) = (conditions.min_replicas, conditions.max_replicas);
        if !(1..=Context::MOST_REPLICAS).contains(&max) || min > max {
            return Err(CaseError::Replicas { min, max });
        }
        let engine = &conditions.engine;
        if let Some(itl) = conditions.slo.itl
            && engine.usable(itl).0 <= 0.0
        {
            return Err(CaseError::TooSlow {
                engine: engine.name.to_string(),
                itl,
                base: Duration::from_secs_f64(engine.base.0.max(0.0)),
            });
        }
        let each = replica_seconds(&trace, &conditions);
        let by_minute = bins(&trace, &each, MINUTE);
        let patience = conditions
            .slo
            .ttft
            .unwrap_or(MINUTE)
            .clamp(SHORTEST_BURST, MINUTE);
        let by_patience = bins(&trace, &each, patience);
        let first = FIRST.max(conditions.cold_start + ASKING);
        let first = (first.as_secs_f64() / patience.as_secs_f64()).ceil() as usize;
        let busiest = busiest_of(by_patience.get(..first).unwrap_or(&by_patience));
        let warm = (busiest.ceil() as u32).clamp(min.max(1), max);
        let optimum = optimum(&trace, &conditions, warm);
        let width = trace.until.div_f64(f64::from(Self::MOST_BINS)).max(DEMAND_BIN);
        let demand = bins(&trace, &each, width).into_iter().enumerate();
        let demand = demand.map(|(place, replicas)| Demand {
            at: place as f64 * width.as_secs_f64(),
            replicas,
        });
        let busiest = busiest_hours(&trace, &by_minute)
            .into_iter()
            .map(|part| Self::new(Arc::new(part), conditions.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let foresight = Foresight::new(START, FORESIGHT_BIN, trace.requests.iter().copied())?;
        Ok(Self {
            context: Context {
                min_replicas: min,
                max_replicas: max,
                slo: conditions.slo,
                cold_start: conditions.cold_start,
                engine: engine.clone(),
                foresight: Some(Arc::new(foresight)),
            },
            scenario: Scenario {
                cold_start: ColdStart::fixed(conditions.cold_start),
                mode: conditions.mode,
                warm,
                scored_from: trace.scored_from,
                until: Some(trace.until),
                max_replicas: max,
                seed: conditions.seed,
                ..Scenario::new(engine.clone(), conditions.slo)
            },
            demand: demand.collect(),
            optimum,
            busiest,
            peak: (busiest_of(&by_minute).ceil() as u32).clamp(1, max),
            burst: (busiest_of(&by_patience).ceil() as u32).clamp(1, max),
            trace,
            conditions,
        })
    }

    /// Replicas that the busiest minute keeps busy, rounded up.
    #[must_use]
    pub const fn peak(&self) -> u32 {
        self.peak
    }

    /// Replicas that the busiest moment keeps busy, rounded up: of a time as long as a request may wait for
    /// its first token. More than that are of no use to anybody.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Replicas that the load keeps busy in each bin of `width`.
    pub(crate) fn busy(&self, width: Duration) -> Vec<f64> {
        bins(
            &self.trace,
            &replica_seconds(&self.trace, &self.conditions),
            width,
        )
    }

    /// GPU-hours of one replica over what is scored.
    #[must_use]
    pub fn gpu_hours_of_one(&self) -> f64 {
        self.trace.scored().as_secs_f64() / 3600.0 * f64::from(self.conditions.engine.gpus)
    }
}

/// For each request, the time of a replica that it takes: its work over the part of a replica's time that may
/// be work if the ITL is to be kept.
fn replica_seconds(trace: &TracePart, conditions: &Conditions) -> Vec<Seconds> {
    let engine = &conditions.engine;
    let usable = conditions.slo.itl.map_or(1.0, |itl| engine.usable(itl).0);
    let of = |prompt: u32, output: u32| engine.work(f64::from(prompt), f64::from(output)).0 / usable;
    let requests = trace.requests.iter();
    requests
        .map(|request| Seconds(of(request.prompt_tokens, request.output_tokens)))
        .collect()
}

/// The busiest [`SEARCHED`] of each half of what is scored of a long trace, by what keeps replicas busy in each
/// minute; none of a short one.
fn busiest_hours(trace: &TracePart, by_minute: &[f64]) -> Vec<TracePart> {
    if trace.scored_from.is_zero() {
        return Vec::new();
    }
    let minute = |at: Duration| (at.as_secs() / MINUTE.as_secs()) as usize;
    let width = minute(SEARCHED);
    let halves = [(trace.scored_from, trace.middle()), (trace.middle(), trace.until)];
    let parts = halves.into_iter().filter_map(|(from, to)| {
        let bins = by_minute.get(minute(from)..minute(to))?;
        let load = |place: &usize| bins[*place..*place + width].iter().sum::<f64>();
        let hours = (0..=bins.len().checked_sub(width)?).step_by(10);
        let busiest = hours.max_by(|one, other| load(one).total_cmp(&load(other)))?;
        // A half in which nothing comes has no busy hours.
        trace.cut(from + MINUTE * busiest as u32, SEARCHED).ok()
    });
    parts.collect()
}

fn busiest_of(bins: &[f64]) -> f64 {
    bins.iter().copied().fold(0.0, f64::max)
}

/// Replicas that are busy in each bin of `width`.
fn bins(trace: &TracePart, each: &[Seconds], width: Duration) -> Vec<f64> {
    let width = width.as_secs_f64();
    let mut bins = vec![0.0; (trace.until.as_secs_f64() / width).ceil() as usize];
    let last = bins.len().saturating_sub(1);
    for (request, seconds) in trace.requests.iter().zip(each) {
        let bin = ((request.at.as_secs_f64() / width) as usize).min(last);
        if let Some(bin) = bins.get_mut(bin) {
            *bin += seconds.0 / width;
        }
    }
    bins
}
