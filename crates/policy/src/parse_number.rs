use std::borrow::Cow;

use crate::hpa::GREATEST;
use crate::parse::{Parser, invalid};
use crate::{SignalUnit, TriggerError, Within, parse_duration, parse_number, parse_quantity};

/// KEDA writes a target with three decimals; less would become zero.
const LEAST_TARGET: f64 = 0.001;

/// How a number in the trigger is to be read.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) unit: SignalUnit,
    /// What a number of the peer's is multiplied by.
    pub(crate) factor: f64,
    pub(crate) within: Within,
}

impl Parser<'_> {
    pub(crate) fn target(&mut self, scale: Scale) -> Result<Option<f64>, TriggerError> {
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

    pub(crate) fn activation(&mut self, scale: Scale) -> Result<Option<f64>, TriggerError> {
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
