//! Scalers that come and go while a workload runs: KEDA must not notice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::load::Load;
use crate::rheostat::nodes::GpuNodes;
use crate::rheostat::scaler::{Agents, Scaler, Scalers};
use crate::rheostat::workload::{GapWatch, Workload, first_replicas_by_keda};
use crate::wait::{Seen, eventually};

const NAME: &str = "model";

/// Short, so that a gap of seconds cannot pass between two polls.
const POLLING_INTERVAL: Duration = Duration::from_secs(2);

/// How long the replica count is watched after a scaler has died.
const AFTERMATH: Duration = Duration::from_secs(20);

/// How long push may be away: KEDA opens the stream again 2 s after a clean end, and 16 s after the
/// fourth end in a row that was not clean.
const PUSH_IS_BACK: Duration = Duration::from_secs(12);

/// How long a new scaler waits for its first call: grpc-go looks a name up at most every 30 s.
const FIRST_CALL: Duration = Duration::from_secs(60);

/// The scaler that KEDA gets its pushes from is killed; the other one answers alone.
pub(crate) async fn one_of_two_scalers_killed(case: Case) -> Result<()> {
    let (mut scalers, workload) = running(&case).await?;
    let watch = GapWatch::start(&case).await?;
    let holder = scalers.holder_of_push().await?;
    scalers.kill(holder).await?;
    let killed = Instant::now();
    scalers.holder_of_push().await?;
    println!("push_back_after_kill_s: {:.1}", killed.elapsed().as_secs_f64());
    case.stays_at(NAME, 3, AFTERMATH).await?;
    watch.no_gap(3).context("one of two scalers was killed")?;
    scalers.still_run()?;
    push_works(&case, &scalers, &workload).await
}

/// Every scaler is replaced, one after the other, as a Deployment does it, and more than once: each
/// time the one that KEDA gets its pushes from.
pub(crate) async fn scalers_restarted_one_after_the_other(case: Case) -> Result<()> {
    let (mut scalers, workload) = running(&case).await?;
    let watch = GapWatch::start(&case).await?;
    let mut away = Vec::new();
    for _ in 0..4 {
        let holder = scalers.holder_of_push().await?;
        scalers.add().await?;
        scalers.retire(holder).await?;
        let ended = Instant::now();
        scalers.holder_of_push().await?;
        away.push(ended.elapsed());
        let newest = scalers.running.last().context("no scaler runs")?;
        is_called(newest, FIRST_CALL).await?;
        watch.no_gap(3).context("a scaler was restarted")?;
    }
    println!("push_back_after_restart_s: {away:.1?}");
    ensure!(
        away.iter().all(|away| *away < PUSH_IS_BACK),
        "push was away for {away:.1?}: KEDA's back-off has grown"
    );
    case.stays_at(NAME, 3, Duration::from_secs(5)).await?;
    watch.no_gap(3).context("all scalers were restarted")?;
    scalers.still_run()?;
    push_works(&case, &scalers, &workload).await
}

const GPU_SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: model
spec:
  scaleTargetRef:
    name: model
  minReplicaCount: 0
  maxReplicaCount: 8
  pollingInterval: 2
  cooldownPeriod: 5
  fallback: {failureThreshold: 3, replicas: 1, behavior: currentReplicas}
  triggers:
    - type: external-push
      metadata:
        scalerAddress: $SCALER
        signal: gpu.utilization
        target: "80"
"#;

/// Both scalers are replaced while GPUs are what counts: a new one is not asked before it has heard
/// of every agent, so it has neither an error nor a zero to give.
pub(crate) async fn scalers_restarted_while_gpus_count(case: Case) -> Result<()> {
    let nodes = GpuNodes::start(&case, 1, 8).await?;
    let mut scalers = Scalers::start(&case, 2, nodes.service()).await?;
    nodes.load(&case, NAME, Load::Each(80.0));
    case.model_server(NAME, 3, 1, Duration::from_secs(3)).await?;
    nodes.are_shown().await?;
    case.apply(&GPU_SCALED_OBJECT.replace("$SCALER", &scalers.address()))
        .await?;
    answered(&case, &scalers).await?;
    let watch = GapWatch::start(&case).await?;
    for _ in 0..2 {
        scalers.add().await?;
        scalers.retire(0).await?;
        let newest = scalers.running.last().context("no scaler runs")?;
        is_called(newest, FIRST_CALL).await?;
    }
    case.stays_at(NAME, 3, AFTERMATH).await?;
    watch.no_gap(3).context("both scalers were restarted")?;
    nodes.are_in_step()?;
    scalers.still_run()
}

/// Two scalers that both are called, and a workload at three replicas.
async fn running(case: &Case) -> Result<(Scalers, Workload)> {
    case.gpu_nodes(1, 8).await?;
    let scalers = Scalers::start(case, 2, Agents::None).await?;
    let workload = Workload::at_zero(case, NAME, &scalers.address(), POLLING_INTERVAL).await?;
    workload.demand(3).await?;
    workload.runs(3).await?;
    answered(case, &scalers).await?;
    Ok((scalers, workload))
}

/// Waits until KEDA calls all scalers, and the HPA and KEDA have what they need.
async fn answered(case: &Case, scalers: &Scalers) -> Result<()> {
    case.scaled_object_is(NAME, "Ready", "True").await?;
    case.scaled_object_is(NAME, "Active", "True").await?;
    for scaler in &scalers.running {
        is_called(scaler, PATIENCE).await?;
    }
    // KEDA's controllers overwrite each other's conditions while a ScaledObject is new.
    eventually("KEDA and the HPA to have settled", PATIENCE, async || {
        let watch = GapWatch::start(case).await?;
        case.stays_at(NAME, 3, Duration::from_secs(4)).await?;
        Ok(match watch.no_gap(3) {
            Ok(()) => Seen::Yes(()),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// Waits until KEDA calls this scaler. Any call will do: while KEDA has the spec from its stream,
/// `GetMetrics` and `IsActive` alternate, and with two scalers each may hear only one of them.
async fn is_called(scaler: &Scaler, deadline: Duration) -> Result<()> {
    eventually("KEDA to call each scaler", deadline, async || {
        let calls = scaler.metric("rheostat_scaler_keda_calls_total{").await?;
        Ok(Seen::when(calls > 0.0, calls))
    })
    .await
}

/// To zero and back: the push must come through.
async fn push_works(case: &Case, scalers: &Scalers, workload: &Workload) -> Result<()> {
    workload.demand(0).await?;
    workload.runs(0).await.context("the demand has gone")?;
    scalers.holder_of_push().await?;
    let asked = workload.demand(2).await?;
    let scaled = first_replicas_by_keda(case, asked).await?;
    println!(
        "annotation_to_spec_replicas_ms: {:.1} (after the scalers changed)",
        scaled.duration_since(asked).as_secs_f64() * 1000.0
    );
    workload.runs(2).await
}
