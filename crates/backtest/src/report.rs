use rheostat_baselines::{Baseline, Knowledge, Settings};
use rheostat_sizing::Slo;
use serde::{Deserialize, Serialize};

use crate::aims::Aims;
use crate::case::{Case, Conditions, Demand};
use crate::distribution::Distribution;
use crate::meter::{Outcome, Record};
use crate::optimum::Optimum;
use crate::policy::Policy;
use crate::tally::Tally;

/// Every score of a backtest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this form; raised when a key goes or changes its meaning.
    pub format: u32,
    /// Name of the engine.
    pub engine: String,
    /// GPUs of one replica.
    pub gpus_per_replica: u32,
    /// What was to be kept.
    pub slo: Slo,
    /// `iteration` or `fluid`.
    pub mode: rheostat_simulator::Mode,
    /// Never fewer replicas.
    pub min_replicas: u32,
    /// Never more replicas.
    pub max_replicas: u32,
    /// Of all randomness.
    pub seed: u64,
    /// Settings that a search tried at most for each baseline, case and objective.
    pub evaluations: usize,
    /// Each trace with each cold start.
    pub cases: Vec<CaseReport>,
    /// How far our default policy closes the distance to the optimum.
    pub aims: Aims,
}

/// All policies on one trace with one cold start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Name of the trace.
    pub trace: String,
    /// What a start takes.
    pub cold_start_seconds: f64,
    /// What is scored begins here, since the beginning of the trace.
    pub scored_from_seconds: f64,
    /// It ends here.
    pub until_seconds: f64,
    /// Requests that arrive in what is scored.
    pub requests: u64,
    /// Replicas that serve when the trace begins, whichever the policy.
    pub warm: u32,
    /// The least that any policy must spend.
    pub optimum: Optimum,
    /// GPU-hours of as many replicas as the busiest minute keeps busy, all the time.
    pub static_peak_gpu_hours: f64,
    /// Replicas that the load keeps busy, over time.
    pub demand: Vec<Demand>,
    /// Every policy, in each of its variants; what keeps the SLO first, the cheapest of that first.
    pub rows: Vec<Row>,
}

/// One policy with one set of settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub policy: String,
    /// How its settings came about.
    pub variant: Variant,
    /// Whether it is ours.
    pub ours: bool,
    /// Whether it is told what is to come, so that its score is a bound and no competitor's.
    pub told_the_future: bool,
    /// Where it comes from.
    pub source: String,
    /// What is set differently from its defaults; for [`Variant::TunedElsewhere`] in the first half.
    pub settings: Settings,
    /// For [`Variant::TunedElsewhere`]: the same in the second half.
    pub second_settings: Option<Settings>,
    /// Settings that its search tried; 0 without one.
    pub tried: usize,
    /// Whether no other competitor is both cheaper and keeps the SLO more often.
    pub on_front: bool,
    /// How well it did.
    pub score: Score,
    /// Time to the first token.
    pub ttft: Distribution,
    /// Mean time between tokens.
    pub itl: Distribution,
    /// What it was like over time; not for [`Variant::TunedElsewhere`], which is made of two runs, and not in
    /// the JSON form, which it would make a hundred times as long.
    #[serde(skip)]
    pub record: Option<Record>,
}

/// How settings came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// As it comes.
    Default,
    /// Each half is run with the settings that were best on the other half.
    TunedElsewhere,
    /// The settings that turned out best on the very part that is scored: nobody can know them before.
    Hindsight,
}

/// How well a policy did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What was paid, starting replicas included.
    pub gpu_hours: f64,
    /// The same over the least that any policy must spend; at least 1.
    pub over_optimum: f64,
    /// The same over the cost of the static peak.
    pub of_static_peak: f64,
    /// Part of the requests that kept the SLO.
    pub attainment: f64,
    /// Requests that count.
    pub requests: u64,
    /// Those that kept the SLO.
    pub kept: u64,
    /// Those that still waited at the end, which are late.
    pub waiting: u64,
    /// Median of the time to the first token; none where nothing was served.
    pub ttft_p50_seconds: Option<f64>,
    /// Its 99th percentile.
    pub ttft_p99_seconds: Option<f64>,
    /// Median of the mean time between tokens.
    pub itl_p50_seconds: Option<f64>,
    /// Its 99th percentile.
    pub itl_p99_seconds: Option<f64>,
    /// Changes of the number of replicas.
    pub scaling_events: u64,
    /// What was paid for replicas that were not ready.
    pub gpu_hours_starting: f64,
}

impl Report {
    /// The form of today.
    pub const FORMAT: u32 = 1;

    /// A report of `cases`, all of them under `conditions` but for the cold start.
    #[must_use]
    pub fn new(conditions: &Conditions, evaluations: usize, mut cases: Vec<CaseReport>) -> Self {
        let attainment = conditions.slo.attainment.0;
        for case in &mut cases {
            case.finish(attainment);
        }
        Self {
            format: Self::FORMAT,
            engine: conditions.engine.name.to_string(),
            gpus_per_replica: conditions.engine.gpus,
            slo: conditions.slo,
            mode: conditions.mode,
            min_replicas: conditions.min_replicas,
            max_replicas: conditions.max_replicas,
            seed: conditions.seed,
            evaluations,
            aims: Aims::new(&cases, attainment),
            cases,
        }
    }
}

impl Row {
    /// What came of `policy`, which is `baseline` or ours, on `case`.
    #[must_use]
    pub fn new(case: &Case, policy: &Policy, baseline: Option<&Baseline>, outcome: Outcome) -> Self {
        Self {
            record: outcome.record,
            ..Self::of_tally(case, policy, baseline, &outcome.whole)
        }
    }

    pub(crate) fn of_tally(case: &Case, policy: &Policy, baseline: Option<&Baseline>, tally: &Tally) -> Self {
        Self {
            policy: policy.name.clone(),
            variant: Variant::Default,
            ours: baseline.is_none(),
            told_the_future: baseline.is_some_and(|one| one.knowledge == Knowledge::Future),
            source: baseline.map_or_else(|| "this project".to_owned(), |one| one.source.to_owned()),
            settings: policy.settings.clone(),
            second_settings: None,
            tried: 0,
            on_front: false,
            score: Score::new(tally, case),
            ttft: tally.ttft.clone(),
            itl: tally.itl.clone(),
            record: None,
        }
    }
}

impl Variant {
    /// For a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::TunedElsewhere => "tuned elsewhere",
            Self::Hindsight => "hindsight",
        }
    }
}

impl Score {
    /// The score of `tally`, on `case`.
    #[must_use]
    pub fn new(tally: &Tally, case: &Case) -> Self {
        let part = |of: f64| {
            if of > 0.0 {
                tally.gpu_hours / of
            } else {
                f64::INFINITY
            }
        };
        let quantile = |one: &Distribution, part| one.quantile(part).map(|latency| latency.0);
        Self {
            gpu_hours: tally.gpu_hours,
            over_optimum: part(case.optimum.gpu_hours),
            of_static_peak: part(case.gpu_hours_of_one() * f64::from(case.peak())),
            attainment: tally.attainment().0,
            requests: tally.requests,
            kept: tally.kept,
            waiting: tally.waiting,
            ttft_p50_seconds: quantile(&tally.ttft, 0.5),
            ttft_p99_seconds: quantile(&tally.ttft, 0.99),
            itl_p50_seconds: quantile(&tally.itl, 0.5),
            itl_p99_seconds: quantile(&tally.itl, 0.99),
            scaling_events: tally.scaling_events,
            gpu_hours_starting: tally.gpu_hours_starting,
        }
    }

    /// Whether it costs less than `other` and keeps the SLO more often.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        self.gpu_hours < other.gpu_hours && self.attainment > other.attainment
    }
}

impl CaseReport {
    /// One without rows.
    #[must_use]
    pub fn new(case: &Case) -> Self {
        Self {
            trace: case.trace.name.clone(),
            cold_start_seconds: case.conditions.cold_start.as_secs_f64(),
            scored_from_seconds: case.trace.scored_from.as_secs_f64(),
            until_seconds: case.trace.until.as_secs_f64(),
            requests: case.trace.scored_requests().count() as u64,
            warm: case.scenario.warm,
            optimum: case.optimum.clone(),
            static_peak_gpu_hours: case.gpu_hours_of_one() * f64::from(case.peak()),
            demand: case.demand.clone(),
            rows: Vec::new(),
        }
    }

    /// Sorts the rows, and finds the front: what no competitor dominates.
    pub(crate) fn finish(&mut self, attainment: f64) {
        let rank = |row: &Row| {
            let kept = row.score.attainment >= attainment;
            let by_cost = if kept {
                row.score.gpu_hours
            } else {
                -row.score.attainment
            };
            (!kept, by_cost)
        };
        self.rows.sort_by(|one, other| {
            let ((late, first), (also_late, second)) = (rank(one), rank(other));
            late.cmp(&also_late)
                .then(first.total_cmp(&second))
                .then_with(|| one.policy.cmp(&other.policy))
                .then(one.variant.cmp(&other.variant))
        });
        let competitors: Vec<Score> = self
            .rows
            .iter()
            .filter(|row| !row.told_the_future)
            .map(|row| row.score.clone())
            .collect();
        for row in &mut self.rows {
            row.on_front =
                !row.told_the_future && !competitors.iter().any(|other| other.dominates(&row.score));
        }
    }

    /// The cheapest competitor that keeps the SLO; of none that does, the one that comes nearest.
    #[must_use]
    pub fn best_baseline(&self) -> Option<&Row> {
        self.rows.iter().find(|row| !row.ours && !row.told_the_future)
    }

    /// Our default policy.
    #[must_use]
    pub fn ours(&self) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.ours && row.variant == Variant::Default)
    }
}
