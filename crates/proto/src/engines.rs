use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use rheostat_engines::{
    Endpoint, Engine, EngineChoice, EngineReport, Scheme, Secret, Sleep, Target, TargetId, View,
};
use rheostat_reading::{Readings, Timestamp};

use crate::{MalformedReading, agent, bounded, engine_reading_from_proto, engine_reading_to_proto};

/// Time between two scrapes that may be asked for, in milliseconds.
pub const ENGINE_PERIODS_MILLIS: RangeInclusive<u32> = 500..=60_000;

/// What rates and quantiles of an engine may cover, in milliseconds.
pub const ENGINE_WINDOWS_MILLIS: RangeInclusive<u32> = 1_000..=3_600_000;

/// The largest list of targets that is sent and accepted, in bytes.
pub const LARGEST_ENGINE_LIST: usize = 4 << 20;

/// A target on the wire that cannot be scraped as it stands. Never shows a bearer token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTarget {
    /// A text is too long.
    #[error("{key} has {bytes} bytes; at most {limit} are accepted")]
    TooLong {
        /// The field.
        key: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is accepted.
        limit: usize,
    },
    /// A field says what it cannot say.
    #[error("{key} {value:?} is not accepted: {allowed}")]
    NotAllowed {
        /// The field.
        key: &'static str,
        /// What it says, the beginning of it.
        value: String,
        /// What it may say.
        allowed: String,
    },
}

/// A report on the wire, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedReport {
    /// The subscriber's own name of the target.
    pub target: TargetId,
    /// What the agent says of it.
    pub report: EngineReport,
    /// Whether the agent does not scrape it, for the reason that `report.failure` tells.
    pub refused: bool,
    /// Readings that made no sense and were left out.
    pub malformed: u64,
}

/// The longest name of a target that is accepted, in bytes.
pub const LONGEST_TARGET_ID: usize = 640;

/// Names in Kubernetes and of hosts.
const LONGEST_NAME: usize = 253;
/// A UID has 36 characters; that of a static pod is a hash of 32.
const LONGEST_UID: usize = 64;
const LONGEST_PATH: usize = 1024;
/// Names of models and adapters.
const LONGEST_MODEL: usize = 512;
const LONGEST_BEARER: usize = 16 * 1024;
const LONGEST_CA: usize = 64 * 1024;
const LONGEST_CUSTOM: usize = 64 * 1024;
/// Notes of a report that are kept.
const MOST_NOTES: usize = 16;

/// `target` as a subscriber names it to an agent.
#[must_use]
pub fn engine_target_to_proto(id: &TargetId, target: &Target) -> agent::EngineTarget {
    let Target {
        endpoint,
        view,
        owner,
    } = target;
    let (namespace, pod) = owner.split_once('/').unwrap_or(("", owner));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut wire = agent::EngineTarget {
        id: id.0.clone(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        address: endpoint.address.ip().to_string(),
        port: endpoint.address.port().into(),
        pod_uid: endpoint.pod_uid.clone(),
        path: text(&endpoint.path),
        bearer_token: endpoint
            .bearer
            .as_ref()
            .map(|bearer| bearer.reveal().to_owned())
            .unwrap_or_default(),
        model: text(&view.model),
        adapter: text(&view.adapter),
        window_millis: millis(view.window),
        period_millis: millis(endpoint.period),
        ..Default::default()
    };
    match &endpoint.engine {
        EngineChoice::Recognise => {}
        EngineChoice::Named(engine) => engine.name().clone_into(&mut wire.engine),
        EngineChoice::Custom(description) => wire.custom_engine.clone_from(description),
    }
    if let Scheme::Https {
        ca_pem,
        server_name,
        skip_verification,
    } = &endpoint.scheme
    {
        wire.scheme = agent::Scheme::Https.into();
        wire.ca_pem = text(ca_pem);
        wire.server_name = text(server_name);
        wire.skip_verification = *skip_verification;
    }
    wire
}

/// A target as an agent is to scrape it.
///
/// Which addresses may be scraped is not judged here.
///
/// # Errors
///
/// [`MalformedTarget`] names the field, what it says and what it may say.
pub fn engine_target_from_proto(wire: &agent::EngineTarget) -> Result<Target, MalformedTarget> {
    for (key, text, limit) in [
        ("namespace", &wire.namespace, LONGEST_NAME),
        ("pod", &wire.pod, LONGEST_NAME),
        ("pod_uid", &wire.pod_uid, LONGEST_UID),
        ("path", &wire.path, LONGEST_PATH),
        ("ca_pem", &wire.ca_pem, LONGEST_CA),
        ("server_name", &wire.server_name, LONGEST_NAME),
        ("bearer_token", &wire.bearer_token, LONGEST_BEARER),
        ("custom_engine", &wire.custom_engine, LONGEST_CUSTOM),
        ("model", &wire.model, LONGEST_MODEL),
        ("adapter", &wire.adapter, LONGEST_MODEL),
    ] {
        let bytes = text.len();
        if bytes > limit {
            return Err(MalformedTarget::TooLong { key, bytes, limit });
        }
    }
    for (key, name) in [("namespace", &wire.namespace), ("pod", &wire.pod)] {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(not_allowed(key, name, "the name of a Kubernetes object"));
        }
    }
    Ok(Target {
        endpoint: Endpoint {
            address: address(wire)?,
            pod_uid: wire.pod_uid.clone(),
            scheme: scheme(wire)?,
            path: path(&wire.path)?,
            bearer: bearer(&wire.bearer_token)?,
            engine: engine(wire)?,
            period: duration("period_millis", wire.period_millis, ENGINE_PERIODS_MILLIS)?,
        },
        view: View {
            model: non_empty(&wire.model),
            adapter: non_empty(&wire.adapter),
            window: duration("window_millis", wire.window_millis, ENGINE_WINDOWS_MILLIS)?,
        },
        owner: format!("{}/{}", wire.namespace, wire.pod),
    })
}

/// `report` of the target that the subscriber named `target`, as it is sent at `now` (the sender's
/// clock).
#[must_use]
pub fn engine_report_to_proto(target: &str, report: &EngineReport, now: Timestamp) -> agent::EngineReport {
    use agent::source::State;
    let state = match (report.answered_at, &report.failure) {
        (None, _) => State::Unknown,
        (Some(_), Some(_)) => State::Stale,
        (Some(_), None) => State::Current,
    };
    let age = report.answered_at.map_or(Duration::ZERO, |at| now.since(at));
    let sleep = match report.sleep {
        Sleep::Unknown => agent::Sleep::Unknown,
        Sleep::Awake => agent::Sleep::Awake,
        Sleep::Asleep => agent::Sleep::Asleep,
    };
    agent::EngineReport {
        target: target.to_owned(),
        engine: report
            .engine
            .map(|engine| engine.name().to_owned())
            .unwrap_or_default(),
        source: Some(agent::Source {
            state: state.into(),
            age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            reason: report.failure.clone().unwrap_or_default(),
        }),
        sleep: sleep.into(),
        readings: report
            .readings
            .iter()
            .map(|(quantity, observed)| engine_reading_to_proto(quantity, observed, now))
            .collect(),
        notes: report.notes.clone(),
        refused: false,
    }
}

/// Says that the target that the subscriber named `target` is not scraped, and why.
#[must_use]
pub fn engine_refusal_to_proto(target: &str, reason: &str) -> agent::EngineReport {
    agent::EngineReport {
        target: target.to_owned(),
        source: Some(agent::Source {
            state: agent::source::State::Unknown.into(),
            age_millis: 0,
            reason: reason.to_owned(),
        }),
        refused: true,
        ..Default::default()
    }
}

/// A report as it was received at `now` (the receiver's clock): its ages are counted back from
/// there. Texts are cut to what is reasonable; what makes no sense is left out and counted.
#[must_use]
pub fn engine_report_from_proto(wire: &agent::EngineReport, now: Timestamp) -> ReceivedReport {
    use agent::source::State;
    let mut malformed = 0;
    let mut readings = Readings::new();
    for reading in &wire.readings {
        match engine_reading_from_proto(reading, now) {
            Ok((quantity, observed)) => readings.set(quantity, observed),
            // A newer agent's.
            Err(MalformedReading::UnknownQuantity(_)) => {}
            Err(MalformedReading::NotFinite(_)) => malformed += 1,
        }
    }
    let source = wire.source.clone().unwrap_or_default();
    let reason = non_empty(&bounded(&source.reason));
    let unexplained = || Some("the agent does not say why".to_owned());
    let read_at = Some(now.minus(Duration::from_millis(source.age_millis)));
    let (answered_at, failure) = match State::try_from(source.state) {
        Ok(State::Current) => (read_at, None),
        Ok(State::Stale) => (read_at, reason.or_else(unexplained)),
        Ok(State::Unknown) if !wire.refused => (None, reason),
        Ok(State::Unknown) => (None, reason.or_else(unexplained)),
        Ok(State::Unspecified) | Err(_) => {
            let unknown = "the agent reports a state that is not known here";
            (None, Some(unknown.to_owned()))
        }
    };
    let sleep = match agent::Sleep::try_from(wire.sleep) {
        Ok(agent::Sleep::Awake) => Sleep::Awake,
        Ok(agent::Sleep::Asleep) => Sleep::Asleep,
        Ok(agent::Sleep::Unknown) | Err(_) => Sleep::Unknown,
    };
    ReceivedReport {
        target: TargetId(wire.target.clone()),
        report: EngineReport {
            engine: wire.engine.parse().ok(),
            answered_at,
            failure,
            sleep,
            readings,
            notes: wire
                .notes
                .iter()
                .take(MOST_NOTES)
                .map(|note| bounded(note))
                .collect(),
        },
        refused: wire.refused,
        malformed,
    }
}

/// Everything but the bearer token.
impl fmt::Debug for agent::EngineTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EngineTarget")
            .field("id", &self.id)
            .field("namespace", &self.namespace)
            .field("pod", &self.pod)
            .field("address", &self.address)
            .field("port", &self.port)
            .field("path", &self.path)
            .field("scheme", &self.scheme())
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("adapter", &self.adapter)
            .finish_non_exhaustive()
    }
}

fn address(wire: &agent::EngineTarget) -> Result<SocketAddr, MalformedTarget> {
    let ip: IpAddr = wire
        .address
        .parse()
        .map_err(|_| not_allowed("address", &wire.address, "an IP address"))?;
    match u16::try_from(wire.port) {
        Ok(port) if port > 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(not_allowed("port", &wire.port.to_string(), "1 to 65535")),
    }
}

fn scheme(wire: &agent::EngineTarget) -> Result<Scheme, MalformedTarget> {
    match agent::Scheme::try_from(wire.scheme) {
        Ok(agent::Scheme::Https) => Ok(Scheme::Https {
            ca_pem: non_empty(&wire.ca_pem),
            server_name: non_empty(&wire.server_name),
            skip_verification: wire.skip_verification,
        }),
        Ok(agent::Scheme::Http)
            if wire.ca_pem.is_empty() && wire.server_name.is_empty() && !wire.skip_verification =>
        {
            Ok(Scheme::Http)
        }
        Ok(agent::Scheme::Http) => Err(not_allowed(
            "scheme",
            "http",
            "https where ca_pem, server_name or skip_verification is set",
        )),
        Err(_) => Err(not_allowed("scheme", &wire.scheme.to_string(), "http or https")),
    }
}

fn path(path: &str) -> Result<Option<String>, MalformedTarget> {
    let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if path.is_empty() || fits {
        Ok(non_empty(path))
    } else {
        let allowed = "begins with /, without spaces, # and characters beyond ASCII";
        Err(not_allowed("path", path, allowed))
    }
}

fn bearer(token: &str) -> Result<Option<Secret>, MalformedTarget> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(non_empty(token).map(Secret::new))
    } else {
        let allowed = "printable ASCII without spaces";
        Err(not_allowed("bearer_token", "…", allowed))
    }
}

fn engine(wire: &agent::EngineTarget) -> Result<EngineChoice, MalformedTarget> {
    if !wire.custom_engine.is_empty() {
        return match wire.engine.parse() {
            Ok(Engine::Custom) => Ok(EngineChoice::Custom(wire.custom_engine.clone())),
            Err(()) if wire.engine.is_empty() => Ok(EngineChoice::Custom(wire.custom_engine.clone())),
            _ => Err(not_allowed(
                "engine",
                &wire.engine,
                "empty beside a custom_engine",
            )),
        };
    }
    if wire.engine.is_empty() {
        return Ok(EngineChoice::Recognise);
    }
    match wire.engine.parse() {
        Ok(Engine::Custom) | Err(()) => {
            let known = Engine::ALL.iter().filter(|&&engine| engine != Engine::Custom);
            let names: Vec<_> = known.map(|engine| engine.name()).collect();
            Err(not_allowed("engine", &wire.engine, &names.join(", ")))
        }
        Ok(engine) => Ok(EngineChoice::Named(engine)),
    }
}

fn duration(
    key: &'static str,
    millis: u32,
    allowed: RangeInclusive<u32>,
) -> Result<Duration, MalformedTarget> {
    if allowed.contains(&millis) {
        Ok(Duration::from_millis(millis.into()))
    } else {
        let (least, most) = allowed.into_inner();
        Err(not_allowed(
            key,
            &millis.to_string(),
            &format!("{least} to {most}"),
        ))
    }
}

fn not_allowed(key: &'static str, value: &str, allowed: &str) -> MalformedTarget {
    MalformedTarget::NotAllowed {
        key,
        value: value.chars().take(64).collect(),
        allowed: allowed.to_owned(),
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
