use rheostat_baselines::BaselineError;
use rheostat_simulator::{Control, Observer, Scenario, SimulationError, simulate};
use serde::Serialize;

use crate::case::Case;
use crate::meter::{Meter, Outcome};
use crate::policy::Policy;
use crate::store::{Store, StoreError};

/// All that determines a result: results with equal jobs are equal, bit for bit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job<'a> {
    /// Which code made it.
    build: &'a str,
    trace: &'a str,
    scenario: &'a Scenario,
    min_replicas: u32,
    policy: &'a Policy,
    detailed: bool,
}

/// Why a policy has no result.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// It cannot be built.
    #[error(transparent)]
    Policy(#[from] BaselineError),
    /// A static level that nobody has chosen is no policy.
    #[error(
        "--policies names static, whose level is found by a search: give --tune RUNS too, or leave static out"
    )]
    NoLevel,
    /// It cannot be simulated.
    #[error("policy {policy} on trace {trace}: {source}")]
    Simulation {
        /// The policy.
        policy: String,
        /// The trace.
        trace: String,
        /// Why.
        source: SimulationError,
    },
    /// Somebody asked it to stop.
    #[error("stopped before the end")]
    Stopped,
    /// The result cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of `policy` on `case`, from `store` or from a run; `detailed` to be shown to people.
///
/// # Errors
///
/// A policy that cannot be built or simulated, or a store that cannot be written.
pub(crate) fn evaluate(
    case: &Case,
    policy: &Policy,
    detailed: bool,
    store: &Store<Outcome>,
    build: &str,
) -> Result<Outcome, EvaluationError> {
    stored(case, policy, detailed, store, build, || {
        run(case, &policy.name, policy.build(case)?, detailed, None)
    })
}

/// The result of `policy` on `case`, from `store` or from `make`.
///
/// # Errors
///
/// Those of `make`, or a store that cannot be written.
pub(crate) fn stored(
    case: &Case,
    policy: &Policy,
    detailed: bool,
    store: &Store<Outcome>,
    build: &str,
    make: impl FnOnce() -> Result<Outcome, EvaluationError>,
) -> Result<Outcome, EvaluationError> {
    let job = Job {
        build,
        trace: &case.trace.digest,
        scenario: &case.scenario,
        min_replicas: case.conditions.min_replicas,
        policy,
        detailed,
    };
    store.get_or_make(&job, make)
}

/// Runs `control`, which is called `name`, on `case`; `observer` is told of it while it runs. `detailed` keeps
/// a record of it to be shown to people.
///
/// # Errors
///
/// It cannot be simulated.
pub fn run(
    case: &Case,
    name: &str,
    control: Control,
    detailed: bool,
    observer: Option<&mut dyn Observer>,
) -> Result<Outcome, EvaluationError> {
    let gpus = case.conditions.engine.gpus;
    let (from, middle) = (case.trace.scored_from, case.trace.middle());
    let mut meter = Meter::new(from, middle, gpus, detailed, observer);
    let requests = case.trace.requests.iter().copied();
    let run = simulate(&case.scenario, requests, control, &mut meter).map_err(|source| {
        EvaluationError::Simulation {
            policy: name.to_owned(),
            trace: case.trace.name.clone(),
            source,
        }
    })?;
    Ok(meter.outcome(&run))
}
