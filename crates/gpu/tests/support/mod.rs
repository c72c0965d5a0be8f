//! A sampler on a fake driver, and a way to wait for what it should find.
#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::needless_pass_by_value, reason = "consumed by struct update")]
#![allow(unreachable_pub, reason = "each test file is a crate of its own")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nvidia_ml::{Curve, Scenario};
use parking_lot::{Condvar, Mutex};
use rheostat_gpu::{Device, GpuSnapshot, Sampler, SamplerOptions};
use rheostat_reading::{Clock, Quantity, Reading};

/// Long enough for a busy machine; a test that waits as long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    // Before the directory: the library reads its scenario there until the sampler is gone.
    pub sampler: Sampler,
    pub directory: tempfile::TempDir,
    snapshots: Arc<(Mutex<u64>, Condvar)>,
}

/// Periods a fifth to a fiftieth of the usual ones.
pub fn fast() -> SamplerOptions {
    SamplerOptions {
        fast_period: Duration::from_millis(25),
        slow_period: Duration::from_millis(200),
        retry_min: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        ..SamplerOptions::default()
    }
}

impl Machine {
    /// A sampler on a machine as in `scenario`.
    pub fn start(scenario: &Scenario) -> Self {
        let directory = tempfile::tempdir().unwrap();
        nvidia_ml::install(directory.path(), scenario).unwrap();
        Self::in_directory(directory, fast(), Clock::system())
    }

    /// A sampler that is told to find its library in `directory`, whether there is one or not.
    pub fn in_directory(directory: tempfile::TempDir, options: SamplerOptions, clock: Clock) -> Self {
        let snapshots = Arc::new((Mutex::new(0), Condvar::new()));
        let told = Arc::clone(&snapshots);
        let options = SamplerOptions {
            library: Some(directory.path().join("libnvidia-ml.so.1")),
            on_snapshot: Some(Box::new(move || {
                *told.0.lock() += 1;
                told.1.notify_all();
            })),
            ..options
        };
        let sampler = Sampler::start(options, clock).unwrap();
        Self {
            directory,
            sampler,
            snapshots,
        }
    }

    pub fn scenario_path(&self) -> PathBuf {
        self.directory.path().join("scenario.json")
    }

    /// Changes what the driver reports from now on.
    pub fn change(&self, scenario: &Scenario) {
        scenario.write_to(&self.scenario_path()).unwrap();
    }

    /// Waits until `found` finds what it looks for in a snapshot.
    pub fn wait<T>(&self, what: &str, mut found: impl FnMut(&GpuSnapshot) -> Option<T>) -> T {
        let clock = Clock::system();
        let start = clock.now();
        let mut count = self.snapshots.0.lock();
        loop {
            let snapshot = self.sampler.latest();
            if let Some(found) = found(&snapshot) {
                return found;
            }
            let waited = clock.now().since(start);
            assert!(
                waited < PATIENCE,
                "no snapshot with {what}; the last one: {snapshot:#?}"
            );
            self.snapshots
                .1
                .wait_for(&mut count, PATIENCE.saturating_sub(waited));
        }
    }

    /// Waits until `found` holds of the device at place `index`.
    pub fn wait_for_device(&self, index: usize, what: &str, found: impl Fn(&Device) -> bool) -> Device {
        self.wait(what, |snapshot| {
            snapshot
                .devices
                .get(index)
                .filter(|device| found(device))
                .cloned()
        })
    }

    /// Waits for `count` more snapshots.
    pub fn wait_for_more(&self, count: u64) {
        let mut seen = self.snapshots.0.lock();
        let wanted = *seen + count;
        let waited = self
            .snapshots
            .1
            .wait_while_for(&mut seen, |seen| *seen < wanted, PATIENCE);
        assert!(!waited.timed_out(), "the sampler took no more snapshots");
    }
}

pub fn reading(device: &Device, quantity: Quantity) -> Reading {
    *device
        .readings
        .get(quantity)
        .unwrap_or_else(|reason| panic!("{quantity} is absent: {reason}"))
}

pub fn value(device: &Device, quantity: Quantity) -> f64 {
    reading(device, quantity).amount.value()
}

pub fn is_near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance
}

#[track_caller]
pub fn assert_near(device: &Device, quantity: Quantity, expected: f64, tolerance: f64) {
    let found = value(device, quantity);
    assert!(
        is_near(found, expected, tolerance),
        "{quantity} is {found}, not {expected} ± {tolerance}"
    );
}

#[allow(clippy::unnecessary_wraps, reason = "the scenario's readings are options")]
pub const fn constant(value: f64) -> Option<Curve> {
    Some(Curve::Constant(value))
}
