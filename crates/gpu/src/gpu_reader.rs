use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Absent, Amount, Quality, Quantity, Reading, Timestamp};

use crate::duty_cycle::{Duty, DutyCycle};
use crate::gpm_reader::GpmReader;
use crate::nvml::{
    Clock, FieldBatch, GpmMetrics, Handle, NvmlError, ProcessBuffers, Reach, SampleBuffer, Session, field,
};
use crate::partition_reader::PartitionReader;
use crate::processes::{self, ProcessReader};
use crate::sheet::{Sheet, ratio_of_percent};
use crate::throttle::throttle_reasons;
use crate::traffic::{NvlinkCounters, PcieCounters};
use crate::{Device, DeviceId, DeviceKind};

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

/// How far back NVML's utilisation rates look, at most: their period is 1/6 s to 1 s by product.
const RATES_WINDOW: Duration = Duration::from_secs(1);

/// How busy the device was since the last tick: mean utilisation, and the part of the time in which
/// it was above the threshold.
struct Activity {
    utilization: f64,
    busy: f64,
    window: Duration,
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

    /// Utilisation, duty cycle and what GPM knows of the SMs and the memory's bandwidth.
    fn read_activity(&mut self, sheet: &mut Sheet, tick: &mut Tick<'_>, at: Timestamp) {
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

    /// All that is counted: one call for most, the single calls for what the driver has no field for.
    fn read_counters(&mut self, sheet: &mut Sheet, session: &Session, clock: &rheostat_reading::Clock) {
        let gpu = self.handle;
        let batch = &mut self.batch;
        batch.clear();
        for id in [
            field::ENERGY,
            field::ECC_CORRECTED,
            field::ECC_UNCORRECTED,
            field::PCIE_REPLAYS,
        ] {
            batch.ask(id, 0);
        }
        PcieCounters::ask(batch);
        self.nvlink.ask(batch);
        let whole = session.read_fields(gpu, batch);
        let at = clock.now();
        let field = |id, scope| whole.and_then(|()| batch.get(id, scope));
        let counter = |id, call: &dyn Fn() -> Result<u64, NvmlError>| match field(id, 0) {
            Ok(number) => number.unsigned().ok_or(NvmlError::ARGUMENT_VERSION_MISMATCH),
            Err(error) if error.is_unsupported() || error == NvmlError::INVALID_ARGUMENT => call(),
            Err(error) => Err(error),
        };
        let joules =
            counter(field::ENERGY, &|| session.energy(gpu)).map(|millijoules| millijoules as f64 / 1000.0);
        sheet.measured(Quantity::Energy, joules, at, Duration::ZERO);
        for (quantity, count) in [
            (
                Quantity::EccCorrected,
                counter(field::ECC_CORRECTED, &|| session.ecc_errors(gpu, true)),
            ),
            (
                Quantity::EccUncorrected,
                counter(field::ECC_UNCORRECTED, &|| session.ecc_errors(gpu, false)),
            ),
            (
                Quantity::PcieReplays,
                counter(field::PCIE_REPLAYS, &|| session.pcie_replays(gpu).map(u64::from)),
            ),
        ] {
            sheet.measured(quantity, count.map(|count| count as f64), at, Duration::ZERO);
        }
        let gpm = &self.gpm[0];
        let pcie = self.pcie.read(field, at);
        let of_gpm = (gpm.get(Quantity::PcieTx), gpm.get(Quantity::PcieRx));
        // What only the slow lane can tell is put in its place by the fast lane.
        self.wants_slow_pcie = pcie.is_none() && !matches!(of_gpm, (Ok(_) | Err(Absent::NotYet), _));
        let (tx, rx) = pcie.unwrap_or(if self.wants_slow_pcie {
            (Err(Absent::NotYet), Err(Absent::NotYet))
        } else {
            of_gpm
        });
        sheet.set(Quantity::PcieTx, tx);
        sheet.set(Quantity::PcieRx, rx);
        let nvlink = self.nvlink.read(field, at);
        let (tx, rx) = nvlink.unwrap_or_else(|| (gpm.get(Quantity::NvlinkTx), gpm.get(Quantity::NvlinkRx)));
        sheet.set(Quantity::NvlinkTx, tx);
        sheet.set(Quantity::NvlinkRx, rx);
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
        Duty::Known { busy, observed } => {
            sheet
                .readings
                .put(Quantity::DutyCycle, busy, at, observed, Quality::Derived);
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
