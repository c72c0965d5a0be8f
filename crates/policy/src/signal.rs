use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rheostat_reading::{Amount, Quantity, Unit};

use crate::Within;

/// What a trigger scales by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A quantity of the devices that the workload's pods hold; one of [`Signal::ALL`].
    Gpu(Quantity),
    /// A number that a person writes on the ScaledObject, to rehearse scaling: the total demand
    /// in replicas. Works from zero replicas, needs no GPU.
    Manual,
}

/// The unit in which a signal's target, activation and value are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalUnit {
    /// Percent: 80 is 80 %, a ratio of 0.8.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Watts.
    Watts,
    /// Degrees Celsius.
    Celsius,
    /// Replicas' worth of demand.
    Replicas,
}

const NAMES: &[(Signal, &str, &str)] = &[
    (
        Signal::Gpu(Quantity::Utilization),
        "gpu.utilization",
        "rheostat-gpu-utilization",
    ),
    (
        Signal::Gpu(Quantity::SmActive),
        "gpu.sm_active",
        "rheostat-gpu-sm-active",
    ),
    (
        Signal::Gpu(Quantity::DutyCycle),
        "gpu.duty_cycle",
        "rheostat-gpu-duty-cycle",
    ),
    (
        Signal::Gpu(Quantity::MemoryUsedPercent),
        "gpu.memory_used_percent",
        "rheostat-gpu-memory-used-percent",
    ),
    (
        Signal::Gpu(Quantity::MemoryUsedBytes),
        "gpu.memory_used_bytes",
        "rheostat-gpu-memory-used-bytes",
    ),
    (
        Signal::Gpu(Quantity::MemoryBandwidth),
        "gpu.memory_bandwidth",
        "rheostat-gpu-memory-bandwidth",
    ),
    (Signal::Gpu(Quantity::Power), "gpu.power", "rheostat-gpu-power"),
    (
        Signal::Gpu(Quantity::Temperature),
        "gpu.temperature",
        "rheostat-gpu-temperature",
    ),
    (
        Signal::Gpu(Quantity::PcieTx),
        "gpu.pcie_tx",
        "rheostat-gpu-pcie-tx",
    ),
    (
        Signal::Gpu(Quantity::PcieRx),
        "gpu.pcie_rx",
        "rheostat-gpu-pcie-rx",
    ),
    (
        Signal::Gpu(Quantity::NvlinkTx),
        "gpu.nvlink_tx",
        "rheostat-gpu-nvlink-tx",
    ),
    (
        Signal::Gpu(Quantity::NvlinkRx),
        "gpu.nvlink_rx",
        "rheostat-gpu-nvlink-rx",
    ),
    (Signal::Manual, "manual", "rheostat-manual"),
];

impl Signal {
    /// Every signal of this version.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|entry| entry.0)
    }

    /// As a trigger writes it, such as `gpu.utilization`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|entry| entry.0 == self)
            .map_or("gpu", |entry| entry.1)
    }

    /// The metric's name towards KEDA, `[a-z0-9-]` only.
    #[must_use]
    pub fn metric_name(self) -> &'static str {
        NAMES
            .iter()
            .find(|entry| entry.0 == self)
            .map_or("rheostat-gpu", |entry| entry.2)
    }

    /// The quantity to look up on each device; `None` for a signal that needs no device.
    #[must_use]
    pub const fn quantity(self) -> Option<Quantity> {
        match self {
            Self::Gpu(quantity) => Some(quantity),
            Self::Manual => None,
        }
    }

    /// The unit of the trigger's target and activation, and of the value towards KEDA.
    #[must_use]
    pub const fn unit(self) -> SignalUnit {
        match self {
            Self::Manual => SignalUnit::Replicas,
            Self::Gpu(quantity) => match quantity.unit() {
                Unit::Ratio => SignalUnit::Percent,
                Unit::Bytes => SignalUnit::Bytes,
                Unit::BytesPerSecond => SignalUnit::BytesPerSecond,
                Unit::Celsius => SignalUnit::Celsius,
                // No signal of a device is in any other unit.
                _ => SignalUnit::Watts,
            },
        }
    }

    /// Whether it says how hard a pod works (percent, temperature) rather than how much of
    /// something it has or does (bytes, watts, rates). Activity is judged by the busiest pod for
    /// an intensity and by the sum for an amount.
    #[must_use]
    pub const fn is_intensity(self) -> bool {
        matches!(self.unit(), SignalUnit::Percent | SignalUnit::Celsius)
    }

    /// How a pod's devices are reduced where the trigger does not say.
    #[must_use]
    pub const fn default_within(self) -> Within {
        if self.is_intensity() {
            Within::Max
        } else {
            Within::Sum
        }
    }

    /// When a reading is too old where the trigger does not say: after five of the agent's fast
    /// periods of 1 s, or three of its slow ones of 5 s. PCIe traffic is read slowly, because
    /// each call blocks for 20 ms.
    #[must_use]
    pub const fn default_stale_after(self) -> Duration {
        match self {
            Self::Gpu(Quantity::PcieTx | Quantity::PcieRx) => Duration::from_secs(15),
            _ => Duration::from_secs(5),
        }
    }

    /// Whether a device that does nothing reads above zero, so that an activation of 0 would
    /// keep the workload active for ever.
    #[must_use]
    pub const fn idles_above_zero(self) -> bool {
        matches!(
            self,
            Self::Gpu(
                Quantity::Power
                    | Quantity::Temperature
                    | Quantity::MemoryUsedBytes
                    | Quantity::MemoryUsedPercent
            )
        )
    }

    /// `amount` in the unit of [`Signal::unit`].
    pub(crate) fn number(self, amount: Amount) -> f64 {
        match amount.unit() {
            Unit::Ratio => amount.value() * 100.0,
            _ => amount.value(),
        }
    }
}

impl SignalUnit {
    /// What a target in this unit looks like, for error messages.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Percent => "a number in percent, such as 80",
            Self::Bytes => "a number of bytes or a quantity, such as 20Gi",
            Self::BytesPerSecond => "a number of bytes per second or a quantity, such as 500M",
            Self::Watts => "a number of watts, such as 300",
            Self::Celsius => "a number of degrees Celsius, such as 70",
            Self::Replicas => "a number of replicas' worth of demand, such as 1",
        }
    }

    /// Whether Kubernetes quantity suffixes are accepted.
    #[must_use]
    pub const fn takes_quantities(self) -> bool {
        matches!(self, Self::Bytes | Self::BytesPerSecond)
    }

    /// `number` with this unit, for a person.
    pub(crate) fn show(self, number: f64) -> Shown {
        Shown(self, number)
    }
}

/// A number with a signal's unit, for a person.
pub(crate) struct Shown(SignalUnit, f64);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            SignalUnit::Percent => (self.1 / 100.0, Unit::Ratio),
            SignalUnit::Bytes => (self.1, Unit::Bytes),
            SignalUnit::BytesPerSecond => (self.1, Unit::BytesPerSecond),
            SignalUnit::Watts => (self.1, Unit::Watts),
            SignalUnit::Celsius => (self.1, Unit::Celsius),
            SignalUnit::Replicas => (self.1, Unit::Count),
        };
        match Amount::new(number, unit) {
            Some(amount) => amount.fmt(out),
            None => self.1.fmt(out),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        NAMES
            .iter()
            .find(|entry| entry.1 == name)
            .map(|entry| entry.0)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_quantities_and_read_back() {
        for signal in Signal::all() {
            assert_eq!(signal.name().parse(), Ok(signal));
            if let Some(quantity) = signal.quantity() {
                assert_eq!(signal.name(), format!("gpu.{quantity}"));
                assert!(!quantity.is_counter(), "a counter grows whatever the load");
                assert!(!matches!(
                    quantity.unit(),
                    Unit::Joules | Unit::Hertz | Unit::Count
                ));
            }
            assert!(
                signal
                    .metric_name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }
}
