use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::{Api, ObjectMeta, PostParams};
use rheostat_backoff::Backoff;
use rheostat_reading::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::election::{Election, Holder, LeaseTiming};
use crate::leadership::Leadership;
use crate::stats::Stats;

/// Name of the lease by which the replicas of the scaler agree. All releases share it: another name would let
/// two lead during an update.
pub const LEASE_NAME: &str = "rheostat-scaler";

/// Why the lease could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refuses it for good: a permission or the namespace is missing.
    #[error("the Lease {LEASE_NAME} cannot be had in namespace {namespace:?}")]
    Refused {
        /// Where the lease is.
        namespace: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request failed.
    #[error("the Lease {LEASE_NAME} cannot be asked for")]
    Failed(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("the API server did not answer for the Lease {LEASE_NAME} within {0:?}")]
    Silent(Duration),
}

/// Asks for the lease again and again, and says who leads.
pub(crate) struct Candidate {
    api: Api<Lease>,
    namespace: String,
    identity: Arc<str>,
    timing: LeaseTiming,
    clock: Clock,
    election: Election,
    stats: Arc<Stats>,
    /// What went wrong last, where something did.
    refused: Option<Arc<str>>,
    leads_since: Option<Timestamp>,
}

impl Candidate {
    pub(crate) fn new(
        client: kube::Client,
        namespace: String,
        identity: Arc<str>,
        timing: LeaseTiming,
        clock: Clock,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            election: Election::new(Arc::clone(&identity), timing),
            identity,
            timing,
            clock,
            stats,
            refused: None,
            leads_since: None,
        }
    }

    /// Until `release`; then the lease is given back.
    pub(crate) async fn run(mut self, leadership: watch::Sender<Leadership>, release: CancellationToken) {
        let mut pauses = Backoff::new(
            self.timing.period,
            self.timing.period,
            crate::seed_of(&self.identity),
        );
        let mut failing = false;
        loop {
            let outcome = self.round().await;
            match &outcome {
                Err(error) if !failing => {
                    tracing::warn!(
                        error = crate::chain(error),
                        "who leads among the scalers cannot be settled"
                    );
                }
                Ok(()) if failing => tracing::info!("the lease can be asked for again"),
                _ => {}
            }
            failing = outcome.is_err();
            self.refused = match &outcome {
                Err(error @ LeaseError::Refused { .. }) => Some(crate::chain(error).into()),
                _ => None,
            };
            if failing {
                self.stats.lease_failures.inc();
            }
            self.publish(&leadership);
            let next = Instant::now() + pauses.jitter(self.timing.period);
            // Between two looks, a lease may run out.
            loop {
                let now = Instant::now();
                let wake = self.election.changes_at(now).map_or(next, |at| at.min(next));
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => self.publish(&leadership),
                    () = release.cancelled() => return self.release(&leadership).await,
                }
                if wake >= next {
                    break;
                }
            }
        }
    }

    /// Looks at the lease, and takes or renews it where that is right.
    async fn round(&mut self) -> Result<(), LeaseError> {
        let begun = Instant::now();
        let asked = tokio::time::timeout(self.timing.request, self.ask(begun)).await;
        asked.map_err(|_| LeaseError::Silent(self.timing.request))?
    }

    async fn ask(&mut self, begun: Instant) -> Result<(), LeaseError> {
        let found = self.api.get_opt(LEASE_NAME).await;
        let found = found.map_err(|error| self.failed(error))?;
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        self.election.see(spec, Instant::now());
        let Some(claim) = self.election.claim(spec, Instant::now(), self.wall()) else {
            return Ok(());
        };
        let lease = Lease {
            metadata: found.as_ref().map_or_else(
                || ObjectMeta {
                    name: Some(LEASE_NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                |found| found.metadata.clone(),
            ),
            spec: Some(claim.clone()),
        };
        // With the version that was read: of two that take it, one gets a conflict.
        let parameters = PostParams::default();
        let written = match found {
            Some(_) => self.api.replace(LEASE_NAME, &parameters, &lease).await,
            None => self.api.create(&parameters, &lease).await,
        };
        match written {
            Ok(_) => {
                self.election.claimed(&claim, begun);
                Ok(())
            }
            // Another one was faster; the next look tells who.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Gives the lease back, so that another one need not wait until it has run out.
    async fn release(mut self, leadership: &watch::Sender<Leadership>) {
        let led = self.election.holder(Instant::now()) == Holder::Us;
        self.election.see(None, Instant::now());
        leadership.send_replace(Leadership::Nobody);
        if !led {
            return;
        }
        let giving = async {
            let mut lease = self.api.get(LEASE_NAME).await?;
            if let Some(spec) = &mut lease.spec
                && spec.holder_identity.as_deref() == Some(&*self.identity)
            {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(self.wall());
                self.api
                    .replace(LEASE_NAME, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(self.timing.request, giving).await {
            Ok(Ok(())) => tracing::info!("gave the lease back"),
            Ok(Err(error)) => tracing::warn!(error = crate::chain(&error), "the lease was not given back"),
            Err(_) => tracing::warn!("the lease was not given back: the API server did not answer"),
        }
    }

    /// Says who leads now, where that is news.
    fn publish(&mut self, leadership: &watch::Sender<Leadership>) {
        let (now, instant) = (self.clock.now(), Instant::now());
        let held = self.election.holder(instant);
        let next = match (held, &self.refused) {
            (Holder::Us, _) => Leadership::Leading {
                since: *self.leads_since.get_or_insert(now),
            },
            (Holder::Other { name, until }, _) => Leadership::Following {
                leader: name,
                until: now.plus(until.saturating_duration_since(instant)),
            },
            (Holder::Nobody, Some(reason)) => Leadership::Alone {
                reason: Arc::clone(reason),
            },
            (Holder::Nobody, None) => Leadership::Nobody,
        };
        if !matches!(next, Leadership::Leading { .. }) {
            self.leads_since = None;
        }
        leadership.send_if_modified(|current| {
            let changed = *current != next;
            if changed {
                tell(current, &next);
                *current = next;
            }
            changed
        });
    }

    fn failed(&self, error: kube::Error) -> LeaseError {
        match &error {
            kube::Error::Api(status) if status.is_forbidden() || status.is_not_found() => {
                LeaseError::Refused {
                    namespace: self.namespace.clone(),
                    source: Box::new(error),
                }
            }
            _ => LeaseError::Failed(Box::new(error)),
        }
    }

    fn wall(&self) -> MicroTime {
        MicroTime(wall_time(self.clock.now()))
    }
}

/// As Kubernetes writes times.
pub(crate) fn wall_time(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(at.unix_nanos())).unwrap_or_default()
}

/// Tells the log of another leader.
fn tell(before: &Leadership, now: &Leadership) {
    match now {
        Leadership::Leading { .. } => tracing::info!("leads the scalers: its decisions count, and it writes"),
        Leadership::Following { leader, .. } => {
            if !matches!(before, Leadership::Following { leader: same, .. } if same == leader) {
                tracing::info!(%leader, "another scaler leads");
            }
        }
        Leadership::Alone { reason } => {
            tracing::warn!(%reason, "no lease to agree by: this scaler decides and writes as if it were alone");
        }
        Leadership::Nobody => tracing::info!("no scaler is known to lead"),
    }
}
