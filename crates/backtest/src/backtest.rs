use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rheostat_baselines::{Baseline, BaselineError, Context, Settings};

use crate::case::Case;
use crate::clairvoyant::{CLAIRVOYANT, clairvoyant};
use crate::evaluate::{EvaluationError, evaluate, stored};
use crate::meter::Outcome;
use crate::policy::{self, Policy, STATIC};
use crate::pool;
use crate::report::{CaseReport, Report, Row, Variant};
use crate::store::Store;
use crate::tune::{tune, tune_long};

/// How a backtest is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of the policies; all where it is empty.
    pub policies: Vec<String>,
    /// Runs at once.
    pub threads: NonZeroUsize,
    /// Settings that a search tries at most for each baseline, case and objective: of a long trace mostly on its
    /// busiest hours. 0 runs defaults only.
    pub evaluations: usize,
    /// Changes that the search for the clairvoyant plan tries on each case; 0 leaves that row out.
    pub clairvoyant: usize,
    /// Names the code, so that a stored result is only used by the code that made it.
    pub build: String,
}

/// Is told how far a backtest has come, from several threads.
pub trait Watch: Sync {
    /// A run has ended, in which so many requests were simulated.
    fn ran(&self, requests: u64);

    /// All of one policy on one case is done: so many of so many.
    fn finished(&self, done: usize, total: usize, policy: &str, case: &Case);
}

/// Runs every policy on every case and scores it.
///
/// `Ok(None)` where `stop` was set before the end: what was done by then is in `store`.
///
/// # Errors
///
/// A policy that there is not, or that cannot be run; a store that cannot be written.
pub fn backtest(
    cases: &[Case],
    options: &Options,
    store: &Store<Outcome>,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> Result<Option<Report>, EvaluationError> {
    let Some(first) = cases.first() else {
        return Ok(None);
    };
    if options.evaluations == 0 && options.policies.iter().any(|name| name == STATIC) {
        return Err(EvaluationError::NoLevel);
    }
    let mut tasks = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        for name in policy::names(case, &options.policies)? {
            tasks.push((place, name));
        }
        if options.clairvoyant > 0 {
            tasks.push((place, CLAIRVOYANT.to_owned()));
        }
    }
    // The long ones first, so that no thread begins one when the others have nothing left to do.
    tasks.sort_by_key(|(place, _)| std::cmp::Reverse(cases[*place].trace.requests.len()));
    let done = AtomicUsize::new(0);
    let results = pool::run(&tasks, options.threads, stop, |(place, name)| {
        let case = &cases[*place];
        let rows = Runner {
            case,
            options,
            store,
            watch,
            stop,
        }
        .rows(name)?;
        let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
        watch.finished(so_far, tasks.len(), name, case);
        Ok(rows)
    });
    let results = match results {
        Err(RunError::Stopped) | Ok(None) => return Ok(None),
        Err(RunError::Failed(error)) => return Err(error),
        Ok(Some(results)) => results,
    };
    let mut reports: Vec<CaseReport> = cases.iter().map(CaseReport::new).collect();
    for ((place, _), rows) in tasks.iter().zip(results) {
        reports[*place].rows.extend(rows);
    }
    Ok(Some(Report::new(&first.conditions, options.evaluations, reports)))
}

/// Why a task has no result.
#[derive(Debug)]
enum RunError {
    Stopped,
    Failed(EvaluationError),
}

impl From<EvaluationError> for RunError {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::Stopped => Self::Stopped,
            other => Self::Failed(other),
        }
    }
}

impl From<BaselineError> for RunError {
    fn from(error: BaselineError) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs policies on one case.
struct Runner<'a> {
    case: &'a Case,
    options: &'a Options,
    store: &'a Store<Outcome>,
    watch: &'a dyn Watch,
    stop: &'a AtomicBool,
}

impl Runner<'_> {
    /// The policy `name` in each of its variants.
    fn rows(&self, name: &str) -> Result<Vec<Row>, RunError> {
        if name == CLAIRVOYANT {
            return Ok(vec![self.clairvoyant()?]);
        }
        let policy = Policy::defaults(name);
        let Some(baseline) = policy.baseline(self.case)? else {
            let outcome = self.evaluate(self.case, &policy, true)?;
            return Ok(vec![Row::new(self.case, &policy, None, outcome)]);
        };
        let mut rows = Vec::new();
        // A level that nobody has chosen is no policy.
        if name != STATIC {
            let outcome = self.evaluate(self.case, &policy, true)?;
            rows.push(Row::new(self.case, &policy, Some(&baseline), outcome));
        }
        if self.options.evaluations > 0 {
            rows.extend(self.tuned(&baseline)?);
        }
        Ok(rows)
    }

    fn clairvoyant(&self) -> Result<Row, RunError> {
        let tries = self.options.clairvoyant;
        let policy = Policy {
            name: CLAIRVOYANT.to_owned(),
            settings: Settings::new().with("tries", tries as f64),
        };
        let outcome = stored(self.case, &policy, true, self.store, &self.options.build, || {
            clairvoyant(self.case, tries, self.watch, self.stop)
        })?;
        Ok(Row {
            ours: false,
            told_the_future: true,
            source: "ours; docs/optimum.md".to_owned(),
            tried: tries,
            ..Row::new(self.case, &policy, None, outcome)
        })
    }

    fn tuned(&self, baseline: &Baseline) -> Result<Vec<Row>, RunError> {
        let with = |settings: &Settings| Policy {
            name: baseline.name.to_owned(),
            settings: settings.clone(),
        };
        let attainment = self.case.conditions.slo.attainment;
        let stopped = AtomicBool::new(false);
        let on = |case: &Case, settings: &Settings| {
            self.evaluate(case, &with(settings), false)
                .map_err(|error| match error {
                    RunError::Failed(error) => error,
                    RunError::Stopped => {
                        stopped.store(true, Ordering::Relaxed);
                        EvaluationError::Stopped
                    }
                })
        };
        let whole = |settings: &Settings| on(self.case, settings);
        let candidates = self.candidates(baseline)?.parameters;
        let most = self.options.evaluations;
        let found = match self.case.busiest.as_slice() {
            parts @ [_, _] if baseline.name != STATIC => tune_long(
                baseline,
                &candidates,
                attainment,
                most,
                |half, settings| on(&parts[half], settings),
                whole,
            ),
            _ => tune(baseline, &candidates, attainment, most, whole),
        };
        let Some(found) = found? else {
            return Ok(Vec::new());
        };
        let (settings, _) = &found.hindsight;
        let policy = with(settings);
        let outcome = self.evaluate(self.case, &policy, true)?;
        let hindsight = Row {
            variant: Variant::Hindsight,
            tried: found.tried,
            ..Row::new(self.case, &policy, Some(baseline), outcome)
        };
        // Tuned on the second half and run on the first, and the other way round.
        let [(of_first, on_second), (of_second, on_first)] = &found.elsewhere;
        let both = on_first.plus(on_second);
        let elsewhere = Row {
            variant: Variant::TunedElsewhere,
            tried: found.tried,
            second_settings: Some(of_first.clone()),
            ..Row::of_tally(self.case, &with(of_second), Some(baseline), &both)
        };
        Ok(vec![elsewhere, hindsight])
    }

    /// What a search tries: floors and caps up to somewhat more than the worst burst keeps busy, and not only
    /// those between which the limit leaves gaps. A static level is found by bisection, whatever the limit.
    fn candidates(&self, baseline: &Baseline) -> Result<Baseline, BaselineError> {
        let most = self.case.conditions.max_replicas;
        if baseline.name == STATIC {
            return rheostat_baselines::find(STATIC, &self.case.context);
        }
        let context = Context {
            max_replicas: (self.case.burst() * 3 / 2).clamp(4.min(most), most),
            ..self.case.context.clone()
        };
        rheostat_baselines::find(baseline.name, &context)
    }

    fn evaluate(&self, case: &Case, policy: &Policy, detailed: bool) -> Result<Outcome, RunError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(RunError::Stopped);
        }
        let outcome = evaluate(case, policy, detailed, self.store, &self.options.build)?;
        self.watch.ran(case.trace.requests.len() as u64);
        Ok(outcome)
    }
}
