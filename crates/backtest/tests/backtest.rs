//! A whole backtest on a small trace: what it scores, that it goes on where it was, what its files hold.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rheostat_backtest::{
    Case, CaseError, Conditions, OURS, Options, Outcome, Report, Store, TracePart, Variant, Watch, backtest,
    html,
};
use rheostat_reading::Ratio;
use rheostat_simulator::{EngineModel, Mode};
use rheostat_sizing::Slo;
use rheostat_trace::Request;

/// Twenty minutes at four requests a second, with twelve a second in the middle ten.
fn trace() -> Arc<TracePart> {
    let mut requests = Vec::new();
    let mut at = Duration::ZERO;
    let until = Duration::from_secs(1200);
    while at < until {
        requests.push(Request {
            at,
            prompt_tokens: 800,
            output_tokens: 200,
        });
        let busy = (300..900).contains(&at.as_secs());
        at += Duration::from_millis(if busy { 83 } else { 250 });
    }
    Arc::new(TracePart::new("step", requests.into_iter(), until).unwrap())
}

fn case() -> Case {
    case_between(1, 16).unwrap()
}

fn case_between(min_replicas: u32, max_replicas: u32) -> Result<Case, CaseError> {
    let engine = EngineModel::named("llama2-70b-a100-tp4").unwrap();
    let conditions = Conditions {
        engine,
        slo: Slo {
            ttft: Some(Duration::from_secs(5)),
            itl: Some(Duration::from_millis(200)),
            e2e: None,
            attainment: Ratio(0.99),
        },
        cold_start: Duration::from_secs(60),
        min_replicas,
        max_replicas,
        mode: Mode::Fluid,
        seed: 1,
    };
    Case::new(trace(), conditions)
}

fn options(policies: &[&str], evaluations: usize) -> Options {
    Options {
        policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        threads: NonZeroUsize::new(2).unwrap(),
        evaluations,
        clairvoyant: 0,
        build: "test".to_owned(),
    }
}

/// Counts runs, and stops after some.
struct Counter<'a> {
    runs: AtomicUsize,
    most: usize,
    stop: &'a AtomicBool,
}

impl Watch for Counter<'_> {
    fn ran(&self, _requests: u64) {
        if self.runs.fetch_add(1, Ordering::Relaxed) + 1 >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn finished(&self, _done: usize, _total: usize, _policy: &str, _case: &Case) {}
}

fn report(policies: &[&str], evaluations: usize, store: &Store<Outcome>, most: usize) -> Option<Report> {
    let stop = AtomicBool::new(false);
    let counter = Counter {
        runs: AtomicUsize::new(0),
        most,
        stop: &stop,
    };
    backtest(&[case()], &options(policies, evaluations), store, &counter, &stop).unwrap()
}

#[test]
fn the_lowest_level_that_keeps_the_slo_is_found_and_nothing_is_below_the_optimum() {
    let report = report(
        &["static", "static-peak", OURS],
        40,
        &Store::in_memory(),
        usize::MAX,
    )
    .unwrap();
    let case = &report.cases[0];
    let level = |row: &rheostat_backtest::Row| row.score.gpu_hours / (1200.0 / 3600.0 * 4.0);
    let hindsight = case
        .rows
        .iter()
        .find(|row| row.policy == "static" && row.variant == Variant::Hindsight)
        .unwrap();
    assert!(hindsight.score.attainment >= 0.99);
    let lowest = level(hindsight).round();
    // One replica fewer does not keep it.
    let fewer = rheostat_backtest::Policy {
        name: "static".to_owned(),
        settings: rheostat_baselines::Settings::new().with("replicas", lowest - 1.0),
    };
    let case = self::case();
    let control = fewer.build(&case).unwrap();
    let outcome = rheostat_backtest::run(&case, "static", control, false, None).unwrap();
    assert!(
        outcome.whole.attainment().0 < 0.99,
        "{lowest} replicas were found"
    );
    for row in &report.cases[0].rows {
        let kept = row.score.attainment >= 0.99;
        assert!(
            !kept || row.score.over_optimum >= 1.0,
            "{} {:?}",
            row.policy,
            row.score
        );
    }
    // The two halves are tuned apart, and both together are all requests.
    let elsewhere = report.cases[0]
        .rows
        .iter()
        .find(|row| row.variant == Variant::TunedElsewhere)
        .unwrap();
    assert!(elsewhere.second_settings.is_some());
    assert_eq!(elsewhere.score.requests, hindsight.score.requests);
    assert_eq!(report.aims.cases.len(), 1);
}

#[test]
fn an_interrupted_backtest_ends_as_one_that_was_not() {
    let directory = tempfile::tempdir().unwrap();
    let policies = ["static", "keda-concurrency", OURS];
    let whole = report(&policies, 10, &Store::in_memory(), usize::MAX).unwrap();
    let store = Store::resume(directory.path()).unwrap();
    assert_eq!(report(&policies, 10, &store, 4), None, "it was stopped");
    drop(store);
    let store = Store::resume(directory.path()).unwrap();
    assert!(store.resumed() >= 4, "{}", store.resumed());
    let resumed = report(&policies, 10, &store, usize::MAX).unwrap();
    assert_eq!(resumed, whole);
}

#[test]
fn an_unknown_policy_is_named_with_those_that_there_are() {
    let stop = AtomicBool::new(false);
    let counter = Counter {
        runs: AtomicUsize::new(0),
        most: usize::MAX,
        stop: &stop,
    };
    let error = backtest(
        &[case()],
        &options(&["mine"], 0),
        &Store::in_memory(),
        &counter,
        &stop,
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("\"mine\"") && error.contains("rheostat, static"),
        "{error}"
    );
}

#[test]
fn bounds_without_a_count_between_them_are_refused() {
    for (min, max) in [(0, 0), (10, 5), (1, 100_001), (0, u32::MAX)] {
        let error = case_between(min, max).unwrap_err().to_string();
        let names = [
            format!("--min-replicas (a policy's replicas.min) is {min} "),
            format!("--max-replicas (its replicas.max) is {max};"),
        ];
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    for (min, max) in [(0, 1), (5, 5), (1, 100_000)] {
        let report = {
            let stop = AtomicBool::new(false);
            let counter = Counter {
                runs: AtomicUsize::new(0),
                most: usize::MAX,
                stop: &stop,
            };
            let case = case_between(min, max).unwrap();
            let store = Store::in_memory();
            backtest(&[case], &options(&[OURS], 0), &store, &counter, &stop)
        };
        assert!(report.unwrap().is_some(), "{min} to {max}");
    }
}

/// Programs read these: a key that goes or changes its meaning raises `Report::FORMAT`.
#[test]
fn the_keys_of_the_json_stay() {
    let report = report(&["static-peak", OURS], 0, &Store::in_memory(), usize::MAX).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    // In alphabetical order, however the object keeps them.
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let keys: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        keys.into_iter().cloned().collect()
    };
    let sorted = |names: &str| -> Vec<String> {
        let names: BTreeSet<&str> = names.split_whitespace().collect();
        names.into_iter().map(str::to_owned).collect()
    };
    assert_eq!(json["format"], 1);
    assert_eq!(
        keys(&json),
        sorted(
            "format engine gpus_per_replica slo mode min_replicas max_replicas seed evaluations cases aims"
        )
    );
    assert_eq!(
        keys(&json["cases"][0]),
        sorted(
            "trace cold_start_seconds scored_from_seconds until_seconds requests warm optimum \
             static_peak_gpu_hours demand rows"
        )
    );
    assert_eq!(
        keys(&json["cases"][0]["rows"][0]),
        sorted(
            "policy variant ours told_the_future source settings second_settings tried on_front score ttft itl"
        )
    );
    assert_eq!(
        keys(&json["cases"][0]["rows"][0]["score"]),
        sorted(
            "gpu_hours over_optimum of_static_peak attainment requests kept waiting ttft_p50_seconds \
             ttft_p99_seconds itl_p50_seconds itl_p99_seconds scaling_events gpu_hours_starting"
        )
    );
    let back: Report = serde_json::from_value(json).unwrap();
    let mut without = report;
    for row in without.cases.iter_mut().flat_map(|case| &mut case.rows) {
        row.record = None;
    }
    assert_eq!(back, without);
}

#[test]
fn the_page_is_well_formed_and_has_all_of_it() {
    let report = report(
        &["static-peak", "keda-concurrency", OURS],
        8,
        &Store::in_memory(),
        usize::MAX,
    )
    .unwrap();
    let page = html(&report);
    for part in [
        "Cost against attainment",
        "front: no other is cheaper and better",
        "Time to the first token",
        "Mean time between tokens",
        "Replicas against demand",
        "optimum, on average",
        "class=\"sortable\"",
        "id=\"decisions\"",
        "prefers-color-scheme: dark",
        "name=\"viewport\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for from_elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
    assert!(!page.contains("NaN") || page.matches("NaN").count() == page.matches("isNaN").count());
    balanced(&page);
    let begin = page.find("id=\"decisions\">").unwrap() + "id=\"decisions\">".len();
    let end = begin + page[begin..].find("</script>").unwrap();
    let decisions: serde_json::Value = serde_json::from_str(&page[begin..end]).unwrap();
    let ours = &decisions[0][0];
    assert_eq!(ours["ours"], true);
    let first = &ours["changes"][0];
    assert!(
        first[4].as_array().is_some_and(|steps| !steps.is_empty()),
        "no reasons: {first}"
    );
}

/// Every element that begins also ends, in the right order.
fn balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    while let Some(begin) = rest.find('<') {
        let end = begin + rest[begin..].find('>').unwrap();
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {rest:.80}");
        } else if !tag.ends_with('/') {
            let name = tag.split_whitespace().next().unwrap();
            open.push(name);
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if name == "script" || name == "style" {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
        }
    }
    assert_eq!(open, [""; 0]);
}

/// Three days of a load that comes by day and goes by night: searches begin on the busiest hours of each half.
#[test]
fn a_long_trace_is_searched_by_parts_and_refined_on_the_whole() {
    let until = Duration::from_secs(3 * 86_400);
    let mut requests = Vec::new();
    let mut at = Duration::ZERO;
    while at < until {
        requests.push(Request {
            at,
            prompt_tokens: 2000,
            output_tokens: 300,
        });
        let by_day = (8..18).contains(&(at.as_secs() / 3600 % 24));
        at += Duration::from_secs(if by_day { 2 } else { 60 });
    }
    let trace = Arc::new(TracePart::new("days", requests.into_iter(), until).unwrap());
    let case = Case::new(trace, case().conditions).unwrap();
    let stop = AtomicBool::new(false);
    let counter = Counter {
        runs: AtomicUsize::new(0),
        most: usize::MAX,
        stop: &stop,
    };
    let options = options(&["keda-concurrency"], 12);
    let report = backtest(&[case], &options, &Store::in_memory(), &counter, &stop).unwrap();
    let report = report.unwrap();
    let row = |variant| {
        let rows = &report.cases[0].rows;
        rows.iter().find(|row| row.variant == variant).unwrap()
    };
    let hindsight = row(Variant::Hindsight);
    let default = row(Variant::Default);
    assert!(hindsight.tried > 12, "{} settings", hindsight.tried);
    let kept = |row: &rheostat_backtest::Row| row.score.attainment >= 0.99;
    assert!(
        !kept(default) || kept(hindsight) && hindsight.score.gpu_hours <= default.score.gpu_hours,
        "hindsight is never worse than the defaults: {:?} {:?}",
        hindsight.score,
        default.score
    );
    let elsewhere = row(Variant::TunedElsewhere);
    assert_eq!(elsewhere.score.requests, hindsight.score.requests);
    assert!(hindsight.score.over_optimum >= 1.0);
}
