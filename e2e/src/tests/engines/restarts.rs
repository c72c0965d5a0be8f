//! Engines that begin anew, agents that are gone, engines that sleep.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::workload::GapWatch;
use crate::serving::engines::{Engine, Scrapes};
use crate::serving::{Serving, scaled_object, trigger};
use crate::wait::{Seen, eventually};

/// Three engines restart, one after the other, which sets their counters to zero. The rate is that
/// of the requests all the same: four replicas are right for 7.2 a second at two each, and stay.
pub(crate) async fn restart_resets_counters(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 1, 1, Vec::new()).await?;
    let proof = async {
        let by_rate = trigger(&[
            ("signal", "engine.request_rate"),
            ("engine", "vllm"),
            ("target", "2"),
            ("window", "20s"),
        ]);
        let object = scaled_object("chat", 0, &[by_rate]);
        serving.engines.serve("chat");
        case.model_server("chat", 4, 1, Duration::ZERO).await?;
        let engines = serving.engines.are("chat", 4).await?;
        serving.engines.set_rate("chat", 7.2)?;
        eventually("each engine to have finished requests", PATIENCE, async || {
            let counts: Vec<u64> = engines.iter().map(|engine| finished(engine)).collect();
            Ok(Seen::when(counts.iter().all(|count| *count > 5), counts))
        })
        .await?;
        serving.scale("chat", &object).await?;
        serving
            .say("chat", "it knows all rates", |text| {
                text.contains("4 ready, 4 of them known")
            })
            .await?;
        for engine in engines.iter().take(3) {
            let before = finished(engine);
            engine.restart().await.context("restarting")?;
            let after = finished(engine);
            ensure!(
                before > 5 && after < before,
                "the counters were not reset: {before} requests, then {after}"
            );
            case.stays_at("chat", 4, Duration::from_secs(8)).await?;
        }
        // The whole window after the last restart.
        case.stays_at("chat", 4, Duration::from_secs(20)).await
    };
    serving.explained("chat", proof).await
}

/// The requests that an engine says it has finished since its start.
fn finished(engine: &Engine) -> u64 {
    engine
        .totals()
        .iter()
        .flat_map(|totals| totals.finished.values())
        .sum()
}

/// The agent is killed: the scalers scrape the engines themselves, and KEDA notices nothing. The
/// agent is back: it scrapes alone.
pub(crate) async fn agent_killed_scaler_takes_over(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 1, 2, Vec::new()).await?;
    let proof = async {
        let object = scaled_object("chat", 0, &[trigger(&[("profile", "vllm")])]);
        serving.serve("chat", 2, 61, &object).await?;
        case.scaled_object_is("chat", "Active", "True").await?;
        only_agents_scrape(&serving).await?;
        case.stays_at("chat", 2, Duration::from_secs(4)).await?;

        let watch = GapWatch::start(&case).await?;
        let killed = Instant::now();
        serving.nodes.kill_agents().await?;
        let since = scrapes(&serving);
        let taken_over = eventually("a scaler to scrape each engine", PATIENCE, async || {
            let now = scrapes(&serving);
            let all = since
                .iter()
                .zip(&now)
                .all(|(since, now)| now.by_others > since.by_others);
            Ok(Seen::when(all, now))
        });
        case.stays_until("chat", 2, taken_over).await?;
        println!(
            "{}: scalers scrape {:.1} s after the agent was killed",
            case.namespace,
            killed.elapsed().as_secs_f64()
        );
        // Longer than readings count, and than the grace.
        case.stays_at("chat", 2, Duration::from_secs(34)).await?;
        watch.no_gap(2).context("the agent was killed")?;

        serving.nodes.start_agents().await?;
        let started = Instant::now();
        case.stays_until("chat", 2, only_agents_scrape(&serving)).await?;
        println!(
            "{}: the agent scrapes alone {:.1} s after it was back",
            case.namespace,
            started.elapsed().as_secs_f64()
        );
        watch.no_gap(2).context("the agent was back")
    };
    serving.explained("chat", proof).await
}

fn scrapes(serving: &Serving) -> Vec<Scrapes> {
    let agents = serving.nodes.agents();
    let engines = serving.engines.of("chat");
    engines.iter().map(|engine| engine.scrapes_by(&agents)).collect()
}

/// Waits until for some periods each engine was scraped by the agent of its node, and by nobody else.
pub(super) async fn only_agents_scrape(serving: &Serving) -> Result<()> {
    let mut since: Option<Vec<Scrapes>> = None;
    eventually("the agents to scrape alone", PATIENCE, async || {
        let now = scrapes(serving);
        let pairs = || since.iter().flatten().zip(&now);
        if since.is_none() || pairs().any(|(since, now)| now.by_others > since.by_others) {
            since = Some(now.clone());
        }
        let pairs = || since.iter().flatten().zip(&now);
        let often = pairs().all(|(since, now)| now.by_agent >= since.by_agent + 4);
        Ok(Seen::when(often && !now.is_empty(), (&since, &now)))
    })
    .await
}

/// An engine that sleeps serves nobody: the 120 requests that four carried are too many for the
/// other three, and a fifth replica comes, although Kubernetes calls all four ready. When it wakes,
/// four are enough.
pub(crate) async fn asleep_is_no_capacity(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 2, 1, Vec::new()).await?;
    let proof = async {
        let object = scaled_object("chat", 0, &[trigger(&[("profile", "vllm")])]);
        serving.serve("chat", 4, 120, &object).await?;
        case.stays_at("chat", 4, Duration::from_secs(6)).await?;

        let sleeper = serving
            .engines
            .of("chat")
            .into_iter()
            .next()
            .context("no engine")?;
        serving.engines.set_routed(&sleeper, false);
        wait_until_unused(&sleeper).await?;
        sleeper.sleep();
        case.goes("chat", 4, 5).await?;
        let what = format!("{} sleeps", sleeper.pod);
        serving
            .say("chat", &what, |text| {
                text.contains(&format!("pod {}: its engine sleeps", sleeper.pod))
            })
            .await?;
        case.runs("chat", 5).await?;
        case.stays_at("chat", 5, Duration::from_secs(12)).await?;

        sleeper.wake();
        serving.engines.set_routed(&sleeper, true);
        case.goes("chat", 5, 4).await
    };
    serving.explained("chat", proof).await
}

/// Waits until the requests of an engine have ended.
async fn wait_until_unused(engine: &Engine) -> Result<()> {
    eventually("an engine to have no requests", PATIENCE, async || {
        let cores = engine.occupancy();
        let unused = cores.iter().all(|core| core.running == 0 && core.waiting == 0);
        Ok(Seen::when(unused, cores))
    })
    .await
}
