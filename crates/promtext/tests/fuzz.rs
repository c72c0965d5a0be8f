//! What holds for every page, tried on pages made from known ones by changes.
//!
//! Runs for a moment in `cargo test`; `PROMTEXT_FUZZ_PAGES=1000000 cargo test --release -p
//! rheostat-promtext --test fuzz` runs longer, `PROMTEXT_FUZZ_SEED` begins elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use proptest::prelude::*;
use rheostat_promtext::{Encoder, Families, Format, Item, Kind, Limits, LineError, Parser, Problem, parse};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end.max(1) as u64) as usize
    }

    fn one_of<'list, T>(&mut self, list: &'list [T]) -> &'list T {
        &list[self.below(list.len())]
    }
}

/// Files of `tests/pages` and `tests/corpus`.
fn corpus() -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut paths: Vec<_> = ["pages", "corpus"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(tests.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 9, "{paths:?}");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A few neighbouring lines of a file, and lines from others between them, with some changes.
fn changed(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    const PIECES: [&[u8]; 32] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b",",
        b"=",
        b" ",
        b"\t",
        b"#",
        b"\r",
        b"\n",
        b"\n\n",
        b"\\n",
        b"\\\"",
        b"=\"\"",
        b",a=\"b\"",
        b"{}",
        b" # {a=\"b\"} 1",
        b"NaN",
        b"-",
        b".",
        b"e9",
        b"_",
        b":",
        b"0",
        b"123456789",
        b"# EOF\n",
        b"# TYPE a gauge\n",
        b"\xc3\xa4",
        b"\xff",
        b"\0",
        b"\xf0\x9f",
    ];
    let mut page = Vec::new();
    for _ in 0..=random.below(3) {
        let lines: Vec<&[u8]> = random
            .one_of(corpus)
            .split_inclusive(|byte| *byte == b'\n')
            .collect();
        let from = random.below(lines.len());
        let to = (from + 1 + random.below(12)).min(lines.len());
        page.extend(lines[from..to].concat());
    }
    for _ in 0..random.below(6) {
        let at = random.below(page.len() + 1);
        let end = (at + random.below(4)).min(page.len());
        match random.below(4) {
            0 => drop(page.splice(at..end, [])),
            1 => {
                let again = page[at..(at + random.below(40)).min(page.len())].to_vec();
                let to = random.below(page.len() + 1);
                drop(page.splice(to..to, again));
            }
            _ => drop(page.splice(at..end, random.one_of(&PIECES).iter().copied())),
        }
    }
    page
}

type Items<'page> = Vec<Result<Item<'page>, LineError>>;

fn is_wanted(families: &Families, item: &Item<'_>) -> bool {
    match item {
        Item::Sample(sample) => families.contain(&sample.name),
        Item::Type { family, .. } | Item::Help { family, .. } | Item::Unit { family, .. } => {
            families.contain(family)
        }
        Item::End => true,
    }
}

/// Positions are on the page, and excerpts are what is there.
fn positions_are_on_the_page(page: &[u8], items: &Items<'_>) {
    let lines: Vec<&[u8]> = page.split(|byte| *byte == b'\n').collect();
    for error in items.iter().filter_map(|item| item.as_ref().err()) {
        let line = lines.get(error.line - 1).copied().unwrap_or_default();
        assert!(error.line <= lines.len(), "{error}");
        assert!((1..=line.len() + 1).contains(&error.column), "{error}");
        assert!(error.excerpt.len() <= 32 * 10, "{error}");
        assert!(!error.excerpt.contains(char::is_control), "{error:?}");
    }
    let numbers: Vec<usize> = items
        .iter()
        .filter_map(|item| Some(item.as_ref().err()?.line))
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

/// As text, since NaN is not equal to itself.
fn without_excerpt(item: &Result<Item<'_>, LineError>) -> String {
    match item {
        Ok(item) => format!("{item:?}"),
        Err(error) => format!("{:?} at {}:{}", error.problem, error.line, error.column),
    }
}

/// Blanks before a line change nothing but where its errors are. With them a line is read byte by byte,
/// without them mostly by comparison with the one before.
fn both_ways_of_reading_agree(page: &[u8], items: &Items<'_>) {
    let lines: Vec<&[u8]> = page.split_inclusive(|byte| *byte == b'\n').collect();
    let indented: Vec<u8> = lines.iter().flat_map(|line| [b" ", *line].concat()).collect();
    if page.is_empty() || page.starts_with(&[0x1f, 0x8b]) || page.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return;
    }
    let slowly: Items<'_> = Parser::with(&indented, &Limits::default(), None)
        .format(Format::Prometheus)
        .map(|item| {
            item.map_err(|error| LineError {
                // Where the page as a whole is wrong, the place is its start.
                column: (error.column - 1).max(1),
                ..error
            })
        })
        .collect();
    assert_eq!(slowly.len(), items.len(), "{:?}", String::from_utf8_lossy(page));
    for (slow, quick) in slowly.iter().zip(items) {
        assert_eq!(without_excerpt(slow), without_excerpt(quick));
    }
}

/// What is read of a page that was cut is the beginning of what is read of the whole.
fn cut_pages_yield_a_beginning(page: &[u8], format: Format, items: &Items<'_>, at: usize) {
    // What follows on its line is all that tells this from the end.
    if page[..at].ends_with(b"# EOF") {
        return;
    }
    let cut: Items<'_> = Parser::with(&page[..at], &Limits::default(), None)
        .format(format)
        .collect();
    let whole = cut
        .iter()
        .take_while(|item| {
            let problem = item.as_ref().err().map(|error| error.problem);
            !matches!(problem, Some(Problem::Unterminated | Problem::NoEnd))
        })
        .count();
    for (cut, whole) in cut.iter().take(whole).zip(items) {
        assert_eq!(without_excerpt(cut), without_excerpt(whole));
    }
    assert!(whole <= items.len());
    assert!(cut.len() <= whole + 1, "nothing comes after the cut");
}

fn check(page: &[u8], random: &mut Random, families: &Families) {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let limits = Limits::default();
        let items: Items<'_> = Parser::with(page, &limits, None).format(format).collect();
        positions_are_on_the_page(page, &items);
        if format == Format::Prometheus {
            both_ways_of_reading_agree(page, &items);
        }
        cut_pages_yield_a_beginning(page, format, &items, random.below(page.len() + 1));

        let selected: Items<'_> = Parser::with(page, &limits, Some(families))
            .format(format)
            .collect();
        let selected: Vec<String> = selected
            .iter()
            .flatten()
            .map(|item| format!("{item:?}"))
            .collect();
        let filtered = items.iter().flatten().filter(|item| is_wanted(families, item));
        let filtered: Vec<String> = filtered.map(|item| format!("{item:?}")).collect();
        assert_eq!(selected, filtered, "{:?}", String::from_utf8_lossy(page));

        // What is not asked for is not read, but it is well-formed all the same.
        for sample in items.iter().flatten().filter_map(|item| match item {
            Item::Sample(sample) => Some(sample),
            _ => None,
        }) {
            assert!(!sample.name.is_empty());
            let labels: Vec<_> = sample.labels.iter().collect();
            assert_eq!(sample.labels.is_empty(), labels.is_empty());
            for (name, value) in &labels {
                assert!(!name.is_empty() && name != "__name__");
                assert_eq!(sample.labels.get(name).as_ref(), Some(value));
            }
        }
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn changed_pages() {
    let corpus = corpus();
    let families = Families::new([
        "up",
        "vllm:prompt_tokens_total",
        "vllm:request_success",
        "nv_gpu_utilization",
        "a",
    ]);
    let mut random = Random(number_from("PROMTEXT_FUZZ_SEED", 1));
    for _ in 0..number_from("PROMTEXT_FUZZ_PAGES", 500) {
        let page = changed(&mut random, &corpus);
        check(&page, &mut random, &families);
    }
}

#[test]
fn whole_pages() {
    let families = Families::new([
        "vllm:time_to_first_token_seconds",
        "vllm:num_requests_running",
        "DCGM_FI_DEV_GPU_UTIL",
        "node_load1",
    ]);
    for page in corpus() {
        for seed in 0..2 {
            check(&page, &mut Random(seed), &families);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes(page in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&page, &mut Random(1), &Families::new(["a"]));
    }

    #[test]
    fn what_the_encoder_writes_is_read(
        samples in prop::collection::btree_map(
            prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9_]{0,8}", any::<String>(), 0..12),
            any::<f64>(),
            0..20,
        ),
        help in "\\PC{1,40}x",
        open_metrics in any::<bool>(),
    ) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Prometheus };
        let mut page = Encoder::new(format);
        let mut family = page.family("some:name_seconds", Kind::Gauge, "seconds", &help).unwrap();
        for (labels, value) in &samples {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            family.sample(&labels, *value).unwrap();
        }
        let page = page.finish();
        let mut read = Vec::new();
        for item in parse(page.as_bytes()).format(format) {
            match item.unwrap() {
                Item::Sample(sample) => read.push(sample),
                Item::Help { text, .. } => prop_assert_eq!(text, help.as_str()),
                _ => {}
            }
        }
        prop_assert_eq!(read.len(), samples.len());
        for (read, (labels, value)) in read.iter().zip(&samples) {
            let read_labels: Vec<(String, String)> =
                read.labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            // The encoder sorts labels, as the map does.
            prop_assert_eq!(read_labels, labels.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(read.value.is_nan(), value.is_nan());
            if !value.is_nan() {
                prop_assert_eq!(read.value.to_bits(), value.to_bits());
            }
        }
    }
}
