//! What the Kubernetes API says of workloads, kept as plain data that is cheap to read. Nothing here
//! writes; what is written is `rheostat-steward`'s.
//!
//! A [`Store`] holds, for each ScaledObject and ScaledJob with an external trigger, what it scales
//! and the pods that are there ([`Workload`]). [`watch_cluster`] fills it from a cluster; a
//! [`StoreWriter`] fills it by hand where there is none.
//!
//! # What is watched
//!
//! ScaledObjects, ScaledJobs and ScalingPolicies in the whole cluster, or in the namespaces asked for. Everything
//! else only where a workload needs it: in each namespace with a workload its pods, and
//! Deployments, StatefulSets, ReplicaSets or Jobs if one of them is scaled there. Other kinds are
//! read through their scale subresource.
//!
//! One watch per namespace rather than one for the cluster: most pods of a cluster of 10,000 nodes
//! are no business of ours, and a watch over all of them would send each change of each to every
//! scaler; filtering on our side would lose the pods that a selector written later matches. The
//! price is one connection for each namespace with workloads and for each kind scaled in it. All
//! pods of such a namespace are kept, as the few fields that scaling needs and their labels (about
//! 1 KiB each); what is not needed is skipped while the JSON is parsed.
//!
//! A workload is only ever joined with objects of its own namespace.
//!
//! # When the API server is away
//!
//! What is known stays, and [`Health`] says since when it may be old: at once where a connection
//! breaks, within [`WatchTiming::renew`] plus [`WatchTiming::grace`] (70 s) where one goes dead
//! without a word. A workload whose target or pods were never read says so in
//! [`Workload::target`]; it never looks like one without pods.
//!
//! # Permissions
//!
//! | group | resources | verbs |
//! |---|---|---|
//! | `keda.sh` | `scaledobjects`, `scaledjobs` | get, list, watch |
//! | `rheostat.dev` | `scalingpolicies` | get, list, watch |
//! | `apps` | `deployments`, `statefulsets`, `replicasets` | get, list, watch |
//! | `batch` | `jobs` | get, list, watch |
//! | (core) | `pods` | get, list, watch |
//! | `discovery.k8s.io` | `endpointslices` (the agents' namespace) | get, list, watch |
//! | `*` | `*/scale` | get |
//! | `kueue.x-k8s.io` | `localqueues`, `workloads` (where a trigger names a LocalQueue) | get, list, watch |
//! | (core) | `secrets`, `configmaps` (those that triggers name, in a Role of their namespace) | get |

mod cluster;
mod definition;
mod endpoints;
mod health;
mod index;
mod model;
mod objects;
mod policies;
mod quantity;
mod queues;
mod scales;
mod selector;
mod selector_index;
mod store;
mod values;
mod watch;

pub use cluster::{WatchGuard, WatchOptions, watch_cluster};
pub use endpoints::{EndpointWatch, ServiceEndpoint, watch_endpoints};
pub use health::{Health, Resource, WatchId, WatchState};
pub use model::{
    ContainerPort, HpaTolerances, MetricType, Pod, PodPhase, PolicyId, ScaleTarget, ScalingPolicy, Stale,
    TargetProblem, TriggerDefinition, TriggerKind, UnsupportedMetricType, Workload, WorkloadId, WorkloadKind,
};
pub use queues::{LocalQueue, QueueWatch, Work};
pub use store::{Snapshot, Store, StoreWriter};
pub use values::{Holder, Value, ValueRef, ValueWatch, Values};
pub use watch::WatchTiming;

/// A seed for the pauses of the client called `name`: another one in each process.
fn seed_of(name: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name)
}
