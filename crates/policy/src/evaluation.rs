use std::sync::Arc;

use rheostat_engines::Engine;
use rheostat_expression::Value;
use rheostat_reading::{Absent, Observed, Quality, Timestamp};

use crate::evaluate::counted;
use crate::{Bounds, Claim, MetricType, PodState, Unseen};

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
    /// The size that the HPA holds the value against: `status.replicas` under `AverageValue`,
    /// `spec.replicas` under `Value`.
    pub replicas_for_hpa: u32,
    /// Each pod, in the order of the input.
    pub pods: Vec<PodResult>,
    /// Each signal that has one number for the workload.
    pub workload: Vec<WorkloadResult>,
    /// The values that an expression over the workload was given, in the order of its names; none
    /// where there is no such expression.
    pub load_values: Vec<Value>,
    /// The same of the activation's expression.
    pub activation_values: Vec<Value>,
    /// Why the scaling policy could not decide, where one was asked and could not.
    pub undecided: Option<Arc<str>>,
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
    /// Too few of the ready pods could be read, or a number of the workload is missing. Why
    /// stands with each of [`Evaluation::pods`] and [`Evaluation::workload`].
    Unknown,
}

/// How many pods were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Serving pods with a number.
    pub known: u32,
    /// Pods that serve: ready, and not asleep.
    pub ready: u32,
    /// Ready pods whose engine is asleep.
    pub asleep: u32,
    /// Pods that are being deleted and are still ready.
    pub draining: u32,
    /// Replicas that are there or due, without those that are being deleted.
    pub total: u32,
}

impl Evaluation {
    /// The serving pods that were not read, with the first reason of each.
    pub fn unread(&self) -> impl Iterator<Item = (&PodResult, &PodUnknown)> {
        self.pods.iter().filter_map(|pod| {
            let unknown = match &pod.number {
                Some(number) => number.as_ref().err(),
                None => pod.parts.iter().find_map(|part| part.number.as_ref().err()),
            };
            Some((pod, unknown?))
        })
    }

    /// The numbers of the workload that are missing, with their reasons.
    pub fn missing(&self) -> impl Iterator<Item = (usize, &Absent)> {
        let workload = self.workload.iter();
        workload.filter_map(|result| Some((result.signal, result.number.as_ref().err()?)))
    }
}

impl Coverage {
    /// Of `pods`, all that serve being known.
    pub(crate) fn of(pods: &[PodResult], replicas: u32) -> Self {
        let count = |wanted: PodState| counted(pods.iter().filter(|pod| pod.state == wanted).count());
        let (ready, asleep) = (count(PodState::Ready), count(PodState::Asleep));
        let there = ready
            .saturating_add(asleep)
            .saturating_add(count(PodState::NotReady));
        Self {
            known: ready,
            ready,
            asleep,
            draining: count(PodState::Draining),
            total: replicas.max(there),
        }
    }

    /// The pods that Kubernetes takes for ready, whether they are asleep or being deleted or not:
    /// what the HPA multiplies by (`getReadyPodsCount`).
    #[must_use]
    pub const fn ready_for_hpa(&self) -> u32 {
        self.ready
            .saturating_add(self.asleep)
            .saturating_add(self.draining)
    }
}

/// What became of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodResult {
    /// The pod's name.
    pub name: Arc<str>,
    /// Whether it serves.
    pub state: PodState,
    /// The pod's number in the unit of the trigger, or why it has none. `None` where the pod was
    /// not looked at: it does not serve, or the load is not made of the pods' own numbers.
    pub number: Option<Result<f64, PodUnknown>>,
    /// What each signal that pods have said of it, in the order of the trigger's signals; empty
    /// where the pod does not serve.
    pub parts: Vec<PodPart>,
}

impl PodResult {
    /// The devices that were looked at, once for each signal that they were looked at for.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceResult> {
        self.parts.iter().flat_map(|part| match &part.evidence {
            Evidence::Devices(devices) => devices.as_slice(),
            Evidence::Engine(_) => &[],
        })
    }

    /// What its engine said, once for each signal that it was asked for.
    pub fn engines(&self) -> impl Iterator<Item = (&PodPart, &EngineResult)> {
        self.parts.iter().filter_map(|part| match &part.evidence {
            Evidence::Devices(_) => None,
            Evidence::Engine(engine) => Some((part, engine)),
        })
    }
}

/// What one signal said of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPart {
    /// Which one, by its place in [`Trigger::signals`](crate::Trigger::signals).
    pub signal: usize,
    /// The number in the signal's base unit, or why there is none.
    pub number: Result<Number, PodUnknown>,
    /// What it was taken from.
    pub evidence: Evidence,
}

/// A number and how directly it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The number.
    pub value: f64,
    /// The worst quality of what it was made of.
    pub quality: Quality,
}

/// What a pod's number was taken from.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The pod's devices that were looked at.
    Devices(Vec<DeviceResult>),
    /// The pod's engine.
    Engine(EngineResult),
}

/// What was known of one quantity of a pod's engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineResult {
    /// Which engine it is, where that is known.
    pub engine: Option<Engine>,
    /// The reading that was used, or why none was: too old counts as absent.
    pub observed: Observed,
    /// Why the engine could not be read when it was last tried.
    pub failure: Option<String>,
    /// What a person should know of what it reports.
    pub notes: Vec<String>,
}

/// What a signal said that has one number for the whole workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadResult {
    /// Which one, by its place in [`Trigger::signals`](crate::Trigger::signals).
    pub signal: usize,
    /// The number in the signal's base unit, or why there is none.
    pub number: Result<f64, Absent>,
    /// When it was taken; `None` for a schedule or a person's number, which are of the moment.
    pub at: Option<Timestamp>,
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
    /// Its engine does not say.
    #[error("its engine{}: {reason}{}", engine.map_or_else(String::new, |engine| format!(" ({engine})")), failure.as_ref().map_or_else(String::new, |failure| format!(" ({failure})")))]
    Engine {
        /// Which engine it is, where that is known.
        engine: Option<Engine>,
        /// Why there is no reading.
        reason: Absent,
        /// Why the engine could not be read when it was last tried.
        failure: Option<String>,
    },
    /// It has requests, of which none was finished in the window, so that their latency is not
    /// known; it may be the slowest of all.
    #[error("it has {concurrency} requests, none of which gave a latency in the window")]
    NoneFinished {
        /// How many requests it has, as a whole number.
        concurrency: u64,
    },
    /// The expression has no result for it.
    #[error("{reason}")]
    Expression {
        /// Which names are missing and why, or what went wrong.
        reason: String,
        /// Whether waiting will not help.
        lasting: bool,
    },
}

impl PodUnknown {
    /// Whether somebody has to change something: waiting alone will not help.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NoDevice | Self::NoSuchDevice { .. } | Self::Unseen(Unseen::EngineUnreachable { .. }) => {
                true
            }
            Self::Device { reason, .. } | Self::Engine { reason, .. } => is_lasting(reason),
            Self::Expression { lasting, .. } => *lasting,
            Self::Unseen(_) | Self::NoneFinished { .. } => false,
        }
    }
}

/// Whether an absence stays until somebody changes something.
pub(crate) const fn is_lasting(reason: &Absent) -> bool {
    matches!(
        reason,
        Absent::NotSupported | Absent::NoPermission | Absent::Unattributable
    )
}

/// One step from the pods' numbers to the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// A scaling policy has decided; its own steps stand with the decision.
    Decided {
        /// So many replicas.
        replicas: u32,
    },
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
    /// The whole workload's demand, which no pod has a part of.
    Total {
        /// In the unit of the target.
        demand: f64,
    },
    /// A number of the workload that the load needs is missing: nothing is concluded.
    Missing,
    /// Ready pods whose engine sleeps were counted at exactly the target: they serve nobody, so
    /// that the demand has to be met by others, and nothing asks to take them away.
    Asleep {
        /// How many.
        pods: u32,
        /// The target.
        each: f64,
    },
    /// The value was put to "no change".
    Hold(Hold),
    /// What the running requests need.
    Guard(GuardStep),
    /// The schedule's windows that are in force.
    Schedule(Bounds),
    /// The replica count was moved to a bound.
    Bounded {
        /// Which bound.
        by: Bound,
        /// To how many replicas.
        replicas: u32,
    },
    /// Why the workload is active or not.
    Activity(Activity),
}

/// What the running requests need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardStep {
    /// Waiting and running requests of the pods that were read.
    pub requests: f64,
    /// Requests that fit one replica: as the trigger says, else the engines, else the target where
    /// the load is requests; `None` where nothing says.
    pub slots: Option<f64>,
    /// Pods that were not read and may have requests; each is kept.
    pub unread: u32,
    /// The least number of replicas, never more than there are.
    pub replicas: u32,
}

/// What a replica count was moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The running requests.
    Guard,
    /// A floor of the schedule.
    Floor,
    /// A ceiling of the schedule.
    Ceiling,
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
    /// The condition of the activation's expression.
    Condition {
        /// Whether it holds.
        holds: bool,
    },
    /// The activation's expression has no result.
    Unclear,
    /// The engines have requests, whatever the activation says.
    Requests {
        /// How many, waiting and running.
        requests: f64,
    },
    /// The schedule says so, whatever the activation says: a floor that is more than is there, or
    /// a ceiling of none.
    Scheduled {
        /// Active for a floor.
        active: bool,
    },
}
