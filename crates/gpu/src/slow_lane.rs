use std::time::Duration;

use rheostat_reading::{Observed, Quality, Quantity};

use crate::nvml::{Handle, NvmlError, Throughput};
use crate::sampler::{Live, Shared};
use crate::sheet::Sheet;

/// Makes the calls that block while they measure, for the GPUs that cannot tell otherwise.
pub(crate) fn run(shared: &Shared) {
    loop {
        let waiting = !shared.live().is_some_and(|live| has_work(&live));
        if !waiting {
            if let Some(live) = shared.live() {
                measure(shared, &live);
            }
            if !shared.park(shared.options.slow_period, |_| false) {
                return;
            }
        } else if !shared.park(IDLE, |control| {
            control.live.as_ref().is_some_and(|live| has_work(live))
        }) {
            return;
        }
    }
}

/// Without work the lane only waits to be woken.
const IDLE: Duration = Duration::from_secs(3600);

/// `nvmlDeviceGetPcieThroughput` measures over this time (`nvml.h`).
const WINDOW: Duration = Duration::from_millis(20);

fn has_work(live: &Live) -> bool {
    live.gpus.iter().any(|gpu| gpu.slow_pcie)
}

fn measure(shared: &Shared, live: &Live) {
    let mut results = Vec::new();
    for gpu in live.gpus.iter().filter(|gpu| gpu.slow_pcie) {
        if shared.stopped() {
            return;
        }
        let one = |quantity, direction| throughput(shared, live, gpu.handle, quantity, direction);
        let (tx, rx) = (
            one(Quantity::PcieTx, Throughput::Tx),
            one(Quantity::PcieRx, Throughput::Rx),
        );
        results.push((gpu.id.clone(), tx, rx));
    }
    *shared.pcie.lock() = results;
}

fn throughput(
    shared: &Shared,
    live: &Live,
    gpu: Handle,
    quantity: Quantity,
    direction: Throughput,
) -> Observed {
    let bytes = |kib: u32| f64::from(kib) * 1024.0;
    let result: Result<f64, NvmlError> = live.session.pcie_throughput(gpu, direction).map(bytes);
    let at = shared.clock.now();
    let mut sheet = Sheet::new();
    match result {
        Ok(value) => sheet.readings.put(quantity, value, at, WINDOW, Quality::Measured),
        Err(error) => sheet.absent(quantity, error.into()),
    }
    sheet.readings.get(quantity).cloned().map_err(Clone::clone)
}
