use std::time::Duration;

use rheostat_reading::{Absent, Quality, Quantity, Readings, Timestamp};

use crate::field::FIELDS;
use crate::holder::Holder;
use crate::row::Rows;

/// The quantities that the exporter can tell by process (since 2026-03).
const BY_POD: [Quantity; 2] = [Quantity::Utilization, Quantity::MemoryUsedBytes];

/// What each of the pods on a shared device does of it.
///
/// The exporter repeats a device's values on the row of each pod; only utilisation and used memory are
/// the pod's own where it looks at processes. It does not say whether it does: it is believed where
/// pods differ in one of the two. Where they do not, their parts are unknown: the same value twice is
/// a repeated one more often than two equal parts.
pub(crate) struct Shares<'a> {
    rows: &'a Rows,
    by_process: bool,
}

impl<'a> Shares<'a> {
    pub(crate) fn of(rows: &'a Rows) -> Self {
        let differ = |quantity| {
            let values = by_pod(rows, quantity);
            let mut values = values.iter().map(|(_, value)| value);
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        Self {
            rows,
            by_process: BY_POD.into_iter().any(differ),
        }
    }

    /// Whether the rows of pods are parts of the device's value, not the value itself.
    pub(crate) fn is_by_pod(&self, quantity: Quantity) -> bool {
        self.by_process && BY_POD.contains(&quantity)
    }

    /// The part of `holder`; empty where parts are not told.
    pub(crate) fn part(
        &self,
        holder: &Holder,
        device: &Readings,
        at: Timestamp,
        window: Duration,
    ) -> Readings {
        let mut part = Readings::new();
        if !self.by_process {
            return part;
        }
        for &quantity in Quantity::ALL {
            let observed = match (device.get(quantity), quantity) {
                // The same for all.
                (Ok(reading), Quantity::Temperature | Quantity::SmClock | Quantity::MemoryClock) => {
                    Ok(*reading)
                }
                (Ok(_), _) => Err(Absent::Unattributable),
                (Err(reason), _) => Err(reason.clone()),
            };
            part.set(quantity, observed);
        }
        for quantity in BY_POD {
            if let Some((value, scale_window)) = self.value(holder, quantity) {
                let window = if scale_window { window } else { Duration::ZERO };
                part.put(quantity, value, at, window, Quality::Estimated);
            } else {
                part.set(quantity, Err(Absent::Unattributable));
            }
        }
        let total = device
            .value(Quantity::MemoryTotalBytes)
            .filter(|total| *total > 0.0);
        if let (Some(used), Some(total)) = (part.value(Quantity::MemoryUsedBytes), total) {
            let of_total = used / total;
            part.put(
                Quantity::MemoryUsedPercent,
                of_total,
                at,
                Duration::ZERO,
                Quality::Estimated,
            );
        }
        part
    }

    /// The pods' values together, where they are parts.
    pub(crate) fn sum(&self, place: usize) -> Option<f64> {
        let values = self.rows.values.get(&place)?;
        Some(
            values
                .get(&None)
                .copied()
                .unwrap_or_else(|| values.values().sum()),
        )
    }

    /// The pod's value in the base unit, and whether it is a mean over the window.
    fn value(&self, holder: &Holder, quantity: Quantity) -> Option<(f64, bool)> {
        FIELDS
            .iter()
            .enumerate()
            .filter(|(_, field)| field.quantity == quantity)
            .find_map(|(place, field)| {
                let values = self.rows.values.get(&place)?;
                let written = values.get(&Some(holder.clone()))?;
                Some((field.scale.apply(*written).ok()?, field.scale.is_mean()))
            })
    }
}

/// The values of the first field of `quantity` that names pods, one for each pod.
fn by_pod(rows: &Rows, quantity: Quantity) -> Vec<((&str, &str), f64)> {
    let mut found: Vec<((&str, &str), f64)> = Vec::new();
    for (place, values) in &rows.values {
        if FIELDS.get(*place).is_none_or(|field| field.quantity != quantity) || !found.is_empty() {
            continue;
        }
        for (holder, value) in values {
            let Some(holder) = holder else { continue };
            let pod = (holder.namespace.as_str(), holder.pod.as_str());
            // They are in the order of pods.
            if found.last().is_none_or(|(known, _)| *known != pod) {
                found.push((pod, *value));
            }
        }
    }
    found
}
