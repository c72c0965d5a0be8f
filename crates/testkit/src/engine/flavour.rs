use std::fmt;
use std::str::FromStr;

/// Which engine a mock passes for: its HTTP API, the path of its page and what stands on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flavour {
    /// vLLM (V1) with its current names.
    #[default]
    Vllm,
    /// vLLM up to 0.8, with `gpu_cache_usage_perc` and `time_per_output_token_seconds`.
    VllmOld,
    /// vLLM in between, with the old and the new names of the same data at once.
    VllmBoth,
    /// vLLM behind KServe and llm-d, which put `kserve_` before each name.
    KserveVllm,
    /// vLLM within Ray Serve: Ray's page, `ray_vllm_...`.
    RayVllm,
    /// SGLang with `--enable-metrics`.
    Sglang,
    /// Hugging Face Text Generation Inference.
    Tgi,
    /// Hugging Face Text Embeddings Inference.
    Tei,
    /// Triton Inference Server with a back end that reports nothing of its own.
    Triton,
    /// Triton with the TensorRT-LLM back end.
    TritonTrtLlm,
    /// `trtllm-serve`.
    TrtllmServe,
    /// NVIDIA NIM for LLMs.
    Nim,
    /// LMDeploy's API server.
    LmDeploy,
    /// llama.cpp's server with `--metrics --slots`.
    LlamaCpp,
    /// Ollama, which has no page.
    Ollama,
    /// TorchServe.
    TorchServe,
    /// TensorFlow Serving.
    TensorFlowServing,
}

/// Not the name of a flavour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("flavour \"{0}\" is not known; there are {known}", known = Flavour::ALL.map(Flavour::name).join(", "))]
pub struct UnknownFlavour(pub String);

impl Flavour {
    /// Every flavour.
    pub const ALL: [Self; 17] = [
        Self::Vllm,
        Self::VllmOld,
        Self::VllmBoth,
        Self::KserveVllm,
        Self::RayVllm,
        Self::Sglang,
        Self::Tgi,
        Self::Tei,
        Self::Triton,
        Self::TritonTrtLlm,
        Self::TrtllmServe,
        Self::Nim,
        Self::LmDeploy,
        Self::LlamaCpp,
        Self::Ollama,
        Self::TorchServe,
        Self::TensorFlowServing,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::VllmOld => "vllm-old",
            Self::VllmBoth => "vllm-both",
            Self::KserveVllm => "kserve-vllm",
            Self::RayVllm => "ray-vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
            Self::Tei => "tei",
            Self::Triton => "triton",
            Self::TritonTrtLlm => "triton-trtllm",
            Self::TrtllmServe => "trtllm-serve",
            Self::Nim => "nim",
            Self::LmDeploy => "lmdeploy",
            Self::LlamaCpp => "llamacpp",
            Self::Ollama => "ollama",
            Self::TorchServe => "torchserve",
            Self::TensorFlowServing => "tensorflow-serving",
        }
    }

    /// The path of its page with metrics; none where it has no page.
    #[must_use]
    pub const fn metrics_path(self) -> Option<&'static str> {
        match self {
            Self::Ollama => None,
            Self::TrtllmServe => Some("/prometheus/metrics"),
            Self::Nim => Some("/v1/metrics"),
            Self::TensorFlowServing => Some("/monitoring/prometheus/metrics"),
            _ => Some("/metrics"),
        }
    }

    /// The port of the real engine's API by default.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Sglang => 30_000,
            Self::LmDeploy => 23_333,
            Self::Tgi | Self::Tei => 80,
            Self::LlamaCpp | Self::TorchServe => 8080,
            Self::Ollama => 11_434,
            Self::TensorFlowServing => 8501,
            _ => 8000,
        }
    }

    /// The port of the real engine's page by default.
    #[must_use]
    pub const fn metrics_port(self) -> u16 {
        match self {
            Self::Triton | Self::TritonTrtLlm => 8002,
            Self::TorchServe => 8082,
            Self::RayVllm => 8080,
            _ => self.port(),
        }
    }

    /// Whether series of different models differ in a label.
    pub(super) const fn tells_models_apart(self) -> bool {
        !matches!(self, Self::Tgi | Self::Tei | Self::LlamaCpp)
    }

    /// Whether series of different data-parallel ranks differ in a label.
    pub(super) const fn tells_ranks_apart(self) -> bool {
        self.is_vllm() || matches!(self, Self::RayVllm | Self::Sglang | Self::LmDeploy)
    }

    /// Whether it is vLLM's own server, with its sleep mode and adapters.
    pub(super) const fn is_vllm(self) -> bool {
        matches!(
            self,
            Self::Vllm | Self::VllmOld | Self::VllmBoth | Self::KserveVllm
        )
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Flavour {
    type Err = UnknownFlavour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|flavour| flavour.name() == text)
            .ok_or_else(|| UnknownFlavour(text.into()))
    }
}
