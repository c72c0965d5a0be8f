//! Workloads that a ScalingPolicy sizes, and what is written of them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rheostat_sizing::StartStage;
use rheostat_steward::decode_learned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::policy::{Policy, condition, define};
use crate::rheostat::scaler::Scaler;
use crate::runner::Test;
use crate::serving::{Serving, push_trigger, scaled_object};
use crate::wait::{Seen, eventually, throughout};

/// Every test of them.
pub(crate) fn all() -> [Test; 3] {
    [
        Test::new("policy::refused", refused),
        Test::new(
            "policy::scales_and_outlives_its_leader",
            scales_and_outlives_its_leader,
        ),
        Test::new(
            "policy::what_is_learned_outlives_all_scalers",
            what_is_learned_outlives_all_scalers,
        ),
    ]
}

const NAME: &str = "chat";

/// kube-apiserver refuses what means nothing, and says which key, which value and what is allowed.
async fn refused(case: Case) -> Result<()> {
    define(&case).await?;
    let slo = json!({"ttft": "2s"});
    let refusals: [(Value, &[&str]); 15] = [
        (
            json!({}),
            &["spec", "exactly one of slo, concurrency and utilization is given"],
        ),
        (
            json!({"slo": slo, "concurrency": 8}),
            &["spec", "exactly one of slo, concurrency and utilization is given"],
        ),
        (
            json!({"slo": {}}),
            &["spec.slo", "at least one of ttft, itl and e2e is given"],
        ),
        (
            json!({"slo": {"ttft": "2 seconds"}}),
            &["spec.slo.ttft", "2 seconds", "should match"],
        ),
        (
            json!({"concurrency": 0}),
            &["spec.concurrency", "allowed: at least 0.01"],
        ),
        (
            json!({"concurrency": 0.001}),
            &["spec.concurrency", "0.001", "at least 0.01"],
        ),
        (
            json!({"slo": slo, "pool": {"name": "a", "gpus": -1}}),
            &["spec.pool.gpus", "-1", "greater than or equal to 0"],
        ),
        (json!({"slo": slo, "colour": "blue"}), &["colour"]),
        (
            json!({"slo": slo, "replicas": {"min": 5, "max": 2}}),
            &[
                "spec.replicas",
                "min is above max",
                "allowed: a min of at most max",
            ],
        ),
        (
            json!({"slo": slo, "replicas": {"min": 1, "scaleToZeroAfter": "5m"}}),
            &["spec.replicas", "leave scaleToZeroAfter out"],
        ),
        (
            json!({"slo": slo, "limits": {"budgets": [{"money": 5, "per": "day"}]}}),
            &["spec", "a budget in money needs gpu.pricePerHour"],
        ),
        (
            json!({"slo": slo, "limits": {"budgets": [{"gpuHours": 5, "per": "fortnight"}]}}),
            &[
                "spec.limits.budgets[0].per",
                "fortnight",
                "\"hour\", \"day\", \"month\"",
            ],
        ),
        (
            json!({"slo": slo, "limits": {"up": [{"within": "1m"}]}}),
            &["spec.limits.up[0]", "either replicas or percent is given"],
        ),
        (
            json!({"slo": slo, "timeZone": "UTC"}),
            &["spec", "timeZone is that of a schedule"],
        ),
        (
            json!({"slo": slo, "role": {"part": "prefill", "prefillPerDecode": 2}}),
            &["spec.role", "prefillPerDecode needs the partner"],
        ),
    ];
    for (spec, told) in refusals {
        let Err(error) = Policy::apply(&case, "wrong", &spec).await else {
            bail!("{spec} was taken");
        };
        let error = format!("{error:#}");
        for part in told {
            ensure!(error.contains(part), "of {spec} is said {error:?}, not {part:?}");
        }
    }
    let all = json!({
        "slo": {"ttft": "2s", "itl": "100ms", "attainment": "99%"},
        "replicas": {"min": 0, "max": 16, "headroom": 1, "scaleToZeroAfter": "10m"},
        "limits": {"up": [{"replicas": 4, "within": "1m"}], "budgets": [{"money": 500, "per": "day"}]},
        "gpu": {"pricePerHour": 2.5},
        "schedule": ["floor 2 from 0 8 * * mon-fri to 0 20 * * mon-fri in Europe/Zurich"],
    });
    Policy::apply(&case, "right", &all).await?;
    Ok(())
}

/// What a policy asks for here: the engines of these tests take the same time for each iteration, however much
/// they have to do, so that a latency would ask for nothing.
fn spec() -> Value {
    json!({
        "concurrency": 20,
        "replicas": {"min": 1, "max": 8},
        // Four replicas spend it within a minute and a half, and nothing happens then.
        "limits": {"budgets": [{"gpuHours": 0.1, "per": "day", "whenReached": "warn"}]},
    })
}

/// A policy with a workload of one replica that has little to do, decided for by two scalers.
async fn deciding(case: &Case) -> Result<(Serving, Policy)> {
    define(case).await?;
    let serving = Serving::start(case, 2, 2, Vec::new()).await?;
    let policy = Policy::apply(case, NAME, &spec()).await?;
    policy
        .says("nobody uses it", |status| {
            condition(status, "Ready") == ("True".to_owned(), "Unused".to_owned())
        })
        .await?;
    let object = scaled_object(NAME, 1, &[push_trigger(&[("policy", NAME)])]);
    serving.serve(NAME, 1, 10, &object).await?;
    policy
        .says("one replica is enough", |status| {
            status["desired"] == 1
                && status["workloads"][0]["active"] == true
                && condition(status, "Ready").1 == "Decided"
        })
        .await?;
    Ok((serving, policy))
}

/// The load grows, and with it the replicas. What is decided stands in the status, in Events and in what
/// `kubectl get` prints; both scalers agree, and when the one that leads is killed the other one goes on from
/// there.
async fn scales_and_outlives_its_leader(case: Case) -> Result<()> {
    let (mut serving, policy) = deciding(&case).await?;
    let proof = async {
        serving.engines.keep_under_way(NAME, 70).await?;
        // Four carry them; how many more are worth their cost is the policy's to say.
        let count = running_as_decided(&case, &policy).await?;
        let status = policy.status().await?;
        ensure!(count <= 8, "{count} replicas with a maximum of 8");
        ensure!(
            status["workloads"][0]["why"].is_string(),
            "without a reason: {status}"
        );
        told(&case).await?;
        printed(&policy).await?;

        let leader = leader(&serving.scalers.running).await?;
        eventually("both scalers to answer the same", PATIENCE, async || {
            let answers = answers(&serving.scalers.running).await?;
            let alike = |pair: &[f64]| (pair[0] - pair[1]).abs() < 1e-9;
            let same = answers.windows(2).all(alike) && answers[0] >= f64::from(count);
            Ok(Seen::when(same, answers))
        })
        .await?;
        serving.scalers.kill(leader).await?;
        let killed = Instant::now();
        let other_leads = eventually("the other scaler to lead", PATIENCE, async || {
            let leads = leads(&serving.scalers.running[0]).await?;
            Ok(Seen::when(leads, "it does not"))
        });
        let no_fewer = throughout("no replica is taken away", Duration::MAX, async || {
            let replicas = case.replicas(NAME).await?;
            Ok(Seen::when(replicas.wanted >= count, replicas))
        });
        tokio::select! {
            led = other_leads => led?,
            fewer = no_fewer => fewer?,
        }
        println!(
            "leader_killed_to_next_leader_s: {:.1}",
            killed.elapsed().as_secs_f64()
        );
        // It writes, too: more load, another count.
        serving.engines.keep_under_way(NAME, 140).await?;
        policy
            .says("all eight are needed", |status| {
                status["desired"] == 8 && condition(status, "Ready").1 == "Decided"
            })
            .await?;
        case.runs(NAME, 8).await
    };
    let outcome = proof.await;
    serving.explained(NAME, async { outcome }).await
}

/// GPU-hours are spent and starts seen. All scalers are stopped, and what was spent and seen is known to those that
/// come after them.
async fn what_is_learned_outlives_all_scalers(case: Case) -> Result<()> {
    let (mut serving, policy) = deciding(&case).await?;
    let proof = async {
        serving.engines.keep_under_way(NAME, 70).await?;
        running_as_decided(&case, &policy).await?;
        let what = "half of the budget is spent, and starts were seen";
        let seen = |status: &Value| {
            condition(status, "Learned").0 == "True" && left(status).is_ok_and(|left| left <= 50.0)
        };
        policy.says(what, seen).await?;
        while !serving.scalers.running.is_empty() {
            serving.scalers.retire(0).await?;
        }
        let before = policy.status().await?;

        serving.scalers.add().await?;
        let began = Instant::now();
        eventually("the new scaler to lead", PATIENCE, async || {
            let leads = leads(&serving.scalers.running[0]).await?;
            Ok(Seen::when(leads, "it does not"))
        })
        .await?;
        let calls = "rheostat_scaler_evaluations_total";
        let evaluated = serving.scalers.running[0].metric(calls).await?;
        eventually("the new scaler to have decided", PATIENCE, async || {
            let now = serving.scalers.running[0].metric(calls).await?;
            Ok(Seen::when(now > evaluated + 2.0, now))
        })
        .await?;
        serving.scalers.retire(0).await?;
        let after = policy.status().await?;
        let (was, is) = (left(&before)?, left(&after)?);
        println!(
            "{}: {was}% of the budget was left, {is}% is {:.1} s after a restart of all scalers",
            case.namespace,
            began.elapsed().as_secs_f64()
        );
        // Eight replicas spend two percent a second, and what was spent in the last ten seconds may be forgotten.
        ensure!(
            is <= was + 20.0,
            "{was}% of the budget was left, and now {is}% is"
        );
        let (known, kept) = (starts(&before)?, starts(&after)?);
        ensure!(
            known > 0 && kept >= known,
            "{known} starts were known, and {kept} are"
        );
        Ok(())
    };
    let outcome = proof.await;
    serving.explained(NAME, async { outcome }).await
}

/// Waits until at least four replicas run and are as many as the status tells of, and says how many.
async fn running_as_decided(case: &Case, policy: &Policy) -> Result<i32> {
    eventually("four replicas, as the status tells", PATIENCE, async || {
        let (status, replicas) = (policy.status().await?, case.replicas(NAME).await?);
        let same = status["desired"] == replicas.wanted && replicas.ready == replicas.wanted;
        Ok(match same && replicas.wanted >= 4 {
            true => Seen::Yes(replicas.wanted),
            false => Seen::NotYet(format!("{replicas:?} and {status}")),
        })
    })
    .await
}

/// What is left of the budget, in percent.
fn left(status: &Value) -> Result<f64> {
    let text = status["workloads"][0]["budgetLeft"].as_str();
    let text = text.with_context(|| format!("no budget in {status}"))?;
    text.trim_end_matches('%')
        .parse()
        .with_context(|| format!("{text} is no number"))
}

/// How many starts the scalers have kept in a status.
fn starts(status: &Value) -> Result<u32> {
    let text = status["workloads"][0]["learned"].as_str();
    let learned = decode_learned(text.with_context(|| format!("nothing learned in {status}"))?)?;
    let all = learned.cold_start().learned();
    Ok(all
        .filter(|(_, time)| time.stage == StartStage::Total)
        .map(|(_, time)| time.samples)
        .sum())
}

/// An Event on the ScaledObject says what changed and why.
async fn told(case: &Case) -> Result<()> {
    eventually("an Event that tells of the change", PATIENCE, async || {
        let events = case.events().await?;
        let told = events.iter().any(|event| {
            event.starts_with("Normal ScaledObject/chat: ReplicasDecided: ") && event.contains("(was ")
        });
        Ok(Seen::when(told, events))
    })
    .await
}

/// The columns that a user sees have something in them.
async fn printed(policy: &Policy) -> Result<()> {
    let columns = policy.columns().await?;
    let column = |name: &str| {
        let found = columns.iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value)
            .with_context(|| format!("no column {name} in {columns:?}"))
    };
    ensure!(column("Desired")?.as_i64() >= Some(4), "{columns:?}");
    ensure!(column("Ready")? == "True", "{columns:?}");
    ensure!(
        column("Why")?.as_str().is_some_and(|why| !why.is_empty()),
        "{columns:?}"
    );
    column("Attainment")?;
    column("Age").map(drop)
}

async fn leads(scaler: &Scaler) -> Result<bool> {
    let leading = "rheostat_scaler_leadership{state=\"leading\"}";
    Ok(scaler.metric(leading).await? > 0.0)
}

/// The only one that leads.
async fn leader(scalers: &[Scaler]) -> Result<usize> {
    let mut leaders = Vec::new();
    for (index, scaler) in scalers.iter().enumerate() {
        if leads(scaler).await? {
            leaders.push(index);
        }
    }
    match leaders[..] {
        [leader] => Ok(leader),
        _ => bail!("the scalers {leaders:?} lead"),
    }
}

/// What each scaler answers KEDA with.
async fn answers(scalers: &[Scaler]) -> Result<Vec<f64>> {
    let mut answers = Vec::new();
    for scaler in scalers {
        answers.push(scaler.metric("rheostat_trigger_value").await?);
    }
    Ok(answers)
}
