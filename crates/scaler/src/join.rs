//! Pods, the devices they hold, their engines, and what was read of them: the input of a trigger's
//! evaluation.
//!
//! The one place where Kubernetes' view and the agents' view meet. A workload sees only devices
//! that the kubelet says its own pods hold (invariant 3).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Pod, PodPhase, Workload};
use rheostat_fleet::{ClaimView, DeviceView, FleetView, NodeView, SourceState};
use rheostat_policy::{Claim, DeviceInput, Needs, PodInput, PodState, Unseen};
use rheostat_reading::{Absent, Observed, Quantity, Readings, Timestamp};

use crate::evaluator::Sources;
use crate::plan::Plan;

/// The pods of `workload` with what a trigger needs to know of their devices and engines at `now`.
///
/// Finished pods are left out: they hold nothing, whatever an old kubelet lists
/// (kubernetes/kubernetes #119423).
pub(crate) fn pods(
    workload: &Workload,
    sources: &Sources<'_>,
    plan: Option<&Plan>,
    needs: &Needs,
    now: Timestamp,
) -> Vec<PodInput> {
    let Sources { fleet, findings, .. } = sources;
    workload
        .pods
        .iter()
        .filter(|pod| !pod.finished())
        .map(|pod| {
            let state = state(pod);
            let devices = match state {
                PodState::Ready if !needs.gpu.is_empty() => {
                    devices(pod, fleet, &needs.gpu, needs.gpu_stale_after, now)
                }
                // Nobody looks at them.
                _ => Ok(Vec::new()),
            };
            let engine = match (plan, state) {
                (Some(plan), PodState::Ready) if needs.engine.is_some() => {
                    plan.engine(&pod.name, findings, fleet, now)
                }
                _ => Err(Unseen::EngineNotAsked),
            };
            PodInput {
                name: pod.name.as_str().into(),
                state,
                devices,
                engine,
            }
        })
        .collect()
}

/// Product name of the GPUs that `pod` holds, where its node's agent knows: of one that does not serve yet, too.
pub(crate) fn hardware(pod: &Pod, fleet: &FleetView) -> Option<Arc<str>> {
    let node = fleet.node(pod.node.as_deref()?)?;
    let mut claims = node.claims_of(&pod.namespace, &pod.name).iter();
    claims.find_map(|claim| Some(Arc::clone(&node.device(claim.device.as_deref()?)?.model)))
}

/// GPUs that each pod of `workload` asks for, else holds: claims (DRA) do not say how many they stand for, but what
/// the agents see does.
pub(crate) fn gpus_each(workload: &Workload, fleet: &FleetView) -> Option<f64> {
    let asked = workload.pods.iter().map(|pod| pod.gpus_requested).max();
    let held = || {
        let pods = workload.pods.iter().filter(|pod| !pod.finished());
        pods.filter_map(|pod| devices_held(pod, fleet)).max()
    };
    let some = |gpus: &u32| *gpus > 0;
    let each = asked.filter(some).or_else(|| held().filter(some));
    each.map(f64::from)
}

/// GPUs and partitions that `pod` holds, where its node's agent knows: of one that does not serve yet, too.
fn devices_held(pod: &Pod, fleet: &FleetView) -> Option<u32> {
    let node = fleet.node(pod.node.as_deref()?)?;
    // Containers of one pod can hold the same device.
    let held: BTreeSet<_> = node
        .claims_of(&pod.namespace, &pod.name)
        .iter()
        .map(|claim| claim.device.as_deref().unwrap_or(&claim.kubelet_id))
        .collect();
    u32::try_from(held.len()).ok()
}

fn state(pod: &Pod) -> PodState {
    let ready = pod.phase == PodPhase::Running && pod.ready;
    match (pod.terminating, ready) {
        (false, true) => PodState::Ready,
        (false, false) => PodState::NotReady,
        (true, true) => PodState::Draining,
        (true, false) => PodState::Terminating,
    }
}

fn devices(
    pod: &Pod,
    fleet: &FleetView,
    quantities: &[Quantity],
    stale_after: Duration,
    now: Timestamp,
) -> Result<Vec<DeviceInput>, Unseen> {
    // A pod that serves has a node; one without is told apart by the empty name.
    let name = pod.node.as_deref().unwrap_or_default();
    let node = fleet.node(name).ok_or_else(|| Unseen::NoAgent {
        node: name.to_owned(),
    })?;
    let age = node.age(now);
    if age > stale_after {
        return Err(Unseen::AgentSilent {
            node: name.to_owned(),
            age,
        });
    }
    let unattributed = |reason: String| Unseen::Unattributed {
        node: name.to_owned(),
        reason,
    };
    match &node.attribution {
        SourceState::Current => {}
        SourceState::Stale { last_read, .. } if now.since(*last_read) <= stale_after => {}
        SourceState::Stale { last_read, reason } => {
            let ago = now.since(*last_read);
            return Err(unattributed(format!("{reason} (last read {ago:.1?} ago)")));
        }
        SourceState::Unknown { reason } => return Err(unattributed(reason.clone())),
    }
    let mut devices = node
        .claims_of(&pod.namespace, &pod.name)
        .iter()
        .map(|claim| {
            held(node, claim)
                .map(|device| (claim, device))
                .map_err(&unattributed)
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Containers of one pod can hold the same device; it counts once.
    devices.sort_by(|(_, a), (_, b)| (a.index, &a.id).cmp(&(b.index, &b.id)));
    devices.dedup_by(|(_, a), (_, b)| a.id == b.id);
    Ok(devices
        .into_iter()
        .map(|(claim, device)| DeviceInput {
            id: Arc::clone(&device.id),
            model: Arc::clone(&device.model),
            claim: if claim.shared {
                Claim::Shared
            } else {
                Claim::Exclusive
            },
            readings: readings(claim, device, quantities),
        })
        .collect())
}

fn held<'a>(node: &'a NodeView, claim: &ClaimView) -> Result<&'a DeviceView, String> {
    let Some(id) = claim.device.as_deref() else {
        let reason = claim.unresolved.as_deref().unwrap_or("no reason given");
        return Err(format!(
            "device id {:?} is not resolved: {reason}",
            claim.kubelet_id
        ));
    };
    node.device(id)
        .ok_or_else(|| format!("device {id} is claimed but not listed"))
}

fn readings(claim: &ClaimView, device: &DeviceView, quantities: &[Quantity]) -> Readings {
    let mut readings = Readings::new();
    for &quantity in quantities {
        readings.set(quantity, observed(claim, device, quantity));
    }
    readings
}

fn observed(claim: &ClaimView, device: &DeviceView, quantity: Quantity) -> Observed {
    let readings = match (claim.shared, claim.share.is_empty()) {
        (false, _) => &device.readings,
        (true, false) => &claim.share,
        (true, true) => return Err(Absent::Unattributable),
    };
    readings.get(quantity).copied().map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rheostat_fleet::Fleet;
    use rheostat_proto::agent;
    use rheostat_reading::Clock;

    use super::*;

    /// One that asks for GPUs by claims (DRA), and does not serve yet.
    fn starting(node: Option<&str>) -> Pod {
        let at = Timestamp::from_unix_nanos(1);
        Pod {
            namespace: "team-a".into(),
            name: "chat-0".into(),
            uid: "u".into(),
            node: node.map(str::to_owned),
            phase: PodPhase::Pending,
            ready: false,
            terminating: false,
            created_at: at,
            scheduled_at: node.map(|_| at),
            started_at: None,
            ready_since: None,
            unready_since: Some(at),
            gpus_requested: 0,
            resource_claims: 1,
            ip: None,
            host_network: false,
            ports: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// The HPA counts it (`getReadyPodsCount`), for as long as it drains.
    #[test]
    fn a_pod_that_is_being_deleted_is_ready_until_it_is_not() {
        let mut pod = starting(Some("node-1"));
        let mut seen = |phase, ready, terminating| {
            (pod.phase, pod.ready, pod.terminating) = (phase, ready, terminating);
            state(&pod)
        };
        assert_eq!(seen(PodPhase::Running, true, false), PodState::Ready);
        assert_eq!(seen(PodPhase::Running, true, true), PodState::Draining);
        assert_eq!(seen(PodPhase::Running, false, true), PodState::Terminating);
        assert_eq!(seen(PodPhase::Pending, false, true), PodState::Terminating);
        assert_eq!(seen(PodPhase::Pending, false, false), PodState::NotReady);
    }

    #[test]
    fn what_a_pod_holds_is_known_before_it_serves_and_each_device_counts_once() {
        let (writer, fleet) = Fleet::by_hand(Clock::system());
        let claim = |container: &str, device: &str| agent::Claim {
            namespace: "team-a".into(),
            pod: "chat-0".into(),
            container: container.into(),
            resource: "gpu.nvidia.com".into(),
            kubelet_id: device.into(),
            device: device.into(),
            ..agent::Claim::default()
        };
        let devices = ["GPU-0", "GPU-1"].map(|id| agent::Device {
            id: id.into(),
            ..agent::Device::default()
        });
        let snapshot = agent::Snapshot {
            node: "node-1".into(),
            devices: devices.into(),
            claims: [("main", "GPU-0"), ("main", "GPU-1"), ("sidecar", "GPU-1")]
                .map(|(container, device)| claim(container, device))
                .into(),
            ..agent::Snapshot::default()
        };
        writer.put(&snapshot).unwrap();
        assert_eq!(devices_held(&starting(Some("node-1")), &fleet.view()), Some(2));
        assert_eq!(devices_held(&starting(Some("node-2")), &fleet.view()), None);
        assert_eq!(devices_held(&starting(None), &fleet.view()), None);
    }
}
