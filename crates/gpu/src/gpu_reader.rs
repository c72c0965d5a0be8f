mod activity;
mod counters;

use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Absent, Quantity, Timestamp};

use crate::duty_cycle::DutyCycle;
use crate::gpm_reader::GpmReader;
use crate::nvml::{
    Clock, FieldBatch, GpmMetrics, Handle, NvmlError, ProcessBuffers, Reach, SampleBuffer, Session,
};
use crate::partition_reader::PartitionReader;
use crate::processes::{self, ProcessReader};
use crate::sheet::Sheet;
use crate::throttle::throttle_reasons;
use crate::traffic::{NvlinkCounters, PcieCounters};
use crate::{Device, DeviceId, DeviceKind};

pub(crate) use activity::read_duty;

/// Everything that is kept of one GPU from tick to tick.
pub(crate) struct GpuReader {
    pub(crate) id: DeviceId,
    pub(crate) handle: Handle,
    pub(crate) index: u32,
    minor: Option<u32>,
    model: String,
    pci_bus_id: String,
    partitioned: bool,
    partitions: Vec<PartitionReader>,
    /// GPM of the GPU itself first, then of each GPU instance that has a partition.
    gpm: Vec<GpmReader>,
    batch: FieldBatch,
    pcie: PcieCounters,
    nvlink: NvlinkCounters,
    processes: ProcessReader,
    duty: DutyCycle,
    /// Time of the newest utilisation sample seen, in the driver's microseconds.
    newest_sample: u64,
    last_tick: Option<Timestamp>,
    /// Why the GPU could not be read at the last tick.
    fault: Option<NvmlError>,
    /// Whether PCIe traffic can only be had from the call that blocks.
    pub(crate) wants_slow_pcie: bool,
}

/// What a tick brings along: settings and room that all devices share.
pub(crate) struct Tick<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) clock: &'a rheostat_reading::Clock,
    pub(crate) busy_threshold: f64,
    pub(crate) duty_window: Duration,
    pub(crate) gpm_gap: Duration,
    pub(crate) activity_hold: Duration,
    pub(crate) samples: &'a mut SampleBuffer,
    pub(crate) process_buffers: &'a mut ProcessBuffers,
    pub(crate) gpm_metrics: &'a mut GpmMetrics,
}

impl GpuReader {
    /// A reader for the GPU behind `handle`, told apart by `id`.
    pub(crate) fn new(id: DeviceId, handle: Handle, index: u32, tick: &Tick<'_>) -> Self {
        let session = tick.session;
        let now = tick.clock.now();
        Self {
            id,
            handle,
            index,
            minor: session.minor(handle).ok(),
            model: session.name(handle).unwrap_or_default(),
            pci_bus_id: session.pci_bus_id(handle).unwrap_or_default(),
            partitioned: false,
            partitions: Vec::new(),
            gpm: vec![GpmReader::new(session, handle, None, now)],
            batch: FieldBatch::default(),
            pcie: PcieCounters::default(),
            nvlink: NvlinkCounters::new(),
            processes: ProcessReader::default(),
            duty: DutyCycle::new(tick.duty_window),
            newest_sample: 0,
            last_tick: None,
            fault: None,
            wants_slow_pcie: false,
        }
    }

    /// Reads the GPU and its partitions and appends them to `devices`.
    ///
    /// # Errors
    ///
    /// What broke the driver for all devices. A fault of this GPU alone is in the device.
    pub(crate) fn read(&mut self, tick: &mut Tick<'_>, devices: &mut Vec<Device>) -> Result<(), NvmlError> {
        let start = devices.len();
        let outcome = self
            .revive(tick.session)
            .and_then(|()| self.read_all(tick, devices));
        let fault = match outcome {
            Ok(()) => None,
            Err(error) if error.reach() == Reach::Driver => return Err(error),
            Err(error) => Some(error),
        };
        if fault != self.fault {
            match fault {
                Some(error) => tracing::warn!(device = %self.id, %error, "the GPU cannot be read"),
                None => tracing::info!(device = %self.id, "the GPU can be read again"),
            }
            self.fault = fault;
        }
        if let Some(error) = fault {
            devices.truncate(start);
            self.push_faulty(error, devices);
        }
        self.last_tick = Some(tick.clock.now());
        Ok(())
    }

    /// Finds out what partitions there are; what is known of those that stay is kept.
    pub(crate) fn enumerate_partitions(&mut self, tick: &Tick<'_>) -> Result<(), NvmlError> {
        let session = tick.session;
        self.partitioned = session.mig_enabled(self.handle)?;
        let mut old = std::mem::take(&mut self.partitions);
        let slots = if self.partitioned {
            session.mig_slots(self.handle)?
        } else {
            0
        };
        for slot in 0..slots {
            // An instance that is destroyed just now is an empty slot.
            let Some(handle) = session.mig_device(self.handle, slot).or_else(gone)? else {
                continue;
            };
            let Some(id) = session.uuid(handle).map(Some).or_else(gone)? else {
                continue;
            };
            let id = DeviceId::new(&id);
            let Some(parts) = session.mig_parts(self.handle, handle).map(Some).or_else(gone)? else {
                continue;
            };
            match old
                .iter()
                .position(|known| known.id == id && known.is_made_of(&parts))
            {
                Some(place) => {
                    let mut known = old.swap_remove(place);
                    known.moved(handle, slot);
                    self.partitions.push(known);
                }
                None => {
                    // Samples of the instance that had this number before say nothing of this one.
                    self.gpm
                        .retain(|gpm| gpm.gpu_instance() != Some(parts.gpu_instance));
                    self.partitions
                        .push(PartitionReader::new(id, self.handle, handle, slot, parts, tick));
                }
            }
        }
        self.gpm.retain(|gpm| {
            gpm.gpu_instance().is_none_or(|id| {
                self.partitions
                    .iter()
                    .any(|partition| partition.gpu_instance == id)
            })
        });
        for partition in &self.partitions {
            let instance = Some(partition.gpu_instance);
            if !self.gpm.iter().any(|gpm| gpm.gpu_instance() == instance) {
                self.gpm
                    .push(GpmReader::new(session, self.handle, instance, tick.clock.now()));
            }
        }
        Ok(())
    }

    /// Points the reader at the GPU after an enumeration.
    pub(crate) const fn moved(&mut self, handle: Handle, index: u32) {
        self.handle = handle;
        self.index = index;
    }

    /// Fetches the handle again after a fault: a GPU that was reset comes back behind a new one.
    fn revive(&mut self, session: &Session) -> Result<(), NvmlError> {
        if self.fault.is_some() {
            let handle = session.device(self.index)?;
            if session.uuid(handle)? != self.id.as_str() {
                return Err(NvmlError::NOT_FOUND);
            }
            self.handle = handle;
            self.gpm.iter_mut().for_each(GpmReader::retry_now);
        }
        Ok(())
    }

    fn read_all(&mut self, tick: &mut Tick<'_>, devices: &mut Vec<Device>) -> Result<(), NvmlError> {
        let session = Arc::clone(tick.session);
        let gpu = self.handle;
        let mut sheet = Sheet::new();
        let at = tick.clock.now();
        // The first call tells whether the GPU is there: a lost one would let every call time out.
        let memory = session.memory(gpu);
        if let Err(error) = memory
            && error.reach() != Reach::Reading
        {
            return Err(error);
        }
        let total_memory = memory.ok().map(|memory| memory.total);
        crate::memory::read(&mut sheet, memory, at);
        for gpm in &mut self.gpm {
            gpm.read(&session, gpu, at, tick.gpm_gap, tick.gpm_metrics);
        }
        self.read_activity(&mut sheet, tick, at);
        self.read_counters(&mut sheet, &session, tick.clock);
        let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
        sheet.measured(Quantity::Power, session.power(gpu).map(watts), at, Duration::ZERO);
        sheet.measured(
            Quantity::PowerLimit,
            session.power_limit(gpu).map(watts),
            at,
            Duration::ZERO,
        );
        sheet.measured(
            Quantity::Temperature,
            session.temperature(gpu).map(f64::from),
            at,
            Duration::ZERO,
        );
        let hertz = |megahertz: u32| f64::from(megahertz) * 1e6;
        sheet.measured(
            Quantity::SmClock,
            session.clock(gpu, Clock::Sm).map(hertz),
            at,
            Duration::ZERO,
        );
        sheet.measured(
            Quantity::MemoryClock,
            session.clock(gpu, Clock::Memory).map(hertz),
            at,
            Duration::ZERO,
        );
        for (quantity, result) in [
            (Quantity::EncoderUtilization, session.encoder_utilization(gpu)),
            (Quantity::DecoderUtilization, session.decoder_utilization(gpu)),
        ] {
            let window = result.map_or(Duration::ZERO, |(_, micros)| Duration::from_micros(micros.into()));
            sheet.percent(quantity, result.map(|(percent, _)| percent), at, window);
        }
        let throttled = sheet.seen(session.throttle_reasons(gpu));
        let activity = match self.partitioned {
            true => processes::Activity::Untold,
            false => processes::Activity::Told {
                hold: tick.activity_hold,
            },
        };
        let processes =
            sheet.seen(
                self.processes
                    .read(&session, gpu, total_memory, activity, at, tick.process_buffers),
            );
        if let Some(error) = sheet.trouble {
            return Err(error);
        }
        let mut device = self.identity();
        device.readings = sheet.readings;
        (device.throttle_reasons, device.throttle_reasons_absent) = split(throttled.map(throttle_reasons));
        (device.processes, device.processes_absent) = split(processes);
        devices.push(device);
        self.read_partitions(tick, devices)
    }

    fn read_partitions(&mut self, tick: &mut Tick<'_>, devices: &mut Vec<Device>) -> Result<(), NvmlError> {
        let session = Arc::clone(tick.session);
        if !self
            .partitions
            .iter()
            .all(|partition| partition.still_stands(&session))
        {
            self.enumerate_partitions(tick)?;
            for gpm in self.gpm.iter_mut().skip(1) {
                gpm.read(
                    &session,
                    self.handle,
                    tick.clock.now(),
                    tick.gpm_gap,
                    tick.gpm_metrics,
                );
            }
        }
        for partition in &mut self.partitions {
            let instance = Some(partition.gpu_instance);
            let gpm = self.gpm.iter().find(|gpm| gpm.gpu_instance() == instance);
            let identity = partition.identity(&self.id, self.minor, &self.model, &self.pci_bus_id);
            devices.push(partition.read(identity, gpm, tick, self.last_tick)?);
        }
        Ok(())
    }

    fn identity(&self) -> Device {
        Device {
            index: self.index,
            minor: self.minor,
            model: self.model.clone(),
            pci_bus_id: self.pci_bus_id.clone(),
            ..Device::unread(
                self.id.clone(),
                DeviceKind::Gpu {
                    partitioned: self.partitioned,
                },
            )
        }
    }

    /// The GPU and its partitions without readings, for the reason `error`.
    pub(crate) fn push_faulty(&self, error: NvmlError, devices: &mut Vec<Device>) {
        let partitions = self
            .partitions
            .iter()
            .map(|part| part.identity(&self.id, self.minor, &self.model, &self.pci_bus_id));
        for device in std::iter::once(self.identity()).chain(partitions) {
            devices.push(faulty(device, &error.to_string(), &error.into()));
        }
    }
}

/// `device` as it stands while it cannot be read.
pub(crate) fn faulty(device: Device, fault: &str, reason: &Absent) -> Device {
    Device {
        fault: Some(fault.to_owned()),
        readings: Sheet::all_absent(reason),
        throttle_reasons: Vec::new(),
        throttle_reasons_absent: Some(reason.clone()),
        processes: Vec::new(),
        processes_absent: Some(reason.clone()),
        ..device
    }
}

/// What was read, or nothing and why.
pub(crate) fn split<T: Default>(result: Result<T, Absent>) -> (T, Option<Absent>) {
    match result {
        Ok(value) => (value, None),
        Err(reason) => (T::default(), Some(reason)),
    }
}

/// An error that says that there is nothing behind a handle any more, as nothing.
fn gone<T>(error: NvmlError) -> Result<Option<T>, NvmlError> {
    if error.reach() == Reach::Handle {
        Ok(None)
    } else {
        Err(error)
    }
}
