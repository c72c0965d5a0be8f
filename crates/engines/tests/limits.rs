//! What pages that are far larger than any engine's may cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

mod support;

use rheostat_engines::{Engine, EngineChoice, EngineReport, Fact, History, Pages, Reader, Sample, View};
use rheostat_reading::{Absent, EngineQuantity as Q};
use support::at;

/// What a vLLM says whose pages these are, two seconds apart.
fn report(pages: &[String]) -> EngineReport {
    let view = View::everything();
    let mut reader = Reader::new(&EngineChoice::Named(Engine::Vllm)).unwrap();
    let (mut history, mut sample) = (History::new(&view), Sample::default());
    for (page, seconds) in pages.iter().zip((0..).step_by(2)) {
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        reader.read(&pages, &view, &mut sample).unwrap();
        history.push(&sample, at(seconds));
    }
    history.report()
}

fn failed(why: &str) -> Result<f64, Absent> {
    Err(Absent::Failed(why.to_owned()))
}

fn value(report: &EngineReport, quantity: Q) -> Result<f64, Absent> {
    let found = report.readings.get(quantity);
    found.map(|reading| reading.amount.value()).map_err(Clone::clone)
}

fn ranks(metric: &str, ranks: usize, value: usize) -> String {
    (0..ranks)
        .map(|rank| format!("vllm:{metric}{{engine=\"{rank}\"}} {value}\n"))
        .collect()
}

#[test]
fn a_fact_with_too_many_series_is_of_no_use_and_the_others_are() {
    for (series, usage) in [
        (4096, Ok(1.0)),
        (4097, failed("the page has more than 4096 series of it")),
        (20_000, failed("the page has more than 4096 series of it")),
    ] {
        let page = ranks("kv_cache_usage_perc", series, 1) + &ranks("num_requests_waiting", 3, 2);
        let report = report(&[page]);
        assert_eq!(value(&report, Q::KvCacheUsage), usage);
        assert_eq!(value(&report, Q::Waiting), Ok(6.0));
    }
}

#[test]
fn a_distribution_with_too_many_buckets_is_of_no_use_and_the_others_are() {
    let page = |buckets: usize, seen: usize| {
        let name = "vllm:time_to_first_token_seconds";
        let mut page = ranks("generation_tokens_total", 2, 10 * seen);
        for bound in 1..buckets {
            page += &format!("{name}_bucket{{le=\"{bound}\"}} {seen}\n");
        }
        page + &format!("{name}_bucket{{le=\"+Inf\"}} {seen}\n{name}_sum {seen}\n{name}_count {seen}\n")
    };
    for (buckets, mean) in [
        (512, Ok(1.0)),
        (
            513,
            failed("`vllm:time_to_first_token_seconds` has more than 512 buckets"),
        ),
        (9000, failed("the page has more than 4096 series of it")),
    ] {
        let report = report(&[page(buckets, 1), page(buckets, 5)]);
        assert_eq!(value(&report, Q::TtftMean), mean);
        assert_eq!(value(&report, Q::TtftP50).is_ok(), mean.is_ok());
        assert_eq!(value(&report, Q::GenerationTokenRate), Ok(40.0));
    }
}

#[test]
fn the_newest_list_of_adapters_is_found_among_any_number() {
    // Every combination that there ever was is on the page.
    let mut page = String::new();
    for time in (0..6000).rev().chain(6001..9000) {
        let others = if time == 5999 { ",b,c" } else { "" };
        page += &format!("vllm:lora_requests_info{{running_lora_adapters=\"a{time}{others}\"}} {time}\n");
    }
    page += "vllm:lora_requests_info{running_lora_adapters=\"a,b\",waiting_lora_adapters=\"c\"} 9000\n";
    page += "vllm:lora_requests_info{running_lora_adapters=\"d\"} 8999.5\n";
    assert_eq!(value(&report(&[page]), Q::LoraAdapters), Ok(3.0));
}

#[test]
fn lists_of_slots_and_models_are_only_so_long() {
    let slots = |slots: usize, tokens: &str| {
        let slot =
            format!("{{\"n_ctx\":8,\"is_processing\":true,\"n_prompt_tokens\":2,\"next_token\":{tokens}}}");
        let answer = format!("[{}]", vec![slot; slots].join(","));
        let mut sample = Sample::default();
        let pages = Pages {
            main: b"llamacpp:requests_processing 1\n",
            slots: Some(answer.as_bytes()),
            ..Pages::default()
        };
        let mut reader = Reader::new(&EngineChoice::Named(Engine::LlamaCpp)).unwrap();
        reader.read(&pages, &View::everything(), &mut sample).unwrap();
        let told = (sample.now(Fact::MaxSequences), sample.now(Fact::KvCacheUsage));
        (told, sample.notes().join("; "))
    };
    let many = format!("[{{\"n_decoded\":2}}{}]", ",{}".repeat(9000));
    for tokens in ["{\"n_decoded\":2}", "[{\"n_decoded\":2}]", &many] {
        assert_eq!(slots(2, tokens), ((Some(2.0), Some(0.5)), String::new()));
    }
    assert_eq!(slots(4096, "[]").0, (Some(4096.0), Some(0.25)));
    let (told, note) = slots(4097, "[]");
    assert_eq!(told, (None, None));
    assert!(note.contains("a list of at most 4096"), "{note}");

    let models = |models: usize| {
        let answer = format!("{{\"models\":[{}]}}", vec!["{\"name\":\"m\"}"; models].join(","));
        let pages = Pages {
            main: answer.as_bytes(),
            ..Pages::default()
        };
        let mut sample = Sample::default();
        let mut reader = Reader::new(&EngineChoice::Named(Engine::Ollama)).unwrap();
        let read = reader.read(&pages, &View::everything(), &mut sample);
        read.map(|()| sample.now(Fact::ModelsLoaded))
            .map_err(|error| error.to_string())
    };
    assert_eq!(models(4096), Ok(Some(4096.0)));
    let error = models(4097).unwrap_err();
    assert!(error.contains("a list of at most 4096"), "{error}");
}
