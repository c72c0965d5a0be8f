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

/// What a ring may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    records: usize,
    pods: usize,
}

/// Half an hour of one workload, at a decision every five seconds.
const MOST_RECORDS: usize = 360;

/// Pods in the observations of one workload: with some 500 bytes each, 2 MB.
const MOST_PODS: usize = 4000;

/// Of all workloads together: with some 3 kB each beside the pods, 20 MB. Without it the memory of a scaler would
/// grow by 2 MB with each workload.
const RECORDS_TOGETHER: usize = 20 * MOST_RECORDS;

/// The same of pods: 40 MB.
const PODS_TOGETHER: usize = 20 * MOST_PODS;

/// However many there are, each has the last two minutes.
const LEAST_RECORDS: usize = 24;

/// And so many pods of them.
const LEAST_PODS: usize = 400;

/// States are large, some 90 kB: where there is little room there are no more than three.
const LEAST_BETWEEN_STATES: usize = 30;

impl Room {
    /// Where so many rings share it.
    pub(crate) fn of(rings: usize) -> Self {
        let rings = rings.max(1);
        Self {
            records: (RECORDS_TOGETHER / rings).clamp(LEAST_RECORDS, MOST_RECORDS),
            pods: (PODS_TOGETHER / rings).clamp(LEAST_PODS, MOST_PODS),
        }
    }

    /// A state after so many records or pods: the ring loses what is before a state at once, so it has to hold
    /// several of them.
    fn between_states(self) -> (usize, usize) {
        let records = (self.records / 6).max(LEAST_BETWEEN_STATES.min(self.records / 2));
        (records, self.pods / 6)
    }
}

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
    pub(crate) fn due(&self, room: Room) -> StateDue {
        let (records, pods) = room.between_states();
        if self.next == 0 || self.anew {
            StateDue::Anew
        } else if self.since.0 >= records || self.since.1 >= pods {
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

    pub(crate) fn push(&mut self, record: Arc<Record>, room: Room) {
        let pods = record.observation.pods.len();
        if record.before.is_some() {
            self.since = (0, 0);
            self.anew = false;
        }
        self.since = (self.since.0 + 1, self.since.1 + pods);
        self.next = record.sequence + 1;
        self.pods += pods;
        self.records.push_back(record);
        while self.records.len() > 1 && (self.records.len() > room.records || self.pods > room.pods) {
            self.pop();
            // All of them, where states were farther apart than there is room now: the next record has one.
            while self.records.front().is_some_and(|first| first.before.is_none()) {
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
