use std::fmt;
use std::str::FromStr;

/// An inference engine whose metrics are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// vLLM, under its own names, those of Ray Serve LLM, and those with KServe's or llm-d's prefix.
    Vllm,
    /// SGLang.
    Sglang,
    /// Text Generation Inference.
    Tgi,
    /// Text Embeddings Inference.
    Tei,
    /// Triton Inference Server, with or without its TensorRT-LLM back end.
    Triton,
    /// TensorRT-LLM's own server, `trtllm-serve`.
    TrtllmServe,
    /// NVIDIA NIM for large language models.
    Nim,
    /// LMDeploy.
    Lmdeploy,
    /// The server of llama.cpp.
    LlamaCpp,
    /// Ollama, which has no metrics: only `/api/ps`.
    Ollama,
    /// TorchServe.
    TorchServe,
    /// TensorFlow Serving.
    TensorflowServing,
    /// Described by its user.
    Custom,
}

impl Engine {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::Tei,
        Self::Triton,
        Self::TrtllmServe,
        Self::Nim,
        Self::Lmdeploy,
        Self::LlamaCpp,
        Self::Ollama,
        Self::TorchServe,
        Self::TensorflowServing,
        Self::Custom,
    ];

    /// As a trigger writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
            Self::Tei => "tei",
            Self::Triton => "triton",
            Self::TrtllmServe => "trtllm-serve",
            Self::Nim => "nim",
            Self::Lmdeploy => "lmdeploy",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::TorchServe => "torchserve",
            Self::TensorflowServing => "tensorflow-serving",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|engine| engine.name() == name)
            .ok_or(())
    }
}
