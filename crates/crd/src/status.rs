use serde::{Deserialize, Serialize};

use crate::StatusError;

/// What the scaler says of a policy under `status`. Numbers with a unit are texts, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingPolicyStatus {
    /// `metadata.generation` of the spec that this is about.
    pub observed_generation: i64,
    /// Which replica of the scaler wrote this, as the Lease calls it: the others follow it only while it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Replicas that its workloads are to have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// Why, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The least part of the requests that kept the objective of late, among its workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attainment: Option<String>,
    /// Each workload that uses it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadStatus>,
    /// How it fares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl ScalingPolicyStatus {
    /// Reads `status` as the API server hands it over; an empty one where nobody has written any.
    ///
    /// # Errors
    ///
    /// Where it is of another shape.
    pub fn read(status: &serde_json::Value) -> Result<Self, StatusError> {
        if status.is_null() {
            return Ok(Self::default());
        }
        Ok(Self::deserialize(status)?)
    }
}

/// One workload that uses a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Name of the ScaledObject.
    pub name: String,
    /// Replicas that it is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// Whether there is demand, or has been not long enough ago. The replicas of the scaler that do not lead
    /// answer with this and `desired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// What is not known of it, so that nothing is taken away. The replicas of the scaler that do not lead answer
    /// so, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Why, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Requests per second that a replica serves within the objective, as far as is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// How sure that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
    /// Time from asking for a replica to its serving, 90th percentile, as far as is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<String>,
    /// GPUs that its pods were last seen to hold each: at zero there is none to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<f64>,
    /// Part of the requests that kept the objective of late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attainment: Option<String>,
    /// What is left of its tightest budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<String>,
    /// What was learned, for the scaler itself: it survives restarts here, and all replicas of the scaler
    /// take it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<String>,
}

/// A condition, as Kubernetes has them (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person.
    #[serde(default)]
    pub message: String,
    /// Since when, RFC 3339.
    pub last_transition_time: String,
    /// `metadata.generation` of the spec that it is about.
    #[serde(default)]
    pub observed_generation: i64,
}

/// Which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// The policy means something and every workload that uses it is decided for.
    Ready,
    /// Its workloads' capacity and cold start are known from what was seen of them.
    Learned,
    /// A budget is used up.
    BudgetExceeded,
    /// A limit keeps a workload from the replicas that it needs.
    Limited,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl ConditionKind {
    /// As Kubernetes spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Learned => "Learned",
            Self::BudgetExceeded => "BudgetExceeded",
            Self::Limited => "Limited",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn none_is_empty_and_one_of_another_shape_is_said() {
        let read = |status| ScalingPolicyStatus::read(&status);
        assert_eq!(read(json!(null)).unwrap(), ScalingPolicyStatus::default());
        assert_eq!(
            read(json!({"desired": 3, "of a later version": 1}))
                .unwrap()
                .desired,
            Some(3)
        );
        let error = read(json!({"desired": "three"})).unwrap_err().to_string();
        assert!(
            error.starts_with("status: ") && error.contains("three"),
            "{error}"
        );
    }
}
