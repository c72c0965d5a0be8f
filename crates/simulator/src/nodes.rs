use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cold_start::Delay;
use crate::scenario::SimulationError;

/// Nodes with GPUs, and what adds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePool {
    /// GPUs of each node.
    pub gpus_per_node: u32,
    /// Nodes that are always there.
    pub standing: u32,
    /// GPUs that may exist at once (the quota), those of standing nodes too.
    pub max_gpus: u32,
    /// From asking for a node until replicas can be placed on it.
    pub provision: Delay,
    /// A node beyond the standing ones goes when it has been empty for so long.
    pub removed_after: Duration,
    /// Times in which no new node is to be had.
    pub stock_outs: Vec<StockOut>,
    /// Whether nodes beyond the standing ones are taken away by whoever lent them.
    pub spot: Option<Spot>,
}

/// A time in which no new node is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockOut {
    /// When it begins, since the beginning of the trace.
    pub from: Duration,
    /// How long it lasts.
    pub lasting: Duration,
}

/// How spot nodes are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spot {
    /// How long a node lives on average; exponentially distributed.
    pub mean_life: Duration,
    /// How long before it goes its replicas are told, and get no more requests.
    pub notice: Duration,
}

impl NodePool {
    pub(crate) fn check(&self, gpus: u32) -> Result<(), SimulationError> {
        let wrong = |key, value: String, allowed| Err(SimulationError::Scenario { key, value, allowed });
        self.provision.check("nodes.provision")?;
        if !(gpus..=1024).contains(&self.gpus_per_node) {
            return wrong(
                "nodes.gpus_per_node",
                self.gpus_per_node.to_string(),
                "at least the GPUs of a replica, at most 1024",
            );
        }
        if u64::from(self.standing) * u64::from(self.gpus_per_node) > u64::from(self.max_gpus) {
            return wrong("nodes.standing", self.standing.to_string(), "within max_gpus");
        }
        if self.max_gpus > 1_000_000 {
            return wrong("nodes.max_gpus", self.max_gpus.to_string(), "at most 1000000");
        }
        if self.stock_outs.len() > 1000 {
            return wrong(
                "nodes.stock_outs",
                self.stock_outs.len().to_string(),
                "at most 1000",
            );
        }
        if let Some(spot) = self.spot
            && spot.mean_life < Duration::from_secs(60)
        {
            return wrong(
                "nodes.spot.mean_life",
                format!("{:?}", spot.mean_life),
                "at least 60 s",
            );
        }
        Ok(())
    }
}
