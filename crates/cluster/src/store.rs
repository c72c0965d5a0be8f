use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::health::Health;
use crate::model::{PolicyId, ScalingPolicy, Workload, WorkloadId};

/// The read side: what the cluster says now. Cheap to clone; reading never waits.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// The write side. Filled by the watches, or by hand where there is no cluster.
#[derive(Debug)]
pub struct StoreWriter {
    shared: Arc<Shared>,
}

/// All workloads at one moment. Never changes.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with each change.
    pub revision: u64,
    /// Whether everything was listed once since the start. Until then a workload that is not
    /// here may well exist.
    pub synced: bool,
    /// How the watches fare; empty where the store is filled by hand.
    pub health: Health,
    /// Ordered by id, so that workloads are found by bisection and cloning is one memory copy.
    workloads: Vec<Arc<Workload>>,
    /// Ordered by id, too.
    policies: Vec<Arc<ScalingPolicy>>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    revision: watch::Sender<u64>,
}

impl Store {
    /// An empty store, synced, with the hand that fills it.
    #[must_use]
    pub fn new() -> (StoreWriter, Self) {
        Self::starting(Health::default(), true)
    }

    /// An empty store that waits for the watches of `health`.
    pub(crate) fn starting(health: Health, synced: bool) -> (StoreWriter, Self) {
        let snapshot = Snapshot {
            revision: 0,
            synced,
            health,
            workloads: Vec::new(),
            policies: Vec::new(),
        };
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            revision: watch::Sender::new(0),
        });
        (
            StoreWriter {
                shared: Arc::clone(&shared),
            },
            Self { shared },
        )
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// The workload `id`.
    #[must_use]
    pub fn get(&self, id: &WorkloadId) -> Option<Arc<Workload>> {
        self.shared.snapshot.load().get(id).cloned()
    }

    /// Tells when something has changed: the value is [`Snapshot::revision`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }
}

impl StoreWriter {
    /// Puts `workload` in the place of what was known of it.
    pub fn apply(&mut self, workload: Workload) {
        self.apply_all([workload]);
    }

    /// Puts many workloads at once; readers see all of them or none.
    pub fn apply_all(&mut self, workloads: impl IntoIterator<Item = Workload>) {
        let changes = workloads
            .into_iter()
            .map(|workload| (workload.id.clone(), Some(workload)));
        self.publish(changes, Vec::new(), None);
    }

    /// Puts `policy` in the place of what was known of it.
    pub fn apply_policy(&mut self, policy: ScalingPolicy) {
        self.publish([], vec![(policy.id.clone(), Some(policy))], None);
    }

    /// Takes the policy `id` away.
    pub fn remove_policy(&mut self, id: &PolicyId) {
        self.publish([], vec![(id.clone(), None)], None);
    }

    /// Takes the workload `id` away.
    pub fn remove(&mut self, id: &WorkloadId) {
        self.publish([(id.clone(), None)], Vec::new(), None);
    }

    /// Publishes changed (`Some`) and deleted (`None`) workloads and policies together with how the watches
    /// fare and whether all has been listed, where that has changed.
    pub(crate) fn publish(
        &mut self,
        changes: impl IntoIterator<Item = (WorkloadId, Option<Workload>)>,
        policy_changes: Vec<(PolicyId, Option<ScalingPolicy>)>,
        health: Option<(Health, bool)>,
    ) {
        let old = self.shared.snapshot.load_full();
        let mut workloads = old.workloads.clone();
        for (id, workload) in changes {
            let place = workloads.binary_search_by(|found| found.id.cmp(&id));
            put(&mut workloads, place, workload);
        }
        let mut policies = old.policies.clone();
        for (id, policy) in policy_changes {
            let place = policies.binary_search_by(|found| found.id.cmp(&id));
            put(&mut policies, place, policy);
        }
        let revision = old.revision + 1;
        let (health, synced) = health.unwrap_or_else(|| (old.health.clone(), old.synced));
        self.shared.snapshot.store(Arc::new(Snapshot {
            revision,
            synced,
            health,
            workloads,
            policies,
        }));
        self.shared.revision.send_replace(revision);
    }
}

/// Puts `new` where it was or belongs, or takes away what was there.
fn put<T>(all: &mut Vec<Arc<T>>, place: Result<usize, usize>, new: Option<T>) {
    match (place, new) {
        (Ok(place), Some(new)) => all[place] = Arc::new(new),
        (Ok(place), None) => {
            all.remove(place);
        }
        (Err(place), Some(new)) => all.insert(place, Arc::new(new)),
        (Err(_), None) => {}
    }
}

impl Snapshot {
    /// The workload `id`.
    #[must_use]
    pub fn get(&self, id: &WorkloadId) -> Option<&Arc<Workload>> {
        let place = self.workloads.binary_search_by(|found| found.id.cmp(id)).ok()?;
        self.workloads.get(place)
    }

    /// The workloads of this name: at most two, since KEDA does not send the kind and a
    /// ScaledObject and a ScaledJob may share a name. The ScaledObject comes first.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> &[Arc<Workload>] {
        let key = |workload: &Arc<Workload>| {
            workload
                .id
                .namespace
                .as_str()
                .cmp(namespace)
                .then_with(|| workload.id.name.as_str().cmp(name))
        };
        let start = self.workloads.partition_point(|workload| key(workload).is_lt());
        let length = self.workloads[start..].partition_point(|workload| key(workload).is_eq());
        &self.workloads[start..start + length]
    }

    /// The ScalingPolicy `name` of `namespace`.
    #[must_use]
    pub fn policy(&self, namespace: &str, name: &str) -> Option<&Arc<ScalingPolicy>> {
        let key = |found: &Arc<ScalingPolicy>| {
            (found.id.namespace.as_str(), found.id.name.as_str()).cmp(&(namespace, name))
        };
        let place = self.policies.binary_search_by(key).ok()?;
        self.policies.get(place)
    }

    /// All ScalingPolicies, ordered by namespace and name.
    #[must_use]
    pub fn policies(&self) -> &[Arc<ScalingPolicy>] {
        &self.policies
    }

    /// All workloads, ordered by namespace and name.
    #[must_use]
    pub fn workloads(&self) -> &[Arc<Workload>] {
        &self.workloads
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::model::{HpaTolerances, TargetProblem, WorkloadKind};

    fn id(namespace: &str, name: &str, kind: WorkloadKind) -> WorkloadId {
        WorkloadId {
            namespace: namespace.into(),
            name: name.into(),
            kind,
        }
    }

    fn workload(id: &WorkloadId, generation: i64) -> Workload {
        Workload {
            id: id.clone(),
            uid: String::new(),
            generation,
            triggers: Vec::new(),
            other_triggers: 0,
            min_replicas: 0,
            max_replicas: 1,
            idle_replicas: None,
            polling_interval: Duration::ZERO,
            cooldown_period: Duration::ZERO,
            paused: false,
            annotations: BTreeMap::new(),
            tolerances: HpaTolerances::default(),
            scale_down_stabilization: None,
            target: Err(TargetProblem::NotYet {
                what: "the scale target",
            }),
            pods: Arc::new([]),
        }
    }

    #[test]
    fn what_is_put_is_found_and_what_is_removed_is_not() {
        use WorkloadKind::{ScaledJob, ScaledObject};
        let ids = [
            id("b", "x", ScaledJob),
            id("a", "y", ScaledObject),
            id("b", "x", ScaledObject),
            id("ba", "x", ScaledObject),
            id("b", "xa", ScaledObject),
        ];
        let (mut writer, store) = Store::new();
        writer.apply_all(ids.iter().map(|id| workload(id, 1)));
        let before = store.snapshot();
        assert!(before.synced && before.health.listed());
        let kinds: Vec<_> = before.find("b", "x").iter().map(|found| found.id.kind).collect();
        assert_eq!(kinds, [ScaledObject, ScaledJob]);
        assert_eq!(before.find("a", "y").len(), 1);
        assert!(
            before.find("a", "x").is_empty()
                && before.find("", "").is_empty()
                && before.find("c", "z").is_empty()
        );

        writer.apply(workload(&ids[1], 2));
        writer.remove(&ids[0]);
        assert_eq!(store.get(&ids[1]).map(|found| found.generation), Some(2));
        assert_eq!(store.get(&ids[0]), None);
        assert_eq!(
            before.get(&ids[1]).map(|found| found.generation),
            Some(1),
            "a snapshot does not change"
        );
        assert_eq!(
            (before.workloads().len(), store.snapshot().workloads().len()),
            (5, 4)
        );
    }

    #[tokio::test]
    async fn each_change_is_told() {
        let (mut writer, store) = Store::new();
        let mut changes = store.changes();
        writer.apply(workload(&id("a", "x", WorkloadKind::ScaledObject), 1));
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow_and_update(), store.snapshot().revision);
        assert!(!changes.has_changed().unwrap());
    }
}
