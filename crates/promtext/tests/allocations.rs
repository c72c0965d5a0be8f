//! Reading a page allocates nothing, however many samples it has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rheostat_promtext::{Families, Item, Limits, Parser, parse};

/// Reads everything of a page and gives the number of samples.
fn read(parser: Parser<'_>) -> usize {
    let mut samples = 0;
    let mut letters = 0;
    for item in parser {
        if let Item::Sample(sample) = item.unwrap() {
            samples += 1;
            letters += sample
                .labels
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        }
    }
    assert!(letters > 0);
    samples
}

#[test]
fn none_for_a_page_of_vllm() {
    let page = include_bytes!("pages/vllm.txt");
    let families = Families::new(["vllm:num_requests_running", "vllm:time_to_first_token_seconds"]);
    let mut samples = (0, 0);
    let all = allocation_counter::measure(|| samples.0 = read(parse(page)));
    let wanted = allocation_counter::measure(|| {
        samples.1 = read(Parser::with(page, &Limits::default(), Some(&families)));
    });
    assert_eq!(samples, (866, 54));
    assert_eq!((all.count_total, wanted.count_total), (0, 0));
}

#[test]
fn none_for_exemplars() {
    let page = b"a{b=\"c\"} 1 # {d=\"e\"} 2 3\n# EOF\n";
    let measured = allocation_counter::measure(|| {
        let Item::Sample(sample) = parse(page).next().unwrap().unwrap() else {
            panic!("no sample");
        };
        assert_eq!(sample.exemplar().unwrap().timestamp_millis, Some(3000));
    });
    assert_eq!(measured.count_total, 0);
}
