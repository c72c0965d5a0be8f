use std::collections::{BTreeSet, HashMap};

use crate::model::WorkloadId;
use crate::selector::{Labels, Selector};

/// Finds the selectors that match a set of labels without trying them all: each is filed under a
/// label that whatever it matches must have.
#[derive(Debug, Default)]
pub(crate) struct SelectorIndex {
    /// By key, then value.
    exact: HashMap<String, HashMap<String, Filed>>,
    /// Selectors without such a label.
    others: Filed,
}

type Filed = HashMap<WorkloadId, Selector>;

impl SelectorIndex {
    pub(crate) fn insert(&mut self, id: &WorkloadId, selector: &Selector) {
        let filed = match selector.exact_label() {
            Some((key, value)) => self
                .exact
                .entry(key.to_owned())
                .or_default()
                .entry(value.to_owned())
                .or_default(),
            None => &mut self.others,
        };
        filed.insert(id.clone(), selector.clone());
    }

    pub(crate) fn remove(&mut self, id: &WorkloadId, selector: &Selector) {
        let Some((key, value)) = selector.exact_label() else {
            self.others.remove(id);
            return;
        };
        let Some(values) = self.exact.get_mut(key) else {
            return;
        };
        if let Some(filed) = values.get_mut(value) {
            filed.remove(id);
            if filed.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.exact.remove(key);
        }
    }

    /// The workloads whose selector matches `labels`.
    pub(crate) fn matching(&self, labels: &Labels) -> BTreeSet<WorkloadId> {
        let exact = labels
            .iter()
            .filter_map(|(key, value)| self.exact.get(key)?.get(value));
        let candidates = exact.flatten().chain(&self.others);
        candidates
            .filter(|(_, selector)| selector.matches(labels))
            .map(|(id, _)| id.clone())
            .collect()
    }
}
