//! The engines and the Prometheus that the other tests rely on.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::Case;
use crate::serving::engines::Engines;
use crate::serving::prometheus::Prometheus;

const RUNNING: &str = "sum(vllm:num_requests_running{namespace=\"$NAMESPACE\"} + vllm:num_requests_waiting)";

/// Requests reach the engines of the ready pods, and a real Prometheus finds the pods by the API
/// and reads there what is under way: of two engines, and of four once there are four.
pub(crate) async fn seen_by_prometheus(case: Case) -> Result<()> {
    case.gpu_nodes(1, 8).await?;
    let engines = Engines::start(&case);
    engines.serve("chat");
    let prometheus = Prometheus::start(&case).await?;
    case.model_server("chat", 2, 1, Duration::from_millis(500))
        .await?;
    engines.are("chat", 2).await?;
    engines.keep_under_way("chat", 40).await?;
    let running = RUNNING.replace("$NAMESPACE", &case.namespace);
    prometheus.says(&running, 38.0, 40.0).await?;
    prometheus.says(&format!("count({running})"), 1.0, 1.0).await?;

    case.scale("chat", 4).await?;
    engines.are("chat", 4).await?;
    engines.keep_under_way("chat", 80).await?;
    prometheus.says(&running, 78.0, 80.0).await?;
    case.scale("chat", 0).await?;
    engines.are("chat", 0).await?;
    Ok(())
}
