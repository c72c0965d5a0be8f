//! From zero by push, and back to zero.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::scaler::{Agents, PUSH_STREAMS, Scalers};
use crate::rheostat::workload::{Workload, first_replicas_by_keda};
use crate::wait::{Seen, eventually};

/// How many times the way from zero is timed, each with a workload of its own.
const RUNS: usize = 5;

/// Only push can explain a start that comes much sooner than this.
const POLLING_INTERVAL: Duration = Duration::from_secs(30);

/// The longest that a push may take: a starved machine is slow, but no poll is this quick five
/// times in a row.
const BY_PUSH: Duration = Duration::from_secs(10);

/// A demand that appears while nothing runs starts the first replica by push, the HPA makes as many
/// as are asked for, and none is left when the demand has gone. Prints how long push took.
pub(crate) async fn from_zero_by_push(case: Case) -> Result<()> {
    case.gpu_nodes(2, 8).await?;
    let scalers = Scalers::start(&case, 1, Agents::None).await?;
    let mut workloads = Vec::new();
    for index in 0..RUNS {
        let name = format!("model-{index}");
        workloads.push(Workload::at_zero(&case, &name, &scalers.address(), POLLING_INTERVAL).await?);
    }
    let scaler = scalers.running.first().context("no scaler runs")?;
    eventually(
        "KEDA to open a push stream for each workload",
        PATIENCE,
        async || {
            let streams = scaler.metric(PUSH_STREAMS).await?;
            Ok(Seen::when(streams >= RUNS as f64, streams))
        },
    )
    .await?;

    let mut since_annotation = Vec::new();
    let mut since_push = Vec::new();
    for workload in &workloads {
        let asked = workload.demand(3).await?;
        let scaled = first_replicas_by_keda(&case, asked).await?;
        let pushed = pushed(&case, workload.name(), asked)?;
        since_annotation.push(milliseconds(asked, scaled));
        since_push.push(milliseconds(pushed, scaled));
        let took = since_annotation.last().copied().unwrap_or(f64::INFINITY);
        ensure!(
            took < BY_PUSH.as_secs_f64() * 1000.0,
            "{} had its first replica only after {took:.0} ms\n{}",
            workload.name(),
            scalers.explain(workload.name()).await
        );
        workload.runs(3).await?;
    }
    println!(
        "annotation_to_spec_replicas_ms: {}",
        summary(&mut since_annotation)
    );
    println!("push_to_spec_replicas_ms: {}", summary(&mut since_push));

    for workload in &workloads {
        workload.demand(0).await?;
    }
    for workload in &workloads {
        let ended = workload.runs(0).await;
        if ended.is_err() {
            return ended.context(scalers.explain(workload.name()).await);
        }
    }
    Ok(())
}

/// When the scaler pushed the activity of a workload, as its log has it.
fn pushed(case: &Case, name: &str, since: Timestamp) -> Result<Timestamp> {
    let log = case.folder.join("scaler-0.log");
    let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines
        .filter(|line| line.timestamp >= since && line.fields.message == "push")
        .find(|line| line.fields.name == name && line.fields.active)
        .map(|line| line.timestamp)
        .with_context(|| format!("the scaler has not pushed {name}"))
}

/// A line of the scaler's log.
#[derive(Deserialize)]
struct Line {
    timestamp: Timestamp,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    message: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    active: bool,
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

fn summary(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
    let (least, median, most) = (at(0), at(times.len() / 2), at(times.len().saturating_sub(1)));
    format!(
        "min {least:.1}, median {median:.1}, max {most:.1} ({} runs)",
        times.len()
    )
}
