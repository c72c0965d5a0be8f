use rheostat_gpu::{Device, DeviceKind, DriverState};
use rheostat_promtext::{Encoder, Kind};
use rheostat_reading::Quantity;

use super::own::{number, seconds};
use super::{Labels, family, reason, tally, unit_name};
use crate::NodeSnapshot;
use crate::attribution::{Claim, Holding, PodRef, Sharing};

/// Devices, their readings and their holders, under our names.
///
/// A device's series name the pod that has it for itself. A shared device's name none: the parts
/// of its pods are series of their own (`rheostat_pod_gpu_…`), so that a sum over either makes
/// sense. While the kubelet cannot be asked, no series names a pod.
pub(super) fn write(page: &mut Encoder, snapshot: &NodeSnapshot) {
    let rows: Vec<Row<'_>> = snapshot
        .gpus
        .devices
        .iter()
        .map(|device| Row::new(device, snapshot))
        .collect();
    identity(page, snapshot, &rows);
    for &quantity in Quantity::ALL {
        let kind = if quantity.is_counter() {
            Kind::Counter
        } else {
            Kind::Gauge
        };
        let name = metric_name("rheostat_gpu", quantity);
        let samples = rows.iter().filter_map(|row| {
            let value = row.device.readings.value(quantity)?;
            Some((row.labels(), value))
        });
        family(
            page,
            &name,
            kind,
            quantity.unit().suffix(),
            help(quantity),
            samples,
        );
    }
    faults(page, &rows);
    claims(page, snapshot, &rows);
    shares(page, snapshot, &rows);
}

/// A device with what names it on the page.
struct Row<'a> {
    device: &'a Device,
    gpu_uuid: &'a str,
    partition: &'a str,
    index: String,
    attribution: &'static str,
    holder: Option<&'a Claim>,
}

impl<'a> Row<'a> {
    fn new(device: &'a Device, snapshot: &'a NodeSnapshot) -> Self {
        let (gpu_uuid, partition, index) = match &device.kind {
            DeviceKind::Gpu { .. } => (device.id.as_str(), "", device.index.to_string()),
            DeviceKind::Partition { parent, .. } => {
                let gpu = snapshot.gpus.devices.iter().find(|gpu| gpu.id == *parent);
                let gpu = gpu.map_or_else(String::new, |gpu| gpu.index.to_string());
                (
                    parent.as_str(),
                    device.id.as_str(),
                    format!("{gpu}:{}", device.index),
                )
            }
        };
        let holding = snapshot
            .attribution_source
            .is_current()
            .then(|| snapshot.attribution.holding(device, &snapshot.gpus));
        let (attribution, holder) = match holding {
            Some(Holding::Exclusive(claim)) => ("exclusive", Some(claim)),
            Some(Holding::Shared) => ("shared", None),
            Some(Holding::Unallocated) => ("unallocated", None),
            None => ("unknown", None),
        };
        Self {
            device,
            gpu_uuid,
            partition,
            index,
            attribution,
            holder,
        }
    }

    /// The labels that say which device it is.
    fn device_labels(&self) -> Labels<'_> {
        vec![
            ("gpu_uuid", self.gpu_uuid),
            ("partition", self.partition),
            ("index", &self.index),
        ]
    }

    /// The same, and who holds it.
    fn labels(&self) -> Labels<'_> {
        let mut labels = self.device_labels();
        labels.push(("attribution", self.attribution));
        if let Some(claim) = self.holder {
            labels.extend(pod_labels(&claim.pod));
            labels.push(("container", &claim.container));
        }
        labels
    }
}

fn pod_labels(pod: &PodRef) -> [(&'static str, &str); 2] {
    [("namespace", &pod.namespace), ("pod", &pod.name)]
}

fn identity(page: &mut Encoder, snapshot: &NodeSnapshot, rows: &[Row<'_>]) {
    let (driver, cuda) = match &snapshot.gpus.driver {
        DriverState::Ready {
            driver_version,
            cuda_version,
        } => (driver_version.as_str(), cuda_version.as_str()),
        DriverState::Unavailable { .. } => ("", ""),
    };
    let infos = rows.iter().map(|row| {
        let profile = match &row.device.kind {
            DeviceKind::Gpu { .. } => "",
            DeviceKind::Partition { profile, .. } => profile,
        };
        let mut labels = row.device_labels();
        labels.extend([
            ("node", &*snapshot.node),
            ("model", &row.device.model),
            ("profile", profile),
            ("pci_bus_id", &row.device.pci_bus_id),
            ("driver_version", driver),
            ("cuda_version", cuda),
        ]);
        (labels, 1.0)
    });
    family(
        page,
        "rheostat_gpu_info",
        Kind::Info,
        "",
        "The devices of the node.",
        infos,
    );
    let up = rows.iter().map(|row| {
        (
            row.device_labels(),
            if row.device.fault.is_none() { 1.0 } else { 0.0 },
        )
    });
    family(
        page,
        "rheostat_gpu_up",
        Kind::Gauge,
        "",
        "Whether the device can be read as a whole.",
        up,
    );
}

fn faults(page: &mut Encoder, rows: &[Row<'_>]) {
    let absences = rows.iter().flat_map(|row| {
        row.device
            .readings
            .iter()
            .filter_map(|(quantity, observed)| Some((quantity, reason(observed.err()?))))
    });
    let absent = tally(absences);
    family(
        page,
        "rheostat_gpu_readings_absent",
        Kind::Gauge,
        "",
        "Devices that lack a reading, by quantity and reason. An absent reading has no series of its own.",
        absent.iter().map(|((quantity, reason), count)| {
            (vec![("quantity", quantity.name()), ("reason", reason)], *count)
        }),
    );
    let throttled = rows.iter().flat_map(|row| {
        row.device.throttle_reasons.iter().map(|reason| {
            let mut labels = row.device_labels();
            labels.push(("reason", reason));
            (labels, 1.0)
        })
    });
    family(
        page,
        "rheostat_gpu_throttled",
        Kind::Gauge,
        "",
        "1 for each reason for lowered clocks in force.",
        throttled,
    );
    let xid = |row: &Row<'_>| row.device.last_xid;
    family(
        page,
        "rheostat_gpu_last_xid_code",
        Kind::Gauge,
        "",
        "Code of the newest critical XID event since the agent started.",
        rows.iter()
            .filter_map(|row| Some((row.device_labels(), number(xid(row)?.0)))),
    );
    family(
        page,
        "rheostat_gpu_last_xid_timestamp_seconds",
        Kind::Gauge,
        "seconds",
        "When that XID event was seen.",
        rows.iter()
            .filter_map(|row| Some((row.device_labels(), seconds(xid(row)?.1.unix_nanos())))),
    );
}

fn claims(page: &mut Encoder, snapshot: &NodeSnapshot, rows: &[Row<'_>]) {
    if !snapshot.attribution_source.is_current() {
        return;
    }
    let claims = &snapshot.attribution.claims;
    let infos = claims.iter().filter_map(|claim| {
        let row = row_of(claim, rows)?;
        let sharing = match claim.sharing {
            Sharing::Exclusive => "exclusive",
            Sharing::Shared => "shared",
        };
        let mut labels = row.device_labels();
        labels.extend(pod_labels(&claim.pod));
        labels.extend([
            ("container", claim.container.as_str()),
            ("resource", &claim.resource),
            ("kubelet_id", &claim.kubelet_id),
            ("sharing", sharing),
        ]);
        Some((labels, 1.0))
    });
    family(
        page,
        "rheostat_gpu_allocation_info",
        Kind::Info,
        "",
        "Each container's hold on each device.",
        infos,
    );
    let unresolved = tally(
        claims
            .iter()
            .filter(|claim| claim.device.is_err())
            .map(|claim| claim.resource.as_str()),
    );
    family(
        page,
        "rheostat_kubelet_ids_unresolved",
        Kind::Gauge,
        "",
        "Device ids held by containers that name no device of this node, by resource.",
        unresolved
            .iter()
            .map(|(resource, count)| (vec![("resource", *resource)], *count)),
    );
    family(
        page,
        "rheostat_kubelet_ids_contested",
        Kind::Gauge,
        "",
        "Device ids that the kubelet gives to several pods: all but one have terminated (kubelets before 1.34).",
        [(vec![], number(snapshot.attribution.contested_ids() as u64))],
    );
    let offered = snapshot
        .attribution
        .offered
        .iter()
        .flatten()
        .filter_map(|(device, count)| {
            let row = rows.iter().find(|row| row.device.id == *device)?;
            Some((row.device_labels(), number(*count as u64)))
        });
    family(
        page,
        "rheostat_gpu_allocatable_ids",
        Kind::Gauge,
        "",
        "Ids that device plugins offer for the device: its replicas, 1 where it is not shared.",
        offered,
    );
}

fn shares(page: &mut Encoder, snapshot: &NodeSnapshot, rows: &[Row<'_>]) {
    if !snapshot.attribution_source.is_current() {
        return;
    }
    let parts: Vec<_> = snapshot
        .attribution
        .claims
        .iter()
        .filter_map(|claim| Some((row_of(claim, rows)?, &claim.pod, claim.share.as_ref()?)))
        .collect();
    for quantity in PARTS {
        let name = metric_name("rheostat_pod_gpu", quantity);
        let samples = parts.iter().filter_map(|(row, pod, share)| {
            let value = share.value(quantity)?;
            let mut labels = row.device_labels();
            labels.extend(pod_labels(pod));
            Some((labels, value))
        });
        let help = "A pod's estimated part of a shared device's reading of the same name.";
        family(page, &name, Kind::Gauge, quantity.unit().suffix(), help, samples);
    }
    let absences = parts.iter().flat_map(|(_, _, share)| {
        PARTS
            .into_iter()
            .filter_map(|quantity| Some((quantity, reason(share.get(quantity).err()?))))
    });
    let absent = tally(absences);
    family(
        page,
        "rheostat_pod_gpu_readings_absent",
        Kind::Gauge,
        "",
        "Pods whose part of a shared device's reading is not known, by quantity and reason.",
        absent.iter().map(|((quantity, reason), count)| {
            (vec![("quantity", quantity.name()), ("reason", *reason)], *count)
        }),
    );
}

/// The quantities of which a pod can have a part.
const PARTS: [Quantity; 7] = [
    Quantity::Utilization,
    Quantity::SmActive,
    Quantity::TensorActive,
    Quantity::MemoryUsedPercent,
    Quantity::MemoryUsedBytes,
    Quantity::MemoryBandwidth,
    Quantity::Power,
];

fn row_of<'a, 'b>(claim: &Claim, rows: &'b [Row<'a>]) -> Option<&'b Row<'a>> {
    let device = claim.device.as_ref().ok()?;
    rows.iter().find(|row| row.device.id == *device)
}

fn metric_name(prefix: &str, quantity: Quantity) -> String {
    let total = if quantity.is_counter() { "_total" } else { "" };
    format!("{prefix}_{}{total}", unit_name(quantity))
}

fn help(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Utilization => "Part of the time in which at least one kernel ran.",
        Quantity::SmActive => "Part of the streaming multiprocessors' time with a warp resident.",
        Quantity::SmOccupancy => "Resident warps as a part of the possible ones.",
        Quantity::TensorActive => "Part of the cycles in which a tensor pipe was active.",
        Quantity::DutyCycle => "Part of a longer sliding window in which the device was busy.",
        Quantity::MemoryUsedPercent => "Used memory as a part of the total.",
        Quantity::MemoryUsedBytes => "Memory allocated on the device.",
        Quantity::MemoryFreeBytes => "Memory free for allocation.",
        Quantity::MemoryReservedBytes => "Memory that the driver keeps for itself.",
        Quantity::MemoryTotalBytes => "The device's whole memory.",
        Quantity::MemoryBandwidth => {
            "Part of the memory bandwidth, or of the time of memory traffic, in use."
        }
        Quantity::Power => "Power drawn.",
        Quantity::PowerLimit => "The power limit in force.",
        Quantity::Energy => "Energy used since the driver was loaded.",
        Quantity::Temperature => "Temperature of the GPU.",
        Quantity::SmClock => "Clock of the streaming multiprocessors.",
        Quantity::MemoryClock => "Clock of the memory.",
        Quantity::PcieTx => "Sent over PCIe by the device.",
        Quantity::PcieRx => "Received over PCIe by the device.",
        Quantity::NvlinkTx => "Sent over all NVLinks.",
        Quantity::NvlinkRx => "Received over all NVLinks.",
        Quantity::EncoderUtilization => "Part of the time in which the video encoder was busy.",
        Quantity::DecoderUtilization => "Part of the time in which the video decoder was busy.",
        Quantity::EccCorrected => "Memory errors corrected since the driver was loaded.",
        Quantity::EccUncorrected => "Memory errors not corrected since the driver was loaded.",
        Quantity::PcieReplays => "PCIe replays.",
    }
}
