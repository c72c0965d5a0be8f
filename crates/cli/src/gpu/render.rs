use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp as CivilTime;
use rheostat_agent::metrics::unit_name;
use rheostat_gpu::{Device, DeviceKind, DriverState, GpuSnapshot};
use rheostat_reading::{Observed, Quantity, Reading, Timestamp};
use serde_json::{Map, Value, json};

use super::environment::Environment;

/// What is shown: some devices of a snapshot, and where they were read.
pub(crate) struct Report<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) snapshot: &'a GpuSnapshot,
    pub(crate) devices: Vec<&'a Device>,
    /// When it was made.
    pub(crate) now: Timestamp,
}

/// The columns of the table: heading and what is in them. A second quantity stands after a slash.
const COLUMNS: [(&str, Quantity, Option<Quantity>); 9] = [
    ("Util", Quantity::Utilization, None),
    ("SM active", Quantity::SmActive, None),
    (
        "Memory used/total",
        Quantity::MemoryUsedBytes,
        Some(Quantity::MemoryTotalBytes),
    ),
    ("Mem traffic", Quantity::MemoryBandwidth, None),
    ("Power/limit", Quantity::Power, Some(Quantity::PowerLimit)),
    ("Temp", Quantity::Temperature, None),
    ("SM clock", Quantity::SmClock, None),
    ("PCIe tx/rx", Quantity::PcieTx, Some(Quantity::PcieRx)),
    ("NVLink tx/rx", Quantity::NvlinkTx, Some(Quantity::NvlinkRx)),
];

impl Report<'_> {
    /// For a person. Absent values are `-`; below the table stands why, unless it is to be `quiet`.
    pub(crate) fn table(&self, quiet: bool) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let headings = COLUMNS.iter().map(|(heading, ..)| *heading);
        table.set_header(["GPU", "Name"].into_iter().chain(headings));
        for device in &self.devices {
            let cells = COLUMNS.iter().map(|(_, first, second)| {
                let second = second.map(|second| format!(" / {}", cell(device, second)));
                format!("{}{}", cell(device, *first), second.unwrap_or_default())
            });
            table.add_row([self.place(device), self.name(device)].into_iter().chain(cells));
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if quiet {
            return format!("{table}\n");
        }
        format!("{}\n\n{table}\n{}", self.banner(), self.notes())
    }

    /// One document: `environment`, `driver_version`, `collected_at`, `devices`. An absent reading
    /// is null, and its reason stands under `absent`.
    pub(crate) fn json(&self) -> Value {
        let (driver, reason) = match &self.snapshot.driver {
            DriverState::Ready { driver_version, .. } => (Some(driver_version), None),
            DriverState::Unavailable { reason } => (None, Some(reason)),
        };
        json!({
            "environment": self.environment,
            "driver_version": driver,
            "driver_unavailable": reason,
            "collected_at": civil(self.snapshot.taken_at),
            "devices": self.devices.iter().map(|device| self.device_json(device)).collect::<Vec<_>>(),
        })
    }

    /// The first line of the CSV.
    pub(crate) fn csv_header() -> String {
        let fixed = CSV_COLUMNS.iter().map(|name| (*name).to_owned());
        let readings = Quantity::ALL.iter().map(|&quantity| unit_name(quantity));
        csv_line(fixed.chain(readings).chain(["absent".to_owned()]))
    }

    /// A line for each device. An absent reading is an empty field; the last field has the reasons.
    pub(crate) fn csv_lines(&self) -> String {
        let environment = self.environment;
        let given = |field: &Option<String>| field.clone().unwrap_or_default();
        self.devices
            .iter()
            .map(|device| {
                let (parent, profile) = partition(device);
                let fixed = [
                    environment.orchestrator.to_string(),
                    given(&environment.node),
                    given(&environment.job_id),
                    environment
                        .task_rank
                        .map(|rank| rank.to_string())
                        .unwrap_or_default(),
                    civil(self.snapshot.taken_at),
                    device.index.to_string(),
                    device.id.to_string(),
                    device.model.clone(),
                    parent.unwrap_or_default().to_owned(),
                    profile.unwrap_or_default().to_owned(),
                    device.fault.clone().unwrap_or_default(),
                ];
                let readings = Quantity::ALL.iter().map(|&quantity| {
                    device
                        .readings
                        .value(quantity)
                        .map(|value| value.to_string())
                        .unwrap_or_default()
                });
                let absent =
                    absent_of(device).map(|(quantity, reason)| format!("{}: {reason}", unit_name(quantity)));
                let absent = absent.collect::<Vec<_>>().join("; ");
                csv_line(fixed.into_iter().chain(readings).chain([absent]))
            })
            .collect()
    }

    fn banner(&self) -> String {
        let environment = self.environment;
        let mut parts = vec![format!("Environment: {}", environment.orchestrator)];
        let mut part = |name: &str, value: &Option<String>| {
            parts.extend(value.as_ref().map(|value| format!("{name}: {value}")));
        };
        part("node", &environment.node);
        part("job", &environment.job_id);
        part("rank", &environment.task_rank.map(|rank| rank.to_string()));
        part("namespace", &environment.namespace);
        part("pod", &environment.pod_name);
        part("partition", &environment.partition);
        part(
            "devices",
            &environment
                .visible_devices
                .as_ref()
                .map(|devices| devices.join(",")),
        );
        parts.push(match &self.snapshot.driver {
            DriverState::Ready {
                driver_version,
                cuda_version,
            } => {
                format!("driver: {driver_version}, CUDA {cuda_version}")
            }
            DriverState::Unavailable { reason } => format!("no driver: {reason}"),
        });
        parts.join("  |  ")
    }

    /// Why values of the table are missing, each reason once, with the devices that it is about;
    /// and what else ails them.
    fn notes(&self) -> String {
        let mut notes = BTreeMap::<String, Vec<String>>::new();
        for device in &self.devices {
            let faults = device.fault.iter().map(|fault| format!("fault: {fault}"));
            let throttled = device
                .throttle_reasons
                .iter()
                .map(|reason| format!("clocks lowered: {reason}"));
            let shown = COLUMNS
                .iter()
                .flat_map(|(_, first, second)| [Some(*first), *second])
                .flatten();
            let absent = shown.filter_map(|quantity| {
                let reason = device.readings.get(quantity).err()?;
                Some(format!("{quantity}: {reason}"))
            });
            for note in faults.chain(throttled).chain(absent) {
                notes.entry(note).or_default().push(self.place(device));
            }
        }
        notes
            .iter()
            .map(|(note, devices)| format!("GPU {}: {note}\n", devices.join(", ")))
            .collect()
    }

    /// `0` for a GPU, `0:1` for its partition 1.
    fn place(&self, device: &Device) -> String {
        let DeviceKind::Partition { parent, .. } = &device.kind else {
            return device.index.to_string();
        };
        let gpu = self.snapshot.devices.iter().find(|gpu| gpu.id == *parent);
        format!(
            "{}:{}",
            gpu.map_or_else(|| "?".to_owned(), |gpu| gpu.index.to_string()),
            device.index
        )
    }

    fn name(&self, device: &Device) -> String {
        match &device.kind {
            DeviceKind::Gpu { partitioned: true } => format!("{} (MIG)", device.model),
            DeviceKind::Gpu { partitioned: false } => device.model.clone(),
            DeviceKind::Partition { profile, .. } => format!("MIG {profile}"),
        }
    }

    fn device_json(&self, device: &Device) -> Value {
        let mut readings = Map::new();
        for &quantity in Quantity::ALL {
            let value = device
                .readings
                .get(quantity)
                .map_or(Value::Null, |reading| self.reading_json(reading));
            readings.insert(unit_name(quantity), value);
        }
        let absent: Map<String, Value> = absent_of(device)
            .map(|(quantity, reason)| (unit_name(quantity), reason.into()))
            .collect();
        let processes: Vec<Value> = device
            .processes
            .iter()
            .map(|process| {
                json!({
                    "pid": process.pid,
                    "memory_used_bytes": process.used_memory_bytes,
                    "sm_utilization_ratio": value_of(&process.sm_utilization),
                })
            })
            .collect();
        let (parent, profile) = partition(device);
        json!({
            "index": device.index,
            "uuid": device.id.as_str(),
            "name": device.model,
            "pci_bus_id": device.pci_bus_id,
            "minor": device.minor,
            "is_mig_instance": parent.is_some(),
            "parent_uuid": parent,
            "mig_profile": profile,
            "mig_enabled": matches!(device.kind, DeviceKind::Gpu { partitioned: true }),
            "fault": device.fault,
            "readings": readings,
            "absent": absent,
            "throttle_reasons": device.throttle_reasons,
            "last_xid": device.last_xid.map(|(code, at)| json!({ "code": code, "seen_at": civil(at) })),
            "processes": if device.processes_absent.is_none() { processes.into() } else { Value::Null },
            "processes_absent": device.processes_absent.as_ref().map(ToString::to_string),
        })
    }

    fn reading_json(&self, reading: &Reading) -> Value {
        json!({
            "value": reading.amount.value(),
            "age_seconds": reading.age(self.now).as_secs_f64(),
            "window_seconds": reading.window.as_secs_f64(),
            "quality": reading.quality,
        })
    }
}

const CSV_COLUMNS: [&str; 11] = [
    "orchestrator",
    "node",
    "job_id",
    "task_rank",
    "collected_at",
    "index",
    "uuid",
    "name",
    "parent_uuid",
    "mig_profile",
    "fault",
];

fn cell(device: &Device, quantity: Quantity) -> String {
    device
        .readings
        .get(quantity)
        .map_or_else(|_| "-".to_owned(), |reading| reading.amount.to_string())
}

fn absent_of(device: &Device) -> impl Iterator<Item = (Quantity, String)> + '_ {
    Quantity::ALL
        .iter()
        .filter_map(|&quantity| Some((quantity, device.readings.get(quantity).err()?.to_string())))
}

fn partition(device: &Device) -> (Option<&str>, Option<&str>) {
    match &device.kind {
        DeviceKind::Gpu { .. } => (None, None),
        DeviceKind::Partition { parent, profile, .. } => (Some(parent.as_str()), Some(profile)),
    }
}

fn value_of(observed: &Observed) -> Option<f64> {
    observed.as_ref().ok().map(|reading| reading.amount.value())
}

/// RFC 3339 in UTC, to the millisecond.
fn civil(at: Timestamp) -> String {
    let millis = i64::try_from(at.unix_nanos() / 1_000_000).unwrap_or(i64::MAX);
    CivilTime::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

/// RFC 4180.
fn csv_line(fields: impl IntoIterator<Item = String>) -> String {
    let quoted = fields.into_iter().map(|field| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
