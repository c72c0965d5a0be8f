//! Model servers that serve: engines in the pods, requests to them, Prometheus that watches them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use self::engines::Engines;
use crate::cluster::{Case, PATIENCE};
use crate::rheostat::nodes::GpuNodes;
use crate::rheostat::scaler::Scalers;
use crate::wait::{Seen, eventually};

pub(crate) mod engines;
pub(crate) mod gateway;
pub(crate) mod prometheus;
mod requests;

/// How long the pods load their weights.
const COLD_START: Duration = Duration::from_secs(2);

/// All that a test of engines needs: nodes with agents, scalers, engines in the pods.
pub(crate) struct Serving {
    case: Case,
    pub(crate) nodes: GpuNodes,
    pub(crate) scalers: Scalers,
    pub(crate) engines: Engines,
}

impl Serving {
    /// Starts nodes with four GPUs each, and scalers with these arguments besides the usual ones.
    pub(crate) async fn start(case: &Case, nodes: usize, scalers: usize, more: Vec<String>) -> Result<Self> {
        let nodes = GpuNodes::start(case, nodes, 4).await?;
        let scalers = Scalers::with(case, scalers, nodes.service(), more).await?;
        Ok(Self {
            case: case.clone(),
            engines: Engines::start(case),
            scalers,
            nodes,
        })
    }

    /// Runs a Deployment of `replicas` pods with so many requests under way, and then applies the
    /// ScaledObject of the same name.
    pub(crate) async fn serve(
        &self,
        deployment: &str,
        replicas: i32,
        under_way: usize,
        scaled_object: &Value,
    ) -> Result<()> {
        self.run(deployment, replicas, under_way).await?;
        self.scale(deployment, scaled_object).await
    }

    /// Runs a Deployment of `replicas` pods with so many requests under way, which nobody scales yet.
    pub(crate) async fn run(&self, deployment: &str, replicas: i32, under_way: usize) -> Result<()> {
        self.engines.serve(deployment);
        self.case
            .model_server(deployment, replicas, 1, COLD_START)
            .await?;
        if let Ok(count) = usize::try_from(replicas)
            && count > 0
        {
            self.engines.are(deployment, count).await?;
            self.engines.keep_under_way(deployment, under_way).await?;
        }
        Ok(())
    }

    /// Applies the ScaledObject of a Deployment and waits until KEDA has taken it up.
    pub(crate) async fn scale(&self, deployment: &str, scaled_object: &Value) -> Result<()> {
        let text = scaled_object
            .to_string()
            .replace("$SCALER", &self.scalers.address());
        self.case.apply(&text).await?;
        self.case.scaled_object_is(deployment, "Ready", "True").await
    }

    /// Waits until what each scaler says of a ScaledObject holds.
    pub(crate) async fn say(&self, name: &str, what: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let what = format!("the scalers to say of {}/{name} that {what}", self.case.namespace);
        eventually(&what, PATIENCE, async || {
            for scaler in &self.scalers.running {
                let text = scaler.explain(&self.case.namespace, name).await;
                if !holds(&text) {
                    return Ok(Seen::NotYet(text));
                }
            }
            Ok(Seen::Yes(()))
        })
        .await
    }

    /// The outcome of a proof; where it failed, with what the scalers say of the ScaledObject `name`.
    pub(crate) async fn explained(&self, name: &str, proof: impl Future<Output = Result<()>>) -> Result<()> {
        let outcome = proof
            .await
            .and_then(|()| self.nodes.are_in_step())
            .and_then(|()| self.engines.are_in_step());
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                let mut text = self.scalers.explain(name).await;
                for scaler in &self.scalers.running {
                    text.push_str(&scaler.page_about("engine").await);
                }
                for engine in self.engines.of(name) {
                    text.push_str(&format!("{} was scraped by {:?}\n", engine.pod, engine.scrapes()));
                }
                Err(error).with_context(|| format!("the scalers now say:\n{text}"))
            }
        }
    }
}

/// A ScaledObject from `least` replicas on; `$SCALER` in it stands for the scalers' address.
pub(crate) fn scaled_object(name: &str, least: u32, triggers: &[Value]) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": least,
            "maxReplicaCount": 8,
            "pollingInterval": 2,
            "cooldownPeriod": 5,
            "fallback": {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicas"},
            "triggers": triggers,
        },
    })
}

/// A trigger of Rheostat's with these metadata.
pub(crate) fn trigger(metadata: &[(&str, &str)]) -> Value {
    of_type("external", metadata)
}

/// The same, with push.
pub(crate) fn push_trigger(metadata: &[(&str, &str)]) -> Value {
    of_type("external-push", metadata)
}

fn of_type(kind: &str, metadata: &[(&str, &str)]) -> Value {
    let scaler = ("scalerAddress", "$SCALER");
    let metadata: serde_json::Map<String, Value> = metadata
        .iter()
        .chain([&scaler])
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect();
    json!({"type": kind, "metadata": metadata})
}
