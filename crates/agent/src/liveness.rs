use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rheostat_reading::Clock;
use tokio::time::Instant;

use crate::GpuSource;

/// Whether the agent's loops go round.
#[derive(Clone)]
pub(crate) struct Liveness {
    pub(crate) kubelet: Heartbeat,
    pub(crate) publisher: Heartbeat,
    gpus: GpuSource,
    clock: Clock,
    longest_sample: Duration,
}

/// The longest time that a loop may take for one round. A round of the kubelet's loop takes two
/// timeouts and a period at worst.
const LONGEST_ROUND: Duration = Duration::from_secs(30);

/// The sampler is dead when it has been stale for this many times the limit of staleness: calls of
/// a driver in trouble can take many seconds.
const STALE_TO_DEAD: u32 = 10;

impl Liveness {
    pub(crate) fn new(gpus: GpuSource, clock: Clock, stale_after: Duration) -> Self {
        Self {
            kubelet: Heartbeat::new(),
            publisher: Heartbeat::new(),
            gpus,
            clock,
            longest_sample: stale_after * STALE_TO_DEAD,
        }
    }

    /// # Errors
    ///
    /// Which loops stand still, and for how long.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sampled = self.clock.now().since(self.gpus.latest().taken_at);
        let still: Vec<String> = [
            ("kubelet", self.kubelet.age(), LONGEST_ROUND),
            ("publisher", self.publisher.age(), LONGEST_ROUND),
            ("GPU sampler", sampled, self.longest_sample),
        ]
        .iter()
        .filter(|(_, age, limit)| age > limit)
        .map(|(name, age, _)| format!("the {name} loop has stood still for {} s", age.as_secs()))
        .collect();
        if still.is_empty() {
            Ok(())
        } else {
            Err(still.join("; "))
        }
    }
}

/// When a loop last went round. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    /// Milliseconds from `start`.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: Arc::default(),
        }
    }

    pub(crate) fn beat(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
