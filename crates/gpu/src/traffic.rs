use rheostat_reading::{Absent, Amount, Observed, Quality, Reading, Timestamp, Unit};

use crate::nvml::{ALL_LINKS, FieldBatch, Number, NvmlError, field};
use crate::rate::{CounterRate, NoRate, Width};

/// Rates of a counter of bytes sent and of one of bytes received.
#[derive(Clone, Copy, Debug, Default)]
struct TwoWay {
    tx: CounterRate,
    rx: CounterRate,
}

/// PCIe traffic from the driver's byte counters.
#[derive(Debug, Default)]
pub(crate) struct PcieCounters(TwoWay);

/// NVLink traffic from the driver's counters, summed over all links.
#[derive(Debug)]
pub(crate) struct NvlinkCounters {
    /// Place in [`NVLINK_SOURCES`]; past its end where the device has no NVLink counters.
    source: usize,
    links: Vec<(u32, TwoWay)>,
}

struct NvlinkSource {
    tx: u32,
    rx: u32,
    bytes: f64,
    per_link: bool,
}

/// Counters to try, the cheapest first. The first pair counts KiB of payload up to NVLink 4, the
/// others bytes from NVLink 5 on. The utilisation counters of NVLink are deprecated and not used.
const NVLINK_SOURCES: [NvlinkSource; 3] = [
    NvlinkSource {
        tx: field::NVLINK_TX_KIB,
        rx: field::NVLINK_RX_KIB,
        bytes: 1024.0,
        per_link: false,
    },
    NvlinkSource {
        tx: field::NVLINK_TX_BYTES,
        rx: field::NVLINK_RX_BYTES,
        bytes: 1.0,
        per_link: false,
    },
    NvlinkSource {
        tx: field::NVLINK_TX_BYTES,
        rx: field::NVLINK_RX_BYTES,
        bytes: 1.0,
        per_link: true,
    },
];

/// `NVML_NVLINK_MAX_LINKS`.
const LINKS: u32 = 18;

/// No PCIe link is faster: 16 lanes of generation 6, in bytes per second and direction.
const FASTEST_PCIE: f64 = 128e9;

/// No GPU's NVLinks are faster together: twice those of Blackwell, in bytes per second and direction.
const FASTEST_NVLINK: f64 = 1.8e12;

impl PcieCounters {
    pub(crate) fn ask(batch: &mut FieldBatch) {
        batch.ask(field::PCIE_TX_BYTES, 0);
        batch.ask(field::PCIE_RX_BYTES, 0);
    }

    /// Rates sent and received; `None` where the counters cannot tell, so that another source is to
    /// be asked: they are not supported, or so narrow that they overrun more than once a period.
    pub(crate) fn read(
        &mut self,
        field: impl Fn(u32, u32) -> Result<Number, NvmlError>,
        at: Timestamp,
    ) -> Option<(Observed, Observed)> {
        let way = |rate: &mut CounterRate, id| match step(rate, field(id, 0), at, 1.0, FASTEST_PCIE) {
            Step::Observed(observed) => Some(observed),
            Step::Unsupported | Step::Ambiguous => None,
        };
        let tx = way(&mut self.0.tx, field::PCIE_TX_BYTES);
        let rx = way(&mut self.0.rx, field::PCIE_RX_BYTES);
        Some((tx?, rx?))
    }
}

impl NvlinkCounters {
    pub(crate) fn new() -> Self {
        let mut counters = Self {
            source: 0,
            links: Vec::new(),
        };
        counters.start();
        counters
    }

    pub(crate) fn ask(&self, batch: &mut FieldBatch) {
        if let Some(source) = NVLINK_SOURCES.get(self.source) {
            for &(scope, _) in &self.links {
                batch.ask(source.tx, scope);
                batch.ask(source.rx, scope);
            }
        }
    }

    /// Rates sent and received; `None` where the device has no such counters.
    pub(crate) fn read(
        &mut self,
        field: impl Fn(u32, u32) -> Result<Number, NvmlError>,
        at: Timestamp,
    ) -> Option<(Observed, Observed)> {
        let source = NVLINK_SOURCES.get(self.source)?;
        let (mut tx, mut rx) = (Sum::default(), Sum::default());
        self.links.retain_mut(|(scope, link)| {
            let sent = step(
                &mut link.tx,
                field(source.tx, *scope),
                at,
                source.bytes,
                FASTEST_NVLINK,
            );
            let received = step(
                &mut link.rx,
                field(source.rx, *scope),
                at,
                source.bytes,
                FASTEST_NVLINK,
            );
            if matches!((&sent, &received), (Step::Unsupported, Step::Unsupported)) {
                return false;
            }
            tx.add(sent);
            rx.add(received);
            true
        });
        if self.links.is_empty() {
            self.source += 1;
            self.start();
            let reason = if self.source < NVLINK_SOURCES.len() {
                Absent::NotYet
            } else {
                Absent::NotSupported
            };
            return Some((Err(reason.clone()), Err(reason)));
        }
        Some((tx.observed(), rx.observed()))
    }

    fn start(&mut self) {
        if let Some(source) = NVLINK_SOURCES.get(self.source) {
            let one = ALL_LINKS..=ALL_LINKS;
            let scopes = if source.per_link { 0..=LINKS - 1 } else { one };
            self.links.extend(scopes.map(|scope| (scope, TwoWay::default())));
        }
    }
}

/// One counter's step from the last reading to this one.
enum Step {
    Observed(Observed),
    Unsupported,
    Ambiguous,
}

fn step(
    rate: &mut CounterRate,
    field: Result<Number, NvmlError>,
    at: Timestamp,
    bytes: f64,
    fastest: f64,
) -> Step {
    let number = match field {
        Ok(number) => number,
        // Ids that a driver does not know it calls invalid.
        Err(error) if error.is_unsupported() || error == NvmlError::INVALID_ARGUMENT => {
            return Step::Unsupported;
        }
        Err(error) => return Step::Observed(Err(error.into())),
    };
    let Some(value) = number.unsigned() else {
        return Step::Observed(Err(Absent::Failed(format!(
            "NVML reported a counter of {number:?}"
        ))));
    };
    let width = if matches!(number, Number::Unsigned32(_)) {
        Width::Bits32
    } else {
        Width::Bits64
    };
    match rate.observe(value, at, width, fastest / bytes) {
        Ok(rate) => Step::Observed(
            Amount::new(rate.per_second * bytes, Unit::BytesPerSecond)
                .map(|amount| Reading {
                    amount,
                    at,
                    window: rate.window,
                    quality: Quality::Derived,
                })
                .ok_or(Absent::NotYet),
        ),
        Err(NoRate::First | NoRate::Reset) => Step::Observed(Err(Absent::NotYet)),
        Err(NoRate::Ambiguous) => Step::Ambiguous,
    }
}

/// The sum of links' rates; absent where one link's is, so that it is never a part of the whole.
#[derive(Default)]
struct Sum {
    total: Option<Observed>,
}

impl Sum {
    fn add(&mut self, step: Step) {
        let next = match step {
            Step::Observed(observed) => observed,
            Step::Unsupported => return,
            Step::Ambiguous => Err(Absent::Failed("the counter overruns within a period".into())),
        };
        self.total = Some(match (self.total.take(), next) {
            (None, next) => next,
            (Some(Err(reason)), _) | (Some(Ok(_)), Err(reason)) => Err(reason),
            (Some(Ok(sum)), Ok(next)) => {
                Amount::new(sum.amount.value() + next.amount.value(), Unit::BytesPerSecond)
                    .map(|amount| Reading {
                        amount,
                        window: sum.window.max(next.window),
                        ..sum
                    })
                    .ok_or(Absent::NotYet)
            }
        });
    }

    fn observed(self) -> Observed {
        self.total.unwrap_or(Err(Absent::NotSupported))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    fn value(observed: &Observed) -> Amount {
        observed.as_ref().unwrap().amount
    }

    fn per_second(bytes: f64) -> Amount {
        Amount::new(bytes, Unit::BytesPerSecond).unwrap()
    }

    #[test]
    fn pcie_counters_become_rates_and_start_anew_after_a_reset() {
        let mut pcie = PcieCounters::default();
        let fields = |tx, rx| {
            move |id, _| {
                Ok(Number::Unsigned64(if id == field::PCIE_TX_BYTES {
                    tx
                } else {
                    rx
                }))
            }
        };
        assert_eq!(
            pcie.read(fields(1000, 50), at(1)),
            Some((Err(Absent::NotYet), Err(Absent::NotYet)))
        );
        let (tx, rx) = pcie.read(fields(3000, 50), at(3)).unwrap();
        assert_eq!((value(&tx), value(&rx)), (per_second(1000.0), per_second(0.0)));
        assert_eq!(tx.unwrap().window, Duration::from_secs(2));
        let (tx, rx) = pcie.read(fields(10, 150), at(4)).unwrap();
        assert_eq!((tx, value(&rx)), (Err(Absent::NotYet), per_second(100.0)));
    }

    #[test]
    fn pcie_counters_that_cannot_tell_are_left_for_another_source() {
        let mut pcie = PcieCounters::default();
        assert_eq!(pcie.read(|_, _| Err(NvmlError::NOT_SUPPORTED), at(1)), None);
        pcie.read(|_, _| Ok(Number::Unsigned32(5)), at(2));
        // 128 GB/s overrun 32 bits some thirty times a second.
        assert_eq!(pcie.read(|_, _| Ok(Number::Unsigned32(9)), at(3)), None);
    }

    #[test]
    fn nvlink_finds_the_counters_that_the_device_has() {
        // An NVLink 5 device that counts bytes, and only link by link; link 2 alone is up beside link 0.
        let mut nvlink = NvlinkCounters::new();
        let fields = |tick: u64| {
            move |id, scope| match (id, scope) {
                (field::NVLINK_TX_BYTES, 0 | 2) => Ok(Number::Unsigned64(tick * 100)),
                (field::NVLINK_RX_BYTES, 0 | 2) => Ok(Number::Unsigned64(tick * 7)),
                _ => Err(NvmlError::INVALID_ARGUMENT),
            }
        };
        let none = Some((Err(Absent::NotYet), Err(Absent::NotYet)));
        assert_eq!(nvlink.read(fields(1), at(1)), none);
        assert_eq!(nvlink.read(fields(2), at(2)), none);
        assert_eq!(nvlink.read(fields(3), at(3)), none);
        assert_eq!(nvlink.links.len(), 2);
        let (tx, rx) = nvlink.read(fields(4), at(4)).unwrap();
        assert_eq!((value(&tx), value(&rx)), (per_second(200.0), per_second(14.0)));
    }

    #[test]
    fn a_device_without_nvlink_has_no_rate_of_zero() {
        let mut nvlink = NvlinkCounters::new();
        for tick in 1..3 {
            nvlink.read(|_, _| Err(NvmlError::NOT_SUPPORTED), at(tick));
        }
        let none = Some((Err(Absent::NotSupported), Err(Absent::NotSupported)));
        assert_eq!(nvlink.read(|_, _| Err(NvmlError::NOT_SUPPORTED), at(3)), none);
        assert_eq!(nvlink.read(|_, _| Err(NvmlError::NOT_SUPPORTED), at(4)), None);
        let mut batch = FieldBatch::default();
        nvlink.ask(&mut batch);
        assert!(batch.is_empty());
    }

    #[test]
    fn nvlink_counts_kib() {
        let mut nvlink = NvlinkCounters::new();
        nvlink.read(|_, _| Ok(Number::Unsigned64(10)), at(1));
        let (tx, _) = nvlink.read(|_, _| Ok(Number::Unsigned64(12)), at(2)).unwrap();
        assert_eq!(value(&tx), per_second(2048.0));
        // A link that starts anew is no negative rate, and one that fails no smaller sum.
        let (tx, _) = nvlink.read(|_, _| Ok(Number::Unsigned64(3)), at(3)).unwrap();
        assert_eq!(tx, Err(Absent::NotYet));
        let (tx, _) = nvlink.read(|_, _| Err(NvmlError::TIMEOUT), at(4)).unwrap();
        assert_eq!(tx, Err(Absent::Failed("NVML_ERROR_TIMEOUT".into())));
    }
}
