//! The sequences of `e2e/sequences`, run against the real KEDA and HPA, recorded, and compared with
//! what the models in `rheostat-kubescale` make of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rheostat_kubescale::recording::{self, Tolerance};

use crate::cluster::Case;
use crate::scripted::recording::Recording;
use crate::scripted::run::Scripted;
use crate::scripted::sequence::Sequence;

/// Runs a sequence, records it, compares the replica counts with those it expects, and its decisions
/// with those of the model.
pub(crate) async fn record(case: Case, name: String, sequence: Sequence) -> Result<()> {
    let scripted = Scripted::start(&case, &sequence).await?;
    let sequence = scripted.play(&sequence).await?;
    let recording = scripted.record(&name, &sequence).await?;
    let counts = recording.replica_counts();
    if let Some(expected) = sequence.expect {
        ensure!(
            counts == expected,
            "the Deployment asked for {counts:?} replicas, expected {expected:?}"
        );
    }
    the_model_agrees(&recording)
}

fn the_model_agrees(recording: &Recording) -> Result<()> {
    let recording: recording::Recording =
        serde_json::from_str(&recording.to_text()?).context("the model reads the recording")?;
    let real = recording.changes();
    let modelled = recording::replay(&recording).context("replaying the recording in the model")?;
    let polling = recording.settings.scaled_object.polling_interval.unwrap_or(30);
    // The order of the decisions must be the same; their times differ by how long the controllers
    // take, seconds on a busy machine. KEDA polls by its own timer, and where a cooldown ends close
    // to a poll, the next one may be the first to act on it.
    let tolerance = Tolerance {
        hpa: Duration::from_secs(5),
        keda: Duration::from_secs(u64::from(polling) + 5),
    };
    recording::compare(&real, &modelled, tolerance)
        .with_context(|| format!("the model decides otherwise\n  really: {real:?}\n  modelled: {modelled:?}"))
}
