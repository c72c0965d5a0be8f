use std::time::Duration;

use rheostat_reading::{Absent, Amount, Observed, Quality, Reading, Timestamp, Unit};

use crate::GpuProcess;
use crate::nvml::{Handle, NvmlError, Process, ProcessBuffers, ProcessList, Session};
use crate::sheet::ratio_of_percent;

/// The processes of one device, and what the driver last said of their activity.
#[derive(Debug, Default)]
pub(crate) struct ProcessReader {
    /// Time of the newest sample of activity seen, in the driver's microseconds.
    newest_sample: u64,
    last_read: Option<Timestamp>,
    /// Each active process's part of the SM time by the newest samples, and when they were read. One of which they
    /// only tell what cannot be is not known, and not idle.
    activity: Vec<(u32, Result<f64, Absent>)>,
    activity_at: Option<Timestamp>,
}

/// What to read of a device's processes besides the list itself.
#[derive(Clone, Copy)]
pub(crate) enum Activity {
    /// Nothing: the device (MIG) does not tell what its processes do.
    Untold,
    /// Their part of the SM time. When no sample is newer than the last ones, those stand for this
    /// long: only then was nobody active.
    Told { hold: Duration },
}

/// Twice the driver's longest sampling period: a tick may well come before the next sample does.
pub(crate) const ACTIVITY_HOLD: Duration = Duration::from_secs(2);

/// The most that Linux gives a process for a number (`PID_MAX_LIMIT`). Early drivers of the 535 branch
/// filled the list with garbage, which mostly lies above.
const LARGEST_PID: u32 = 1 << 22;

impl ProcessReader {
    /// The processes on `device`.
    ///
    /// `total_memory` bounds what a process can hold: a driver that reports more does not know.
    pub(crate) fn read(
        &mut self,
        session: &Session,
        device: Handle,
        total_memory: Option<u64>,
        activity: Activity,
        at: Timestamp,
        buffers: &mut ProcessBuffers,
    ) -> Result<Vec<GpuProcess>, NvmlError> {
        let mut processes = Vec::new();
        for list in [ProcessList::Compute, ProcessList::Mps, ProcessList::Graphics] {
            let result = session.processes(device, list, buffers, |process| {
                merge(&mut processes, process, total_memory);
            });
            match result {
                Ok(()) => {}
                // A compute card has no graphics, an old driver no MPS list.
                Err(error) if list != ProcessList::Compute && error.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
        if let Activity::Told { hold } = activity {
            self.read_activity(session, device, hold, at, buffers, &mut processes);
        }
        Ok(processes)
    }

    fn read_activity(
        &mut self,
        session: &Session,
        device: Handle,
        hold: Duration,
        at: Timestamp,
        buffers: &mut ProcessBuffers,
        processes: &mut Vec<GpuProcess>,
    ) {
        let since = self.newest_sample;
        let mut newest = since;
        let mut sums: Vec<(u32, f64, f64)> = Vec::new();
        let mut nonsense: Vec<(u32, Absent)> = Vec::new();
        let result = session.process_utilization(device, since, buffers, |pid, percent, time| {
            newest = newest.max(time);
            let ratio = match ratio_of_percent(percent.into()) {
                Ok(ratio) => ratio,
                Err(reason) => {
                    if is_sane(pid) {
                        nonsense.push((pid, reason));
                    }
                    return;
                }
            };
            match sums.iter_mut().find(|(known, ..)| *known == pid) {
                Some((_, sum, count)) => {
                    *sum += ratio;
                    *count += 1.0;
                }
                None if is_sane(pid) => sums.push((pid, ratio, 1.0)),
                None => {}
            }
        });
        let window = self.last_read.map_or(Duration::ZERO, |last| at.since(last));
        self.last_read = Some(at);
        if let Err(error) = result {
            let reason = Absent::from(error);
            for process in processes {
                process.sm_utilization = Err(reason.clone());
            }
            return;
        }
        let told_anew = newest > since;
        let held = self.activity_at.is_some_and(|told| at.since(told) < hold);
        if told_anew || !held {
            self.newest_sample = newest;
            self.activity = sums
                .iter()
                .map(|&(pid, sum, count)| (pid, Ok(sum / count)))
                .collect();
            for (pid, reason) in nonsense {
                if !self.activity.iter().any(|(known, _)| *known == pid) {
                    self.activity.push((pid, Err(reason)));
                }
            }
            self.activity_at = Some(at);
        }
        let read_at = self.activity_at.unwrap_or(at);
        let observed = |ratio: &Result<f64, Absent>| -> Observed {
            let amount = Amount::new(ratio.clone()?, Unit::Ratio).ok_or(Absent::NotYet)?;
            Ok(Reading {
                amount,
                at: read_at,
                window,
                quality: Quality::Measured,
            })
        };
        for process in processes.iter_mut() {
            let active = self.activity.iter().find(|(pid, _)| *pid == process.pid);
            process.sm_utilization = observed(active.map_or(&Ok(0.0), |(_, ratio)| ratio));
        }
        // A process that has ended since its last sample is on the list no more.
        for (pid, ratio) in self.activity.iter().filter(|_| told_anew) {
            if !processes.iter().any(|process| process.pid == *pid) {
                processes.push(GpuProcess {
                    pid: *pid,
                    used_memory_bytes: None,
                    sm_utilization: observed(ratio),
                });
            }
        }
    }
}

fn merge(processes: &mut Vec<GpuProcess>, process: Process, total_memory: Option<u64>) {
    if !is_sane(process.pid) {
        return;
    }
    let used = process
        .used_memory
        .filter(|&bytes| total_memory.is_none_or(|total| bytes <= total));
    match processes.iter_mut().find(|known| known.pid == process.pid) {
        // One process can have contexts of several kinds, listed with the same memory.
        Some(known) => known.used_memory_bytes = known.used_memory_bytes.max(used),
        None => processes.push(GpuProcess {
            pid: process.pid,
            used_memory_bytes: used,
            sm_utilization: Err(Absent::NotSupported),
        }),
    }
}

const fn is_sane(pid: u32) -> bool {
    pid > 0 && pid <= LARGEST_PID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_not_a_process() {
        let mut processes = Vec::new();
        for pid in [0, u32::MAX, LARGEST_PID + 1] {
            merge(
                &mut processes,
                Process {
                    pid,
                    used_memory: Some(1),
                },
                None,
            );
        }
        assert!(processes.is_empty());
    }

    #[test]
    fn a_process_in_two_lists_is_one() {
        let mut processes = Vec::new();
        merge(
            &mut processes,
            Process {
                pid: 7,
                used_memory: None,
            },
            Some(100),
        );
        merge(
            &mut processes,
            Process {
                pid: 7,
                used_memory: Some(60),
            },
            Some(100),
        );
        merge(
            &mut processes,
            Process {
                pid: 8,
                used_memory: Some(101),
            },
            Some(100),
        );
        assert_eq!(processes.len(), 2);
        assert_eq!(processes[0].used_memory_bytes, Some(60));
        assert_eq!(
            processes[1].used_memory_bytes, None,
            "no process holds more than there is"
        );
    }
}
