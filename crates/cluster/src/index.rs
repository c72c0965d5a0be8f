use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

mod namespace;

use namespace::Namespace;

use crate::definition::{Definition, TargetReference};
use crate::health::{Resource, WatchId};
use crate::model::{Pod, ScaleTarget, TargetProblem, Workload, WorkloadId, WorkloadKind};
use crate::selector::{Labels, Selector};

/// The label that KEDA puts on the Jobs of a ScaledJob and on their pods.
pub(crate) const SCALED_JOB_LABEL: &str = "scaledjob.keda.sh/name";

/// Joins what the watches say into workloads. Pure: no I/O, no clock.
///
/// Only what changed is rebuilt: a pod touches the workloads whose selector matched it before or
/// matches it now, a Deployment the workloads that name it. Everything hangs below a namespace, so
/// that a workload cannot reach another namespace's pods.
#[derive(Debug, Default)]
pub(crate) struct Index {
    workloads: BTreeMap<WorkloadId, Entry>,
    namespaces: HashMap<String, Namespace>,
    scales: HashMap<ScaleKey, ScaleAnswer>,
    dirty: BTreeSet<WorkloadId>,
    touched: HashSet<ScaleKey>,
    needs_changed: bool,
}

/// A change to what one watch sees.
#[derive(Clone, Debug)]
pub(crate) enum Change<T> {
    /// Everything there is.
    Listed(Vec<T>),
    /// New or changed.
    Put(T),
    /// Deleted.
    Gone { namespace: String, name: String },
}

/// A Deployment, StatefulSet or ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replicated {
    pub(crate) name: String,
    pub(crate) spec_replicas: u32,
    pub(crate) status_replicas: u32,
    pub(crate) selector: Result<Selector, String>,
}

/// A Job of a ScaledJob.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) scaled_job: String,
    pub(crate) finished: bool,
}

/// A pod with the labels that selectors look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledPod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) labels: Labels,
}

/// A target that is read through its scale subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ScaleKey {
    pub(crate) namespace: String,
    pub(crate) target: TargetReference,
}

/// What the scale subresource said: a target and its selector, or why there is none.
pub(crate) type ScaleAnswer = Result<(ScaleTarget, Selector), TargetProblem>;

#[derive(Debug)]
struct Entry {
    definition: Definition,
    target: ScaleAnswer,
    members: BTreeMap<String, Arc<Pod>>,
}

impl Index {
    /// What the watch on ScaledObjects or ScaledJobs of `namespace` (`None`: everywhere) saw.
    pub(crate) fn definitions(
        &mut self,
        kind: WorkloadKind,
        namespace: Option<&str>,
        change: Change<Definition>,
    ) {
        match change {
            Change::Put(definition) => self.define(definition),
            Change::Gone { namespace, name } => self.undefine(&WorkloadId {
                namespace,
                name,
                kind,
            }),
            Change::Listed(definitions) => {
                let in_scope = |id: &&WorkloadId| {
                    id.kind == kind && namespace.is_none_or(|namespace| id.namespace == namespace)
                };
                let mut left: BTreeSet<_> = self.workloads.keys().filter(in_scope).cloned().collect();
                for definition in definitions {
                    left.remove(&definition.workload.id);
                    self.define(definition);
                }
                left.iter().for_each(|id| self.undefine(id));
            }
        }
    }

    /// What the watch on Deployments, StatefulSets or ReplicaSets of `namespace` saw.
    pub(crate) fn replicated(&mut self, resource: Resource, namespace: &str, change: Change<Replicated>) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let mut changed = BTreeSet::new();
        let mut put = |space: &mut Namespace, name: String, new: Option<Replicated>| {
            let key = (resource, name);
            let old = match &new {
                Some(new) => space.replicated.insert(key.clone(), new.clone()),
                None => space.replicated.remove(&key),
            };
            if old != new {
                changed.extend(space.named(resource, &key.1));
            }
        };
        match change {
            Change::Put(new) => put(space, new.name.clone(), Some(new)),
            Change::Gone { name, .. } => put(space, name, None),
            Change::Listed(all) => {
                let names = space
                    .replicated
                    .keys()
                    .filter(|key| key.0 == resource)
                    .map(|key| key.1.clone());
                let mut left: BTreeSet<_> = names.collect();
                for new in all {
                    left.remove(&new.name);
                    put(space, new.name.clone(), Some(new));
                }
                left.into_iter().for_each(|name| put(space, name, None));
                self.listed(resource, namespace);
            }
        }
        changed.iter().for_each(|id| self.retarget(id));
    }

    /// What the watch on Jobs of `namespace` saw.
    pub(crate) fn jobs(&mut self, namespace: &str, change: Change<Job>) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let mut owners = BTreeSet::new();
        let mut put = |space: &mut Namespace, name: &str, new: Option<Job>| {
            let old = match new.clone() {
                Some(new) => space.jobs.insert(name.to_owned(), new),
                None => space.jobs.remove(name),
            };
            if old != new {
                owners.extend(old.into_iter().chain(new).map(|job| job.scaled_job));
            }
        };
        match change {
            Change::Put(new) => put(space, &new.name.clone(), Some(new)),
            Change::Gone { name, .. } => put(space, &name, None),
            Change::Listed(all) => {
                let mut left: BTreeSet<_> = space.jobs.keys().cloned().collect();
                for new in all {
                    left.remove(&new.name);
                    put(space, &new.name.clone(), Some(new));
                }
                left.iter().for_each(|name| put(space, name, None));
                self.listed(Resource::Jobs, namespace);
            }
        }
        let kind = WorkloadKind::ScaledJob;
        for name in owners {
            self.retarget(&WorkloadId {
                namespace: namespace.to_owned(),
                name,
                kind,
            });
        }
    }

    /// What the watch on pods of `namespace` saw.
    pub(crate) fn pods(&mut self, namespace: &str, change: Change<LabelledPod>) {
        match change {
            Change::Put(pod) => self.put_pod(namespace, &pod.pod.name, Some(&pod)),
            Change::Gone { name, .. } => self.put_pod(namespace, &name, None),
            Change::Listed(all) => {
                let Some(space) = self.namespaces.get(namespace) else {
                    return;
                };
                let mut left: BTreeSet<_> = space.pods.keys().cloned().collect();
                for pod in all {
                    left.remove(&pod.pod.name);
                    self.put_pod(namespace, &pod.pod.name, Some(&pod));
                }
                left.iter().for_each(|name| self.put_pod(namespace, name, None));
                self.listed(Resource::Pods, namespace);
            }
        }
    }

    /// What the scale subresource of `key` said.
    pub(crate) fn scale(&mut self, key: ScaleKey, answer: ScaleAnswer) {
        let users = self
            .namespaces
            .get(&key.namespace)
            .and_then(|space| space.by_target.get(&key.target));
        let Some(users) = users.cloned() else { return };
        if self.scales.get(&key) != Some(&answer) {
            self.scales.insert(key, answer);
            users.iter().for_each(|id| self.retarget(id));
        }
    }

    /// Why `resource` of `namespace` has not been listed yet.
    pub(crate) fn problem(&mut self, resource: Resource, namespace: &str, problem: String) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        if !space.listed.contains(&resource) && space.problems.get(&resource) != Some(&problem) {
            space.problems.insert(resource, problem);
            let workloads = space.workloads.clone();
            workloads.iter().for_each(|id| self.retarget(id));
        }
    }

    /// The watches within namespaces and the scale subresources that the workloads need.
    pub(crate) fn needs(&self) -> (BTreeSet<WatchId>, BTreeSet<ScaleKey>) {
        let (mut watches, mut scales) = (BTreeSet::new(), BTreeSet::new());
        for (namespace, space) in self
            .namespaces
            .iter()
            .filter(|(_, space)| !space.workloads.is_empty())
        {
            watches.insert(WatchId::new(Resource::Pods, Some(namespace)));
            for target in space.by_target.keys() {
                match target.resource() {
                    Some(resource) => {
                        watches.insert(WatchId::new(resource, Some(namespace)));
                    }
                    None => {
                        scales.insert(ScaleKey {
                            namespace: namespace.clone(),
                            target: target.clone(),
                        });
                    }
                }
            }
        }
        (watches, scales)
    }

    /// Whether [`Index::needs`] may say something else than at the last call of this.
    pub(crate) fn take_needs_changed(&mut self) -> bool {
        std::mem::take(&mut self.needs_changed)
    }

    /// Whether some workload's target or pods have not been looked at yet.
    pub(crate) fn pending(&self) -> bool {
        self.workloads
            .values()
            .any(|entry| matches!(entry.target, Err(TargetProblem::NotYet { .. })))
    }

    /// Forgets what a watch saw that is no longer needed.
    pub(crate) fn forget(&mut self, watch: &WatchId) {
        let Some(namespace) = &watch.namespace else { return };
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        space.listed.remove(&watch.resource);
        space.problems.remove(&watch.resource);
        match watch.resource {
            Resource::Pods => space.pods.clear(),
            Resource::Jobs => space.jobs.clear(),
            resource => space.replicated.retain(|key, _| key.0 != resource),
        }
        self.tidy(namespace);
    }

    /// Workloads that have changed (`Some`) or are gone since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<(WorkloadId, Option<Workload>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|id| (id.clone(), self.workloads.get(&id).map(Entry::workload)))
            .collect()
    }

    /// Scale subresources that are worth another look: the workload or its pods changed.
    pub(crate) fn take_touched(&mut self) -> HashSet<ScaleKey> {
        std::mem::take(&mut self.touched)
    }

    fn define(&mut self, definition: Definition) {
        let id = definition.workload.id.clone();
        match self.workloads.get_mut(&id) {
            Some(entry) if entry.definition == definition => return,
            Some(entry) if entry.definition.target == definition.target => entry.definition = definition,
            _ => {
                self.undefine(&id);
                self.needs_changed = true;
                let space = self.namespaces.entry(id.namespace.clone()).or_default();
                space.workloads.insert(id.clone());
                if let Ok(target) = &definition.target {
                    space
                        .by_target
                        .entry(target.clone())
                        .or_default()
                        .insert(id.clone());
                }
                let target = Err(TargetProblem::NotYet {
                    what: "the scale target",
                });
                self.workloads.insert(
                    id.clone(),
                    Entry {
                        definition,
                        target,
                        members: BTreeMap::new(),
                    },
                );
            }
        }
        self.touch(&id);
        self.retarget(&id);
        self.dirty.insert(id);
    }

    fn undefine(&mut self, id: &WorkloadId) {
        let Some(entry) = self.workloads.remove(id) else {
            return;
        };
        self.dirty.insert(id.clone());
        self.needs_changed = true;
        let Some(space) = self.namespaces.get_mut(&id.namespace) else {
            return;
        };
        space.workloads.remove(id);
        if let Ok((_, selector)) = &entry.target {
            space.selectors.remove(id, selector);
        }
        if let Ok(target) = &entry.definition.target
            && let Some(users) = space.by_target.get_mut(target)
        {
            users.remove(id);
            if users.is_empty() {
                space.by_target.remove(target);
                self.scales.remove(&ScaleKey {
                    namespace: id.namespace.clone(),
                    target: target.clone(),
                });
            }
        }
        self.tidy(&id.namespace);
    }

    fn put_pod(&mut self, namespace: &str, name: &str, new: Option<&LabelledPod>) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let old = match new {
            Some(new) => space.pods.insert(name.to_owned(), new.clone()),
            None => space.pods.remove(name),
        };
        if old.as_ref() == new {
            return;
        }
        let matching = |pod: Option<&LabelledPod>| {
            pod.map(|pod| space.selectors.matching(&pod.labels))
                .unwrap_or_default()
        };
        let now = matching(new);
        for id in matching(old.as_ref()).union(&now) {
            let Some(entry) = self.workloads.get_mut(id) else {
                continue;
            };
            match new {
                Some(pod) if now.contains(id) => entry.members.insert(name.to_owned(), Arc::clone(&pod.pod)),
                _ => entry.members.remove(name),
            };
            self.dirty.insert(id.clone());
            if let Some(key) = entry.scale_key() {
                self.touched.insert(key);
            }
        }
    }

    fn listed(&mut self, resource: Resource, namespace: &str) {
        let Some(space) = self.namespaces.get_mut(namespace) else {
            return;
        };
        space.problems.remove(&resource);
        if space.listed.insert(resource) {
            let workloads = space.workloads.clone();
            workloads.iter().for_each(|id| self.retarget(id));
        }
    }

    /// Drops a namespace that has neither workloads nor watches. One that lost its last workload
    /// keeps what was listed until its watches end: the next workload may come before that, and
    /// then nothing is listed again.
    fn tidy(&mut self, namespace: &str) {
        let unused = |space: &Namespace| space.workloads.is_empty() && space.listed.is_empty();
        if self.namespaces.get(namespace).is_some_and(unused) {
            self.namespaces.remove(namespace);
        }
    }

    fn touch(&mut self, id: &WorkloadId) {
        self.touched
            .extend(self.workloads.get(id).and_then(Entry::scale_key));
    }

    /// Looks the target of `id` up again and, where its selector is another one, its pods.
    fn retarget(&mut self, id: &WorkloadId) {
        let Some(entry) = self.workloads.get_mut(id) else {
            return;
        };
        let Some(space) = self.namespaces.get_mut(&id.namespace) else {
            return;
        };
        let target = match &entry.definition.target {
            Err(problem) => Err(TargetProblem::Reference(problem.clone())),
            Ok(reference) => match reference.resource() {
                Some(resource) => space.target(resource, reference, &id.namespace),
                None => {
                    let key = ScaleKey {
                        namespace: id.namespace.clone(),
                        target: reference.clone(),
                    };
                    let answer = self.scales.get(&key).cloned();
                    answer.unwrap_or(Err(TargetProblem::NotYet {
                        what: "the scale target",
                    }))
                }
            },
        };
        // Pods that were not listed are not pods that do not exist.
        let target = target.and_then(|found| {
            space.require(Resource::Pods, &found.0.kind, &found.0.name)?;
            Ok(found)
        });
        if entry.target == target {
            return;
        }
        self.dirty.insert(id.clone());
        let old = entry.target.as_ref().ok().map(|found| &found.1);
        let new = target.as_ref().ok().map(|found| &found.1);
        if old != new {
            if let Some(old) = old {
                space.selectors.remove(id, old);
            }
            entry.members.clear();
            if let Some(new) = new {
                space.selectors.insert(id, new);
                let pods = space.pods.iter().filter(|(_, pod)| new.matches(&pod.labels));
                entry
                    .members
                    .extend(pods.map(|(name, pod)| (name.clone(), Arc::clone(&pod.pod))));
            }
        }
        entry.target = target;
    }
}

impl Entry {
    fn workload(&self) -> Workload {
        let mut workload = self.definition.workload.clone();
        workload.target = self
            .target
            .as_ref()
            .map(|found| found.0.clone())
            .map_err(Clone::clone);
        workload.pods = self.members.values().cloned().collect();
        workload
    }

    fn scale_key(&self) -> Option<ScaleKey> {
        let target = self.definition.target.as_ref().ok()?;
        let namespace = self.definition.workload.id.namespace.clone();
        target.resource().is_none().then(|| ScaleKey {
            namespace,
            target: target.clone(),
        })
    }
}

impl TargetReference {
    pub(crate) fn resource(&self) -> Option<Resource> {
        Resource::of_target(&self.api_version, &self.kind)
    }
}

#[cfg(test)]
mod tests;
