use std::time::Duration;

use rheostat_reading::{Absent, Amount, Quality, Quantity, Reading, Timestamp};

use super::{GpuReader, Tick};
use crate::duty_cycle::{Duty, DutyCycle};
use crate::sheet::{Sheet, ratio_of_percent};

/// How busy the device was since the last tick: mean utilisation, and the part of the time in which
/// it was above the threshold.
struct Activity {
    utilization: f64,
    busy: f64,
    window: Duration,
}

/// How far back NVML's utilisation rates look, at most: their period is 1/6 s to 1 s by product.
const RATES_WINDOW: Duration = Duration::from_secs(1);

impl GpuReader {
    /// Utilisation, duty cycle and what GPM knows of the SMs and the memory's bandwidth.
    pub(super) fn read_activity(&mut self, sheet: &mut Sheet, tick: &mut Tick<'_>, at: Timestamp) {
        let session = tick.session;
        let rates = session.utilization_rates(self.handle);
        let activity: Result<Activity, Absent> = self.sampled_activity(tick, at).map_or_else(
            || {
                let utilization = sheet
                    .seen(rates)
                    .and_then(|(percent, _)| ratio_of_percent(percent.into()))?;
                let busy = if utilization >= tick.busy_threshold {
                    1.0
                } else {
                    0.0
                };
                Ok(Activity {
                    utilization,
                    busy,
                    window: RATES_WINDOW,
                })
            },
            Ok,
        );
        let gpm = &self.gpm[0];
        for quantity in [Quantity::SmActive, Quantity::SmOccupancy, Quantity::TensorActive] {
            sheet.set(quantity, gpm.get(quantity));
        }
        // Where there is no GPM to tell the part of the bandwidth, the part of the time in which memory was
        // accessed stands in for it: that assumes full speed in that time, hence `Estimated`. A GPM that
        // fails for a while is absent: the meaning must not change from one tick to the next.
        let bandwidth = match gpm.get(Quantity::MemoryBandwidth) {
            Err(Absent::NotSupported) => sheet
                .seen(rates)
                .and_then(|(_, percent)| ratio_of_percent(percent.into()))
                .and_then(|ratio| {
                    let amount =
                        Amount::new(ratio, Quantity::MemoryBandwidth.unit()).ok_or(Absent::NotYet)?;
                    Ok(Reading {
                        amount,
                        at,
                        window: RATES_WINDOW,
                        quality: Quality::Estimated,
                    })
                }),
            other => other,
        };
        sheet.set(Quantity::MemoryBandwidth, bandwidth);
        let busy = match (&activity, gpm.get(Quantity::SmActive)) {
            (Ok(activity), _) => Ok(activity.busy),
            (Err(_), Ok(active)) => Ok(if active.amount.value() >= tick.busy_threshold {
                1.0
            } else {
                0.0
            }),
            (Err(reason), Err(_)) => Err(reason.clone()),
        };
        read_duty(sheet, &mut self.duty, busy, self.last_tick, at);
        match activity {
            Ok(Activity {
                utilization, window, ..
            }) => {
                sheet.measured(Quantity::Utilization, Ok(utilization), at, window);
            }
            Err(reason) => sheet.absent(Quantity::Utilization, reason),
        }
    }

    /// The driver's own sub-second samples since the last tick, all of equal weight as they are of
    /// equal length; `None` where there are none, so that the rates are to be used. An error here is
    /// told by the rates too.
    fn sampled_activity(&mut self, tick: &mut Tick<'_>, at: Timestamp) -> Option<Activity> {
        let since = self.newest_sample;
        tick.session
            .utilization_samples(self.handle, since, tick.samples)
            .ok()?;
        let newest = tick.samples.iter().map(|(time, _)| time).max()?;
        self.newest_sample = newest.max(since);
        // The first look finds some twenty seconds of history, of which only the last one is of now.
        let oldest = if since == 0 {
            newest.saturating_sub(1_000_000)
        } else {
            since
        };
        let (mut sum, mut busy, mut count) = (0.0, 0.0, 0.0);
        for (_, number) in tick.samples.iter().filter(|(time, _)| *time > oldest) {
            let percent = number
                .unsigned()
                .and_then(|percent| u32::try_from(percent).ok())
                .map(f64::from);
            if let Some(Ok(ratio)) = percent.map(ratio_of_percent) {
                sum += ratio;
                busy += if ratio >= tick.busy_threshold { 1.0 } else { 0.0 };
                count += 1.0;
            }
        }
        let window = self.last_tick.map_or(RATES_WINDOW, |last| at.since(last));
        (count > 0.0).then(|| Activity {
            utilization: sum / count,
            busy: busy / count,
            window,
        })
    }
}

/// Feeds `duty` with the time since the last tick, and reads it.
pub(crate) fn read_duty(
    sheet: &mut Sheet,
    duty: &mut DutyCycle,
    busy: Result<f64, Absent>,
    last_tick: Option<Timestamp>,
    at: Timestamp,
) {
    if let (Ok(busy), Some(last)) = (&busy, last_tick) {
        duty.observe(last, at, *busy);
    }
    match duty.read(at) {
        Duty::Known {
            busy,
            observed,
            until,
        } => {
            sheet
                .readings
                .put(Quantity::DutyCycle, busy, until, observed, Quality::Derived);
        }
        Duty::NotYet => sheet.absent(Quantity::DutyCycle, busy.err().unwrap_or(Absent::NotYet)),
        Duty::TooFew { observed, of } => sheet.absent(
            Quantity::DutyCycle,
            busy.err().unwrap_or_else(|| {
                Absent::Failed(format!(
                    "only {observed:.1?} of the last {of:.1?} could be observed"
                ))
            }),
        ),
    }
}
