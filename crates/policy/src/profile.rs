use std::fmt;
use std::str::FromStr;

use rheostat_reading::Quantity;

use crate::{Aggregation, Signal};

/// A ready signal, target and activation for a kind of workload.
///
/// None of them uses memory: vLLM, SGLang and Ollama allocate ahead and keep what they have, so
/// that memory says how a server was started and not what it has to do.
///
/// All of them use what a GPU can tell. For a server that is less than its engine could tell:
/// whether the GPU is busy, not how many requests wait. Profiles by engine signals follow in a
/// later release.
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
    /// Triton Inference Server.
    ///
    /// Its batches are short, and many fit one sampling period, so utilisation is smooth enough
    /// and the quickest to follow load.
    Triton,
    /// vLLM.
    ///
    /// Continuous batching runs kernels back to back while there is any request and none
    /// otherwise, so that single samples are near 0 or 100 %; the duty cycle is the part of the
    /// time in which there was anything to do.
    Vllm,
    /// SGLang. As [`Profile::Vllm`].
    Sglang,
    /// Text Generation Inference. As [`Profile::Vllm`].
    Tgi,
    /// Ollama.
    ///
    /// It serves few requests at once and queues the rest unseen, so the target leaves more room
    /// than the other servers' does.
    Ollama,
}

impl Profile {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Training,
        Self::DistributedTraining,
        Self::Batch,
        Self::Triton,
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::Ollama,
    ];

    /// As a trigger writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::DistributedTraining => "distributed-training",
            Self::Batch => "batch",
            Self::Triton => "triton",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
            Self::Ollama => "ollama",
        }
    }

    /// The signal that it scales by.
    #[must_use]
    pub const fn signal(self) -> Signal {
        match self {
            Self::Triton => Signal::Gpu(Quantity::Utilization),
            _ => Signal::Gpu(Quantity::DutyCycle),
        }
    }

    /// Target in the signal's unit, percent for all of them.
    #[must_use]
    pub const fn target(self) -> f64 {
        match self {
            Self::Training | Self::DistributedTraining => 100.0,
            Self::Batch | Self::Vllm | Self::Sglang | Self::Tgi => 80.0,
            Self::Triton => 75.0,
            Self::Ollama => 70.0,
        }
    }

    /// Activation in the signal's unit: above what health checks and telemetry leave behind.
    #[must_use]
    pub const fn activation(self) -> f64 {
        match self {
            Self::Triton => 5.0,
            Self::Training | Self::DistributedTraining | Self::Batch => 1.0,
            Self::Vllm | Self::Sglang | Self::Tgi | Self::Ollama => 2.0,
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

    /// What a user of it should know; `None` where GPU signals tell all that it needs.
    #[must_use]
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Training | Self::DistributedTraining | Self::Batch => None,
            Self::Triton | Self::Vllm | Self::Sglang | Self::Tgi | Self::Ollama => Some(
                "this version sees whether the GPUs are busy, not how many requests wait, and so cannot start \
                 the workload from zero; profiles by the engine's own metrics come with a later release",
            ),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
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
