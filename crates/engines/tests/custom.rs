//! Engines that their users describe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

mod support;

use rheostat_engines::{
    CustomEngine, Engine, EngineChoice, EngineReport, History, Pages, Reader, Sample, View,
};
use rheostat_reading::{Absent, EngineQuantity as Q};
use support::at;

const DESCRIPTION: &str = "
model_label: model
waiting: { metric: app_queue, labels: { state: queued } }
running: { metric: app_queue, labels: { state: active } }
kv_cache_usage: { metric: app_cache_percent, scale: 0.01 }
max_sequences: { metric: app_slots, combine: max }
request_rate: { metric: app_requests_total }
generation_token_rate: { metric: app_tokens_per_second, kind: gauge }
ttft: { metric: app_first_ms, scale: 0.001 }
e2e: { metric: app_busy_ms_total, kind: sum, count: app_requests_total, scale: 0.001 }
itl: { metric: app_itl_seconds, kind: gauge }
";

fn page(requests: f64) -> String {
    format!(
        "app_queue{{model=\"a\",state=\"queued\"}} 3\napp_queue{{model=\"a\",state=\"active\"}} 5\n\
         app_queue{{model=\"b\",state=\"active\"}} 7\napp_cache_percent{{model=\"a\"}} 40\n\
         app_cache_percent{{model=\"b\"}} 60\napp_slots{{worker=\"1\"}} 8\napp_slots{{worker=\"2\"}} 8\n\
         app_requests_total{{model=\"a\"}} {requests}\napp_tokens_per_second{{model=\"a\"}} 11\n\
         app_first_ms_bucket{{model=\"a\",le=\"100\"}} 0\napp_first_ms_bucket{{model=\"a\",le=\"200\"}} {requests}\n\
         app_first_ms_bucket{{model=\"a\",le=\"+Inf\"}} {requests}\napp_first_ms_sum{{model=\"a\"}} 0\n\
         app_first_ms_count{{model=\"a\"}} {requests}\napp_busy_ms_total{{model=\"a\"}} {}\n\
         app_itl_seconds{{model=\"a\"}} 0.02\n",
        requests * 500.0
    )
}

fn report(description: &str, view: &View) -> EngineReport {
    report_of(description, view, page)
}

fn report_of(description: &str, view: &View, page: impl Fn(f64) -> String) -> EngineReport {
    let mut reader = Reader::new(&EngineChoice::Custom(description.to_owned())).unwrap();
    let mut history = History::new(view);
    let mut sample = Sample::default();
    for (seconds, requests) in [(0, 0.0), (10, 20.0)] {
        let page = page(requests);
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        reader.read(&pages, view, &mut sample).unwrap();
        history.push(&sample, at(seconds));
    }
    history.report()
}

#[test]
fn a_described_engine_is_read_like_any_other() {
    let json = CustomEngine::parse(DESCRIPTION).unwrap().to_json();
    for description in [DESCRIPTION, &json] {
        let report = report(description, &View::everything());
        let readings = &report.readings;
        assert_eq!(report.engine, Some(Engine::Custom));
        assert_eq!(readings.value(Q::Concurrency), Some(15.0));
        assert_eq!(readings.value(Q::KvCacheUsage), Some(0.5));
        assert_eq!(readings.value(Q::MaxSequences), Some(8.0));
        assert_eq!(readings.value(Q::RequestRate), Some(2.0));
        assert_eq!(readings.value(Q::GenerationTokenRate), Some(11.0));
        assert!((readings.value(Q::TtftP50).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(readings.value(Q::E2eMean), Some(0.5));
        assert!(readings.get(Q::E2eP50).is_err());
        assert_eq!(readings.value(Q::ItlMean), Some(0.02));
    }
    let view = View {
        model: Some("b".to_owned()),
        ..View::everything()
    };
    assert_eq!(report(DESCRIPTION, &view).readings.value(Q::Running), Some(7.0));
}

/// What is known of a latency whose metrics on the page are only those in `kept`.
fn latency_of(kept: &[&str], quantity: Q) -> Result<f64, String> {
    const PARTS: [&str; 5] = [
        "app_busy_ms_total",
        "app_requests_total",
        "app_first_ms_bucket",
        "app_first_ms_sum",
        "app_first_ms_count",
    ];
    let page = |requests| {
        let wanted = |line: &&str| {
            !PARTS.iter().any(|part| line.starts_with(part)) || kept.iter().any(|part| line.starts_with(part))
        };
        page(requests)
            .lines()
            .filter(wanted)
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let report = report_of(DESCRIPTION, &View::everything(), page);
    match report.readings.get(quantity) {
        Ok(reading) => Ok(reading.amount.value()),
        Err(Absent::Failed(why)) => Err(why.clone()),
        Err(other) => panic!("{quantity}: {other}"),
    }
}

#[test]
fn a_latency_without_its_sum_or_its_count_is_absent_and_not_zero() {
    let absent = |kept: &[&str], quantity, why: &str| {
        assert_eq!(latency_of(kept, quantity), Err(why.to_owned()), "{kept:?}");
    };
    let (sum, count) = ("app_busy_ms_total", "app_requests_total");
    assert_eq!(latency_of(&[sum, count], Q::E2eMean), Ok(0.5));
    absent(&[count], Q::E2eMean, "the page has none of `app_busy_ms_total`");
    absent(&[sum], Q::E2eMean, "`app_busy_ms_total` has no count");
    let [bucket, sum, count] = ["app_first_ms_bucket", "app_first_ms_sum", "app_first_ms_count"];
    assert_eq!(latency_of(&[bucket, sum, count], Q::TtftMean), Ok(0.0));
    absent(&[bucket, count], Q::TtftMean, "`app_first_ms` has no sum");
    absent(&[bucket, sum], Q::TtftMean, "`app_first_ms` has no count");
    absent(&[count], Q::TtftMean, "the page has none of `app_first_ms`");
    // Quantiles need the buckets only.
    for kept in [&[bucket][..], &[bucket, sum], &[bucket, count]] {
        let found = latency_of(kept, Q::TtftP50).unwrap();
        assert!((found - 0.15).abs() < 1e-9, "{kept:?}: {found}");
    }
}

#[test]
fn a_sum_that_is_no_number_or_only_declared_gives_no_mean_of_zero() {
    let description = "running: { metric: app_running }
e2e: { metric: app_busy_seconds, kind: sum, count: app_requests }";
    for (sum, why) in [
        ("app_busy_seconds NaN", "the sum of `app_busy_seconds` is NaN"),
        (
            "# TYPE app_busy_seconds counter",
            "`app_busy_seconds` has no value, but something was counted",
        ),
    ] {
        let page = |requests| format!("app_running 1\n{sum}\napp_requests {requests}\n");
        let report = report_of(description, &View::everything(), page);
        let found = report.readings.get(Q::E2eMean);
        assert_eq!(found, Err(&Absent::Failed(why.to_owned())), "{sum}");
    }
    // Of nothing that was counted it is no error.
    let page = |_| "app_running 1\n# TYPE app_busy_seconds counter\napp_requests 0\n".to_owned();
    let report = report_of(description, &View::everything(), page);
    assert_eq!(report.readings.get(Q::E2eMean), Err(&Absent::NoTraffic));
}

#[test]
fn descriptions_are_written_in_one_way() {
    let engine = CustomEngine::parse(DESCRIPTION).unwrap();
    let json = engine.to_json();
    assert_eq!(CustomEngine::parse(&json).unwrap(), engine);
    assert_eq!(CustomEngine::parse(&json).unwrap().to_json(), json);
    let shuffled = "running: {metric: b}\nwaiting: {metric: a}\n";
    let ordered = "waiting: {metric: a}\nrunning: {metric: b}\n";
    assert_eq!(
        CustomEngine::parse(shuffled).unwrap().to_json(),
        CustomEngine::parse(ordered).unwrap().to_json()
    );
}

#[test]
fn mistakes_are_told_with_key_value_and_what_is_allowed() {
    for (description, expected) in [
        ("{}", "names no metric"),
        ("model_label: model", "names no metric"),
        ("- a", "cannot be read"),
        (
            "waitin: { metric: a }",
            "`waitin` is nothing that an engine can tell; allowed are model_label",
        ),
        (
            "waiting: { metric: a b }",
            "`waiting.metric` is `a b`; allowed is the name of a metric",
        ),
        ("waiting: { metric: '' }", "`waiting.metric` is ``"),
        (
            "waiting: { metrics: a }",
            "`waiting` is not described as it should be: unknown field `metrics`",
        ),
        ("waiting: {}", "missing field `metric`"),
        (
            "waiting: { metric: a, kind: counter }",
            "`waiting.kind` is `counter`; allowed is gauge",
        ),
        ("waiting: { metric: a, kind: meter }", "unknown variant `meter`"),
        (
            "request_rate: { metric: a, kind: histogram }",
            "`request_rate.kind` is `histogram`; allowed is counter",
        ),
        (
            "ttft: { metric: a, kind: counter }",
            "`ttft.kind` is `counter`; allowed is histogram",
        ),
        ("ttft: { metric: a, kind: sum }", "`ttft.count` is `missing`"),
        ("ttft: { metric: a, count: b }", "`ttft.count` is `b`"),
        (
            "ttft: { metric: a, scale: 0 }",
            "`ttft.scale` is `0`; allowed is a number above 0",
        ),
        ("ttft: { metric: a, scale: -1 }", "a number above 0"),
        (
            "waiting: { metric: a, combine: median }",
            "unknown variant `median`",
        ),
        (
            "waiting: { metric: a, labels: { 'x y': z } }",
            "`waiting.labels` is `x y`",
        ),
        (
            "model_label: 'a:b'\nwaiting: { metric: a }",
            "`model_label` is `a:b`",
        ),
    ] {
        let error = CustomEngine::parse(description).unwrap_err().to_string();
        assert!(error.contains(expected), "{description}: {error}");
        assert!(Reader::new(&EngineChoice::Custom(description.to_owned())).is_err());
    }
}

#[test]
fn a_description_is_bounded() {
    let long = format!("waiting: {{ metric: {} }}", "a".repeat(CustomEngine::LONGEST));
    assert!(
        CustomEngine::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("at most 16384")
    );
    let long = format!("waiting: {{ metric: {} }}", "a".repeat(201));
    assert!(CustomEngine::parse(&long).is_err());
    let labels: Vec<String> = (0..9).map(|n| format!("l{n}: x")).collect();
    let many = format!("waiting: {{ metric: a, labels: {{ {} }} }}", labels.join(", "));
    assert!(
        CustomEngine::parse(&many)
            .unwrap_err()
            .to_string()
            .contains("at most 8")
    );
}
