use std::sync::Arc;

use rheostat_reading::{Absent, Observed, Timestamp};

use crate::hpa::to_milli;
use crate::{Claim, DeviceInput, Input, MetricType, PodInput, PodState, Signal, Trigger, Unseen};

/// The number of one moment, and every step that led to it.
///
/// Steps are plain data; [`Evaluation::explain`] puts them into words when somebody asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The moment that was evaluated.
    pub at: Timestamp,
    /// The answer of this moment, taken by itself.
    pub outcome: Outcome,
    /// How much of the workload was known.
    pub coverage: Coverage,
    /// How the value is to be read.
    pub metric_type: MetricType,
    /// The trigger's target.
    pub target: f64,
    /// `spec.replicas` at that moment.
    pub replicas: u32,
    /// Each pod, in the order of the input.
    pub pods: Vec<PodResult>,
    /// What was done with the pods' numbers, in order.
    pub steps: Vec<Step>,
}

/// What one moment says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// There is a number.
    Known {
        /// For KEDA: in the unit of the trigger's signal, finite, at least 0, and exact in
        /// thousandths.
        value: f64,
        /// Whether there is demand.
        active: bool,
    },
    /// The workload has no replicas and nothing asks for one: inactive, 0.
    AtZero,
    /// Too few of the ready pods could be read. Why stands with each of [`Evaluation::pods`].
    Unknown,
}

/// How many pods were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Ready pods with a number.
    pub known: u32,
    /// Ready pods.
    pub ready: u32,
    /// Replicas that are there or due, without those that are being deleted.
    pub total: u32,
}

/// What became of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodResult {
    /// The pod's name.
    pub name: Arc<str>,
    /// Whether it serves.
    pub state: PodState,
    /// The pod's number in the unit of the signal, or why it has none. `None` where the pod was
    /// not looked at: it is not ready, or the signal needs no devices.
    pub number: Option<Result<f64, PodUnknown>>,
    /// The devices that were looked at.
    pub devices: Vec<DeviceResult>,
}

/// What was known of one device of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceResult {
    /// UUID of the GPU or partition.
    pub id: Arc<str>,
    /// Product name; may be empty.
    pub model: Arc<str>,
    /// Whether the pod has it for itself.
    pub claim: Claim,
    /// The reading that was used, or why none was: too old counts as absent.
    pub observed: Observed,
}

/// Why a ready pod has no number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PodUnknown {
    /// It holds no GPU, so that a GPU signal can say nothing of it.
    #[error("the pod holds no GPU")]
    NoDevice,
    /// The trigger's `gpuIndex` is beyond its devices.
    #[error("gpuIndex is {index}, but the pod holds {count} (numbered from 0)")]
    NoSuchDevice {
        /// The trigger's `gpuIndex`.
        index: u32,
        /// How many devices the pod holds.
        count: usize,
    },
    /// Its devices are not known.
    #[error(transparent)]
    Unseen(Unseen),
    /// One of its devices has no reading.
    #[error("{device}: {reason}")]
    Device {
        /// UUID of the device.
        device: Arc<str>,
        /// Why there is no reading.
        reason: Absent,
    },
}

/// One step from the pods' numbers to the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The scale target has no replicas.
    NoReplicas,
    /// A person's demand, in replicas, times the target.
    Manual {
        /// What the annotation says, in replicas; `None` where there is none.
        replicas: Option<f64>,
        /// The same in the unit of the target.
        demand: f64,
    },
    /// The share of ready pods that were read is below the quorum.
    BelowQuorum {
        /// The trigger's quorum.
        quorum: f64,
    },
    /// Unread ready pods were counted at exactly the target: they vote for no change.
    Votes {
        /// How many.
        pods: u32,
        /// The target.
        each: f64,
    },
    /// The pods' numbers were combined.
    Combined {
        /// The statistic per ready pod.
        intensity: f64,
        /// Intensity × ready pods.
        demand: f64,
        /// Ready pods.
        ready: u32,
    },
    /// The value was put to "no change".
    Hold(Hold),
    /// Why the workload is active or not.
    Activity(Activity),
}

/// Why the size is held while some replicas are not ready.
///
/// Beyond the plain arithmetic: when a fleet under full load loses nodes, the load that the rest
/// can show is capped by what the rest can do, so the sum says "fewer" just when it means "too
/// few"; and a fleet that starts cold shows nothing at all. While the ready replicas are at or
/// above target and the rest is on its way, the answer is therefore "as many as now". It cannot
/// run away, because it is the present size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// None of the replicas is ready.
    NoneReady,
    /// The ready ones are at or above target, the others are not ready.
    SomeNotReady {
        /// Replicas that are not ready.
        not_ready: u32,
    },
}

/// Why a workload is active or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activity {
    /// What was compared exceeds the activation.
    Busy {
        /// The busiest pod's number, or the sum for an amount.
        compared: f64,
    },
    /// Some ready pods could not be read, and may be busy.
    Unread {
        /// How many.
        pods: u32,
    },
    /// Some replicas are still starting; to call that idle would tear down a cold start.
    Starting {
        /// How many.
        replicas: u32,
    },
    /// Nothing exceeds the activation.
    Idle {
        /// The busiest pod's number, or the sum for an amount.
        compared: f64,
    },
}

/// Rounding that must not count as a difference.
const SLACK: f64 = 1e-9;

/// What `input` says of the workload behind `trigger`.
///
/// `metric_type` is the trigger's `metricType` in the ScaledObject (`AverageValue` for a
/// ScaledJob). Every input gives an evaluation; the same input gives the same one.
#[must_use]
pub fn evaluate(trigger: &Trigger, metric_type: MetricType, input: &Input<'_>) -> Evaluation {
    let gpu = matches!(trigger.signal, Signal::Gpu(_));
    let pods: Vec<PodResult> = input
        .pods
        .iter()
        .map(|pod| pod_result(trigger, input.now, pod, gpu))
        .collect();
    let count = |wanted: PodState| counted(pods.iter().filter(|pod| pod.state == wanted).count());
    let ready = count(PodState::Ready);
    let known = counted(
        pods.iter()
            .filter(|pod| matches!(pod.number, Some(Ok(_))))
            .count(),
    );
    let total = input
        .replicas
        .max(ready.saturating_add(count(PodState::NotReady)));
    let mut work = Work {
        trigger,
        metric_type,
        replicas: input.replicas,
        coverage: Coverage {
            known: if gpu { known } else { ready },
            ready,
            total,
        },
        steps: Vec::with_capacity(4),
    };
    let outcome = match trigger.signal {
        Signal::Manual => work.manual(input.manual),
        Signal::Gpu(_) => work.gpu(&pods),
    };
    Evaluation {
        at: input.now,
        outcome,
        coverage: work.coverage,
        metric_type,
        target: trigger.target,
        replicas: input.replicas,
        steps: work.steps,
        pods,
    }
}

struct Work<'a> {
    trigger: &'a Trigger,
    metric_type: MetricType,
    replicas: u32,
    coverage: Coverage,
    steps: Vec<Step>,
}

impl Work<'_> {
    fn gpu(&mut self, pods: &[PodResult]) -> Outcome {
        let Coverage { known, ready, total } = self.coverage;
        let target = self.trigger.target;
        // Also while pods of the past are still going away: their load is no demand, and an
        // error at zero would tear KEDA's push stream down.
        if self.replicas == 0 {
            self.steps.push(Step::NoReplicas);
            return Outcome::AtZero;
        }
        let not_ready = total.saturating_sub(ready);
        if ready == 0 {
            self.steps.push(Step::Hold(Hold::NoneReady));
            let active = self.activity(0.0, 0, not_ready);
            return self.unchanged(active);
        }
        let unread = ready - known;
        if f64::from(known) < self.trigger.quorum * f64::from(ready) - SLACK {
            self.steps.push(Step::BelowQuorum {
                quorum: self.trigger.quorum,
            });
            return Outcome::Unknown;
        }
        let mut numbers: Vec<f64> = pods
            .iter()
            .filter_map(|pod| pod.number.as_ref()?.as_ref().ok().copied())
            .collect();
        let busiest = numbers.iter().copied().fold(0.0, f64::max);
        let sum: f64 = numbers.iter().sum();
        if unread > 0 {
            self.steps.push(Step::Votes {
                pods: unread,
                each: target,
            });
            numbers.resize(numbers.len() + unread as usize, target);
        }
        // Below freezing is no negative demand.
        let intensity = self
            .trigger
            .aggregation
            .reduce(&mut numbers)
            .unwrap_or(target)
            .max(0.0);
        let demand = intensity * f64::from(ready);
        self.steps.push(Step::Combined {
            intensity,
            demand,
            ready,
        });
        let compared = if self.trigger.signal.is_intensity() {
            busiest
        } else {
            sum
        };
        let active = self.activity(compared, unread, not_ready);

        let full = intensity >= target * (1.0 - SLACK);
        let enough = demand <= target * f64::from(self.replicas) * (1.0 + SLACK);
        if not_ready > 0 && full && enough {
            self.steps.push(Step::Hold(Hold::SomeNotReady { not_ready }));
            return self.unchanged(active);
        }
        let value = match self.metric_type {
            MetricType::AverageValue => demand,
            MetricType::Value => intensity,
        };
        Outcome::Known {
            value: to_milli(value),
            active,
        }
    }

    /// A person's demand is known whatever the pods do, so nothing is held or missing; but under
    /// `Value` the HPA multiplies by the ready pods, so the value is the part of each of them.
    fn manual(&mut self, replicas: Option<f64>) -> Outcome {
        let demand = replicas.unwrap_or(0.0).max(0.0) * self.trigger.target;
        self.steps.push(Step::Manual { replicas, demand });
        let active = demand > self.trigger.activation;
        self.steps.push(Step::Activity(match active {
            true => Activity::Busy { compared: demand },
            false => Activity::Idle { compared: demand },
        }));
        if self.replicas == 0 && !active {
            self.steps.push(Step::NoReplicas);
            return Outcome::AtZero;
        }
        let value = match self.metric_type {
            MetricType::AverageValue => demand,
            MetricType::Value if self.replicas == 0 => demand,
            MetricType::Value if self.coverage.ready == 0 => {
                self.steps.push(Step::Hold(Hold::NoneReady));
                self.trigger.target
            }
            MetricType::Value => demand / f64::from(self.coverage.ready),
        };
        Outcome::Known {
            value: to_milli(value),
            active,
        }
    }

    /// The value whose ratio to the target is exactly 1.
    fn unchanged(&self, active: bool) -> Outcome {
        let value = match self.metric_type {
            MetricType::AverageValue => self.trigger.target * f64::from(self.replicas),
            MetricType::Value => self.trigger.target,
        };
        Outcome::Known {
            value: to_milli(value),
            active,
        }
    }

    fn activity(&mut self, compared: f64, unread: u32, not_ready: u32) -> bool {
        let activity = if compared > self.trigger.activation {
            Activity::Busy { compared }
        } else if unread > 0 {
            Activity::Unread { pods: unread }
        } else if not_ready > 0 {
            Activity::Starting { replicas: not_ready }
        } else {
            Activity::Idle { compared }
        };
        self.steps.push(Step::Activity(activity));
        !matches!(activity, Activity::Idle { .. })
    }
}

fn pod_result(trigger: &Trigger, now: Timestamp, pod: &PodInput, gpu: bool) -> PodResult {
    let mut result = PodResult {
        name: Arc::clone(&pod.name),
        state: pod.state,
        number: None,
        devices: Vec::new(),
    };
    if !gpu || pod.state != PodState::Ready {
        return result;
    }
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
    result.number = Some(held.and_then(|devices| {
        result
            .devices
            .extend(devices.iter().map(|device| device_result(trigger, now, device)));
        pod_number(trigger, &result.devices)
    }));
    result
}

/// One unread device makes the pod unread: its other devices may be the idle ones.
fn pod_number(trigger: &Trigger, devices: &[DeviceResult]) -> Result<f64, PodUnknown> {
    for device in devices {
        if let Err(reason) = &device.observed {
            return Err(PodUnknown::Device {
                device: Arc::clone(&device.id),
                reason: reason.clone(),
            });
        }
    }
    let numbers = devices.iter().filter_map(|device| device.observed.as_ref().ok());
    trigger
        .within
        .reduce(numbers.map(|reading| trigger.signal.number(reading.amount)))
        .ok_or(PodUnknown::NoDevice)
}

fn device_result(trigger: &Trigger, now: Timestamp, device: &DeviceInput) -> DeviceResult {
    let observed = device.observed.clone().and_then(|reading| {
        let age = reading.age(now);
        let wanted = trigger.signal.quantity();
        if age > trigger.stale_after {
            Err(Absent::Stale(age))
        } else if wanted.is_some_and(|quantity| quantity.unit() != reading.amount.unit()) {
            Err(Absent::Failed(format!("read in {}", reading.amount.unit())))
        } else if reading.amount.value() < 0.0 && trigger.signal.unit() != crate::SignalUnit::Celsius {
            Err(Absent::Failed(format!("read as {}", reading.amount)))
        } else {
            Ok(reading)
        }
    });
    DeviceResult {
        id: Arc::clone(&device.id),
        model: Arc::clone(&device.model),
        claim: device.claim,
        observed,
    }
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
