//! What is read at a moment.

use super::Instance;
use super::flow::Sum;
use crate::scenario::{Curve, Gpu, Model, Process};

/// What the driver keeps samples of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    /// Watts.
    Power,
    /// Percent, here and below.
    Utilization,
    MemoryUtilization,
    Encoder,
    Decoder,
    Jpeg,
    OpticalFlow,
    /// MHz, here and below.
    SmClock,
    MemoryClock,
}

/// The readings of a GPU, with what the scenario leaves out derived.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    /// Time zero of its curves, in Unix seconds.
    pub(crate) zero: f64,
    pub(crate) utilization: Sum,
    pub(crate) memory_utilization: Sum,
    pub(crate) power: Sum,
    pub(crate) temperature: Sum,
    pub(crate) memory_temperature: Sum,
    encoder: Sum,
    decoder: Sum,
    jpeg: Sum,
    optical_flow: Sum,
    sm_clock: Option<Sum>,
    memory_clock: Sum,
    idle_sm_mhz: f64,
    max_sm_mhz: f64,
}

impl Gauges {
    pub(super) fn new(gpu: &Gpu, model: &Model, power_limit: f64, instances: &[Instance], zero: f64) -> Self {
        let readings = &gpu.readings;
        let given = |curve: &Option<Curve>| curve.as_ref().map(Sum::of);
        let of_processes = |part: fn(&Process) -> &Curve| {
            Sum::total(gpu.processes.iter().map(|process| Sum::of(part(process))))
        };
        let of_instances = |part: fn(&Instance) -> Option<&Curve>| {
            Sum::total(instances.iter().filter_map(|instance| {
                let weight = f64::from(instance.profile.slices) / f64::from(model.mig_slices.max(1));
                part(instance).map(|curve| Sum::of(curve).scaled(weight, 0.0))
            }))
        };
        let utilization = given(&readings.utilization_percent).unwrap_or_else(|| {
            Sum::total([
                of_processes(|process| &process.sm_percent),
                of_instances(|instance| {
                    let activity = &instance.scenario.activity;
                    activity
                        .graphics_percent
                        .as_ref()
                        .or(activity.sm_percent.as_ref())
                }),
            ])
        });
        let memory_utilization = given(&readings.memory_utilization_percent).unwrap_or_else(|| {
            Sum::total([
                of_processes(|process| &process.memory_percent),
                of_instances(|instance| instance.scenario.activity.dram_percent.as_ref()),
            ])
        });
        let power = given(&readings.power_watts).unwrap_or_else(|| {
            utilization.scaled((power_limit - model.idle_watts) / 100.0, model.idle_watts)
        });
        let warm = |offset: f64, rise: f64| power.scaled(rise / power_limit, offset);
        Self {
            zero,
            temperature: given(&readings.temperature_celsius).unwrap_or_else(|| warm(30.0, 45.0)),
            memory_temperature: given(&readings.memory_temperature_celsius)
                .unwrap_or_else(|| warm(35.0, 50.0)),
            encoder: given(&readings.encoder_percent).unwrap_or_default(),
            decoder: given(&readings.decoder_percent).unwrap_or_default(),
            jpeg: given(&readings.jpeg_percent).unwrap_or_default(),
            optical_flow: given(&readings.optical_flow_percent).unwrap_or_default(),
            sm_clock: given(&readings.sm_clock_mhz),
            memory_clock: given(&readings.memory_clock_mhz).unwrap_or_else(|| Sum {
                offset: f64::from(model.memory_mhz),
                terms: Vec::new(),
            }),
            idle_sm_mhz: f64::from(model.idle_sm_mhz),
            max_sm_mhz: f64::from(model.max_sm_mhz),
            utilization,
            memory_utilization,
            power,
        }
    }

    /// The value at `unix`. A sum of processes may exceed what one GPU can do: percentages end at 100.
    pub(crate) fn value(&self, what: Sampled, unix: f64) -> f64 {
        let t = unix - self.zero;
        let percent = |sum: &Sum| sum.at(t).clamp(0.0, 100.0);
        match what {
            Sampled::Power => self.power.at(t),
            Sampled::Utilization => percent(&self.utilization),
            Sampled::MemoryUtilization => percent(&self.memory_utilization),
            Sampled::Encoder => percent(&self.encoder),
            Sampled::Decoder => percent(&self.decoder),
            Sampled::Jpeg => percent(&self.jpeg),
            Sampled::OpticalFlow => percent(&self.optical_flow),
            Sampled::MemoryClock => self.memory_clock.at(t),
            Sampled::SmClock => match &self.sm_clock {
                Some(clock) => clock.at(t),
                None if self.utilization.at(t) > 0.0 => self.max_sm_mhz,
                None => self.idle_sm_mhz,
            },
        }
    }
}
