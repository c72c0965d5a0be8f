use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Stale, Workload, WorkloadKind};

/// How each watch on the Kubernetes API fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    watches: BTreeMap<WatchId, WatchState>,
}

/// Which watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId {
    /// What is watched.
    pub resource: Resource,
    /// Where; `None` is the whole cluster.
    pub namespace: Option<String>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `keda.sh/v1alpha1 scaledobjects`.
    ScaledObjects,
    /// `keda.sh/v1alpha1 scaledjobs`.
    ScaledJobs,
    /// `rheostat.dev/v1alpha1 scalingpolicies`.
    ScalingPolicies,
    /// `apps/v1 deployments`.
    Deployments,
    /// `apps/v1 statefulsets`.
    StatefulSets,
    /// `apps/v1 replicasets`.
    ReplicaSets,
    /// `batch/v1 jobs` that belong to a ScaledJob.
    Jobs,
    /// `v1 pods`.
    Pods,
    /// `discovery.k8s.io/v1 endpointslices`.
    EndpointSlices,
}

/// How one watch fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// Nothing was listed yet; with the problem, where there is one.
    Starting {
        /// What stands in the way.
        problem: Option<String>,
    },
    /// Listed, and changes arrive as they happen.
    Current,
    /// Was current; what is known stays and grows old.
    Broken(Stale),
    /// The cluster does not serve this resource (KEDA without its ScaledJob CRD).
    Missing,
}

impl Health {
    /// The state of one watch; `None` where there is no such watch.
    #[must_use]
    pub fn get(&self, watch: &WatchId) -> Option<&WatchState> {
        self.watches.get(watch)
    }

    /// Every watch with its state.
    pub fn iter(&self) -> impl Iterator<Item = (&WatchId, &WatchState)> {
        self.watches.iter()
    }

    /// Whether everything has been listed at least once; true where nothing is watched. ScalingPolicies do
    /// not count: whoever has none, or may not read them, is not to wait for them.
    #[must_use]
    pub fn listed(&self) -> bool {
        !self.watches.iter().any(|(watch, state)| {
            watch.resource != Resource::ScalingPolicies && matches!(state, WatchState::Starting { .. })
        })
    }

    /// How the watch on the ScalingPolicies of `namespace` fares; `None` where there is none.
    #[must_use]
    pub fn of_policies(&self, namespace: &str) -> Option<&WatchState> {
        let mut watches = self.watches.iter();
        let (_, state) = watches.find(|(watch, _)| {
            watch.resource == Resource::ScalingPolicies
                && watch
                    .namespace
                    .as_ref()
                    .is_none_or(|watched| watched == namespace)
        })?;
        Some(state)
    }

    /// The watch that has been broken longest among those that tell of `workload`: what is said
    /// of it may be as old as that.
    #[must_use]
    pub fn stale_for(&self, workload: &Workload) -> Option<(&WatchId, &Stale)> {
        let namespace = &workload.id.namespace;
        let definition = match workload.id.kind {
            WorkloadKind::ScaledObject => Resource::ScaledObjects,
            WorkloadKind::ScaledJob => Resource::ScaledJobs,
        };
        let target = workload
            .target
            .as_ref()
            .ok()
            .and_then(|target| Resource::of_target(&target.api_version, &target.kind));
        self.watches
            .iter()
            .filter(|(watch, _)| {
                watch
                    .namespace
                    .as_ref()
                    .is_none_or(|watched| watched == namespace)
            })
            .filter(|(watch, _)| {
                watch.resource == definition
                    || watch.resource == Resource::Pods
                    || target == Some(watch.resource)
            })
            .filter_map(|(watch, state)| match state {
                WatchState::Broken(stale) => Some((watch, stale)),
                _ => None,
            })
            .min_by_key(|(_, stale)| stale.since)
    }

    pub(crate) fn set(&mut self, watch: WatchId, state: WatchState) {
        self.watches.insert(watch, state);
    }

    pub(crate) fn forget(&mut self, watch: &WatchId) {
        self.watches.remove(watch);
    }
}

impl WatchState {
    /// The problem, where there is one.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Starting { problem } => problem.as_deref(),
            Self::Broken(stale) => Some(&stale.reason),
            Self::Current | Self::Missing => None,
        }
    }
}

impl Resource {
    /// The resource that is watched for a scale target, where its kind is one that is watched.
    pub(crate) fn of_target(api_version: &str, kind: &str) -> Option<Self> {
        let watched = [
            Self::Deployments,
            Self::StatefulSets,
            Self::ReplicaSets,
            Self::Jobs,
        ];
        watched
            .into_iter()
            .find(|resource| resource.target_kind() == Some((api_version, kind)))
    }

    /// `apiVersion` and `kind` of its objects, where they can be scale targets.
    pub(crate) const fn target_kind(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Deployments => Some(("apps/v1", "Deployment")),
            Self::StatefulSets => Some(("apps/v1", "StatefulSet")),
            Self::ReplicaSets => Some(("apps/v1", "ReplicaSet")),
            Self::Jobs => Some(("batch/v1", "Job")),
            Self::ScaledObjects
            | Self::ScaledJobs
            | Self::ScalingPolicies
            | Self::Pods
            | Self::EndpointSlices => None,
        }
    }

    /// The plural that URLs and RBAC rules use.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ScaledObjects => "scaledobjects",
            Self::ScaledJobs => "scaledjobs",
            Self::ScalingPolicies => "scalingpolicies",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
            Self::Pods => "pods",
            Self::EndpointSlices => "endpointslices",
        }
    }

    /// The path of group and version.
    pub(crate) const fn root(self) -> &'static str {
        match self {
            Self::ScaledObjects | Self::ScaledJobs => "/apis/keda.sh/v1alpha1",
            Self::ScalingPolicies => "/apis/rheostat.dev/v1alpha1",
            Self::Deployments | Self::StatefulSets | Self::ReplicaSets => "/apis/apps/v1",
            Self::Jobs => "/apis/batch/v1",
            Self::Pods => "/api/v1",
            Self::EndpointSlices => "/apis/discovery.k8s.io/v1",
        }
    }
}

impl WatchId {
    /// `resource` in `namespace`, or everywhere.
    pub(crate) fn new(resource: Resource, namespace: Option<&str>) -> Self {
        Self {
            resource,
            namespace: namespace.map(str::to_owned),
        }
    }

    /// The collection's path.
    pub(crate) fn path(&self) -> String {
        let (root, plural) = (self.resource.root(), self.resource.plural());
        match &self.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.plural())
    }
}

impl fmt::Display for WatchId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(out, "{} of namespace {namespace}", self.resource),
            None => write!(out, "{}", self.resource),
        }
    }
}
