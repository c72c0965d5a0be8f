//! What accumulates: energy, bytes, busy time.

use super::Gauges;
use crate::scenario::{Activity, Curve, Gpu, Interpolation, Shape, ThrottleReason};

/// What accumulates. The unit is that of the rate, times seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    /// Joules.
    Energy,
    /// Bytes, here and below.
    PcieRx,
    PcieTx,
    NvlinkRx,
    NvlinkTx,
    /// Percent times seconds, here and below.
    Graphics,
    Sm,
    SmOccupancy,
    Tensor,
    Dram,
    Integer,
    Fp64,
    Fp32,
    Fp16,
    Decoder,
    Jpeg,
    OpticalFlow,
    /// Seconds, here and below.
    PowerCap,
    SyncBoost,
    SoftwareThermal,
    HardwareThermal,
    PowerBrake,
}

const METERS: usize = Meter::PowerBrake as usize + 1;

/// A weighted sum of curves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) offset: f64,
    pub(crate) terms: Vec<(f64, Curve)>,
}

/// The rates of a GPU or a GPU instance, and what they have come to.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    rates: Vec<Sum>,
    /// Totals at `since`.
    base: Vec<f64>,
    /// Unix seconds.
    since: f64,
    zero: f64,
}

impl Sum {
    pub(crate) fn of(curve: &Curve) -> Self {
        Self {
            offset: 0.0,
            terms: vec![(1.0, curve.clone())],
        }
    }

    /// `offset + factor * self`.
    pub(crate) fn scaled(&self, factor: f64, offset: f64) -> Self {
        let terms = self
            .terms
            .iter()
            .map(|(weight, curve)| (weight * factor, curve.clone()))
            .collect();
        Self {
            offset: self.offset * factor + offset,
            terms,
        }
    }

    pub(crate) fn total(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut total = Self::default();
        for part in parts {
            total.offset += part.offset;
            total.terms.extend(part.terms);
        }
        total
    }

    pub(crate) fn at(&self, t: f64) -> f64 {
        self.terms
            .iter()
            .map(|(weight, curve)| weight * curve.at(t))
            .sum::<f64>()
            + self.offset
    }

    fn integral(&self, a: f64, b: f64) -> f64 {
        let curves: f64 = self
            .terms
            .iter()
            .map(|(weight, curve)| weight * curve.integral(a, b))
            .sum();
        curves + self.offset * (b - a)
    }
}

impl Flows {
    pub(super) fn of_gpu(gpu: &Gpu, gauges: &Gauges, zero: f64) -> Self {
        let mut flows = Self::still(zero);
        let readings = &gpu.readings;
        flows.set(Meter::Energy, gauges.power.clone());
        for (meter, rate) in [
            (Meter::PcieRx, &readings.pcie_rx_bytes_per_second),
            (Meter::PcieTx, &readings.pcie_tx_bytes_per_second),
            (Meter::NvlinkRx, &readings.nvlink_rx_bytes_per_second),
            (Meter::NvlinkTx, &readings.nvlink_tx_bytes_per_second),
            (Meter::Decoder, &readings.decoder_percent),
            (Meter::Jpeg, &readings.jpeg_percent),
            (Meter::OpticalFlow, &readings.optical_flow_percent),
        ] {
            flows.set(meter, rate.as_ref().map(Sum::of).unwrap_or_default());
        }
        for (meter, reason) in [
            (Meter::PowerCap, ThrottleReason::SwPowerCap),
            (Meter::SyncBoost, ThrottleReason::SyncBoost),
            (Meter::SoftwareThermal, ThrottleReason::SwThermalSlowdown),
            (Meter::HardwareThermal, ThrottleReason::HwThermalSlowdown),
            (Meter::PowerBrake, ThrottleReason::HwPowerBrakeSlowdown),
        ] {
            flows.set(meter, throttled(gpu, reason));
        }
        flows.set_activity(
            &gpu.activity,
            gauges.utilization.clone(),
            Some(gauges.memory_utilization.clone()),
        );
        flows
    }

    pub(super) fn of_instance(activity: &Activity, zero: f64) -> Self {
        let mut flows = Self::still(zero);
        flows.set_activity(activity, Sum::default(), None);
        flows
    }

    fn still(zero: f64) -> Self {
        Self {
            rates: vec![Sum::default(); METERS],
            base: vec![0.0; METERS],
            since: zero,
            zero,
        }
    }

    fn set(&mut self, meter: Meter, rate: Sum) {
        if let Some(slot) = self.rates.get_mut(meter as usize) {
            *slot = rate;
        }
    }

    fn set_activity(&mut self, activity: &Activity, busy: Sum, dram: Option<Sum>) {
        let given = |curve: &Option<Curve>| curve.as_ref().map(Sum::of);
        let graphics = given(&activity.graphics_percent).unwrap_or(busy);
        let sm = given(&activity.sm_percent).unwrap_or_else(|| graphics.clone());
        let half = sm.scaled(0.5, 0.0);
        self.set(
            Meter::SmOccupancy,
            given(&activity.sm_occupancy_percent).unwrap_or_else(|| half.clone()),
        );
        self.set(
            Meter::Tensor,
            given(&activity.tensor_percent).unwrap_or_else(|| half.clone()),
        );
        self.set(
            Meter::Dram,
            given(&activity.dram_percent).or(dram).unwrap_or(half),
        );
        self.set(
            Meter::Integer,
            given(&activity.integer_percent).unwrap_or_default(),
        );
        self.set(Meter::Fp64, given(&activity.fp64_percent).unwrap_or_default());
        self.set(Meter::Fp32, given(&activity.fp32_percent).unwrap_or_default());
        self.set(Meter::Fp16, given(&activity.fp16_percent).unwrap_or_default());
        self.set(Meter::Graphics, graphics);
        self.set(Meter::Sm, sm);
    }

    /// The rate at `unix`.
    pub(crate) fn rate(&self, meter: Meter, unix: f64) -> f64 {
        self.rates
            .get(meter as usize)
            .map_or(0.0, |rate| rate.at(unix - self.zero))
    }

    /// What it has come to at `unix`: since time zero, or where a scenario took the place of another
    /// one, since the time zero of the first.
    pub(crate) fn total(&self, meter: Meter, unix: f64) -> f64 {
        let base = self.base.get(meter as usize).copied().unwrap_or_default();
        let until = unix.max(self.since);
        let since = |rate: &Sum| rate.integral(self.since - self.zero, until - self.zero);
        base + self.rates.get(meter as usize).map_or(0.0, since)
    }

    /// Every total at `unix`, by [`Meter`].
    pub(crate) fn totals(&self, unix: f64) -> Vec<f64> {
        ALL.iter().map(|meter| self.total(*meter, unix)).collect()
    }

    pub(super) fn continue_from(&mut self, old: &Self, now: f64) {
        self.base = old.totals(now);
        self.since = now;
    }
}

const ALL: [Meter; METERS] = [
    Meter::Energy,
    Meter::PcieRx,
    Meter::PcieTx,
    Meter::NvlinkRx,
    Meter::NvlinkTx,
    Meter::Graphics,
    Meter::Sm,
    Meter::SmOccupancy,
    Meter::Tensor,
    Meter::Dram,
    Meter::Integer,
    Meter::Fp64,
    Meter::Fp32,
    Meter::Fp16,
    Meter::Decoder,
    Meter::Jpeg,
    Meter::OpticalFlow,
    Meter::PowerCap,
    Meter::SyncBoost,
    Meter::SoftwareThermal,
    Meter::HardwareThermal,
    Meter::PowerBrake,
];

/// 1 while `reason` holds, else 0. Windows of one reason that overlap count as often.
fn throttled(gpu: &Gpu, reason: ThrottleReason) -> Sum {
    let windows = gpu.throttle.iter().filter(|window| window.reason == reason);
    Sum::total(windows.map(|window| {
        let end = window.until_seconds.filter(|until| *until > window.from_seconds);
        let mut points = vec![(window.from_seconds - 1e-9, 0.0), (window.from_seconds, 1.0)];
        points.extend(end.map(|until| (until, 0.0)));
        Sum::of(&Curve::Shape(Shape::Series {
            points,
            interpolation: Interpolation::Step,
        }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::scenario::Scenario;

    fn with_power(watts: f64) -> Scenario {
        let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", 1);
        scenario.gpus[0].readings.power_watts = Some(Curve::Constant(watts));
        scenario
    }

    #[test]
    fn every_meter_is_in_its_place() {
        assert!(
            ALL.iter()
                .enumerate()
                .all(|(index, meter)| *meter as usize == index)
        );
    }

    #[test]
    fn counters_go_on_when_the_scenario_changes() {
        let first = Machine::new(with_power(100.0), 1000.0, 1000.0, None).unwrap();
        let energy = |machine: &Machine, unix: f64| machine.gpus[0].flows.total(Meter::Energy, unix);
        assert!((energy(&first, 1010.0) - 1000.0).abs() < 1e-6);
        let second = Machine::new(with_power(300.0), 1010.0, 1010.0, Some(&first)).unwrap();
        assert!((energy(&second, 1010.0) - 1000.0).abs() < 1e-6);
        assert!((energy(&second, 1011.0) - 1300.0).abs() < 1e-6);
    }

    #[test]
    fn samples_from_before_a_change_stay_as_they_were() {
        let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", 1);
        scenario.gpus[0].readings.utilization_percent = Some(Curve::Constant(10.0));
        let first = Machine::new(scenario.clone(), 1000.0, 1000.0, None).unwrap();
        scenario.gpus[0].readings.utilization_percent = Some(Curve::Constant(90.0));
        let second = Machine::new(scenario, 1010.0, 1010.0, Some(&first)).unwrap();
        let seen =
            [1009.0, 1011.0].map(|unix| second.gpus[0].sampled(super::super::Sampled::Utilization, unix));
        assert_eq!(seen.map(f64::round).map(|percent| percent as u32), [10, 90]);
    }
}
