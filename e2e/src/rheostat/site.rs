//! All that a test of GPU signals needs: GPU nodes, a scaler, and ScaledObjects that name it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::load::Load;
use super::nodes::GpuNodes;
use super::scaler::{Agents, Scaler};
use crate::cluster::{Case, PATIENCE};
use crate::wait::{Seen, eventually};

/// How long the pods of these tests load their weights: the kubelet names their GPUs at the start
/// of it, as it does in production.
const COLD_START: Duration = Duration::from_secs(3);

/// GPU nodes with their agents, and one scaler.
pub(crate) struct Site {
    case: Case,
    pub(crate) nodes: GpuNodes,
    scaler: Scaler,
}

impl Site {
    /// Starts `count` nodes with `gpus` GPUs each, and a scaler that finds the agents by their Service.
    pub(crate) async fn start(case: &Case, count: usize, gpus: u32) -> Result<Self> {
        let nodes = GpuNodes::start(case, count, gpus).await?;
        let agents = nodes.service();
        Self::of(case, &[], nodes, &agents).await
    }

    /// The same, where the scaler is told the agents' addresses instead of their Service, and sees the namespaces
    /// of `neighbours` too.
    pub(crate) async fn with_listed_agents(
        case: &Case,
        neighbours: &[&Case],
        count: usize,
        gpus: u32,
    ) -> Result<Self> {
        let nodes = GpuNodes::start(case, count, gpus).await?;
        let agents = nodes.addresses();
        Self::of(case, neighbours, nodes, &agents).await
    }

    async fn of(case: &Case, neighbours: &[&Case], nodes: GpuNodes, agents: &Agents) -> Result<Self> {
        let scaler = Scaler::start(case, neighbours, "scaler", agents).await?;
        Ok(Self {
            case: case.clone(),
            nodes,
            scaler,
        })
    }

    /// Runs a Deployment of `replicas` pods with one GPU each under a load, and then applies the
    /// ScaledObject of the same name; `$SCALER` in it stands for the scaler's address. Returns once
    /// KEDA has made an HPA of it and the scaler has seen every GPU.
    ///
    /// The ScaledObject must name the replicas that the load makes right: it begins at once.
    pub(crate) async fn serve(
        &self,
        case: &Case,
        deployment: &str,
        replicas: i32,
        load: Load,
        scaled_object: &str,
    ) -> Result<()> {
        self.nodes.load(case, deployment, load);
        case.model_server(deployment, replicas, 1, COLD_START).await?;
        self.nodes.are_shown().await?;
        case.apply(&scaled_object.replace("$SCALER", &self.scaler.grpc().to_string()))
            .await?;
        case.scaled_object_is(deployment, "Ready", "True").await
    }

    /// Waits until the scaler's explanation of a ScaledObject contains `words`.
    pub(crate) async fn says(&self, case: &Case, name: &str, words: &str) -> Result<()> {
        let what = format!("the scaler to say {words:?} of {}/{name}", case.namespace);
        eventually(&what, PATIENCE, async || {
            let text = self.scaler.explain(&case.namespace, name).await;
            Ok(if text.contains(words) {
                Seen::Yes(())
            } else {
                Seen::NotYet(text)
            })
        })
        .await
    }

    /// Why the number of a ScaledObject is what it is.
    pub(crate) async fn explain(&self, case: &Case, name: &str) -> String {
        self.scaler.explain(&case.namespace, name).await
    }

    /// The outcome of a proof; where it failed, with what the scaler says of the ScaledObject `name`.
    pub(crate) async fn explained(&self, name: &str, proof: impl Future<Output = Result<()>>) -> Result<()> {
        let outcome = proof.await.and_then(|()| self.nodes.are_in_step());
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                let text = self.explain(&self.case, name).await;
                Err(error).with_context(|| format!("the scaler now says:\n{text}"))
            }
        }
    }
}
