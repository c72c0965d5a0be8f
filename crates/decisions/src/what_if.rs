use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_sizing::{Decision, Intent, Schedule};
use serde::Serialize;

use crate::course::Course;
use crate::error::LogError;
use crate::record::Record;
use crate::replay::time;

/// What is supposed instead of what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct Supposed {
    /// What is wanted.
    pub intent: Intent,
    /// What the schedule asks for at that moment.
    pub schedule: Schedule,
}

/// What another intent would have asked for, beside what was asked for.
///
/// What is seen stays what it was: the replicas that were there, and how they fared. So this shows what the
/// other intent says to the same moments, not where its own decisions would have led; the simulator does
/// that.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WhatIf {
    /// One for each workload in the log.
    pub workloads: BTreeMap<Arc<str>, Divergence>,
    /// Decisions left out: the log has no state before them.
    pub left_out: u64,
}

/// How the decisions about one workload differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Divergence {
    /// Decisions that were made under both.
    pub decisions: u64,
    /// Those with another replica count.
    pub different: u64,
    /// Replica-hours that were asked for.
    pub logged_hours: f64,
    /// Replica-hours that the other intent asks for.
    pub supposed_hours: f64,
    /// The most replicas that were asked for.
    pub logged_most: u32,
    /// The most that the other intent asks for.
    pub supposed_most: u32,
    /// The first decision with another replica count: what was decided, and what would be.
    pub first: Option<(Decision, Decision)>,
    /// The one that is furthest off.
    pub furthest: Option<(Decision, Decision)>,
}

/// A pause between two decisions that is longer counts for no more: what was asked for in it is not known.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Makes the decisions of a log again under what `suppose` says to each record.
///
/// # Errors
///
/// When the log cannot be read on.
pub fn what_if(
    records: impl IntoIterator<Item = Result<Record, LogError>>,
    mut suppose: impl FnMut(&Record) -> Supposed,
) -> Result<WhatIf, LogError> {
    let mut found = WhatIf::default();
    let mut courses: BTreeMap<Arc<str>, Beside> = BTreeMap::new();
    for record in records {
        let mut record = record?;
        let beside = courses.entry(Arc::clone(&record.workload)).or_default();
        let Supposed { intent, schedule } = suppose(&record);
        let Some(sizer) = beside.course.part(&record) else {
            found.left_out += 1;
            continue;
        };
        record.observation.schedule = schedule;
        let supposed = sizer.decide(&intent, &record.observation);
        let divergence = found.workloads.entry(record.workload).or_default();
        divergence.take(beside.last.take(), &record.decision, &supposed);
        beside.last = Some((record.decision.at, record.decision.replicas, supposed.replicas));
    }
    Ok(found)
}

#[derive(Debug, Default)]
struct Beside {
    course: Course,
    /// The last decision: when, what was asked for, what would have been.
    last: Option<(Timestamp, u32, u32)>,
}

impl Divergence {
    fn take(&mut self, last: Option<(Timestamp, u32, u32)>, logged: &Decision, supposed: &Decision) {
        if let Some((at, one, two)) = last {
            let hours = logged.at.since(at).min(LONGEST_PAUSE).as_secs_f64() / 3600.0;
            self.logged_hours += hours * f64::from(one);
            self.supposed_hours += hours * f64::from(two);
        }
        self.decisions += 1;
        self.logged_most = self.logged_most.max(logged.replicas);
        self.supposed_most = self.supposed_most.max(supposed.replicas);
        let distance = logged.replicas.abs_diff(supposed.replicas);
        if distance == 0 {
            return;
        }
        self.different += 1;
        let pair = || (logged.clone(), supposed.clone());
        self.first.get_or_insert_with(pair);
        let furthest = self
            .furthest
            .as_ref()
            .map_or(0, |(one, two)| one.replicas.abs_diff(two.replicas));
        if distance > furthest {
            self.furthest = Some(pair());
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (workload, divergence) in &self.workloads {
            writeln!(out, "{workload}\n{divergence}")?;
        }
        if self.workloads.is_empty() {
            writeln!(
                out,
                "no decision could be made again: the log has no state to begin with"
            )?;
        } else if self.left_out > 0 {
            writeln!(
                out,
                "{} decisions left out: there is no state before them",
                self.left_out
            )?;
        }
        writeln!(
            out,
            "What was seen stays what it was; where other decisions would have led, only a simulation tells."
        )
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "  {} of {} decisions ask for another number of replicas",
            self.different, self.decisions
        )?;
        writeln!(
            out,
            "  replica-hours: {:.2} instead of {:.2} ({:+.2}); most replicas: {} instead of {}",
            self.supposed_hours,
            self.logged_hours,
            self.supposed_hours - self.logged_hours,
            self.supposed_most,
            self.logged_most
        )?;
        let pairs = [("first", &self.first), ("furthest off", &self.furthest)];
        for (what, pair) in pairs {
            if let Some((logged, supposed)) = pair {
                writeln!(
                    out,
                    "  {what}, at {}: {} instead of {}",
                    time(logged.at),
                    supposed.replicas,
                    logged.replicas
                )?;
                for step in &supposed.steps {
                    writeln!(out, "    {} {}", step.replicas, step.why)?;
                }
            }
        }
        Ok(())
    }
}
