use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rheostat_sizing::Decision;
use serde::Serialize;

use crate::course::{Course, StateCheck, same};
use crate::error::LogError;
use crate::record::Record;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replay {
    /// Workloads in the log.
    pub workloads: usize,
    /// Decisions that were made again.
    pub decisions: u64,
    /// Those that came out differently.
    pub different: u64,
    /// The first of them.
    pub first: Option<Difference>,
    /// Decisions that could not be made again: the log has no state before them, or records are missing in
    /// between.
    pub left_out: u64,
    /// States on the way that were compared with what the replay came to.
    pub states: u64,
    /// Those that were different.
    pub states_different: u64,
    /// Where the first such state is: workload and number of the record.
    pub first_state: Option<(Arc<str>, u64)>,
    /// The versions of Rheostat that wrote it.
    pub versions: BTreeSet<String>,
}

/// A decision that came out differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Whose.
    pub workload: Arc<str>,
    /// Number of the record.
    pub sequence: u64,
    /// As it is in the log.
    pub logged: Decision,
    /// As it came out now.
    pub replayed: Decision,
}

/// Makes the decisions of a log again, and compares.
///
/// # Errors
///
/// When the log cannot be read on.
pub fn replay(records: impl IntoIterator<Item = Result<Record, LogError>>) -> Result<Replay, LogError> {
    let mut found = Replay::default();
    let mut courses: BTreeMap<Arc<str>, Course> = BTreeMap::new();
    for record in records {
        let record = record?;
        if let Some(state) = &record.before {
            found.versions.insert(state.version.clone());
        }
        let course = courses.entry(Arc::clone(&record.workload)).or_default();
        let (sizer, check) = course.reach(&record);
        if check != StateCheck::None {
            found.states += 1;
        }
        if check == StateCheck::Different {
            found.states_different += 1;
            found
                .first_state
                .get_or_insert_with(|| (Arc::clone(&record.workload), record.sequence));
        }
        let Some(sizer) = sizer else {
            found.left_out += 1;
            continue;
        };
        let replayed = sizer.decide(&record.intent, &record.observation);
        found.decisions += 1;
        if !same(&replayed, &record.decision) {
            found.different += 1;
            found.first.get_or_insert(Difference {
                workload: record.workload,
                sequence: record.sequence,
                logged: record.decision,
                replayed,
            });
        }
    }
    found.workloads = courses.len();
    Ok(found)
}

impl Replay {
    /// Whether everything that could be made again came out the same, bit for bit, and there was something.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.decisions > 0 && self.different == 0 && self.states_different == 0
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} decisions about {} workloads made again: ",
            self.decisions, self.workloads
        )?;
        match (self.decisions, self.different) {
            (0, _) => writeln!(out, "none, the log has no state to begin with")?,
            (_, 0) => writeln!(out, "all of them the same, bit for bit")?,
            (_, different) => writeln!(out, "{different} came out differently")?,
        }
        if self.left_out > 0 {
            writeln!(
                out,
                "{} left out: there is no state before them, or records in between are missing",
                self.left_out
            )?;
        }
        if self.states > 0 {
            writeln!(
                out,
                "{} of {} states on the way the same",
                self.states - self.states_different,
                self.states
            )?;
        }
        if let Some((workload, sequence)) = &self.first_state {
            writeln!(
                out,
                "the first state that differs: {workload}, before decision {sequence}"
            )?;
        }
        if let Some(difference) = &self.first {
            write!(out, "{difference}")?;
        }
        let this = env!("CARGO_PKG_VERSION");
        if self.versions.iter().any(|version| version != this) {
            let versions: Vec<_> = self.versions.iter().map(String::as_str).collect();
            writeln!(
                out,
                "the log was written by version {}, and this is {this}: they may decide differently",
                versions.join(", ")
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "the first that differs: {}, decision {}, at {}",
            self.workload,
            self.sequence,
            time(self.logged.at)
        )?;
        for (what, decision) in [("in the log", &self.logged), ("replayed", &self.replayed)] {
            writeln!(out, "  {what}: {}", in_words(decision))?;
            for step in &decision.steps {
                writeln!(out, "    {} {}", step.replicas, step.why)?;
            }
        }
        if self.logged.steps == self.replayed.steps {
            writeln!(out, "  figures in the log: {:?}", self.logged.figures)?;
            writeln!(out, "  figures replayed:   {:?}", self.replayed.figures)?;
        }
        Ok(())
    }
}

/// A decision in a few words.
fn in_words(decision: &Decision) -> String {
    let active = if decision.active { "active" } else { "inactive" };
    format!("{} replicas, {active}, {:?}", decision.replicas, decision.outcome)
}

/// A moment for a person.
pub(crate) fn time(at: rheostat_reading::Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.unix_nanos()))
        .map_or_else(|_| format!("{} ns", at.unix_nanos()), |at| at.to_string())
}
