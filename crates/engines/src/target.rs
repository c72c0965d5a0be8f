use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Engine;

/// One engine to be read: where it is, what it is, and what is wanted of it.
///
/// Everything that a scrape needs, so that whoever holds a `Target` can make it: the agent on the
/// engine's node, or the scaler in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where its pages are. Targets with equal endpoints are scraped once for all of them.
    pub endpoint: Endpoint,
    /// What to take from them.
    pub view: View,
    /// Whose it is: `namespace/pod`, for logs and metrics.
    pub owner: String,
}

/// Where an engine's pages are and how to get at them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address of the pod and port of the engine; never a name.
    pub address: SocketAddr,
    /// Whether the connection is protected.
    pub scheme: Scheme,
    /// Path of the metrics page, with its leading `/`; `None` for the engine's own, or those that
    /// are tried in turn while the engine is not known.
    pub path: Option<String>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// Which engine it is.
    pub engine: EngineChoice,
    /// Time between two scrapes.
    pub period: Duration,
}

/// How a connection to an engine is protected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Not at all.
    Http,
    /// By TLS.
    Https {
        /// Certificates (PEM) that the engine's must lead to; `None` for the system's.
        ca_pem: Option<String>,
        /// The name in the engine's certificate; `None` for its address.
        server_name: Option<String>,
        /// Whether any certificate is taken.
        skip_verification: bool,
    },
}

/// Which engine is expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EngineChoice {
    /// Whatever its page says it is.
    Recognise,
    /// This one.
    Named(Engine),
    /// One that its user describes: the JSON of a custom engine.
    Custom(String),
}

/// What is wanted of an engine's page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Only this model; `None` for all of them.
    pub model: Option<String>,
    /// Only this LoRA adapter; `None` for all of them.
    pub adapter: Option<String>,
    /// What rates and quantiles cover.
    pub window: Duration,
}

/// Names a [`Target`]: the same for everybody who wants the same, on whichever process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub String);

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// `text`, from now on not shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
