use std::fmt;
use std::str::FromStr;

use rheostat_engines::Engine;
use rheostat_reading::Quantity;

use crate::{Aggregation, EngineSignal, Signal};

/// A ready signal, target and activation for a kind of workload.
///
/// None of them uses memory: engines allocate ahead and keep what they have, so that memory says
/// how a server was started and not what it has to do. None rests alone on a gauge that is at its
/// greatest while the replica is merely full, where the engine has a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// One-replica-per-worker training that grows and shrinks by itself.
    ///
    /// Training keeps its GPU busy on purpose, so busy is no reason to add workers: with a target
    /// of 100 % the size never grows by load, and shrinks only as workers fall idle. Duty cycle
    /// and not utilisation, because checkpoints and evaluation pause the GPU for seconds.
    Training,
    /// Training whose replicas work in step.
    ///
    /// As [`Profile::Training`], but by the busiest replica: taking one worker out of a gang that
    /// still works stops all of it. Not by NVLink traffic, as the peer has it: how much a gang
    /// exchanges depends on the model and the parallelism, so that no target would fit two jobs.
    DistributedTraining,
    /// Workers that take items off a shared queue until it is empty.
    ///
    /// Busy workers do mean that there is more to do, so it grows up to the limit while they are
    /// busy more than four fifths of the time, and ends when they run dry.
    Batch,
    /// vLLM.
    ///
    /// Waiting and running requests together: running alone stops at the size of the batch, and
    /// waiting alone is 0 until it is too late. Requests that the KV cache has no room for wait,
    /// and so count.
    Vllm,
    /// SGLang. As [`Profile::Vllm`].
    Sglang,
    /// Text Generation Inference. As [`Profile::Vllm`].
    Tgi,
    /// TensorRT-LLM's own server. As [`Profile::Vllm`].
    TrtllmServe,
    /// NVIDIA NIM for large language models. As [`Profile::Vllm`].
    Nim,
    /// LMDeploy. As [`Profile::Vllm`].
    Lmdeploy,
    /// Ray Serve LLM, whose replicas are vLLM. As [`Profile::Vllm`].
    RayServeLlm,
    /// The server of llama.cpp.
    ///
    /// As [`Profile::Vllm`], with the few slots that it has by default.
    LlamaCpp,
    /// Triton Inference Server.
    ///
    /// Its batches are short, and many fit one sampling period, so utilisation is smooth and
    /// follows load below saturation; above it only the queue tells how much is too much.
    Triton,
    /// Text Embeddings Inference. As [`Profile::Triton`], by duty cycle: its batches come in bursts.
    Tei,
    /// TorchServe.
    ///
    /// It tells how long requests wait, not how many; counted twofold at most, since a time in the
    /// queue grows without end while replicas start.
    TorchServe,
    /// TensorFlow Serving.
    ///
    /// It tells neither waiting nor running requests, and a time in the queue only where it batches,
    /// so that the GPU has to tell.
    TensorflowServing,
    /// Ollama.
    ///
    /// It reports nothing but the models it has loaded, serves few requests at once and queues the
    /// rest unseen, so the target leaves more room than the other servers' does.
    Ollama,
}

/// What a profile scales by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileLoad {
    /// A signal.
    Signal(Signal),
    /// An expression of each pod's signals.
    Expression(&'static str),
}

/// A pod's load where a queue of ten is as much as one replica should have: two batches of the
/// usual preferred size of 4 to 8.
const TRITON: &str = "max(waiting/10, utilization/75%)";
const TEI: &str = "max(waiting/10, duty_cycle/80%)";
const TORCHSERVE: &str = "max(min(queue_time/0.1, 2), duty_cycle/80%)";

impl Profile {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Training,
        Self::DistributedTraining,
        Self::Batch,
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::TrtllmServe,
        Self::Nim,
        Self::Lmdeploy,
        Self::RayServeLlm,
        Self::LlamaCpp,
        Self::Triton,
        Self::Tei,
        Self::TorchServe,
        Self::TensorflowServing,
        Self::Ollama,
    ];

    /// As a trigger writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::DistributedTraining => "distributed-training",
            Self::Batch => "batch",
            Self::RayServeLlm => "ray-serve-llm",
            Self::Vllm => Engine::Vllm.name(),
            Self::Sglang => Engine::Sglang.name(),
            Self::Tgi => Engine::Tgi.name(),
            Self::TrtllmServe => Engine::TrtllmServe.name(),
            Self::Nim => Engine::Nim.name(),
            Self::Lmdeploy => Engine::Lmdeploy.name(),
            Self::LlamaCpp => Engine::LlamaCpp.name(),
            Self::Triton => Engine::Triton.name(),
            Self::Tei => Engine::Tei.name(),
            Self::TorchServe => Engine::TorchServe.name(),
            Self::TensorflowServing => Engine::TensorflowServing.name(),
            Self::Ollama => Engine::Ollama.name(),
        }
    }

    /// The engine that it is for; `None` where it looks at none.
    #[must_use]
    pub const fn engine(self) -> Option<Engine> {
        Some(match self {
            Self::Training
            | Self::DistributedTraining
            | Self::Batch
            | Self::Ollama
            | Self::TensorflowServing => return None,
            Self::Vllm | Self::RayServeLlm => Engine::Vllm,
            Self::Sglang => Engine::Sglang,
            Self::Tgi => Engine::Tgi,
            Self::TrtllmServe => Engine::TrtllmServe,
            Self::Nim => Engine::Nim,
            Self::Lmdeploy => Engine::Lmdeploy,
            Self::LlamaCpp => Engine::LlamaCpp,
            Self::Triton => Engine::Triton,
            Self::Tei => Engine::Tei,
            Self::TorchServe => Engine::TorchServe,
        })
    }

    /// What it scales by.
    #[must_use]
    pub const fn load(self) -> ProfileLoad {
        match self {
            Self::Triton => ProfileLoad::Expression(TRITON),
            Self::Tei => ProfileLoad::Expression(TEI),
            Self::TorchServe => ProfileLoad::Expression(TORCHSERVE),
            Self::Training
            | Self::DistributedTraining
            | Self::Batch
            | Self::TensorflowServing
            | Self::Ollama => ProfileLoad::Signal(Signal::Gpu(Quantity::DutyCycle)),
            _ => ProfileLoad::Signal(Signal::Engine(EngineSignal::Concurrency)),
        }
    }

    /// The signals that its expressions name.
    #[must_use]
    pub const fn signals(self) -> &'static [(&'static str, Signal)] {
        const WAITING: (&str, Signal) = ("waiting", Signal::Engine(EngineSignal::Waiting));
        const RATE: (&str, Signal) = ("request_rate", Signal::Engine(EngineSignal::RequestRate));
        const QUEUE_TIME: (&str, Signal) = ("queue_time", Signal::Engine(EngineSignal::QueueTime));
        const DUTY_CYCLE: (&str, Signal) = ("duty_cycle", Signal::Gpu(Quantity::DutyCycle));
        const UTILIZATION: (&str, Signal) = ("utilization", Signal::Gpu(Quantity::Utilization));
        match self {
            Self::Triton => &[WAITING, UTILIZATION, RATE],
            Self::Tei => &[WAITING, DUTY_CYCLE, RATE],
            Self::TorchServe => &[QUEUE_TIME, DUTY_CYCLE, RATE],
            _ => &[],
        }
    }

    /// What tells whether the workload is active, where the load does not.
    ///
    /// These engines do not tell what is being executed. A request that takes longer than the
    /// window neither waits nor has come to an end, so that the GPU has to tell; 2 % is above what
    /// health checks and telemetry leave behind.
    #[must_use]
    pub const fn activation_expression(self) -> Option<&'static str> {
        match self {
            Self::Triton => Some("waiting > 0 || request_rate > 0 || utilization > 2%"),
            Self::Tei => Some("waiting > 0 || request_rate > 0 || duty_cycle > 2%"),
            Self::TorchServe => Some("request_rate > 0 || duty_cycle > 2%"),
            _ => None,
        }
    }

    /// Target in the unit of the load.
    #[must_use]
    pub const fn target(self) -> f64 {
        match self {
            Self::Training | Self::DistributedTraining => 100.0,
            Self::Batch | Self::TensorflowServing => 80.0,
            Self::Ollama => 70.0,
            Self::LlamaCpp => 4.0,
            Self::Triton | Self::Tei | Self::TorchServe => 1.0,
            _ => 32.0,
        }
    }

    /// Activation in the unit of the load: any request for an engine that tells of requests,
    /// otherwise above what health checks and telemetry leave behind.
    #[must_use]
    pub const fn activation(self) -> f64 {
        match self {
            Self::Training | Self::DistributedTraining | Self::Batch => 1.0,
            Self::TensorflowServing | Self::Ollama => 2.0,
            _ => 0.0,
        }
    }

    /// The statistic over pods.
    #[must_use]
    pub const fn aggregation(self) -> Aggregation {
        match self {
            Self::DistributedTraining => Aggregation::Max,
            _ => Aggregation::Avg,
        }
    }

    /// What a user of it should know; `None` where its signals tell all that it needs.
    #[must_use]
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Training | Self::DistributedTraining | Self::Batch => None,
            Self::TensorflowServing | Self::Ollama => Some(
                "its server tells neither waiting nor running requests, so that the GPUs have to tell whether it is \
                 busy, and nothing starts it from zero; give an activationExpression with a signal that works without pods, or keep \
                 minReplicaCount at 1",
            ),
            _ => Some(
                "an engine reports only while it runs, so that this does not start the workload from zero; give an \
                 activationExpression with a signal that works without pods, or keep minReplicaCount at 1",
            ),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for ProfileLoad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(out),
            Self::Expression(text) => out.write_str(text),
        }
    }
}

impl FromStr for Profile {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|profile| profile.name() == name)
            .ok_or(())
    }
}
