//! Answering what the replica of the scaler that leads has decided.

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Snapshot, WatchState};
use rheostat_crd::ScalingPolicyStatus;
use rheostat_reading::Timestamp;
use rheostat_steward::Leadership;

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

#[cfg(test)]
mod tests {
    use rheostat_crd::WorkloadStatus;

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
}
