use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use rheostat_reading::Quantity;

use crate::hpa::GREATEST;
use crate::key::{Key, KeyOrigin, check_keys, shorten};
use crate::trigger::{MANUAL_DEMAND_ANNOTATION, Parsed, Trigger, Warning};
use crate::{
    Aggregation, PEER_PROFILES, PeerMeaning, Profile, Signal, SignalUnit, TriggerError, Within, duration,
    parse_duration, parse_number, parse_quantity, peer,
};

/// KEDA writes a target with three decimals; less would become zero.
const LEAST_TARGET: f64 = 0.001;
const LONGEST_METRIC_NAME: usize = 100;
const GREATEST_MANUAL_DEMAND: f64 = 1e6;

const DEFAULT_QUORUM: f64 = 0.8;
const DEFAULT_GRACE: Duration = Duration::from_secs(20);

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What `metadata` means; see [`Trigger::parse`].
pub(crate) fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, TriggerError> {
    check_keys(metadata)?;
    Parser {
        metadata,
        warnings: Vec::new(),
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

/// Metadata on its way to a trigger; keda-gpu-scaler's keys are read in `peer_keys`.
pub(crate) struct Parser<'a> {
    metadata: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
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

impl<'a> Parser<'a> {
    fn parse(mut self) -> Result<Parsed, TriggerError> {
        let profile = self.profile()?;
        let said = self.said_signal()?;
        let signal = match (said, profile) {
            (Some(said), _) => said.signal,
            (None, Some(profile)) => profile.signal(),
            (None, None) => self.peers_default_signal()?,
        };
        // A profile's numbers are in the unit of its own signal.
        let profile = profile.filter(|profile| {
            let applies = profile.signal() == signal;
            if !applies {
                self.warn("profile", format!("{profile} scales by {}; {signal} was asked for and is used, without the profile's target and activation", profile.signal()));
            }
            applies
        });
        let factor = said.map_or(1.0, |said| said.factor);

        let within = self
            .one_of("within", Within::ALL)?
            .unwrap_or_else(|| signal.default_within());
        let aggregation = match self.one_of("aggregation", Aggregation::ALL)? {
            Some(aggregation) => aggregation,
            None => profile.map_or(Aggregation::Avg, Profile::aggregation),
        };
        let target = match self.target(signal, factor, within)? {
            Some(target) => target,
            None => match (profile, signal) {
                (Some(profile), _) => profile.target(),
                (None, Signal::Manual) => 1.0,
                (None, Signal::Gpu(_)) => {
                    return Err(TriggerError::Missing {
                        key: "target",
                        allowed: signal.unit().allowed().into(),
                    });
                }
            },
        };
        let activation = match self.activation(signal, factor, within)? {
            Some(activation) => activation,
            None => {
                if signal.idles_above_zero() && profile.is_none() {
                    self.warn("activation", format!("{signal} is above 0 on an idle GPU: without an activation the workload is always active and never reaches zero"));
                }
                profile.map_or(0.0, Profile::activation)
            }
        };
        if signal.is_intensity() && activation >= target {
            return Err(TriggerError::Conflict {
                one: format!("activation {activation}"),
                other: format!("target {target}"),
                hint: "a replica that works at its target must count as active, so the activation has to be lower",
            });
        }
        let quorum = self.quorum()?;
        let stale_after = self
            .span("staleAfter", Duration::from_secs(1), 10 * MINUTE)?
            .unwrap_or_else(|| signal.default_stale_after());
        let grace = self
            .span("grace", Duration::ZERO, 5 * MINUTE)?
            .unwrap_or(DEFAULT_GRACE);
        let idle_period = self.span("idlePeriod", Duration::from_secs(1), 7 * 24 * HOUR)?;
        let gpu_index = self.gpu_index()?;
        let metric_name = self.metric_name(signal)?;
        self.signal_warnings(signal, said.map(|said| said.key));
        self.peer_warnings()?;
        let trigger = Trigger {
            signal,
            target,
            activation,
            within,
            aggregation,
            gpu_index,
            quorum,
            stale_after,
            grace,
            idle_period,
            metric_name,
        };
        Ok(Parsed {
            trigger,
            warnings: self.warnings,
        })
    }

    fn profile(&mut self) -> Result<Option<Profile>, TriggerError> {
        let Some(name) = self.get("profile") else {
            return Ok(None);
        };
        let ours = name.parse::<Profile>().ok();
        let profile = match (ours, peer::find(PEER_PROFILES, name)) {
            (_, Some(PeerMeaning::Engine { instead })) => return Err(needs_engine("profile", name, instead)),
            (ours, Some(PeerMeaning::Profile { profile, changed })) => {
                // A name that is both the peer's and ours is the peer's beside the peer's keys.
                if ours.is_none() || self.has_peer_keys() {
                    self.warn("profile", format!("{name} is taken as {profile}: {changed}"));
                }
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
        if let Some(caveat) = profile.caveat() {
            self.warn("profile", format!("{profile}: {caveat}"));
        }
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
                        hint: "a trigger has one signal; use one trigger for each",
                    });
                }
                // The peer's unit stays with the peer's key.
                Some(old) if old.key == "metricType" => {}
                _ => said = Some(new),
            }
        }
        Ok(said)
    }

    fn target(&mut self, signal: Signal, factor: f64, within: Within) -> Result<Option<f64>, TriggerError> {
        let keys = [
            "target",
            "targetValue",
            "targetGpuUtilization",
            "targetMemoryUtilization",
        ];
        let Some((key, value)) = self.only_one(&keys)? else {
            return Ok(None);
        };
        let factor = if key == "target" { 1.0 } else { factor };
        let target = number_of(key, value, signal, factor, within)?;
        // As KEDA writes it into the HPA.
        let target = (target * 1000.0).round() / 1000.0;
        if target < LEAST_TARGET {
            let allowed = format!(
                "{}; at least {LEAST_TARGET}, since KEDA keeps three decimals",
                unit_of(signal, factor)
            );
            return Err(invalid(key, value, allowed));
        }
        Ok(Some(target))
    }

    fn activation(
        &mut self,
        signal: Signal,
        factor: f64,
        within: Within,
    ) -> Result<Option<f64>, TriggerError> {
        let keys = ["activation", "activationThreshold"];
        let Some((key, value)) = self.only_one(&keys)? else {
            return Ok(None);
        };
        let factor = if key == "activation" { 1.0 } else { factor };
        number_of(key, value, signal, factor, within).map(Some)
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

    fn span(
        &self,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Result<Option<Duration>, TriggerError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let span = parse_duration(value).filter(|span| (least..=most).contains(span));
        span.map(Some).ok_or_else(|| {
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

    fn metric_name(&mut self, signal: Signal) -> Result<String, TriggerError> {
        let Some(value) = self.get("metricName") else {
            return Ok(signal.metric_name().into());
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

    fn signal_warnings(&mut self, signal: Signal, said_by: Option<&'static str>) {
        if said_by == Some("signal")
            && matches!(
                signal,
                Signal::Gpu(Quantity::MemoryUsedPercent | Quantity::MemoryUsedBytes)
            )
        {
            self.warn("signal", format!("{signal} says little of demand: most servers keep what they have allocated; prefer gpu.duty_cycle or gpu.utilization"));
        }
        if signal == Signal::Manual {
            self.warn("signal", format!("manual scales by what a person writes into the annotation {MANUAL_DEMAND_ANNOTATION}, for rehearsals and tests"));
        }
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
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| {
            invalid(
                key,
                value,
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            )
        })
    }

    pub(crate) fn warn(&mut self, key: &'static str, message: String) {
        self.warnings.push(Warning { key, message });
    }
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
    let instead = "a gpu.* signal or a profile; manual for rehearsals";
    let needs = match source {
        "engine" => "engine metrics",
        "gateway" => "the gateway",
        "prometheus" => "Prometheus",
        "kueue" => "Kueue",
        "schedule" => "schedules",
        "policy" => "scaling policies",
        _ => return Err(invalid("signal", value, all_signals_and_profiles())),
    };
    Err(TriggerError::NotInThisVersion {
        key: "signal",
        value: value.into(),
        needs,
        instead,
    })
}

/// A number that is at least 0, in the signal's unit.
fn number_of(
    key: &'static str,
    value: &str,
    signal: Signal,
    factor: f64,
    within: Within,
) -> Result<f64, TriggerError> {
    let number = match signal.unit().takes_quantities() {
        true => parse_quantity(value),
        false => parse_number(value),
    };
    let number = number
        .map(|number| number * factor)
        .filter(|number| (0.0..=GREATEST).contains(number));
    let Some(number) = number else {
        let allowed = format!(
            "{}; finite, not negative, at most {GREATEST:e}",
            unit_of(signal, factor)
        );
        return Err(invalid(key, value, allowed));
    };
    if signal.unit() == SignalUnit::Percent && within != Within::Sum && number > 100.0 {
        return Err(invalid(
            key,
            value,
            format!("{} of {signal}; at most 100", unit_of(signal, factor)),
        ));
    }
    Ok(number)
}

/// What a number may be; in the peer's own unit where that is another one.
fn unit_of(signal: Signal, factor: f64) -> String {
    if factor > 1.0 {
        format!(
            "a number in the peer's unit of {factor} {}",
            if signal.unit() == SignalUnit::Bytes {
                "bytes"
            } else {
                "bytes per second"
            }
        )
    } else {
        signal.unit().allowed().into()
    }
}

pub(crate) fn all_signals_and_profiles() -> String {
    let signals = Signal::all().map(Signal::name).collect::<Vec<_>>().join(", ");
    let profiles = Profile::ALL
        .iter()
        .map(|profile| profile.name())
        .collect::<Vec<_>>()
        .join(", ");
    format!("signal: {signals}; or profile: {profiles}")
}

pub(crate) fn needs_engine(key: &'static str, value: &str, instead: &'static str) -> TriggerError {
    TriggerError::NotInThisVersion {
        key,
        value: value.into(),
        needs: "engine metrics",
        instead,
    }
}

pub(crate) fn invalid(
    key: &'static str,
    value: impl Into<String>,
    allowed: impl Into<String>,
) -> TriggerError {
    TriggerError::Invalid {
        key,
        value: value.into(),
        allowed: allowed.into(),
    }
}
