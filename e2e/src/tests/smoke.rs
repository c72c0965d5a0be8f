//! The harness itself, with nothing of Rheostat in it.

use anyhow::{Context as _, Result, ensure};

use crate::cluster::Case;
use crate::scripted::recording::{Entry, What};
use crate::scripted::run::{Scripted, WORKLOAD};
use crate::scripted::sequence::{DEFAULT_TRIGGER, Sequence, Step};

const SEQUENCE: &str = "
description: from zero by push, up, and back to zero
pods: {fit: 8}
scaledObject:
  minReplicaCount: 0
  maxReplicaCount: 8
  pollingInterval: 15
  cooldownPeriod: 5
  triggers:
    - type: external-push
script:
  - {at: 0, value: 0, active: false}
ends: 0
";

/// A push starts the first replica, the value decides how many there are, inactivity ends them.
pub(crate) async fn from_zero_by_push_and_back(case: Case) -> Result<()> {
    let sequence: Sequence = serde_saphyr::from_str(SEQUENCE).context("parsing the sequence")?;
    let scripted = Scripted::start(&case, &sequence).await?;
    case.scaled_object_is(WORKLOAD, "Ready", "True").await?;
    scripted.push_is_open(DEFAULT_TRIGGER).await?;
    case.stays_at(WORKLOAD, 0, std::time::Duration::from_secs(3))
        .await?;

    scripted
        .take(&step("{at: 0, value: 10, active: true, push: true}")?)
        .await?;
    case.runs(WORKLOAD, 1).await?;
    scripted.take(&step("{at: 0, value: 70}")?).await?;
    case.runs(WORKLOAD, 7).await?;
    scripted.take(&step("{at: 0, value: 70, active: false}")?).await?;
    case.runs(WORKLOAD, 0).await?;

    let recording = scripted.record("from-zero-by-push-and-back", &sequence).await?;
    let counts = recording.replica_counts();
    ensure!(
        counts == [0, 1, 4, 7, 0],
        "the Deployment asked for {counts:?} replicas"
    );
    let delay = push_to_replicas(&recording.timeline).context("no push led to a replica")?;
    println!("push to spec.replicas: {delay:.1} ms");
    Ok(())
}

/// Milliseconds from the first push to the first replica count above zero.
pub(crate) fn push_to_replicas(timeline: &[Entry]) -> Option<f64> {
    let pushed = timeline
        .iter()
        .find(|entry| matches!(entry.what, What::Push { active: true, .. }))?
        .at_us;
    let scaled = timeline.iter().find(|entry| {
        entry.at_us >= pushed && matches!(entry.what, What::ScaleWrite { replicas: 1.., .. })
    })?;
    let micros = u32::try_from(scaled.at_us - pushed).ok()?;
    Some(f64::from(micros) / 1000.0)
}

fn step(yaml: &str) -> Result<Step> {
    serde_saphyr::from_str(yaml).with_context(|| format!("{yaml} is no step"))
}
