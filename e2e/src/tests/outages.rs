//! Unknown never scales down: a workload keeps its size through an outage of whatever tells the
//! scaler of it, and is called idle afterwards only once it has been watched idle.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use tokio::time::Instant;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::load::Load;
use crate::rheostat::nodes::GpuNodes;
use crate::rheostat::site::Site;
use crate::wait::{Seen, eventually};

/// With the fallback that Rheostat advises. Without it KEDA 2.21 takes a poll that meets a failing
/// read of the HPA ("scalers cache is closed") for inactivity, and ends the workload.
///
/// KEDA counts its cooldown from the last failure then, so that the trigger's own idle period is
/// the longer one here.
const SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: chat
spec:
  scaleTargetRef:
    name: chat
  minReplicaCount: 0
  maxReplicaCount: 8
  pollingInterval: 2
  cooldownPeriod: 5
  fallback:
    failureThreshold: 2
    replicas: 3
    behavior: currentReplicas
  triggers:
    - type: external
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "80"
        staleAfter: 3s
        grace: 2s
        idlePeriod: 20s
"#;

/// `idlePeriod` above.
const IDLE_PERIOD: Duration = Duration::from_secs(20);

/// Longer than KEDA's cooldown and many syncs of the HPA.
const OUTAGE: Duration = Duration::from_secs(16);

const REPLICAS: i32 = 3;

/// The agents' processes end; their pods stay, as after a bad rollout.
pub(crate) async fn agents_gone(case: Case) -> Result<()> {
    frozen_through_an_outage(case, GpuNodes::kill_agents, GpuNodes::start_agents).await
}

/// The kubelets do not answer: the GPUs are read, but nobody says whose they are.
pub(crate) async fn kubelets_gone(case: Case) -> Result<()> {
    frozen_through_an_outage(case, GpuNodes::stop_kubelets, GpuNodes::start_kubelets).await
}

/// The GPUs fall off the bus, and are there again after a reset.
pub(crate) async fn gpus_lost(case: Case) -> Result<()> {
    frozen_through_an_outage(case, GpuNodes::lose_gpus, GpuNodes::find_gpus).await
}

/// Once nothing is known, the load really vanishes, for longer than KEDA's cooldown. The workload
/// keeps its size. Back again and idle, it does not grow and may shrink to one replica, but the last
/// one goes only after the whole idle period has been watched.
async fn frozen_through_an_outage(
    case: Case,
    begin: impl AsyncFn(&GpuNodes) -> Result<()>,
    end: impl AsyncFn(&GpuNodes) -> Result<()>,
) -> Result<()> {
    let site = Site::start(&case, 2, 4).await?;
    let proof = async {
        site.serve(&case, "chat", REPLICAS, Load::Each(76.0), SCALED_OBJECT)
            .await?;
        case.scaled_object_is("chat", "Active", "True").await?;
        case.stays_at("chat", REPLICAS, Duration::from_secs(5)).await?;

        begin(&site.nodes).await?;
        case.stays_until("chat", REPLICAS, site.says(&case, "chat", "answer: error"))
            .await?;
        site.nodes.load(&case, "chat", Load::Each(0.0));
        case.stays_at("chat", REPLICAS, OUTAGE).await?;
        site.says(&case, "chat", "answer: error").await?;

        end(&site.nodes).await?;
        let (known, gone) = tokio::try_join!(knows_again(&site, &case), falls_to_zero(&case))?;
        let idle = gone.duration_since(known);
        ensure!(
            idle >= IDLE_PERIOD,
            "zero replicas {idle:?} after the outage, before {IDLE_PERIOD:?} of idleness were watched"
        );
        println!(
            "{}: zero replicas {:.1} s after the outage",
            case.namespace,
            idle.as_secs_f64()
        );
        Ok(())
    };
    site.explained("chat", proof).await
}

/// The last moment at which the scaler knew nothing: it cannot have watched before.
async fn knows_again(site: &Site, case: &Case) -> Result<Instant> {
    let mut blind = Instant::now();
    eventually("the scaler to know of the GPUs again", PATIENCE, async || {
        let now = Instant::now();
        let text = site.explain(case, "chat").await;
        Ok(if text.contains("answer: error") {
            blind = now;
            Seen::NotYet(text)
        } else {
            Seen::Yes(blind)
        })
    })
    .await
}

/// When nothing was left; until then the workload may only shrink.
async fn falls_to_zero(case: &Case) -> Result<Instant> {
    let mut most = REPLICAS;
    eventually("the idle workload to go to zero", PATIENCE, async || {
        let wanted = case.replicas("chat").await?.wanted;
        if wanted > most {
            return Ok(Seen::Never(anyhow!(
                "an idle workload grew from {most} to {wanted} replicas"
            )));
        }
        most = wanted;
        Ok(match wanted {
            0 => Seen::Yes(Instant::now()),
            _ => Seen::NotYet(format!("{wanted} replicas")),
        })
    })
    .await
}
