//! The batching model against what can be worked out by hand, and against laws that hold for all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_reading::Timestamp;
use rheostat_testkit::engine::{
    Arrivals, Batcher, Event, Finish, Finished, IterationTime, Lengths, ModelSettings, Pace, Prefix, Refused,
    Request, RequestId,
};

/// Iterations of one second, whatever is in them.
const SECOND: IterationTime = IterationTime {
    base: 1.0,
    per_prefill_token: 0.0,
    per_decode_sequence: 0.0,
    per_context_token: 0.0,
    speed: 1.0,
};

/// Blocks of one token, so that tokens are blocks.
fn settings(blocks: u32) -> ModelSettings {
    ModelSettings {
        max_sequences: 8,
        max_batched_tokens: 100,
        block_size: 1,
        blocks,
        max_context: 1000,
        prefix_caching: false,
        iteration: SECOND,
    }
}

fn request(prompt_tokens: u32, output_tokens: u32) -> Request {
    Request {
        prompt_tokens,
        output_tokens,
        ..Request::default()
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix_nanos((seconds * 1e9).round() as u64)
}

/// A model with what has come out of it.
struct Bench {
    batcher: Batcher,
    events: Vec<Event>,
}

impl Bench {
    fn new(settings: ModelSettings) -> Self {
        Self {
            batcher: Batcher::new(settings, at(0.0)).unwrap(),
            events: Vec::new(),
        }
    }

    fn submit(&mut self, seconds: f64, request: Request) -> RequestId {
        let events = &mut self.events;
        self.batcher
            .submit(at(seconds), request, &mut |event| events.push(event))
            .unwrap()
    }

    fn advance(&mut self, seconds: f64) {
        let events = &mut self.events;
        self.batcher.advance(at(seconds), &mut |event| events.push(event));
    }

    fn gaps(&self, wanted: RequestId) -> Vec<f64> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Token { id, took, .. } if *id == wanted => Some(took.as_secs_f64()),
                _ => None,
            })
            .collect()
    }

    fn finished(&self, wanted: RequestId) -> Option<&Finished> {
        self.events.iter().find_map(|event| match event {
            Event::Finished(finished) if finished.id == wanted => Some(finished),
            _ => None,
        })
    }

    fn scheduled(&self) -> Vec<(RequestId, f64)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Scheduled { id, waited, .. } => Some((*id, waited.as_secs_f64())),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_lone_request_gets_a_token_each_iteration() {
    let mut bench = Bench::new(settings(100));
    let id = bench.submit(5.0, request(3, 3));
    assert_eq!(bench.batcher.occupancy().waiting, 1);
    bench.advance(5.0);
    let begun = bench.batcher.occupancy();
    assert_eq!((begun.waiting, begun.running, begun.prefilling), (0, 1, 1));
    bench.advance(7.999);
    assert_eq!(bench.gaps(id), [1.0, 1.0]);
    assert_eq!(bench.batcher.next_event(), Some(at(8.0)));
    bench.advance(8.0);
    let seconds = Duration::from_secs;
    assert_eq!(
        bench.finished(id),
        Some(&Finished {
            id,
            reason: Finish::Stop,
            prompt_tokens: 3,
            output_tokens: 3,
            max_tokens: 97,
            total: seconds(3),
            queued: seconds(0),
            prefill: seconds(1),
            decode: seconds(2),
        })
    );
    assert_eq!(bench.batcher.next_event(), None);
    assert_eq!(bench.batcher.occupancy().used_blocks, 0);
}

#[test]
fn what_arrives_in_an_iteration_waits_for_the_next() {
    let mut bench = Bench::new(settings(100));
    bench.submit(0.0, request(3, 3));
    let second = bench.submit(0.25, request(3, 1));
    bench.advance(10.0);
    assert_eq!(bench.scheduled()[1], (second, 0.75));
    assert_eq!(bench.gaps(second), [1.75]);
}

#[test]
fn a_long_prompt_is_computed_in_chunks() {
    let mut bench = Bench::new(ModelSettings {
        max_batched_tokens: 4,
        ..settings(100)
    });
    let id = bench.submit(0.0, request(10, 1));
    bench.advance(10.0);
    assert_eq!(bench.gaps(id), [3.0]);
    let chunks: Vec<u32> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Iteration { prefill_tokens, .. } => Some(*prefill_tokens),
            _ => None,
        })
        .collect();
    assert_eq!(chunks, [4, 4, 2]);
}

#[test]
fn the_batch_has_no_more_sequences_than_it_may() {
    let mut bench = Bench::new(ModelSettings {
        max_sequences: 1,
        ..settings(100)
    });
    let first = bench.submit(0.0, request(3, 2));
    let second = bench.submit(0.0, request(3, 2));
    bench.advance(10.0);
    assert_eq!(bench.scheduled(), [(first, 0.0), (second, 2.0)]);
    assert_eq!(bench.gaps(second), [3.0, 1.0]);
}

#[test]
fn nobody_overtakes_who_does_not_fit_yet() {
    let mut bench = Bench::new(settings(10));
    bench.submit(0.0, request(6, 2));
    let large = bench.submit(0.0, request(6, 1));
    let small = bench.submit(0.0, request(1, 1));
    bench.advance(1.5);
    assert_eq!(bench.batcher.occupancy().waiting, 2);
    bench.advance(10.0);
    assert_eq!(bench.scheduled()[1..], [(large, 2.0), (small, 2.0)]);
}

#[test]
fn when_blocks_run_out_the_last_admitted_gives_way_and_is_computed_anew() {
    let mut bench = Bench::new(settings(8));
    let first = bench.submit(0.0, request(3, 5));
    let second = bench.submit(0.0, request(3, 5));
    bench.advance(2.5);
    assert!(bench.events.contains(&Event::Preempted(second)));
    let occupancy = bench.batcher.occupancy();
    assert_eq!((occupancy.running, occupancy.waiting), (1, 1));
    bench.advance(20.0);
    assert_eq!(bench.gaps(first), [1.0; 5]);
    // Its third token comes only after the first is through, at 5 s, and all is computed again.
    assert_eq!(bench.gaps(second), [1.0, 1.0, 4.0, 1.0, 1.0]);
    let preemptions = bench
        .events
        .iter()
        .filter(|event| matches!(event, Event::Preempted(_)));
    assert_eq!(preemptions.count(), 1);
}

#[test]
fn an_iteration_takes_as_long_as_what_is_in_it() {
    let mut bench = Bench::new(ModelSettings {
        iteration: IterationTime {
            base: 1.0,
            per_prefill_token: 0.5,
            per_decode_sequence: 0.25,
            per_context_token: 0.125,
            speed: 2.0,
        },
        ..settings(100)
    });
    let id = bench.submit(0.0, request(2, 3));
    bench.advance(10.0);
    // 1 + 2 * 0.5; then 1 + 0.25 + 2 * 0.125 and 1 + 0.25 + 3 * 0.125; each twice as fast.
    assert_eq!(bench.gaps(id), [1.0, 0.75, 0.8125]);
}

#[test]
fn a_prompt_seen_before_is_not_computed_again() {
    let mut bench = Bench::new(ModelSettings {
        prefix_caching: true,
        block_size: 16,
        max_batched_tokens: 20,
        ..settings(100)
    });
    let with_prefix = || Request {
        prefix: Some(Prefix { id: 7, tokens: 32 }),
        ..request(40, 1)
    };
    let first = bench.submit(0.0, with_prefix());
    bench.advance(10.0);
    let second = bench.submit(10.0, with_prefix());
    bench.advance(20.0);
    assert_eq!((bench.gaps(first), bench.gaps(second)), (vec![2.0], vec![1.0]));
    let found: Vec<(u32, u32)> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Scheduled {
                prefix_queries,
                prefix_hits,
                ..
            } => Some((*prefix_queries, *prefix_hits)),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(40, 0), (40, 32)]);
}

#[test]
fn nothing_begins_while_it_sleeps() {
    let mut bench = Bench::new(settings(100));
    let running = bench.submit(0.0, request(3, 2));
    bench.advance(0.5);
    bench.batcher.sleep(at(0.5), &mut |_| {});
    let waiting = bench.submit(0.75, request(3, 1));
    bench.advance(50.0);
    assert_eq!(bench.gaps(running), [1.0], "the iteration under way ends");
    assert_eq!(bench.batcher.next_event(), None);
    assert!(bench.batcher.occupancy().asleep);
    bench.batcher.wake(at(50.0), &mut |_| {});
    bench.advance(60.0);
    assert_eq!(bench.gaps(running), [1.0, 50.0]);
    assert_eq!(bench.gaps(waiting), [50.25]);
}

#[test]
fn a_cancelled_request_leaves_its_blocks() {
    let mut bench = Bench::new(settings(100));
    let running = bench.submit(0.0, request(3, 20));
    let other = bench.submit(0.0, request(3, 4));
    bench.advance(2.5);
    let mut ended = Vec::new();
    assert!(
        bench
            .batcher
            .cancel(at(2.5), running, &mut |event| ended.push(event))
    );
    assert!(!bench.batcher.cancel(at(2.5), running, &mut |_| {}));
    let Some(Event::Finished(finished)) = ended.first() else {
        panic!("{ended:?}");
    };
    assert_eq!((finished.reason, finished.output_tokens), (Finish::Abort, 2));
    bench.advance(10.0);
    assert_eq!(bench.gaps(other), [1.0; 4]);
    assert_eq!(bench.batcher.occupancy().used_blocks, 0);
}

#[test]
fn what_cannot_be_served_is_refused_and_what_is_too_long_is_cut() {
    let mut bench = Bench::new(settings(10));
    let mut refused = |request| bench.batcher.submit(at(0.0), request, &mut |_| {}).unwrap_err();
    assert_eq!(refused(request(10, 1)), Refused::TooLong { prompt: 10, limit: 9 });
    assert_eq!(refused(request(0, 1)), Refused::Empty { what: "the prompt" });
    assert_eq!(refused(request(1, 0)), Refused::Empty { what: "the answer" });
    let id = bench.submit(0.0, request(7, 50));
    bench.advance(100.0);
    let finished = bench.finished(id).unwrap();
    assert_eq!((finished.reason, finished.output_tokens), (Finish::Length, 3));
}

#[test]
fn littles_law_holds_over_a_long_run() {
    let mut bench = Bench::new(ModelSettings::default());
    let length = 900.0;
    let mut arrivals = Arrivals::new(
        at(0.0),
        20.0,
        Pace::Poisson,
        Lengths::Exponential {
            mean: 400.0,
            limit: 4000,
        },
        Lengths::Uniform(50, 350),
        11,
    );
    let (mut inside, mut looks, mut arrived) = (0.0, 0.0, 0);
    let mut look = 0.0;
    while look < length {
        while let Some((moment, request)) = arrivals.take(at(look)) {
            arrived += 1;
            bench.submit(moment.unix_nanos() as f64 / 1e9, request);
        }
        bench.advance(look);
        let occupancy = bench.batcher.occupancy();
        inside += (occupancy.waiting + occupancy.running) as f64;
        looks += 1.0;
        look += 0.05;
    }
    bench.advance(length + 600.0);
    let times: Vec<f64> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Finished(finished) => Some(finished.total.as_secs_f64()),
            _ => None,
        })
        .collect();
    assert_eq!(times.len(), arrived, "everybody is through");
    let mean_inside = inside / looks;
    let by_law = f64::from(arrived as u32) / length * (times.iter().sum::<f64>() / times.len() as f64);
    assert!(mean_inside > 10.0, "{mean_inside}: hardly a load");
    assert!(
        (mean_inside / by_law - 1.0).abs() < 0.03,
        "{mean_inside} inside, {by_law} by the law"
    );
}

fn some_settings() -> impl Strategy<Value = ModelSettings> {
    (1usize..6, 1u32..40, 1u32..5, 4u32..40, any::<bool>()).prop_map(
        |(max_sequences, max_batched_tokens, block_size, blocks, prefix_caching)| ModelSettings {
            max_sequences,
            max_batched_tokens,
            block_size,
            blocks,
            max_context: 1000,
            prefix_caching,
            iteration: IterationTime {
                base: 0.01,
                per_prefill_token: 0.001,
                per_decode_sequence: 0.002,
                per_context_token: 0.000_1,
                speed: 1.0,
            },
        },
    )
}

fn some_requests() -> impl Strategy<Value = Vec<(u32, Request)>> {
    let one = (
        0u32..60,
        1u32..30,
        1u32..30,
        proptest::option::of((0u64..3, 0u32..20)),
    );
    proptest::collection::vec(one, 1..30).prop_map(|requests| {
        let mut now = 0;
        requests
            .into_iter()
            .map(|(pause, prompt, output, prefix)| {
                now += pause;
                let prefix = prefix.map(|(id, tokens)| Prefix { id, tokens });
                (
                    now,
                    Request {
                        prefix,
                        ..request(prompt, output)
                    },
                )
            })
            .collect()
    })
}

/// Runs requests (milliseconds, request) to the end, looking every `step` milliseconds.
fn run(settings: &ModelSettings, requests: &[(u32, Request)], step: u32) -> Vec<Event> {
    let mut events = Vec::new();
    let mut batcher = Batcher::new(settings.clone(), at(0.0)).unwrap();
    let mut pending = requests.iter().peekable();
    let mut now = 0;
    while pending.peek().is_some() || batcher.next_event().is_some() {
        while let Some((moment, request)) = pending.next_if(|(moment, _)| *moment <= now) {
            // A prompt that is too long is refused, which is tested above.
            let _ = batcher.submit(at(f64::from(*moment) / 1e3), request.clone(), &mut |event| {
                events.push(event);
            });
        }
        batcher.advance(at(f64::from(now) / 1e3), &mut |event| events.push(event));
        let occupancy = batcher.occupancy();
        assert!(occupancy.used_blocks <= occupancy.blocks);
        assert!(occupancy.running <= settings.max_sequences);
        assert!(occupancy.kv_tokens <= u64::from(occupancy.used_blocks * settings.block_size));
        let work = occupancy.waiting + occupancy.running > 0;
        assert_eq!(batcher.next_event().is_some(), work, "work is never left lying");
        now += step;
        assert!(now < 10_000_000, "it does not come to an end");
    }
    events
}

proptest! {
    #[test]
    fn everybody_is_served_once_in_order_and_within_limits(
        settings in some_settings(),
        requests in some_requests(),
    ) {
        let limit = settings.context_limit();
        let expected: Vec<u32> = requests
            .iter()
            .filter(|(_, request)| request.prompt_tokens < limit)
            .map(|(_, request)| request.output_tokens.min(limit - request.prompt_tokens))
            .collect();
        let events = run(&settings, &requests, 1);
        let mut tokens: HashMap<RequestId, u32> = HashMap::new();
        let mut scheduled = Vec::new();
        let mut finished = Vec::new();
        for event in &events {
            match event {
                Event::Token { id, number, .. } => {
                    let so_far = tokens.entry(*id).or_default();
                    *so_far += 1;
                    prop_assert_eq!(*so_far, *number);
                }
                Event::Scheduled { id, .. } => scheduled.push(*id),
                Event::Finished(end) => {
                    prop_assert_eq!(tokens[&end.id], end.output_tokens);
                    prop_assert!(end.queued + end.prefill + end.decode == end.total);
                    finished.push((end.id, end.output_tokens));
                }
                Event::Iteration { prefill_tokens, decode_sequences, .. } => {
                    prop_assert!(prefill_tokens + decode_sequences <= settings.max_batched_tokens);
                }
                Event::Preempted(_) => {}
            }
        }
        prop_assert!(scheduled.is_sorted(), "first come, first served: {:?}", scheduled);
        finished.sort_unstable();
        let served: Vec<u32> = finished.iter().map(|(_, tokens)| *tokens).collect();
        prop_assert_eq!(served, expected);
    }

    #[test]
    fn how_often_one_looks_changes_nothing(settings in some_settings(), requests in some_requests()) {
        // Requests are only taken at looks, so that those of both runs must fall on the same.
        let requests: Vec<(u32, Request)> = requests
            .into_iter()
            .map(|(moment, request)| (moment * 50, request))
            .collect();
        prop_assert_eq!(run(&settings, &requests, 1), run(&settings, &requests, 50));
    }
}
