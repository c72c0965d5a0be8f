use std::sync::Arc;

use rheostat_gpu::{DriverState, GpuSnapshot};
use rheostat_reading::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attribution::{Attribution, ProcessOwners, ResourceFilter};
use crate::counters::{Counters, add};
use crate::engines::Engines;
use crate::liveness::Heartbeat;
use crate::podresources::PodResourcesView;
use crate::{AgentOptions, GpuSource, NodeSnapshot, SourceState};

/// The newest snapshot; `None` until the first.
pub(crate) type Latest = watch::Receiver<Option<Arc<NodeSnapshot>>>;

/// Joins GPUs and claims into a snapshot, once each period.
pub(crate) struct Publisher {
    pub(crate) options: AgentOptions,
    pub(crate) clock: Clock,
    pub(crate) gpus: GpuSource,
    pub(crate) kubelet: watch::Receiver<PodResourcesView>,
    pub(crate) engines: Option<Engines>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) heartbeat: Heartbeat,
}

impl Publisher {
    /// Publishes until `stop`, then drops `out`, which ends every subscriber's stream.
    ///
    /// A snapshot follows each answer of the kubelet at once, so that a change of pods reaches the
    /// subscribers within one period; a kubelet that hangs delays the readings by a quarter of one.
    pub(crate) async fn run(
        mut self,
        out: watch::Sender<Option<Arc<NodeSnapshot>>>,
        stop: CancellationToken,
    ) {
        let mut owners = self.process_owners();
        let mut gpu_source = SourceState::Unknown {
            reason: "the GPUs have not been read yet".into(),
        };
        let mut attribution = Arc::new(Attribution::default());
        let mut sequence = 0;
        while !stop.is_cancelled() {
            let patience = self.options.period + self.options.period / 4;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tokio::time::timeout(patience, self.kubelet.changed()) => {}
            }
            let view = self.kubelet.borrow_and_update().clone();
            let gpus = self.gpus.latest();
            let now = self.clock.now();
            gpu_source = gpu_state(&gpu_source, &gpus);
            let mut attribution_source = view.state.at(now, self.options.stale_after);
            match self.attribute(view, Arc::clone(&gpus), owners).await {
                Ok((built, kept)) => {
                    attribution = Arc::new(built);
                    owners = kept;
                }
                Err(reason) => {
                    attribution_source = attribution_source.failed(reason);
                    owners = self.process_owners();
                }
            }
            sequence += 1;
            let snapshot = NodeSnapshot {
                node: self.options.node.as_str().into(),
                sequence,
                built_at: now,
                gpu_source: gpu_source.at(now, self.options.stale_after),
                gpus,
                attribution: Arc::clone(&attribution),
                attribution_source,
                engines: self.engines.as_ref().map(Engines::scraped),
            };
            out.send_replace(Some(Arc::new(snapshot)));
            add(&self.counters.snapshots);
            self.heartbeat.beat();
        }
    }

    fn process_owners(&self) -> ProcessOwners {
        ProcessOwners::new(self.options.proc_dir.clone(), self.options.pod_logs_dir.clone())
    }

    /// Attribution reads files where a device is shared, so it has a thread of its own; a panic in
    /// it costs one snapshot its attribution, not the process its life.
    async fn attribute(
        &self,
        view: PodResourcesView,
        gpus: Arc<GpuSnapshot>,
        mut owners: ProcessOwners,
    ) -> Result<(Attribution, ProcessOwners), String> {
        let filter = ResourceFilter {
            extra: self.options.extra_resources.clone(),
        };
        let built = tokio::task::spawn_blocking(move || {
            let built = Attribution::new(
                &view.pods,
                view.allocatable.as_deref(),
                &gpus,
                &filter,
                &mut owners,
            );
            (built, owners)
        });
        built.await.map_err(|error| {
            add(&self.counters.failed_builds);
            tracing::error!(%error, "attribution failed by a defect; the last one stays");
            format!("attribution failed by a defect: {error}")
        })
    }
}

/// The driver's state, keeping when it last answered.
fn gpu_state(before: &SourceState, gpus: &GpuSnapshot) -> SourceState {
    match &gpus.driver {
        DriverState::Ready { .. } => SourceState::Current { at: gpus.taken_at },
        DriverState::Unavailable { reason } => before.failed(reason),
    }
}
