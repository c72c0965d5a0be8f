use std::time::Duration;

use rheostat_reading::{Absent, Observed, Quality, Quantity, Readings, Timestamp};

use crate::nvml::{NvmlError, Reach};

/// The readings of one device as they are being taken.
pub(crate) struct Sheet {
    pub(crate) readings: Readings,
    /// The first error that was not of one reading alone.
    pub(crate) trouble: Option<NvmlError>,
}

impl Sheet {
    pub(crate) const fn new() -> Self {
        Self {
            readings: Readings::new(),
            trouble: None,
        }
    }

    /// Every quantity absent for the same reason.
    pub(crate) fn all_absent(reason: &Absent) -> Readings {
        let mut readings = Readings::new();
        for &quantity in Quantity::ALL {
            readings.set(quantity, Err(reason.clone()));
        }
        readings
    }

    /// `result`, its error remembered if it reaches further than one reading, and as an absence.
    pub(crate) fn seen<T>(&mut self, result: Result<T, NvmlError>) -> Result<T, Absent> {
        result.map_err(|error| {
            if matches!(error.reach(), Reach::Device | Reach::Driver) {
                self.trouble.get_or_insert(error);
            }
            error.into()
        })
    }

    /// Puts a value that NVML told, or why it did not. A window of zero is a value of the moment.
    pub(crate) fn measured(
        &mut self,
        quantity: Quantity,
        result: Result<f64, NvmlError>,
        at: Timestamp,
        window: Duration,
    ) {
        match self.seen(result) {
            Ok(value) => self.readings.put(quantity, value, at, window, Quality::Measured),
            Err(reason) => self.readings.set(quantity, Err(reason)),
        }
    }

    /// As [`Self::measured`], for a percentage.
    pub(crate) fn percent(
        &mut self,
        quantity: Quantity,
        result: Result<u32, NvmlError>,
        at: Timestamp,
        window: Duration,
    ) {
        match self
            .seen(result)
            .and_then(|percent| ratio_of_percent(percent.into()))
        {
            Ok(ratio) => self.readings.put(quantity, ratio, at, window, Quality::Measured),
            Err(reason) => self.readings.set(quantity, Err(reason)),
        }
    }

    pub(crate) fn set(&mut self, quantity: Quantity, observed: Observed) {
        self.readings.set(quantity, observed);
    }

    pub(crate) fn absent(&mut self, quantity: Quantity, reason: Absent) {
        self.readings.set(quantity, Err(reason));
    }
}

/// `percent` as a ratio. Drivers have been seen to report nonsense for want of a value; it is no load.
pub(crate) fn ratio_of_percent(percent: f64) -> Result<f64, Absent> {
    // GPM computes from counters that are not read in the same instant: a little above is rounding.
    if (0.0..=105.0).contains(&percent) {
        Ok((percent / 100.0).min(1.0))
    } else {
        Err(Absent::Failed(format!("NVML reported {percent} %")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_load() {
        assert_eq!(ratio_of_percent(0.0), Ok(0.0));
        assert_eq!(ratio_of_percent(50.0), Ok(0.5));
        assert_eq!(ratio_of_percent(100.3), Ok(1.0));
        for nonsense in [-1.0, 255.0, f64::from(u32::MAX), f64::NAN, f64::INFINITY] {
            assert!(
                matches!(ratio_of_percent(nonsense), Err(Absent::Failed(_))),
                "{nonsense}"
            );
        }
    }

    #[test]
    fn an_error_of_one_reading_is_no_trouble_of_the_device() {
        let mut sheet = Sheet::new();
        let at = Timestamp::default();
        sheet.measured(Quantity::Power, Err(NvmlError::NOT_SUPPORTED), at, Duration::ZERO);
        assert_eq!(sheet.trouble, None);
        let lost = NvmlError::check(15).unwrap_err();
        sheet.measured(Quantity::Power, Err(lost), at, Duration::ZERO);
        assert_eq!(sheet.trouble, Some(lost));
        assert_eq!(sheet.readings.get(Quantity::Power), Err(&Absent::DeviceLost));
    }
}
