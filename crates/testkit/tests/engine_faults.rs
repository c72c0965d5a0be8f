//! Each misbehaviour does what it says, and goes away again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use rheostat_promtext::{Item, parse};
use rheostat_testkit::engine::{EngineOptions, Flavour, Misbehaviour, Request};
use serde_json::json;
use support::{fast, get, post, raw, sample, soon, start, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ASK: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: engine\r\n\r\n";

#[tokio::test]
async fn a_hanging_engine_answers_only_once_it_hangs_no_more() {
    let engine = start(fast(Flavour::Vllm)).await;
    engine.misbehave(Misbehaviour::Hang).await.unwrap();
    let mut stream = soon(TcpStream::connect(engine.address())).await.unwrap();
    soon(stream.write_all(ASK)).await.unwrap();
    // The request is there: it is counted when it is read.
    soon(async {
        while engine.scrapes().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(early.is_err(), "it answers");
    engine.misbehave(Misbehaviour::None).await.unwrap();
    assert_eq!(soon(stream.read(&mut byte)).await.unwrap(), 1);
}

#[tokio::test]
async fn garbage_is_no_http_also_for_connections_that_were_good() {
    let engine = start(fast(Flavour::Vllm)).await;
    let mut kept = soon(TcpStream::connect(engine.address())).await.unwrap();
    soon(kept.write_all(ASK)).await.unwrap();
    let mut head = [0; 12];
    soon(kept.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    engine.misbehave(Misbehaviour::Garbage).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(kept.read_to_end(&mut rest)).await;
    let answer = raw(engine.address(), "GET /metrics HTTP/1.1", "").await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn bad_pages_leave_requests_alone() {
    let engine = start(fast(Flavour::Vllm)).await;
    let metrics = async |misbehaviour| {
        engine.misbehave(misbehaviour).await.unwrap();
        get(engine.address(), "/metrics").await
    };
    let html = metrics(Misbehaviour::Html).await;
    assert!(
        html.starts_with("HTTP/1.1 200") && html.contains("text/html"),
        "{html}"
    );
    let body = json!({"prompt": "one", "max_tokens": 2});
    let answer = post(engine.address(), "/v1/completions", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let failed = metrics(Misbehaviour::Status(500)).await;
    assert!(failed.starts_with("HTTP/1.1 500"), "{failed}");
    let elsewhere = metrics(Misbehaviour::Redirect("http://169.254.169.254/".into())).await;
    assert!(elsewhere.starts_with("HTTP/1.1 302"), "{elsewhere}");
    assert!(
        elsewhere.contains("location: http://169.254.169.254/"),
        "{elsewhere}"
    );
    let foreign = metrics(Misbehaviour::Foreign).await;
    assert!(
        foreign.contains("node_load1") && !foreign.contains("vllm:"),
        "{foreign}"
    );
    let nan = metrics(Misbehaviour::NotANumber).await;
    assert!(sample(&nan, "vllm:num_requests_waiting").unwrap().is_nan());
    assert!(sample(&nan, "vllm:kv_cache_usage_perc").unwrap().is_nan());
    assert_eq!(sample(&nan, "vllm:generation_tokens_total"), Some(2.0));
    let good = metrics(Misbehaviour::None).await;
    assert_eq!(sample(&good, "vllm:num_requests_waiting"), Some(0.0));
}

#[tokio::test]
async fn a_truncated_body_ends_in_a_line_before_its_length() {
    let engine = start(fast(Flavour::Vllm)).await;
    engine.misbehave(Misbehaviour::Truncated).await.unwrap();
    let answer = get(engine.address(), "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let promised: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        !body.is_empty() && body.len() < promised,
        "{} of {promised}",
        body.len()
    );
    assert!(!body.ends_with('\n'), "{body}");
    let items: Vec<_> = parse(body.as_bytes()).collect();
    assert!(items.iter().any(|item| matches!(item, Ok(Item::Sample(_)))));
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let engine = start(fast(Flavour::Vllm)).await;
    engine.misbehave(Misbehaviour::Endless).await.unwrap();
    let mut stream = soon(TcpStream::connect(engine.address())).await.unwrap();
    soon(stream.write_all(ASK)).await.unwrap();
    let mut some = vec![0; 4 << 20];
    soon(stream.read_exact(&mut some)).await.unwrap();
}

#[tokio::test]
async fn a_slow_body_comes_in_pieces_and_whole() {
    let engine = start(fast(Flavour::LlamaCpp)).await;
    let every = Duration::from_millis(5);
    engine
        .misbehave(Misbehaviour::SlowBody { bytes: 200, every })
        .await
        .unwrap();
    let mut stream = soon(TcpStream::connect(engine.address())).await.unwrap();
    let ask = b"GET /metrics HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n";
    soon(stream.write_all(ask)).await.unwrap();
    let (mut pieces, mut answer) = (0, Vec::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = soon(stream.read(&mut buffer)).await.unwrap();
        if read == 0 {
            break;
        }
        pieces += 1;
        answer.extend_from_slice(&buffer[..read]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with(&engine.page().unwrap()), "{answer}");
    assert!(pieces > 1, "it came at once");
}

#[tokio::test]
async fn a_restart_forgets_counters_requests_and_connections() {
    let engine = start(EngineOptions::of(Flavour::Vllm)).await;
    let body = json!({"prompt": "one two", "max_tokens": 3});
    post(engine.address(), "/v1/completions", &body).await;
    let long = Request {
        prompt_tokens: 100,
        output_tokens: 10_000,
        ..Request::default()
    };
    engine.submit(long).unwrap();
    let mut kept = soon(TcpStream::connect(engine.address())).await.unwrap();
    soon(kept.write_all(ASK)).await.unwrap();
    let mut byte = [0];
    soon(kept.read_exact(&mut byte)).await.unwrap();
    engine.restart().await.unwrap();
    let mut rest = Vec::new();
    // Reset or ended: it ends.
    let _ = soon(kept.read_to_end(&mut rest)).await;
    let page = get(engine.address(), "/metrics").await;
    assert_eq!(sample(&page, "vllm:generation_tokens_total"), Some(0.0), "{page}");
    assert_eq!(sample(&page, "vllm:num_requests_running"), Some(0.0));
    assert_eq!(engine.totals()[0].received, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_request_up() {
    let engine = start(EngineOptions::of(Flavour::Vllm)).await;
    let body = json!({"prompt": "one", "max_tokens": 10_000, "stream": true}).to_string();
    let mut stream = soon(TcpStream::connect(engine.address())).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: engine\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    soon(stream.write_all(head.as_bytes())).await.unwrap();
    let mut some = [0; 64];
    soon(stream.read_exact(&mut some)).await.unwrap();
    assert_eq!(engine.occupancy()[0].running, 1);
    drop(stream);
    soon(async {
        while engine.occupancy()[0].running > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let page = engine.page().unwrap();
    assert!(
        page.contains("finished_reason=\"abort\",model_name=\"llama-3.1-8b\"} 1.0"),
        "{page}"
    );
}

#[tokio::test]
async fn gzip_is_for_those_who_take_it() {
    let engine = start(fast(Flavour::LlamaCpp)).await;
    let head = "GET /metrics HTTP/1.1\r\nAccept-Encoding: deflate, gzip;q=1.0";
    let answer = raw(engine.address(), head, "").await;
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..split]);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut page = String::new();
    GzDecoder::new(&answer[split + 4..])
        .read_to_string(&mut page)
        .unwrap();
    assert_eq!(page, engine.page().unwrap());
    assert!(
        !get(engine.address(), "/metrics")
            .await
            .contains("content-encoding")
    );
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let engine = start(EngineOptions {
        token: Some("secret".into()),
        ..fast(Flavour::Vllm)
    })
    .await;
    let with = async |line: &str| {
        text(
            engine.address(),
            &format!("GET /metrics HTTP/1.1\r\nAuthorization: {line}"),
            "",
        )
        .await
    };
    assert!(
        get(engine.address(), "/metrics")
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(with("Bearer wrong").await.starts_with("HTTP/1.1 401"));
    assert!(with("Bearer secret").await.starts_with("HTTP/1.1 200"));
    assert_eq!(engine.scrapes().values().sum::<u64>(), 3);
}
