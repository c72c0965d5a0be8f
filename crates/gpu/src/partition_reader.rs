use rheostat_reading::{Absent, Quantity, Timestamp};

use crate::duty_cycle::DutyCycle;
use crate::gpm_reader::GpmReader;
use crate::gpu_reader::{Tick, faulty, read_duty, split};
use crate::nvml::{Handle, Mig, NvmlError, Reach, Session};
use crate::processes::{Activity, ProcessReader};
use crate::sheet::{Sheet, ratio_of_percent};
use crate::{Device, DeviceId, DeviceKind};

/// Everything that is kept of one partition (MIG device) from tick to tick.
pub(crate) struct PartitionReader {
    pub(crate) id: DeviceId,
    pub(crate) gpu_instance: u32,
    handle: Handle,
    index: u32,
    profile: String,
    parts: Mig,
    processes: ProcessReader,
    duty: DutyCycle,
}

impl PartitionReader {
    /// A reader for the partition of `gpu` behind `handle`.
    pub(crate) fn new(
        id: DeviceId,
        gpu: Handle,
        handle: Handle,
        index: u32,
        parts: Mig,
        tick: &Tick<'_>,
    ) -> Self {
        let session = tick.session;
        let total = session.memory(gpu).map_or(0, |memory| memory.total);
        let profile = session
            .name(handle)
            .ok()
            .and_then(|name| profile_in_name(&name))
            .or_else(|| parts.slices.and_then(|slices| profile_of_slices(slices, total)))
            .unwrap_or_default();
        Self {
            id,
            gpu_instance: parts.gpu_instance,
            handle,
            index,
            profile,
            parts,
            processes: ProcessReader::default(),
            duty: DutyCycle::new(tick.duty_window),
        }
    }

    /// Whether it is still the same piece of the GPU.
    pub(crate) fn is_made_of(&self, parts: &Mig) -> bool {
        self.parts.gpu_instance == parts.gpu_instance && self.parts.compute_instance == parts.compute_instance
    }

    pub(crate) const fn moved(&mut self, handle: Handle, index: u32) {
        self.handle = handle;
        self.index = index;
    }

    /// Whether the handle still names this partition: NVML gives handles of destroyed instances to
    /// new ones.
    pub(crate) fn still_stands(&self, session: &Session) -> bool {
        session
            .uuid(self.handle)
            .is_ok_and(|uuid| uuid == self.id.as_str())
    }

    /// The partition before anything is read of it.
    pub(crate) fn identity(
        &self,
        parent: &DeviceId,
        minor: Option<u32>,
        model: &str,
        pci_bus_id: &str,
    ) -> Device {
        let kind = DeviceKind::Partition {
            parent: parent.clone(),
            profile: self.profile.clone(),
            gpu_instance: self.parts.gpu_instance,
            compute_instance: self.parts.compute_instance,
            placement_start: self.parts.placement.map(|(_, start)| start),
            profile_id: self.parts.placement.map(|(profile, _)| profile),
        };
        Device {
            index: self.index,
            minor,
            model: model.to_owned(),
            pci_bus_id: pci_bus_id.to_owned(),
            ..Device::unread(self.id.clone(), kind)
        }
    }

    /// Reads the partition: its memory and processes, and what GPM knows of its GPU instance. NVML
    /// offers nothing else of a partition.
    ///
    /// # Errors
    ///
    /// What broke the GPU or the driver.
    pub(crate) fn read(
        &mut self,
        identity: Device,
        gpm: Option<&GpmReader>,
        tick: &mut Tick<'_>,
        last_tick: Option<Timestamp>,
    ) -> Result<Device, NvmlError> {
        let session = tick.session;
        let at = tick.clock.now();
        let mut sheet = Sheet::new();
        for &quantity in Quantity::ALL {
            sheet.absent(quantity, Absent::NotSupported);
        }
        let memory = session.memory(self.handle);
        if let Err(error) = memory
            && error.reach() == Reach::Handle
        {
            // Destroyed since the handles were looked at; the next tick enumerates anew.
            return Ok(faulty(identity, &error.to_string(), &error.into()));
        }
        let total = memory.ok().map(|memory| memory.total);
        crate::memory::read(&mut sheet, memory, at);
        let utilization = sheet
            .seen(session.utilization_rates(self.handle))
            .and_then(|(percent, _)| ratio_of_percent(percent.into()));
        for quantity in [
            Quantity::SmActive,
            Quantity::SmOccupancy,
            Quantity::TensorActive,
            Quantity::MemoryBandwidth,
        ] {
            sheet.set(
                quantity,
                gpm.map_or(Err(Absent::NotSupported), |gpm| gpm.get(quantity)),
            );
        }
        let active = sheet
            .readings
            .get(Quantity::SmActive)
            .map(|reading| reading.amount.value());
        let busy = utilization
            .clone()
            .or_else(|_| active.map_err(Clone::clone))
            .map(|ratio| if ratio >= tick.busy_threshold { 1.0 } else { 0.0 });
        read_duty(&mut sheet, &mut self.duty, busy, last_tick, at);
        match utilization {
            Ok(ratio) => {
                sheet.measured(
                    Quantity::Utilization,
                    Ok(ratio),
                    at,
                    std::time::Duration::from_secs(1),
                );
            }
            Err(reason) => sheet.absent(Quantity::Utilization, reason),
        }
        // NVML does not tell the activity of a process on MIG (`nvmlDeviceGetProcessUtilization`).
        let processes = sheet.seen(self.processes.read(
            session,
            self.handle,
            total,
            Activity::Untold,
            at,
            tick.process_buffers,
        ));
        if let Some(error) = sheet.trouble {
            return Err(error);
        }
        let (processes, processes_absent) = split(processes);
        let throttle_reasons_absent = Some(Absent::NotSupported);
        Ok(Device {
            readings: sheet.readings,
            processes,
            processes_absent,
            throttle_reasons_absent,
            ..identity
        })
    }
}

/// `1g.10gb` out of `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
fn profile_in_name(name: &str) -> Option<String> {
    name.rsplit_once("MIG ")
        .map(|(_, profile)| profile.trim().to_owned())
        .filter(|profile| !profile.is_empty())
}

/// The profile by its compute slices, GPU slices and MiB, of a GPU with `total` bytes. NVIDIA's tools
/// name the memory in GB of the whole GPU, in eighths of it (`go-nvlib`, `mig_profile.go`).
fn profile_of_slices((compute, gpu, mib): (u32, u32, u64), total: u64) -> Option<String> {
    const MIB: f64 = 1024.0 * 1024.0;
    if total == 0 || gpu == 0 {
        return None;
    }
    let eighths = (mib as f64 * MIB / total as f64 * 8.0).ceil() / 8.0;
    let whole = (total as f64 / (1024.0 * MIB)).ceil();
    let gigabytes = (eighths * whole).round();
    Some(if compute == gpu {
        format!("{gpu}g.{gigabytes}gb")
    } else {
        format!("{compute}c.{gpu}g.{gigabytes}gb")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_named_as_nvidia_does() {
        assert_eq!(
            profile_in_name("NVIDIA H100 80GB HBM3 MIG 1g.10gb").as_deref(),
            Some("1g.10gb")
        );
        assert_eq!(
            profile_in_name("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb").as_deref(),
            Some("1c.3g.20gb")
        );
        assert_eq!(profile_in_name("NVIDIA H100 80GB HBM3"), None);
        let a100 = 40_536 * 1024 * 1024;
        assert_eq!(profile_of_slices((1, 1, 4864), a100).as_deref(), Some("1g.5gb"));
        assert_eq!(
            profile_of_slices((3, 3, 19_968), a100).as_deref(),
            Some("3g.20gb")
        );
        assert_eq!(
            profile_of_slices((1, 3, 19_968), a100).as_deref(),
            Some("1c.3g.20gb")
        );
        assert_eq!(profile_of_slices((1, 1, 1), 0), None);
    }
}
