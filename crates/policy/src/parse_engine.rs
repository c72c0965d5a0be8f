use std::time::Duration;

use rheostat_engines::{CustomEngine, Engine};

use crate::engine_selection::{DEFAULT_PERIOD, DEFAULT_WINDOW};
use crate::parse::{MINUTE, Parser, invalid};
use crate::parse_signal::is_name;
use crate::{
    EnginePort, EngineScheme, EngineSelection, EngineSource, Guard, ObjectKey, TriggerError, parse_number,
};

/// The keys that say which engine is asked and how.
pub(crate) const KEYS: [&str; 13] = [
    "engine",
    "port",
    "path",
    "scheme",
    "caSecret",
    "insecureSkipVerify",
    "bearerTokenSecret",
    "model",
    "adapter",
    "window",
    "scrapePeriod",
    "engineConfig",
    "customEngine",
];
const ENDPOINTS: [&str; 2] = ["vllmEndpoint", "tritonEndpoint"];
const LONGEST_PATH: usize = 256;

impl Parser<'_> {
    /// Time between two scrapes of an engine.
    pub(crate) fn scrape_period(&self) -> Result<Duration, TriggerError> {
        let period = self.span("scrapePeriod", Duration::from_secs(1), MINUTE)?;
        Ok(period.unwrap_or(DEFAULT_PERIOD))
    }

    /// Which engine is asked and how; `of_profile` where the trigger does not name one.
    pub(crate) fn engine_selection(
        &mut self,
        of_profile: Option<Engine>,
    ) -> Result<EngineSelection, TriggerError> {
        let endpoint = self.peers_endpoint()?;
        let port = self.port()?;
        let path = self.path()?;
        let scheme = self.scheme()?;
        let bearer_token = self.object_key("bearerTokenSecret", "Secret")?;
        if bearer_token.is_some() && scheme == EngineScheme::Http {
            self.warn(
                "bearerTokenSecret",
                "the token is sent without protection, so that whoever can listen, or take the engine's address, \
                 has it; scheme: https protects it"
                    .into(),
            );
        }
        Ok(EngineSelection {
            engine: self.engine_source(of_profile)?,
            port: port.or(endpoint.0),
            path: path.or(endpoint.1),
            scheme,
            bearer_token,
            model: self.text("model")?,
            adapter: self.text("adapter")?,
            period: self.scrape_period()?,
            window: self
                .span("window", Duration::from_secs(10), 10 * MINUTE)?
                .unwrap_or(DEFAULT_WINDOW),
        })
    }

    /// For a trigger that asks no engine: its keys mean nothing.
    pub(crate) fn no_engine(&mut self) {
        for key in KEYS.into_iter().chain(ENDPOINTS).chain(["slotsPerReplica"]) {
            if self.get(key).is_some() {
                self.warn(
                    key,
                    "ignored: no signal of this trigger comes from an engine".into(),
                );
            }
        }
    }

    /// Whether running requests keep their replicas: on for a trigger that asks engines.
    pub(crate) fn guard(&self, asks_engines: bool) -> Result<Option<Guard>, TriggerError> {
        let on = match self.get("guard") {
            None => asks_engines,
            Some("on") => true,
            Some("off") => false,
            Some(value) => return Err(invalid("guard", value, "on, off")),
        };
        let slots = match self.get("slotsPerReplica") {
            None => None,
            Some(value) => Some(
                parse_number(value)
                    .filter(|slots| (1.0..=1e6).contains(slots))
                    .ok_or_else(|| {
                        invalid(
                            "slotsPerReplica",
                            value,
                            "the number of requests that one replica serves at once, from 1 to 1000000",
                        )
                    })?,
            ),
        };
        Ok(on.then_some(Guard { slots }))
    }

    /// For a guard that has neither slots nor a target that could stand for them: warns where the
    /// engine tells of requests, but not how many it serves at once.
    pub(crate) fn guard_warning(&mut self, engine: &EngineSource) {
        let who = match engine {
            EngineSource::Named(
                engine @ (Engine::Vllm | Engine::Sglang | Engine::Tgi | Engine::Tei | Engine::Lmdeploy),
            ) => format!("{engine} does not"),
            EngineSource::Recognise => "not every engine does".into(),
            EngineSource::Named(_) | EngineSource::Inline(_) | EngineSource::ConfigMap(_) => return,
        };
        self.warn(
            "guard",
            format!(
                "it keeps the workload active, but no replicas, where nobody says how many requests a replica \
                 serves at once: {who}; slotsPerReplica says it"
            ),
        );
    }

    fn engine_source(&self, of_profile: Option<Engine>) -> Result<EngineSource, TriggerError> {
        let config = self.object_key("engineConfig", "ConfigMap")?;
        let inline = self.get("customEngine");
        let named = match self.get("engine") {
            None | Some("auto") => None,
            Some(value) => Some(value.parse::<Engine>().map_err(|()| {
                let names = Engine::ALL.iter().map(|engine| engine.name());
                invalid(
                    "engine",
                    value,
                    format!("auto, {}", names.collect::<Vec<_>>().join(", ")),
                )
            })?),
        };
        let conflict = |one: String, other: &str, hint| TriggerError::Conflict {
            one,
            other: other.into(),
            hint,
        };
        match (config, inline) {
            (Some(_), Some(_)) => Err(conflict(
                "engineConfig".into(),
                "customEngine",
                "describe the engine in one place",
            )),
            (Some(_), None) | (None, Some(_)) if named.is_some_and(|engine| engine != Engine::Custom) => {
                let named = named.map_or("", Engine::name);
                Err(conflict(
                    format!("engine {named:?}"),
                    if inline.is_some() { "customEngine" } else { "engineConfig" },
                    "only engine: custom is described by its user",
                ))
            }
            (Some(key), None) => Ok(EngineSource::ConfigMap(key)),
            (None, Some(description)) => {
                let engine = CustomEngine::parse(description)
                    .map_err(|error| invalid("customEngine", description, error.to_string()))?;
                Ok(EngineSource::Inline(engine.to_json()))
            }
            (None, None) if named == Some(Engine::Custom) => Err(TriggerError::Missing {
                key: "engineConfig or customEngine".into(),
                allowed: "the description of the custom engine: engineConfig: CONFIGMAP/KEY, or customEngine with the JSON itself".into(),
            }),
            (None, None) if self.get("engine") == Some("auto") => Ok(EngineSource::Recognise),
            (None, None) => Ok(named
                .or(of_profile)
                .map_or(EngineSource::Recognise, EngineSource::Named)),
        }
    }

    fn port(&self) -> Result<Option<EnginePort>, TriggerError> {
        let Some(value) = self.get("port") else {
            return Ok(None);
        };
        port_of(value).map(Some).ok_or_else(|| {
            invalid(
                "port",
                value,
                "a number from 1 to 65535, or the name of a port of the pod's containers",
            )
        })
    }

    fn path(&self) -> Result<Option<String>, TriggerError> {
        let Some(value) = self.get("path") else {
            return Ok(None);
        };
        path_of(value).map(Some).ok_or_else(|| {
            invalid(
                "path",
                value,
                format!(
                    "a path that begins with /, such as /metrics, without blanks and at most {LONGEST_PATH} bytes long; never an address"
                ),
            )
        })
    }

    fn scheme(&mut self) -> Result<EngineScheme, TriggerError> {
        let ca = self.object_key("caSecret", "Secret")?;
        let skip_verification = match self.get("insecureSkipVerify") {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => return Err(invalid("insecureSkipVerify", value, "true, false")),
        };
        match self.get("scheme") {
            None | Some("http") => {
                if ca.is_some() || skip_verification {
                    return Err(TriggerError::Conflict {
                        one: if ca.is_some() {
                            "caSecret".into()
                        } else {
                            "insecureSkipVerify".into()
                        },
                        other: "scheme \"http\"".into(),
                        hint: "say scheme: https",
                    });
                }
                Ok(EngineScheme::Http)
            }
            Some("https") if ca.is_some() && skip_verification => Err(TriggerError::Conflict {
                one: "caSecret".into(),
                other: "insecureSkipVerify \"true\"".into(),
                hint: "either the certificate is verified or it is not",
            }),
            Some("https") => {
                if skip_verification {
                    self.warn(
                        "insecureSkipVerify",
                        "whoever can take the engine's address can report in its place".into(),
                    );
                }
                Ok(EngineScheme::Https {
                    ca,
                    skip_verification,
                })
            }
            Some(value) => Err(invalid("scheme", value, "http, https")),
        }
    }

    /// `name/key` of an object in the workload's own namespace.
    fn object_key(&self, key: &'static str, kind: &str) -> Result<Option<ObjectKey>, TriggerError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let parts = value.split_once('/');
        parts
            .filter(|(name, key)| is_name(name) && is_name(key))
            .map(|(name, key)| {
                Some(ObjectKey {
                    name: name.to_owned(),
                    key: key.to_owned(),
                })
            })
            .ok_or_else(|| {
                let allowed = format!("NAME/KEY of a {kind} in the workload's own namespace");
                invalid(key, value, allowed)
            })
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, TriggerError> {
        match self.get(key) {
            Some(value) if value.trim().is_empty() => {
                Err(invalid(key, value, "a name as the engine reports it"))
            }
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// Port and path of the peer's endpoint; its host is nobody whom we would ask.
    fn peers_endpoint(&mut self) -> Result<(Option<EnginePort>, Option<String>), TriggerError> {
        let mut found = (None, None);
        for key in ENDPOINTS {
            let Some(value) = self.get(key) else { continue };
            let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
            let (authority, path) = match rest.find('/') {
                Some(place) => rest.split_at(place),
                None => (rest, ""),
            };
            let port = match authority.rsplit_once(':') {
                // Not the last part of an IPv6 address.
                Some((_, port)) if !port.contains(']') => match port.parse::<u16>() {
                    Ok(port) if port > 0 => Some(EnginePort::Number(port)),
                    _ => {
                        return Err(invalid(
                            key,
                            value,
                            "an address such as http://model:8000/metrics, of which only port and path are used",
                        ));
                    }
                },
                _ => None,
            };
            let path = path_of(path).filter(|path| path != "/");
            let shown = port
                .as_ref()
                .map_or_else(|| "the engine's usual port".into(), |port| format!("port {port}"));
            self.warn(
                key,
                format!(
                    "the address is not asked, since it may be anybody's and gives the numbers of one pod; the engines in the workload's own pods are, at {shown}{}",
                    path.as_ref().map_or_else(String::new, |path| format!(" and path {path}"))
                ),
            );
            found = (port, path);
        }
        Ok(found)
    }
}

fn port_of(value: &str) -> Option<EnginePort> {
    if value.bytes().all(|b| b.is_ascii_digit()) {
        let number = value.parse::<u16>().ok()?;
        return (number > 0).then_some(EnginePort::Number(number));
    }
    // IANA_SVC_NAME, as Kubernetes has it for ports.
    let name = value.len() <= 15
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && !value.starts_with('-')
        && !value.ends_with('-')
        && !value.contains("--");
    name.then(|| EnginePort::Named(value.to_owned()))
}

fn path_of(value: &str) -> Option<String> {
    let fits = value.starts_with('/')
        && !value.starts_with("//")
        && value.len() <= LONGEST_PATH
        && value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    fits.then(|| value.to_owned())
}
