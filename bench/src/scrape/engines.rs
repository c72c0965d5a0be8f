//! The engines that are scraped: many addresses, one page, which changes as under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use rheostat_reading::Clock;
use rheostat_testkit::engine::{Arrivals, EngineOptions, Lengths, MockEngine, Pace};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::process;

/// `rheostat-bench serve-engines`.
#[derive(Args)]
pub(crate) struct EnginesArguments {
    /// How many.
    #[arg(long)]
    engines: usize,
}

/// What all engines serve at this moment, as whole answers.
#[derive(Default)]
struct Served {
    plain: Vec<u8>,
    gzip: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    served: ArcSwap<Served>,
    pages: AtomicU64,
    bytes: AtomicUsize,
    compressed: AtomicUsize,
}

/// Bytes of a page.
const PAGE: usize = 100 * 1024;

/// Requests a second of the engine whose page is shown.
const RATE: f64 = 20.0;

const MISSING: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Says its addresses, and then, whenever it is told anything, how many pages were served and how
/// large one is, plain and compressed.
pub(crate) fn serve_engines(options: &EnginesArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shared = Arc::new(Shared::default());
        let engine = engine().await?;
        render(&engine, &shared)?;
        let mut addresses = Vec::new();
        for _ in 0..options.engines {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            addresses.push(listener.local_addr()?);
            tokio::spawn(listen(listener, Arc::clone(&shared)));
        }
        say(addresses.iter().map(SocketAddr::to_string));
        let end = CancellationToken::new();
        std::thread::spawn({
            let (end, shared) = (end.clone(), Arc::clone(&shared));
            move || {
                while process::told().is_ok() {
                    let bytes =
                        [&shared.bytes, &shared.compressed].map(|bytes| bytes.load(Ordering::Relaxed));
                    let pages = shared.pages.load(Ordering::Relaxed).to_string();
                    say([pages].into_iter().chain(bytes.map(|bytes| bytes.to_string())));
                }
                end.cancel();
            }
        });
        tokio::select! {
            () = end.cancelled() => Ok(()),
            failed = work(&engine, &shared) => failed,
        }
    })
}

/// A vLLM with as many data-parallel ranks as make a page of the wanted size.
async fn engine() -> Result<MockEngine> {
    let mut ranks = 1;
    loop {
        let engine = MockEngine::start(EngineOptions {
            ranks,
            ..EngineOptions::default()
        })
        .await?;
        if engine.page().context("no page")?.len() >= PAGE {
            return Ok(engine);
        }
        ranks += 1;
    }
}

/// Lets requests come, and shows what comes of it each half second.
async fn work(engine: &MockEngine, shared: &Shared) -> Result<()> {
    let clock = Clock::system();
    let lengths = |mean| Lengths::Exponential { mean, limit: 4096 };
    let mut arrivals = Arrivals::new(
        clock.now(),
        RATE,
        Pace::Poisson,
        lengths(500.0),
        lengths(150.0),
        7,
    );
    loop {
        sleep(Duration::from_millis(500)).await;
        while let Some((_, request)) = arrivals.take(clock.now()) {
            engine.submit(request)?;
        }
        render(engine, shared)?;
    }
}

fn render(engine: &MockEngine, shared: &Shared) -> Result<()> {
    let page = engine.page().context("no page")?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(page.as_bytes())?;
    let compressed = encoder.finish()?;
    shared.bytes.store(page.len(), Ordering::Relaxed);
    shared.compressed.store(compressed.len(), Ordering::Relaxed);
    shared.served.store(Arc::new(Served {
        plain: answer("", page.as_bytes()),
        gzip: answer("Content-Encoding: gzip\r\n", &compressed),
    }));
    Ok(())
}

fn answer(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{coding}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(serve(connection, Arc::clone(&shared)));
    }
}

/// Answers requests, which have no bodies, until the other side has enough.
async fn serve(mut connection: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::with_capacity(1024);
    loop {
        match connection.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return,
        }
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&request).to_lowercase();
        let served = shared.served.load_full();
        let answer = if !head.starts_with("get /metrics ") {
            MISSING
        } else {
            shared.pages.fetch_add(1, Ordering::Relaxed);
            let gzip = head
                .lines()
                .any(|line| line.starts_with("accept-encoding:") && line.contains("gzip"));
            if gzip { &served.gzip } else { &served.plain }
        };
        if connection.write_all(answer).await.is_err() {
            return;
        }
        request.clear();
    }
}

/// Lines, closed by an empty one.
pub(super) fn say(lines: impl IntoIterator<Item = String>) {
    let mut text = String::new();
    for line in lines {
        text += &line;
        text.push('\n');
    }
    println!("{text}");
}
