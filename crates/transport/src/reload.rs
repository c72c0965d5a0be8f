use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use crate::material::{MaterialError, Source};

/// How often the files are looked at. The kubelet itself takes up to a minute to bring a changed
/// Secret into a pod, and certificates are renewed days before they expire.
const POLL: Duration = Duration::from_secs(10);

/// How often files that keep changing while they are read are read again before the next poll.
const READS: usize = 3;

/// How the re-reading of certificate files has gone; for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadStatus {
    /// Changed files taken into use since the start.
    pub reloads: u64,
    /// Changed files that could not be used since the start; the older ones stayed in use.
    pub failures: u64,
    /// Why the files as they are now are not in use; `None` when they are.
    pub error: Option<String>,
}

/// Something built from files, built anew when their contents change.
///
/// Contents are compared, not times or inodes: that is right for a file written in place as well
/// as for the symlink `..data` that the kubelet swaps, and the files are small.
pub(crate) struct Reloaded<S: Source> {
    source: S,
    current: ArcSwap<S::Built>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Of the contents last built from, well or not; `None` after they could not be read.
    fingerprint: Option<u64>,
    status: ReloadStatus,
}

impl<S: Source + fmt::Debug> Reloaded<S> {
    /// Reads the files and builds for the first time.
    pub(crate) fn load(source: S) -> Result<Arc<Self>, MaterialError> {
        let files = read_settled(&source)?;
        let current = ArcSwap::from_pointee(S::build(&files)?);
        let seen = Seen {
            fingerprint: Some(fingerprint(&files)),
            status: ReloadStatus::default(),
        };
        Ok(Arc::new(Self {
            source,
            current,
            seen: Mutex::new(seen),
        }))
    }

    /// Looks at the files every ten seconds for as long as somebody holds `self`.
    pub(crate) fn watch(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let watched = Arc::downgrade(self);
        runtime.spawn(async move {
            let mut ticks = interval(POLL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(reloaded) = watched.upgrade() else { return };
                // The outcome is in the status and the log; only a panic could be lost here.
                let _ = tokio::task::spawn_blocking(move || reloaded.reload_now()).await;
            }
        });
    }

    pub(crate) fn current(&self) -> Arc<S::Built> {
        self.current.load_full()
    }

    pub(crate) fn status(&self) -> ReloadStatus {
        self.seen.lock().status.clone()
    }

    /// Looks at the files now. `true` when they had changed and are in use.
    pub(crate) fn reload_now(&self) -> Result<bool, MaterialError> {
        let mut seen = self.seen.lock();
        let outcome = match read_settled(&self.source) {
            Err(error) => {
                seen.fingerprint = None;
                Err(error)
            }
            Ok(files) => {
                let fingerprint = Some(fingerprint(&files));
                if seen.fingerprint == fingerprint {
                    return Ok(false);
                }
                seen.fingerprint = fingerprint;
                S::build(&files)
            }
        };
        match outcome {
            Ok(built) => {
                self.current.store(Arc::new(built));
                seen.status.reloads += 1;
                seen.status.error = None;
                tracing::info!(files = ?self.source, "certificate files changed and are in use");
                Ok(true)
            }
            Err(error) => {
                let text = error.to_string();
                // A file that stays unreadable is one failure, logged once.
                if seen.status.error.as_ref() != Some(&text) {
                    tracing::error!(%error, "changed certificate files cannot be used; the older ones stay");
                    seen.status.failures += 1;
                    seen.status.error = Some(text);
                }
                Err(error)
            }
        }
    }
}

/// Reads until two rounds agree, so that a certificate is not paired with the key of its
/// successor when the files are replaced between two reads.
fn read_settled<S: Source>(source: &S) -> Result<S::Files, MaterialError> {
    let mut files = source.read()?;
    for _ in 1..READS {
        let again = source.read()?;
        let settled = fingerprint(&again) == fingerprint(&files);
        files = again;
        if settled {
            break;
        }
    }
    Ok(files)
}

fn fingerprint(files: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}
