use rheostat_reading::Quantity;

use crate::parse::{Parser, invalid};
use crate::parse_subject::{Said, all_signals_and_profiles};
use crate::{PEER_METRICS, PeerMeaning, Signal, TriggerError, parse_number, peer};

/// keda-gpu-scaler's keys, read so that a migration changes only the address.
impl<'a> Parser<'a> {
    pub(crate) fn peers_metric_type(&mut self) -> Result<Option<Said<'a>>, TriggerError> {
        let Some(value) = self.get("metricType") else {
            return Ok(None);
        };
        match peer::find(PEER_METRICS, value) {
            Some(PeerMeaning::Signal {
                signal,
                factor,
                changed,
            }) => {
                self.warn(
                    "metricType",
                    format!("{value} is taken as signal: {signal}; {changed}"),
                );
                Ok(Some(Said {
                    key: "metricType",
                    value,
                    signal,
                    factor,
                }))
            }
            _ => {
                let names: Vec<_> = PEER_METRICS.iter().map(|entry| entry.0).collect();
                let names = names.join(", ");
                let hint =
                    "KEDA's AverageValue or Value stands beside metadata in the trigger, not within it";
                Err(invalid("metricType", value, format!("{names}; {hint}")))
            }
        }
    }

    pub(crate) fn peers_target(&mut self, key: &'static str, metric: &str) -> Option<Said<'a>> {
        let value = self.get(key)?;
        match peer::find(PEER_METRICS, metric) {
            Some(PeerMeaning::Signal {
                signal,
                factor,
                changed,
            }) => {
                self.warn(
                    key,
                    format!("it is taken as signal: {signal} with a target; {changed}"),
                );
                Some(Said {
                    key,
                    value,
                    signal,
                    factor,
                })
            }
            _ => None,
        }
    }

    /// The peer scales by GPU utilisation where it is given a target alone.
    pub(crate) fn peers_default_signal(&mut self) -> Result<Signal, TriggerError> {
        if self.get("targetValue").is_some() {
            let signal = Signal::Gpu(Quantity::Utilization);
            self.warn(
                "targetValue",
                format!("no signal is named; it is taken as the target of {signal}"),
            );
            return Ok(signal);
        }
        Err(TriggerError::Missing {
            key: "signal, expression or profile".into(),
            allowed: all_signals_and_profiles(),
        })
    }

    /// The peer's keys that are checked, but mean nothing here.
    pub(crate) fn peer_warnings(&mut self) -> Result<(), TriggerError> {
        for (key, least, message) in [
            (
                "pollIntervalSeconds",
                1.0,
                "ignored: readings are taken once a second in the background, whoever asks",
            ),
            (
                "cooldownSeconds",
                0.0,
                "ignored: use the HPA's scaleDown.stabilizationWindowSeconds, and cooldownPeriod for zero",
            ),
        ] {
            if let Some(value) = self.get(key) {
                if parse_number(value).is_none_or(|seconds| seconds < least) {
                    return Err(invalid(
                        key,
                        value,
                        format!("a number of seconds, at least {least}"),
                    ));
                }
                self.warn(key, message.into());
            }
        }
        if self.has_peer_keys() && self.get("aggregation").is_some() {
            self.warn("aggregation", "it chooses the statistic over the workload's pods; for the devices of one pod there is within".into());
        }
        Ok(())
    }
}
