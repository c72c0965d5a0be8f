use std::collections::BTreeMap;

use rheostat_gpu::{Device, GpuProcess, GpuSnapshot};
use rheostat_reading::{Absent, Amount, Observed, Quality, Quantity, Reading, Readings};

use super::{Claim, Owner, PodRef, Sharing};

/// Gives each claim on a shared device its pod's part of the device's readings.
///
/// A part is [`Quality::Estimated`] at best:
/// - what the SMs do (utilisation, SM and tensor activity, memory bandwidth, power) is split by the
///   processes' SM time: `device × pod's processes / all processes`;
/// - memory is the sum of what the pod's processes hold;
/// - temperature and clocks are the same for all, and copied;
/// - for the rest there is no telling: [`Absent::Unattributable`].
///
/// So is the part of a pod where the processes cannot be told apart: none of them could be traced
/// to a pod that holds the device (the host's process ids are not visible), or a busy one belongs
/// to none of them (it may work on behalf of one, as an MPS server does). A wrong zero would scale
/// the pod's workload down, so doubt makes it absent.
pub fn split_shared_devices(claims: &mut [Claim], gpus: &GpuSnapshot, owners: &BTreeMap<u32, Owner>) {
    for device in &gpus.devices {
        let holds =
            |claim: &Claim| claim.sharing == Sharing::Shared && claim.device.as_ref() == Ok(&device.id);
        let holders: Vec<PodRef> = claims
            .iter()
            .filter(|claim| holds(claim))
            .map(|claim| claim.pod.clone())
            .collect();
        if holders.is_empty() {
            continue;
        }
        let split = Split {
            device,
            owners,
            holders: &holders,
        };
        for claim in claims.iter_mut().filter(|claim| holds(claim)) {
            claim.share = Some(split.part_of(&claim.pod));
        }
    }
}

struct Split<'a> {
    device: &'a Device,
    owners: &'a BTreeMap<u32, Owner>,
    holders: &'a [PodRef],
}

impl Split<'_> {
    fn part_of(&self, pod: &PodRef) -> Readings {
        let busy = self.busy_part(pod);
        let memory = self.memory_of(pod);
        let mut part = Readings::new();
        for (quantity, observed) in self.device.readings.iter() {
            let observed = match (observed, quantity) {
                (Err(reason), _) => Err(reason.clone()),
                (Ok(reading), Quantity::Temperature | Quantity::SmClock | Quantity::MemoryClock) => {
                    Ok(*reading)
                }
                (
                    Ok(reading),
                    Quantity::Utilization
                    | Quantity::SmActive
                    | Quantity::TensorActive
                    | Quantity::MemoryBandwidth
                    | Quantity::Power,
                ) => self.scaled(reading, busy),
                (Ok(reading), Quantity::MemoryUsedBytes) => estimate(reading, memory, quantity),
                (Ok(reading), Quantity::MemoryUsedPercent) => {
                    let total = self
                        .device
                        .readings
                        .value(Quantity::MemoryTotalBytes)
                        .filter(|total| *total > 0.0);
                    estimate(
                        reading,
                        memory.zip(total).map(|(used, total)| used / total),
                        quantity,
                    )
                }
                (Ok(_), _) => Err(Absent::Unattributable),
            };
            part.set(quantity, observed);
        }
        part
    }

    /// The device's reading times the pod's part of the SM time.
    fn scaled(&self, reading: &Reading, part: BusyPart) -> Observed {
        let value = match part {
            BusyPart::Of(part) => reading.amount.value() * part,
            // Nobody ran, and the device agrees.
            BusyPart::NobodyRan if reading.amount.value() <= 0.0 => 0.0,
            BusyPart::NobodyRan | BusyPart::Unknown => return Err(Absent::Unattributable),
        };
        Amount::new(value, reading.amount.unit())
            .map(|amount| Reading {
                amount,
                quality: Quality::Estimated,
                ..*reading
            })
            .ok_or(Absent::Unattributable)
    }

    fn busy_part(&self, pod: &PodRef) -> BusyPart {
        if !self.processes_are_visible() {
            return BusyPart::Unknown;
        }
        let (mut own, mut all) = (0.0, 0.0);
        for process in &self.device.processes {
            let Ok(reading) = &process.sm_utilization else {
                return BusyPart::Unknown;
            };
            let busy = reading.amount.value();
            if busy <= 0.0 {
                continue;
            }
            match self.holder(process) {
                Some(holder) if holder == pod => own += busy,
                Some(_) => {}
                None => return BusyPart::Unknown,
            }
            all += busy;
        }
        if all > 0.0 {
            BusyPart::Of(own / all)
        } else {
            BusyPart::NobodyRan
        }
    }

    /// Bytes held by the pod's processes; `None` where some process may or may not be the pod's,
    /// or where the driver does not tell what one of them holds.
    fn memory_of(&self, pod: &PodRef) -> Option<f64> {
        if !self.processes_are_visible() {
            return None;
        }
        let mut bytes = 0;
        for process in &self.device.processes {
            match self.owners.get(&process.pid) {
                Some(Owner::Pod(owner)) if owner == pod => bytes += process.used_memory_bytes?,
                Some(Owner::Pod(_) | Owner::Host) => {}
                Some(Owner::Unknown(_)) | None => return None,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "exact to 8 PiB")]
        Some(bytes as f64)
    }

    /// Whether any process was traced to a holder. An empty process list proves nothing: the driver
    /// hides processes from those who may not see them.
    fn processes_are_visible(&self) -> bool {
        self.device.processes_absent.is_none()
            && self
                .device
                .processes
                .iter()
                .any(|process| self.holder(process).is_some())
    }

    /// The pod that holds the device and runs this process.
    fn holder(&self, process: &GpuProcess) -> Option<&PodRef> {
        match self.owners.get(&process.pid) {
            Some(Owner::Pod(pod)) if self.holders.contains(pod) => Some(pod),
            _ => None,
        }
    }
}

/// A pod's part of the time in which a device's processes ran.
#[derive(Clone, Copy)]
enum BusyPart {
    Of(f64),
    NobodyRan,
    Unknown,
}

fn estimate(device: &Reading, value: Option<f64>, quantity: Quantity) -> Observed {
    value
        .and_then(|value| Amount::new(value, quantity.unit()))
        .map(|amount| Reading {
            amount,
            quality: Quality::Estimated,
            ..*device
        })
        .ok_or(Absent::Unattributable)
}
