//! What is drawn by chance: the same for a seed, the same in a slice, and as many as was asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use rheostat_trace::{Options, Request, Trace};

/// A short trace of each kind.
fn kinds() -> Vec<Trace> {
    let mut servegen = "client,window_start_s,rate_rps,cv,family,param1,param2\n".to_owned();
    for window in 0..6 {
        servegen += &format!("0,{},{},2.5,Gamma,1,1\n", window * 600, 1 + window);
        servegen += &format!("1,{},0.7,6,Weibull,1,1\n", window * 600);
    }
    let mut counts = String::new();
    let mut rates = Vec::new();
    let mut azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for second in 0..3600 {
        counts += &format!("{}\n", second % 7);
        rates.push(f64::from(second % 11));
        azure += &format!(
            "2023-11-16 18:{:02}:{:02}.25,{},9\n",
            second / 60,
            second % 60,
            second + 1
        );
    }
    let read = |text: String| Trace::read(text.as_bytes(), &Options::default()).unwrap();
    let rates = Trace::from_rates(Duration::from_secs(1), rates, &Options::default());
    vec![read(servegen), read(counts), read(azure), rates]
}

fn all(trace: &Trace) -> Vec<Request> {
    trace.requests().collect()
}

#[test]
fn a_seed_gives_the_same_requests_and_another_seed_others() {
    for trace in kinds() {
        let scaled = trace.scaled(1.5).unwrap();
        assert_eq!(all(&scaled), all(&scaled));
        assert_eq!(all(&scaled.seeded(0)), all(&scaled));
        assert_ne!(all(&scaled.seeded(1)), all(&scaled));
    }
}

#[test]
fn a_factor_multiplies_the_requests() {
    for trace in kinds() {
        for factor in [0.05, 0.4, 1.0, 2.75] {
            let scaled = trace.scaled(factor).unwrap();
            let count = scaled.requests().count() as f64;
            let expected = trace.requests().count() as f64 * factor;
            let error = (scaled.expected_requests() - count).abs();
            // Six standard deviations of independent arrivals.
            assert!(error <= 6.0 * count.sqrt(), "{count} of {scaled:?}");
            assert!(
                (count - expected).abs() <= 8.0 * expected.sqrt(),
                "{count} is not {expected}"
            );
            assert!(all(&scaled).is_sorted_by_key(|request| request.at));
        }
        // Twice is once with the product.
        let twice = trace.scaled(0.5).unwrap().scaled(3.0).unwrap();
        assert_eq!(all(&twice), all(&trace.scaled(1.5).unwrap()));
    }
}

#[test]
fn a_factor_that_makes_no_sense_is_refused() {
    for trace in kinds() {
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let error = trace.scaled(factor).unwrap_err().to_string();
            assert!(error.contains("above 0"), "{error}");
        }
    }
}

#[test]
fn copies_of_a_request_stay_in_its_second() {
    let trace = Trace::from_requests((0..50).map(|second| Request {
        at: Duration::from_millis(second * 1000 + 999),
        prompt_tokens: 5,
        output_tokens: 6,
    }));
    let mut counts = [0; 50];
    for request in trace.scaled(7.0).unwrap().requests() {
        counts[request.at.as_secs() as usize] += 1;
    }
    assert_eq!(counts, [7; 50]);
}

#[test]
fn a_poisson_process_has_independent_exponential_gaps() {
    let trace = Trace::from_rates(Duration::from_secs(25), vec![40.0; 100], &Options::default());
    let times: Vec<f64> = trace.requests().map(|request| request.at.as_secs_f64()).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let count = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / count;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
    assert!((mean - 0.025).abs() < 5.0 * 0.025 / count.sqrt(), "{mean}");
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
    let lag: f64 = gaps
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    assert!((lag / count / variance).abs() < 0.02);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_slice_has_the_requests_of_the_whole(
        kind in 0_usize..4, from in 0.0..4000.0_f64, length in 0.0..2000.0_f64, factor in 0.1..2.0_f64,
    ) {
        let trace = kinds()[kind].scaled(factor).unwrap();
        let (from, to) = (Duration::from_secs_f64(from), Duration::from_secs_f64(from + length));
        let slice = trace.slice(from, to);
        let expected: Vec<Request> = trace
            .requests()
            .filter(|request| (from..to).contains(&request.at))
            .map(|request| Request { at: request.at - from, ..request })
            .collect();
        prop_assert_eq!(all(&slice), expected);
        prop_assert!(slice.duration() <= to - from);
        // A slice of a slice is a slice.
        let inner = slice.slice(Duration::from_secs(100), Duration::from_secs(300));
        let same = trace.slice(from + Duration::from_secs(100), (from + Duration::from_secs(300)).min(to));
        prop_assert_eq!(all(&inner), all(&same));
    }
}
