use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use rheostat_engines::Engine;

use crate::key::{Key, KeyOrigin, check_keys, shorten};
use crate::parse_number::Scale;
use crate::trigger::{MANUAL_DEMAND_ANNOTATION, Parsed, Trigger, Warning};
use crate::{
    Aggregation, Guard, Load, Needs, Profile, Quantile, Signal, SignalUnit, Source, TriggerError, Within,
    duration, parse_duration, parse_number,
};

const GREATEST_MANUAL_DEMAND: f64 = 1e6;

pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(20);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

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

/// Metadata on its way to a trigger. What it scales by is read in `parse_subject`, signals and their
/// options in `parse_signal`, engines in `parse_engine`, expressions in `parse_expression`, target and
/// activation in `parse_number`, the other options in `parse_option`, keda-gpu-scaler's keys in `peer_keys`.
pub(crate) struct Parser<'a> {
    pub(crate) metadata: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
    /// The options that some signal takes.
    pub(crate) taken: BTreeSet<&'static str>,
    /// Which latency is taken where no key says so.
    pub(crate) quantile: Quantile,
    /// Whether the profile is one of the peer's that has another unit here, so that the peer's
    /// numbers mean nothing.
    pub(crate) foreign_numbers: bool,
}

impl<'a> Parser<'a> {
    fn parse(mut self) -> Result<Parsed, TriggerError> {
        if let Some(name) = self.get("policy") {
            let trigger = self.policy(name)?;
            let warnings = self.warnings;
            return Ok(Parsed { trigger, warnings });
        }
        let profile = self.profile()?;
        let said = self.said_signal()?;
        let chosen = self.chosen(profile, said)?;
        // A profile's numbers are in the unit of its own load.
        let profile = self.applies(profile, chosen);
        self.foreign_numbers &= profile.is_some();
        // The peer takes the mean, which is all that Triton has.
        let by_peer = said.is_some_and(|said| said.key == "metricType");
        let engine = self.get("engine").and_then(|name| name.parse().ok());
        self.quantile = match engine.or_else(|| profile.and_then(Profile::engine)) {
            // They count times, and sort none into buckets.
            Some(Engine::Triton | Engine::TorchServe) => Quantile::Mean,
            _ if by_peer && profile.is_none() => Quantile::Mean,
            _ => Quantile::P95,
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
        let grace = self.grace()?;
        let idle_period = self.idle_period()?;
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
        let needs = Needs::new(&signals, engine, guard);
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

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.metadata.get(key).map(String::as_str)
    }

    pub(crate) fn has_peer_keys(&self) -> bool {
        self.metadata
            .keys()
            .any(|key| Key::find(key).is_some_and(|key| key.origin == KeyOrigin::Peer))
    }

    /// The one of `keys` that is given; two are a contradiction even where they agree today.
    pub(crate) fn only_one(
        &self,
        keys: &[&'static str],
    ) -> Result<Option<(&'static str, &'a str)>, TriggerError> {
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
