//! A rollout with a surge that is within the HPA's tolerance.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::load::Load;
use crate::rheostat::site::Site;
use crate::wait::{Seen, eventually, throughout};

const SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: chat
spec:
  scaleTargetRef:
    name: chat
  minReplicaCount: 1
  maxReplicaCount: 30
  pollingInterval: 5
  triggers:
    - type: external
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "80"
"#;

/// So many that, of one more, no value makes as many again: it would be within the HPA's tolerance.
const REPLICAS: i32 = 20;

/// The HPA leaves so many as they are, and no more.
const MOST: i32 = 22;

/// Twenty syncs of the HPA: it adds a replica at each where what it made of the surge is taken for what was asked for.
const MANY_SYNCS: Duration = Duration::from_secs(40);

/// Twenty replicas at exactly their target have all the GPUs that there are, and get a new version, for whose first pod
/// there is no GPU. The size is held meanwhile, and what the HPA makes of the surge is not what is held.
pub(crate) async fn surge_within_tolerance(case: Case) -> Result<()> {
    let site = Site::start(&case, 2, 10).await?;
    let proof = async {
        site.serve(&case, "chat", REPLICAS, Load::Each(80.0), SCALED_OBJECT)
            .await?;
        case.stays_at("chat", REPLICAS, Duration::from_secs(5)).await?;
        let version = json!({"spec": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"annotations": {"version": "2"}}},
        }});
        case.deployments()
            .patch("chat", &PatchParams::default(), &Patch::Merge(&version))
            .await
            .context("giving the Deployment chat a new version")?;
        eventually("a pod beyond those that are asked for", PATIENCE, async || {
            let replicas = case.replicas("chat").await?;
            Ok(Seen::when(replicas.existing > REPLICAS, replicas))
        })
        .await?;
        throughout(
            "no replica is added but by the tolerance",
            MANY_SYNCS,
            async || {
                let replicas = case.replicas("chat").await?;
                Ok(Seen::when(
                    (REPLICAS..=MOST).contains(&replicas.wanted) && replicas.ready == REPLICAS,
                    replicas,
                ))
            },
        )
        .await?;
        site.says(&case, "chat", "the size is held").await
    };
    site.explained("chat", proof).await
}
