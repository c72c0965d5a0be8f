use std::sync::Arc;

use rheostat_sizing::{Decision, Intent, Observation, Sizer};
use serde::{Deserialize, Serialize};

/// One decision, with everything that it rests on. A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Whose, such as `team-a/chat`.
    pub workload: Arc<str>,
    /// Decisions of one workload are numbered without a gap: one that is missing was lost.
    pub sequence: u64,
    /// What the sizer knew before it decided; only now and then, so that a replay can begin there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<State>>,
    /// What was wanted.
    pub intent: Arc<Intent>,
    /// What was seen.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
}

/// What a sizer knew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of Rheostat that wrote it: another one may decide differently, rightly.
    pub version: String,
    /// Whether it is what the decision before left behind; otherwise something else came in between: a
    /// restart, or what another replica had learned.
    pub continues: bool,
    /// The sizer itself.
    pub sizer: Sizer,
}

impl State {
    pub(crate) fn of(sizer: &Sizer, continues: bool) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            continues,
            sizer: sizer.clone(),
        }
    }
}

/// A record as it is written, with the state left out where the file has one already.
#[derive(Serialize)]
struct Line<'a> {
    workload: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a State>,
    intent: &'a Intent,
    observation: &'a Observation,
    decision: &'a Decision,
}

impl Record {
    /// Its line, newline included, with or without the state before it.
    pub(crate) fn line(&self, with_state: bool) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&Line {
            workload: &self.workload,
            sequence: self.sequence,
            before: self.before.as_deref().filter(|_| with_state),
            intent: &self.intent,
            observation: &self.observation,
            decision: &self.decision,
        })?;
        line.push(b'\n');
        Ok(line)
    }

    /// The record as a line of a log, newline included: what [`crate::Reader`] reads.
    ///
    /// # Errors
    ///
    /// Never for what a sizer decides; JSON has no other failure here than text that is no UTF-8.
    pub fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        self.line(true)
    }
}
