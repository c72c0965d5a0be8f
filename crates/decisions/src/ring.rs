use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::Record;

/// The newest records of one workload, in memory. They begin with one that has a state, so that what is in
/// memory can be replayed too.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: VecDeque<Arc<Record>>,
    /// Pods in all the observations: they are what takes memory.
    pods: usize,
    /// The number of the next record.
    next: u64,
    /// Records and pods since the last one with a state.
    since: (usize, usize),
    /// Something came between the last decision and the next.
    anew: bool,
}

/// Half an hour of one workload, at a decision every five seconds.
const MOST_RECORDS: usize = 360;

/// Pods in the observations of one workload: with some 500 bytes each, 2 MB.
const MOST_PODS: usize = 4000;

/// A state after so many records or pods: the ring loses what is before a state at once, so it has to hold
/// several of them.
const STATE_AFTER: (usize, usize) = (MOST_RECORDS / 6, MOST_PODS / 6);

/// Whether a record is to have a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateDue {
    No,
    /// One that continues the decisions before.
    Continues,
    /// One that begins anew.
    Anew,
}

impl Ring {
    pub(crate) fn due(&self) -> StateDue {
        if self.next == 0 || self.anew {
            StateDue::Anew
        } else if self.since.0 >= STATE_AFTER.0 || self.since.1 >= STATE_AFTER.1 {
            StateDue::Continues
        } else {
            StateDue::No
        }
    }

    /// The next record has to begin anew.
    pub(crate) const fn interrupt(&mut self) {
        self.anew = true;
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, record: Arc<Record>) {
        let pods = record.observation.pods.len();
        if record.before.is_some() {
            self.since = (0, 0);
            self.anew = false;
        }
        self.since = (self.since.0 + 1, self.since.1 + pods);
        self.next = record.sequence + 1;
        self.pods += pods;
        self.records.push_back(record);
        while self.records.len() > 1 && (self.records.len() > MOST_RECORDS || self.pods > MOST_PODS) {
            self.pop();
            while self.records.len() > 1 && self.records.front().is_some_and(|first| first.before.is_none()) {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.pods -= record.observation.pods.len();
        }
    }

    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.records.iter().cloned().collect()
    }
}
