use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Store, WatchState};
use rheostat_decisions::DecisionLog;
use rheostat_fleet::Fleet;
use rheostat_promtext::{Counter, Histogram};
use rheostat_reading::{Clock, Timestamp};

use crate::inquiries::InquiryStats;
use crate::metrics::Calls;
use crate::run::Agreement;
use crate::snapshot::Snapshots;

/// What the parts of a running scaler share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) started_at: Timestamp,
    pub(crate) cluster: Store,
    pub(crate) fleet: Fleet,
    pub(crate) inquiries: InquiryStats,
    pub(crate) snapshots: Snapshots,
    pub(crate) calls: Arc<Calls>,
    pub(crate) decisions: Arc<DecisionLog>,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) evaluations: Counter,
    pub(crate) panics: Counter,
    pub(crate) evaluation_duration: Histogram,
}

/// Without a new evaluation for so long, in periods, the process has lost its heart.
const MISSED_PERIODS: u32 = 30;

/// The shortest time that counts as such a loss: a starved machine is not a broken process.
const LEAST_SILENCE: Duration = Duration::from_secs(10);

/// How long a new scaler may wait for its agents before it is ready without the silent ones. To be
/// ready without any costs every workload an error; to wait for dead ones costs the others answers.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

impl State {
    /// Whether evaluations go on; else since when not.
    pub(crate) fn alive(&self) -> Result<(), String> {
        let Some(taken_at) = self.snapshots.latest().taken_at else {
            // The first evaluation waits for nothing, so this is the moment of the start.
            return Ok(());
        };
        let age = self.clock.now().since(taken_at);
        if age > LEAST_SILENCE.max(crate::EVALUATION_PERIOD * MISSED_PERIODS) {
            return Err(format!("the last evaluation was {age:.0?} ago"));
        }
        Ok(())
    }

    /// Whether answers rest on something: the cluster was listed, and workloads were evaluated.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.alive()?;
        let snapshot = self.snapshots.latest();
        if let Some(reason) = &snapshot.unfounded {
            let cluster = self.cluster.snapshot();
            let waiting: Vec<_> = cluster
                .health
                .iter()
                .filter(|(_, health)| matches!(health, WatchState::Starting { .. }))
                .map(|(watch, health)| format!("{watch}: {}", health.problem().unwrap_or("not listed yet")))
                .collect();
            return Err(if waiting.is_empty() {
                reason.clone()
            } else {
                format!("{reason}: {}", waiting.join("; "))
            });
        }
        let Some(taken_at) = snapshot.taken_at else {
            return Err("nothing was evaluated yet".to_owned());
        };
        let fleet = self.fleet.view();
        let silent: Vec<_> = fleet
            .agents()
            .iter()
            .filter(|agent| agent.last_snapshot_at.is_none_or(|heard| heard > taken_at))
            .map(|agent| agent.address.as_str())
            .collect();
        if silent.is_empty() || self.clock.now().since(self.started_at) > FIRST_CONTACT {
            return Ok(());
        }
        Err(format!("not yet heard of the agents at {}", silent.join(", ")))
    }
}
