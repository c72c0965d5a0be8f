//! How a number of GPUs' utilisation becomes a number of replicas.

use std::time::Duration;

use anyhow::Result;

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
  maxReplicaCount: 8
  pollingInterval: 5
  triggers:
    - type: external
      metricType: $METRIC_TYPE
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "80"
"#;

/// Many syncs of the HPA: what it has not done by then it will not do.
const MANY_SYNCS: Duration = Duration::from_secs(12);

/// A total, of which each replica is to carry 80.
pub(crate) async fn average_value(case: Case) -> Result<()> {
    four_at_95_percent_go_to_five(case, "AverageValue").await
}

/// A mean, which is to be 80.
pub(crate) async fn value(case: Case) -> Result<()> {
    four_at_95_percent_go_to_five(case, "Value").await
}

/// Four replicas at 95 % with target 80 go to five. (A percentage handed to the HPA as it is, under
/// KEDA's default `AverageValue`, goes to ceil(95 / 80) = 2.) The same demand on five is 76 % each:
/// within the HPA's tolerance, so that it stays. At 64 % each, four can carry it.
async fn four_at_95_percent_go_to_five(case: Case, metric_type: &str) -> Result<()> {
    let site = Site::start(&case, 1, 8).await?;
    let proof = async {
        let scaled_object = SCALED_OBJECT.replace("$METRIC_TYPE", metric_type);
        let demand = Load::Shared(4.0 * 95.0);
        site.serve(&case, "chat", 4, demand, &scaled_object).await?;
        case.goes("chat", 4, 5).await?;
        case.runs("chat", 5).await?;
        case.stays_at("chat", 5, MANY_SYNCS).await?;

        site.nodes.load(&case, "chat", Load::Shared(5.0 * 64.0));
        case.goes("chat", 5, 4).await?;
        case.runs("chat", 4).await?;
        case.stays_at("chat", 4, MANY_SYNCS).await
    };
    site.explained("chat", proof).await
}
