//! What the replica of the scaler that leads is to write of ScalingPolicies.

use std::collections::BTreeMap;
use std::sync::Arc;

use rheostat_cluster::{PolicyId, ScalingPolicy, TriggerDefinition};
use rheostat_policy::Answer;
use rheostat_steward::{PolicyReport, WorkloadReport};

use crate::policies::Policies;
use crate::snapshot::{Snapshot, TriggerState, WorkloadState};

/// One report for each of the `objects`, used or not; none before all workloads are listed: who uses a policy
/// is not known until then, and a status without its users would wipe out what they have learned.
pub(crate) fn of(
    objects: &[Arc<ScalingPolicy>],
    policies: &Policies,
    snapshot: &Snapshot,
) -> Arc<[PolicyReport]> {
    if objects.is_empty() || snapshot.unfounded.is_some() {
        return Arc::default();
    }
    let mut users = users(snapshot);
    objects
        .iter()
        .map(|object| {
            let PolicyId { namespace, name } = &object.id;
            PolicyReport {
                policy: Arc::clone(object),
                problem: policies.problem(&object.id).map(|error| error.to_string().into()),
                workloads: users.remove(&(namespace, name)).unwrap_or_default(),
            }
        })
        .collect()
}

/// The workloads that use each policy, by namespace and name of the policy.
fn users(snapshot: &Snapshot) -> BTreeMap<(&str, &str), Vec<WorkloadReport>> {
    let mut users: BTreeMap<_, Vec<WorkloadReport>> = BTreeMap::new();
    for state in snapshot.workloads() {
        for (trigger, definition) in state.triggers.iter().zip(&state.workload.triggers) {
            let Some(name) = policy_named(definition) else {
                continue;
            };
            let id = &state.workload.id;
            let users = users.entry((id.namespace.as_str(), name)).or_default();
            // The second trigger of a workload is refused; the first one speaks for it.
            let known = users
                .last()
                .is_some_and(|last| *last.name == *id.name && last.kind == id.kind);
            if !known {
                users.push(workload(state, trigger));
            }
        }
    }
    users
}

/// The policy that a trigger names, whether or not what stands beside it means anything: a mistake there must not
/// wipe out what the workload has learned and spent.
pub(crate) fn policy_named(definition: &TriggerDefinition) -> Option<&str> {
    definition.metadata.get("policy").map(String::as_str)
}

fn workload(state: &WorkloadState, trigger: &TriggerState) -> WorkloadReport {
    let decision = match (&trigger.policy, &trigger.answer) {
        (Some(policy), _) => match (&policy.problem, &policy.decision) {
            (None, Some(decision)) => Ok(Arc::clone(decision)),
            (Some(problem), _) => Err(Arc::clone(problem)),
            (None, None) => Err("not decided yet".into()),
        },
        (None, Answer::Error { reason, .. }) => Err(reason.as_str().into()),
        (None, _) => Err("not decided yet".into()),
    };
    WorkloadReport {
        name: state.workload.id.name.as_str().into(),
        kind: state.workload.id.kind,
        uid: state.workload.uid.as_str().into(),
        decision,
        gpus: trigger.policy.as_ref().and_then(|policy| policy.gpus),
        learned: trigger.policy.as_ref().and_then(|policy| policy.learned.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_reported_before_it_is_known_who_uses_a_policy() {
        let objects = [Arc::new(ScalingPolicy {
            id: PolicyId {
                namespace: "team-a".to_owned(),
                name: "chat".to_owned(),
            },
            uid: "uid".to_owned(),
            generation: 1,
            spec: serde_json::Value::Null,
            status: serde_json::Value::Null,
        })];
        let reported = |unfounded: Option<&str>| {
            let snapshot = Snapshot {
                unfounded: unfounded.map(str::to_owned),
                ..Snapshot::default()
            };
            of(&objects, &Policies::default(), &snapshot).len()
        };
        assert_eq!(reported(Some("not all workloads have been listed yet")), 0);
        assert_eq!(reported(None), 1);
    }
}
