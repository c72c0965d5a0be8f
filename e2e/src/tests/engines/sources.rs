//! Demand that comes from elsewhere: a Prometheus, a queue of Kueue's; and expressions over signals.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{Patch, PatchParams};
use rheostat_testkit::engine::{EngineOptions, Gauges, MockEngine};
use serde_json::{Value, json};

use crate::cluster::{Case, PATIENCE, api};
use crate::layout;
use crate::serving::engines::Engine;
use crate::serving::prometheus::{self, Prometheus};
use crate::serving::{Serving, push_trigger, scaled_object, trigger};
use crate::wait::{Seen, eventually};

/// Longer than an answer of Prometheus counts here, KEDA's cooldown, and many syncs of the HPA.
const OUTAGE: Duration = Duration::from_secs(16);

/// Scaled by a query to a real Prometheus, which Rheostat binds to the workload's namespace: another
/// tenant's thousand requests, which the query as it is written would count, change nothing.
/// Prometheus goes down and the load vanishes: the replicas stay. It is back: they follow.
pub(crate) async fn prometheus_down_freezes(case: Case) -> Result<()> {
    let mut server = Prometheus::start(&case).await?;
    let other = MockEngine::start(EngineOptions {
        address: (case.cluster.address(), 8000).into(),
        ..EngineOptions::default()
    })
    .await
    .context("starting another tenant's engine")?;
    other.set_gauges(Gauges {
        running: Some(1000),
        ..Gauges::default()
    });
    let target = (other.address(), "another-tenant".to_owned(), "chat-0".to_owned());
    prometheus::scrape(&case, "another-tenant", &[target])?;

    let servers = case.folder.join("prometheus-servers.yaml");
    let text = json!({"main": {"url": server.url(), "enforceNamespace": "namespace"}});
    std::fs::write(&servers, text.to_string()).with_context(|| format!("writing {}", servers.display()))?;
    let more = vec![
        format!("--prometheus-config={}", servers.display()),
        "--prometheus-period=1".to_owned(),
    ];
    let serving = Serving::start(&case, 1, 1, more).await?;
    let proof = async {
        let query = "sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)";
        let by_query = trigger(&[
            ("signal", "prometheus"),
            ("prometheus", "main"),
            ("query", query),
            ("target", "30"),
            ("staleAfter", "5s"),
            ("grace", "2s"),
        ]);
        serving.run("chat", 2, 88).await?;
        // Before the ScaledObject: Prometheus learns of the pods only after some seconds, and what the
        // query yields until then is nothing, or one engine's part.
        server.says(query, 1080.0, 1088.0).await?;
        let mut object = scaled_object("chat", 0, &[by_query]);
        if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.insert("advanced".to_owned(), slow_to_shrink());
        }
        serving.scale("chat", &object).await?;
        case.goes("chat", 2, 3).await?;
        case.runs("chat", 3).await?;
        case.stays_at("chat", 3, Duration::from_secs(6)).await?;

        server.kill().await?;
        let unknown = serving.say("chat", "nothing is known", |text| text.contains("answer: error"));
        case.stays_until("chat", 3, unknown).await?;
        serving.engines.keep_under_way("chat", 0).await?;
        case.stays_at("chat", 3, OUTAGE).await?;

        serving.engines.keep_under_way("chat", 118).await?;
        server.start_again().await?;
        case.goes("chat", 3, 4).await?;
        case.runs("chat", 4).await?;
        serving.engines.keep_under_way("chat", 0).await?;
        case.runs("chat", 0).await
    };
    serving.explained("chat", proof).await
}

/// As in a cluster, where the HPA waits for 300 s before it takes replicas away, and unlike the 5 s of
/// this control plane: a Prometheus learns of new pods in steps of 5 s, twice over. Until then the
/// requests that a new pod has taken over are missing from the query's sum, and by that the pod itself
/// would be one too many.
fn slow_to_shrink() -> Value {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 30}});
    json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}})
}

/// `max` of two signals of each engine: the queue asks for replicas, then the KV cache does.
pub(crate) async fn expression(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 1, 1, Vec::new()).await?;
    let proof = async {
        let greater = trigger(&[
            ("engine", "vllm"),
            ("signal.waiting", "engine.waiting"),
            ("signal.kv", "engine.kv_cache_usage"),
            ("expression", "max(waiting/5, kv/0.4)"),
        ]);
        let object = scaled_object("chat", 1, &[greater]);
        serving.serve("chat", 2, 0, &object).await?;
        case.goes("chat", 2, 1).await?;
        case.runs("chat", 1).await?;

        let first = the_only(&serving).await?;
        // Three times five wait.
        first.set_gauges(gauges(15, 0.04));
        case.goes("chat", 1, 3).await?;
        case.runs("chat", 3).await?;
        // The cache of another one is nine tenths as full as it may be: 3.9 in all, which is right for
        // four. Only one engine changes, as two that do are seen one after the other, and what they
        // ask for in between is neither the one nor the other.
        let engines = serving.engines.are("chat", 3).await?;
        let second = engines.iter().find(|engine| engine.address() != first.address());
        second
            .context("three engines of one address")?
            .set_gauges(gauges(0, 0.4 * 0.9));
        case.goes("chat", 3, 4).await?;
        case.runs("chat", 4).await?;
        case.stays_at("chat", 4, Duration::from_secs(6)).await?;
        for engine in serving.engines.are("chat", 4).await? {
            engine.set_gauges(gauges(0, 0.1));
        }
        case.runs("chat", 1).await
    };
    serving.explained("chat", proof).await
}

/// The only engine of `chat`.
async fn the_only(serving: &Serving) -> Result<Rc<Engine>> {
    let engines = serving.engines.are("chat", 1).await?;
    engines.into_iter().next().context("there is no engine")
}

fn gauges(waiting: u64, kv_cache_usage: f64) -> Gauges {
    Gauges {
        waiting: Some(waiting),
        running: Some(1),
        kv_cache_usage: Some(kv_cache_usage),
    }
}

/// An expression that means nothing: KEDA's events say where the mistake is.
pub(crate) async fn expression_refused(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 1, 1, Vec::new()).await?;
    case.model_server("chat", 0, 1, Duration::ZERO).await?;
    let unknown_name = trigger(&[
        ("engine", "vllm"),
        ("signal.waiting", "engine.waiting"),
        ("expression", "max(waiting/5, wating/3)"),
    ]);
    let mut object = scaled_object("chat", 0, &[unknown_name]);
    // KEDA would call the ScaledObject ready for the sake of the fallback.
    if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("fallback");
    }
    let text = object.to_string().replace("$SCALER", &serving.scalers.address());
    case.apply(&text).await?;
    eventually(
        "an event that says what is wrong, and where",
        PATIENCE,
        async || {
            let events = case.events().await?;
            let told = events.iter().any(|event| {
                event.starts_with("Warning ScaledObject/chat: ")
                    && ["expression", "wating", "position 16"]
                        .iter()
                        .all(|part| event.contains(part))
            });
            Ok(Seen::when(told, events))
        },
    )
    .await?;
    case.scaled_object_is("chat", "Ready", "False").await
}

const QUEUE: &str = r#"
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {name: training}
spec: {clusterQueue: all}
"#;

const WORKLOAD: &str = r#"
apiVersion: kueue.x-k8s.io/v1beta1
kind: Workload
metadata: {name: $NAME}
spec:
  queueName: training
  podSets:
    - name: main
      count: 2
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: worker
              image: worker
              resources: {requests: {nvidia.com/gpu: "1"}, limits: {nvidia.com/gpu: "1"}}
"#;

/// Workloads that wait in a queue of Kueue's (its real custom resources) start the workers that take
/// them, from zero; once they are admitted, no worker is left.
pub(crate) async fn kueue_pending(case: Case) -> Result<()> {
    install_kueue(&case).await?;
    let serving = Serving::start(&case, 1, 1, Vec::new()).await?;
    let proof = async {
        let pending = push_trigger(&[
            ("signal", "kueue.pending"),
            ("queue", "training"),
            ("target", "1"),
        ]);
        case.apply(QUEUE).await?;
        serving
            .serve("worker", 0, 0, &scaled_object("worker", 0, &[pending]))
            .await?;
        case.stays_at("worker", 0, Duration::from_secs(4)).await?;
        let names = ["train-0", "train-1", "train-2"];
        for name in names {
            case.apply(&WORKLOAD.replace("$NAME", name)).await?;
        }
        case.runs("worker", 3).await?;
        for name in names {
            admit(&case, name).await?;
        }
        case.runs("worker", 0).await
    };
    serving.explained("worker", proof).await
}

/// What Kueue's controller does with a Workload that has its quota.
async fn admit(case: &Case, name: &str) -> Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": now});
    let status = json!({"status": {"conditions": [condition("QuotaReserved"), condition("Admitted")]}});
    let workloads = api::of_kind(
        &case.client(),
        "kueue.x-k8s.io/v1beta1",
        "Workload",
        Some(&case.namespace),
    )
    .await?;
    workloads
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .with_context(|| format!("admitting the Workload {name}"))?;
    Ok(())
}

/// Applies those of Kueue's custom resources that the tests use; other tests run beside it without.
async fn install_kueue(case: &Case) -> Result<()> {
    for name in ["workloads", "localqueues"] {
        let path = layout::kueue_resources().join(format!("kueue.x-k8s.io_{name}.yaml"));
        let yaml = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        case.apply(&yaml).await?;
        let kind = format!("{name}.kueue.x-k8s.io");
        eventually(&format!("{kind} to be served"), PATIENCE, async || {
            let version = "apiextensions.k8s.io/v1";
            let object = api::get(&case.client(), version, "CustomResourceDefinition", None, &kind).await?;
            let established = api::condition(&object, "Established");
            Ok(Seen::when(
                established.is_some_and(|found| found.status == "True"),
                object.data.get("status"),
            ))
        })
        .await?;
    }
    Ok(())
}
