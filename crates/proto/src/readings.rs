use std::time::Duration;

use rheostat_reading::{Absent, Amount, Observed, Quality, Quantity, Reading, Timestamp};

use crate::agent;

/// A reading on the wire that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReading {
    /// A quantity that this version does not know: a newer agent. To be skipped.
    #[error("unknown quantity {0}")]
    UnknownQuantity(i32),
    /// A number that is none.
    #[error("{0} is not a finite number")]
    NotFinite(Quantity),
}

macro_rules! same_quantities {
    ($($name:ident)*) => {
        fn quantity_to_proto(quantity: Quantity) -> agent::Quantity {
            match quantity { $(Quantity::$name => agent::Quantity::$name,)* }
        }

        fn quantity_from_proto(quantity: agent::Quantity) -> Option<Quantity> {
            match quantity {
                agent::Quantity::Unspecified => None,
                $(agent::Quantity::$name => Some(Quantity::$name),)*
            }
        }
    };
}

same_quantities! {
    Utilization SmActive SmOccupancy TensorActive DutyCycle MemoryUsedPercent MemoryUsedBytes
    MemoryFreeBytes MemoryReservedBytes MemoryTotalBytes MemoryBandwidth Power PowerLimit Energy
    Temperature SmClock MemoryClock PcieTx PcieRx NvlinkTx NvlinkRx EncoderUtilization
    DecoderUtilization EccCorrected EccUncorrected PcieReplays
}

/// A reading as it is sent at `now` (the sender's clock).
#[must_use]
pub fn reading_to_proto(
    quantity: Quantity,
    observed: Result<&Reading, &Absent>,
    now: Timestamp,
) -> agent::Reading {
    let quantity = quantity_to_proto(quantity).into();
    match observed {
        Ok(reading) => agent::Reading {
            quantity,
            value: reading.amount.value(),
            age_millis: millis(reading.age(now)),
            window_millis: millis(reading.window),
            quality: match reading.quality {
                Quality::Measured => agent::Quality::Measured,
                Quality::Derived => agent::Quality::Derived,
                Quality::Estimated => agent::Quality::Estimated,
            }
            .into(),
            absent: agent::Absent::No.into(),
            detail: String::new(),
        },
        Err(reason) => {
            let (absent, detail, age) = absent_to_proto(reason);
            agent::Reading {
                quantity,
                age_millis: age,
                absent: absent.into(),
                detail,
                ..Default::default()
            }
        }
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
    }
}

/// A reading as it was received at `now` (the receiver's clock): its age is counted back from there.
///
/// # Errors
///
/// [`MalformedReading`] where the quantity is unknown or the number is none.
pub fn reading_from_proto(
    reading: &agent::Reading,
    now: Timestamp,
) -> Result<(Quantity, Observed), MalformedReading> {
    let quantity = agent::Quantity::try_from(reading.quantity)
        .ok()
        .and_then(quantity_from_proto)
        .ok_or(MalformedReading::UnknownQuantity(reading.quantity))?;
    let detail = || bounded(&reading.detail);
    let age = Duration::from_millis(reading.age_millis.into());
    let absent = match agent::Absent::try_from(reading.absent) {
        Ok(agent::Absent::No) => None,
        Ok(agent::Absent::NotSupported) => Some(Absent::NotSupported),
        Ok(agent::Absent::NoPermission) => Some(Absent::NoPermission),
        Ok(agent::Absent::DeviceLost) => Some(Absent::DeviceLost),
        Ok(agent::Absent::NoDriver) => Some(Absent::NoDriver(detail())),
        Ok(agent::Absent::NotYet) => Some(Absent::NotYet),
        Ok(agent::Absent::Stale) => Some(Absent::Stale(age)),
        Ok(agent::Absent::Failed) => Some(Absent::Failed(detail())),
        Ok(agent::Absent::Unattributable) => Some(Absent::Unattributable),
        Err(code) => Some(Absent::Failed(format!("unknown reason: {code}"))),
    };
    if let Some(absent) = absent {
        return Ok((quantity, Err(absent)));
    }
    let amount = Amount::new(reading.value, quantity.unit()).ok_or(MalformedReading::NotFinite(quantity))?;
    let quality = match agent::Quality::try_from(reading.quality) {
        Ok(agent::Quality::Measured) => Quality::Measured,
        Ok(agent::Quality::Derived) => Quality::Derived,
        // A quality that a newer agent added is trusted least.
        Ok(agent::Quality::Estimated) | Err(_) => Quality::Estimated,
    };
    let window = Duration::from_millis(reading.window_millis.into());
    Ok((
        quantity,
        Ok(Reading {
            amount,
            at: now.minus(age),
            window,
            quality,
        }),
    ))
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// The longest detail that is kept of an absence, in bytes: an agent is trusted, but not with our
/// memory.
const LONGEST_DETAIL: usize = 256;

fn bounded(detail: &str) -> String {
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
            Err(MalformedReading::NotFinite(Quantity::Power))
        );
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST_DETAIL);
        assert_eq!(bounded(&long).len(), LONGEST_DETAIL);
    }
}
