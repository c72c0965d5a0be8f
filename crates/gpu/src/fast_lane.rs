use std::sync::{Arc, Weak};
use std::time::Duration;

use rheostat_reading::{Absent, Quantity, Timestamp};

use crate::collector::{Collector, Settings};
use crate::gpm_reader::SHORTEST_GAP;
use crate::gpu_reader::faulty;
use crate::nvml::Session;
use crate::processes::ACTIVITY_HOLD;
use crate::sampler::{Live, LiveGpu, Shared};
use crate::{Device, DeviceKind, DriverState, GpuSnapshot};

/// Reads all devices once a period, and looks after the driver: finds it, and finds it again.
pub(crate) fn run(shared: &Shared) {
    let mut lane = FastLane {
        shared,
        collector: None,
        retry: Retry {
            at: None,
            delay: shared.options.retry_min,
        },
        last_session: Weak::new(),
    };
    loop {
        let start = shared.clock.now();
        lane.tick(start);
        if let Some(told) = &shared.options.on_snapshot {
            told();
        }
        let spent = shared.clock.now().since(start);
        if !shared.park(shared.options.fast_period.saturating_sub(spent), |control| {
            control.enumerate
        }) {
            break;
        }
    }
    shared.set_live(None);
}

struct FastLane<'a> {
    shared: &'a Shared,
    collector: Option<Collector>,
    retry: Retry,
    /// The session before: to be shut down before there can be another.
    last_session: Weak<Session>,
}

struct Retry {
    at: Option<Timestamp>,
    delay: Duration,
}

/// How long a new session waits for the end of the old one, which a call in another lane may hold.
const OVERLAP: Duration = Duration::from_secs(5);

impl FastLane<'_> {
    fn tick(&mut self, now: Timestamp) {
        let enumerate = self.shared.take_enumeration();
        if self.collector.is_none() {
            self.open(now);
        }
        let Some(collector) = &mut self.collector else {
            return;
        };
        if enumerate {
            collector.enumerate_next();
        }
        match collector.tick() {
            Ok(devices) => {
                self.share();
                self.publish(devices);
            }
            Err(error) => {
                let path = collector.session().path.clone();
                self.close(now, &format!("{path}: {error}"));
            }
        }
    }

    /// Looks for the driver where it is time to.
    fn open(&mut self, now: Timestamp) {
        let Retry { at, delay } = self.retry;
        let wait_for_end =
            at.is_some_and(|at| now < at.plus(OVERLAP)) && self.last_session.strong_count() > 0;
        if at.is_some_and(|at| now < at) || wait_for_end {
            self.republish(now);
            return;
        }
        let options = &self.shared.options;
        let settings = Settings {
            busy_threshold: options.busy_threshold,
            duty_window: options.duty_window,
            // The driver's own times are real ones.
            gpm_gap: options.of_real(SHORTEST_GAP),
            activity_hold: options.of_real(ACTIVITY_HOLD),
            enumerate_period: options.slow_period,
        };
        match Collector::open(options.library.as_deref(), settings, self.shared.clock.clone()) {
            Ok(collector) => {
                if let DriverState::Ready { driver_version, .. } = collector.driver() {
                    tracing::info!(path = %collector.session().path, driver_version, "NVML is ready");
                }
                self.last_session = Arc::downgrade(collector.session());
                self.collector = Some(collector);
            }
            Err(error) => {
                self.retry = Retry {
                    at: Some(now.plus(delay)),
                    delay: (delay * 2).min(options.retry_max),
                };
                self.unavailable(&error.to_string());
            }
        }
    }

    /// Gives the driver up for now: a session that broke must be shut down before there is another.
    fn close(&mut self, now: Timestamp, reason: &str) {
        self.shared.set_live(None);
        self.collector = None;
        let options = &self.shared.options;
        let delay = self.retry.delay.max(options.retry_min);
        self.retry = Retry {
            at: Some(now.plus(delay)),
            delay: (delay * 2).min(options.retry_max),
        };
        self.unavailable(reason);
    }

    /// Tells that there is no driver. Devices that were known stay, so that who holds them is still
    /// known, but nothing is known of them.
    fn unavailable(&self, reason: &str) {
        let latest = self.shared.latest.load();
        if !matches!(&latest.driver, DriverState::Unavailable { reason: known } if known == reason) {
            tracing::warn!(reason, "NVML is not available; it will be looked for again");
        }
        let absent = Absent::NoDriver(reason.to_owned());
        let fault = absent.to_string();
        let devices = latest
            .devices
            .iter()
            .map(|device| faulty(device.clone(), &fault, &absent))
            .collect();
        self.store(GpuSnapshot {
            taken_at: self.shared.clock.now(),
            driver: DriverState::Unavailable {
                reason: reason.to_owned(),
            },
            devices,
        });
    }

    /// Says again what was said last: the sampler lives, though there is nothing new.
    fn republish(&self, now: Timestamp) {
        let latest = self.shared.latest.load_full();
        self.store(GpuSnapshot {
            taken_at: now,
            ..GpuSnapshot::clone(&latest)
        });
    }

    /// Publishes the devices as just read, with what the other lanes found out.
    fn publish(&mut self, mut devices: Vec<Device>) {
        let Some(collector) = &self.collector else { return };
        for (id, _, slow_pcie) in collector.gpus() {
            if slow_pcie
                && let Some(device) = devices.iter_mut().find(|device| device.id == *id)
                && device.fault.is_none()
            {
                let (tx, rx) = self.shared.slow_pcie(id);
                device.readings.set(Quantity::PcieTx, tx);
                device.readings.set(Quantity::PcieRx, rx);
            }
        }
        let xids = self.shared.xids.lock();
        for device in devices.iter_mut().filter(|_| !xids.is_empty()) {
            let (gpu, instance) = match &device.kind {
                DeviceKind::Gpu { .. } => (&device.id, None),
                DeviceKind::Partition {
                    parent, gpu_instance, ..
                } => (parent, Some(*gpu_instance)),
            };
            // A GPU's newest XID is that of any of its instances; an instance's is its own or one
            // that the driver gave to no instance.
            device.last_xid = xids
                .iter()
                .filter(|xid| {
                    xid.gpu == *gpu
                        && (instance.is_none() || xid.gpu_instance.is_none_or(|id| Some(id) == instance))
                })
                .max_by_key(|xid| xid.at)
                .map(|xid| (xid.number, xid.at));
        }
        drop(xids);
        // The driver answers: the next failure is a new one.
        self.retry = Retry {
            at: None,
            delay: self.shared.options.retry_min,
        };
        let driver = collector.driver().clone();
        self.store(GpuSnapshot {
            taken_at: self.shared.clock.now(),
            driver,
            devices,
        });
    }

    /// Tells the other lanes of the GPUs, where they changed.
    fn share(&self) {
        let Some(collector) = &self.collector else { return };
        let known = self.shared.live();
        let same = known.is_some_and(|live| {
            live.gpus.len() == collector.gpus().count()
                && live
                    .gpus
                    .iter()
                    .zip(collector.gpus())
                    .all(|(live, (id, handle, slow_pcie))| {
                        live.id == *id && live.handle == handle && live.slow_pcie == slow_pcie
                    })
        });
        if !same {
            let gpus = collector
                .gpus()
                .map(|(id, handle, slow_pcie)| LiveGpu {
                    id: id.clone(),
                    handle,
                    slow_pcie,
                })
                .collect();
            self.shared.set_live(Some(Arc::new(Live {
                session: Arc::clone(collector.session()),
                gpus,
            })));
        }
    }

    fn store(&self, snapshot: GpuSnapshot) {
        self.shared.latest.store(Arc::new(snapshot));
    }
}
