use rheostat_reading::Quantity;

use crate::{EngineSignal, Profile, Signal};

/// What a name of keda-gpu-scaler's becomes here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PeerMeaning {
    /// A metric type that is one of our signals.
    Signal {
        /// Ours.
        signal: Signal,
        /// What the peer's targets are multiplied by to be in our unit.
        factor: f64,
        /// What is different here.
        changed: &'static str,
    },
    /// A profile that is one of ours.
    Profile {
        /// Ours.
        profile: Profile,
        /// What is different here.
        changed: &'static str,
    },
}

const OWN_PODS: &str = "only the GPUs held by the workload's own pods count, on whatever node they are";
const NO_DEMAND: &str = "only the GPUs held by the workload's own pods count; memory is kept once it was \
     allocated and says little of demand: prefer gpu.duty_cycle or gpu.utilization";
const NVLINK: &str = "the peer's figure was a growing counter with the two directions swapped; this is the rate \
     over all links in bytes per second, so choose the target anew";

/// keda-gpu-scaler's metric types (its metadata key `metricType`).
pub const PEER_METRICS: &[(&str, PeerMeaning)] = &[
    ("gpu_utilization", metric(Quantity::Utilization, 1.0, OWN_PODS)),
    (
        "memory_utilization",
        metric(
            Quantity::MemoryBandwidth,
            1.0,
            "it is what NVML means by it, the use of the memory's bandwidth, of the workload's own pods",
        ),
    ),
    (
        "memory_used_mib",
        metric(Quantity::MemoryUsedBytes, 1_048_576.0, NO_DEMAND),
    ),
    (
        "memory_used_percent",
        metric(Quantity::MemoryUsedPercent, 1.0, NO_DEMAND),
    ),
    ("temperature", metric(Quantity::Temperature, 1.0, OWN_PODS)),
    (
        "power_draw",
        metric(
            Quantity::Power,
            1.0,
            "a pod's power is the sum over its GPUs, not the greatest",
        ),
    ),
    (
        "pcie_tx_kbps",
        metric(
            Quantity::PcieTx,
            1e3,
            "a pod's traffic is the sum over its GPUs, in bytes per second",
        ),
    ),
    (
        "pcie_rx_kbps",
        metric(
            Quantity::PcieRx,
            1e3,
            "a pod's traffic is the sum over its GPUs, in bytes per second",
        ),
    ),
    ("nvlink_tx_mbps", metric(Quantity::NvlinkTx, 1e6, NVLINK)),
    ("nvlink_rx_mbps", metric(Quantity::NvlinkRx, 1e6, NVLINK)),
    (
        "vllm_queue_depth",
        engine(
            EngineSignal::Waiting,
            1.0,
            "the engine of each of the workload's own pods is asked, and running requests keep it active",
        ),
    ),
    (
        "vllm_kv_cache_usage",
        engine(
            EngineSignal::KvCacheUsage,
            100.0,
            "the peer's 0 to 1 is 0 to 100 % here, of each of the workload's own pods; a full cache cannot rise any \
             more, so prefer profile: vllm",
        ),
    ),
    (
        "triton_queue_wait_ms",
        engine(
            EngineSignal::QueueTime,
            0.001,
            "it is the mean over a window, in seconds, of each of the workload's own pods",
        ),
    ),
    (
        "triton_request_rate",
        engine(
            EngineSignal::RequestRate,
            1.0,
            "it is the rate over a window, whoever asks how often, of each of the workload's own pods",
        ),
    ),
];

/// keda-gpu-scaler's profiles.
pub const PEER_PROFILES: &[(&str, PeerMeaning)] = &[
    (
        "vllm-inference",
        profile(
            Profile::Vllm,
            "vLLM allocates its memory at the start, so it is judged by its requests, not by memory",
        ),
    ),
    (
        "vllm-queue-depth",
        profile(
            Profile::Vllm,
            "running requests count as well as waiting ones, so that long answers are not cut off",
        ),
    ),
    ("triton-inference", profile(Profile::Triton, OWN_PODS)),
    (
        "triton-queue-wait",
        profile(
            Profile::Triton,
            "the queue's length counts, and the GPUs below saturation; the time in it comes too late",
        ),
    ),
    (
        "triton-request-rate",
        profile(
            Profile::Triton,
            "the queue and the GPUs count: no rate fits two models",
        ),
    ),
    (
        "training",
        profile(
            Profile::Training,
            "the target is a duty cycle of 100 %: that training is busy is no reason to add workers",
        ),
    ),
    (
        "batch",
        profile(Profile::Batch, "it is judged by duty cycle, not by memory"),
    ),
    (
        "ollama",
        profile(Profile::Ollama, "it is judged by duty cycle, not by memory"),
    ),
    (
        "tgi-inference",
        profile(
            Profile::Tgi,
            "memory is kept once it was allocated, so it is judged by its requests, not by memory",
        ),
    ),
    (
        "distributed-training",
        profile(
            Profile::DistributedTraining,
            "it is judged by the busiest replica's duty cycle, not by NVLink traffic",
        ),
    ),
];

const fn metric(quantity: Quantity, factor: f64, changed: &'static str) -> PeerMeaning {
    PeerMeaning::Signal {
        signal: Signal::Gpu(quantity),
        factor,
        changed,
    }
}

const fn engine(signal: EngineSignal, factor: f64, changed: &'static str) -> PeerMeaning {
    PeerMeaning::Signal {
        signal: Signal::Engine(signal),
        factor,
        changed,
    }
}

const fn profile(profile: Profile, changed: &'static str) -> PeerMeaning {
    PeerMeaning::Profile { profile, changed }
}

/// What the peer's `name` means, looked up in `names`.
pub(crate) fn find(names: &[(&str, PeerMeaning)], name: &str) -> Option<PeerMeaning> {
    names.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
}
