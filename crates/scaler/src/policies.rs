use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rheostat_cluster::{PolicyId, ScalingPolicy, Snapshot, WatchState};
use rheostat_crd::{Policy, PolicyError, ScalingPolicyStatus};

/// What ScalingPolicies mean, read once for each change.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    read: HashMap<PolicyId, Found>,
}

/// A policy as it stands in the API, what it means, and what some scaler has written to its status.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) object: Arc<ScalingPolicy>,
    pub(crate) meaning: Arc<Result<Policy, PolicyError>>,
    /// Empty where there is none, or none that can be read.
    pub(crate) status: Arc<ScalingPolicyStatus>,
}

/// What is taken from a status: anybody may have written it, and more would keep the workload out of its pool.
const GPUS_PER_POD: RangeInclusive<f64> = 1.0..=1024.0;

impl Found {
    /// GPUs that each pod of `workload` was last seen to hold, by whoever wrote the status.
    pub(crate) fn gpus_seen(&self, workload: &str) -> Option<f64> {
        let written = self.status.workloads.iter().find(|found| found.name == workload);
        written?.gpus.filter(|gpus| GPUS_PER_POD.contains(gpus))
    }
}

/// Why there is no policy to go by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPolicy {
    /// There is none of that name.
    #[error("{0} does not exist")]
    Absent(PolicyId),
    /// It may well exist.
    #[error("{id} is not known: ScalingPolicies have not been listed yet{problem}")]
    NotListed { id: PolicyId, problem: String },
    /// The API server knows no ScalingPolicies.
    #[error("{0} does not exist: the cluster knows no ScalingPolicies; apply deploy/crd.yaml")]
    NoDefinition(PolicyId),
}

impl Policies {
    /// Looks at what has changed since the last call.
    pub(crate) fn follow(&mut self, cluster: &Snapshot) {
        let policies = cluster.policies();
        if self.read.len() > policies.len() {
            self.read
                .retain(|id, _| cluster.policy(&id.namespace, &id.name).is_some());
        }
        for object in policies {
            let known = self.read.get(&object.id);
            if known.is_some_and(|known| Arc::ptr_eq(&known.object, object)) {
                continue;
            }
            let meaning = match known {
                // A new status is no new meaning.
                Some(known) if known.object.spec == object.spec => Arc::clone(&known.meaning),
                _ => Arc::new(Policy::read(&object.spec)),
            };
            let status = match known {
                Some(known) if known.object.status == object.status => Arc::clone(&known.status),
                _ => Arc::new(status(object)),
            };
            let read = Found {
                object: Arc::clone(object),
                meaning,
                status,
            };
            self.read.insert(object.id.clone(), read);
        }
    }

    /// `policy` and what is wrong with it, where something is.
    pub(crate) fn problem(&self, policy: &PolicyId) -> Option<&PolicyError> {
        self.read.get(policy)?.meaning.as_ref().as_ref().err()
    }

    /// What some scaler has written of `policy`.
    pub(crate) fn status(&self, policy: &PolicyId) -> Option<&ScalingPolicyStatus> {
        Some(&self.read.get(policy)?.status)
    }

    /// What some scaler has written of each policy.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&PolicyId, &ScalingPolicyStatus)> {
        self.read.iter().map(|(id, found)| (id, &*found.status))
    }

    /// The policy `name` of `namespace`.
    pub(crate) fn find(&self, namespace: &str, name: &str, cluster: &Snapshot) -> Result<Found, NoPolicy> {
        let id = PolicyId {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        if let Some(found) = self.read.get(&id) {
            return Ok(found.clone());
        }
        Err(match cluster.health.of_policies(namespace) {
            Some(WatchState::Starting { problem }) => NoPolicy::NotListed {
                id,
                problem: problem
                    .as_ref()
                    .map_or_else(String::new, |problem| format!(": {problem}")),
            },
            Some(WatchState::Missing) => NoPolicy::NoDefinition(id),
            Some(WatchState::Current | WatchState::Broken(_)) | None => NoPolicy::Absent(id),
        })
    }
}

/// What some scaler has written; nothing where it cannot be read, which is said once for each change.
fn status(object: &ScalingPolicy) -> ScalingPolicyStatus {
    ScalingPolicyStatus::read(&object.status).unwrap_or_else(|error| {
        tracing::warn!(
            policy = %object.id,
            %error,
            "the status cannot be read: what the leader decided and what was learned is not taken over"
        );
        ScalingPolicyStatus::default()
    })
}
