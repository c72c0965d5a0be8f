//! What a test sees of the cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::sandbox::Hosts;
use crate::wait::{Seen, eventually, throughout};

pub(crate) mod api;
pub(crate) mod pods;

/// How long a test waits for what should happen within seconds. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The running cluster, shared by all tests.
pub(crate) struct Cluster {
    pub(crate) control_plane: ControlPlane,
    pub(crate) hosts: Hosts,
    /// Where recordings are copied to, if anywhere.
    pub(crate) recordings: Option<PathBuf>,
    addresses_given: AtomicU16,
}

impl Cluster {
    pub(crate) fn of(control_plane: ControlPlane, recordings: Option<PathBuf>) -> Arc<Self> {
        let hosts = Hosts::of(control_plane.run());
        Arc::new(Self {
            control_plane,
            hosts,
            recordings,
            addresses_given: AtomicU16::new(0),
        })
    }

    /// An address that nobody else in this run has: in 10.77.64.0/18, below the pods.
    pub(crate) fn address(&self) -> IpAddr {
        let [high, low] = (self.addresses_given.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 77, 64 | (high & 0x3f), low))
    }
}

/// The replica counts of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// What its spec asks for: what KEDA and the HPA write.
    pub(crate) wanted: i32,
    /// Pods that exist.
    pub(crate) existing: i32,
    /// Pods that are ready.
    pub(crate) ready: i32,
}

impl Replicas {
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.as_ref();
        Self {
            wanted: deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0),
            existing: status.and_then(|status| status.replicas).unwrap_or(0),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        }
    }
}

/// The cluster as one test has it: with a namespace, nodes, addresses and a log folder of its own.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) namespace: String,
    /// The label `rheostat.dev/test` of the nodes that the test's pods run on.
    nodes: String,
    /// Where the test's own processes log to.
    pub(crate) folder: PathBuf,
}

impl Case {
    /// Makes the namespace for the test `name`.
    pub(crate) async fn open(cluster: Arc<Cluster>, name: &str) -> Result<Self> {
        let namespace = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let folder = cluster.control_plane.run().subfolder(&namespace)?;
        let case = Self {
            cluster,
            nodes: namespace.clone(),
            namespace,
            folder,
        };
        case.make_namespace().await?;
        Ok(case)
    }

    /// Makes another namespace, whose pods run on the same nodes.
    pub(crate) async fn neighbour(&self, name: &str) -> Result<Self> {
        let case = Self {
            namespace: format!("{}-{name}", self.namespace),
            ..self.clone()
        };
        case.make_namespace().await?;
        Ok(case)
    }

    async fn make_namespace(&self) -> Result<()> {
        let yaml = "{apiVersion: v1, kind: Namespace, metadata: {name: $NAMESPACE}}";
        self.apply(yaml).await?;
        Ok(())
    }

    /// Removes the namespace and the nodes; does not wait until they are gone.
    pub(crate) async fn close(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .with_context(|| format!("deleting the namespace {}", self.namespace))?;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client());
        let own = ListParams::default().labels(&format!("rheostat.dev/test={}", self.nodes));
        nodes
            .delete_collection(&DeleteParams::default(), &own)
            .await
            .context("deleting the nodes")?;
        Ok(())
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> Client {
        self.cluster.control_plane.client.clone()
    }

    /// Applies a manifest; `$NAMESPACE` in it stands for the namespace, `$NODES` for the label of the
    /// nodes.
    pub(crate) async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        let yaml = yaml
            .replace("$NAMESPACE", &self.namespace)
            .replace("$NODES", &self.nodes);
        api::apply(&self.client(), Some(&self.namespace), &yaml).await
    }

    /// Adds `count` nodes with `gpus` GPUs each and returns their names. Only the test's own pods
    /// run on them: those that select `rheostat.dev/test: $NODES`.
    pub(crate) async fn gpu_nodes(&self, count: usize, gpus: u32) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for index in 0..count {
            let name = format!("{}-{index}", self.namespace);
            self.gpu_node(&name, gpus).await?;
            names.push(name);
        }
        Ok(names)
    }

    /// Adds one such node and waits until it is ready.
    pub(crate) async fn gpu_node(&self, name: &str, gpus: u32) -> Result<()> {
        let resources =
            json!({"cpu": "64", "memory": "512Gi", "pods": "250", "nvidia.com/gpu": gpus.to_string()});
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "nvidia.com/gpu.present": "true",
                "rheostat.dev/test": self.nodes,
            }},
            "status": {"capacity": resources, "allocatable": resources},
        });
        self.apply(&node.to_string()).await?;
        eventually(&format!("the node {name} to be ready"), PATIENCE, async || {
            let node = api::get(&self.client(), "v1", "Node", None, name).await?;
            let ready = api::condition(&node, "Ready").is_some_and(|found| found.status == "True");
            let tainted = node.data.pointer("/spec/taints").is_some();
            Ok(Seen::when(ready && !tainted, node.data))
        })
        .await
    }

    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client(), &self.namespace)
    }

    pub(crate) async fn scaled_objects(&self) -> Result<Api<DynamicObject>> {
        api::of_kind(
            &self.client(),
            "keda.sh/v1alpha1",
            "ScaledObject",
            Some(&self.namespace),
        )
        .await
    }

    /// The replica counts of a Deployment, now.
    pub(crate) async fn replicas(&self, deployment: &str) -> Result<Replicas> {
        let found = self.deployments().get(deployment).await;
        Ok(Replicas::of(&found.with_context(|| {
            format!("reading the Deployment {deployment}")
        })?))
    }

    /// Sets the replica count of a Deployment by hand, as `kubectl scale` does.
    pub(crate) async fn scale(&self, deployment: &str, replicas: i32) -> Result<()> {
        let patch = json!({"spec": {"replicas": replicas}});
        self.deployments()
            .patch_scale(deployment, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .with_context(|| format!("scaling the Deployment {deployment}"))?;
        Ok(())
    }

    /// Waits until a Deployment asks for `count` replicas and all of them are ready.
    pub(crate) async fn runs(&self, deployment: &str, count: i32) -> Result<()> {
        self.runs_after(Duration::ZERO, deployment, count).await
    }

    /// The same, where that cannot be before some time has passed.
    pub(crate) async fn runs_after(&self, earliest: Duration, deployment: &str, count: i32) -> Result<()> {
        let what = format!("{} / {deployment} to run {count} replicas", self.namespace);
        let all = Replicas {
            wanted: count,
            existing: count,
            ready: count,
        };
        eventually(&what, earliest + PATIENCE, async || {
            let replicas = self.replicas(deployment).await?;
            Ok(Seen::when(replicas == all, replicas))
        })
        .await
    }

    /// Watches a Deployment for the whole `span`: it must ask for `count` replicas all the time.
    pub(crate) async fn stays_at(&self, deployment: &str, count: i32, span: Duration) -> Result<()> {
        let what = format!("{} / {deployment} asks for {count} replicas", self.namespace);
        throughout(&what, span, async || {
            let replicas = self.replicas(deployment).await?;
            Ok(Seen::when(replicas.wanted == count, replicas))
        })
        .await
    }

    /// Waits for something; until it is there, a Deployment must ask for `count` replicas.
    pub(crate) async fn stays_until<T>(
        &self,
        deployment: &str,
        count: i32,
        something: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            outcome = something => outcome,
            left = self.stays_at(deployment, count, Duration::MAX) => {
                left?;
                bail!("the end of time")
            }
        }
    }

    /// Waits until a Deployment asks for `to` replicas; until then it must ask for `from`, or for
    /// something between the two.
    pub(crate) async fn goes(&self, deployment: &str, from: i32, to: i32) -> Result<()> {
        let what = format!(
            "{} / {deployment} to go from {from} replicas to {to}, and nowhere else",
            self.namespace
        );
        let between = from.min(to)..=from.max(to);
        eventually(&what, PATIENCE, async || {
            let wanted = self.replicas(deployment).await?.wanted;
            Ok(match wanted {
                _ if wanted == to => Seen::Yes(()),
                _ if between.contains(&wanted) => Seen::NotYet(format!("{wanted} replicas")),
                _ => Seen::Never(anyhow!("it asks for {wanted} replicas")),
            })
        })
        .await
    }

    /// Waits until a condition of a ScaledObject has the given status.
    pub(crate) async fn scaled_object_is(&self, name: &str, condition: &str, status: &str) -> Result<()> {
        let what = format!(
            "the ScaledObject {}/{name} to be {condition}={status}",
            self.namespace
        );
        let objects = self.scaled_objects().await?;
        eventually(&what, PATIENCE, async || {
            let object = objects
                .get(name)
                .await
                .with_context(|| format!("reading the ScaledObject {name}"))?;
            let found = api::condition(&object, condition);
            let holds = found.is_some_and(|found| found.status == status);
            Ok(Seen::when(holds, object.data.get("status")))
        })
        .await
    }

    /// The events of the namespace, oldest first, one line each.
    pub(crate) async fn events(&self) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client(), &self.namespace);
        let mut found = events
            .list(&ListParams::default())
            .await
            .context("listing events")?
            .items;
        found.sort_by_key(|event| {
            let seen = event.last_timestamp.as_ref().map(|time| time.0);
            seen.or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
        });
        Ok(found
            .into_iter()
            .map(|event| {
                let object = event.involved_object;
                format!(
                    "{} {}/{}: {}: {}",
                    event.type_.unwrap_or_default(),
                    object.kind.unwrap_or_default(),
                    object.name.unwrap_or_default(),
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default(),
                )
            })
            .collect())
    }

    /// A Deployment of pods as a model server has them, each with `gpus` GPUs, on the test's nodes.
    /// A pod is ready `cold_start` after it was bound.
    pub(crate) async fn model_server(
        &self,
        name: &str,
        replicas: i32,
        gpus: u32,
        cold_start: Duration,
    ) -> Result<()> {
        ensure!(gpus > 0, "a model server without GPUs");
        let yaml = include_str!("model-server.yaml")
            .replace("$DEPLOYMENT", name)
            .replace("$REPLICAS", &replicas.to_string())
            .replace("$GPUS", &gpus.to_string())
            .replace("$COLD_START", &format!("{}ms", cold_start.as_millis()));
        self.apply(&yaml).await?;
        self.runs(name, replicas).await
    }
}
