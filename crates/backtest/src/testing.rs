//! Made-up scores, for tests.

use rheostat_baselines::Settings;

use crate::distribution::Distribution;
use crate::optimum::Optimum;
use crate::policy::OURS;
use crate::report::{CaseReport, Row, Score, Variant};

/// A row with that cost and attainment.
pub(crate) fn row(policy: &str, gpu_hours: f64, attainment: f64) -> Row {
    Row {
        policy: policy.to_owned(),
        variant: Variant::Default,
        ours: policy == OURS,
        told_the_future: false,
        source: "made up".to_owned(),
        settings: Settings::new(),
        second_settings: None,
        tried: 0,
        on_front: false,
        score: Score {
            gpu_hours,
            over_optimum: gpu_hours / 10.0,
            of_static_peak: gpu_hours / 100.0,
            attainment,
            requests: 1000,
            kept: (attainment * 1000.0) as u64,
            waiting: 0,
            ttft_p50_seconds: Some(0.2),
            ttft_p99_seconds: Some(3.0),
            itl_p50_seconds: Some(0.05),
            itl_p99_seconds: Some(0.1),
            scaling_events: 7,
            gpu_hours_starting: 0.5,
        },
        ttft: Distribution::default(),
        itl: Distribution::default(),
        record: None,
    }
}

/// A case with those rows.
pub(crate) fn case_of(optimum: f64, rows: impl IntoIterator<Item = Row>) -> CaseReport {
    let mut case = CaseReport {
        trace: "made-up".to_owned(),
        cold_start_seconds: 180.0,
        scored_from_seconds: 0.0,
        until_seconds: 3600.0,
        requests: 1000,
        warm: 1,
        optimum: Optimum {
            gpu_hours: optimum,
            bound: "work".to_owned(),
        },
        static_peak_gpu_hours: 100.0,
        demand: Vec::new(),
        rows: rows.into_iter().collect(),
    };
    case.finish(0.99);
    case
}
