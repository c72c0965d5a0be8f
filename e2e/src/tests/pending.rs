//! Replicas that wait for GPUs count as supply: no runaway, no shrinking.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::cluster::{Case, PATIENCE, Replicas};
use crate::rheostat::load::Load;
use crate::rheostat::site::Site;
use crate::wait::{Seen, eventually};

/// The window: load that moves from one node to another is for a moment seen on both, or on neither,
/// as each agent reads once a second.
const SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: chat
spec:
  scaleTargetRef:
    name: chat
  minReplicaCount: 1
  maxReplicaCount: 12
  pollingInterval: 5
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 5
  triggers:
    - type: external
      metricType: $METRIC_TYPE
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "$TARGET"
"#;

/// Ten syncs of the HPA: a runaway doubles at each.
const MANY_SYNCS: Duration = Duration::from_secs(20);

/// Two replicas at 100 % with target 50 go to four, and as long as the other two wait for GPUs the
/// sum is still 200, which is four. (A mean of 100 against replicas that exist would double them at
/// each sync.)
pub(crate) async fn average_value(case: Case) -> Result<()> {
    waiting_for_a_node(case, "AverageValue").await
}

/// Under `Value` the HPA itself multiplies by the ready pods only, which is the same: 2 × 100 / 50.
/// While the others wait, the scaler answers exactly the target, so that tolerances of 0 do no harm.
pub(crate) async fn value(case: Case) -> Result<()> {
    waiting_for_a_node(case, "Value").await
}

/// Under full load, half of the replicas wait for GPUs until another node appears. What the demand
/// really was is known only then: 240, which is five replicas.
async fn waiting_for_a_node(case: Case, metric_type: &str) -> Result<()> {
    let site = Site::start(&case, 1, 2).await?;
    let proof = async {
        let scaled_object = SCALED_OBJECT
            .replace("$METRIC_TYPE", metric_type)
            .replace("$TARGET", "50");
        site.serve(&case, "chat", 2, Load::Shared(240.0), &scaled_object)
            .await?;
        case.goes("chat", 2, 4).await?;
        are_ready(&case, 2, 4).await?;
        case.stays_at("chat", 4, MANY_SYNCS).await?;
        are_ready(&case, 2, 4).await?;

        site.nodes.add(8).await?;
        case.goes("chat", 4, 5).await?;
        case.runs("chat", 5).await?;
        case.stays_at("chat", 5, MANY_SYNCS).await
    };
    site.explained("chat", proof).await
}

/// Four replicas at 75 % lose one of their two nodes. The other two then show all that they can,
/// 200, which is three replicas of 80: the plain sum says "fewer" because there are too few. The
/// size is kept, and is right when the node is back.
pub(crate) async fn node_drained(case: Case) -> Result<()> {
    let site = Site::start(&case, 2, 2).await?;
    let proof = async {
        let scaled_object = SCALED_OBJECT
            .replace("$METRIC_TYPE", "AverageValue")
            .replace("$TARGET", "80");
        site.serve(&case, "chat", 4, Load::Shared(300.0), &scaled_object)
            .await?;
        case.stays_at("chat", 4, Duration::from_secs(5)).await?;

        let held = site.nodes.held(&case);
        let node = held.keys().next().context("there is no node")?;
        site.nodes.drain(node).await?;
        are_ready(&case, 2, 4).await?;
        case.stays_until("chat", 4, site.says(&case, "chat", "the size is held"))
            .await?;
        case.stays_at("chat", 4, MANY_SYNCS).await?;
        are_ready(&case, 2, 4).await?;

        site.nodes.set_schedulable(node, true).await?;
        case.runs("chat", 4).await?;
        case.stays_at("chat", 4, MANY_SYNCS).await
    };
    site.explained("chat", proof).await
}

/// Waits until `ready` of `wanted` replicas are ready; there must be as many all the time.
async fn are_ready(case: &Case, ready: i32, wanted: i32) -> Result<()> {
    let expected = Replicas {
        wanted,
        existing: wanted,
        ready,
    };
    eventually(
        &format!("{ready} of {wanted} replicas to be ready"),
        PATIENCE,
        async || {
            let replicas = case.replicas("chat").await?;
            Ok(if replicas.wanted == wanted {
                Seen::when(replicas == expected, replicas)
            } else {
                Seen::Never(anyhow!("it asks for {} replicas", replicas.wanted))
            })
        },
    )
    .await
}
