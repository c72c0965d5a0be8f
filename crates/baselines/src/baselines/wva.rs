//! llm-d's Workload Variant Autoscaler, V1 by spare saturation and V2 by tokens
//! (`llm-d/llm-d-workload-variant-autoscaler` b08b1c7, 2026-02-19). It publishes a number of replicas, and an
//! HPA carries it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_kubescale::hpa::MetricType;
use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, ExternalScaler, TriggerAnswer};
use rheostat_sizing::Observation;

use crate::baseline::BaselineError;
use crate::bounds::bounds_parameters;
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::query::Signal;
use crate::scaled_object::{Object, pods, window};
use crate::window::Window;

pub(crate) mod saturation;
pub(crate) mod tokens;

/// The loop of `internal/engines/saturation/engine.go`. `GLOBAL_OPT_INTERVAL` (60 s) is read and not used.
const LOOP: Duration = Duration::from_secs(30);
/// `max_over_time(…[1m])` of `internal/collector/registration/saturation.go`.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// What both versions share: thresholds of a replica that is full, and the HPA's windows.
fn common_parameters(context: &Context) -> Vec<Parameter> {
    let [floor, cap] = bounds_parameters(context);
    vec![
        Parameter::number(
            "kv_cache_threshold",
            "kvCacheThreshold: a replica is full at this part of its KV cache",
            0.8,
            (0.01, 1.0),
            &[0.2, 0.4, 0.6, 0.8],
        ),
        Parameter::number(
            "queue_length_threshold",
            "queueLengthThreshold: or with so many waiting requests",
            5.0,
            (1.0, 10_000.0),
            &[3.0, 5.0, 10.0],
        ),
        Parameter::whole(
            "up_window_seconds",
            "hpa.behavior.scaleUp.stabilizationWindowSeconds",
            240,
            (0, 3600),
            &[0, 30, 120, 240],
        ),
        Parameter::whole(
            "down_window_seconds",
            "hpa.behavior.scaleDown.stabilizationWindowSeconds",
            240,
            (0, 3600),
            &[60, 240, 600, 1200],
        ),
        floor,
        cap,
    ]
}

/// The HPA of its chart: AverageValue 1, ten pods in 150 s. It has the controller's tolerance, 0.1: a step of
/// one replica in ten or more is not carried out.
fn object(chosen: &Chosen) -> Result<Object, BaselineError> {
    let mut bounds = chosen.bounds()?;
    // An HPA, not a ScaledObject: never to zero.
    bounds.floor = bounds.floor.max(1);
    Ok(Object::new(bounds, &[MetricType::AverageValue])
        .polling(15)
        .behavior(
            pods(window(chosen.whole("up_window_seconds")?), 10, 150),
            pods(window(chosen.whole("down_window_seconds")?), 10, 150),
        ))
}

fn control(chosen: &Chosen, analyzer: impl Analyzer + 'static) -> Result<Control, BaselineError> {
    Ok(object(chosen)?.with(Variant {
        analyzer,
        pods: BTreeMap::new(),
        desired: None,
        due: None,
    }))
}

/// Decides a number of replicas from what is seen of each replica.
trait Analyzer: std::fmt::Debug + Send {
    /// `desired` is what was published last.
    fn target(&mut self, seen: &[ReplicaLoad], desired: Option<u32>, observation: &Observation) -> u32;
}

/// One replica, as its queries show it: the worst of the last minute.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ReplicaLoad {
    kv_cache: f64,
    waiting: f64,
    kv_tokens: f64,
    prompt_tokens: f64,
    output_tokens: f64,
}

#[derive(Debug)]
struct Variant<A> {
    analyzer: A,
    pods: BTreeMap<Arc<str>, History>,
    desired: Option<u32>,
    /// When it decides next.
    due: Option<Timestamp>,
}

#[derive(Debug)]
struct History {
    seen: Timestamp,
    kv_cache: Window,
    waiting: Window,
}

impl<A: Analyzer> ExternalScaler for Variant<A> {
    /// As often as Prometheus scrapes; it decides at each second look.
    fn period(&self) -> Duration {
        LOOP / 2
    }

    fn observe(&mut self, observation: &Observation) {
        let now = observation.now;
        let mut seen = Vec::new();
        for pod in observation.ready() {
            let (Some(serving), Some(kv_cache), Some(waiting)) = (
                &pod.serving,
                Signal::KvCacheUsage.of(pod),
                Signal::Waiting.of(pod),
            ) else {
                continue;
            };
            let history = self.pods.entry(Arc::clone(&pod.name)).or_insert_with(|| History {
                seen: now,
                kv_cache: Window::new(LOOK_BACK),
                waiting: Window::new(LOOK_BACK),
            });
            history.seen = now;
            history.kv_cache.record(now, kv_cache);
            history.waiting.record(now, waiting);
            seen.push(ReplicaLoad {
                kv_cache: history.kv_cache.max().unwrap_or(kv_cache),
                waiting: history.waiting.max().unwrap_or(waiting),
                kv_tokens: serving.kv_tokens.map_or(0.0, |count| count.0),
                prompt_tokens: serving.prompt_tokens_mean.map_or(0.0, |count| count.0),
                output_tokens: serving.generation_tokens_mean.map_or(0.0, |count| count.0),
            });
        }
        self.pods.retain(|_, history| history.seen == now);
        if self.due.is_none_or(|due| due <= now) {
            self.due = Some(now.plus(LOOP));
            self.desired = Some(self.analyzer.target(&seen, self.desired, observation));
        }
    }

    fn targets(&self) -> Vec<(String, f64)> {
        vec![("wva-desired-replicas".to_owned(), 1.0)]
    }

    fn answer(&self, _: usize) -> TriggerAnswer {
        self.desired.map_or_else(
            || TriggerAnswer::Error("nothing was decided yet".to_owned()),
            |desired| TriggerAnswer::Value {
                value: f64::from(desired),
                active: desired > 0,
            },
        )
    }
}
