//! The sequences of `e2e/sequences`, run against the real KEDA and HPA, and recorded.

use anyhow::{Result, ensure};

use crate::cluster::Case;
use crate::scripted::run::Scripted;
use crate::scripted::sequence::Sequence;

/// Runs a sequence, records it, and compares the replica counts with those it expects.
pub(crate) async fn record(case: Case, name: String, sequence: Sequence) -> Result<()> {
    let scripted = Scripted::start(&case, &sequence).await?;
    scripted.play(&sequence).await?;
    let counts = scripted.record(&name, &sequence).await?.replica_counts();
    if let Some(expected) = sequence.expect {
        ensure!(
            counts == expected,
            "the Deployment asked for {counts:?} replicas, expected {expected:?}"
        );
    }
    Ok(())
}
