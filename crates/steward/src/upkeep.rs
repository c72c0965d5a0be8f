use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rheostat_backoff::Backoff;
use rheostat_cluster::PolicyId;
use rheostat_crd::ScalingPolicyStatus;
use rheostat_reading::Timestamp;
use rheostat_sizing::Learned;
use tokio::time::Instant;

use crate::learned::encode_learned;
use crate::report::PolicyReport;
use crate::stats::Stats;
use crate::status::{is_urgent, status};

/// How often is written.
#[derive(Clone, Copy, Debug)]
pub struct WritePace {
    /// Least time between two writes of one policy's status. Shorter lets a count that flaps load the API server.
    pub urgent: Duration,
    /// Least time between two writes where no count and no condition changed.
    pub usual: Duration,
    /// Least time between two looks at what was learned of a workload: what a crash may cost.
    pub learned: Duration,
    /// Least time between any two writes: the most that all policies together ask of the API server.
    pub between: Duration,
    /// Pauses after a failed write, the first and the longest.
    pub retry: (Duration, Duration),
}

impl Default for WritePace {
    fn default() -> Self {
        Self {
            urgent: Duration::from_secs(1),
            usual: Duration::from_secs(60),
            learned: Duration::from_secs(300),
            between: Duration::from_millis(50),
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// What stands in the status of each policy, and what is to stand there when. Pure but for counting: time is an
/// argument.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// What this replica calls itself.
    identity: Arc<str>,
    pace: WritePace,
    stats: Arc<Stats>,
    known: BTreeMap<PolicyId, Known>,
}

/// A status that is to be written now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) id: PolicyId,
    pub(crate) uid: String,
    pub(crate) status: ScalingPolicyStatus,
}

#[derive(Debug)]
struct Known {
    uid: String,
    /// As it was read at first and written last.
    status: ScalingPolicyStatus,
    learned: BTreeMap<Arc<str>, Text>,
    written: Option<Instant>,
    /// What changed, but in no count or condition, waits since then.
    met: Instant,
    writing: bool,
    retry_at: Option<Instant>,
    retries: Backoff,
    /// The last write failed. It may have been carried out all the same: what stands there is not known.
    failing: bool,
}

/// What was learned of a workload, as text.
#[derive(Debug)]
struct Text {
    text: String,
    /// What it was made of; `None` where another scaler wrote it.
    from: Option<Arc<Learned>>,
    made: Instant,
}

/// What was learned of so many workloads is made text in one call: each takes milliseconds, and the task that does it
/// renews the lease, too.
const MOST_MADE: usize = 8;

/// Most characters of what was learned in one status: an API object holds 1 MiB.
const MOST_LEARNED: usize = 512 * 1024;

impl Upkeep {
    pub(crate) fn new(identity: Arc<str>, pace: WritePace, stats: Arc<Stats>) -> Self {
        Self {
            identity,
            pace,
            stats,
            known: BTreeMap::new(),
        }
    }

    /// Forgets all: another one writes.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// What is to be written at `now`, the longest due first, and when to look again if nothing happens.
    /// With `last` this is the last chance, and nothing waits.
    pub(crate) fn due(
        &mut self,
        reports: &[PolicyReport],
        now: Instant,
        wall: Timestamp,
        last: bool,
    ) -> (Vec<Write>, Option<Instant>) {
        let present: BTreeSet<_> = reports.iter().map(|report| &report.policy.id).collect();
        self.known
            .retain(|id, known| known.writing || present.contains(id));
        let (period, mut room) = match last {
            true => (Duration::ZERO, usize::MAX),
            false => (self.pace.learned, MOST_MADE),
        };
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for report in reports {
            let id = &report.policy.id;
            let fresh = || Known::new(report, now, self.pace);
            let known = self.known.entry(id.clone()).or_insert_with(fresh);
            if known.writing {
                continue;
            }
            if known.uid != report.policy.uid {
                *known = Known::new(report, now, self.pace);
            }
            known.learn(report, now, period, &mut room, &self.stats);
            let texts = known.texts();
            let wanted = status(report, &known.status, &texts, &self.identity, wall);
            if wanted == known.status && !known.failing {
                continue;
            }
            // Those who follow may be answering with what was tried in vain.
            let urgent = known.failing || is_urgent(&known.status, &wanted);
            let at = known.due_at(urgent, self.pace);
            if last || at <= now {
                due.push((
                    at,
                    Write {
                        id: id.clone(),
                        uid: known.uid.clone(),
                        status: wanted,
                    },
                ));
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        due.sort_by_key(|(at, _)| *at);
        (due.into_iter().map(|(_, write)| write).collect(), next)
    }

    /// The write has begun: the policy is left alone until [`ended`](Self::ended).
    pub(crate) fn begun(&mut self, id: &PolicyId) {
        if let Some(known) = self.known.get_mut(id) {
            known.writing = true;
        }
    }

    /// The write has ended. Returns whether that is worth a word in the log: the first failure, and the success
    /// after failures.
    pub(crate) fn ended(&mut self, write: Write, now: Instant, succeeded: bool) -> bool {
        let Some(known) = self.known.get_mut(&write.id) else {
            return false;
        };
        known.writing = false;
        known.written = Some(now);
        let changed = known.failing == succeeded;
        known.failing = !succeeded;
        if succeeded {
            known.status = write.status;
            known.retry_at = None;
            known.retries.reset();
        } else {
            known.retry_at = Some(now + known.retries.pause());
        }
        changed
    }
}

impl Known {
    fn new(report: &PolicyReport, now: Instant, pace: WritePace) -> Self {
        // What cannot be read is written over; the scaler that reads it has said so.
        let status = ScalingPolicyStatus::read(&report.policy.status).unwrap_or_default();
        let learned = status.workloads.iter().filter_map(|workload| {
            let text = Text {
                text: workload.learned.clone()?,
                from: None,
                made: now,
            };
            Some((workload.name.as_str().into(), text))
        });
        Self {
            uid: report.policy.uid.clone(),
            learned: learned.collect(),
            status,
            written: None,
            met: now,
            writing: false,
            retry_at: None,
            retries: Backoff::new(pace.retry.0, pace.retry.1, crate::seed_of(&report.policy.uid)),
            failing: false,
        }
    }

    /// Makes texts of what was learned, where the last ones are older than `period` and there is `room` for more.
    fn learn(
        &mut self,
        report: &PolicyReport,
        now: Instant,
        period: Duration,
        room: &mut usize,
        stats: &Stats,
    ) {
        let present: BTreeSet<_> = report.workloads.iter().map(|workload| &workload.name).collect();
        self.learned.retain(|name, _| present.contains(name));
        for workload in &report.workloads {
            let Some(learned) = &workload.learned else {
                continue;
            };
            let text = self.learned.get(&workload.name);
            let same = text
                .and_then(|text| text.from.as_ref())
                .is_some_and(|from| Arc::ptr_eq(from, learned));
            let made = text.map_or(self.met, |text| text.made);
            if same || now.saturating_duration_since(made) < period || *room == 0 {
                continue;
            }
            *room -= 1;
            let text = encode_learned(learned).unwrap_or_else(|error| {
                stats.learned_dropped.inc();
                tracing::warn!(
                    policy = %report.policy.id.name,
                    workload = %workload.name,
                    error = crate::chain(&error),
                    "what was learned does not survive a restart"
                );
                String::new()
            });
            let text = Text {
                text,
                from: Some(Arc::clone(learned)),
                made: now,
            };
            self.learned.insert(Arc::clone(&workload.name), text);
        }
    }

    fn texts(&self) -> BTreeMap<Arc<str>, String> {
        let mut room = MOST_LEARNED;
        let mut texts = BTreeMap::new();
        for (name, text) in &self.learned {
            if text.text.is_empty() || text.text.len() > room {
                continue;
            }
            room -= text.text.len();
            texts.insert(Arc::clone(name), text.text.clone());
        }
        texts
    }

    fn due_at(&self, urgent: bool, pace: WritePace) -> Instant {
        let at = match (urgent, self.written) {
            (true, None) => self.met,
            (true, Some(written)) => written + pace.urgent,
            (false, written) => written.unwrap_or(self.met) + pace.usual,
        };
        self.retry_at.map_or(at, |retry| retry.max(at))
    }
}

#[cfg(test)]
mod tests {
    use rheostat_cluster::{ScalingPolicy, WorkloadKind};
    use serde_json::Value;

    use super::*;
    use crate::report::WorkloadReport;

    #[test]
    fn what_was_learned_is_made_text_of_a_few_workloads_at_a_time() {
        let id = PolicyId {
            namespace: "models".into(),
            name: "chat".into(),
        };
        let workload = |number: usize| WorkloadReport {
            name: format!("chat-{number}").into(),
            kind: WorkloadKind::ScaledObject,
            uid: "uid".into(),
            decision: Err("not decided yet".into()),
            gpus: None,
            learned: Some(Arc::default()),
        };
        let reports = [PolicyReport {
            policy: Arc::new(ScalingPolicy {
                id: id.clone(),
                uid: "uid".into(),
                generation: 1,
                spec: Value::Null,
                status: Value::Null,
            }),
            problem: None,
            workloads: (0..2 * MOST_MADE + 1).map(workload).collect(),
        }];
        let (pace, start, wall) = (WritePace::default(), Instant::now(), Timestamp::default());
        let mut upkeep = Upkeep::new("a".into(), pace, Arc::default());
        let mut made = |seconds: u64, last: bool| {
            upkeep.due(&reports, start + Duration::from_secs(seconds), wall, last);
            upkeep.known[&id].learned.len()
        };
        assert_eq!(made(0, false), 0);
        assert_eq!(made(300, false), MOST_MADE);
        assert_eq!(made(301, false), 2 * MOST_MADE);
        assert_eq!(made(302, false), 2 * MOST_MADE + 1);
        let mut upkeep = Upkeep::new("a".into(), pace, Arc::default());
        upkeep.due(&reports, start, wall, true);
        assert_eq!(
            upkeep.known[&id].learned.len(),
            2 * MOST_MADE + 1,
            "at the end, all"
        );
    }
}
