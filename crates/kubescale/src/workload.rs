use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hpa;
use crate::keda;

/// What the autoscalers see of the scale target at one moment. They write `spec_replicas`; the rest
/// belongs to whoever runs the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `spec.replicas` of the scale: what is wanted.
    pub spec_replicas: i32,
    /// `status.replicas` of the scale: the pods that exist, ready or not.
    pub status_replicas: i32,
    /// Pods that match the scale's selector; more than `status_replicas` while some terminate.
    pub pods: i32,
    /// Those of them that run and are ready.
    pub ready_pods: i32,
}

impl Workload {
    /// A workload whose pods are all there and ready.
    #[must_use]
    pub const fn settled(replicas: i32) -> Self {
        Self {
            spec_replicas: replicas,
            status_replicas: replicas,
            pods: replicas,
            ready_pods: replicas,
        }
    }
}

/// Who changed a replica count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writer {
    /// KEDA's operator: from and to zero or idle, up to the minimum, and pauses.
    Keda,
    /// The HPA controller: everything between minimum and maximum.
    Hpa,
}

/// A change of the replica count.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// `spec.replicas` before.
    pub from: i32,
    /// `spec.replicas` after.
    pub to: i32,
    /// By whom, and why.
    pub cause: Cause,
}

/// Why a replica count was changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// KEDA's reason.
    Keda(keda::ScaleCause),
    /// The HPA's reason; the sync has each step.
    Hpa(hpa::RescaleCause),
}

impl Decision {
    /// Who made it.
    #[must_use]
    pub const fn by(&self) -> Writer {
        match self.cause {
            Cause::Keda(_) => Writer::Keda,
            Cause::Hpa(_) => Writer::Hpa,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keda(cause) => write!(out, "KEDA: {cause}"),
            Self::Hpa(cause) => write!(out, "HPA: {cause}"),
        }
    }
}
