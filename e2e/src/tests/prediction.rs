//! A ScalingPolicy through the real KEDA and HPA, beside what the simulator makes of the same input.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rheostat_crd::{Policy, Surroundings};
use rheostat_reading::Seconds;
use rheostat_simulator::{
    Change, ColdStart, EngineModel, Mode, Router, Run, Scenario, SizingScaler, simulate,
};
use rheostat_sizing::{Objective, Slo};
use rheostat_testkit::engine::{IterationTime, ModelSettings};
use rheostat_trace::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Case;
use crate::control_plane::HPA_SYNC;
use crate::rheostat::load::Load;
use crate::rheostat::node::MODEL;
use crate::rheostat::policy::define;
use crate::serving::engines::PERIOD;
use crate::serving::{Serving, push_trigger};

/// How the load goes: so many requests a second, for so long.
const LOAD: [(f64, Duration); 3] = [
    (6.0, Duration::from_secs(40)),
    (20.0, Duration::from_secs(110)),
    (6.0, Duration::from_secs(60)),
];

const PROMPT_TOKENS: u32 = 500;
const OUTPUT_TOKENS: u32 = 100;

/// From a node to readiness.
const COLD_START: Duration = Duration::from_secs(8);

/// Nothing is learned of what replicas do in their first minute, as engines tell it over another: the simulator's first
/// replica is older than that when the load begins, and so is the real one.
const YOUTH: Duration = Duration::from_secs(120);

const MOST_REPLICAS: u32 = 8;

/// `pollingInterval`, of the simulator's ScaledObject and of the real one.
const POLLING_SECONDS: u32 = 5;

/// How many times the simulator runs it, with the load ever later against the scrapes, polls and periods: when they
/// fall is not known of the real ones, and a count that is asked for 5 s later is another count for 5 s.
const PHASES: u32 = 12;

/// How far the real run may lie from the mean of the simulated ones, as a part of it. They lie up to 9 % from it
/// themselves, and a machine that is busy with seven other tests answers KEDA late by seconds; a policy that decides by
/// anything else than what the simulator shows it differs by whole replicas.
const MOST_APART: f64 = 0.15;

/// What is wanted: the very text of the object, so that the simulator reads what the API server has.
fn spec() -> Value {
    json!({
        "slo": {"ttft": "3s", "itl": "35ms"},
        "model": {"parameters": "16B"},
        "coldStart": "15s",
    })
}

/// A load that rises and falls is scaled by a policy for real, and in the simulator with the same engine,
/// requests, cold start and periods. The replica counts over the same time come to about the same, and the
/// difference is printed.
pub(crate) async fn as_simulated(case: Case) -> Result<()> {
    let simulated: Vec<Course> = (0..PHASES).map(predicted).collect::<Result<_>>()?;
    ensure!(
        simulated
            .iter()
            .all(|course| course.iter().any(|(_, replicas)| *replicas > 2)),
        "the load asks for nothing: {simulated:?}"
    );
    define(&case).await?;
    let serving = Serving::start(&case, 2, 1, Vec::new()).await?;
    let proof = async {
        serving
            .engines
            .serve_as("chat", engine(), PROMPT_TOKENS, OUTPUT_TOKENS);
        case.model_server("chat", 1, 1, COLD_START).await?;
        // There is always somebody to serve.
        serving.nodes.load(&case, "chat", Load::Each(100.0));
        serving.engines.are("chat", 1).await?;
        let ready = Instant::now();
        let policy = json!({
            "apiVersion": "rheostat.dev/v1alpha1",
            "kind": "ScalingPolicy",
            "metadata": {"name": "chat"},
            "spec": spec(),
        });
        case.apply(&policy.to_string()).await?;
        serving.scale("chat", &scaled_object()).await?;
        sleep_until(ready + YOUTH).await;
        let seen = follow(&case, &serving).await?;

        let real = replica_seconds(&seen);
        let each: Vec<f64> = simulated.iter().map(replica_seconds).collect();
        let mean = each.iter().sum::<f64>() / f64::from(PHASES);
        let apart = real / mean - 1.0;
        println!("policy_replica_seconds: {real:.0}");
        println!("policy_replica_seconds_simulated: {mean:.0}, each {each:.0?}");
        println!("policy_replicas: {}", in_words(&seen));
        println!("policy_replicas_simulated: {}", in_words(&simulated[0]));
        println!("policy_replica_seconds_difference_percent: {:+.1}", 100.0 * apart);
        ensure!(
            apart.abs() <= MOST_APART,
            "seen: {seen:?}\nsimulated: {simulated:?}"
        );
        Ok(())
    };
    serving.explained("chat", proof).await
}

/// Replica counts and since when they are asked for; the last one is the end.
type Course = Vec<(Duration, u32)>;

/// Sends the load and watches the replica count.
async fn follow(case: &Case, serving: &Serving) -> Result<Course> {
    let begun = Instant::now();
    let mut seen: Course = Vec::new();
    let mut until = begun;
    for (rate, lasting) in LOAD {
        serving.engines.set_rate("chat", rate)?;
        until += lasting;
        while Instant::now() < until {
            let wanted = case.replicas("chat").await?.wanted;
            let wanted = u32::try_from(wanted).context("a replica count")?;
            if seen.last().is_none_or(|(_, before)| *before != wanted) {
                seen.push((begun.elapsed(), wanted));
            }
            sleep(PERIOD).await;
        }
        sleep_until(until).await;
    }
    let last = seen.last().context("nothing was seen")?.1;
    seen.push((until - begun, last));
    Ok(seen)
}

/// The same of a simulated run whose load begins at `from`.
fn course(run: &Run, from: Duration) -> Course {
    let mut course = vec![(Duration::ZERO, 1)];
    let changes = run.changes.iter();
    course.extend(changes.map(|Change { at, to, .. }| (at.saturating_sub(from), *to)));
    course.push((length(), course.last().map_or(1, |(_, replicas)| *replicas)));
    course
}

fn in_words(course: &Course) -> String {
    let parts = course
        .iter()
        .map(|(at, replicas)| format!("{replicas} from {:.0} s", at.as_secs_f64()));
    parts.collect::<Vec<_>>().join(", ")
}

fn replica_seconds(course: &Course) -> f64 {
    let spans = course.windows(2).map(|pair| {
        let ((since, replicas), (until, _)) = (pair[0], pair[1]);
        f64::from(replicas) * until.saturating_sub(since).as_secs_f64()
    });
    spans.sum()
}

fn length() -> Duration {
    LOAD.iter().map(|(_, lasting)| *lasting).sum()
}

/// What the simulator says, with the load later by a part of KEDA's period.
fn predicted(phase: u32) -> Result<Course> {
    let policy = Policy::read(&spec()).context("reading the policy")?;
    let intent = policy.intent(&Surroundings {
        min_replicas: 1,
        max_replicas: MOST_REPLICAS,
        cooldown_period: Duration::from_secs(5),
        gpus_per_pod: Some(1.0),
    });
    let Objective::Slo(slo) = intent.objective else {
        anyhow::bail!("the policy has no SLO");
    };
    let late = Duration::from_secs(POLLING_SECONDS.into()) * phase / PHASES;
    let mut from = late;
    let requests = LOAD.iter().flat_map(|(rate, lasting)| {
        let begun = from;
        from += *lasting;
        let count = (lasting.as_secs_f64() * rate).floor();
        let rate = *rate;
        (1..=count as u32).map(move |number| Request {
            at: begun + Duration::from_secs_f64(f64::from(number) / rate),
            prompt_tokens: PROMPT_TOKENS,
            output_tokens: OUTPUT_TOKENS,
        })
    });
    let scenario = Scenario {
        until: Some(late + length()),
        ..scenario(slo)
    };
    let run = simulate(
        &scenario,
        requests.collect::<Vec<_>>().into_iter(),
        SizingScaler::through_keda(intent),
        &mut (),
    )?;
    Ok(course(&run, late))
}

fn scenario(slo: Slo) -> Scenario {
    let settings = engine();
    let IterationTime {
        base,
        per_prefill_token,
        per_decode_sequence,
        per_context_token,
        ..
    } = settings.iteration;
    let engine = EngineModel {
        name: "mock".into(),
        hardware: MODEL.into(),
        gpus: 1,
        base: Seconds(base),
        per_prefill_token: Seconds(per_prefill_token),
        per_decode_sequence: Seconds(per_decode_sequence),
        per_kv_token: Seconds(per_context_token),
        max_sequences: settings.max_sequences as u32,
        max_batched_tokens: settings.max_batched_tokens,
        kv_tokens: settings.blocks * settings.block_size,
        block_tokens: settings.block_size,
    };
    Scenario {
        cold_start: ColdStart::fixed(COLD_START),
        router: Router::RoundRobin,
        hpa_sync_period: HPA_SYNC,
        mode: Mode::Iteration,
        gateway: false,
        max_replicas: MOST_REPLICAS,
        ..Scenario::new(engine, slo)
    }
}

/// Half as fast as a model of 8 billion parameters is on this GPU, as one of 16 would be: short of filling it, so
/// that it costs this machine little, and slow enough for timers that come late by a millisecond.
fn engine() -> ModelSettings {
    let IterationTime {
        base,
        per_prefill_token,
        per_decode_sequence,
        per_context_token,
        speed,
    } = IterationTime::H100_8B;
    ModelSettings {
        max_sequences: 64,
        iteration: IterationTime {
            base: base / SPEED,
            per_prefill_token: per_prefill_token / SPEED,
            per_decode_sequence: per_decode_sequence / SPEED,
            per_context_token: per_context_token / SPEED,
            speed,
        },
        ..ModelSettings::default()
    }
}

/// Of the engines, beside those of 8 billion parameters.
const SPEED: f64 = 0.5;

/// As our example has it: what the policy says is carried out as it is.
fn scaled_object() -> Value {
    let at_once = json!({"tolerance": "0", "stabilizationWindowSeconds": 0});
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "chat"},
        "spec": {
            "scaleTargetRef": {"name": "chat"},
            "minReplicaCount": 1,
            "maxReplicaCount": MOST_REPLICAS,
            "pollingInterval": POLLING_SECONDS,
            "cooldownPeriod": 5,
            "fallback": {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicas"},
            "advanced": {"horizontalPodAutoscalerConfig": {
                "behavior": {"scaleUp": at_once, "scaleDown": at_once},
            }},
            "triggers": [push_trigger(&[("policy", "chat")])],
        },
    })
}
