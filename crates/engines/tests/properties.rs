//! What holds for any page and any history.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_engines::{Engine, EngineChoice, EngineReport, History, Pages, Reader, Sample, View};
use rheostat_reading::{EngineQuantity as Q, Unit};
use support::{at, without_counts};

const VLLM: EngineChoice = EngineChoice::Named(Engine::Vllm);

const PAGES: &[&str] = &[
    "vllm.txt",
    "vllm-data-parallel.txt",
    "ray-serve-llm.txt",
    "sglang.txt",
    "tgi.txt",
    "triton.txt",
    "triton-tensorrt-llm.txt",
    "lmdeploy.txt",
];

/// `pages`, one second apart.
fn scraped(choice: &EngineChoice, pages: &[Vec<u8>]) -> EngineReport {
    let view = View::everything();
    let mut reader = Reader::new(choice).unwrap();
    let mut history = History::new(&view);
    let mut sample = Sample::default();
    for (seconds, page) in (0..).zip(pages) {
        let pages = Pages {
            main: page,
            ..Pages::default()
        };
        match reader.read(&pages, &view, &mut sample) {
            Ok(()) => history.push(&sample, at(seconds)),
            Err(error) => history.fail(error.to_string()),
        }
    }
    history.report()
}

fn page(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/pages")
            .join(name),
    )
    .unwrap()
}

/// A page of one rank.
fn rank(name: usize, [waiting, running, tokens]: [u32; 3], buckets: [u32; 3]) -> String {
    let [a, b, c] = buckets;
    let (fast, middle, all) = (a, a + b, a + b + c);
    let labels = format!("engine=\"{name}\",model_name=\"m\"");
    let ttft = "vllm:time_to_first_token_seconds";
    format!(
        "vllm:num_requests_waiting{{{labels}}} {waiting}\nvllm:num_requests_running{{{labels}}} {running}\n\
         vllm:generation_tokens_total{{{labels}}} {tokens}\n\
         {ttft}_bucket{{{labels},le=\"0.1\"}} {fast}\n{ttft}_bucket{{{labels},le=\"0.2\"}} {middle}\n\
         {ttft}_bucket{{{labels},le=\"+Inf\"}} {all}\n{ttft}_sum{{{labels}}} {}\n{ttft}_count{{{labels}}} {all}\n",
        f64::from(all) * 0.25
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever counters do, no rate and no mean is negative, and none is more than all that was ever
    /// shown.
    #[test]
    fn no_rate_is_negative_or_more_than_was_counted(
        values in proptest::collection::vec((0.0..1e9f64, prop::bool::weighted(0.8)), 1..40)
    ) {
        let mut shown = 0.0;
        let mut tokens = 0.0;
        let pages: Vec<Vec<u8>> = values
            .iter()
            .map(|&(value, grows)| {
                tokens = if grows { tokens + value } else { value / 2.0 };
                shown += value;
                format!("vllm:generation_tokens_total {tokens}\nvllm:prefix_cache_hits_total {tokens}\n\
                         vllm:prefix_cache_queries_total {}\n", tokens * 2.0).into_bytes()
            })
            .collect();
        let view = View::everything();
        let mut reader = Reader::new(&VLLM).unwrap();
        let mut history = History::new(&view);
        let mut sample = Sample::default();
        for (seconds, page) in (0..).zip(&pages) {
            let pages = Pages { main: page, ..Pages::default() };
            reader.read(&pages, &view, &mut sample).unwrap();
            history.push(&sample, at(seconds));
            let report = history.report();
            let Ok(reading) = report.readings.get(Q::GenerationTokenRate) else { continue };
            let gained = reading.amount.value() * reading.window.as_secs_f64();
            prop_assert!(gained >= 0.0);
            prop_assert!(gained <= shown * (1.0 + 1e-9), "{gained} of {shown}");
            prop_assert!(reading.window > Duration::ZERO);
            if let Some(ratio) = report.readings.value(Q::PrefixCacheHitRate) {
                prop_assert!((0.0..=1.0).contains(&ratio));
            }
        }
    }

    /// Ranks on one page are what they are one by one.
    #[test]
    fn ranks_together_are_the_sum_of_each(
        ranks in proptest::collection::vec(
            (prop::array::uniform3(0..10_000u32), prop::array::uniform3(0..10_000u32)), 1..6)
    ) {
        let empty = |name| rank(name, [0; 3], [0; 3]);
        let together = |make: &dyn Fn(usize) -> String| {
            (0..ranks.len()).map(make).collect::<String>().into_bytes()
        };
        let all = scraped(&VLLM, &[together(&empty), together(&|n| rank(n, ranks[n].0, ranks[n].1))]);
        for quantity in [Q::Waiting, Q::Running, Q::Concurrency, Q::GenerationTokenRate] {
            let sum: f64 = (0..ranks.len())
                .map(|n| {
                    let one = scraped(
                        &VLLM,
                        &[empty(n).into_bytes(), rank(n, ranks[n].0, ranks[n].1).into_bytes()],
                    );
                    one.readings.value(quantity).unwrap()
                })
                .sum();
            prop_assert_eq!(all.readings.value(quantity), Some(sum), "{}", quantity);
        }
        let mut added = [0; 3];
        for (_, buckets) in &ranks {
            for (sum, count) in added.iter_mut().zip(buckets) {
                *sum += count;
            }
        }
        let one = scraped(&VLLM, &[empty(0).into_bytes(), rank(0, [0; 3], added).into_bytes()]);
        for quantity in [Q::TtftMean, Q::TtftP50, Q::TtftP99] {
            prop_assert_eq!(all.readings.get(quantity), one.readings.get(quantity));
        }
    }

    /// Quantiles lie in the bucket that holds them, and rise with what they stand for.
    #[test]
    fn quantiles_lie_in_their_buckets_and_in_order(buckets in prop::array::uniform3(0..1000u32)) {
        let pages = [rank(0, [0; 3], [0; 3]).into_bytes(), rank(0, [0; 3], buckets).into_bytes()];
        let report = scraped(&VLLM, &pages);
        let total: u32 = buckets.iter().sum();
        let mut last = 0.0;
        for (part, quantity) in [(0.5, Q::TtftP50), (0.9, Q::TtftP90), (0.95, Q::TtftP95), (0.99, Q::TtftP99)] {
            let Some(value) = report.readings.value(quantity) else {
                prop_assert_eq!(total, 0);
                continue;
            };
            let at_rank = part * f64::from(total);
            let (low, high) = if at_rank <= f64::from(buckets[0]) {
                (0.0, 0.1)
            } else if at_rank <= f64::from(buckets[0] + buckets[1]) {
                (0.1, 0.2)
            } else {
                (0.2, 0.2)
            };
            prop_assert!((low..=high).contains(&value), "{value} for {part} of {buckets:?}");
            prop_assert!(value >= last);
            last = value;
        }
    }

    /// Neither the order of the lines nor that of the labels changes anything, to the last bit.
    #[test]
    fn order_changes_nothing(which in 0..PAGES.len(), seed in any::<u64>()) {
        let page = page(PAGES[which]);
        let plain = scraped(&EngineChoice::Recognise, &[without_counts(&page), page.clone()]);
        let shuffled = scraped(
            &EngineChoice::Recognise,
            &[shuffled(&without_counts(&page), seed), shuffled(&page, seed.rotate_left(7))],
        );
        prop_assert_eq!(plain, shuffled);
    }

    /// A page that was cut anywhere gives an error or, at the end of a line, only what stands on it.
    #[test]
    fn cut_pages_do_no_harm(which in 0..PAGES.len(), part in 0.0..1.0f64) {
        let page = page(PAGES[which]);
        let end = (page.len() as f64 * part) as usize;
        let report = scraped(&EngineChoice::Recognise, &[page[..end].to_vec()]);
        if end == 0 || page[end - 1] != b'\n' {
            prop_assert!(report.failure.is_some());
            prop_assert_eq!(report.answered_at, None);
        }
    }

    /// Bytes from anywhere are an error or a page, and every reading is a number that makes sense.
    #[test]
    fn garbage_does_no_harm(
        which in 0..PAGES.len(),
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)
    ) {
        let mut page = page(PAGES[which]);
        for (place, byte) in places {
            let place = place.index(page.len());
            page[place] = byte;
        }
        let report = scraped(&EngineChoice::Recognise, &[page.clone(), page]);
        for (quantity, observed) in report.readings.iter() {
            if let Ok(reading) = observed {
                let value = reading.amount.value();
                prop_assert!(value >= 0.0, "{quantity} {value}");
                prop_assert!(quantity.unit() != Unit::Ratio || value.is_finite());
            }
        }
    }

    #[test]
    fn any_description_of_an_engine_is_taken_or_refused(text in "\\PC{0,200}") {
        if let Ok(engine) = rheostat_engines::CustomEngine::parse(&text) {
            prop_assert_eq!(rheostat_engines::CustomEngine::parse(&engine.to_json()).ok(), Some(engine));
        }
    }
}

/// The lines of `page`, and the labels of each, in an order that `seed` gives.
fn shuffled(page: &[u8], seed: u64) -> Vec<u8> {
    let page = String::from_utf8(page.to_vec()).unwrap();
    let mut lines: Vec<String> = page
        .lines()
        .map(|line| {
            let Some((name, (labels, value))) = line
                .split_once('{')
                .and_then(|(name, rest)| Some((name, rest.rsplit_once('}')?)))
                .filter(|_| !line.starts_with('#'))
            else {
                return line.to_owned();
            };
            // Values with commas are in the lists of adapters only.
            if labels.contains("lora") {
                return line.to_owned();
            }
            let mut labels: Vec<&str> = labels.split(',').collect();
            shuffle(&mut labels, seed);
            format!("{name}{{{}}}{value}", labels.join(","))
        })
        .collect();
    shuffle(&mut lines, seed);
    (lines.join("\n") + "\n").into_bytes()
}

fn shuffle<T>(things: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..things.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        things.swap(last, (state >> 33) as usize % (last + 1));
    }
}
