use std::collections::BTreeSet;
use std::time::Duration;

use rheostat_promtext::{Item, Limits, Parser};
use rheostat_reading::{Absent, Quality, Quantity, Readings, Timestamp};

use crate::field::{FAMILIES, FIELDS, Field};
use crate::holder::PodLabels;
use crate::page::{Attribution, DcgmClaim, DcgmDevice, DcgmPage, PageError};
use crate::row::{Key, Rows, Table};
use crate::share::Shares;

/// Reads a whole page that was fetched at `at` from an exporter that collects every `window`.
///
/// # Errors
///
/// The page is none of dcgm-exporter's, was cut in the middle, or is larger than any node's.
pub fn read_page(page: &[u8], at: Timestamp, window: Duration) -> Result<DcgmPage, PageError> {
    let mut table = Table::default();
    let items = || Parser::with(page, &Limits::default(), Some(&FAMILIES));
    let exported = items().flatten().any(|item| match item {
        Item::Sample(sample) => PodLabels::are_exported(&sample.labels),
        _ => false,
    });
    let named = if exported {
        PodLabels::Exported
    } else {
        PodLabels::Own
    };
    for item in items() {
        match item {
            Ok(Item::Sample(sample)) => table.add(&sample, named)?,
            Ok(_) => {}
            Err(error) if error.is_final() => return Err(PageError::Unreadable(error)),
            Err(_) => table.malformed += 1,
        }
    }
    if table.devices.is_empty() {
        return Err(PageError::NotDcgm);
    }
    Ok(Reader {
        table: &table,
        at,
        window,
    }
    .read())
}

/// Makes sense of a page's rows.
struct Reader<'a> {
    table: &'a Table,
    at: Timestamp,
    window: Duration,
}

impl Reader<'_> {
    fn read(&self) -> DcgmPage {
        let mut devices = Vec::new();
        let mut claims = Vec::new();
        for (key, rows) in &self.table.devices {
            let shares = Shares::of(rows);
            let device = self.device(key, rows, &shares);
            let pods: BTreeSet<_> = rows
                .holders
                .iter()
                .map(|holder| (&holder.namespace, &holder.pod))
                .collect();
            let shared = pods.len() > 1;
            claims.extend(rows.holders.iter().map(|holder| DcgmClaim {
                namespace: holder.namespace.clone(),
                pod: holder.pod.clone(),
                container: holder.container.clone(),
                device: device.id.clone(),
                replica: holder.replica.clone(),
                shared,
                share: if shared {
                    shares.part(holder, &device.readings, self.at, self.window)
                } else {
                    Readings::new()
                },
            }));
            devices.push(device);
        }
        let gpu_index = |device: &DcgmDevice| {
            let gpu = device.parent.as_ref().unwrap_or(&device.id);
            self.table
                .devices
                .get(&(gpu.clone(), None))
                .map_or(u32::MAX, |rows| rows.index)
        };
        devices.sort_by_cached_key(|device| {
            let gpu = device.parent.clone().unwrap_or_else(|| device.id.clone());
            (gpu_index(device), gpu, device.parent.is_some(), device.index)
        });
        let order = |claim: &DcgmClaim| {
            let DcgmClaim {
                namespace,
                pod,
                container,
                device,
                replica,
                ..
            } = claim;
            (
                namespace.clone(),
                pod.clone(),
                container.clone(),
                device.clone(),
                replica.clone(),
            )
        };
        claims.sort_by_cached_key(order);
        DcgmPage {
            attribution: if claims.is_empty() {
                Attribution::NoPods
            } else {
                Attribution::Known
            },
            devices,
            claims,
            hostname: self.table.hostname.clone(),
            driver_version: self.table.driver_version.clone(),
            malformed: self.table.malformed,
        }
    }

    fn device(&self, key: &Key, rows: &Rows, shares: &Shares<'_>) -> DcgmDevice {
        let (uuid, instance) = key;
        let parent = instance.map(|_| uuid.clone());
        DcgmDevice {
            id: instance.map_or_else(|| uuid.clone(), |instance| format!("{uuid}/gi{instance}")),
            index: rows.index,
            model: rows.model.clone(),
            pci_bus_id: rows.pci_bus_id.clone(),
            profile: parent.as_ref().map(|_| rows.profile.clone()),
            partitioned: instance.is_none() && self.is_divided(uuid),
            parent,
            last_xid: rows.last_xid,
            readings: self.readings(rows, shares, instance.is_some()),
        }
    }

    fn is_divided(&self, uuid: &str) -> bool {
        let first = (uuid.to_owned(), Some(0));
        self.table
            .devices
            .range(first..)
            .next()
            .is_some_and(|((gpu, _), _)| gpu == uuid)
    }

    fn readings(&self, rows: &Rows, shares: &Shares<'_>, is_instance: bool) -> Readings {
        let mut readings = Readings::new();
        for &quantity in Quantity::ALL {
            readings.set(quantity, Err(missing(quantity, is_instance)));
        }
        let mut read = BTreeSet::new();
        for (place, field) in FIELDS.iter().enumerate() {
            if let Some(values) = rows.values.get(&place)
                && read.insert(field.quantity)
            {
                let by_pod = shares.is_by_pod(field.quantity);
                let written = if by_pod {
                    shares.sum(place)
                } else {
                    values.values().next().copied()
                };
                self.put(&mut readings, field, written.unwrap_or(f64::NAN), by_pod);
            }
        }
        self.put_memory(&mut readings);
        readings
    }

    fn put(&self, readings: &mut Readings, field: &Field, written: f64, by_pod: bool) {
        // Processes' parts of the time overlap.
        let written = match (by_pod, field.scale) {
            (true, crate::field::Scale::Percent) => written.min(100.0),
            (true, crate::field::Scale::Ratio) => written.min(1.0),
            _ => written,
        };
        let window = if field.scale.is_mean() {
            self.window
        } else {
            Duration::ZERO
        };
        let quality = if by_pod { Quality::Estimated } else { field.quality };
        match field.scale.apply(written) {
            Ok(value) => readings.put(field.quantity, value, self.at, window, quality),
            Err(Absent::Failed(what)) => readings.set(
                field.quantity,
                Err(Absent::Failed(format!("{what} as {}", field.name))),
            ),
            Err(reason) => readings.set(field.quantity, Err(reason)),
        }
    }

    /// The total and the used part of it, as our agent has them: without the driver's reservation in
    /// what is used, with it in the total.
    fn put_memory(&self, readings: &mut Readings) {
        let value = |quantity| readings.value(quantity);
        let used = value(Quantity::MemoryUsedBytes);
        let free = value(Quantity::MemoryFreeBytes);
        let reserved = value(Quantity::MemoryReservedBytes);
        let (total, quality) = match (value(Quantity::MemoryTotalBytes), used, free, reserved) {
            (Some(total), ..) => (total, Quality::Derived),
            (None, Some(used), Some(free), Some(reserved)) => (used + free + reserved, Quality::Derived),
            // Without what the driver keeps, about a hundredth of the whole.
            (None, Some(used), Some(free), None) => (used + free, Quality::Estimated),
            _ => return,
        };
        if value(Quantity::MemoryTotalBytes).is_none() {
            readings.put(
                Quantity::MemoryTotalBytes,
                total,
                self.at,
                Duration::ZERO,
                quality,
            );
        }
        if let Some(used) = used
            && total > 0.0
        {
            let quality = readings
                .get(Quantity::MemoryUsedBytes)
                .map_or(quality, |reading| reading.quality.max(quality));
            readings.put(
                Quantity::MemoryUsedPercent,
                used / total,
                self.at,
                Duration::ZERO,
                quality,
            );
        }
    }
}

/// Why a page does not show `quantity`.
fn missing(quantity: Quantity, is_instance: bool) -> Absent {
    use crate::field::Of;
    let fields: Vec<&Field> = match quantity {
        Quantity::MemoryUsedPercent => FIELDS
            .iter()
            .filter(|field| field.quantity == Quantity::MemoryUsedBytes)
            .collect(),
        _ => FIELDS.iter().filter(|field| field.quantity == quantity).collect(),
    };
    let fitting = fields
        .iter()
        .find(|field| !is_instance || field.of == Of::Instance);
    match fitting {
        Some(field) => Absent::Failed(format!("dcgm-exporter does not show {}", field.name)),
        // DCGM does not tell it at all, or not of a MIG instance.
        None => Absent::NotSupported,
    }
}
