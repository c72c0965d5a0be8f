//! A workload whose trigger leaves the replica count to a ScalingPolicy.

use std::sync::Arc;

use rheostat_cluster::{Workload, WorkloadKind};
use rheostat_crd::{Policy, PolicyError};
use rheostat_decisions::DecisionLog;
use rheostat_policy::{Decided, ErrorKind, MetricType, Needs, PodInput};
use rheostat_reading::Timestamp;
use rheostat_sizing::{Decision, Objective, Outcome, QueuedOutside};
use rheostat_steward::Leadership;

use crate::decider::{Decider, Last, Look};
use crate::evaluator::Sources;
use crate::following::{followed, leader};
use crate::policies::{Found, NoPolicy, Policies};
use crate::policy_state::{Followed, PolicyState};
use crate::seen_pod::SeenPod;
use crate::standing::Standings;

/// What is remembered of a workload with a policy.
#[derive(Debug, Default)]
pub(crate) struct ByPolicy {
    /// Each trigger that names a policy, by its place.
    named: Vec<(usize, String)>,
    found: Option<Found>,
    problem: Option<Problem>,
    /// Whether it was decided for in the last evaluation.
    decides: bool,
    decider: Option<Decider>,
    leadership: Leadership,
    followed: Option<Followed>,
    /// The leader, while it has not written of the workload.
    awaited: Option<Arc<str>>,
}

/// Why a policy does not decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    NoPolicy(#[from] NoPolicy),
    #[error("{policy} cannot be decided by: {error}")]
    Invalid { policy: String, error: PolicyError },
}

/// What all policies' decisions rest on beside the sources.
pub(crate) struct Rules<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) standings: &'a Standings,
    pub(crate) log: &'a DecisionLog,
}

/// A workload as it is at the moment of a decision.
pub(crate) struct Scene<'a> {
    pub(crate) now: Timestamp,
    pub(crate) workload: &'a Workload,
    /// Replicas that are asked for.
    pub(crate) replicas: u32,
    pub(crate) pods: &'a [PodInput],
    /// Requests that wait in front of it.
    pub(crate) queued_outside: QueuedOutside,
    pub(crate) needs: &'a Needs,
}

impl ByPolicy {
    /// Takes the triggers that name a policy. What was learned stays: it is the workload's.
    pub(crate) fn follow(&mut self, named: Vec<(usize, String)>) {
        if named.is_empty() {
            *self = Self::default();
        }
        self.named = named;
    }

    /// An evaluation begins. What is refused before it comes to a decision is not decided for.
    pub(crate) const fn begin(&mut self) {
        self.decides = false;
    }

    /// Why no policy can decide for the trigger at `index`, where it names one; with key, value and what is
    /// allowed.
    pub(crate) fn refusal(
        &self,
        workload: &Workload,
        index: usize,
        metric_type: MetricType,
    ) -> Option<String> {
        let (_, name) = self.named.iter().find(|(place, _)| *place == index)?;
        let (first, other) = self.named.first()?;
        if workload.id.kind == WorkloadKind::ScaledJob {
            Some(format!(
                "policy is {name:?} in a ScaledJob; allowed: a ScaledObject, since a policy sizes replicas that serve requests"
            ))
        } else if first != &index {
            Some(format!(
                "policy is {name:?} in trigger {index}; allowed: one policy for each ScaledObject, and trigger {first} names {other:?} already"
            ))
        } else if metric_type == MetricType::Value {
            // The HPA multiplies by the pods that it finds ready when it asks: while pods start, it would make
            // more replicas of the same answer each time.
            Some(format!(
                "metricType is Value; allowed with policy {name:?}: AverageValue, which is KEDA's default"
            ))
        } else {
            None
        }
    }

    /// What the policy `name` decides.
    pub(crate) fn decide(
        &mut self,
        name: &str,
        scene: &Scene<'_>,
        sources: &Sources<'_>,
        rules: &Rules<'_>,
    ) -> Decided {
        let decided = self.try_decide(name, scene, sources, rules);
        self.problem = decided.as_ref().err().cloned();
        self.decides = decided.is_ok();
        decided.unwrap_or_else(|problem| Decided {
            replicas: scene.replicas,
            active: true,
            unknown: Some(problem.to_string().into()),
            known: 0,
        })
    }

    fn try_decide(
        &mut self,
        name: &str,
        scene: &Scene<'_>,
        sources: &Sources<'_>,
        rules: &Rules<'_>,
    ) -> Result<Decided, Problem> {
        let id = &scene.workload.id;
        self.found = None;
        self.followed = None;
        self.awaited = None;
        self.leadership.clone_from(sources.leadership);
        let found = rules.policies.find(&id.namespace, name, sources.cluster)?;
        let (meaning, status) = (Arc::clone(&found.meaning), Arc::clone(&found.status));
        let gpus_seen = found.gpus_seen(&id.name);
        let policy = self.found.insert(found).object.id.to_string();
        let policy: &Policy = meaning.as_ref().as_ref().map_err(|error| Problem::Invalid {
            policy,
            error: error.clone(),
        })?;
        let decider = self
            .decider
            .get_or_insert_with(|| Decider::new(scene.workload, rules.log));
        let leader = leader(sources.leadership, scene.now, &id.namespace, sources.cluster);
        let written = status.workloads.iter().find(|status| status.name == id.name);
        if let Some(gpus) = gpus_seen {
            decider.adopt_gpus(gpus);
        }
        if let Some(learned) = written.and_then(|status| status.learned.as_deref()) {
            decider.adopt(learned, leader.is_some(), rules.log);
        }
        let partner = policy
            .partner()
            .and_then(|name| rules.standings.partner(id, name));
        let look = Look {
            now: scene.now,
            workload: scene.workload,
            replicas: scene.replicas,
            pods: scene.pods,
            queued_outside: &scene.queued_outside,
            needs: scene.needs,
            fleet: sources.fleet,
            policy,
            allotment: rules.standings.allotment(id),
            partner,
        };
        // Decided by whoever follows, too: when the leader is gone it goes on at once.
        let last = decider.decide(&look, rules.log);
        let own = decided(last);
        let Some(leader) = leader else { return Ok(own) };
        let schedule = policy.schedule_at(scene.now);
        let most = schedule.ceiling.unwrap_or(u32::MAX).min(last.intent.max_replicas);
        self.followed = followed(leader, &status, &id.name, most);
        Ok(match &self.followed {
            Some(followed) => Decided {
                replicas: followed.replicas,
                active: followed.active,
                unknown: followed.unknown.clone(),
                ..own
            },
            // The leader may know of a need that this one does not see: nothing is taken away before its word.
            None => {
                self.awaited = Some(Arc::clone(leader));
                Decided {
                    replicas: own.replicas.max(scene.replicas),
                    active: own.active || scene.replicas > 0,
                    ..own
                }
            }
        })
    }

    /// Which error is answered where nothing was decided.
    pub(crate) fn error_kind(&self) -> ErrorKind {
        match &self.problem {
            Some(
                Problem::Invalid { .. } | Problem::NoPolicy(NoPolicy::Absent(_) | NoPolicy::NoDefinition(_)),
            ) => ErrorKind::FailedPrecondition,
            Some(Problem::NoPolicy(NoPolicy::NotListed { .. })) | None => ErrorKind::Unavailable,
        }
    }

    /// The last decision, as far as there is one.
    pub(crate) fn last(&self) -> Option<&Last> {
        self.decider.as_ref()?.last()
    }

    /// Whether it was decided for in the last evaluation. Where not, errors keep the replicas that there are.
    pub(crate) const fn decides(&self) -> bool {
        self.decides
    }

    /// GPUs that its pods were last seen to hold each.
    pub(crate) fn gpus_per_pod(&self) -> Option<f64> {
        self.decider.as_ref()?.gpus_per_pod()
    }

    /// How the workload fares with the policy `name`.
    pub(crate) fn state(&self, workload: &Workload, name: &str) -> PolicyState {
        let last = self.last();
        PolicyState {
            policy: rheostat_cluster::PolicyId {
                namespace: workload.id.namespace.clone(),
                name: name.to_owned(),
            },
            object: self.found.as_ref().map(|found| Arc::clone(&found.object)),
            problem: self.problem.as_ref().map(|problem| problem.to_string().into()),
            intent: last.map(|last| Arc::clone(&last.intent)),
            decision: last.map(|last| Arc::clone(&last.decision)),
            before: last.and_then(|last| last.before),
            pods: last.map(|last| Arc::clone(&last.pods)).unwrap_or_default(),
            gpus: self.gpus_per_pod(),
            learned: self
                .decider
                .as_ref()
                .and_then(|decider| decider.learned().cloned()),
            leadership: self.leadership.clone(),
            followed: self.followed.clone(),
            awaited: self.awaited.clone(),
        }
    }
}

fn decided(last: &Last) -> Decided {
    let Decision {
        replicas,
        active,
        outcome,
        ..
    } = &*last.decision;
    Decided {
        replicas: *replicas,
        active: *active,
        unknown: match outcome {
            Outcome::Unknown { reason } => Some(with_a_pods_reason(reason, last).into()),
            Outcome::Known | Outcome::AtZero => None,
        },
        known: known(last),
    }
}

/// Pods of which the last decision knew what its objective is about.
fn known(last: &Last) -> u32 {
    let is_known = |pod: &&SeenPod| match last.intent.objective {
        Objective::Utilization(_) => pod.gpu_utilization.is_some(),
        Objective::Slo(_) | Objective::Concurrency(_) => pod.in_flight().is_some(),
    };
    u32::try_from(last.pods.iter().filter(is_known).count()).unwrap_or(u32::MAX)
}

/// What the sizing misses, and why the first pod that does not tell it does not.
fn with_a_pods_reason(missing: &str, last: &Last) -> String {
    let reason = last.pods.iter().find_map(|pod| {
        let reason = match last.intent.objective {
            Objective::Utilization(_) => pod.gpus_missing.as_ref(),
            Objective::Slo(_) | Objective::Concurrency(_) => pod.engine_missing.as_ref(),
        };
        Some(format!("{missing}; {}: {}", pod.name, reason?))
    });
    reason.unwrap_or_else(|| missing.to_owned())
}
