use std::fmt;
use std::time::Duration;

use rheostat_engines::Engine;

/// Which engine of a pod is asked, how, and for what part of what it reports.
///
/// Never an address: the pods that the scale target's selector selects are asked, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineSelection {
    /// Which engine it is.
    pub engine: EngineSource,
    /// Its port; `None` for that of the pod's annotations, or the engine's usual one.
    pub port: Option<EnginePort>,
    /// Path of its metrics page; `None` for the engine's usual one.
    pub path: Option<String>,
    /// How it is connected to.
    pub scheme: EngineScheme,
    /// The Secret with a bearer token, in the workload's own namespace.
    pub bearer_token: Option<ObjectKey>,
    /// Only this model; `None` for all of them.
    pub model: Option<String>,
    /// Only this LoRA adapter; `None` for all of them.
    pub adapter: Option<String>,
    /// Time between two scrapes.
    pub period: Duration,
    /// What rates and latencies cover.
    pub window: Duration,
}

/// Which engine is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineSource {
    /// Whatever its page says it is.
    #[default]
    Recognise,
    /// This one.
    Named(Engine),
    /// One that its user describes in the trigger: the JSON of a custom engine.
    Inline(String),
    /// One that its user describes in a ConfigMap of the workload's own namespace.
    ConfigMap(ObjectKey),
}

/// A port of the engine's container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EnginePort {
    /// By number.
    Number(u16),
    /// By the name that the pod gives it.
    Named(String),
}

/// How an engine is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineScheme {
    /// Without protection.
    #[default]
    Http,
    /// By TLS.
    Https {
        /// The Secret with the certificates to trust, in the workload's own namespace; `None`
        /// for the system's.
        ca: Option<ObjectKey>,
        /// Whether any certificate is taken.
        skip_verification: bool,
    },
}

/// A key of a Secret or ConfigMap in the workload's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// The object's name.
    pub name: String,
    /// The key of its data.
    pub key: String,
}

/// Time between two scrapes of an engine where the trigger does not say.
pub(crate) const DEFAULT_PERIOD: Duration = Duration::from_secs(2);
/// What rates and latencies cover where the trigger does not say.
pub(crate) const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

impl Default for EngineSelection {
    fn default() -> Self {
        Self {
            engine: EngineSource::default(),
            port: None,
            path: None,
            scheme: EngineScheme::default(),
            bearer_token: None,
            model: None,
            adapter: None,
            period: DEFAULT_PERIOD,
            window: DEFAULT_WINDOW,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.name, self.key)
    }
}

impl fmt::Display for EnginePort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Named(name) => name.fmt(out),
        }
    }
}
