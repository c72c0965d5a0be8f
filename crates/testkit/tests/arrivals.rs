//! Requests as they come, and names of flavours as they are given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use rheostat_reading::{Clock, Timestamp};
use rheostat_testkit::engine::{
    Arrivals, EngineOptions, Flavour, Lengths, MockEngine, Pace, Request, UnknownFlavour,
};

fn all(arrivals: &mut Arrivals, until: Timestamp) -> Vec<(Timestamp, Request)> {
    std::iter::from_fn(|| arrivals.take(until)).collect()
}

#[test]
fn the_same_seed_gives_the_same_requests_at_the_rate_that_was_asked_for() {
    let start = Timestamp::from_unix_nanos(0);
    let end = start.plus(Duration::from_secs(2000));
    let lengths = Lengths::Exponential {
        mean: 200.0,
        limit: 1000,
    };
    let make = |seed| Arrivals::new(start, 10.0, Pace::Poisson, lengths, Lengths::Uniform(1, 9), seed);
    let first = all(&mut make(1), end);
    assert_eq!(first, all(&mut make(1), end));
    assert_ne!(first, all(&mut make(2), end));
    // 20,000 expected, with a standard deviation of 141.
    assert!((19_300..20_700).contains(&first.len()), "{}", first.len());
    assert!(first.is_sorted_by_key(|(moment, _)| *moment));
    for (_, request) in &first {
        assert!((1..=1000).contains(&request.prompt_tokens), "{request:?}");
        assert!((1..=9).contains(&request.output_tokens), "{request:?}");
    }
}

#[test]
fn the_rate_changes_at_once_and_zero_sends_nothing() {
    let at = |seconds| Timestamp::from_unix_nanos(0).plus(Duration::from_secs(seconds));
    let mut arrivals = Arrivals::new(
        at(0),
        2.0,
        Pace::Constant,
        Lengths::Fixed(1),
        Lengths::Fixed(1),
        1,
    );
    assert_eq!(all(&mut arrivals, at(10)).len(), 20);
    arrivals.set_rate(at(10), 0.0);
    assert_eq!(arrivals.next_at(), None);
    assert_eq!(all(&mut arrivals, at(100)).len(), 0);
    arrivals.set_rate(at(100), 5.0);
    assert_eq!(all(&mut arrivals, at(110)).len(), 50);
}

#[tokio::test]
async fn an_hour_of_load_passes_through_an_engine_on_a_clock_moved_by_hand() {
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(0));
    let start = clock.now();
    let engine = MockEngine::start(EngineOptions {
        clock,
        ..EngineOptions::of(Flavour::Vllm)
    })
    .await
    .unwrap();
    let mut arrivals = Arrivals::new(
        start,
        0.5,
        Pace::Poisson,
        Lengths::Fixed(200),
        Lengths::Fixed(50),
        3,
    );
    let mut sent = 0;
    while let Some((moment, request)) = arrivals.take(start.plus(Duration::from_secs(3600))) {
        hand.set(moment);
        engine.submit(request).unwrap();
        sent += 1;
    }
    hand.advance(Duration::from_secs(60));
    let totals = &engine.totals()[0];
    assert_eq!((totals.received, totals.succeeded()), (sent, sent));
    assert_eq!(totals.generation_tokens, sent * 50);
    assert_eq!(engine.occupancy()[0].running, 0);
}

#[test]
fn flavours_have_names() {
    for flavour in Flavour::ALL {
        assert_eq!(flavour.to_string().parse(), Ok(flavour));
    }
    let error = "vlm".parse::<Flavour>().unwrap_err();
    assert_eq!(error, UnknownFlavour("vlm".into()));
    assert!(
        error
            .to_string()
            .starts_with("flavour \"vlm\" is not known; there are vllm, vllm-old,")
    );
}
