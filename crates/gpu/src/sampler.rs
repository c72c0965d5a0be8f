use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use rheostat_reading::{Absent, Clock, Observed, Timestamp};

use crate::nvml::{Handle, Session};
use crate::{DeviceId, DriverState, GpuSnapshot, event_lane, fast_lane, slow_lane};

/// Reads all GPUs of this machine in background threads and keeps the newest snapshot.
///
/// There are three threads, because NVML calls block: a fast lane for what answers at once, a slow
/// lane for calls that measure while they block, and one that waits for events. Whatever happens to
/// the driver, they go on and say so in the snapshot. Dropping the sampler stops them.
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a [`Sampler`] reads, and how often. Spans are in the time of the sampler's clock.
pub struct SamplerOptions {
    /// The NVML library, or a directory that holds it; `None` to look where it usually is.
    pub library: Option<PathBuf>,
    /// Time from one snapshot to the next. Default 1 s.
    pub fast_period: Duration,
    /// Time between calls that block (PCIe throughput takes 20 ms), and between enumerations of the
    /// devices that nothing asked for. Default 5 s.
    pub slow_period: Duration,
    /// Length of the window of the duty cycle. Default 60 s.
    pub duty_window: Duration,
    /// Utilisation (or SM activity where that is missing), as a ratio, from which on a device counts
    /// as busy for its duty cycle. Default 0.05: monitoring and ECC scrubbing stay below.
    pub busy_threshold: f64,
    /// Time until a missing driver is looked for again; doubles each time up to `retry_max`.
    /// Defaults 1 s and 30 s.
    pub retry_min: Duration,
    /// See `retry_min`.
    pub retry_max: Duration,
    /// How much faster the clock runs than real time, as given to [`Clock::scaled`]. Default 1.
    pub speed: f64,
    /// Called in the sampler's thread after each new snapshot; must return soon.
    pub on_snapshot: Option<Box<dyn Fn() + Send + Sync>>,
}

/// The threads of a sampler could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread {thread}")]
pub struct CannotStart {
    thread: &'static str,
    #[source]
    source: std::io::Error,
}

/// What the lanes and the sampler's owner share.
pub(crate) struct Shared {
    pub(crate) options: SamplerOptions,
    pub(crate) clock: Clock,
    pub(crate) latest: ArcSwap<GpuSnapshot>,
    pub(crate) pcie: Mutex<Vec<(DeviceId, Observed, Observed)>>,
    pub(crate) xids: Mutex<Vec<Xid>>,
    control: Mutex<Control>,
    changed: Condvar,
}

/// The newest XID of a GPU, or of one GPU instance of it.
#[derive(Clone, Debug)]
pub(crate) struct Xid {
    pub(crate) gpu: DeviceId,
    pub(crate) gpu_instance: Option<u32>,
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
}

#[derive(Default)]
pub(crate) struct Control {
    pub(crate) stop: bool,
    /// Devices changed: the fast lane should enumerate them now.
    pub(crate) enumerate: bool,
    /// What the other lanes work on.
    pub(crate) live: Option<Arc<Live>>,
    running: usize,
}

/// The session and the GPUs that the fast lane has found, for the other lanes.
pub(crate) struct Live {
    pub(crate) session: Arc<Session>,
    pub(crate) gpus: Vec<LiveGpu>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LiveGpu {
    pub(crate) id: DeviceId,
    pub(crate) handle: Handle,
    pub(crate) slow_pcie: bool,
}

/// How long a drop waits for threads. One that hangs in the driver is left to itself: it holds all
/// that it uses, and ends when the driver answers.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sampler {
    /// Starts reading. The first snapshot says that nothing was looked for yet.
    ///
    /// # Errors
    ///
    /// [`CannotStart`] where the system gives no thread. A missing driver is no error.
    pub fn start(options: SamplerOptions, clock: Clock) -> Result<Self, CannotStart> {
        let latest = ArcSwap::from_pointee(GpuSnapshot {
            taken_at: clock.now(),
            driver: DriverState::Unavailable {
                reason: "not looked for yet".into(),
            },
            devices: Vec::new(),
        });
        let shared = Arc::new(Shared {
            options,
            clock,
            latest,
            pcie: Mutex::default(),
            xids: Mutex::default(),
            control: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut sampler = Self {
            shared,
            threads: Vec::new(),
        };
        sampler.spawn("gpu-fast", fast_lane::run)?;
        sampler.spawn("gpu-slow", slow_lane::run)?;
        sampler.spawn("gpu-events", event_lane::run)?;
        Ok(sampler)
    }

    /// The newest snapshot. Never blocks.
    #[must_use]
    pub fn latest(&self) -> Arc<GpuSnapshot> {
        self.shared.latest.load_full()
    }

    fn spawn(&mut self, thread: &'static str, lane: fn(&Shared)) -> Result<(), CannotStart> {
        self.shared.control.lock().running += 1;
        let running = Running(Arc::clone(&self.shared));
        let handle = thread::Builder::new()
            .name(thread.into())
            // NVML's own needs are small; the default of 2 MiB counts where memory is limited.
            .stack_size(512 * 1024)
            .spawn(move || lane(&running.0))
            .map_err(|source| CannotStart { thread, source })?;
        self.threads.push(handle);
        Ok(())
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let mut control = self.shared.control.lock();
        control.stop = true;
        self.shared.changed.notify_all();
        let all_ended = !self
            .shared
            .changed
            .wait_while_for(&mut control, |control| control.running > 0, PATIENCE)
            .timed_out();
        drop(control);
        if all_ended {
            for thread in self.threads.drain(..) {
                // A panic was reported by the panic hook already.
                let _ = thread.join();
            }
        } else {
            tracing::warn!("a call to the GPU driver does not return; its thread is left behind");
        }
    }
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            library: None,
            fast_period: Duration::from_secs(1),
            slow_period: Duration::from_secs(5),
            duty_window: Duration::from_secs(60),
            busy_threshold: 0.05,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            speed: 1.0,
            on_snapshot: None,
        }
    }
}

impl SamplerOptions {
    /// What a span of the clock's time is in real time.
    fn real(&self, span: Duration) -> Duration {
        span.div_f64(self.sane_speed())
    }

    /// What a span of real time is in the clock's time.
    pub(crate) fn of_real(&self, span: Duration) -> Duration {
        span.mul_f64(self.sane_speed())
    }

    /// A speed that no span can be divided by is no speed.
    fn sane_speed(&self) -> f64 {
        if self.speed.is_finite() {
            self.speed.clamp(1e-3, 1e6)
        } else {
            1.0
        }
    }
}

impl Shared {
    /// Waits for `span` of the clock's time, until `awaited` holds or until the sampler stops.
    /// False when it stops.
    pub(crate) fn park(&self, span: Duration, awaited: impl Fn(&Control) -> bool) -> bool {
        let mut control = self.control.lock();
        let waiting = |control: &mut Control| !control.stop && !awaited(control);
        self.changed
            .wait_while_for(&mut control, waiting, self.options.real(span));
        !control.stop
    }

    pub(crate) fn stopped(&self) -> bool {
        self.control.lock().stop
    }

    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.control.lock().live.clone()
    }

    /// Tells the other lanes what to work on.
    pub(crate) fn set_live(&self, live: Option<Arc<Live>>) {
        let before = std::mem::replace(&mut self.control.lock().live, live);
        self.changed.notify_all();
        // Outside the lock: it may be the last to hold the session, whose shutdown blocks.
        drop(before);
    }

    /// Has the fast lane enumerate the devices now.
    pub(crate) fn request_enumeration(&self) {
        self.control.lock().enumerate = true;
        self.changed.notify_all();
    }

    /// Whether somebody asked for that since it was last taken.
    pub(crate) fn take_enumeration(&self) -> bool {
        std::mem::take(&mut self.control.lock().enumerate)
    }

    /// PCIe traffic of a GPU as the slow lane last measured it.
    pub(crate) fn slow_pcie(&self, id: &DeviceId) -> (Observed, Observed) {
        self.pcie
            .lock()
            .iter()
            .find(|(known, ..)| known == id)
            .map_or((Err(Absent::NotYet), Err(Absent::NotYet)), |(_, tx, rx)| {
                (tx.clone(), rx.clone())
            })
    }
}

/// Counts a thread as running while it lives, also when it panics.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.control.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shared")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SamplerOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SamplerOptions")
            .field("library", &self.library)
            .field("fast_period", &self.fast_period)
            .field("slow_period", &self.slow_period)
            .field("duty_window", &self.duty_window)
            .field("busy_threshold", &self.busy_threshold)
            .field("retry_min", &self.retry_min)
            .field("retry_max", &self.retry_max)
            .field("speed", &self.speed)
            .finish_non_exhaustive()
    }
}
