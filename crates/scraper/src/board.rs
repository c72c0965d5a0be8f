use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rheostat_engines::{EngineReport, TargetId, View};
use tokio::sync::watch;

/// The newest report of every target.
#[derive(Debug)]
pub struct Board {
    reports: ArcSwap<HashMap<TargetId, Arc<Slot>>>,
    changes: watch::Sender<u64>,
}

/// Where the reports of one view of one endpoint are put.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) view: View,
    report: Mutex<Arc<EngineReport>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            reports: ArcSwap::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What was last heard of `target`; `None` where it is not among the targets. Its readings tell
    /// their own age.
    #[must_use]
    pub fn get(&self, target: &TargetId) -> Option<Arc<EngineReport>> {
        self.reports.load().get(target).map(|slot| slot.report())
    }

    /// What was last heard of every target, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<(TargetId, Arc<EngineReport>)> {
        let reports = self.reports.load();
        reports
            .iter()
            .map(|(target, slot)| (target.clone(), slot.report()))
            .collect()
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reports.load().len()
    }

    /// Whether there is no target.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that changes whenever any report, or the set of targets, does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn replace(&self, reports: HashMap<TargetId, Arc<Slot>>) {
        self.reports.store(Arc::new(reports));
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Slot {
    pub(crate) fn new(view: View, report: EngineReport) -> Self {
        Self {
            view,
            report: Mutex::new(Arc::new(report)),
        }
    }

    pub(crate) fn put(&self, report: EngineReport) {
        *self.report.lock() = Arc::new(report);
    }

    pub(crate) fn report(&self) -> Arc<EngineReport> {
        Arc::clone(&self.report.lock())
    }
}
