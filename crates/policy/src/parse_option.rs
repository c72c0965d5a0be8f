use crate::key::shorten;
use std::time::Duration;

use crate::parse::{DEFAULT_GRACE, HOUR, MINUTE, Parser, invalid};
use crate::{Load, MAIN_SIGNAL, NamedSignal, Schedule, Signal, TriggerError, parse_number};

const LONGEST_METRIC_NAME: usize = 100;

/// What a schedule of a trigger may hold instead of a blackout.
const NO_BLACKOUT: &str = "floor, ceiling or count; a blackout is for a ScalingPolicy";

const DEFAULT_QUORUM: f64 = 0.8;

impl Parser<'_> {
    pub(crate) fn quorum(&self) -> Result<f64, TriggerError> {
        let Some(value) = self.get("quorum") else {
            return Ok(DEFAULT_QUORUM);
        };
        parse_number(value)
            .filter(|share| *share > 0.0 && *share <= 1.0)
            .ok_or_else(|| invalid("quorum", value, "a share above 0 and at most 1, such as 0.8"))
    }

    pub(crate) fn grace(&self) -> Result<Duration, TriggerError> {
        let grace = self.span("grace", Duration::ZERO, 5 * MINUTE)?;
        Ok(grace.unwrap_or(DEFAULT_GRACE))
    }

    pub(crate) fn idle_period(&self) -> Result<Option<Duration>, TriggerError> {
        self.span("idlePeriod", Duration::from_secs(1), 7 * 24 * HOUR)
    }

    pub(crate) fn gpu_index(&mut self) -> Result<Option<u32>, TriggerError> {
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

    pub(crate) fn metric_name(&mut self, load: &Load) -> Result<String, TriggerError> {
        let Some(value) = self.get("metricName") else {
            return Ok(match load {
                Load::Signal(signal) => signal.metric_name().into(),
                Load::PerPod(_) | Load::OverWorkload(_) | Load::Policy(_) => "rheostat-expression".into(),
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

    /// The windows that bound the replica count. Beside the signal `schedule` the key is its own.
    pub(crate) fn limits(&self, signals: &[NamedSignal]) -> Result<Schedule, TriggerError> {
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
    pub(crate) fn unused(
        &mut self,
        signals: &[NamedSignal],
        load: &Load,
        activation: Option<&rheostat_expression::Expression>,
    ) {
        for (place, signal) in signals.iter().enumerate() {
            let by_load = match load {
                Load::Signal(_) => place == 0,
                Load::Policy(_) => false,
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
}
