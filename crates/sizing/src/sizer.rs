use serde::{Deserialize, Serialize};

use crate::{Decision, Figures, Intent, Observation, Outcome, Step, StepKind};

/// Decides how many replicas a workload needs, and remembers what it has seen.
///
/// A plain value: saved, restored and handed the same observations it decides the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizer {
    learned: Learned,
}

/// What is worth keeping over a restart: small, and the same for all replicas of the scaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {}

impl Sizer {
    /// Of a workload that has not been seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many replicas `intent` needs, given what is seen: as many as there are, within its limits.
    pub fn decide(&mut self, intent: &Intent, observation: &Observation) -> Decision {
        let replicas = observation
            .replicas
            .clamp(intent.min_replicas.min(intent.max_replicas), intent.max_replicas);
        Decision {
            at: observation.now,
            replicas,
            active: replicas > 0,
            outcome: match replicas {
                0 => Outcome::AtZero,
                _ => Outcome::Known,
            },
            steps: vec![Step {
                kind: StepKind::Limit,
                replicas,
                why: format!("{} replicas are asked for now", observation.replicas),
            }],
            figures: Figures::default(),
        }
    }

    /// What it has learned so far.
    #[must_use]
    pub fn learned(&self) -> Learned {
        self.learned.clone()
    }

    /// Takes over what was learned before, here or by another replica of the scaler.
    pub fn adopt(&mut self, learned: Learned) {
        self.learned = learned;
    }
}
