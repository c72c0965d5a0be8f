use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rheostat_reading::{Amount, Quantity, Unit};

use crate::{EngineSignal, Within};

/// What a trigger scales by, or takes into an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A quantity of the devices that the workload's pods hold.
    Gpu(Quantity),
    /// What the inference engines in the workload's pods report of themselves.
    Engine(EngineSignal),
    /// The result of a PromQL query. Works from zero replicas.
    Prometheus,
    /// What waits in a LocalQueue of Kueue's. Works from zero replicas.
    KueuePending,
    /// The unfinished Jobs of a ScaledJob.
    JobUnfinished,
    /// The number of replicas that a schedule asks for. Works from zero replicas.
    Schedule,
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
    /// A number of things: requests, what a query counts.
    Count,
    /// Seconds; written as a duration too.
    Seconds,
    /// Things per second.
    PerSecond,
    /// Replicas' worth of demand.
    Replicas,
    /// The result of an expression that is a plain number: 1 is what one replica is to carry.
    Load,
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
    (
        Signal::Engine(EngineSignal::Waiting),
        "engine.waiting",
        "rheostat-engine-waiting",
    ),
    (
        Signal::Engine(EngineSignal::Running),
        "engine.running",
        "rheostat-engine-running",
    ),
    (
        Signal::Engine(EngineSignal::Concurrency),
        "engine.concurrency",
        "rheostat-engine-concurrency",
    ),
    (
        Signal::Engine(EngineSignal::KvCacheUsage),
        "engine.kv_cache_usage",
        "rheostat-engine-kv-cache-usage",
    ),
    (
        Signal::Engine(EngineSignal::Ttft),
        "engine.ttft",
        "rheostat-engine-ttft",
    ),
    (
        Signal::Engine(EngineSignal::Itl),
        "engine.itl",
        "rheostat-engine-itl",
    ),
    (
        Signal::Engine(EngineSignal::Tpot),
        "engine.tpot",
        "rheostat-engine-tpot",
    ),
    (
        Signal::Engine(EngineSignal::E2e),
        "engine.e2e",
        "rheostat-engine-e2e",
    ),
    (
        Signal::Engine(EngineSignal::QueueTime),
        "engine.queue_time",
        "rheostat-engine-queue-time",
    ),
    (
        Signal::Engine(EngineSignal::RequestRate),
        "engine.request_rate",
        "rheostat-engine-request-rate",
    ),
    (
        Signal::Engine(EngineSignal::TokenRate),
        "engine.token_rate",
        "rheostat-engine-token-rate",
    ),
    (
        Signal::Engine(EngineSignal::PromptTokenRate),
        "engine.prompt_token_rate",
        "rheostat-engine-prompt-token-rate",
    ),
    (
        Signal::Engine(EngineSignal::GenerationTokenRate),
        "engine.generation_token_rate",
        "rheostat-engine-generation-token-rate",
    ),
    (
        Signal::Engine(EngineSignal::PrefixCacheHitRate),
        "engine.prefix_cache_hit_rate",
        "rheostat-engine-prefix-cache-hit-rate",
    ),
    (
        Signal::Engine(EngineSignal::PreemptionRate),
        "engine.preemption_rate",
        "rheostat-engine-preemption-rate",
    ),
    (Signal::Prometheus, "prometheus", "rheostat-prometheus"),
    (Signal::KueuePending, "kueue.pending", "rheostat-kueue-pending"),
    (Signal::JobUnfinished, "job.unfinished", "rheostat-job-unfinished"),
    (Signal::Schedule, "schedule", "rheostat-schedule"),
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

    /// Whether each pod has a number of its own; otherwise there is one for the whole workload,
    /// and also where it has no pods.
    #[must_use]
    pub const fn is_per_pod(self) -> bool {
        matches!(self, Self::Gpu(_) | Self::Engine(_))
    }

    /// The unit of its readings, and of its name in an expression. What is counted in replicas is
    /// a plain number there.
    #[must_use]
    pub const fn base_unit(self) -> Unit {
        match self {
            Self::Gpu(quantity) => quantity.unit(),
            Self::Engine(EngineSignal::KvCacheUsage | EngineSignal::PrefixCacheHitRate)
            | Self::Schedule
            | Self::Manual => Unit::Ratio,
            Self::Engine(
                EngineSignal::Ttft
                | EngineSignal::Itl
                | EngineSignal::Tpot
                | EngineSignal::E2e
                | EngineSignal::QueueTime,
            ) => Unit::Seconds,
            Self::Engine(
                EngineSignal::RequestRate
                | EngineSignal::TokenRate
                | EngineSignal::PromptTokenRate
                | EngineSignal::GenerationTokenRate
                | EngineSignal::PreemptionRate,
            ) => Unit::PerSecond,
            Self::Engine(EngineSignal::Waiting | EngineSignal::Running | EngineSignal::Concurrency)
            | Self::Prometheus
            | Self::KueuePending
            | Self::JobUnfinished => Unit::Count,
        }
    }

    /// The unit of the trigger's target and activation, and of the value towards KEDA.
    #[must_use]
    pub const fn unit(self) -> SignalUnit {
        match self {
            Self::Manual | Self::Schedule => SignalUnit::Replicas,
            _ => match self.base_unit() {
                Unit::Ratio => SignalUnit::Percent,
                Unit::Bytes => SignalUnit::Bytes,
                Unit::BytesPerSecond => SignalUnit::BytesPerSecond,
                Unit::Celsius => SignalUnit::Celsius,
                Unit::Seconds => SignalUnit::Seconds,
                Unit::PerSecond => SignalUnit::PerSecond,
                Unit::Count => SignalUnit::Count,
                // No signal of a device is in any other unit.
                _ => SignalUnit::Watts,
            },
        }
    }

    /// Whether it says how hard a pod works rather than how much it has or does; see
    /// [`SignalUnit::is_intensity`].
    #[must_use]
    pub const fn is_intensity(self) -> bool {
        self.unit().is_intensity()
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
    /// periods of 1 s, or three of its slow ones of 5 s (PCIe traffic, because each call blocks
    /// for 20 ms); after five scrapes of an engine, `scrape_period` apart; after a minute for what
    /// others compute (Prometheus, Kueue, Jobs), whose own periods are 10 to 30 s.
    #[must_use]
    pub const fn default_stale_after(self, scrape_period: Duration) -> Duration {
        match self {
            Self::Gpu(Quantity::PcieTx | Quantity::PcieRx) => Duration::from_secs(15),
            Self::Engine(_) => scrape_period.saturating_mul(5),
            Self::Prometheus | Self::KueuePending | Self::JobUnfinished => Duration::from_secs(60),
            Self::Gpu(_) | Self::Schedule | Self::Manual => Duration::from_secs(5),
        }
    }

    /// Whether it is above zero where nothing is to be done, so that an activation of 0 would
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
            ) | Self::Engine(EngineSignal::PrefixCacheHitRate)
        )
    }

    /// Whether it cannot rise any more once a replica is full, however much is asked of it: it
    /// tells a busy replica from an idle one, but not a full one from an overloaded one.
    #[must_use]
    pub const fn saturates(self) -> bool {
        matches!(
            self,
            Self::Gpu(_)
                | Self::Engine(
                    EngineSignal::Running
                        | EngineSignal::KvCacheUsage
                        | EngineSignal::RequestRate
                        | EngineSignal::TokenRate
                        | EngineSignal::PromptTokenRate
                        | EngineSignal::GenerationTokenRate
                        | EngineSignal::PrefixCacheHitRate
                )
        )
    }

    /// `base`, in [`Signal::base_unit`], in the unit of [`Signal::unit`].
    pub(crate) fn number(self, base: f64) -> f64 {
        match self.unit() {
            SignalUnit::Percent => base * 100.0,
            _ => base,
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
            Self::Count => "a number, such as 32",
            Self::Seconds => "a duration such as 500ms or 2s, or a number of seconds",
            Self::PerSecond => "a number per second, such as 50",
            Self::Replicas => "a number of replicas' worth of demand, such as 1",
            Self::Load => "a number, 1 where the expression is 1 for a replica that carries what it should",
        }
    }

    /// Whether Kubernetes quantity suffixes are accepted.
    #[must_use]
    pub const fn takes_quantities(self) -> bool {
        matches!(self, Self::Bytes | Self::BytesPerSecond)
    }

    /// Whether numbers in it say how hard a pod works (percent, temperature, latency, load)
    /// rather than how much of something it has or does (requests, bytes, watts, rates). Activity
    /// is judged by the busiest pod for an intensity and by the sum for an amount.
    #[must_use]
    pub const fn is_intensity(self) -> bool {
        matches!(self, Self::Percent | Self::Celsius | Self::Seconds | Self::Load)
    }

    /// The unit of an expression whose result has this base unit; `None` where no replica count
    /// can be made of it.
    pub(crate) const fn of_result(unit: Unit) -> Option<Self> {
        Some(match unit {
            Unit::Ratio => Self::Load,
            Unit::Bytes => Self::Bytes,
            Unit::BytesPerSecond => Self::BytesPerSecond,
            Unit::Watts => Self::Watts,
            Unit::Celsius => Self::Celsius,
            Unit::Count => Self::Count,
            Unit::Seconds => Self::Seconds,
            Unit::PerSecond => Self::PerSecond,
            Unit::Joules | Unit::Hertz => return None,
        })
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
            SignalUnit::Seconds => (self.1, Unit::Seconds),
            SignalUnit::PerSecond => (self.1, Unit::PerSecond),
            SignalUnit::Count | SignalUnit::Replicas | SignalUnit::Load => {
                // Enough digits for a person.
                ((self.1 * 1e4).round() / 1e4, Unit::Count)
            }
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
    use crate::Quantile;

    #[test]
    fn names_are_those_of_the_quantities_and_read_back() {
        for signal in Signal::all() {
            assert_eq!(signal.name().parse(), Ok(signal));
            match signal {
                Signal::Gpu(quantity) => {
                    assert_eq!(signal.name(), format!("gpu.{quantity}"));
                    assert!(!quantity.is_counter(), "a counter grows whatever the load");
                    assert!(!matches!(
                        quantity.unit(),
                        Unit::Joules | Unit::Hertz | Unit::Count
                    ));
                }
                Signal::Engine(engine) => {
                    assert_eq!(signal.name(), format!("engine.{engine}"));
                    for &quantile in Quantile::ALL {
                        assert_eq!(signal.base_unit(), engine.quantity(quantile).unit());
                    }
                }
                _ => assert!(!signal.is_per_pod()),
            }
            assert!(
                signal
                    .metric_name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
        for &engine in EngineSignal::ALL {
            assert!(
                Signal::all().any(|signal| signal == Signal::Engine(engine)),
                "{engine}"
            );
        }
    }
}
