use std::fmt::{self, Write as _};
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
    /// The pod's UID: another pod under the same name and address is another engine, and inherits
    /// nothing.
    pub pod_uid: String,
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
    /// The target's name: `namespace/pod@address:port#` and 32 hexadecimal digits that stand for
    /// everything else. What belongs to one pod can never be taken for what belongs to another.
    #[must_use]
    pub fn id(&self) -> TargetId {
        // SHA-256 stays the same on every version of everything, and does not give the token away.
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.canonical());
        let mut id = format!("{}@{}#", self.owner, self.endpoint.address);
        for byte in digest.as_ref().iter().take(16) {
            let _ = write!(id, "{byte:02x}");
        }
        TargetId(id)
    }

    /// All of it, in bytes that no other target has: each text has its length before it.
    fn canonical(&self) -> Vec<u8> {
        fn text(out: &mut Vec<u8>, text: &str) {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        }
        fn option(out: &mut Vec<u8>, text_or_none: Option<&str>) {
            out.push(u8::from(text_or_none.is_some()));
            text(out, text_or_none.unwrap_or_default());
        }
        let Self {
            endpoint,
            view,
            owner,
        } = self;
        let mut out = Vec::new();
        text(&mut out, "rheostat target 1");
        text(&mut out, owner);
        text(&mut out, &endpoint.address.to_string());
        text(&mut out, &endpoint.pod_uid);
        match &endpoint.scheme {
            Scheme::Http => out.push(0),
            Scheme::Https {
                ca_pem,
                server_name,
                skip_verification,
            } => {
                out.push(1 + u8::from(*skip_verification));
                option(&mut out, ca_pem.as_deref());
                option(&mut out, server_name.as_deref());
            }
        }
        option(&mut out, endpoint.path.as_deref());
        option(&mut out, endpoint.bearer.as_ref().map(Secret::reveal));
        match &endpoint.engine {
            EngineChoice::Recognise => out.push(0),
            EngineChoice::Named(engine) => {
                out.push(1);
                text(&mut out, engine.name());
            }
            EngineChoice::Custom(description) => {
                out.push(2);
                text(&mut out, description);
            }
        }
        out.extend(endpoint.period.as_nanos().to_le_bytes());
        option(&mut out, view.model.as_deref());
        option(&mut out, view.adapter.as_deref());
        out.extend(view.window.as_nanos().to_le_bytes());
        out
    }
}

impl View {
    /// All models and adapters, over a minute.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            model: None,
            adapter: None,
            window: Duration::from_secs(60),
        }
    }
}

/// A name that is no engine's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no engine that is known; allowed are auto, {allowed}")]
pub struct UnknownEngine {
    /// The name.
    pub name: String,
    /// All names.
    pub allowed: String,
}

impl std::str::FromStr for EngineChoice {
    type Err = UnknownEngine;

    /// Reads an engine's name, or `auto`. `custom` is not one: its description is what names it.
    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        if name == "auto" {
            return Ok(Self::Recognise);
        }
        match name.parse() {
            Ok(Engine::Custom) | Err(()) => Err(UnknownEngine {
                name: name.chars().take(40).collect(),
                allowed: Engine::ALL
                    .iter()
                    .filter(|engine| **engine != Engine::Custom)
                    .map(|engine| engine.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            Ok(engine) => Ok(Self::Named(engine)),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Recognise => "auto",
            Self::Named(engine) => engine.name(),
            Self::Custom(_) => Engine::Custom.name(),
        })
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
                pod_uid: "0b5c1f8e".into(),
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

    /// Whoever runs another version, or another process, must name it the same. If this fails, the
    /// names that scalers and agents of different versions give have parted.
    #[test]
    fn a_name_stays_what_it_is() {
        assert_eq!(
            target().id().0,
            "team-a/llm-0@10.0.0.7:8000#3f6024a20d3ef9f31a91f6c4e407b6ad"
        );
        assert!(!target().id().0.contains("hush"));
    }

    #[test]
    fn each_part_of_a_target_is_in_its_name() {
        let changes: [fn(&mut Target); 10] = [
            |target| target.endpoint.pod_uid = "another".into(),
            |target| target.endpoint.path = Some(String::new()),
            |target| target.endpoint.bearer = None,
            |target| target.endpoint.engine = EngineChoice::Named(Engine::Vllm),
            |target| target.endpoint.engine = EngineChoice::Custom("vllm".into()),
            |target| target.endpoint.period = Duration::from_secs(3),
            |target| {
                target.endpoint.scheme = Scheme::Https {
                    ca_pem: None,
                    server_name: None,
                    skip_verification: false,
                };
            },
            |target| target.view.model = Some(String::new()),
            |target| target.view.adapter = Some(String::new()),
            |target| target.view.window = Duration::from_secs(61),
        ];
        let mut names = vec![target().id()];
        for change in changes {
            let mut other = target();
            change(&mut other);
            names.push(other.id());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), changes.len() + 1);
    }

    #[test]
    fn engines_are_chosen_by_name() {
        for engine in Engine::ALL {
            let choice = engine.name().parse::<EngineChoice>();
            if *engine == Engine::Custom {
                assert!(choice.is_err());
            } else {
                assert_eq!(choice, Ok(EngineChoice::Named(*engine)));
            }
        }
        assert_eq!("auto".parse(), Ok(EngineChoice::Recognise));
        let error = "vLLM".parse::<EngineChoice>().unwrap_err().to_string();
        assert!(
            error.starts_with("`vLLM` is no engine that is known; allowed are auto, vllm, sglang"),
            "{error}"
        );
    }
}
