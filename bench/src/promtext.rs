//! How fast pages of metrics are read: ours, Prometheus' own parser in Go, and the crates there are.
//!
//! `openmetrics-parser` is not among them for its licence (LGPL), `prometheus-parse` because it leaves
//! out every metric with a colon in its name, which on this page are nearly all: see deny.toml.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rheostat_promtext::{Families, Item, Limits, Parser};
use tokio::time::Instant;

use crate::figures::Figures;

/// A page of vLLM with two engines.
const PAGE: &[u8] = include_bytes!("../../crates/promtext/tests/pages/vllm.txt");

/// What a scaler wants from it.
const WANTED: [&str; 8] = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
];

#[derive(Args)]
pub(crate) struct PromtextArguments {
    /// The Go program of crates/promtext/go.
    #[arg(long, value_name = "FILE")]
    oracle: PathBuf,
    /// Rounds, in each of which every parser has its turn; the fastest turn of each counts.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// The fastest turn of each parser so far, in MB/s.
#[derive(Default)]
struct Fastest {
    ours: f64,
    selected: f64,
    textparse: f64,
    textparse_labels: f64,
    prom_text_format_parser: f64,
    nom_openmetrics: f64,
}

/// Reads the page with one parser after the other.
pub(crate) fn run(options: &PromtextArguments) -> Result<Figures> {
    let text = std::str::from_utf8(PAGE).context("the page is not UTF-8")?;
    let wanted = Families::new(WANTED);
    let samples = ours(None)?;
    let wanted_samples = ours(Some(&wanted))?;
    ensure!(
        nom_openmetrics(text)? == samples,
        "nom-openmetrics does not read all of the page"
    );
    prom_text_format_parser(text)?;
    let mut fastest = Fastest::default();
    for _ in 0..options.rounds {
        let (without, with, read) = textparse(&options.oracle)?;
        ensure!(
            read == samples,
            "textparse reads {read} samples, we read {samples}"
        );
        fastest.textparse = fastest.textparse.max(without);
        fastest.textparse_labels = fastest.textparse_labels.max(with);
        fastest.ours = fastest.ours.max(speed(|| ours(None))?);
        fastest.selected = fastest.selected.max(speed(|| ours(Some(&wanted)))?);
        fastest.prom_text_format_parser = fastest
            .prom_text_format_parser
            .max(speed(|| prom_text_format_parser(text))?);
        fastest.nom_openmetrics = fastest.nom_openmetrics.max(speed(|| nom_openmetrics(text))?);
    }
    Ok(figures(&fastest, samples, wanted_samples))
}

fn figures(fastest: &Fastest, samples: usize, wanted_samples: usize) -> Figures {
    let mut figures = Figures::default();
    figures.add("page_bytes", PAGE.len() as f64, "the page");
    figures.add("page_samples", samples as f64, "samples on it");
    figures.add(
        "wanted_samples",
        wanted_samples as f64,
        "of these in eight wanted families",
    );
    figures.add("ours_mb_per_s", fastest.ours, "ours: all samples, labels walked");
    figures.add(
        "ours_selected_mb_per_s",
        fastest.selected,
        "ours: eight families, labels walked",
    );
    figures.add(
        "textparse_mb_per_s",
        fastest.textparse,
        "Prometheus' textparse, without labels",
    );
    figures.add(
        "textparse_labels_mb_per_s",
        fastest.textparse_labels,
        "the same, labels built",
    );
    figures.add(
        "prom_text_format_parser_mb_per_s",
        fastest.prom_text_format_parser,
        "crate prom_text_format_parser",
    );
    figures.add(
        "nom_openmetrics_mb_per_s",
        fastest.nom_openmetrics,
        "crate nom-openmetrics",
    );
    let textparse = fastest.textparse;
    figures.add(
        "ours_to_textparse_ratio",
        fastest.ours / textparse,
        "ours, all, to textparse without labels",
    );
    figures.add(
        "ours_selected_to_textparse_ratio",
        fastest.selected / textparse,
        "ours, eight families, to the same",
    );
    figures
}

/// The fastest of many short turns within half a second, in MB/s. crates/promtext/go does the same.
fn speed(mut read: impl FnMut() -> Result<usize>) -> Result<f64> {
    const TIME: Duration = Duration::from_millis(500);
    const TURN: Duration = Duration::from_millis(2);
    let began = Instant::now();
    let mut fastest = 0.0f64;
    while began.elapsed() < TIME {
        let turn = Instant::now();
        let mut pages = 0u32;
        while turn.elapsed() < TURN {
            black_box(read()?);
            pages += 1;
        }
        fastest = fastest.max(f64::from(pages) * PAGE.len() as f64 / 1e6 / turn.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

fn ours(families: Option<&Families>) -> Result<usize> {
    let mut samples = 0;
    let mut letters = 0;
    let mut sum = 0.0;
    for item in Parser::with(black_box(PAGE), &Limits::default(), families) {
        if let Item::Sample(sample) = item? {
            samples += 1;
            sum += sample.value;
            for (name, value) in &sample.labels {
                letters += name.len() + value.len();
            }
        }
    }
    black_box((letters, sum));
    Ok(samples)
}

fn prom_text_format_parser(text: &str) -> Result<usize> {
    let page = prom_text_format_parser::Scrape::parse(black_box(text));
    let page = page.map_err(|error| anyhow::anyhow!("prom_text_format_parser: {error:?}"))?;
    Ok(page.metrics.iter().map(|metric| metric.samples.len()).sum())
}

fn nom_openmetrics(text: &str) -> Result<usize> {
    let (_, families) = nom_openmetrics::parser::prometheus(black_box(text))
        .map_err(|error| anyhow::anyhow!("nom-openmetrics: {error:?}"))?;
    Ok(families.iter().map(|family| family.samples.len()).sum())
}

/// MB/s without labels and with them, and the number of samples.
fn textparse(oracle: &Path) -> Result<(f64, f64, usize)> {
    let page = tempfile::NamedTempFile::new()?;
    std::fs::write(page.path(), PAGE)?;
    let output = Command::new(oracle)
        .arg("bench")
        .arg(page.path())
        .arg("0.5")
        .output()
        .with_context(|| format!("{} cannot be started", oracle.display()))?;
    ensure!(output.status.success(), "{} failed", oracle.display());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let figure = |key: &str| {
        said[key]
            .as_f64()
            .with_context(|| format!("textparse says no {key}"))
    };
    Ok((
        figure("textparse_mb_per_s")?,
        figure("textparse_labels_mb_per_s")?,
        figure("samples")? as usize,
    ))
}
