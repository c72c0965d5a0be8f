use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_reading::Timestamp;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::servers::QueryId;

/// The newest result of every query.
#[derive(Debug)]
pub struct Board {
    results: Mutex<HashMap<QueryId, Arc<QueryResult>>>,
    changes: watch::Sender<u64>,
}

/// What is known of a query's result.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    /// The last answer, however old; `None` where there never was one.
    pub answered: Option<Arc<Answered>>,
    /// Why there is no newer one; `None` where the last attempt was answered.
    pub failed: Option<Failed>,
}

/// An answer, and when it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// When the query was sent, on our clock: the answer is no older.
    pub asked_at: Timestamp,
    /// When the answer had come, on our clock.
    pub answered_at: Timestamp,
    /// What it was.
    pub answer: Answer,
}

/// Attempts that failed, without a success since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The first of them.
    pub since: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many there were.
    pub attempts: u64,
    /// What the last of them failed of.
    pub reason: String,
}

impl Answered {
    /// How old the answer is at `now`, counted from when it was asked for.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.asked_at)
    }
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            results: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What is known of `query`; `None` where nobody asks it. A query that was not answered yet is
    /// there, with nothing in it.
    #[must_use]
    pub fn get(&self, query: &QueryId) -> Option<Arc<QueryResult>> {
        self.results.lock().get(query).map(Arc::clone)
    }

    /// All of them as they are now. Whoever evaluates many triggers takes this once for all of them.
    #[must_use]
    pub fn all(&self) -> Arc<HashMap<QueryId, Arc<QueryResult>>> {
        Arc::new(self.results.lock().clone())
    }

    /// A number that changes whenever any result, or the set of queries, does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// These are the queries now, in any order.
    pub(crate) fn keep<'a>(&self, queries: impl IntoIterator<Item = &'a QueryId>) {
        let mut results = self.results.lock();
        let mut old = std::mem::take(&mut *results);
        for query in queries {
            let (query, result) = old
                .remove_entry(query)
                .unwrap_or_else(|| (query.clone(), Arc::default()));
            results.insert(query, result);
        }
        drop(results);
        self.changed();
    }

    pub(crate) fn put(&self, query: &QueryId, outcome: Result<Answered, (Timestamp, String)>) {
        if let Some(result) = self.results.lock().get_mut(query) {
            *result = Arc::new(match outcome {
                Ok(answered) => QueryResult {
                    answered: Some(Arc::new(answered)),
                    failed: None,
                },
                Err((now, reason)) => QueryResult {
                    answered: result.answered.clone(),
                    failed: Some(Failed {
                        since: result.failed.as_ref().map_or(now, |failed| failed.since),
                        last: now,
                        attempts: result.failed.as_ref().map_or(0, |failed| failed.attempts) + 1,
                        reason,
                    }),
                },
            });
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}
