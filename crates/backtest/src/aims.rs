use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::{CaseReport, Row, Variant};

/// How far our default policy closes the distance between the best of the others and the optimum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aims {
    /// Each trace with each cold start where our policy and others ran.
    pub cases: Vec<CaseAim>,
    /// The mean of [`CaseAim::share_closed`] over the cases where both our policy and the best of the others kept
    /// the SLO; `None` without one.
    pub mean_share_closed: Option<f64>,
    /// Cases where our policy did not keep the SLO: they are missing in the mean.
    pub missed: usize,
    /// Where another is cheaper than ours and keeps the SLO more often.
    pub dominated_by: Vec<Dominance>,
}

/// One trace with one cold start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseAim {
    /// Name of the trace.
    pub trace: String,
    /// What a start takes.
    pub cold_start_seconds: f64,
    /// The least that any policy must spend.
    pub optimum_gpu_hours: f64,
    /// The best of the others, even tuned in hindsight where there was a search.
    pub best_policy: String,
    /// How its settings came about.
    pub best_variant: Variant,
    /// What it spent.
    pub best_gpu_hours: f64,
    /// How often it kept the SLO.
    pub best_attainment: f64,
    /// What ours spent.
    pub ours_gpu_hours: f64,
    /// How often it kept the SLO.
    pub ours_attainment: f64,
    /// Part of the distance from the best of the others to the optimum that ours closes: 1 reaches the
    /// optimum, 0 costs as much as the best of the others, below 0 more. `None` where there is no distance, and
    /// where the best of the others missed the SLO: that costs less than keeping it, and is nothing to beat.
    pub share_closed: Option<f64>,
    /// Whether ours kept the SLO.
    pub kept: bool,
}

/// Another that is better than ours on both counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dominance {
    /// Name of the trace.
    pub trace: String,
    /// What a start takes.
    pub cold_start_seconds: f64,
    /// The other.
    pub policy: String,
    /// How its settings came about.
    pub variant: Variant,
    /// What it spent.
    pub gpu_hours: f64,
    /// How often it kept the SLO.
    pub attainment: f64,
}

impl fmt::Display for Dominance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} ({}) on {}, cold start {} s: {:.2} GPU-hours, {:.2} %",
            self.policy,
            self.variant.name(),
            self.trace,
            self.cold_start_seconds,
            self.gpu_hours,
            self.attainment * 100.0
        )
    }
}

impl Aims {
    /// The figures of `cases`, where `attainment` was to be kept.
    #[must_use]
    pub fn new(cases: &[CaseReport], attainment: f64) -> Self {
        let aims: Vec<CaseAim> = cases.iter().filter_map(|case| aim(case, attainment)).collect();
        let shares: Vec<f64> = aims
            .iter()
            .filter(|aim| aim.kept)
            .filter_map(|aim| aim.share_closed)
            .collect();
        Self {
            mean_share_closed: (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64),
            missed: aims.iter().filter(|aim| !aim.kept).count(),
            dominated_by: cases.iter().flat_map(dominances).collect(),
            cases: aims,
        }
    }
}

fn aim(case: &CaseReport, attainment: f64) -> Option<CaseAim> {
    let (ours, best) = (case.ours()?, case.best_baseline()?);
    let distance = best.score.gpu_hours - case.optimum.gpu_hours;
    let saved = best.score.gpu_hours - ours.score.gpu_hours;
    Some(CaseAim {
        trace: case.trace.clone(),
        cold_start_seconds: case.cold_start_seconds,
        optimum_gpu_hours: case.optimum.gpu_hours,
        best_policy: best.policy.clone(),
        best_variant: best.variant,
        best_gpu_hours: best.score.gpu_hours,
        best_attainment: best.score.attainment,
        ours_gpu_hours: ours.score.gpu_hours,
        ours_attainment: ours.score.attainment,
        share_closed: (distance > 0.0 && best.score.attainment >= attainment).then(|| saved / distance),
        kept: ours.score.attainment >= attainment,
    })
}

fn dominances(case: &CaseReport) -> Vec<Dominance> {
    let Some(ours) = case.ours() else {
        return Vec::new();
    };
    let better = |row: &&Row| !row.ours && !row.told_the_future && row.score.dominates(&ours.score);
    let rows = case.rows.iter().filter(better);
    rows.map(|row| Dominance {
        trace: case.trace.clone(),
        cold_start_seconds: case.cold_start_seconds,
        policy: row.policy.clone(),
        variant: row.variant,
        gpu_hours: row.score.gpu_hours,
        attainment: row.score.attainment,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{case_of, row};

    #[test]
    fn half_way_to_the_optimum_is_half() {
        // The optimum is 10: the best of those that keep 99 % costs 30, ours 20.
        let case = case_of(
            10.0,
            [
                row("cheap", 12.0, 0.95),
                row("good", 30.0, 0.995),
                row("dear", 50.0, 1.0),
                row("rheostat", 20.0, 0.992),
            ],
        );
        let aims = Aims::new(&[case], 0.99);
        assert_eq!(aims.cases[0].best_policy, "good");
        assert_eq!(aims.cases[0].share_closed, Some(0.5));
        assert_eq!((aims.mean_share_closed, aims.missed), (Some(0.5), 0));
        assert!(aims.dominated_by.is_empty());
    }

    #[test]
    fn what_misses_the_slo_closes_nothing() {
        let case = case_of(10.0, [row("good", 30.0, 0.995), row("rheostat", 15.0, 0.9)]);
        let aims = Aims::new(&[case], 0.99);
        assert_eq!((aims.mean_share_closed, aims.missed), (None, 1));
    }

    #[test]
    fn there_is_nothing_to_close_to_one_that_misses_the_slo() {
        let missed = case_of(10.0, [row("cheap", 12.0, 0.6), row("rheostat", 20.0, 0.992)]);
        let kept = case_of(10.0, [row("good", 30.0, 0.995), row("rheostat", 20.0, 0.992)]);
        let aims = Aims::new(&[missed, kept], 0.99);
        assert_eq!(
            (aims.cases[0].share_closed, aims.cases[0].best_attainment),
            (None, 0.6)
        );
        assert_eq!((aims.mean_share_closed, aims.missed), (Some(0.5), 0));
    }

    #[test]
    fn who_is_better_on_both_is_named() {
        let case = case_of(10.0, [row("good", 18.0, 0.995), row("rheostat", 20.0, 0.991)]);
        let aims = Aims::new(&[case], 0.99);
        assert_eq!(aims.dominated_by[0].policy, "good");
        assert_eq!(aims.cases[0].share_closed, Some(-0.25));
    }

    #[test]
    fn one_that_knows_the_future_is_no_competitor() {
        let mut oracle = row("oracle", 11.0, 1.0);
        oracle.told_the_future = true;
        let case = case_of(
            10.0,
            [oracle, row("good", 30.0, 0.995), row("rheostat", 20.0, 0.99)],
        );
        let aims = Aims::new(std::slice::from_ref(&case), 0.99);
        assert_eq!(aims.cases[0].best_policy, "good");
        assert!(aims.dominated_by.is_empty());
        let front: Vec<_> = case.rows.iter().filter(|row| row.on_front).collect();
        assert_eq!(front.len(), 2, "good and rheostat");
    }
}
