use std::sync::Arc;
use std::time::Duration;

use rheostat_sizing::{Observation, Replica};

use crate::traffic;
use crate::window::Window;

/// What a trigger asks for: the PromQL of a guide, in the vocabulary of observations.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// `sum(…)` over pods that report it; 0 where none does, since KEDA's Prometheus scaler takes an empty
    /// result for 0 (`ignoreNullValues`, default true).
    Sum(Signal),
    /// `max(…)`, the same.
    Max(Signal),
    /// The bare metric: one series a pod. KEDA's Prometheus scaler refuses more than one
    /// (`prometheus_scaler.go`: "returned multiple elements").
    Bare(Signal),
    /// One pod, the same as long as it is ready: what a kept connection through a Service reads. An error
    /// without a pod, since nothing answers.
    Pinned { signal: Signal, pod: Option<Arc<str>> },
    /// Requests in flight, those in front of the workload among them: what a gateway or router counts.
    InFlight,
    /// 1 while requests have come within the time, else 0: `rate(…[1m]) > bool 0` of a router's counter.
    Arriving(Arriving),
    /// How full replicas are on average, each by the larger of its queue and its KV cache against what is taken
    /// for full. One that does not say is taken for full, and so is a pool without any.
    Saturation { queue: f64, kv_cache: f64 },
}

/// Watches for arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Arriving {
    traffic: traffic::Traffic,
    arrived: Window,
}

impl Arriving {
    pub(crate) fn within(length: Duration) -> Self {
        Self {
            traffic: traffic::Traffic::default(),
            arrived: Window::new(length),
        }
    }
}

/// A number of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Requests that wait: `vllm:num_requests_waiting`.
    Waiting,
    /// Requests in the batch: `vllm:num_requests_running`.
    Running,
    /// Part of the KV cache in use, 0 to 1: `vllm:kv_cache_usage_perc`.
    KvCacheUsage,
    /// Busy time of its GPUs in percent: `DCGM_FI_DEV_GPU_UTIL`.
    GpuUtilization,
}

impl Signal {
    /// Of one pod; `None` where it does not say. GPUs are read by others than the engine, so they are known
    /// of pods that are not ready too.
    pub(crate) fn of(self, pod: &Replica) -> Option<f64> {
        let serving = pod.serving.as_ref();
        match self {
            Self::Waiting => serving?.waiting.map(|count| count.0),
            Self::Running => serving?.running.map(|count| count.0),
            Self::KvCacheUsage => serving?.kv_cache_usage.map(|ratio| ratio.0),
            Self::GpuUtilization => pod.gpu_utilization.map(|ratio| ratio.0 * 100.0),
        }
    }

    fn of_ready(self, observation: &Observation) -> impl Iterator<Item = f64> {
        observation.ready().filter_map(move |pod| self.of(pod))
    }
}

impl Query {
    /// Asks.
    ///
    /// # Errors
    /// Where the original gets an error, with what it says.
    pub(crate) fn evaluate(&mut self, observation: &Observation) -> Result<f64, String> {
        match self {
            Self::Sum(signal) => Ok(signal.of_ready(observation).sum()),
            Self::Max(signal) => Ok(signal.of_ready(observation).fold(0.0, f64::max)),
            Self::Bare(signal) => {
                let mut values = signal.of_ready(observation);
                let first = values.next().unwrap_or(0.0);
                match values.next() {
                    None => Ok(first),
                    Some(_) => Err("the query returned multiple elements".to_owned()),
                }
            }
            Self::Pinned { signal, pod } => {
                let kept = observation
                    .ready()
                    .find(|ready| Some(&ready.name) == pod.as_ref())
                    .or_else(|| observation.ready().next());
                *pod = kept.map(|kept| Arc::clone(&kept.name));
                kept.and_then(|kept| signal.of(kept))
                    .ok_or_else(|| "the endpoint does not answer".to_owned())
            }
            Self::InFlight => Ok(traffic::in_flight(observation)),
            Self::Arriving(arriving) => {
                let flow = arriving.traffic.observe(observation);
                arriving
                    .arrived
                    .record(observation.now, flow.arrived.max(flow.finished));
                let any = arriving.arrived.max().unwrap_or(0.0) > 0.0;
                Ok(if any { 1.0 } else { 0.0 })
            }
            Self::Saturation { queue, kv_cache } => {
                let used = observation.ready().map(|pod| {
                    let waiting = Signal::Waiting.of(pod).map(|waiting| waiting / *queue);
                    let cache = Signal::KvCacheUsage.of(pod).map(|cache| cache / *kv_cache);
                    waiting
                        .zip(cache)
                        .map_or(1.0, |(waiting, cache)| waiting.max(cache))
                });
                Ok(mean(used).unwrap_or(1.0))
            }
        }
    }
}

/// The mean; `None` of nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
