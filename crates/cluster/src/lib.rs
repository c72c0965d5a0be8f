//! Workloads, scale targets and pods, as the Kubernetes API tells them.

mod model;

pub use model::{
    HpaTolerances, MetricType, Pod, PodPhase, ScaleTarget, Stale, TargetProblem, TriggerDefinition,
    TriggerKind, UnsupportedMetricType, Workload, WorkloadId, WorkloadKind,
};
