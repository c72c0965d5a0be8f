//! Mock engines over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_reading::{Clock, Timestamp};
use rheostat_testkit::engine::{
    EngineOptions, Flavour, Gauges, Load, LoadOptions, LoadResults, Misbehaviour, MockEngine, ModelSettings,
    Pace, Request, Totals,
};
use serde_json::json;
use support::{fast, get, json_of, post, sample, soon, start};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_completion_is_answered_and_counted() {
    let engine = start(fast(Flavour::Vllm)).await;
    let body = json!({"prompt": "one two three", "max_tokens": 5});
    let answer = post(engine.address(), "/v1/completions", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = json_of(&answer);
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens"], 5);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let page = get(engine.address(), "/metrics").await;
    assert_eq!(sample(&page, "vllm:generation_tokens_total"), Some(5.0), "{page}");
    assert_eq!(sample(&page, "vllm:prompt_tokens_total"), Some(3.0));
    assert_eq!(sample(&page, "vllm:time_to_first_token_seconds_count"), Some(1.0));
    assert_eq!(sample(&page, "vllm:inter_token_latency_seconds_count"), Some(4.0));
    assert_eq!(sample(&page, "vllm:num_requests_running"), Some(0.0));
    assert_eq!(engine.scrapes().values().sum::<u64>(), 1);
}

#[tokio::test]
async fn a_stream_has_one_event_for_each_token_and_says_when_it_is_done() {
    let engine = start(fast(Flavour::Vllm)).await;
    let body = json!({
        "messages": [{"role": "user", "content": "say something"}],
        "max_tokens": 7, "stream": true, "stream_options": {"include_usage": true},
    });
    let answer = post(engine.address(), "/v1/chat/completions", &body).await;
    assert!(answer.contains("text/event-stream"), "{answer}");
    assert_eq!(answer.matches("\"content\":").count(), 7, "{answer}");
    assert_eq!(answer.matches("\"completion_tokens\":7").count(), 1);
    assert_eq!(answer.matches("data: [DONE]").count(), 1);
}

#[tokio::test]
async fn gauges_can_be_ordered_and_requests_put_in_directly() {
    let engine = start(fast(Flavour::Vllm)).await;
    engine.set_gauges(Gauges {
        waiting: Some(7),
        running: Some(32),
        kv_cache_usage: Some(0.875),
    });
    let page = engine.page().unwrap();
    assert_eq!(sample(&page, "vllm:num_requests_waiting"), Some(7.0));
    assert_eq!(sample(&page, "vllm:num_requests_running"), Some(32.0));
    assert_eq!(sample(&page, "vllm:kv_cache_usage_perc"), Some(0.875));
    engine.set_gauges(Gauges::default());
    for _ in 0..3 {
        let request = Request {
            prompt_tokens: 10,
            output_tokens: 4,
            ..Request::default()
        };
        engine.submit(request).unwrap();
    }
    soon(async {
        while engine.totals()[0].succeeded() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(engine.totals()[0].generation_tokens, 12);
}

#[tokio::test]
async fn load_over_http_makes_the_metrics() {
    let engines = [start(fast(Flavour::Vllm)).await, start(fast(Flavour::Vllm)).await];
    // On a clock moved by hand no load is too much for a busy machine.
    let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(0));
    let load = Load::start(LoadOptions {
        targets: engines.iter().map(MockEngine::address).collect(),
        rate: 4.0,
        pace: Pace::Constant,
        stream: true,
        clock,
        ..LoadOptions::default()
    });
    for round in 1..=5 {
        hand.advance(Duration::from_secs(1));
        soon(async {
            while load.results().sent < round * 4 || load.results().outstanding() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    load.set_rate(0.0);
    hand.advance(Duration::from_secs(60));
    let results = load.results();
    let expected = LoadResults {
        sent: 20,
        succeeded: 20,
        ..LoadResults::default()
    };
    assert_eq!(results, expected);
    let totals: Vec<_> = engines.iter().map(|engine| engine.totals()[0].clone()).collect();
    assert_eq!(
        totals.iter().map(Totals::succeeded).sum::<u64>(),
        results.succeeded
    );
    assert_eq!(
        totals.iter().map(|totals| totals.generation_tokens).sum::<u64>(),
        results.succeeded * 50
    );
    // Four at a time, each to the engine with the fewest.
    assert!(totals.iter().all(|totals| totals.received > 0), "{totals:?}");
}

#[tokio::test]
async fn refused_connections_come_back_on_the_same_port() {
    let engine = start(fast(Flavour::Vllm)).await;
    let address = engine.address();
    assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
    engine.misbehave(Misbehaviour::Refuse).await.unwrap();
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    engine.misbehave(Misbehaviour::None).await.unwrap();
    assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn settings_that_make_no_engine_are_refused() {
    let model = ModelSettings {
        blocks: 0,
        ..ModelSettings::default()
    };
    let options = EngineOptions {
        model,
        ..EngineOptions::default()
    };
    let error = MockEngine::start(options).await.unwrap_err();
    assert_eq!(error.to_string(), "blocks is 0; at least 1 is needed");
    let options = EngineOptions {
        ranks: 2,
        ..EngineOptions::of(Flavour::Nim)
    };
    let error = MockEngine::start(options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 ranks, but the page of nim cannot tell more than 1 apart"
    );
}
