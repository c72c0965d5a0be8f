//! What counters over time become: rates and quantiles over a window, through resets, gaps, changes of
//! buckets, and silence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use rheostat_engines::{Engine, EngineChoice, EngineReport, History, Pages, Reader, Sample, View};
use rheostat_reading::{Absent, EngineQuantity as Q, Quality};
use support::at;

/// An engine that is read through a view, page by page.
struct Watched {
    reader: Reader,
    history: History,
    sample: Sample,
    view: View,
}

impl Watched {
    fn new(window: u64) -> Self {
        let view = View {
            window: Duration::from_secs(window),
            ..View::everything()
        };
        Self {
            reader: Reader::new(&EngineChoice::Named(Engine::Vllm)).unwrap(),
            history: History::new(&view),
            sample: Sample::default(),
            view,
        }
    }

    fn page(&mut self, seconds: u64, page: &str) -> EngineReport {
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        self.reader.read(&pages, &self.view, &mut self.sample).unwrap();
        self.history.push(&self.sample, at(seconds));
        self.history.report()
    }

    /// A page with one counter.
    fn tokens(&mut self, seconds: u64, tokens: f64) -> EngineReport {
        self.page(seconds, &tokens_page("", tokens))
    }
}

fn tokens_page(labels: &str, tokens: f64) -> String {
    format!("vllm:generation_tokens_total{{{labels}}} {tokens}\n")
}

fn started(start: f64, tokens: f64) -> String {
    format!("process_start_time_seconds {start}\n{}", tokens_page("", tokens))
}

fn rate(report: &EngineReport) -> Option<f64> {
    report.readings.value(Q::GenerationTokenRate)
}

fn ttft(buckets: &[(&str, f64)], sum: f64) -> String {
    let mut page = "# TYPE vllm:time_to_first_token_seconds histogram\n".to_owned();
    for (bound, count) in buckets {
        page += &format!("vllm:time_to_first_token_seconds_bucket{{le=\"{bound}\"}} {count}\n");
    }
    let count = buckets.last().map_or(0.0, |bucket| bucket.1);
    page + &format!(
        "vllm:time_to_first_token_seconds_sum {sum}\nvllm:time_to_first_token_seconds_count {count}\n"
    )
}

#[test]
fn one_sample_is_not_a_rate() {
    let mut engine = Watched::new(60);
    let report = engine.tokens(0, 500.0);
    assert_eq!(report.readings.get(Q::GenerationTokenRate), Err(&Absent::NotYet));
    assert_eq!(report.answered_at, Some(at(0)));
}

#[test]
fn the_window_says_how_long_it_is() {
    let mut engine = Watched::new(60);
    for second in 0..=30 {
        let report = engine.tokens(second * 10, 100.0 * second as f64);
        let Ok(reading) = report.readings.get(Q::GenerationTokenRate) else {
            assert_eq!(second, 0);
            continue;
        };
        assert_eq!(reading.amount.value(), 10.0);
        assert_eq!(reading.window, Duration::from_secs((second * 10).min(60)));
        assert_eq!(reading.at, at(second * 10));
        assert_eq!(reading.quality, Quality::Derived);
    }
}

#[test]
fn a_long_window_over_many_scrapes_keeps_few_and_stays_right() {
    let mut engine = Watched::new(3600);
    for second in 0..8000 {
        engine.tokens(second, second as f64);
    }
    let report = engine.history.report();
    let reading = report.readings.get(Q::GenerationTokenRate).unwrap();
    assert_eq!(reading.amount.value(), 1.0);
    let window = reading.window.as_secs();
    assert!((3600..=3600 + 3600 / 30).contains(&window), "{window}");
}

#[test]
fn a_reset_counts_what_came_after_it() {
    let mut engine = Watched::new(60);
    engine.tokens(0, 1000.0);
    engine.tokens(10, 1100.0);
    let report = engine.tokens(20, 40.0);
    assert_eq!(rate(&report), Some((100.0 + 40.0) / 20.0));
    let report = engine.tokens(30, 60.0);
    assert_eq!(rate(&report), Some((100.0 + 40.0 + 20.0) / 30.0));
}

#[test]
fn a_restart_is_seen_by_the_time_of_the_start_too() {
    let mut engine = Watched::new(60);
    engine.page(0, &started(100.0, 10.0));
    // It has counted more than before already.
    let report = engine.page(10, &started(2005.0, 30.0));
    assert_eq!(rate(&report), Some(3.0));
}

#[test]
fn processes_that_take_turns_give_no_rate_rather_than_a_giant_one() {
    let mut engine = Watched::new(60);
    let (old, new) = (started(100.0, 1e9), started(900.0, 5.0));
    for turn in 0..6 {
        let report = engine.page(turn * 2, if turn % 2 == 0 { &old } else { &new });
        assert_eq!(
            report.readings.get(Q::GenerationTokenRate),
            Err(&Absent::NotYet),
            "turn {turn}"
        );
        assert_eq!(report.notes.is_empty(), turn == 0, "{:?}", report.notes);
    }
    // One of them alone can be told again.
    engine.page(12, &new);
    assert_eq!(rate(&engine.page(14, &started(900.0, 25.0))), Some(5.0));
}

#[test]
fn without_the_time_of_the_start_turns_are_seen_by_the_counters() {
    let mut engine = Watched::new(60);
    for turn in 0..10 {
        let value = if turn % 2 == 0 { 1e9 } else { 5.0 };
        let report = engine.tokens(turn * 2, value);
        assert!(rate(&report).is_none_or(|rate| rate < 10.0), "{report:?}");
        // The first fall may be a restart; from the first return on it is known better.
        assert!(turn < 2 || rate(&report).is_none(), "{report:?}");
    }
    // Long after, a fall is a restart again.
    engine.tokens(1000, 1e9);
    assert_eq!(rate(&engine.tokens(1010, 50.0)), Some(5.0));
}

#[test]
fn after_a_restart_a_counter_may_grow_past_what_it_was() {
    let mut engine = Watched::new(60);
    engine.page(1000, &started(900.0, 100.0));
    engine.page(1002, &started(900.0, 120.0));
    engine.page(1004, &started(1003.0, 10.0));
    for scrape in 1..=30 {
        let tokens = 10.0 + 10.0 * f64::from(scrape);
        let report = engine.page(
            1004 + 2 * u64::try_from(scrape).unwrap(),
            &started(1003.0, tokens),
        );
        assert_eq!(report.notes, [""; 0], "scrape {scrape}");
        assert!(rate(&report).is_some(), "scrape {scrape}");
    }
}

/// What an engine shows after `requests` requests, of which one in a hundred is answered at once, and
/// one in fifty ends in a way that has a series from the first of them on.
fn served(requests: f64) -> String {
    let rare = (requests / 50.0).floor();
    let rare = (rare > 0.0).then(|| tokens_page("rare=\"1\"", rare));
    tokens_page("", 100.0 * requests)
        + &rare.unwrap_or_default()
        + &ttft(
            &[
                ("0.01", (requests / 100.0).floor()),
                ("0.1", (requests / 2.0).floor()),
                ("+Inf", requests),
            ],
            0.1 * requests,
        )
}

#[test]
fn after_a_restart_that_nothing_tells_of_counters_may_grow_past_what_they_were() {
    for page in [served, |requests| tokens_page("", requests)] {
        let mut engine = Watched::new(60);
        engine.page(1000, &page(100.0));
        engine.page(1002, &page(120.0));
        for scrape in 0..=60 {
            let report = engine.page(1004 + 2 * scrape, &page(5.0 * scrape as f64));
            assert!(rate(&report).is_some(), "scrape {scrape}: {:?}", report.notes);
        }
    }
}

#[test]
fn turns_are_seen_however_long_they_are_and_however_alike_the_processes() {
    for (other, turn) in [(100.0, 1), (100.0, 20), (9_000.0, 1), (9_000.0, 20)] {
        let mut engine = Watched::new(60);
        for scrape in 0..4 * turn {
            let first = scrape / turn % 2 == 0;
            let requests = if first { 10_000.0 } else { other };
            let report = engine.page(2 * scrape, &served(requests + scrape as f64));
            let returned = scrape >= 2 * turn && scrape % turn == 0;
            assert!(!returned || rate(&report).is_none(), "{other}, {turn}: {scrape}");
        }
    }
}

#[test]
fn one_rank_that_restarts_does_not_make_the_others_counts_new() {
    let page = |a: f64, b: f64| tokens_page("engine=\"0\"", a) + &tokens_page("engine=\"1\"", b);
    let mut engine = Watched::new(60);
    engine.page(0, &page(1e6, 1e6));
    let report = engine.page(10, &page(1e6 + 50.0, 30.0));
    assert_eq!(rate(&report), Some(8.0));
}

#[test]
fn a_series_that_goes_and_comes_gains_only_the_difference() {
    let page = |a: f64, b: Option<f64>| {
        tokens_page("engine=\"0\"", a) + &b.map_or_else(String::new, |b| tokens_page("engine=\"1\"", b))
    };
    let mut engine = Watched::new(60);
    engine.page(0, &page(100.0, Some(1e6)));
    assert_eq!(rate(&engine.page(10, &page(110.0, None))), Some(1.0));
    let report = engine.page(20, &page(120.0, Some(1e6 + 20.0)));
    assert_eq!(rate(&report), Some(2.0));
}

#[test]
fn a_series_that_is_new_on_a_whole_page_began_at_nothing() {
    let mut engine = Watched::new(60);
    engine.page(0, &tokens_page("reason=\"stop\"", 100.0));
    let both = tokens_page("reason=\"stop\"", 100.0) + &tokens_page("reason=\"length\"", 30.0);
    assert_eq!(rate(&engine.page(10, &both)), Some(3.0));
}

#[test]
fn a_declared_counter_without_series_has_counted_nothing_yet() {
    let mut engine = Watched::new(60);
    let declared = "# TYPE vllm:generation_tokens_total counter\nvllm:num_requests_running 0\n";
    engine.page(0, declared);
    assert_eq!(rate(&engine.page(10, declared)), Some(0.0));
    let report = engine.page(20, &tokens_page("", 60.0));
    assert_eq!(rate(&report), Some(3.0));
}

#[test]
fn the_first_request_ever_is_told() {
    let mut engine = Watched::new(60);
    let declared = "# TYPE vllm:time_to_first_token_seconds histogram\nvllm:num_requests_running 0\n";
    engine.page(0, declared);
    let report = engine.page(10, declared);
    assert_eq!(report.readings.get(Q::TtftP50), Err(&Absent::NoTraffic));
    let report = engine.page(20, &ttft(&[("0.1", 0.0), ("0.2", 1.0), ("+Inf", 1.0)], 0.15));
    assert!((report.readings.value(Q::TtftP50).unwrap() - 0.15).abs() < 1e-9);
    assert!((report.readings.value(Q::TtftMean).unwrap() - 0.15).abs() < 1e-9);
}

#[test]
fn no_traffic_is_not_no_data() {
    let page = ttft(&[("0.5", 10.0), ("+Inf", 10.0)], 3.0);
    let mut engine = Watched::new(60);
    let report = engine.page(0, &page);
    assert_eq!(report.readings.get(Q::TtftP95), Err(&Absent::NotYet));
    let report = engine.page(10, &page);
    for quantity in [Q::TtftMean, Q::TtftP50, Q::TtftP99] {
        assert_eq!(report.readings.get(quantity), Err(&Absent::NoTraffic));
    }
    assert!(
        matches!(report.readings.get(Q::ItlMean), Err(Absent::Failed(why)) if why.contains("inter_token"))
    );
}

#[test]
fn quantiles_are_of_the_window_not_of_all_time() {
    let mut engine = Watched::new(20);
    let page = |slow: f64, fast: f64| {
        ttft(
            &[
                ("0.1", fast),
                ("0.2", fast),
                ("5.0", fast),
                ("10.0", fast + slow),
                ("+Inf", fast + slow),
            ],
            8.0 * slow + 0.05 * fast,
        )
    };
    engine.page(0, &page(0.0, 0.0));
    let report = engine.page(10, &page(100.0, 0.0));
    assert_eq!(report.readings.value(Q::TtftP50), Some(7.5));
    engine.page(20, &page(100.0, 10.0));
    engine.page(30, &page(100.0, 20.0));
    let report = engine.page(40, &page(100.0, 30.0));
    // The slow ones are out of the window; what is left lies in the first bucket, which has no
    // beginning.
    let reading = report.readings.get(Q::TtftP50).unwrap();
    assert!((reading.amount.value() - 0.05).abs() < 1e-9);
    assert_eq!(reading.quality, Quality::Estimated);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("between 0 and 0.1 s")),
        "{:?}",
        report.notes
    );
    assert!((report.readings.value(Q::TtftMean).unwrap() - 0.05).abs() < 1e-9);
}

#[test]
fn the_last_bucket_has_no_end() {
    let mut engine = Watched::new(60);
    engine.page(0, &ttft(&[("0.1", 0.0), ("0.2", 0.0), ("+Inf", 0.0)], 0.0));
    let report = engine.page(10, &ttft(&[("0.1", 0.0), ("0.2", 0.0), ("+Inf", 9.0)], 90.0));
    let reading = report.readings.get(Q::TtftP99).unwrap();
    assert_eq!(
        (reading.amount.value(), reading.quality),
        (0.2, Quality::Estimated)
    );
    assert!(report.notes[0].contains("more than 0.2 s"), "{:?}", report.notes);
    assert_eq!(report.readings.value(Q::TtftMean), Some(10.0));
}

#[test]
fn other_buckets_begin_anew() {
    let mut engine = Watched::new(60);
    engine.page(0, &ttft(&[("0.1", 0.0), ("0.2", 0.0), ("+Inf", 0.0)], 0.0));
    engine.page(10, &ttft(&[("0.1", 0.0), ("0.2", 10.0), ("+Inf", 10.0)], 1.5));
    let report = engine.page(20, &ttft(&[("0.1", 0.0), ("0.25", 20.0), ("+Inf", 20.0)], 3.0));
    assert_eq!(report.readings.get(Q::TtftP50), Err(&Absent::NotYet));
    let report = engine.page(30, &ttft(&[("0.1", 0.0), ("0.25", 30.0), ("+Inf", 30.0)], 4.5));
    assert!((report.readings.value(Q::TtftP50).unwrap() - 0.175).abs() < 1e-9);
    assert_eq!(
        report.readings.get(Q::TtftP50).unwrap().window,
        Duration::from_secs(10)
    );
}

#[test]
fn series_with_different_buckets_share_those_that_both_have() {
    let page = |counts: [f64; 3]| {
        let [a, b, all] = counts;
        let name = "vllm:time_to_first_token_seconds";
        format!(
            "{name}_bucket{{model_name=\"a\",le=\"0.1\"}} {a}\n{name}_bucket{{model_name=\"a\",le=\"0.2\"}} {b}\n\
             {name}_bucket{{model_name=\"a\",le=\"+Inf\"}} {all}\n{name}_sum{{model_name=\"a\"}} 1\n\
             {name}_count{{model_name=\"a\"}} {all}\n\
             {name}_bucket{{model_name=\"b\",le=\"0.2\"}} {b}\n{name}_bucket{{model_name=\"b\",le=\"0.4\"}} {all}\n\
             {name}_bucket{{model_name=\"b\",le=\"+Inf\"}} {all}\n{name}_sum{{model_name=\"b\"}} 1\n\
             {name}_count{{model_name=\"b\"}} {all}\n"
        )
    };
    let mut engine = Watched::new(60);
    engine.page(0, &page([0.0, 0.0, 0.0]));
    let report = engine.page(10, &page([2.0, 8.0, 10.0]));
    // Only 0.2 and infinity are told by both: 16 of 20 are below 0.2.
    let reading = report.readings.get(Q::TtftP50).unwrap();
    assert!((reading.amount.value() - 0.2 * 10.0 / 16.0).abs() < 1e-9);
    assert_eq!(report.readings.value(Q::TtftP99), Some(0.2));
}

#[test]
fn a_failed_scrape_keeps_what_was_known() {
    let mut engine = Watched::new(60);
    engine.tokens(0, 0.0);
    let before = engine.tokens(10, 100.0);
    engine.history.fail("connection refused".to_owned());
    let after = engine.history.report();
    assert_eq!(after.failure.as_deref(), Some("connection refused"));
    assert_eq!(after.readings, before.readings);
    assert_eq!(after.answered_at, Some(at(10)));
    assert_eq!(engine.tokens(20, 200.0).failure, None);
}

#[test]
fn after_a_long_silence_nothing_is_compared_with_what_was_before() {
    let mut engine = Watched::new(60);
    engine.tokens(0, 0.0);
    engine.tokens(10, 1000.0);
    let report = engine.tokens(1000, 1010.0);
    assert_eq!(report.readings.get(Q::GenerationTokenRate), Err(&Absent::NotYet));
    assert_eq!(rate(&engine.tokens(1010, 1030.0)), Some(2.0));
}

#[test]
fn a_period_longer_than_the_window_still_gives_a_rate() {
    let mut engine = Watched::new(1);
    engine.tokens(0, 0.0);
    let report = engine.tokens(10, 50.0);
    let reading = report.readings.get(Q::GenerationTokenRate).unwrap();
    assert_eq!((reading.amount.value(), reading.window.as_secs()), (5.0, 10));
}

#[test]
fn time_that_goes_back_divides_by_nothing() {
    let mut engine = Watched::new(60);
    engine.tokens(100, 10.0);
    engine.tokens(100, 20.0);
    let report = engine.tokens(50, 30.0);
    assert_eq!(report.readings.get(Q::GenerationTokenRate), Err(&Absent::NotYet));
    assert_eq!(rate(&engine.tokens(60, 40.0)), Some(1.0));
}

#[test]
fn another_engine_on_the_same_port_begins_anew() {
    let view = View::everything();
    let mut reader = Reader::new(&EngineChoice::Recognise).unwrap();
    let mut history = History::new(&view);
    let mut sample = Sample::default();
    for (seconds, page, engine) in [
        (0, "vllm:generation_tokens_total 5\n", Engine::Vllm),
        (10, "sglang:generation_tokens_total 1e9\n", Engine::Sglang),
    ] {
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        reader.read(&pages, &view, &mut sample).unwrap();
        history.push(&sample, at(seconds));
        assert_eq!(history.report().engine, Some(engine));
    }
    assert_eq!(
        history.report().readings.get(Q::GenerationTokenRate),
        Err(&Absent::NotYet)
    );
}
