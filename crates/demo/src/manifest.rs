use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use rheostat_cluster as cluster;
use rheostat_kubescale::{hpa, keda};
use serde::Deserialize;

/// A ScaledObject as its author writes it. What KEDA's model and the scaler see of it is made from
/// the same text.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Manifest {
    metadata: Metadata,
    spec: keda::ScaledObjectSpec,
    #[serde(skip)]
    text: &'static str,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// It is no ScaledObject.
    pub(crate) fn read(text: &'static str) -> anyhow::Result<Self> {
        let manifest: Self = serde_saphyr::from_str(text).context("the manifest of a demo workload")?;
        Ok(Self { text, ..manifest })
    }

    /// As it was written.
    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }

    /// `metadata.namespace`.
    pub(crate) fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// As KEDA's model takes it.
    pub(crate) fn scaled_object(&self) -> keda::ScaledObject {
        keda::ScaledObject {
            spec: self.spec.clone(),
            ..keda::ScaledObject::default()
        }
    }

    /// The first trigger's metadata.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        self.spec
            .triggers
            .first()
            .map(|trigger| trigger.metadata.clone())
            .unwrap_or_default()
    }

    /// As the scaler would read it from the Kubernetes API, with its Deployment at `replicas` and
    /// these `pods`.
    pub(crate) fn workload(
        &self,
        replicas: u32,
        annotations: BTreeMap<String, String>,
        pods: Vec<cluster::Pod>,
    ) -> cluster::Workload {
        let object = self.scaled_object();
        let count = |count: i32| u32::try_from(count).unwrap_or_default();
        let alive = pods.iter().filter(|pod| !pod.terminating).count();
        cluster::Workload {
            id: cluster::WorkloadId {
                namespace: self.metadata.namespace.clone(),
                name: self.metadata.name.clone(),
                kind: cluster::WorkloadKind::ScaledObject,
            },
            uid: format!("demo-{}", self.full_name()),
            generation: 1,
            triggers: self.spec.triggers.iter().enumerate().map(definition).collect(),
            other_triggers: 0,
            min_replicas: count(object.min_replicas()),
            max_replicas: count(object.max_replicas()),
            idle_replicas: None,
            polling_interval: object.polling_interval(),
            cooldown_period: object.cooldown(),
            paused: false,
            annotations,
            tolerances: cluster::HpaTolerances::default(),
            scale_down_stabilization: None,
            target: Ok(cluster::ScaleTarget {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: self.metadata.name.clone(),
                spec_replicas: replicas,
                status_replicas: u32::try_from(alive).unwrap_or(u32::MAX),
                selector: format!("app={}", self.metadata.name),
                stale: None,
            }),
            pods: by_name(pods).into_iter().map(Arc::new).collect(),
        }
    }
}

/// A ScalingPolicy as its author writes it.
#[derive(Clone, Debug)]
pub(crate) struct PolicyManifest {
    object: cluster::ScalingPolicy,
    text: &'static str,
}

#[derive(Deserialize)]
struct PolicyText {
    metadata: Metadata,
    spec: serde_json::Value,
}

impl PolicyManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// It is no ScalingPolicy.
    pub(crate) fn read(text: &'static str) -> anyhow::Result<Self> {
        let PolicyText { metadata, spec } =
            serde_saphyr::from_str(text).context("the policy of a demo workload")?;
        let object = cluster::ScalingPolicy {
            uid: format!("demo-policy-{}", metadata.name),
            id: cluster::PolicyId {
                namespace: metadata.namespace,
                name: metadata.name,
            },
            generation: 1,
            spec,
            status: serde_json::Value::Null,
        };
        Ok(Self { object, text })
    }

    /// As the scaler would read it from the Kubernetes API.
    pub(crate) const fn object(&self) -> &cluster::ScalingPolicy {
        &self.object
    }

    /// As it was written.
    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }
}

fn by_name(mut pods: Vec<cluster::Pod>) -> Vec<cluster::Pod> {
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods
}

fn definition((index, trigger): (usize, &keda::Trigger)) -> cluster::TriggerDefinition {
    cluster::TriggerDefinition {
        index,
        name: trigger.name.clone(),
        kind: match trigger.kind {
            keda::TriggerType::External => cluster::TriggerKind::External,
            keda::TriggerType::ExternalPush => cluster::TriggerKind::ExternalPush,
        },
        metadata: trigger.metadata.clone(),
        metric_type: Ok(match trigger.metric_type {
            hpa::MetricType::AverageValue => cluster::MetricType::AverageValue,
            hpa::MetricType::Value => cluster::MetricType::Value,
        }),
        use_cached_metrics: trigger.use_cached_metrics,
    }
}
