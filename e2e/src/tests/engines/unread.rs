//! Engines that cannot be read: they vote for no change, and nothing else suffers.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rheostat_testkit::engine::Misbehaviour;

use crate::cluster::Case;
use crate::serving::engines::Engine;
use crate::serving::{Serving, scaled_object, trigger};

/// Requests under way: thirty for each of five replicas, within the tolerance of the profile's 32.
const REQUESTS: usize = 150;

/// Longer than an engine's readings count, and many syncs of the HPA.
const MANY_SYNCS: Duration = Duration::from_secs(16);

/// One of five engines hangs, its page and its requests.
pub(crate) async fn one_hangs(case: Case) -> Result<()> {
    one_of_five(case, Misbehaviour::Hang, "no answer within").await
}

/// One of five engines serves a page for people instead of its metrics, and goes on answering
/// requests.
pub(crate) async fn one_serves_html(case: Case) -> Result<()> {
    one_of_five(case, Misbehaviour::Html, "HTML").await
}

/// Five stay: the 120 requests of the other four and the vote of the unread one make 152. Counted as
/// idle, it would have made four enough, and might itself have been taken away.
async fn one_of_five(case: Case, misbehaviour: Misbehaviour, why: &str) -> Result<()> {
    let serving = Serving::start(&case, 2, 1, Vec::new()).await?;
    let proof = async {
        let engine = five_at_work(&case, &serving).await?;
        engine.misbehave(misbehaviour).await.context("misbehaving")?;
        case.stays_until("chat", 5, is_unread(&serving, &engine, why))
            .await?;
        case.stays_at("chat", 5, MANY_SYNCS).await?;
        is_unread(&serving, &engine, why).await?;

        engine.misbehave(Misbehaviour::None).await.context("behaving")?;
        let read_again = serving.say("chat", "it knows all five", all_five);
        case.stays_until("chat", 5, read_again).await?;
        case.stays_at("chat", 5, Duration::from_secs(4)).await
    };
    serving.explained("chat", proof).await
}

fn all_five(text: &str) -> bool {
    text.contains("5 ready, 5 of them known")
}

/// Five replicas that stay five; returns the engine of one of them.
async fn five_at_work(case: &Case, serving: &Serving) -> Result<Rc<Engine>> {
    let object = scaled_object("chat", 0, &[trigger(&[("profile", "vllm")])]);
    serving.serve("chat", 5, REQUESTS, &object).await?;
    serving.say("chat", "it knows all five", all_five).await?;
    case.stays_at("chat", 5, Duration::from_secs(6)).await?;
    let engines = serving.engines.of("chat");
    ensure!(engines.len() == 5, "{} engines", engines.len());
    engines.into_iter().next().context("no engine")
}

/// Waits until the explanation says that the engine's pod is not known, why, and what it counts for.
async fn is_unread(serving: &Serving, engine: &Engine, why: &str) -> Result<()> {
    let what = format!("{} is not known: {why}", engine.pod);
    serving
        .say("chat", &what, |text| {
            let unread = line_of(text, &engine.pod).is_some_and(|line| line.contains("not known"));
            unread && text.contains(why) && text.contains("1 unread ready pods are counted at the target")
        })
        .await
}

/// The line of an explanation about a pod.
fn line_of<'a>(text: &'a str, pod: &str) -> Option<&'a str> {
    let start = format!("pod {pod}:");
    text.lines().find(|line| line.contains(&start))
}
