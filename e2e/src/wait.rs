//! Waiting for conditions: with a generous deadline, and saying what was seen when it passes.

use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use parking_lot::Mutex;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(50);

/// What a probe of a condition found.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    /// The condition holds.
    Yes(T),
    /// It does not hold yet; what was seen instead.
    NotYet(String),
    /// It never will.
    Never(Error),
}

impl Seen<()> {
    /// `Yes` where `holds`, else what was seen.
    pub(crate) fn when(holds: bool, seen: impl std::fmt::Debug) -> Self {
        if holds {
            Self::Yes(())
        } else {
            Self::NotYet(format!("{seen:?}"))
        }
    }
}

/// How long a wait took that ended well.
#[derive(Clone, Debug)]
pub(crate) struct Waited {
    what: String,
    took: Duration,
    deadline: Duration,
}

/// Those of this run.
static WAITED: Mutex<Vec<Waited>> = Mutex::new(Vec::new());

/// The waits that used up most of their time: the next to fail where a machine is slower.
pub(crate) fn closest(count: usize) -> Vec<Waited> {
    let mut waited = WAITED.lock().clone();
    waited.sort_by(|a, b| b.part().total_cmp(&a.part()));
    waited.truncate(count);
    waited
}

impl Waited {
    /// Of its deadline.
    fn part(&self) -> f64 {
        self.took.as_secs_f64() / self.deadline.as_secs_f64()
    }
}

impl std::fmt::Display for Waited {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (took, deadline) = (self.took.as_secs_f64(), self.deadline.as_secs_f64());
        write!(out, "{took:.1} of {deadline:.0} s for {}", self.what)
    }
}

/// Probes until the condition holds. An error of the probe counts as "not yet" and is told when
/// the deadline passes.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let seen = match tokio::time::timeout(deadline, probe()).await {
            Ok(Ok(Seen::Yes(value))) => {
                WAITED.lock().push(Waited {
                    what: what.to_owned(),
                    took: start.elapsed(),
                    deadline,
                });
                return Ok(value);
            }
            Ok(Ok(Seen::Never(error))) => return Err(error).with_context(|| format!("waiting for {what}")),
            Ok(Ok(Seen::NotYet(seen))) => anyhow::anyhow!("last seen: {seen}"),
            Ok(Err(error)) => error.context("the last look failed"),
            Err(_) => anyhow::anyhow!("the last look never ended"),
        };
        if start.elapsed() >= deadline {
            return Err(seen).with_context(|| format!("waited {} s for {what}", deadline.as_secs_f64()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Probes for the whole `span`, and fails at the first look at which the condition does not hold.
pub(crate) async fn throughout(
    what: &str,
    span: Duration,
    mut probe: impl AsyncFnMut() -> Result<Seen<()>>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        let seen = match probe().await.with_context(|| format!("looking whether {what}"))? {
            Seen::Yes(()) => None,
            Seen::NotYet(seen) => Some(seen),
            Seen::Never(error) => Some(format!("{error:#}")),
        };
        if let Some(seen) = seen {
            bail!(
                "after {:.1} s it no longer held that {what}: {seen}",
                start.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
