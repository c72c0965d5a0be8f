use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::directory::Directory;
use crate::error::LogError;
use crate::log::LogStats;
use crate::record::Record;

/// A thread that writes records to a directory. Nobody waits for it.
#[derive(Debug)]
pub(crate) struct Writer {
    records: Option<SyncSender<Arc<Record>>>,
    stats: Arc<Mutex<LogStats>>,
    thread: Option<JoinHandle<()>>,
}

/// Records that may wait to be written. With large workloads some 100 kB each.
const QUEUE: usize = 256;

/// A state on disk after so many lines of a workload: an hour at a decision every five seconds. More often
/// costs space, more seldom loses more of a log whose beginning is gone.
const STATE_AFTER: u32 = 720;

impl Writer {
    pub(crate) fn start(directory: &Path, size: u64) -> Result<Self, LogError> {
        let files = Directory::open(directory, size)?;
        let (records, queue) = sync_channel(QUEUE);
        let stats = Arc::new(Mutex::new(LogStats::default()));
        let mut lines = Lines {
            files,
            stats: Arc::clone(&stats),
            workloads: BTreeMap::new(),
        };
        let thread = thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || lines.run(&queue))
            .map_err(LogError::io(directory))?;
        Ok(Self {
            records: Some(records),
            stats,
            thread: Some(thread),
        })
    }

    pub(crate) fn write(&self, record: Arc<Record>) {
        // Gone only while it is dropped.
        let Some(records) = &self.records else { return };
        if let Err(error) = records.try_send(record) {
            let mut stats = self.stats.lock();
            stats.lost += 1;
            stats.failure = Some(why_lost(&error).to_owned());
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        self.stats.lock().clone()
    }
}

const fn why_lost<T>(error: &TrySendError<T>) -> &'static str {
    match error {
        TrySendError::Full(_) => "the disk is slower than the decisions",
        TrySendError::Disconnected(_) => {
            "the thread that writes has ended, and nothing is written until a restart: a defect, please report it"
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What waits is written still.
        self.records = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Lines {
    files: Directory,
    stats: Arc<Mutex<LogStats>>,
    workloads: BTreeMap<Arc<str>, Written>,
}

/// What the present file has of a workload.
struct Written {
    /// The last record.
    sequence: u64,
    /// Lines since the last state.
    since: u32,
}

impl Lines {
    fn run(&mut self, queue: &Receiver<Arc<Record>>) {
        while let Ok(record) = queue.recv() {
            let outcome = self.write(&record);
            let mut stats = self.stats.lock();
            match outcome {
                Ok(()) => stats.written += 1,
                Err(failure) => {
                    stats.lost += 1;
                    stats.failure = Some(failure);
                }
            }
        }
    }

    fn write(&mut self, record: &Record) -> Result<(), String> {
        let line = self.line(record)?;
        let line = if self.files.is_full(line.len()) {
            self.files.rotate().map_err(|error| error.to_string())?;
            self.workloads.clear();
            self.line(record)?
        } else {
            line
        };
        if !self.files.fits(line.len()) {
            return Err(format!(
                "a decision about {} of {} bytes does not fit a file; the log's size is too small",
                record.workload,
                line.len()
            ));
        }
        self.files.append(&line).map_err(|error| error.to_string())?;
        let since = match self.workloads.get(&record.workload) {
            Some(written) if !self.wants_state(record) => written.since + 1,
            _ if record.before.is_some() => 0,
            _ => STATE_AFTER,
        };
        self.workloads.insert(
            Arc::clone(&record.workload),
            Written {
                sequence: record.sequence,
                since,
            },
        );
        Ok(())
    }

    fn line(&self, record: &Record) -> Result<Vec<u8>, String> {
        record
            .line(self.wants_state(record))
            .map_err(|error| error.to_string())
    }

    /// Whether the record's state is worth its space: the file has none of the workload, or it is long ago,
    /// or records in between were lost, or it begins anew.
    fn wants_state(&self, record: &Record) -> bool {
        record.before.as_ref().is_some_and(|state| !state.continues)
            || self
                .workloads
                .get(&record.workload)
                .is_none_or(|written| written.since >= STATE_AFTER || written.sequence + 1 != record.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_told_from_a_thread_that_has_ended() {
        let (records, queue) = sync_channel(1);
        records.try_send(()).unwrap();
        let full = records.try_send(()).unwrap_err();
        assert!(why_lost(&full).contains("slower"));
        drop(queue);
        let ended = records.try_send(()).unwrap_err();
        assert!(why_lost(&ended).contains("has ended"));
    }
}
