//! A model server by its profile, from zero replicas and back.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::restarts::only_agents_scrape;
use crate::cluster::{Case, PATIENCE};
use crate::rheostat::workload::demand;
use crate::serving::{Serving, push_trigger, scaled_object, trigger};
use crate::wait::{Seen, eventually};

/// Requests under way: `profile: vllm` gives 32 of them to a replica, so that three carry these.
const REQUESTS: usize = 81;

/// How long the scrapes are counted; an engine is scraped every 2 s.
const COUNTED: Duration = Duration::from_secs(12);
const PERIOD: Duration = Duration::from_secs(2);

/// `profile: vllm` under requests over HTTP: three replicas for what three can carry, none when the
/// requests have ended, and none of those lost that an engine took.
///
/// No engine can ask for the first replica, since there is none. Here a person does, by the
/// annotation of a second trigger, and takes it back as soon as an engine can speak for itself; in
/// production that is a gateway, a queue or a schedule.
///
/// Two scalers want the engines' numbers, and each engine is asked once a period, by the agent of
/// its node alone.
pub(crate) async fn vllm_from_zero_and_back(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 2, 2, Vec::new()).await?;
    let proof = async {
        let triggers = [
            trigger(&[("profile", "vllm")]),
            push_trigger(&[("signal", "manual")]),
        ];
        let object = scaled_object("chat", 0, &triggers);
        serving.serve("chat", 0, 0, &object).await?;
        serving
            .say("chat", "nothing runs", |text| text.contains("no replicas"))
            .await?;

        demand(&case, "chat", 1).await?;
        serving.engines.are("chat", 1).await?;
        serving.engines.keep_under_way("chat", REQUESTS).await?;
        more_than_one_is_wanted(&case).await?;
        demand(&case, "chat", 0).await?;
        case.runs("chat", 3).await?;
        let engines = serving.engines.are("chat", 3).await?;
        case.stays_until("chat", 3, only_agents_scrape(&serving)).await?;

        let agents = serving.nodes.agents();
        let count = || -> Vec<_> { engines.iter().map(|engine| engine.scrapes_by(&agents)).collect() };
        let (before, start) = (count(), Instant::now());
        case.stays_at("chat", 3, COUNTED).await?;
        let periods = start.elapsed().as_secs_f64() / PERIOD.as_secs_f64();
        let mut scraped = 0;
        for ((engine, before), after) in engines.iter().zip(before).zip(count()) {
            scraped += after.by_agent - before.by_agent;
            let by_agent = (after.by_agent - before.by_agent) as f64;
            ensure!(
                after.by_others == before.by_others,
                "somebody else than the agent asked {}: {before:?}, then {after:?}",
                engine.pod
            );
            ensure!(
                (0.5 * periods..=1.3 * periods + 1.0).contains(&by_agent),
                "the agent asked {} {by_agent} times in {periods:.1} periods",
                engine.pod
            );
        }
        println!(
            "{}: {scraped} scrapes of 3 engines in {periods:.1} periods, for 2 scalers",
            case.namespace
        );

        serving.engines.keep_under_way("chat", 0).await?;
        case.runs("chat", 0).await?;
        let results = serving.engines.results("chat")?;
        ensure!(
            results.lost == 0 && results.answered > 0,
            "of the requests that engines took some were lost: {results:?}"
        );
        println!("{}: {results:?}", case.namespace);
        Ok(())
    };
    serving.explained("chat", proof).await
}

/// Only the engine can want that: the annotation asks for one.
async fn more_than_one_is_wanted(case: &Case) -> Result<()> {
    eventually("the engine to ask for more replicas", PATIENCE, async || {
        let replicas = case.replicas("chat").await?;
        Ok(Seen::when(replicas.wanted > 1, replicas))
    })
    .await
}
