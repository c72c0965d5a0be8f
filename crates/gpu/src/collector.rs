use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Clock, Timestamp};

use crate::gpu_reader::{GpuReader, Tick};
use crate::nvml::{GpmMetrics, Handle, NvmlError, OpenError, ProcessBuffers, Reach, SampleBuffer, Session};
use crate::{Device, DeviceId, DriverState};

/// All devices of one NVML session and what is kept of them from tick to tick.
pub(crate) struct Collector {
    // Before `session`: what was allocated from NVML must be freed before it is shut down.
    gpus: Vec<GpuReader>,
    settings: Settings,
    clock: Clock,
    samples: SampleBuffer,
    process_buffers: ProcessBuffers,
    gpm_metrics: GpmMetrics,
    enumerated: Option<Timestamp>,
    /// GPUs whose handle could not be had, by index, so that each is logged once.
    unreadable: Vec<(u32, NvmlError)>,
    driver: DriverState,
    session: Arc<Session>,
}

/// How devices are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) busy_threshold: f64,
    pub(crate) duty_window: Duration,
    pub(crate) gpm_gap: Duration,
    /// How long the last samples of processes' activity stand for the present.
    pub(crate) activity_hold: Duration,
    /// How often devices are enumerated anew, besides when something tells that they changed.
    pub(crate) enumerate_period: Duration,
}

impl Collector {
    /// Finds and initialises NVML.
    pub(crate) fn open(library: Option<&Path>, settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let session = Session::open(library)?;
        let driver = DriverState::Ready {
            driver_version: session.driver_version().unwrap_or_default(),
            cuda_version: session.cuda_version().unwrap_or_default(),
        };
        Ok(Self {
            gpus: Vec::new(),
            settings,
            clock,
            samples: SampleBuffer::default(),
            process_buffers: ProcessBuffers::default(),
            gpm_metrics: GpmMetrics::new(),
            enumerated: None,
            unreadable: Vec::new(),
            driver,
            session,
        })
    }

    pub(crate) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) const fn driver(&self) -> &DriverState {
        &self.driver
    }

    /// The GPUs and whether only the slow lane can tell their PCIe traffic.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = (&DeviceId, Handle, bool)> {
        self.gpus
            .iter()
            .map(|gpu| (&gpu.id, gpu.handle, gpu.wants_slow_pcie))
    }

    /// Enumerates devices at the next tick.
    pub(crate) const fn enumerate_next(&mut self) {
        self.enumerated = None;
    }

    /// Reads every device.
    ///
    /// # Errors
    ///
    /// What broke the driver: the collector is then of no more use.
    pub(crate) fn tick(&mut self) -> Result<Vec<Device>, NvmlError> {
        let mut gpus = std::mem::take(&mut self.gpus);
        let now = self.clock.now();
        let due = self
            .enumerated
            .is_none_or(|last| now.since(last) >= self.settings.enumerate_period);
        let mut tick = Tick {
            session: &self.session,
            clock: &self.clock,
            busy_threshold: self.settings.busy_threshold,
            duty_window: self.settings.duty_window,
            gpm_gap: self.settings.gpm_gap,
            activity_hold: self.settings.activity_hold,
            samples: &mut self.samples,
            process_buffers: &mut self.process_buffers,
            gpm_metrics: &mut self.gpm_metrics,
        };
        if due {
            gpus = enumerate(gpus, &mut tick, &mut self.unreadable)?;
            self.enumerated = Some(now);
        }
        let mut devices = Vec::with_capacity(gpus.len());
        for gpu in &mut gpus {
            gpu.read(&mut tick, &mut devices)?;
        }
        self.gpus = gpus;
        Ok(devices)
    }
}

/// The GPUs that the driver lists now; what is known of those that stay is kept.
fn enumerate(
    mut old: Vec<GpuReader>,
    tick: &mut Tick<'_>,
    unreadable: &mut Vec<(u32, NvmlError)>,
) -> Result<Vec<GpuReader>, NvmlError> {
    let session = tick.session;
    let mut gpus = Vec::new();
    for index in 0..session.device_count()? {
        let found = session
            .device(index)
            .and_then(|handle| Ok((handle, session.uuid(handle)?)));
        match found {
            Ok((handle, uuid)) => {
                unreadable.retain(|(known, _)| *known != index);
                let id = DeviceId::new(&uuid);
                let mut gpu = match old.iter().position(|gpu| gpu.id == id) {
                    Some(place) => {
                        let mut known = old.swap_remove(place);
                        known.moved(handle, index);
                        known
                    }
                    None => GpuReader::new(id, handle, index, tick),
                };
                match gpu.enumerate_partitions(tick) {
                    // Its own read tells what is wrong with it.
                    Ok(()) => {}
                    Err(error) if error.reach() == Reach::Driver => return Err(error),
                    Err(error) => tracing::debug!(device = %gpu.id, %error, "partitions cannot be listed"),
                }
                gpus.push(gpu);
            }
            Err(error) if error.reach() == Reach::Driver => return Err(error),
            Err(error) => {
                if !unreadable.contains(&(index, error)) {
                    unreadable.retain(|(known, _)| *known != index);
                    unreadable.push((index, error));
                    tracing::warn!(index, %error, "the driver lists a GPU that cannot be opened");
                }
                // A GPU that was there and is lost stays until the driver no longer lists it.
                if let Some(place) = old.iter().position(|gpu| gpu.index == index) {
                    gpus.push(old.swap_remove(place));
                }
            }
        }
    }
    Ok(gpus)
}
