use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{EngineReport, TargetId};
use rheostat_reading::{Readings, Timestamp};

use crate::reader::ENGINE_PATIENCE;
use crate::wanted::WantedEngines;

/// Every node's newest snapshot and every agent's connection, at one moment. Never changes.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    pub(crate) nodes: HashMap<Arc<str>, Arc<NodeView>>,
    pub(crate) agents: Vec<Arc<AgentConnection>>,
    pub(crate) wanted: Arc<WantedEngines>,
}

/// What one node's agent last said. It stays when the agent falls silent: look at its age.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Kubernetes node name.
    pub node: Arc<str>,
    /// When the snapshot arrived, on our clock.
    pub received_at: Timestamp,
    /// When the first snapshot of its present stream arrived.
    pub heard_since: Timestamp,
    /// The agent's version.
    pub agent_version: String,
    /// The agent's running number of the snapshot.
    pub sequence: u64,
    /// How the readings of `devices` fared when the snapshot was sent.
    pub gpus: SourceState,
    /// How `claims` fared when the snapshot was sent.
    pub attribution: SourceState,
    /// GPUs and partitions in the agent's order.
    pub devices: Vec<DeviceView>,
    /// Who holds what; ordered by namespace and pod. Ask [`NodeView::claims_of`].
    pub(crate) claims: Vec<ClaimView>,
    /// Whether the agent scrapes engines at all; agents before engines do not.
    pub scrapes_engines: bool,
    /// What it says of the engines that were named to it; ordered by target. Ask [`NodeView::engine`].
    pub(crate) engines: Vec<EngineView>,
}

/// How a source of a snapshot fared at the moment the snapshot was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Read within its period.
    Current,
    /// Read once, not readable since.
    Stale {
        /// The last successful read, on our clock.
        last_read: Timestamp,
        /// Why not since.
        reason: String,
    },
    /// Never read since the agent started.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// A GPU, or a partition of one.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// NVML UUID: `GPU-…` or `MIG-…`.
    pub id: Arc<str>,
    /// The GPU that a partition belongs to; `None` for a GPU.
    pub parent: Option<Arc<str>>,
    /// NVML index of the GPU, or of the partition within its GPU.
    pub index: u32,
    /// Product name.
    pub model: Arc<str>,
    /// MIG profile, such as `1g.10gb`; `None` for a GPU.
    pub profile: Option<Arc<str>>,
    /// Whether the GPU is split: its own readings then cover all of its partitions.
    pub partitioned: bool,
    /// Why the device cannot be read (lost, reset needed); `None` when it can.
    pub fault: Option<String>,
    /// What was read; times are on our clock.
    pub readings: Readings,
    /// Reasons for lowered clocks in force, by NVML's names.
    pub throttle_reasons: Vec<String>,
}

/// One container's hold on one device.
#[derive(Clone, Debug)]
pub struct ClaimView {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// Extended resource (`nvidia.com/gpu`) or, for DRA, the driver's name.
    pub resource: String,
    /// The kubelet's own id of the device.
    pub kubelet_id: String,
    /// [`DeviceView::id`], where the kubelet's id could be resolved.
    pub device: Option<Arc<str>>,
    /// Why it could not, where it could not.
    pub unresolved: Option<String>,
    /// Whether other pods hold the device too.
    pub shared: bool,
    /// This pod's own part of a shared device's readings; empty where its part cannot be told,
    /// and for a device that is not shared.
    pub share: Readings,
}

/// An engine, as the agent reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineView {
    /// Which target it is.
    pub target: TargetId,
    /// What it said; times are on our clock.
    pub report: Arc<EngineReport>,
    /// Whether the agent does not read it, for the reason that `report.failure` tells.
    pub refused: bool,
    /// When the report arrived, on our clock.
    pub received_at: Timestamp,
}

/// One agent, as its subscription fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentConnection {
    /// `host:port`.
    pub address: String,
    /// The node that its snapshots name, else the one that the endpoint names.
    pub node: Option<Arc<str>>,
    /// Since when the present stream has been open; `None` while there is none.
    pub connected_since: Option<Timestamp>,
    /// When the last snapshot arrived.
    pub last_snapshot_at: Option<Timestamp>,
    /// Why there is no stream, or the last one ended, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// Snapshots received since it is known.
    pub snapshots: u64,
    /// Parts of its snapshots that were skipped because they made no sense.
    pub malformed: u64,
    /// Another agent whose newer stream speaks for the same node; this one's snapshots are
    /// then not used.
    pub superseded_by: Option<String>,
}

impl FleetView {
    /// What the agent on `node` last said; `None` where none was ever heard.
    #[must_use]
    pub fn node(&self, node: &str) -> Option<&Arc<NodeView>> {
        self.nodes.get(node)
    }

    /// All nodes that were heard of, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeView>> {
        self.nodes.values()
    }

    /// Every agent that has an endpoint, or had one a short time ago, by address.
    #[must_use]
    pub fn agents(&self) -> &[Arc<AgentConnection>] {
        &self.agents
    }
}

impl NodeView {
    /// How long ago the snapshot arrived.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.received_at)
    }

    /// Whether the agent has spoken within [`ENGINE_PATIENCE`].
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.age(now) <= ENGINE_PATIENCE
    }

    /// What the agent says of the engine `target`; `None` where it does not know it.
    #[must_use]
    pub fn engine(&self, target: &TargetId) -> Option<&EngineView> {
        let place = self
            .engines
            .binary_search_by(|engine| engine.target.cmp(target))
            .ok()?;
        self.engines.get(place)
    }

    /// All engines that the agent speaks of, ordered by target.
    #[must_use]
    pub fn engines(&self) -> &[EngineView] {
        &self.engines
    }

    /// The device with NVML UUID `id`.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<&DeviceView> {
        self.devices.iter().find(|device| &*device.id == id)
    }

    /// What the pod holds, by the kubelet's word; empty where it holds nothing. Says something
    /// only where `attribution` does.
    #[must_use]
    pub fn claims_of(&self, namespace: &str, pod: &str) -> &[ClaimView] {
        let key = (namespace, pod);
        let start = self.claims.partition_point(|claim| claim.key() < key);
        let length = self.claims[start..].partition_point(|claim| claim.key() == key);
        &self.claims[start..start + length]
    }

    /// All claims, ordered by namespace and pod.
    #[must_use]
    pub fn claims(&self) -> &[ClaimView] {
        &self.claims
    }
}

impl EngineView {
    /// Whether the agent has asked the engine, with or without success.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !self.refused && (self.report.answered_at.is_some() || self.report.failure.is_some())
    }
}

impl ClaimView {
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.pod)
    }
}
