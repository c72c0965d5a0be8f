use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use rheostat_reading::{EngineQuantity, Quantity, Unit};

use crate::hpa::GREATEST;
use crate::key::{Key, KeyOrigin, check_keys, shorten};
use crate::pod::{COVERING, UNDER_WAY};
use crate::trigger::{MANUAL_DEMAND_ANNOTATION, Parsed, Trigger, Warning};
use crate::{
    Aggregation, EngineNeeds, EngineSelection, Guard, Load, MAIN_SIGNAL, NamedSignal, Needs, PEER_PROFILES,
    PeerMeaning, Profile, ProfileLoad, Quantile, Schedule, Signal, SignalUnit, Source, TriggerError, Within,
    duration, parse_duration, parse_number, parse_quantity, peer,
};

/// KEDA writes a target with three decimals; less would become zero.
const LEAST_TARGET: f64 = 0.001;
const LONGEST_METRIC_NAME: usize = 100;
const GREATEST_MANUAL_DEMAND: f64 = 1e6;

/// What a schedule of a trigger may hold instead of a blackout.
const NO_BLACKOUT: &str = "floor, ceiling or count; a blackout is for a ScalingPolicy";

const DEFAULT_QUORUM: f64 = 0.8;
const DEFAULT_GRACE: Duration = Duration::from_secs(20);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What `metadata` means; see [`Trigger::parse`].
pub(crate) fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, TriggerError> {
    check_keys(metadata)?;
    Parser {
        metadata,
        warnings: Vec::new(),
        taken: BTreeSet::new(),
        quantile: Quantile::P95,
        foreign_numbers: false,
    }
    .parse()
}

/// The demand, in replicas, that the annotation [`MANUAL_DEMAND_ANNOTATION`] states.
///
/// # Errors
///
/// Where `text` is not a number from 0 to a million.
pub fn parse_manual_demand(text: &str) -> Result<f64, TriggerError> {
    parse_number(text)
        .filter(|demand| (0.0..=GREATEST_MANUAL_DEMAND).contains(demand))
        .ok_or_else(|| {
            invalid(
                MANUAL_DEMAND_ANNOTATION,
                shorten(text),
                "a number of replicas from 0 to 1000000, such as 3",
            )
        })
}

/// Metadata on its way to a trigger; keda-gpu-scaler's keys are read in `peer_keys`, signals and
/// their options in `parse_signal`, engines in `parse_engine`, expressions in `parse_expression`.
pub(crate) struct Parser<'a> {
    pub(crate) metadata: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
    /// The options that some signal takes.
    pub(crate) taken: BTreeSet<&'static str>,
    /// Which latency is taken where no key says so.
    pub(crate) quantile: Quantile,
    /// Whether the profile is one of the peer's that has another unit here, so that the peer's
    /// numbers mean nothing.
    foreign_numbers: bool,
}

/// What a key says the signal is, and how its targets are to be read.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) key: &'static str,
    pub(crate) value: &'a str,
    pub(crate) signal: Signal,
    /// What a `targetValue` is multiplied by.
    pub(crate) factor: f64,
}

/// What a trigger scales by, before its signals are known.
#[derive(Clone, Copy)]
enum Chosen<'a> {
    Signal(Signal),
    /// With the key that it stands under.
    Expression(&'static str, &'a str),
}

/// How a number in the trigger is to be read.
#[derive(Clone, Copy)]
struct Scale {
    unit: SignalUnit,
    /// What a number of the peer's is multiplied by.
    factor: f64,
    within: Within,
}

impl<'a> Parser<'a> {
    fn parse(mut self) -> Result<Parsed, TriggerError> {
        let profile = self.profile()?;
        let said = self.said_signal()?;
        let chosen = self.chosen(profile, said)?;
        // A profile's numbers are in the unit of its own load.
        let profile = self.applies(profile, chosen);
        self.foreign_numbers &= profile.is_some();
        // The peer takes the mean, which is all that Triton has.
        let by_peer = said.is_some_and(|said| said.key == "metricType");
        self.quantile = match profile {
            Some(profile) => profile.quantile(),
            None if by_peer => Quantile::Mean,
            None => Quantile::P95,
        };
        let (signals, load, unit) = self.load(profile, chosen)?;
        let within = match signals.first().map(|signal| &signal.source) {
            Some(Source::Gpu { within, .. }) => *within,
            _ => Within::Max,
        };
        let scale = Scale {
            unit,
            factor: said.map_or(1.0, |said| said.factor),
            within,
        };
        let aggregation = match self.one_of("aggregation", Aggregation::ALL)? {
            Some(aggregation) => aggregation,
            None => profile.map_or(Aggregation::Avg, Profile::aggregation),
        };
        let target = match self.target(scale)? {
            Some(target) => target,
            None => match (profile, unit) {
                (Some(profile), _) => profile.target(),
                (None, SignalUnit::Replicas | SignalUnit::Load) => 1.0,
                (None, _) => {
                    return Err(TriggerError::Missing {
                        key: "target".into(),
                        allowed: unit.allowed().into(),
                    });
                }
            },
        };
        let activation_expression =
            self.activation_expression(profile.and_then(Profile::activation_expression), &signals)?;
        let activation = match self.activation(scale)? {
            Some(activation) => activation,
            None => {
                if let Load::Signal(signal) = &load
                    && signal.idles_above_zero()
                    && profile.is_none()
                    && activation_expression.is_none()
                {
                    self.warn("activation", format!("{signal} is above 0 where nothing is to be done: without an activation the workload is always active and never reaches zero"));
                }
                match activation_expression {
                    Some(_) => 0.0,
                    None => profile.map_or(0.0, Profile::activation),
                }
            }
        };
        if unit.is_intensity() && activation_expression.is_none() && activation >= target {
            return Err(TriggerError::Conflict {
                one: format!("activation {activation}"),
                other: format!("target {target}"),
                hint: "a replica that works at its target must count as active, so the activation has to be lower",
            });
        }
        let quorum = self.quorum()?;
        let grace = self
            .span("grace", Duration::ZERO, 5 * MINUTE)?
            .unwrap_or(DEFAULT_GRACE);
        let idle_period = self.span("idlePeriod", Duration::from_secs(1), 7 * 24 * HOUR)?;
        let gpu_index = self.gpu_index()?;
        let metric_name = self.metric_name(&load)?;
        let limits = self.limits(&signals)?;
        let from_engines = signals
            .iter()
            .any(|signal| matches!(signal.signal, Signal::Engine(_)));
        let guard = self.guard(from_engines)?;
        let engine = match from_engines || guard.is_some() {
            true => Some(self.engine_selection(profile.and_then(Profile::engine))?),
            false => {
                self.no_engine();
                None
            }
        };
        if let (Some(engine), Some(Guard { slots: None })) = (&engine, guard)
            && !load.is_requests()
        {
            self.guard_warning(&engine.engine);
        }
        let needs = needs(&signals, engine, guard);
        if let Load::Signal(signal) = &load {
            self.signal_warnings(*signal, said.map(|said| said.key));
        }
        self.unused(&signals, &load, activation_expression.as_ref());
        if let Some(profile) = profile
            && let Some(caveat) = profile.caveat()
            && !signals.iter().any(|signal| !signal.signal.is_per_pod())
        {
            self.warn("profile", format!("{profile}: {caveat}"));
        }
        self.peer_warnings()?;
        let trigger = Trigger {
            signals,
            load,
            unit,
            target,
            activation,
            activation_expression,
            aggregation,
            gpu_index,
            quorum,
            grace,
            idle_period,
            guard,
            limits,
            metric_name,
            needs,
        };
        Ok(Parsed {
            trigger,
            warnings: self.warnings,
        })
    }

    /// What the trigger scales by: an expression or a signal, whichever it names, else that of
    /// its profile.
    fn chosen(
        &mut self,
        profile: Option<Profile>,
        said: Option<Said<'a>>,
    ) -> Result<Chosen<'a>, TriggerError> {
        let expression = self.get("expression");
        if let (Some(text), Some(said)) = (expression, said) {
            return Err(TriggerError::Conflict {
                one: format!("expression {text:?}"),
                other: format!("{} {:?} ({})", said.key, said.value, said.signal),
                hint: "a trigger scales by one of them; give the signal a name, signal.NAME, and use that in the expression",
            });
        }
        Ok(match (expression, said, profile.map(Profile::load)) {
            (Some(text), ..) => Chosen::Expression("expression", text),
            (None, Some(said), _) => Chosen::Signal(said.signal),
            (None, None, Some(ProfileLoad::Signal(signal))) => Chosen::Signal(signal),
            (None, None, Some(ProfileLoad::Expression(text))) => Chosen::Expression("profile", text),
            (None, None, None) => Chosen::Signal(self.peers_default_signal()?),
        })
    }

    fn applies(&mut self, profile: Option<Profile>, chosen: Chosen<'_>) -> Option<Profile> {
        let profile = profile?;
        let applies = match (profile.load(), chosen) {
            (ProfileLoad::Signal(of_profile), Chosen::Signal(signal)) => of_profile == signal,
            (ProfileLoad::Expression(_), Chosen::Expression(key, _)) => key == "profile",
            _ => false,
        };
        if applies {
            return Some(profile);
        }
        let asked = match chosen {
            Chosen::Signal(signal) => signal.to_string(),
            Chosen::Expression(_, text) => text.to_owned(),
        };
        self.warn("profile", format!("{profile} scales by {}; {asked} was asked for and is used, without the profile's target and activation", profile.load()));
        None
    }

    /// The signals, what is made of them, and its unit.
    fn load(
        &mut self,
        profile: Option<Profile>,
        chosen: Chosen<'_>,
    ) -> Result<(Vec<NamedSignal>, Load, SignalUnit), TriggerError> {
        let mut signals = Vec::new();
        if let Chosen::Signal(signal) = chosen {
            signals.push(self.named_signal(MAIN_SIGNAL, signal, self.quantile)?);
        }
        signals.extend(self.named_signals()?);
        for (name, signal) in profile.map_or(&[][..], Profile::signals) {
            // One of that name that the trigger gives is meant to replace it.
            if !signals.iter().any(|signal| signal.name == *name) {
                signals.push(self.named_signal(name, *signal, self.quantile)?);
            }
        }
        let (load, unit) = match chosen {
            Chosen::Signal(signal) => {
                if self.get("over").is_some() {
                    self.warn("over", "ignored: it says how an expression is computed".into());
                }
                (Load::Signal(signal), signal.unit())
            }
            Chosen::Expression(key, text) => self.load_expression(key, text, &signals)?,
        };
        Ok((signals, load, unit))
    }

    /// The windows that bound the replica count. Beside the signal `schedule` the key is its own.
    fn limits(&self, signals: &[NamedSignal]) -> Result<Schedule, TriggerError> {
        let of_signal = signals
            .iter()
            .any(|signal| signal.name == MAIN_SIGNAL && signal.signal == Signal::Schedule);
        match self.get("schedule").filter(|_| !of_signal) {
            None => Ok(Schedule::default()),
            Some(text) => {
                let schedule =
                    Schedule::parse(text, self.get("timezone")).map_err(|source| TriggerError::Schedule {
                        key: "schedule".into(),
                        source,
                    })?;
                match schedule.has_blackout() {
                    true => Err(invalid("schedule", shorten(text), NO_BLACKOUT)),
                    false => Ok(schedule),
                }
            }
        }
    }

    /// Signals and options that nothing takes.
    fn unused(
        &mut self,
        signals: &[NamedSignal],
        load: &Load,
        activation: Option<&rheostat_expression::Expression>,
    ) {
        for (place, signal) in signals.iter().enumerate() {
            let by_load = match load {
                Load::Signal(_) => place == 0,
                Load::PerPod(expression) | Load::OverWorkload(expression) => {
                    expression.used().contains(place)
                }
            };
            let named = self.get(&format!("signal.{}", signal.name)).is_some();
            if named && !by_load && !activation.is_some_and(|activation| activation.used().contains(place)) {
                let name = &signal.name;
                self.warn(
                    format!("signal.{name}"),
                    format!("neither expression nor activationExpression uses {name}"),
                );
            }
        }
        for option in [
            "quantile",
            "prometheus",
            "query",
            "onEmpty",
            "onNaN",
            "onMany",
            "queue",
            "count",
        ] {
            if self.get(option).is_some() && !self.taken.contains(option) {
                self.warn(option, "ignored: no signal of this trigger takes it".into());
            }
        }
        if self.get("timezone").is_some() && !self.metadata.keys().any(|key| key.ends_with("schedule")) {
            self.warn("timezone", "ignored: this trigger has no schedule".into());
        }
    }

    fn profile(&mut self) -> Result<Option<Profile>, TriggerError> {
        let Some(name) = self.get("profile") else {
            return Ok(None);
        };
        let ours = name.parse::<Profile>().ok();
        let profile = match (ours, peer::find(PEER_PROFILES, name)) {
            (ours, Some(PeerMeaning::Profile { profile, changed })) => {
                // A name that is both the peer's and ours is the peer's beside the peer's keys.
                if ours.is_none() || self.has_peer_keys() {
                    self.warn("profile", format!("{name} is taken as {profile}: {changed}"));
                }
                let percent = ProfileLoad::Signal(Signal::Gpu(Quantity::DutyCycle));
                self.foreign_numbers = ours.is_none() && profile.load() != percent;
                profile
            }
            (Some(ours), _) => ours,
            (None, _) => {
                let names = Profile::ALL.iter().map(|profile| profile.name());
                let peers = PEER_PROFILES
                    .iter()
                    .filter(|entry| matches!(entry.1, PeerMeaning::Profile { .. }));
                let others = peers
                    .map(|entry| entry.0)
                    .filter(|name| name.parse::<Profile>().is_err());
                return Err(invalid(
                    "profile",
                    name,
                    names.chain(others).collect::<Vec<_>>().join(", "),
                ));
            }
        };
        Ok(Some(profile))
    }

    /// The signal as keys other than the profile name it; those that do must agree.
    fn said_signal(&mut self) -> Result<Option<Said<'a>>, TriggerError> {
        let mut said: Option<Said<'a>> = None;
        let named = [
            self.get("signal").map(our_signal).transpose()?,
            self.peers_metric_type()?,
            self.peers_target("targetGpuUtilization", "gpu_utilization"),
            self.peers_target("targetMemoryUtilization", "memory_used_percent"),
        ];
        for new in named.into_iter().flatten() {
            match said {
                Some(old) if old.signal != new.signal => {
                    return Err(TriggerError::Conflict {
                        one: format!("{} {:?} ({})", old.key, old.value, old.signal),
                        other: format!("{} {:?} ({})", new.key, new.value, new.signal),
                        hint: "a trigger has one signal, or an expression of named ones: signal.NAME and expression",
                    });
                }
                // The peer's unit stays with the peer's key.
                Some(old) if old.key == "metricType" => {}
                _ => said = Some(new),
            }
        }
        Ok(said)
    }

    fn target(&mut self, scale: Scale) -> Result<Option<f64>, TriggerError> {
        let keys = [
            "target",
            "targetValue",
            "targetGpuUtilization",
            "targetMemoryUtilization",
        ];
        let Some((key, value)) = self.only_one(&keys)? else {
            return Ok(None);
        };
        if key == "targetValue" && self.is_foreign(key) {
            return Ok(None);
        }
        let scale = scale.unless(key == "target");
        let target = number_of(key, value, scale)?;
        // As KEDA writes it into the HPA.
        let target = (target * 1000.0).round() / 1000.0;
        if target < LEAST_TARGET {
            let allowed = format!(
                "{}; at least {LEAST_TARGET}, since KEDA keeps three decimals",
                unit_of(scale)
            );
            return Err(invalid(key, value, allowed));
        }
        Ok(Some(target))
    }

    fn activation(&mut self, scale: Scale) -> Result<Option<f64>, TriggerError> {
        let keys = ["activation", "activationThreshold"];
        let Some((key, value)) = self.only_one(&keys)? else {
            return Ok(None);
        };
        if key == "activationThreshold" && self.is_foreign(key) {
            return Ok(None);
        }
        number_of(key, value, scale.unless(key == "activation")).map(Some)
    }

    /// Whether a number of the peer's is in a unit that its profile no longer has here.
    fn is_foreign(&mut self, key: &'static str) -> bool {
        if self.foreign_numbers {
            let message = "ignored: the profile goes by another quantity here, in which this number means nothing; \
                           the profile's own is used, and target and activation change it";
            self.warn(key, message.into());
        }
        self.foreign_numbers
    }

    fn quorum(&self) -> Result<f64, TriggerError> {
        let Some(value) = self.get("quorum") else {
            return Ok(DEFAULT_QUORUM);
        };
        parse_number(value)
            .filter(|share| *share > 0.0 && *share <= 1.0)
            .ok_or_else(|| invalid("quorum", value, "a share above 0 and at most 1, such as 0.8"))
    }

    fn gpu_index(&mut self) -> Result<Option<u32>, TriggerError> {
        match self.get("gpuIndex") {
            None | Some("-1") => Ok(None),
            Some(value) => match value.parse::<u32>() {
                Ok(index) if index < 64 => {
                    if self.has_peer_keys() {
                        let what =
                            format!("it picks device {index} of each pod's own devices, not of the node's");
                        self.warn("gpuIndex", what);
                    }
                    Ok(Some(index))
                }
                _ => Err(invalid(
                    "gpuIndex",
                    value,
                    "a number from 0 to 63, or -1 for all of the pod's devices",
                )),
            },
        }
    }

    pub(crate) fn span(
        &self,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Result<Option<Duration>, TriggerError> {
        let value = self.get(key);
        value
            .map(|value| span(key.into(), value, least, most))
            .transpose()
    }

    fn metric_name(&mut self, load: &Load) -> Result<String, TriggerError> {
        let Some(value) = self.get("metricName") else {
            return Ok(match load {
                Load::Signal(signal) => signal.metric_name().into(),
                Load::PerPod(_) | Load::OverWorkload(_) => "rheostat-expression".into(),
            });
        };
        let lower = value.to_ascii_lowercase();
        let words = lower
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty());
        let name = words.collect::<Vec<_>>().join("-");
        if name.is_empty() || name.len() > LONGEST_METRIC_NAME {
            let allowed = format!("letters, digits and dashes, 1 to {LONGEST_METRIC_NAME}");
            return Err(invalid("metricName", value, allowed));
        }
        if name != value {
            self.warn(
                "metricName",
                format!("it is written as {name}: the name is part of an address"),
            );
        }
        Ok(name)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.metadata.get(key).map(String::as_str)
    }

    pub(crate) fn has_peer_keys(&self) -> bool {
        self.metadata
            .keys()
            .any(|key| Key::find(key).is_some_and(|key| key.origin == KeyOrigin::Peer))
    }

    /// The one of `keys` that is given; two are a contradiction even where they agree today.
    fn only_one(&self, keys: &[&'static str]) -> Result<Option<(&'static str, &'a str)>, TriggerError> {
        let mut given = keys.iter().filter_map(|key| Some((*key, self.get(key)?)));
        match (given.next(), given.next()) {
            (Some(one), Some(other)) => Err(TriggerError::Conflict {
                one: format!("{} {:?}", one.0, one.1),
                other: format!("{} {:?}", other.0, other.1),
                hint: "give one of them",
            }),
            (one, _) => Ok(one),
        }
    }

    fn one_of<T: FromStr + Copy + Display>(
        &self,
        key: &'static str,
        all: &[T],
    ) -> Result<Option<T>, TriggerError> {
        let value = self.get(key);
        value.map(|value| one_of(key.into(), value, all)).transpose()
    }

    pub(crate) fn warn(&mut self, key: impl Into<Cow<'static, str>>, message: String) {
        let key = key.into();
        let warning = Warning { key, message };
        // Several signals can share the option that it is about.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

impl Scale {
    /// In our own unit for a key of ours.
    fn unless(self, ours: bool) -> Self {
        Self {
            factor: if ours { 1.0 } else { self.factor },
            ..self
        }
    }
}

/// What has to be fetched for these signals.
fn needs(signals: &[NamedSignal], engine: Option<EngineSelection>, guard: Option<Guard>) -> Needs {
    let mut needs = Needs::default();
    let mut quantities = BTreeSet::new();
    let mut engine_stale_after = engine.as_ref().map_or(Duration::ZERO, |engine| {
        Signal::Engine(crate::EngineSignal::Concurrency).default_stale_after(engine.period)
    });
    for signal in signals {
        match &signal.source {
            Source::Gpu { quantity, .. } => {
                needs.gpu.push(*quantity);
                needs.gpu_stale_after = needs.gpu_stale_after.max(signal.stale_after);
            }
            Source::Engine { quantity } => {
                quantities.insert(*quantity);
                if covers_requests(*quantity) {
                    // They tell an idle engine from one that hangs, where there is no latency.
                    quantities.extend(UNDER_WAY);
                    quantities.extend(COVERING);
                }
                engine_stale_after = engine_stale_after.max(signal.stale_after);
            }
            Source::Outside(source) => needs.outside.push(source.clone()),
            Source::Manual => needs.manual = true,
            Source::Schedule(_) => {}
        }
    }
    needs.gpu.sort_unstable();
    needs.gpu.dedup();
    if guard.is_some() {
        quantities.extend(UNDER_WAY);
        quantities.insert(EngineQuantity::MaxSequences);
    }
    needs.engine = engine.map(|selection| EngineNeeds {
        selection,
        quantities: quantities.into_iter().collect(),
        stale_after: engine_stale_after,
    });
    needs
}

/// Whether there is none of it without requests: a latency, or a ratio of what they brought.
fn covers_requests(quantity: EngineQuantity) -> bool {
    quantity.unit() == Unit::Seconds || quantity == EngineQuantity::PrefixCacheHitRate
}

/// A duration from `least` to `most`.
pub(crate) fn span(
    key: Cow<'static, str>,
    value: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, TriggerError> {
    parse_duration(value)
        .filter(|span| (least..=most).contains(span))
        .ok_or_else(|| {
            invalid(
                key,
                value,
                format!(
                    "{}, from {} s to {} s",
                    duration::ALLOWED,
                    least.as_secs(),
                    most.as_secs()
                ),
            )
        })
}

/// One of the names of `all`.
pub(crate) fn one_of<T: FromStr + Copy + Display>(
    key: Cow<'static, str>,
    value: &str,
    all: &[T],
) -> Result<T, TriggerError> {
    value.parse().map_err(|_| {
        let names: Vec<_> = all.iter().map(ToString::to_string).collect();
        invalid(key, value, names.join(", "))
    })
}

fn our_signal(value: &str) -> Result<Said<'_>, TriggerError> {
    if let Ok(signal) = value.parse() {
        return Ok(Said {
            key: "signal",
            value,
            signal,
            factor: 1.0,
        });
    }
    let source = value.split('.').next().unwrap_or_default();
    let instead = "one of the other signals, an expression or a profile";
    let needs = match source {
        "gateway" => "the gateway",
        "policy" => "scaling policies",
        _ => return Err(invalid("signal", value, all_signals_and_profiles())),
    };
    Err(TriggerError::NotInThisVersion {
        key: "signal".into(),
        value: value.into(),
        needs,
        instead,
    })
}

/// A number that is at least 0, in the unit of the load.
fn number_of(key: &'static str, value: &str, scale: Scale) -> Result<f64, TriggerError> {
    let number = match scale.unit {
        unit if unit.takes_quantities() => parse_quantity(value),
        // A duration has its own unit, whoever wrote it.
        SignalUnit::Seconds => match parse_duration(value) {
            Some(span) => Some(span.as_secs_f64() / scale.factor),
            None => parse_number(value),
        },
        _ => parse_number(value),
    };
    let number = number
        .map(|number| number * scale.factor)
        .filter(|number| (0.0..=GREATEST).contains(number));
    let Some(number) = number else {
        let allowed = format!("{}; finite, not negative, at most {GREATEST:e}", unit_of(scale));
        return Err(invalid(key, value, allowed));
    };
    if scale.unit == SignalUnit::Percent && scale.within != Within::Sum && number > 100.0 {
        return Err(invalid(key, value, format!("{}; at most 100 %", unit_of(scale))));
    }
    Ok(number)
}

/// What a number may be; in the peer's own unit where that is another one.
fn unit_of(scale: Scale) -> Cow<'static, str> {
    let Scale { unit, factor, .. } = scale;
    let name = match unit {
        _ if (factor - 1.0).abs() < f64::EPSILON => return unit.allowed().into(),
        SignalUnit::Percent => "%",
        SignalUnit::Seconds => "s",
        SignalUnit::Bytes => "bytes",
        _ => "bytes per second",
    };
    format!("a number in the peer's unit of {factor} {name}").into()
}

pub(crate) fn all_signals() -> String {
    Signal::all().map(Signal::name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn all_signals_and_profiles() -> String {
    let signals = all_signals();
    let profiles = Profile::ALL
        .iter()
        .map(|profile| profile.name())
        .collect::<Vec<_>>()
        .join(", ");
    format!("signal: {signals}; or profile: {profiles}")
}

pub(crate) fn invalid(
    key: impl Into<Cow<'static, str>>,
    value: impl Into<String>,
    allowed: impl Into<String>,
) -> TriggerError {
    TriggerError::Invalid {
        key: key.into(),
        value: value.into(),
        allowed: allowed.into(),
    }
}
