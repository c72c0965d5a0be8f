use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
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

impl Target {
    /// The target's name: `namespace/pod@address:port#` and 16 hexadecimal digits that stand for
    /// everything else. What belongs to one pod can never be taken for what belongs to another.
    #[must_use]
    pub fn id(&self) -> TargetId {
        // Its keys are fixed: every process finds the same.
        let rest = BuildHasherDefault::<DefaultHasher>::new().hash_one(self);
        TargetId(format!("{}@{}#{rest:016x}", self.owner, self.endpoint.address))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            endpoint: Endpoint {
                address: SocketAddr::from(([10, 0, 0, 7], 8000)),
                scheme: Scheme::Http,
                path: None,
                bearer: Some(Secret::new("hush".into())),
                engine: EngineChoice::Recognise,
                period: Duration::from_secs(2),
            },
            view: View {
                model: None,
                adapter: None,
                window: Duration::from_secs(60),
            },
            owner: "team-a/llm-0".into(),
        }
    }

    #[test]
    fn equal_targets_have_one_name_and_others_have_another() {
        assert_eq!(target().id(), target().id());
        assert!(
            target().id().0.starts_with("team-a/llm-0@10.0.0.7:8000#"),
            "{}",
            target().id()
        );
        let mut other = target();
        other.view.model = Some("llama".into());
        assert_ne!(other.id(), target().id());
        let mut other = target();
        other.endpoint.bearer = Some(Secret::new("hash".into()));
        assert_ne!(other.id(), target().id());
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", target()).contains("hush"));
    }
}
