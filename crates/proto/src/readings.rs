use std::time::Duration;

use rheostat_reading::{
    Absent, Amount, EngineQuantity, Measurable, Observed, Quality, Quantity, Reading, Timestamp,
};

use crate::agent;

/// A reading on the wire that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReading {
    /// A quantity that this version does not know: a newer agent. To be skipped.
    #[error("unknown quantity {0}")]
    UnknownQuantity(i32),
    /// A number that is none.
    #[error("{0} is not a finite number")]
    NotFinite(String),
}

/// A reading without saying of what: the fields that a device's and an engine's share.
struct Wire<'a> {
    value: f64,
    age_millis: u32,
    window_millis: u32,
    quality: i32,
    absent: i32,
    detail: &'a str,
}

macro_rules! same_quantities {
    ($ours:ident, $theirs:ident, $message:ident, $to_proto:ident, $from_proto:ident: $($name:ident)*) => {
        /// A reading as it is sent at `now` (the sender's clock).
        #[must_use]
        pub fn $to_proto(
            quantity: $ours,
            observed: Result<&Reading, &Absent>,
            now: Timestamp,
        ) -> agent::$message {
            let quantity = match quantity { $($ours::$name => agent::$theirs::$name,)* }.into();
            match observed {
                Ok(reading) => agent::$message {
                    quantity,
                    value: reading.amount.value(),
                    age_millis: millis(reading.age(now)),
                    window_millis: millis(reading.window),
                    quality: quality_to_proto(reading.quality).into(),
                    absent: agent::Absent::No.into(),
                    detail: String::new(),
                },
                Err(reason) => {
                    let (absent, detail, age_millis) = absent_to_proto(reason);
                    agent::$message {
                        quantity,
                        age_millis,
                        absent: absent.into(),
                        detail,
                        ..Default::default()
                    }
                }
            }
        }

        /// A reading as it was received at `now` (the receiver's clock): its age is counted back
        /// from there.
        ///
        /// # Errors
        ///
        /// [`MalformedReading`] where the quantity is unknown or the number is none.
        pub fn $from_proto(
            reading: &agent::$message,
            now: Timestamp,
        ) -> Result<($ours, Observed), MalformedReading> {
            let quantity = match agent::$theirs::try_from(reading.quantity) {
                $(Ok(agent::$theirs::$name) => $ours::$name,)*
                Ok(agent::$theirs::Unspecified) | Err(_) => {
                    return Err(MalformedReading::UnknownQuantity(reading.quantity));
                }
            };
            let wire = Wire {
                value: reading.value,
                age_millis: reading.age_millis,
                window_millis: reading.window_millis,
                quality: reading.quality,
                absent: reading.absent,
                detail: &reading.detail,
            };
            Ok((quantity, observed_from_proto(quantity, &wire, now)?))
        }
    };
}

same_quantities! {
    Quantity, Quantity, Reading, reading_to_proto, reading_from_proto:
    Utilization SmActive SmOccupancy TensorActive DutyCycle MemoryUsedPercent MemoryUsedBytes
    MemoryFreeBytes MemoryReservedBytes MemoryTotalBytes MemoryBandwidth Power PowerLimit Energy
    Temperature SmClock MemoryClock PcieTx PcieRx NvlinkTx NvlinkRx EncoderUtilization
    DecoderUtilization EccCorrected EccUncorrected PcieReplays
}

same_quantities! {
    EngineQuantity, EngineQuantity, EngineReading, engine_reading_to_proto, engine_reading_from_proto:
    Waiting Running Concurrency KvCacheUsage TtftMean TtftP50 TtftP90 TtftP95 TtftP99 ItlMean ItlP50
    ItlP90 ItlP95 ItlP99 TpotMean TpotP50 TpotP90 TpotP95 TpotP99 E2eMean E2eP50 E2eP90 E2eP95 E2eP99 QueueTimeMean QueueTimeP50 QueueTimeP90
    QueueTimeP95 QueueTimeP99 RequestRate PromptTokenRate GenerationTokenRate TokenRate
    PromptTokensMean GenerationTokensMean PrefixCacheHitRate PreemptionRate LoraAdapters ModelsLoaded
    KvBlocks KvTokens MaxSequences MaxContext
}

fn quality_to_proto(quality: Quality) -> agent::Quality {
    match quality {
        Quality::Measured => agent::Quality::Measured,
        Quality::Derived => agent::Quality::Derived,
        Quality::Estimated => agent::Quality::Estimated,
    }
}

/// An absence as code, detail and, where it is stale, age in milliseconds.
#[must_use]
pub fn absent_to_proto(reason: &Absent) -> (agent::Absent, String, u32) {
    match reason {
        Absent::NotSupported => (agent::Absent::NotSupported, String::new(), 0),
        Absent::NoPermission => (agent::Absent::NoPermission, String::new(), 0),
        Absent::DeviceLost => (agent::Absent::DeviceLost, String::new(), 0),
        Absent::NoDriver(detail) => (agent::Absent::NoDriver, detail.clone(), 0),
        Absent::NotYet => (agent::Absent::NotYet, String::new(), 0),
        Absent::Stale(age) => (agent::Absent::Stale, String::new(), millis(*age)),
        Absent::Failed(detail) => (agent::Absent::Failed, detail.clone(), 0),
        Absent::Unattributable => (agent::Absent::Unattributable, String::new(), 0),
        Absent::NoTraffic => (agent::Absent::NoTraffic, String::new(), 0),
    }
}

fn observed_from_proto(
    quantity: impl Measurable,
    wire: &Wire<'_>,
    now: Timestamp,
) -> Result<Observed, MalformedReading> {
    let age = Duration::from_millis(wire.age_millis.into());
    let detail = || bounded(wire.detail);
    let absent = match agent::Absent::try_from(wire.absent) {
        Ok(agent::Absent::No) => None,
        Ok(agent::Absent::NotSupported) => Some(Absent::NotSupported),
        Ok(agent::Absent::NoPermission) => Some(Absent::NoPermission),
        Ok(agent::Absent::DeviceLost) => Some(Absent::DeviceLost),
        Ok(agent::Absent::NoDriver) => Some(Absent::NoDriver(detail())),
        Ok(agent::Absent::NotYet) => Some(Absent::NotYet),
        Ok(agent::Absent::Stale) => Some(Absent::Stale(age)),
        Ok(agent::Absent::Failed) => Some(Absent::Failed(detail())),
        Ok(agent::Absent::Unattributable) => Some(Absent::Unattributable),
        Ok(agent::Absent::NoTraffic) => Some(Absent::NoTraffic),
        Err(code) => Some(Absent::Failed(format!("unknown reason: {code}"))),
    };
    if let Some(absent) = absent {
        return Ok(Err(absent));
    }
    let amount = Amount::new(wire.value, quantity.unit())
        .ok_or_else(|| MalformedReading::NotFinite(quantity.to_string()))?;
    let quality = match agent::Quality::try_from(wire.quality) {
        Ok(agent::Quality::Measured) => Quality::Measured,
        Ok(agent::Quality::Derived) => Quality::Derived,
        // A quality that a newer agent added is trusted least.
        Ok(agent::Quality::Estimated) | Err(_) => Quality::Estimated,
    };
    Ok(Ok(Reading {
        amount,
        at: now.minus(age),
        window: Duration::from_millis(wire.window_millis.into()),
        quality,
    }))
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// The longest detail that is kept of an absence, in bytes: an agent is trusted, but not with our
/// memory.
const LONGEST_DETAIL: usize = 256;

pub(crate) fn bounded(detail: &str) -> String {
    let mut end = detail.len().min(LONGEST_DETAIL);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_quantity_goes_over_the_wire_and_back() {
        let sent = Timestamp::from_unix_nanos(10_000_000_000);
        let received = Timestamp::from_unix_nanos(99_000_000_000);
        for &quantity in Quantity::ALL {
            let amount = Amount::new(0.5, quantity.unit()).unwrap();
            let reading = Reading {
                amount,
                at: sent.minus(SECOND),
                window: 2 * SECOND,
                quality: Quality::Derived,
            };
            let wire = reading_to_proto(quantity, Ok(&reading), sent);
            let (found, observed) = reading_from_proto(&wire, received).unwrap();
            assert_eq!(found, quantity);
            assert_eq!(
                observed,
                Ok(Reading {
                    at: received.minus(SECOND),
                    ..reading
                })
            );
        }
    }

    #[test]
    fn every_engine_quantity_goes_over_the_wire_and_back() {
        let sent = Timestamp::from_unix_nanos(10_000_000_000);
        let received = Timestamp::from_unix_nanos(99_000_000_000);
        for &quantity in EngineQuantity::ALL {
            let reading = Reading {
                amount: Amount::new(3.0, quantity.unit()).unwrap(),
                at: sent.minus(SECOND),
                window: 60 * SECOND,
                quality: Quality::Estimated,
            };
            let wire = engine_reading_to_proto(quantity, Ok(&reading), sent);
            let expected = Reading {
                at: received.minus(SECOND),
                ..reading
            };
            assert_eq!(
                engine_reading_from_proto(&wire, received),
                Ok((quantity, Ok(expected)))
            );
        }
    }

    #[test]
    fn every_absence_goes_over_the_wire_and_back() {
        let now = Timestamp::from_unix_nanos(10_000_000_000);
        for reason in [
            Absent::NotSupported,
            Absent::NoPermission,
            Absent::DeviceLost,
            Absent::NoDriver("libnvidia-ml.so.1 not found".into()),
            Absent::NotYet,
            Absent::Stale(3 * SECOND),
            Absent::Failed("NVML_ERROR_UNKNOWN".into()),
            Absent::Unattributable,
            Absent::NoTraffic,
        ] {
            let wire = reading_to_proto(Quantity::Power, Err(&reason), now);
            assert_eq!(reading_from_proto(&wire, now), Ok((Quantity::Power, Err(reason))));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let now = Timestamp::from_unix_nanos(0);
        let unknown = agent::Reading {
            quantity: 999,
            ..Default::default()
        };
        assert_eq!(
            reading_from_proto(&unknown, now),
            Err(MalformedReading::UnknownQuantity(999))
        );
        let nan = agent::Reading {
            quantity: agent::Quantity::Power.into(),
            value: f64::NAN,
            ..Default::default()
        };
        assert_eq!(
            reading_from_proto(&nan, now),
            Err(MalformedReading::NotFinite("power".into()))
        );
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST_DETAIL);
        assert_eq!(bounded(&long).len(), LONGEST_DETAIL);
    }
}
