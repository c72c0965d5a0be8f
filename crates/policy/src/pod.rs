use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{EngineReport, Sleep};
use rheostat_expression::{Outcome, Value};
use rheostat_reading::{Absent, EngineQuantity, Observed, Quality, Quantity, Reading, Timestamp};

use crate::{
    DeviceInput, DeviceResult, EngineNeeds, EngineResult, Evidence, Load, NamedSignal, Number, PodInput,
    PodPart, PodResult, PodState, PodUnknown, Source, Trigger, Within,
};

/// What each signal says of `pod`, and the number that comes of it.
pub(crate) fn pod_result(trigger: &Trigger, now: Timestamp, pod: &PodInput) -> PodResult {
    let mut result = PodResult {
        name: Arc::clone(&pod.name),
        state: state(trigger, now, pod),
        number: None,
        parts: Vec::new(),
    };
    if result.state != PodState::Ready {
        return result;
    }
    result.parts = trigger
        .signals
        .iter()
        .enumerate()
        .filter_map(|(place, signal)| part(trigger, now, pod, place, signal))
        .collect();
    result.number = match &trigger.load {
        Load::Signal(signal) => result
            .parts
            .first()
            .filter(|part| part.signal == 0)
            .map(|part| match &part.number {
                Ok(number) => Ok(signal.number(number.value)),
                Err(unknown) => Err(unknown.clone()),
            }),
        Load::PerPod(expression) => {
            let values = pod_values(trigger, &result.parts);
            Some(match expression.evaluate(&values) {
                Outcome::Absent(unknown) => Err(PodUnknown::Expression {
                    reason: expression.reason(&unknown, &values),
                    lasting: unknown.missing.iter().any(|place| {
                        let mut parts = result.parts.iter();
                        parts.any(|part| {
                            part.signal == place && part.number.as_ref().is_err_and(PodUnknown::is_lasting)
                        })
                    }),
                }),
                known => known.number().ok_or_else(|| PodUnknown::Expression {
                    reason: "the expression is a condition, not a number".into(),
                    lasting: true,
                }),
            })
        }
        Load::OverWorkload(_) | Load::Policy(_) => None,
    };
    result
}

/// The values of one pod's parts, in the order of the trigger's names.
pub(crate) fn pod_values(trigger: &Trigger, parts: &[PodPart]) -> Vec<Value> {
    let mut values = vec![Value::Absent(Absent::NotYet); trigger.signals.len()];
    for part in parts {
        if let Some(value) = values.get_mut(part.signal) {
            *value = match &part.number {
                Ok(number) => Value::Known {
                    number: number.value,
                    quality: number.quality,
                },
                Err(unknown) => Value::Absent(absent(unknown)),
            };
        }
    }
    values
}

/// An engine's report, and what decides which of its readings count.
#[derive(Clone, Copy)]
pub(crate) struct Judged<'a> {
    pub(crate) report: &'a EngineReport,
    /// An older reading counts as absent.
    pub(crate) stale_after: Duration,
    /// What rates and latencies should cover.
    pub(crate) window: Duration,
    pub(crate) now: Timestamp,
}

impl Judged<'_> {
    /// The reading of `quantity`, unless it is too old, impossible, or covers too little.
    pub(crate) fn reading(&self, quantity: EngineQuantity) -> Observed {
        let reading = self.however_short(quantity)?;
        if self.is_short(&reading) {
            return Err(Absent::NotYet);
        }
        Ok(reading)
    }

    /// The reading of `quantity`, unless it is too old or impossible.
    fn however_short(&self, quantity: EngineQuantity) -> Observed {
        let reading = self.report.readings.get(quantity).map_err(Clone::clone)?;
        let age = reading.age(self.now);
        if age > self.stale_after {
            Err(Absent::Stale(age))
        } else if reading.amount.value() < 0.0 {
            Err(Absent::Failed(format!("read as {}", reading.amount)))
        } else {
            Ok(*reading)
        }
    }

    /// Whether a rate or latency covers so little that it says nothing of the present: as two
    /// scrapes do after whoever scrapes, or the engine, has begun anew. One without a window is of
    /// the moment, or the engine's own.
    fn is_short(&self, reading: &Reading) -> bool {
        const ENOUGH: Duration = Duration::from_secs(20);
        !reading.window.is_zero() && reading.window < ENOUGH.min(self.window / 2)
    }

    /// Why a reading of which there was no traffic is not known all the same, if so.
    ///
    /// No traffic is no demand, unless there are requests that have not come to anything yet: an
    /// engine that hangs, or whose answers take longer than the window, is anything but idle. So
    /// something has to say that there are none; of an engine that never tells of requests under
    /// way, the count of those that finished has to be known.
    fn not_idle(&self) -> Option<PodUnknown> {
        match self.report.answered_at {
            None => return Some(self.unknown(Absent::NotYet)),
            Some(at) if self.now.since(at) > self.stale_after => {
                return Some(self.unknown(Absent::Stale(self.now.since(at))));
            }
            Some(_) => {}
        }
        // No traffic has no window of its own; the rates of the same scrapes have one.
        let rates = COVERING.map(|rate| self.report.readings.get(rate));
        if let Some(Ok(rate)) = rates.into_iter().find(Result::is_ok)
            && self.is_short(rate)
        {
            return Some(self.unknown(Absent::NotYet));
        }
        for quantity in UNDER_WAY {
            match self.reading(quantity) {
                Ok(reading) if reading.amount.value() > 0.0 => {
                    return Some(PodUnknown::NoneFinished {
                        concurrency: whole(reading.amount.value()),
                    });
                }
                Ok(_) => return None,
                Err(Absent::NotSupported) => {}
                Err(reason) => return Some(self.unknown(reason)),
            }
        }
        let finished = self.reading(EngineQuantity::RequestRate);
        finished.err().map(|reason| self.unknown(reason))
    }

    fn unknown(&self, reason: Absent) -> PodUnknown {
        PodUnknown::Engine {
            engine: self.report.engine,
            reason,
            failure: self.report.failure.clone(),
        }
    }
}

impl EngineNeeds {
    /// What `report` says of `quantity` at `now`: absent where it is too old, impossible, or covers too
    /// little to say something of the present.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn reading(&self, report: &EngineReport, quantity: EngineQuantity, now: Timestamp) -> Observed {
        self.judged(report, now).reading(quantity)
    }

    /// The same, however little it covers: of an engine that has just begun to serve, that is all there was.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn reading_however_short(
        &self,
        report: &EngineReport,
        quantity: EngineQuantity,
        now: Timestamp,
    ) -> Observed {
        self.judged(report, now).however_short(quantity)
    }

    const fn judged<'a>(&self, report: &'a EngineReport, now: Timestamp) -> Judged<'a> {
        Judged {
            report,
            stale_after: self.stale_after,
            window: self.selection.window,
            now,
        }
    }
}

/// Rates whose window tells what the scrapes cover; an engine that tells latencies has one of them.
pub(crate) const COVERING: [EngineQuantity; 2] =
    [EngineQuantity::RequestRate, EngineQuantity::GenerationTokenRate];

/// What tells of requests under way, the most telling first.
pub(crate) const UNDER_WAY: [EngineQuantity; 3] = [
    EngineQuantity::Concurrency,
    EngineQuantity::Running,
    EngineQuantity::Waiting,
];

/// The pod's state; of a ready one, whether its engine sleeps. An engine that has not said so
/// lately is not taken to sleep.
fn state(trigger: &Trigger, now: Timestamp, pod: &PodInput) -> PodState {
    let (PodState::Ready, Some(needs), Ok(report)) = (pod.state, &trigger.needs.engine, &pod.engine) else {
        return pod.state;
    };
    let fresh = report
        .answered_at
        .is_some_and(|at| now.since(at) <= needs.stale_after);
    match report.sleep {
        Sleep::Asleep if fresh => PodState::Asleep,
        _ => PodState::Ready,
    }
}

/// `None` for a signal that pods have no part of.
fn part(
    trigger: &Trigger,
    now: Timestamp,
    pod: &PodInput,
    place: usize,
    signal: &NamedSignal,
) -> Option<PodPart> {
    let (number, evidence) = match &signal.source {
        Source::Gpu { quantity, within } => {
            let (number, devices) = gpu_part(trigger, now, pod, signal, *quantity, *within);
            (number, Evidence::Devices(devices))
        }
        Source::Engine { quantity } => {
            let (number, engine) = engine_part(trigger, now, pod, signal, *quantity);
            (number, Evidence::Engine(engine))
        }
        Source::Outside(_) | Source::Schedule(_) | Source::Manual => return None,
    };
    Some(PodPart {
        signal: place,
        number,
        evidence,
    })
}

fn gpu_part(
    trigger: &Trigger,
    now: Timestamp,
    pod: &PodInput,
    signal: &NamedSignal,
    quantity: Quantity,
    within: Within,
) -> (Result<Number, PodUnknown>, Vec<DeviceResult>) {
    let held = match &pod.devices {
        Ok(devices) if devices.is_empty() => Err(PodUnknown::NoDevice),
        Ok(devices) => match trigger.gpu_index {
            None => Ok(devices.as_slice()),
            Some(index) => devices
                .get(index as usize..=index as usize)
                .ok_or(PodUnknown::NoSuchDevice {
                    index,
                    count: devices.len(),
                }),
        },
        Err(unseen) => Err(PodUnknown::Unseen(unseen.clone())),
    };
    match held {
        Ok(held) => {
            let devices: Vec<_> = held
                .iter()
                .map(|device| device_result(signal, quantity, now, device))
                .collect();
            (gpu_number(&devices, within), devices)
        }
        Err(unknown) => (Err(unknown), Vec::new()),
    }
}

/// One unread device makes the pod unread: its other devices may be the idle ones.
fn gpu_number(devices: &[DeviceResult], within: Within) -> Result<Number, PodUnknown> {
    for device in devices {
        if let Err(reason) = &device.observed {
            return Err(PodUnknown::Device {
                device: Arc::clone(&device.id),
                reason: reason.clone(),
            });
        }
    }
    let readings = || devices.iter().filter_map(|device| device.observed.as_ref().ok());
    let value = within.reduce(readings().map(|reading| reading.amount.value()));
    let quality = readings().map(|reading| reading.quality).max();
    match (value, quality) {
        (Some(value), Some(quality)) => Ok(Number { value, quality }),
        _ => Err(PodUnknown::NoDevice),
    }
}

fn device_result(
    signal: &NamedSignal,
    quantity: Quantity,
    now: Timestamp,
    device: &DeviceInput,
) -> DeviceResult {
    let reading = device.readings.get(quantity).map_err(Clone::clone);
    let observed = reading.and_then(|reading| {
        let age = reading.age(now);
        if age > signal.stale_after {
            Err(Absent::Stale(age))
        } else if reading.amount.value() < 0.0 && quantity != Quantity::Temperature {
            Err(Absent::Failed(format!("read as {}", reading.amount)))
        } else {
            Ok(*reading)
        }
    });
    DeviceResult {
        id: Arc::clone(&device.id),
        model: Arc::clone(&device.model),
        claim: device.claim,
        observed,
    }
}

fn engine_part(
    trigger: &Trigger,
    now: Timestamp,
    pod: &PodInput,
    signal: &NamedSignal,
    quantity: EngineQuantity,
) -> (Result<Number, PodUnknown>, EngineResult) {
    let report = match &pod.engine {
        Ok(report) => report,
        Err(unseen) => {
            let result = EngineResult {
                engine: None,
                observed: Err(Absent::NotYet),
                failure: Some(unseen.to_string()),
                notes: Vec::new(),
            };
            return (Err(PodUnknown::Unseen(unseen.clone())), result);
        }
    };
    let judged = Judged {
        report,
        stale_after: signal.stale_after,
        window: trigger
            .needs
            .engine
            .as_ref()
            .map_or(Duration::ZERO, |needs| needs.selection.window),
        now,
    };
    let observed = judged.reading(quantity);
    let number = match &observed {
        Ok(reading) => Ok(Number {
            value: reading.amount.value(),
            quality: reading.quality,
        }),
        Err(Absent::NoTraffic) => match judged.not_idle() {
            Some(unknown) => Err(unknown),
            None => Ok(Number {
                value: 0.0,
                quality: Quality::Derived,
            }),
        },
        Err(reason) => Err(judged.unknown(reason.clone())),
    };
    let result = EngineResult {
        engine: report.engine,
        observed,
        failure: report.failure.clone(),
        notes: report.notes.clone(),
    };
    (number, result)
}

/// The reason as an expression may be told it.
fn absent(unknown: &PodUnknown) -> Absent {
    match unknown {
        PodUnknown::Device { reason, .. }
        | PodUnknown::Engine {
            reason,
            failure: None,
            ..
        } => reason.clone(),
        other => Absent::Failed(other.to_string()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the number is for a person"
)]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}
