use rheostat_reading::{Absent, Unit};

use crate::{Input, Source, Trigger, WorkloadResult};

/// The numbers that there is one of, in the order of the trigger's signals.
pub(crate) fn workload_results(trigger: &Trigger, input: &Input<'_>) -> Vec<WorkloadResult> {
    let mut outside = input.outside.iter();
    let each = trigger.signals.iter().enumerate();
    each.filter_map(|(place, signal)| {
        let (number, at) = match &signal.source {
            Source::Gpu { .. } | Source::Engine { .. } => return None,
            Source::Manual => (Ok(input.manual.unwrap_or(0.0).max(0.0)), None),
            Source::Schedule(schedule) => {
                let floor = schedule.at(input.now).floor;
                (Ok(f64::from(floor.unwrap_or(0))), None)
            }
            Source::Outside(_) => match outside.next() {
                Some(Ok(reading)) => {
                    let age = reading.age(input.now);
                    let number = if age > signal.stale_after {
                        Err(Absent::Stale(age))
                    } else if reading.amount.unit() == Unit::Count {
                        Ok(reading.amount.value())
                    } else {
                        Err(Absent::Failed(format!("read in {}", reading.amount.unit())))
                    };
                    (number, Some(reading.at))
                }
                Some(Err(reason)) => (Err(reason.clone()), None),
                None => (Err(Absent::NotYet), None),
            },
        };
        Some(WorkloadResult {
            signal: place,
            number,
            at,
        })
    })
    .collect()
}
