use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rheostat_promtext::{Counter, Histogram};

/// What was asked of one server since it is known, for metrics.
#[derive(Debug)]
pub struct Stats {
    /// Queries that ended, well or not.
    pub queries: Counter,
    /// How long they took, in seconds.
    pub durations: Histogram,
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

/// The statistics of every server that was ever asked, by name.
#[derive(Debug, Default)]
pub(crate) struct AllStats(Mutex<BTreeMap<Arc<str>, Arc<Stats>>>);

impl Stats {
    fn new() -> Self {
        Self {
            queries: Counter::new(),
            durations: Histogram::seconds(),
            failures: Mutex::default(),
        }
    }

    /// Queries without an answer, by [`QueryFailure::kind`](crate::QueryFailure::kind); kinds that
    /// never happened are not there.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().clone()
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        *self.failures.lock().entry(kind).or_default() += 1;
    }
}

impl AllStats {
    pub(crate) fn of(&self, server: &Arc<str>) -> Arc<Stats> {
        let mut all = self.0.lock();
        Arc::clone(
            all.entry(Arc::clone(server))
                .or_insert_with(|| Arc::new(Stats::new())),
        )
    }

    pub(crate) fn all(&self) -> Vec<(Arc<str>, Arc<Stats>)> {
        let all = self.0.lock();
        all.iter()
            .map(|(name, stats)| (Arc::clone(name), Arc::clone(stats)))
            .collect()
    }

    /// Forgets servers that are configured no longer.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.0.lock().retain(|name, _| keep(name));
    }
}
