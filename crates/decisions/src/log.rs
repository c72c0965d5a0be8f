use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rheostat_sizing::{Decision, Intent, Learned, Observation, Sizer};

use crate::error::LogError;
use crate::record::{Record, State};
use crate::ring::{Ring, Room, StateDue};
use crate::writer::Writer;

/// Keeps decisions: the newest of each workload in memory, and on disk where that was asked for.
///
/// Everything that changes a workload's sizer goes through here, since a replay knows of nothing else.
#[derive(Debug, Default)]
pub struct DecisionLog {
    rings: Mutex<BTreeMap<Arc<str>, Ring>>,
    writer: Option<Writer>,
}

/// How the files fare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Lines written.
    pub written: u64,
    /// Decisions that did not get to the disk: it was too slow, full or failed. They were made all the same.
    pub lost: u64,
    /// The last failure.
    pub failure: Option<String>,
}

impl DecisionLog {
    /// In memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// In memory, and in files of `directory`, which never take more than `size` bytes together: the oldest
    /// go. A thread of its own writes them, so that a slow disk holds nothing up.
    ///
    /// A process that is killed loses what was not written yet; a machine that loses its power also what its
    /// kernel had not.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written, another process writes there, or `size` is below 1 MiB.
    pub fn on_disk(directory: &Path, size: u64) -> Result<Self, LogError> {
        Ok(Self {
            writer: Some(Writer::start(directory, size)?),
            ..Self::default()
        })
    }

    /// Lets `sizer` decide about `workload` (`namespace/name`), and keeps what came of it.
    pub fn decide(
        &self,
        workload: &str,
        sizer: &mut Sizer,
        intent: &Arc<Intent>,
        observation: Observation,
    ) -> Decision {
        let (name, due, sequence) = {
            let mut rings = self.rings.lock();
            let name = rings
                .get_key_value(workload)
                .map_or_else(|| Arc::from(workload), |(name, _)| Arc::clone(name));
            let room = Room::of(rings.len());
            let ring = rings.entry(Arc::clone(&name)).or_default();
            (name, ring.due(room), ring.next())
        };
        let before = match due {
            StateDue::No => None,
            StateDue::Continues => Some(Box::new(State::of(sizer, true))),
            StateDue::Anew => Some(Box::new(State::of(sizer, false))),
        };
        let decision = sizer.decide(intent, &observation);
        let record = Arc::new(Record {
            workload: Arc::clone(&name),
            sequence,
            before,
            intent: Arc::clone(intent),
            observation,
            decision: decision.clone(),
        });
        if let Some(writer) = &self.writer {
            writer.write(Arc::clone(&record));
        }
        let mut rings = self.rings.lock();
        let room = Room::of(rings.len());
        rings.entry(name).or_default().push(record, room);
        decision
    }

    /// Notes that another sizer decides about `workload` from now on.
    pub fn begin(&self, workload: &str) {
        if let Some(ring) = self.rings.lock().get_mut(workload) {
            ring.interrupt();
        }
    }

    /// Lets `sizer` take over what another has learned, and keeps a note that it did.
    pub fn adopt(&self, workload: &str, sizer: &mut Sizer, learned: Learned) {
        sizer.adopt(learned);
        self.begin(workload);
    }

    /// The decisions about `workload` that are in memory, the oldest first: half an hour at most, and less
    /// of large workloads and where there are more than twenty. The first one has a state, so that they can be replayed.
    #[must_use]
    pub fn recent(&self, workload: &str) -> Vec<Arc<Record>> {
        self.rings
            .lock()
            .get(workload)
            .map(Ring::records)
            .unwrap_or_default()
    }

    /// Forgets the workloads in memory that are not to be kept.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.rings.lock().retain(|workload, _| keep(workload));
    }

    /// How the files fare; all zero where there are none.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.writer.as_ref().map(Writer::stats).unwrap_or_default()
    }
}
