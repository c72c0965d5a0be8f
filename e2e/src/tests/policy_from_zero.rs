//! A ScalingPolicy that takes its workload to zero, and back by what waits in front of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::policy::{Policy, define};
use crate::serving::gateway::Gateway;
use crate::serving::prometheus::{self, Prometheus};
use crate::serving::{Serving, push_trigger, scaled_object};
use crate::wait::{Seen, eventually, throughout};

const NAME: &str = "chat";

/// Requests that each replica is to have at once.
const EACH: usize = 20;

/// No more replicas than this. The engines have more requests than so many are to have, so that none is taken away, and
/// no request lost with its engine, before the outage.
const MOST: u8 = 8;

/// What had a request within so long, or might have had one, is active to a policy.
const QUIET: Duration = Duration::from_secs(60);

/// Longer than an answer of Prometheus counts here, the policy's idle time, KEDA's cooldown, and many syncs of the HPA.
const OUTAGE: Duration = Duration::from_secs(25);

/// While nobody waits nothing runs. Many requests come at once: more than one replica is asked for before the first one
/// serves. They are passed on to engines, and the replicas are as many as may be. When the requests have ended while
/// nobody can tell whether more wait, the replicas stay; once it is known that none do, nothing runs.
pub(crate) async fn from_zero_by_what_waits(case: Case) -> Result<()> {
    define(&case).await?;
    let mut server = Prometheus::start(&case).await?;
    let gateway = Gateway::start((case.cluster.address(), 9600).into(), NAME).await?;
    let target = (gateway.address(), case.namespace.clone(), "picker-0".to_owned());
    prometheus::scrape(&case, "picker", &[target])?;
    let query = "sum(inference_extension_flow_control_queue_size{inference_pool=\"chat\"})";
    server.says(query, 0.0, 0.0).await?;

    let servers = case.folder.join("prometheus-servers.yaml");
    let text = json!({"main": {"url": server.url(), "enforceNamespace": "namespace"}});
    std::fs::write(&servers, text.to_string()).with_context(|| format!("writing {}", servers.display()))?;
    let more = vec![
        format!("--prometheus-config={}", servers.display()),
        "--prometheus-period=1".to_owned(),
    ];
    let serving = Serving::start(&case, 2, 1, more).await?;
    let spec = json!({
        "concurrency": EACH,
        "coldStart": "10s",
        "replicas": {"min": 0, "max": MOST, "scaleToZeroAfter": "10s"},
    });
    Policy::apply(&case, NAME, &spec).await?;
    let proof = async {
        let trigger = push_trigger(&[
            ("policy", NAME),
            ("prometheus", "main"),
            ("query", query),
            // What was finished within it, and what pods finished that are gone, is no idleness yet.
            ("window", "10s"),
            ("staleAfter", "5s"),
            ("grace", "2s"),
        ]);
        serving
            .serve(NAME, 0, 0, &scaled_object(NAME, 0, &[trigger]))
            .await?;
        serving
            .say(NAME, "nobody waits", |text| {
                text.contains("0 of them in front of the workload") && text.contains("answer: 0, inactive")
            })
            .await?;
        case.stays_at(NAME, 0, Duration::from_secs(6)).await?;

        gateway.hold(300);
        eventually("several replicas at once", PATIENCE, async || {
            let replicas = case.replicas(NAME).await?;
            Ok(Seen::when(replicas.wanted > 1, replicas))
        })
        .await?;
        eventually("an engine that serves", PATIENCE, async || {
            let engines = serving.engines.of(NAME).len();
            Ok(Seen::when(engines > 0, engines))
        })
        .await?;
        serving
            .engines
            .keep_under_way(NAME, usize::from(MOST + 1) * EACH)
            .await?;
        gateway.hold(0);
        case.runs(NAME, MOST.into()).await?;

        server.kill().await?;
        serving
            .say(NAME, "it is not known who waits", |text| {
                text.contains("answer: error")
                    && text.contains("what waits in front of the workload is not known")
            })
            .await?;
        let there = case.replicas(NAME).await?.wanted;
        serving.engines.keep_under_way(NAME, 0).await?;
        throughout("no replica is taken away", OUTAGE, async || {
            let replicas = case.replicas(NAME).await?;
            Ok(Seen::when(replicas.wanted >= there, replicas))
        })
        .await?;
        server.start_again().await?;
        case.runs_after(QUIET, NAME, 0).await?;
        let results = serving.engines.results(NAME)?;
        ensure!(
            results.lost == 0 && results.answered > 0,
            "of the requests that engines took some were lost: {results:?}"
        );
        Ok(())
    };
    serving.explained(NAME, proof).await
}
