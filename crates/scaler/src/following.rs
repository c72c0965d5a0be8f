//! Answering what the replica of the scaler that leads has decided.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{PolicyId, Snapshot, WatchState};
use rheostat_crd::ScalingPolicyStatus;
use rheostat_reading::Timestamp;
use rheostat_steward::Leadership;

use crate::policies::Policies;
use crate::policy_state::Followed;

/// How long what the leader wrote is followed while changes to it cannot be seen. As long as a lease: a
/// leader that is cut off from the API server is followed for no longer either.
const STATUS_STALE_AFTER: Duration = Duration::from_secs(15);

/// The other scaler whose decisions count, where its lease holds and what it writes can be seen.
pub(crate) fn leader<'a>(
    leadership: &'a Leadership,
    now: Timestamp,
    namespace: &str,
    cluster: &Snapshot,
) -> Option<&'a Arc<str>> {
    let Leadership::Following { leader, until } = leadership else {
        return None;
    };
    let blind = match cluster.health.of_policies(namespace) {
        Some(WatchState::Broken(stale)) => now.since(stale.since) > STATUS_STALE_AFTER,
        _ => false,
    };
    (*until > now && !blind).then_some(leader)
}

/// What `leader` has decided for `workload`, at most `most` replicas whatever stands there; `None` where the status
/// is another one's word, who knows how old, or says no count.
///
/// The leader's count may lie below the workload's minimum, by a schedule's ceiling, a pool or a budget: it is
/// answered as it is.
pub(crate) fn followed(
    leader: &Arc<str>,
    status: &ScalingPolicyStatus,
    workload: &str,
    most: u32,
) -> Option<Followed> {
    if status.leader.as_deref() != Some(&**leader) {
        return None;
    }
    let written = status.workloads.iter().find(|found| found.name == workload)?;
    let desired = written.desired?;
    let unknown = written.unknown.as_deref();
    Some(Followed {
        leader: Arc::clone(leader),
        replicas: desired.min(most),
        active: written.active.unwrap_or(desired > 0),
        unknown: unknown.map(|reason| format!("{leader} has decided: {reason}").into()),
    })
}

/// How long a status may say counts and no leader: one of an earlier version has been replaced by then.
const UNSIGNED_FOR: Duration = Duration::from_secs(60);

/// Policies in whose status no leader stands, though one writes: a schema that does not know the field takes it out,
/// and nobody is followed.
#[derive(Debug, Default)]
pub(crate) struct Unsigned {
    seen: HashMap<PolicyId, Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Timestamp,
    told: bool,
}

impl Unsigned {
    /// Looks at all policies, and says once of each where that has lasted.
    pub(crate) fn look(
        &mut self,
        now: Timestamp,
        leadership: &Leadership,
        policies: &Policies,
        cluster: &Snapshot,
    ) {
        for (policy, leader) in self.lasting(now, leadership, policies, cluster) {
            tracing::warn!(
                %policy,
                %leader,
                "the status has counts but does not say who wrote them (status.leader), so that the leader cannot be \
                 followed: deploy/crd.yaml must be applied anew"
            );
        }
    }

    fn lasting<'a>(
        &mut self,
        now: Timestamp,
        leadership: &'a Leadership,
        policies: &Policies,
        cluster: &Snapshot,
    ) -> Vec<(PolicyId, &'a Arc<str>)> {
        let is_unsigned = |status: &ScalingPolicyStatus| {
            status.leader.is_none() && status.workloads.iter().any(|found| found.desired.is_some())
        };
        self.seen
            .retain(|id, _| policies.status(id).is_some_and(is_unsigned));
        let mut lasting = Vec::new();
        for (id, _) in policies.statuses().filter(|(_, status)| is_unsigned(status)) {
            let leader = leader(leadership, now, &id.namespace, cluster);
            let seen = self.seen.entry(id.clone()).or_insert(Seen {
                since: now,
                told: false,
            });
            match leader {
                Some(leader) if !seen.told && now.since(seen.since) > UNSIGNED_FOR => {
                    seen.told = true;
                    lasting.push((id.clone(), leader));
                }
                Some(_) => {}
                None => seen.since = now,
            }
        }
        lasting
    }
}

#[cfg(test)]
mod tests {
    use rheostat_cluster::{ScalingPolicy, Store};
    use rheostat_crd::WorkloadStatus;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_leaders_own_word_is_followed() {
        let (one, two): (Arc<str>, Arc<str>) = ("scaler-0".into(), "scaler-1".into());
        let status = |leader: Option<&Arc<str>>, desired: Option<u32>| ScalingPolicyStatus {
            leader: leader.map(ToString::to_string),
            workloads: vec![WorkloadStatus {
                name: "chat".into(),
                desired,
                active: desired.map(|desired| desired > 0),
                ..WorkloadStatus::default()
            }],
            ..ScalingPolicyStatus::default()
        };
        let follow = |leader: &Arc<str>, status: &ScalingPolicyStatus, workload: &str| {
            let followed = followed(leader, status, workload, 10)?;
            Some((followed.replicas, followed.active))
        };
        let written = status(Some(&one), Some(2));
        assert_eq!(follow(&one, &written, "chat"), Some((2, true)));
        assert_eq!(follow(&two, &written, "chat"), None, "another leads now");
        assert_eq!(follow(&one, &written, "other"), None);
        assert_eq!(follow(&one, &status(None, Some(2)), "chat"), None);
        assert_eq!(follow(&one, &status(Some(&one), None), "chat"), None);
        assert_eq!(
            follow(&one, &status(Some(&one), Some(0)), "chat"),
            Some((0, false))
        );
        let high = status(Some(&one), Some(90));
        assert_eq!(follow(&one, &high, "chat"), Some((10, true)), "the maximum holds");
    }

    #[test]
    fn a_leader_whose_name_is_taken_out_of_the_status_is_told_of_once() {
        let (mut writer, store) = Store::new();
        let (mut policies, mut unsigned) = (Policies::default(), Unsigned::default());
        let begin = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let at = |seconds: u64| begin.plus(Duration::from_secs(seconds));
        let following = Leadership::Following {
            leader: "scaler-0".into(),
            until: at(3600),
        };
        let mut told = |seconds: u64, status: Value, leadership: &Leadership| {
            writer.apply_policy(ScalingPolicy {
                id: PolicyId {
                    namespace: "team-a".to_owned(),
                    name: "chat".to_owned(),
                },
                uid: "uid".to_owned(),
                generation: 1,
                spec: Value::Null,
                status,
            });
            let cluster = store.snapshot();
            policies.follow(&cluster);
            unsigned
                .lasting(at(seconds), leadership, &policies, &cluster)
                .len()
        };
        let pruned = |desired: u32| json!({"workloads": [{"name": "chat", "desired": desired}]});
        let signed = json!({"leader": "scaler-0", "workloads": [{"name": "chat", "desired": 2}]});
        assert_eq!(told(0, Value::Null, &following), 0);
        assert_eq!(told(100, Value::Null, &following), 0, "nothing is written");
        assert_eq!(told(200, pruned(2), &following), 0, "not for long");
        assert_eq!(told(259, pruned(3), &following), 0);
        assert_eq!(told(261, pruned(4), &following), 1);
        assert_eq!(told(400, pruned(5), &following), 0, "it was told");
        assert_eq!(told(500, signed, &following), 0, "it was applied");
        assert_eq!(told(600, pruned(2), &Leadership::Nobody), 0);
        assert_eq!(told(700, pruned(2), &Leadership::Nobody), 0, "nobody leads");
        assert_eq!(told(701, pruned(2), &following), 0);
        assert_eq!(told(761, pruned(2), &following), 1, "an earlier schema again");
    }
}
