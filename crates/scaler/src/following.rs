//! Answering what the replica of the scaler that leads has decided.

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Snapshot, WatchState};
use rheostat_crd::ScalingPolicyStatus;
use rheostat_reading::Timestamp;
use rheostat_sizing::Intent;
use rheostat_steward::Leadership;

use crate::policy_state::Followed;

/// Whom a workload's answers follow, and what that one is known to have written.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// The leader, and the status as it was when it was first followed: it may be from one before.
    begun: Option<(Arc<str>, Arc<ScalingPolicyStatus>)>,
}

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

impl Following {
    /// What `leader` has decided for `workload`, of which there are `present` replicas; `None` where nobody
    /// leads, or it has not decided.
    pub(crate) fn follow(
        &mut self,
        leader: Option<&Arc<str>>,
        status: &Arc<ScalingPolicyStatus>,
        workload: &str,
        intent: &Intent,
        present: u32,
    ) -> Option<Followed> {
        let Some(leader) = leader else {
            self.begun = None;
            return None;
        };
        if self.begun.as_ref().is_none_or(|(followed, _)| followed != leader) {
            self.begun = Some((Arc::clone(leader), Arc::clone(status)));
        }
        let is_its_own = self
            .begun
            .as_ref()
            .is_some_and(|(_, before)| !Arc::ptr_eq(before, status));
        let written = status.workloads.iter().find(|found| found.name == workload)?;
        let desired = written.desired?;
        let active = written.active.unwrap_or(desired > 0);
        // The limits are the workload's own, whatever somebody has written there.
        let least = if desired == 0 { 0 } else { intent.min_replicas };
        let within = desired.min(intent.max_replicas).max(least);
        // Nothing is taken away on a word that may be an earlier leader's, who knows how old.
        let (replicas, active, unknown) = match is_its_own {
            true => (within, active, written.unknown.as_deref()),
            false => (within.max(present), active || present > 0, None),
        };
        Some(Followed {
            leader: Arc::clone(leader),
            replicas,
            active,
            unknown: unknown.map(|reason| format!("{leader} has decided: {reason}").into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use rheostat_crd::{Policy, Surroundings, WorkloadStatus};

    use super::*;

    fn status(desired: u32) -> Arc<ScalingPolicyStatus> {
        Arc::new(ScalingPolicyStatus {
            workloads: vec![WorkloadStatus {
                name: "chat".into(),
                desired: Some(desired),
                active: Some(desired > 0),
                ..WorkloadStatus::default()
            }],
            ..ScalingPolicyStatus::default()
        })
    }

    #[test]
    fn what_may_be_an_earlier_leaders_word_takes_nothing_away() {
        let policy = Policy::read(&serde_json::json!({"concurrency": 8})).unwrap();
        let intent = policy.intent(&Surroundings {
            min_replicas: 1,
            max_replicas: 10,
            cooldown_period: Duration::ZERO,
            gpus_per_pod: None,
        });
        let mut following = Following::default();
        let (one, two): (Arc<str>, Arc<str>) = ("scaler-0".into(), "scaler-1".into());
        let old = status(2);
        let mut follow = |leader: &Arc<str>, status: &Arc<ScalingPolicyStatus>| {
            let followed = following
                .follow(Some(leader), status, "chat", &intent, 6)
                .unwrap();
            (followed.replicas, followed.active)
        };
        assert_eq!(follow(&one, &old), (6, true), "as many as there are");
        assert_eq!(follow(&one, &status(8)), (8, true));
        let its_own = status(2);
        assert_eq!(follow(&one, &its_own), (2, true));
        assert_eq!(
            follow(&two, &its_own),
            (6, true),
            "another leads, and has not written yet"
        );
        assert_eq!(follow(&two, &status(0)), (0, false));
        assert_eq!(follow(&two, &status(90)), (10, true), "the maximum holds");
        assert_eq!(following.follow(None, &its_own, "chat", &intent, 6), None);
        assert_eq!(following.follow(Some(&two), &its_own, "other", &intent, 6), None);
    }
}
