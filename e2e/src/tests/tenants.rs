//! A workload is judged by its own GPUs.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::Case;
use crate::rheostat::load::Load;
use crate::rheostat::site::Site;

const SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: chat
spec:
  scaleTargetRef:
    name: chat
  minReplicaCount: 1
  maxReplicaCount: 4
  pollingInterval: 5
  triggers:
    - type: external
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "80"
"#;

/// Many syncs of the HPA: what it has not done by then it will not do.
const MANY_SYNCS: Duration = Duration::from_secs(12);

/// Two tenants have a Deployment and a ScaledObject of the same names, and GPUs of the same node.
/// One is within its tolerance of its target, so that each bit of somebody else's load, and each
/// missing bit of its own, would change its size. It stays while the other has all that its GPUs
/// can do, and while the other goes idle; and when its own load rises it is scaled by that.
pub(crate) async fn another_tenants_load_changes_nothing(case: Case) -> Result<()> {
    let other = case.neighbour("other").await?;
    let site = Site::with_listed_agents(&case, &[&other], 1, 8).await?;
    let proof = async {
        site.serve(&other, "chat", 4, Load::Each(100.0), SCALED_OBJECT)
            .await?;
        site.serve(&case, "chat", 2, Load::Each(76.0), SCALED_OBJECT)
            .await?;
        case.stays_at("chat", 2, MANY_SYNCS).await?;
        only_its_own_gpus_count(&site, &case, &other).await?;
        only_its_own_gpus_count(&site, &other, &case).await?;

        site.nodes.load(&other, "chat", Load::Each(0.0));
        other.goes("chat", 4, 1).await?;
        case.stays_at("chat", 2, MANY_SYNCS).await?;

        site.nodes.load(&case, "chat", Load::Shared(3.0 * 76.0));
        case.goes("chat", 2, 3).await?;
        case.stays_at("chat", 3, MANY_SYNCS).await?;
        other.stays_at("chat", 1, Duration::from_secs(1)).await
    };
    site.explained("chat", proof).await?;
    other.close().await
}

/// What the scaler says of one tenant's workload names each of its GPUs, and none of the other's.
async fn only_its_own_gpus_count(site: &Site, of: &Case, not_of: &Case) -> Result<()> {
    let text = site.explain(of, "chat").await;
    let gpus = |case: &Case| site.nodes.held(case).into_values().flatten();
    let missing: Vec<_> = gpus(of).filter(|uuid| !text.contains(uuid)).collect();
    let foreign: Vec<_> = gpus(not_of).filter(|uuid| text.contains(uuid)).collect();
    ensure!(
        gpus(of).count() > 0 && gpus(not_of).count() > 0,
        "a tenant has no GPUs"
    );
    ensure!(
        missing.is_empty() && foreign.is_empty(),
        "of {}/chat the scaler leaves out {missing:?}, and counts {foreign:?} of {}:\n{text}",
        of.namespace,
        not_of.namespace
    );
    Ok(())
}
