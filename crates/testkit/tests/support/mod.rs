//! What tests of mock engines share: plain HTTP over sockets, without a client that repairs things.

// Not every test file uses everything.
#![allow(dead_code, reason = "shared by test files")]

use std::net::SocketAddr;
use std::time::Duration;

use rheostat_testkit::engine::{EngineOptions, Flavour, MockEngine};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What any step of a test may take before it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, step)
        .await
        .expect("it takes too long")
}

/// A fast engine: iterations of a tenth of a millisecond.
pub(crate) fn fast(flavour: Flavour) -> EngineOptions {
    let mut options = EngineOptions::of(flavour);
    options.model.iteration = options.model.iteration.at_speed(100.0);
    options
}

pub(crate) async fn start(options: EngineOptions) -> MockEngine {
    MockEngine::start(options).await.unwrap()
}

/// Sends one request on a connection of its own and reads until it ends.
pub(crate) async fn raw(address: SocketAddr, head: &str, body: &str) -> Vec<u8> {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
    let request = format!(
        "{head}\r\nHost: engine\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    // However it ends, what came is what counts.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    answer
}

pub(crate) async fn text(address: SocketAddr, head: &str, body: &str) -> String {
    String::from_utf8_lossy(&raw(address, head, body).await).into_owned()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    text(address, &format!("GET {path} HTTP/1.1"), "").await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &Value) -> String {
    text(address, &format!("POST {path} HTTP/1.1"), &body.to_string()).await
}

/// The JSON in an answer, chunked or not.
pub(crate) fn json_of(answer: &str) -> Value {
    let start = answer.find("\r\n\r\n").unwrap() + 4;
    let body = &answer[start..];
    let first = body
        .find(['{', '['])
        .unwrap_or_else(|| panic!("no JSON in {answer}"));
    serde_json::Deserializer::from_str(&body[first..])
        .into_iter()
        .next()
        .unwrap()
        .unwrap()
}

pub(crate) fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .find(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|value| value.parse().ok())
}
