use std::fmt::Write as _;
use std::time::Duration;

use rheostat_kubescale::hpa::ControllerSettings;
use rheostat_kubescale::{
    Answer, Autoscaler, Call, CallError, CallId, Event, MetricSpec, MetricValue, Push, Request, Workload,
    drive,
};
use rheostat_reading::Timestamp;
use rheostat_sizing::{Decision, Observation};

use crate::control::{Control, Controller, ExternalScaler, TriggerAnswer};
use crate::scenario::SimulationError;
use crate::time::{Picoseconds, START, from_timestamp, picoseconds, timestamp};

/// Carries out what a [`Control`] decides.
#[derive(Debug)]
pub(crate) enum Driver {
    Static,
    Direct(Box<dyn Controller>),
    Keda(Box<Keda>),
}

/// KEDA and the HPA, and the scaler they ask.
#[derive(Debug)]
pub(crate) struct Keda {
    autoscaler: Autoscaler,
    scaler: Box<dyn ExternalScaler>,
    targets: Vec<(String, f64)>,
    /// Open push streams, with their triggers.
    streams: Vec<(usize, CallId)>,
}

/// A number of replicas that is asked for, and why.
pub(crate) struct Wanted {
    pub(crate) replicas: u32,
    pub(crate) why: String,
}

impl Driver {
    pub(crate) fn new(control: Control, hpa_sync_period: Duration) -> Result<Self, SimulationError> {
        let controller = ControllerSettings {
            sync_period_seconds: hpa_sync_period.as_secs_f64(),
            ..ControllerSettings::default()
        };
        Ok(match control {
            Control::Static(_) => Self::Static,
            Control::Direct(controller) => Self::Direct(controller),
            Control::Keda { object, scaler } => Self::Keda(Box::new(Keda {
                autoscaler: Autoscaler::new(*object, controller, START)?,
                targets: scaler.targets(),
                scaler,
                streams: Vec::new(),
            })),
        })
    }

    /// How often it looks; `None` where it never does.
    pub(crate) fn period(&self) -> Option<Picoseconds> {
        const LEAST: Duration = Duration::from_millis(100);
        let period = match self {
            Self::Static => return None,
            Self::Direct(controller) => controller.period(),
            Self::Keda(keda) => keda.scaler.period(),
        };
        Some(picoseconds(period.max(LEAST)))
    }

    /// It looks.
    pub(crate) fn look(&mut self, observation: &Observation, workload: &mut Workload) -> Option<Wanted> {
        match self {
            Self::Static => None,
            Self::Direct(controller) => {
                let replicas = controller.decide(observation)?;
                Some(Wanted {
                    replicas,
                    why: controller.decision().map_or_else(String::new, reason),
                })
            }
            Self::Keda(keda) => {
                keda.scaler.observe(observation);
                keda.push(observation.now, workload)
            }
        }
    }

    /// When KEDA or the HPA has something to do.
    pub(crate) fn due(&self) -> Option<Picoseconds> {
        match self {
            Self::Keda(keda) => keda.autoscaler.next_due().map(from_timestamp),
            Self::Static | Self::Direct(_) => None,
        }
    }

    /// KEDA and the HPA do what is due.
    pub(crate) fn autoscale(&mut self, now: Picoseconds, workload: &mut Workload) -> Option<Wanted> {
        let Self::Keda(keda) = self else {
            return None;
        };
        let before = workload.spec_replicas;
        let now = timestamp(now);
        let Keda {
            autoscaler,
            scaler,
            targets,
            streams,
        } = keda.as_mut();
        let step = drive::step(autoscaler, now, workload, &mut |_, call| {
            answer(scaler.as_ref(), targets, call)
        });
        let opened = !step.streams.is_empty();
        streams.extend(&step.streams);
        let wanted = keda.carried_out(&step.events, before, workload);
        if opened {
            // The present state comes first on a stream.
            return keda.push(now, workload).or(wanted);
        }
        wanted
    }

    /// The decision that the last number rests on, where it is told.
    pub(crate) fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Static => None,
            Self::Direct(controller) => controller.decision(),
            Self::Keda(keda) => keda.scaler.decision(),
        }
    }
}

impl Keda {
    /// Says on every stream that there is demand while there are no replicas.
    fn push(&mut self, now: Timestamp, workload: &mut Workload) -> Option<Wanted> {
        let before = workload.spec_replicas;
        if before > 0 {
            return None;
        }
        let mut events = Vec::new();
        for (trigger, stream) in self.streams.clone() {
            if !matches!(
                self.scaler.answer(trigger),
                TriggerAnswer::Value { active: true, .. }
            ) {
                continue;
            }
            let (scaler, targets) = (self.scaler.as_ref(), &self.targets);
            let step = drive::push(
                &mut self.autoscaler,
                now,
                stream,
                Push::Message(true),
                workload,
                &mut |_, call| answer(scaler, targets, call),
            );
            self.streams.extend(&step.streams);
            events.extend(step.events);
        }
        self.carried_out(&events, before, workload)
    }

    /// What came of a step.
    fn carried_out(&mut self, events: &[Event], before: i32, workload: &Workload) -> Option<Wanted> {
        let mut why = String::new();
        for event in events {
            match event {
                Event::Scaled(decision) => {
                    let separator = if why.is_empty() { "" } else { "; " };
                    let _ = write!(why, "{separator}{}", decision.cause);
                }
                Event::PushCut { stream, .. } => self.streams.retain(|(_, open)| open != stream),
                _ => {}
            }
        }
        let replicas = u32::try_from(workload.spec_replicas).unwrap_or(0);
        (workload.spec_replicas != before).then(|| {
            if let Some(decision) = self.scaler.decision() {
                let _ = write!(why, "; {}", reason(decision));
            }
            Wanted { replicas, why }
        })
    }
}

/// The last step of a decision, in words.
fn reason(decision: &Decision) -> String {
    decision
        .steps
        .last()
        .map_or_else(String::new, |step| step.why.clone())
}

/// What the scaler answers to KEDA's call.
fn answer(scaler: &dyn ExternalScaler, targets: &[(String, f64)], call: &Call) -> Answer {
    let told = || match scaler.answer(call.trigger) {
        TriggerAnswer::Value { value, active } => Ok((value, active)),
        TriggerAnswer::Error(error) => Err(CallError(error)),
    };
    match call.request {
        Request::MetricSpec => Answer::MetricSpec(
            targets
                .get(call.trigger)
                .map(|(name, target)| vec![MetricSpec::new(name.clone(), *target)])
                .ok_or_else(|| CallError("the scaler has no such trigger".to_owned())),
        ),
        Request::Metrics { .. } => Answer::Metrics(told().map(|(value, _)| vec![MetricValue::new(value)])),
        Request::IsActive | Request::StreamIsActive => Answer::IsActive(told().map(|(_, active)| active)),
    }
}
