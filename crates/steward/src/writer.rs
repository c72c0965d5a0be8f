use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use rheostat_crd::{GROUP, KIND, PLURAL, VERSION};
use rheostat_reading::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::leadership::Leadership;
use crate::notices::{Notice, Notices};
use crate::report::PolicyReport;
use crate::stats::Stats;
use crate::status::patch;
use crate::upkeep::{Upkeep, Write, WritePace};

/// A status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The API server did not take it.
    #[error("the API server did not take it")]
    Refused(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
    /// It is no JSON.
    #[error("the status is no JSON")]
    Json(#[from] serde_json::Error),
}

/// Who wrote a field, in `metadata.managedFields`.
const FIELD_MANAGER: &str = "rheostat-scaler";

/// Writes that may be under way at once: one that hangs must not hold up the others.
const MOST_AT_ONCE: usize = 8;

/// All that is left to write when the scaler stops must be written within this time; kubelets wait for 30 s.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Keeps the statuses of policies while this replica leads, and notices what is worth an Event.
pub(crate) struct Writer {
    client: kube::Client,
    resource: ApiResource,
    clock: Clock,
    stats: Arc<Stats>,
    pace: WritePace,
    /// A write ends after so long, before another replica may lead.
    patience: Duration,
    upkeep: Upkeep,
    notices: Notices,
    recorder: mpsc::Sender<Notice>,
    writes: JoinSet<(Write, Result<(), StatusError>)>,
}

impl Writer {
    pub(crate) fn new(
        client: kube::Client,
        identity: Arc<str>,
        clock: Clock,
        pace: WritePace,
        patience: Duration,
        recorder: mpsc::Sender<Notice>,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            client,
            resource: ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), PLURAL),
            clock,
            upkeep: Upkeep::new(identity, pace, Arc::clone(&stats)),
            stats,
            pace,
            patience,
            notices: Notices::default(),
            recorder,
            writes: JoinSet::new(),
        }
    }

    /// Until `shutdown`; then what is left is written.
    pub(crate) async fn run(
        mut self,
        mut reports: watch::Receiver<Arc<[PolicyReport]>>,
        mut leadership: watch::Receiver<Leadership>,
        shutdown: CancellationToken,
    ) {
        let mut free_at = Instant::now();
        loop {
            let latest = Arc::clone(&reports.borrow_and_update());
            let leads = leadership.borrow_and_update().leads();
            let mut wake = None;
            if leads {
                let now = Instant::now();
                self.notice(&latest, now);
                let (due, next) = self.upkeep.due(&latest, now, self.clock.now(), false);
                wake = next;
                if let Some(write) = due.into_iter().next()
                    && self.writes.len() < MOST_AT_ONCE
                {
                    if free_at <= now {
                        self.begin(write);
                        free_at = now + self.pace.between;
                    }
                    wake = Some(free_at);
                }
            } else {
                self.notices.clear();
                if self.writes.is_empty() {
                    self.upkeep.clear();
                }
            }
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = reports.changed() => {}
                Ok(()) = leadership.changed() => {}
                Some(Ok((write, outcome))) = self.writes.join_next() => self.end(write, outcome),
                () = sleep => {}
                () = shutdown.cancelled() => break,
            }
        }
        if leadership.borrow().leads() {
            let latest = Arc::clone(&reports.borrow());
            if tokio::time::timeout(LAST_WORDS, self.last_words(&latest))
                .await
                .is_err()
            {
                tracing::warn!("not every status could be written before the end");
            }
        }
    }

    /// Writes all that is not written yet, however young.
    async fn last_words(&mut self, reports: &[PolicyReport]) {
        while let Some(ended) = self.writes.join_next().await {
            if let Ok((write, outcome)) = ended {
                self.end(write, outcome);
            }
        }
        let (due, _) = self.upkeep.due(reports, Instant::now(), self.clock.now(), true);
        for write in due {
            if self.writes.len() >= MOST_AT_ONCE
                && let Some(Ok((write, outcome))) = self.writes.join_next().await
            {
                self.end(write, outcome);
            }
            self.begin(write);
        }
        while let Some(ended) = self.writes.join_next().await {
            if let Ok((write, outcome)) = ended {
                self.end(write, outcome);
            }
        }
    }

    fn notice(&mut self, reports: &[PolicyReport], now: Instant) {
        for notice in self.notices.find(reports, now) {
            if self.recorder.try_send(notice).is_err() {
                self.stats.events_dropped.inc();
            }
        }
    }

    fn begin(&mut self, write: Write) {
        self.upkeep.begun(&write.id);
        let api =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &write.id.namespace, &self.resource);
        let patience = self.patience;
        self.writes.spawn(async move {
            let written = async {
                let patch = patch(&write.status, &write.uid)?;
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let written = api
                    .patch_status(&write.id.name, &parameters, &Patch::Merge(patch))
                    .await;
                written
                    .map(drop)
                    .map_err(|error| StatusError::Refused(Box::new(error)))
            };
            let outcome = tokio::time::timeout(patience, written).await;
            let outcome = outcome.unwrap_or(Err(StatusError::Silent(patience)));
            (write, outcome)
        });
    }

    fn end(&mut self, write: Write, outcome: Result<(), StatusError>) {
        let (namespace, policy) = (write.id.namespace.clone(), write.id.name.clone());
        match &outcome {
            Ok(()) => self.stats.statuses.inc(),
            Err(_) => self.stats.status_failures.inc(),
        }
        let news = self.upkeep.ended(write, Instant::now(), outcome.is_ok());
        match outcome {
            Ok(()) if news => tracing::info!(%namespace, %policy, "its status can be written again"),
            Err(error) if news => {
                tracing::warn!(%namespace, %policy, error = crate::chain(&error), "its status cannot be written");
            }
            _ => {}
        }
    }
}
