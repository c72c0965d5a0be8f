use std::sync::Arc;

use rheostat_reading::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::election::LeaseTiming;
use crate::leadership::Leadership;
use crate::lease::Candidate;
use crate::recorder::{MOST_WAITING, Recorder};
use crate::report::PolicyReport;
use crate::stats::Stats;
use crate::upkeep::WritePace;
use crate::writer::Writer;

/// The part of a replica of the scaler that agrees with the others on who leads, and writes while it leads.
#[derive(Debug)]
pub struct Steward {
    leadership: watch::Receiver<Leadership>,
    stats: Arc<Stats>,
    task: JoinHandle<()>,
}

/// How a steward is to work.
#[derive(Clone, Debug)]
pub struct StewardOptions {
    /// Name of the pod that this replica is: the leader is called by it.
    pub pod: String,
    /// Namespace of the lease, the scaler's own. Without one there is nothing to agree by, and this replica
    /// decides and writes as if it were alone.
    pub namespace: Option<String>,
    /// Times of the lease.
    pub lease: LeaseTiming,
    /// How often is written.
    pub pace: WritePace,
}

impl Steward {
    /// Begins to stand for leader and, while it leads, to write what `reports` say, until `shutdown`. Needs a
    /// tokio runtime.
    #[must_use]
    pub fn start(
        client: kube::Client,
        options: StewardOptions,
        clock: Clock,
        reports: watch::Receiver<Arc<[PolicyReport]>>,
        shutdown: CancellationToken,
    ) -> Self {
        let stats = Arc::new(Stats::default());
        let (sender, leadership) = watch::channel(Leadership::Nobody);
        let identity: Arc<str> = format!("{}_{:016x}", options.pod, crate::seed_of(&options.pod)).into();
        let candidate = options.namespace.map(|namespace| {
            let stats = Arc::clone(&stats);
            Candidate::new(
                client.clone(),
                namespace,
                Arc::clone(&identity),
                options.lease,
                clock.clone(),
                stats,
            )
        });
        let patience = options.lease.request;
        let (notices, noticed) = mpsc::channel(MOST_WAITING);
        let recorder = Recorder::new(
            client.clone(),
            Arc::clone(&identity),
            clock.clone(),
            patience,
            Arc::clone(&stats),
        );
        let writer = Writer::new(
            client,
            identity,
            clock,
            options.pace,
            patience,
            notices,
            Arc::clone(&stats),
        );
        let leads = leadership.clone();
        let task = tokio::spawn(async move {
            // Leads until the last word is written.
            let release = CancellationToken::new();
            let standing = async {
                match candidate {
                    Some(candidate) => candidate.run(sender, release.clone()).await,
                    None => alone(sender, release.clone()).await,
                }
            };
            let writing = async {
                writer.run(reports, leads, shutdown).await;
                release.cancel();
            };
            // Ends soon after the writer, with what that had to tell.
            let recording = async {
                let late = async {
                    release.cancelled().await;
                    tokio::time::sleep(patience).await;
                };
                tokio::select! {
                    () = recorder.run(noticed) => {}
                    () = late => {}
                }
            };
            tokio::join!(standing, writing, recording);
        });
        Self {
            leadership,
            stats,
            task,
        }
    }

    /// Who leads, as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// What it counts about itself.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Waits until it was told to shut down, has written what is left and has given the lease back.
    ///
    /// # Errors
    ///
    /// It failed inside.
    pub async fn finished(self) -> Result<(), JoinError> {
        self.task.await
    }
}

/// Leads without a lease.
async fn alone(leadership: watch::Sender<Leadership>, release: CancellationToken) {
    let reason: Arc<str> = "the namespace of the lease is not known".into();
    tracing::warn!(%reason, "no lease to agree by: this scaler decides and writes as if it were alone");
    leadership.send_replace(Leadership::Alone { reason });
    release.cancelled().await;
    leadership.send_replace(Leadership::Nobody);
}
