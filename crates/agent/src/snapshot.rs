use std::sync::Arc;

use rheostat_gpu::{Device, DeviceKind, GpuSnapshot};
use rheostat_proto::{agent, reading_to_proto};
use rheostat_reading::{Readings, Timestamp};

use crate::attribution::{Attribution, Claim, Sharing};
use crate::{ScrapedEngine, SourceState};

/// The node at one moment: its devices, who holds them, and how far that can be trusted.
///
/// Built once each period and shared by everybody who asks.
#[derive(Clone, Debug)]
pub struct NodeSnapshot {
    /// Kubernetes node name.
    pub node: Arc<str>,
    /// Grows by one with each snapshot of this agent's life.
    pub sequence: u64,
    /// When it was built.
    pub built_at: Timestamp,
    /// Devices and their readings.
    pub gpus: Arc<GpuSnapshot>,
    /// How reading the GPUs fares.
    pub gpu_source: SourceState,
    /// Who holds what, as last known.
    pub attribution: Arc<Attribution>,
    /// How asking the kubelet fares.
    pub attribution_source: SourceState,
    /// Every engine that a subscriber has named, by id; `None` where engines are not scraped.
    pub engines: Option<Arc<[ScrapedEngine]>>,
}

impl NodeSnapshot {
    /// As it is sent at `now`: ages count from then, whenever it was built. Without the engines, of
    /// which each subscriber gets its own.
    #[must_use]
    pub fn to_proto(&self, now: Timestamp) -> agent::Snapshot {
        agent::Snapshot {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sequence: self.sequence,
            sent_at_unix_nanos: now.unix_nanos(),
            gpus: Some(self.gpu_source.to_proto(now)),
            attribution: Some(self.attribution_source.to_proto(now)),
            devices: self
                .gpus
                .devices
                .iter()
                .map(|device| device_to_proto(device, now))
                .collect(),
            claims: self
                .attribution
                .claims
                .iter()
                .map(|claim| claim_to_proto(claim, now))
                .collect(),
            engines: Vec::new(),
            scrapes_engines: self.engines.is_some(),
        }
    }
}

fn device_to_proto(device: &Device, now: Timestamp) -> agent::Device {
    let (parent, profile, partitioned) = match &device.kind {
        DeviceKind::Gpu { partitioned } => (String::new(), String::new(), *partitioned),
        DeviceKind::Partition { parent, profile, .. } => (parent.to_string(), profile.clone(), false),
    };
    agent::Device {
        id: device.id.to_string(),
        parent,
        index: device.index,
        model: device.model.clone(),
        profile,
        partitioned,
        fault: device.fault.clone().unwrap_or_default(),
        readings: readings_to_proto(&device.readings, now),
        throttle_reasons: device
            .throttle_reasons
            .iter()
            .map(|&reason| reason.to_owned())
            .collect(),
    }
}

fn claim_to_proto(claim: &Claim, now: Timestamp) -> agent::Claim {
    let (device, unresolved) = match &claim.device {
        Ok(device) => (device.to_string(), String::new()),
        Err(reason) => (String::new(), reason.clone()),
    };
    let sharing = match claim.sharing {
        Sharing::Exclusive => agent::Sharing::Exclusive,
        Sharing::Shared => agent::Sharing::Shared,
    };
    agent::Claim {
        namespace: claim.pod.namespace.clone(),
        pod: claim.pod.name.clone(),
        container: claim.container.clone(),
        resource: claim.resource.clone(),
        kubelet_id: claim.kubelet_id.clone(),
        device,
        unresolved,
        sharing: sharing.into(),
        share: claim
            .share
            .as_ref()
            .map(|share| readings_to_proto(share, now))
            .unwrap_or_default(),
    }
}

fn readings_to_proto(readings: &Readings, now: Timestamp) -> Vec<agent::Reading> {
    readings
        .iter()
        .map(|(quantity, observed)| reading_to_proto(quantity, observed, now))
        .collect()
}
