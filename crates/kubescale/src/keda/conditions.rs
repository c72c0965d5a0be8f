use serde::{Deserialize, Serialize};

/// The conditions of a ScaledObject's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `Ready`: whether the ScaledObject is valid and its triggers can be read.
    pub ready: Condition,
    /// `Active`: whether a trigger is.
    pub active: Condition,
    /// `Fallback`: whether a trigger's value is made up.
    pub fallback: Condition,
    /// `Paused`.
    pub paused: Condition,
    /// `HPAActive`: the HPA's `ScalingActive`; true also where KEDA has scaled to zero.
    pub hpa_active: Condition,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Its status.
    pub status: Status,
    /// Its reason, in KEDA's words; empty until first set.
    pub reason: &'static str,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Status {
    True,
    False,
    #[default]
    Unknown,
}

impl Condition {
    pub(crate) const fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// Whether its status is True.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == Status::True
    }
}
