use std::fmt;

use crate::{Engine, EngineChoice};

/// A page that a scrape of an engine asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What it is for.
    pub kind: PageKind,
    /// Where it is: these are tried in turn until one answers with 200.
    pub paths: &'static [&'static str],
    /// Whether the scrape failed where it is missing. The others tell more where they exist; an
    /// engine may have them switched off.
    pub needed: bool,
}

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// The metrics; of Ollama, the list of its models.
    Main,
    /// Whether the engine sleeps (vLLM).
    Sleeping,
    /// The slots of the batch (llama.cpp).
    Slots,
}

const METRICS: &[&str] = &["/metrics"];

/// The main pages of all engines, the most usual first.
const ANY: &[&str] = &[
    "/metrics",
    "/v1/metrics",
    "/prometheus/metrics",
    "/monitoring/prometheus/metrics",
    "/api/ps",
];

const fn main(paths: &'static [&'static str]) -> Page {
    Page {
        kind: PageKind::Main,
        paths,
        needed: true,
    }
}

const SLEEPING: Page = Page {
    kind: PageKind::Sleeping,
    paths: &["/is_sleeping"],
    needed: false,
};

const SLOTS: Page = Page {
    kind: PageKind::Slots,
    paths: &["/slots"],
    needed: false,
};

impl Engine {
    /// The pages that tell all that is known of it, [`PageKind::Main`] first.
    #[must_use]
    pub const fn pages(self) -> &'static [Page] {
        match self {
            // `/is_sleeping` is there only where sleep mode and the development server are switched
            // on; newer versions tell it among the metrics too.
            Self::Vllm => const { &[main(METRICS), SLEEPING] },
            Self::LlamaCpp => const { &[main(METRICS), SLOTS] },
            Self::Sglang | Self::Tgi | Self::Tei | Self::Triton | Self::Lmdeploy | Self::Custom => {
                const { &[main(METRICS)] }
            }
            Self::TorchServe => const { &[main(METRICS)] },
            Self::TrtllmServe => const { &[main(&["/prometheus/metrics"])] },
            Self::Nim => const { &[main(&["/v1/metrics", "/metrics"])] },
            Self::Ollama => const { &[main(&["/api/ps"])] },
            Self::TensorflowServing => const { &[main(&["/monitoring/prometheus/metrics"])] },
        }
    }

    /// Where its main page can be, best first.
    #[must_use]
    pub fn default_paths(self) -> &'static [&'static str] {
        self.pages()
            .iter()
            .find(|page| page.kind == PageKind::Main)
            .map_or(METRICS, |page| page.paths)
    }

    /// The port that its metrics are on unless it is told another.
    #[must_use]
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Vllm | Self::TrtllmServe | Self::Nim => Some(8000),
            Self::Sglang => Some(30000),
            // Its program listens on 3000, its images on 80.
            Self::Tgi | Self::Tei => Some(80),
            Self::Triton => Some(8002),
            Self::Lmdeploy => Some(23333),
            Self::LlamaCpp => Some(8080),
            Self::Ollama => Some(11434),
            Self::TorchServe => Some(8082),
            Self::TensorflowServing => Some(8501),
            Self::Custom => None,
        }
    }
}

impl EngineChoice {
    /// The pages to ask for before the engine is known, and afterwards where it was named.
    #[must_use]
    pub const fn pages(&self) -> &'static [Page] {
        match self {
            Self::Recognise => const { &[main(ANY)] },
            Self::Named(engine) => engine.pages(),
            Self::Custom(_) => Engine::Custom.pages(),
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Main => "metrics",
            Self::Sleeping => "sleep",
            Self::Slots => "slots",
        })
    }
}
