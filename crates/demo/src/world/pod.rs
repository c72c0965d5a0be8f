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
            Stage::Broken { .. } => 2,
            Stage::Ready { .. } => 3,
            Stage::Terminating { .. } => 4,
        };
        (rank, -self.created_at)
    }
}
