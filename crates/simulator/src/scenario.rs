use std::time::Duration;

use rheostat_sizing::Slo;
use serde::{Deserialize, Serialize};

use crate::cold_start::ColdStart;
use crate::engine::{EngineModel, InvalidEngine};
use crate::nodes::NodePool;

/// All that a run depends on, but for the requests and who decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How a replica serves.
    pub engine: EngineModel,
    /// What a start takes.
    pub cold_start: ColdStart,
    /// The nodes that replicas need; `None` where there is always a GPU.
    pub nodes: Option<NodePool>,
    /// Which replica gets a request.
    pub router: Router,
    /// How old what is seen of replicas is.
    pub delays: Delays,
    /// How often the HPA controller looks (`--horizontal-pod-autoscaler-sync-period`).
    pub hpa_sync_period: Duration,
    /// How often readings fail.
    pub failures: ReadingFailures,
    /// How exactly replicas are simulated.
    pub mode: Mode,
    /// Replicas that serve when the trace begins: every policy starts warm.
    pub warm: u32,
    /// What is to be kept.
    pub slo: Slo,
    /// Requests that arrive before this, and what replicas cost before it, are not scored: a policy may
    /// learn from them.
    pub scored_from: Duration,
    /// When it ends; with the last request where there is no end.
    pub until: Option<Duration>,
    /// Whether something in front of the workload tells how many requests wait there (a gateway).
    pub gateway: bool,
    /// No more replicas exist at once, whoever asks for them: the API server's and everybody's sanity.
    pub max_replicas: u32,
    /// Of all randomness.
    pub seed: u64,
}

/// Which replica gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Router {
    /// One after the other, as a Service does.
    RoundRobin,
    /// The one with the fewest requests, the least recently chosen of several.
    #[default]
    LeastRequest,
}

/// How exactly replicas are simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each iteration counts, in closed form from one event to the next.
    #[default]
    Iteration,
    /// Iterations are a flow: faster, and exact only on average.
    Fluid,
    /// Each iteration by itself, without a closed form: what [`Mode::Iteration`] is held to and compared with.
    /// It gives the same to the picosecond, about ten times as slowly.
    Stepping,
}

/// How old what is seen of replicas is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delays {
    /// Time between two scrapes of an engine.
    pub scrape: Duration,
    /// What rates and latencies cover.
    pub window: Duration,
    /// From a scrape to when its readings can be seen.
    pub visible_after: Duration,
}

/// How often readings fail: for a while, an engine does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingFailures {
    /// Outages of one replica's readings per hour, at random times.
    pub per_hour: f64,
    /// How long each takes.
    pub lasting: Duration,
}

/// What cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulationError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] InvalidEngine),
    /// A field of the scenario.
    #[error("scenario: {key} is {value}, it must be {allowed}")]
    Scenario {
        /// The field.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A request.
    #[error("request {number} (arrival {at:?}): {problem}")]
    Request {
        /// Its place in the trace, from 0.
        number: u64,
        /// When it arrives.
        at: Duration,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The ScaledObject.
    #[error("the ScaledObject would be refused: {0}")]
    ScaledObject(#[from] rheostat_kubescale::keda::InvalidScaledObject),
}

/// The HPA controller's own default. A longer one would let every decision wait for longer than it does in
/// nearly all clusters.
const HPA_SYNC_PERIOD: Duration = Duration::from_secs(15);

impl Default for Delays {
    /// As our agent does: a scrape each 2 s, windows of 60 s; and a second until it is in a decision.
    fn default() -> Self {
        Self {
            scrape: Duration::from_secs(2),
            window: Duration::from_secs(60),
            visible_after: Duration::from_secs(1),
        }
    }
}

impl Scenario {
    /// One warm replica, starts of 180 s, no limits of nodes, nothing that fails.
    #[must_use]
    pub fn new(engine: EngineModel, slo: Slo) -> Self {
        Self {
            engine,
            cold_start: ColdStart::fixed(Duration::from_secs(180)),
            nodes: None,
            router: Router::default(),
            delays: Delays::default(),
            hpa_sync_period: HPA_SYNC_PERIOD,
            failures: ReadingFailures::default(),
            mode: Mode::default(),
            warm: 1,
            slo,
            scored_from: Duration::ZERO,
            until: None,
            gateway: true,
            max_replicas: 10_000,
            seed: 0,
        }
    }

    /// Whether it can be simulated.
    ///
    /// # Errors
    /// The first field that cannot be as it is.
    pub fn check(&self) -> Result<(), SimulationError> {
        const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);
        const MOST_REPLICAS: u32 = 100_000;
        self.engine.check()?;
        self.cold_start.check()?;
        if let Some(nodes) = &self.nodes {
            nodes.check(self.engine.gpus)?;
        }
        let Delays {
            scrape,
            window,
            visible_after,
        } = self.delays;
        let hour = Duration::from_secs(3600);
        let spans = [
            (
                "delays.scrape",
                scrape,
                Duration::from_millis(100),
                hour,
                "0.1 s to 1 h",
            ),
            (
                "delays.window",
                window,
                scrape,
                scrape.saturating_mul(1000),
                "1 to 1000 scrapes",
            ),
            (
                "delays.visible_after",
                visible_after,
                Duration::ZERO,
                hour,
                "at most 1 h",
            ),
            (
                "hpa_sync_period",
                self.hpa_sync_period,
                Duration::from_secs(1),
                hour,
                "1 s to 1 h",
            ),
            (
                "failures.lasting",
                self.failures.lasting,
                Duration::ZERO,
                24 * hour,
                "at most 24 h",
            ),
            (
                "scored_from",
                self.scored_from,
                Duration::ZERO,
                LONGEST,
                "at most 100 days",
            ),
            (
                "until",
                self.until.unwrap_or(LONGEST),
                Duration::from_nanos(1),
                LONGEST,
                "more than 0 and at most 100 days",
            ),
        ];
        for (key, value, least, most, allowed) in spans {
            if value < least || value > most {
                return Err(SimulationError::Scenario {
                    key,
                    value: format!("{value:?}"),
                    allowed,
                });
            }
        }
        if !(0.0..=3600.0).contains(&self.failures.per_hour) {
            return Err(SimulationError::Scenario {
                key: "failures.per_hour",
                value: self.failures.per_hour.to_string(),
                allowed: "0 to 3600",
            });
        }
        if !(1..=MOST_REPLICAS).contains(&self.max_replicas) {
            return Err(SimulationError::Scenario {
                key: "max_replicas",
                value: self.max_replicas.to_string(),
                allowed: "1 to 100000",
            });
        }
        if self.warm > self.max_replicas {
            return Err(SimulationError::Scenario {
                key: "warm",
                value: self.warm.to_string(),
                allowed: "at most max_replicas",
            });
        }
        Ok(())
    }
}
