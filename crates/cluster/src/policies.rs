use std::collections::{BTreeMap, BTreeSet};

use crate::index::Change;
use crate::model::{PolicyId, ScalingPolicy};

/// The ScalingPolicies that the watches have seen. Pure: no I/O, no clock.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    known: BTreeMap<PolicyId, ScalingPolicy>,
    dirty: BTreeSet<PolicyId>,
}

impl Policies {
    /// What the watch of `namespace` (`None`: everywhere) saw.
    pub(crate) fn apply(&mut self, namespace: Option<&str>, change: Change<ScalingPolicy>) {
        match change {
            Change::Put(policy) => self.put(policy),
            Change::Gone { namespace, name } => self.remove(&PolicyId { namespace, name }),
            Change::Listed(all) => {
                let in_scope = |id: &&PolicyId| namespace.is_none_or(|namespace| id.namespace == namespace);
                let mut left: BTreeSet<_> = self.known.keys().filter(in_scope).cloned().collect();
                for policy in all {
                    left.remove(&policy.id);
                    self.put(policy);
                }
                left.iter().for_each(|id| self.remove(id));
            }
        }
    }

    /// What has changed (`Some`) or is gone since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<(PolicyId, Option<ScalingPolicy>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let known = &self.known;
        dirty
            .into_iter()
            .map(|id| {
                let policy = known.get(&id).cloned();
                (id, policy)
            })
            .collect()
    }

    fn put(&mut self, policy: ScalingPolicy) {
        if self.known.get(&policy.id) != Some(&policy) {
            self.dirty.insert(policy.id.clone());
            self.known.insert(policy.id.clone(), policy);
        }
    }

    fn remove(&mut self, id: &PolicyId) {
        if self.known.remove(id).is_some() {
            self.dirty.insert(id.clone());
        }
    }
}
