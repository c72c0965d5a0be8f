use std::sync::Arc;
use std::time::Duration;

use rheostat_simulator::EngineModel;
use rheostat_sizing::Slo;

use crate::baseline::BaselineError;
use crate::foresight::Foresight;

/// The workload, and what its user would configure whichever autoscaler it has.
#[derive(Clone, Debug)]
pub struct Context {
    /// Never fewer replicas, 0 allowed.
    pub min_replicas: u32,
    /// Never more replicas.
    pub max_replicas: u32,
    /// The latencies to keep.
    pub slo: Slo,
    /// How long a start takes, from asking for a replica to its serving.
    pub cold_start: Duration,
    /// How the engine serves: its slots, which a user knows, and how fast it is, for those that bring a
    /// performance profile along.
    pub engine: EngineModel,
    /// The requests to come: only for those that are told the future.
    pub foresight: Option<Arc<Foresight>>,
}

impl Context {
    /// Replicas beyond which nothing here has been tried; it bounds what a search may cost.
    pub const MOST_REPLICAS: u32 = 100_000;

    pub(crate) fn check(&self) -> Result<(), BaselineError> {
        let wrong = |key, value: String, allowed| Err(BaselineError::Context { key, value, allowed });
        if !(1..=Self::MOST_REPLICAS).contains(&self.max_replicas) {
            return wrong("max_replicas", self.max_replicas.to_string(), "1 to 100000");
        }
        if self.min_replicas > self.max_replicas {
            return wrong(
                "min_replicas",
                self.min_replicas.to_string(),
                "at most max_replicas",
            );
        }
        self.engine.check().map_err(BaselineError::Engine)
    }
}
