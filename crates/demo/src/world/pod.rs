use super::node::GpuIndex;

/// A pod of the world. Times are seconds of the world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    /// Its name, never used twice.
    pub(crate) name: String,
    /// The GPU it holds; none while it waits for one.
    pub(crate) gpu: Option<GpuIndex>,
    /// Where it is in its life.
    pub(crate) stage: Stage,
    /// When it was created.
    pub(crate) created_at: f64,
    /// How busy its GPU is, 0 to 1.
    pub(crate) utilization: f64,
    /// What its engine has to do, where it has one.
    pub(crate) batch: Batch,
}

/// How busy a GPU is whose engine has anything to do, however much: the rest of the time goes between
/// iterations.
const ENGINE_BUSY: f64 = 0.97;

/// What an engine has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Requests that wait for a place in the batch.
    pub(crate) waiting: usize,
    /// Requests in the batch.
    pub(crate) running: usize,
    /// Whether it does nothing all the same.
    pub(crate) stuck: bool,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// No GPU is free.
    Pending,
    /// It pulls its image and loads its weights.
    Starting {
        /// When it will be ready.
        until: f64,
    },
    /// It serves.
    Ready {
        /// Since when.
        since: f64,
    },
    /// Its GPU is lost: it still looks ready, until its probe fails.
    Broken {
        /// Since when.
        since: f64,
        /// Whether it still passes its readiness probe.
        ready: bool,
        /// Since when it was ready.
        ready_since: f64,
    },
    /// It was asked to stop, and holds its GPU until it has.
    Terminating {
        /// When it will be gone.
        until: f64,
    },
}

impl Batch {
    /// Both together.
    pub(crate) const fn in_flight(self) -> u64 {
        (self.waiting + self.running) as u64
    }
}

impl Pod {
    /// Whether Kubernetes takes it for ready.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(
            self.stage,
            Stage::Ready { .. } | Stage::Broken { ready: true, .. }
        )
    }

    /// Whether it does work.
    pub(crate) const fn works(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    /// How busy its engine keeps its GPU, 0 to 1.
    pub(crate) const fn engine_busy(&self) -> f64 {
        if self.batch.running > 0 && !self.batch.stuck {
            ENGINE_BUSY
        } else {
            0.0
        }
    }

    /// Whether it was asked to stop.
    pub(crate) const fn is_terminating(&self) -> bool {
        matches!(self.stage, Stage::Terminating { .. })
    }

    /// Order of removal when there are too many: first those that waiting or starting cost least,
    /// then the youngest (Kubernetes' `ActivePodsWithRanks`).
    pub(crate) fn removal_order(&self) -> (u8, f64) {
        let rank = match self.stage {
            Stage::Pending => 0,
            Stage::Starting { .. } => 1,
            Stage::Broken { ready: false, .. } => 2,
            Stage::Broken { ready: true, .. } | Stage::Ready { .. } => 3,
            Stage::Terminating { .. } => 4,
        };
        (rank, -self.created_at)
    }
}
