use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::{Absent, Amount, Observed, Quality, Quantity, Reading, Timestamp};

use crate::nvml::{GpmMetrics, GpmSample, Handle, NvmlError, Session, metric};
use crate::sheet::ratio_of_percent;

/// GPM's readings of a GPU, or of one GPU instance, each computed between a sample and the one before.
///
/// Values of a GPU instance stand for all compute instances in it: GPM counts no finer.
pub(crate) struct GpmReader {
    gpu_instance: Option<u32>,
    state: State,
}

enum State {
    /// It cannot be read; to be tried again at a time, or never.
    Off {
        reason: Absent,
        retry: Option<Timestamp>,
    },
    On(Box<Pair>),
}

struct Pair {
    before: GpmSample,
    after: GpmSample,
    /// When `before` was taken, if it was.
    taken: Option<Timestamp>,
    newest: Vec<(Quantity, Observed)>,
}

/// Time that must lie between two samples: the counters are refreshed no faster (DCGM takes as much).
pub(crate) const SHORTEST_GAP: Duration = Duration::from_millis(100);

/// After a failure that may pass, such as permissions taken away for a while.
const RETRY: Duration = Duration::from_secs(10);

const MIB: f64 = 1024.0 * 1024.0;

/// Metrics of a GPU; a GPU instance has the first four.
const METRICS: [(u32, Quantity); 8] = [
    (metric::SM_UTIL, Quantity::SmActive),
    (metric::SM_OCCUPANCY, Quantity::SmOccupancy),
    (metric::TENSOR, Quantity::TensorActive),
    (metric::DRAM_BANDWIDTH, Quantity::MemoryBandwidth),
    (metric::PCIE_TX, Quantity::PcieTx),
    (metric::PCIE_RX, Quantity::PcieRx),
    (metric::NVLINK_TX, Quantity::NvlinkTx),
    (metric::NVLINK_RX, Quantity::NvlinkRx),
];

impl GpmReader {
    /// Asks the GPU once whether it has GPM; vGPU guests and GPUs before Hopper have not.
    pub(crate) fn new(
        session: &Arc<Session>,
        gpu: Handle,
        gpu_instance: Option<u32>,
        now: Timestamp,
    ) -> Self {
        let pair = || {
            if !session.gpm_support(gpu)? {
                return Err(NvmlError::NOT_SUPPORTED);
            }
            let (before, after) = (GpmSample::new(session)?, GpmSample::new(session)?);
            Ok(Pair {
                before,
                after,
                taken: None,
                newest: Vec::new(),
            })
        };
        Self {
            gpu_instance,
            state: pair().map_or_else(|error| State::off(error, now), |pair| State::On(Box::new(pair))),
        }
    }

    pub(crate) const fn gpu_instance(&self) -> Option<u32> {
        self.gpu_instance
    }

    /// Tries again at the next read, where trying again may help: the GPU came back.
    pub(crate) const fn retry_now(&mut self) {
        if let State::Off {
            retry: Some(retry), ..
        } = &mut self.state
        {
            *retry = Timestamp::from_unix_nanos(0);
        }
    }

    /// Takes a sample, and computes the metrics since the last one where `shortest` has passed.
    pub(crate) fn read(
        &mut self,
        session: &Arc<Session>,
        gpu: Handle,
        now: Timestamp,
        shortest: Duration,
        metrics: &mut GpmMetrics,
    ) {
        if let State::Off {
            retry: Some(retry), ..
        } = self.state
            && now >= retry
        {
            *self = Self::new(session, gpu, self.gpu_instance, now);
        }
        let State::On(pair) = &mut self.state else { return };
        if pair.taken.is_some_and(|taken| now.since(taken) < shortest) {
            return;
        }
        if let Err(error) = pair.read(gpu, self.gpu_instance, now, metrics) {
            self.state = State::off(error, now);
        }
    }

    /// What is known of `quantity`, with the time of the sample that it was computed at.
    pub(crate) fn get(&self, quantity: Quantity) -> Observed {
        match &self.state {
            State::Off { reason, .. } => Err(reason.clone()),
            State::On(pair) => pair
                .newest
                .iter()
                .find(|(known, _)| *known == quantity)
                .map_or(Err(Absent::NotYet), |(_, observed)| observed.clone()),
        }
    }
}

impl State {
    fn off(error: NvmlError, now: Timestamp) -> Self {
        let retry = (!error.is_unsupported()).then(|| now.plus(RETRY));
        Self::Off {
            reason: error.into(),
            retry,
        }
    }
}

impl Pair {
    fn read(
        &mut self,
        gpu: Handle,
        gpu_instance: Option<u32>,
        now: Timestamp,
        metrics: &mut GpmMetrics,
    ) -> Result<(), NvmlError> {
        let Some(taken) = self.taken else {
            self.before.take(gpu, gpu_instance)?;
            self.taken = Some(now);
            return Ok(());
        };
        self.after.take(gpu, gpu_instance)?;
        let wanted = if gpu_instance.is_some() {
            &METRICS[..4]
        } else {
            &METRICS[..]
        };
        let mut ids = [0; METRICS.len()];
        for (id, (wanted, _)) in ids.iter_mut().zip(wanted) {
            *id = *wanted;
        }
        metrics.compute(&self.before, &self.after, &ids[..wanted.len()])?;
        if wanted
            .iter()
            .all(|(id, _)| metrics.get(*id) == Err(NvmlError::NO_DATA))
        {
            // The counters were not refreshed since: what was known stands until they are.
            return Ok(());
        }
        std::mem::swap(&mut self.before, &mut self.after);
        self.taken = Some(now);
        let window = now.since(taken);
        self.newest.clear();
        for &(id, quantity) in wanted {
            self.newest
                .push((quantity, observed(quantity, metrics.get(id), now, window)));
        }
        Ok(())
    }
}

fn observed(quantity: Quantity, value: Result<f64, NvmlError>, at: Timestamp, window: Duration) -> Observed {
    let value = value?;
    let value = match quantity {
        Quantity::PcieTx | Quantity::PcieRx | Quantity::NvlinkTx | Quantity::NvlinkRx if value >= 0.0 => {
            value * MIB
        }
        Quantity::PcieTx | Quantity::PcieRx | Quantity::NvlinkTx | Quantity::NvlinkRx => {
            return Err(Absent::Failed(format!("GPM reported {value} MiB/s")));
        }
        _ => ratio_of_percent(value)?,
    };
    let amount =
        Amount::new(value, quantity.unit()).ok_or_else(|| Absent::Failed(format!("GPM reported {value}")))?;
    Ok(Reading {
        amount,
        at,
        window,
        quality: Quality::Measured,
    })
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Unit;

    use super::*;

    #[test]
    fn a_metric_that_is_no_number_is_absent() {
        let read =
            |quantity, value| observed(quantity, Ok(value), Timestamp::default(), Duration::from_secs(1));
        assert_eq!(
            read(Quantity::SmActive, 40.0).unwrap().amount,
            Amount::new(0.4, Unit::Ratio).unwrap()
        );
        let two = Amount::new(2.0 * MIB, Unit::BytesPerSecond).unwrap();
        assert_eq!(read(Quantity::PcieTx, 2.0).unwrap().amount, two);
        for (quantity, value) in [
            (Quantity::SmActive, f64::NAN),
            (Quantity::SmActive, 1e9),
            (Quantity::PcieTx, f64::NAN),
            (Quantity::PcieTx, -1.0),
            (Quantity::NvlinkRx, f64::INFINITY),
        ] {
            assert!(
                matches!(read(quantity, value), Err(Absent::Failed(_))),
                "{quantity} {value}"
            );
        }
        let missing = observed(
            Quantity::SmActive,
            Err(NvmlError::NOT_SUPPORTED),
            Timestamp::default(),
            Duration::ZERO,
        );
        assert_eq!(missing, Err(Absent::NotSupported));
    }
}
