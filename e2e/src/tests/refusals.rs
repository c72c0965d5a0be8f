//! Triggers that mean nothing: the user is told what to write instead, and nobody else notices.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cluster::{Case, PATIENCE};
use crate::rheostat::scaler::{Agents, Scalers};
use crate::rheostat::workload::Workload;
use crate::wait::{Seen, eventually};

/// Metadata that are refused, and what the message must name: key, value, what is allowed.
struct Refusal {
    name: &'static str,
    metadata: &'static [(&'static str, &'static str)],
    told: &'static [&'static str],
}

const fn refusal(
    name: &'static str,
    metadata: &'static [(&'static str, &'static str)],
    told: &'static [&'static str],
) -> Refusal {
    Refusal { name, metadata, told }
}

const UTILIZATION: (&str, &str) = ("signal", "gpu.utilization");

/// A value longer than any that is meant.
const LONG: &str = "8000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

const REFUSALS: &[Refusal] = &[
    refusal(
        "unknown-key",
        &[UTILIZATION, ("target", "80"), ("colour", "blue")],
        &[
            "unknown key \"colour\"",
            "allowed: policy, signal, profile, target",
        ],
    ),
    refusal(
        "slip-of-the-pen",
        &[UTILIZATION, ("targt", "80")],
        &["unknown key \"targt\"", "did you mean target?"],
    ),
    refusal(
        "no-signal",
        &[("target", "80")],
        &[
            "signal, expression or profile is missing",
            "allowed: signal: gpu.utilization",
        ],
    ),
    refusal(
        "no-target",
        &[UTILIZATION],
        &["target is missing", "allowed: a number"],
    ),
    refusal(
        "not-a-number",
        &[UTILIZATION, ("target", "NaN")],
        &["target is \"NaN\"", "allowed: a number"],
    ),
    refusal(
        "infinite",
        &[UTILIZATION, ("target", "inf")],
        &["target is \"inf\"", "allowed: a number"],
    ),
    refusal(
        "zero",
        &[UTILIZATION, ("target", "0")],
        &["target is \"0\"", "at least 0.001"],
    ),
    refusal(
        "negative",
        &[UTILIZATION, ("target", "-80")],
        &["target is \"-80\"", "not negative"],
    ),
    refusal(
        "above-all",
        &[UTILIZATION, ("target", "800")],
        &["target is \"800\"", "at most 100"],
    ),
    refusal(
        "too-long",
        &[UTILIZATION, ("target", LONG)],
        &["value of \"target\"", "bytes long; at most 256 are allowed"],
    ),
    refusal(
        "unknown-signal",
        &[("signal", "gpu.magic"), ("target", "80")],
        &["signal is \"gpu.magic\"", "allowed: signal: gpu.utilization"],
    ),
    refusal(
        "address-for-a-name",
        &[
            ("signal", "prometheus"),
            ("target", "5"),
            ("query", "sum(queue)"),
            ("prometheus", "http://prometheus:9090"),
        ],
        &["prometheus is \"http://prometheus:9090\""],
    ),
    refusal(
        "unknown-profile",
        &[("profile", "vlm")],
        &["profile is \"vlm\"", "vllm"],
    ),
    refusal(
        "path-that-leads-elsewhere",
        &[("profile", "vllm"), ("path", "http://elsewhere/metrics")],
        &["path", "never an address"],
    ),
    refusal(
        "metric-type-in-the-metadata",
        &[UTILIZATION, ("target", "80"), ("metricType", "AverageValue")],
        &[
            "metricType is \"AverageValue\"",
            "stands beside metadata in the trigger",
        ],
    ),
    refusal(
        "from-env",
        &[UTILIZATION, ("target", "80"), ("activationFromEnv", "ACTIVATION")],
        &["activationFromEnv is not allowed here", "write the value itself"],
    ),
    refusal(
        "poll-interval",
        &[UTILIZATION, ("target", "80"), ("pollIntervalSeconds", "0")],
        &[
            "pollIntervalSeconds is \"0\"",
            "allowed: a number of seconds, at least 1",
        ],
    ),
    refusal(
        "two-targets",
        &[UTILIZATION, ("target", "80"), ("targetValue", "70")],
        &[
            "target \"80\" and targetValue \"70\" contradict each other",
            "give one of them",
        ],
    ),
    refusal(
        "activation-above-target",
        &[UTILIZATION, ("target", "80"), ("activation", "90")],
        &[
            "activation 90 and target 80 contradict each other",
            "has to be lower",
        ],
    ),
    refusal(
        "target-beside-policy",
        &[("policy", "chat"), ("target", "80")],
        &["target is not allowed here", "the policy says what to scale by"],
    ),
    refusal(
        "certificate-in-the-metadata",
        &[UTILIZATION, ("target", "80"), ("caCert", "PEM")],
        &["caCert is not allowed here", "TriggerAuthentication"],
    ),
];

/// Each bad trigger is refused with a message that reaches its user through KEDA, while a workload
/// with the same scaler is scaled as ever; the one that is put right is taken up.
pub(crate) async fn bad_triggers_refused(case: Case) -> Result<()> {
    case.gpu_nodes(1, 8).await?;
    let mut scalers = Scalers::start(&case, 1, Agents::None).await?;
    let healthy = Workload::at_zero(&case, "healthy", &scalers.address(), Duration::from_secs(5)).await?;
    healthy.demand(1).await?;
    healthy.runs(1).await?;

    for bad in REFUSALS {
        let objects = manifest(bad.name, bad.metadata, &scalers.address());
        case.apply(&objects)
            .await
            .with_context(|| format!("applying {}", bad.name))?;
    }
    eventually(
        "an event for each that says what is wrong",
        PATIENCE,
        async || {
            let events = case.events().await?;
            let untold: Vec<_> = REFUSALS
                .iter()
                .filter(|bad| !is_told(&events, bad))
                .map(|bad| (bad.name, of(&events, bad)))
                .collect();
            Ok(Seen::when(untold.is_empty(), untold))
        },
    )
    .await?;
    for bad in REFUSALS {
        case.scaled_object_is(bad.name, "Ready", "False").await?;
    }
    healthy.demand(3).await?;
    healthy.runs(3).await?;
    case.scaled_object_is("healthy", "Ready", "True").await?;

    let right = [UTILIZATION, ("target", "80")];
    case.apply(&manifest("slip-of-the-pen", &right, &scalers.address()))
        .await?;
    case.scaled_object_is("slip-of-the-pen", "Ready", "True").await?;

    healthy.demand(0).await?;
    healthy.runs(0).await?;
    for bad in REFUSALS {
        let replicas = case.replicas(bad.name).await?;
        ensure!(replicas.wanted == 0, "{} has {replicas:?}", bad.name);
    }
    scalers.still_run()
}

/// Whether one of the events says all that the user needs.
fn is_told(events: &[String], bad: &Refusal) -> bool {
    of(events, bad)
        .iter()
        .any(|event| bad.told.iter().all(|part| event.contains(part)))
}

/// The warnings about a ScaledObject.
fn of<'a>(events: &'a [String], bad: &Refusal) -> Vec<&'a String> {
    let subject = format!("Warning ScaledObject/{}: ", bad.name);
    events
        .iter()
        .filter(|event| event.starts_with(&subject))
        .collect()
}

/// A Deployment at zero and a ScaledObject with these metadata.
fn manifest(name: &str, metadata: &[(&str, &str)], scaler: &str) -> String {
    let mut map = serde_json::Map::new();
    map.insert("scalerAddress".to_owned(), scaler.into());
    for (key, value) in metadata {
        map.insert((*key).to_owned(), (*value).into());
    }
    include_str!("refused.yaml")
        .replace("$NAME", name)
        .replace("$METADATA", &Value::Object(map).to_string())
}
