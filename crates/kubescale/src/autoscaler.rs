use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::calls::{Answer, Call, CallError, CallId, Caller, MetricSpec, Push, Request};
use crate::hpa::{self, ControllerSettings, Hpa, HpaMetric};
use crate::keda::{
    self, Activity, Health, InvalidScaledObject, PushStreams, Record, ScaleCause, ScaleState, ScaledObject,
    Status, TriggerRead,
};
use crate::workload::{Cause, Decision, Workload};

mod hpa_sync;
mod poll;
mod reconcile;
#[cfg(test)]
mod tests;

use hpa_sync::SyncRun;
use reconcile::ReconcileRun;

/// KEDA and the HPA controller for one ScaledObject.
///
/// It does no I/O. Call [`Self::poll`] whenever [`Self::next_due`] has come, make the calls that it
/// returns, and hand each answer to [`Self::answer`]; messages of a stream go to [`Self::push`].
/// Replica counts are written into the [`Workload`] that is handed in, and told as events.
/// [`crate::drive`] does all this for a scaler that answers at once:
///
/// ```
/// use rheostat_kubescale::hpa::ControllerSettings;
/// use rheostat_kubescale::keda::ScaledObject;
/// use rheostat_kubescale::{Answer, Autoscaler, MetricSpec, MetricValue, Request, Workload, drive};
/// use rheostat_reading::Timestamp;
///
/// let manifest = r#"{"spec": {"minReplicaCount": 1, "triggers": [{"type": "external"}]}}"#;
/// let object: ScaledObject = serde_json::from_str(manifest)?;
/// let start = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
/// let mut autoscaler = Autoscaler::new(object, ControllerSettings::default(), start)?;
/// let mut workload = Workload::settled(4);
/// let minute = start.plus(std::time::Duration::from_secs(60));
/// while let Some(due) = autoscaler.next_due().filter(|due| *due <= minute) {
///     let _ = drive::step(&mut autoscaler, due, &mut workload, &mut |_, call| match call.request {
///         Request::MetricSpec => Answer::MetricSpec(Ok(vec![MetricSpec::new("gpu", 80.0)])),
///         Request::Metrics { .. } => Answer::Metrics(Ok(vec![MetricValue::new(380.0)])),
///         _ => Answer::IsActive(Ok(true)),
///     });
/// }
/// assert_eq!(workload.spec_replicas, 5, "a total of 380 at 80 for each");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Autoscaler {
    object: ScaledObject,
    controller: ControllerSettings,
    connection_is_shared: bool,
    state: ScaleState,
    health: Health,
    scalers: Scalers,
    /// The metrics of the last reconcile; their names are `status.externalMetricNames`.
    metrics: Vec<HpaMetric>,
    /// Observations that one of the two paths keeps for the other.
    records: BTreeMap<String, Record>,
    hpa: Option<Hpa>,
    streams: PushStreams,
    /// Push activations that came while a poll held the lock.
    waiting_pushes: VecDeque<usize>,
    due: Due,
    restart_loop: bool,
    reconcile_failures: u32,
    reconcile: Option<ReconcileRun>,
    poll: Option<Reads>,
    sync: Option<SyncRun>,
    calls: BTreeMap<CallId, Pending>,
    next_call: u64,
}

/// What is to be done, and what happened.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Output {
    /// Calls to make now.
    pub calls: Vec<Call>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The replica count was changed.
    Scaled(Decision),
    /// The HPA controller looked at the HPA, whether or not it changed something.
    Synced(Box<hpa::Sync>),
    /// KEDA's scale loop looked at the triggers.
    Polled {
        /// When it was done.
        at: Timestamp,
        /// Whether a trigger is active.
        active: bool,
        /// Whether the value of a trigger was made up.
        fallback: bool,
        /// The triggers that failed, and why.
        errors: Vec<(usize, String)>,
    },
    /// KEDA brought the HPA into line with the ScaledObject.
    Reconciled {
        /// When it was done.
        at: Timestamp,
        /// Why it failed, if it did; it will be tried again.
        error: Option<String>,
    },
    /// KEDA closed a push stream, with its connection or for good.
    PushCut {
        /// When.
        at: Timestamp,
        /// The call that had opened it.
        stream: CallId,
    },
    /// A push message was dropped: `status.externalMetricNames` has no metric of the trigger.
    PushDropped {
        /// When.
        at: Timestamp,
        /// The trigger.
        trigger: usize,
    },
}

/// KEDA's cache of scaler clients: closed on every error that survives the retry, built again on
/// next use. What was read through a closed one is thrown away.
#[derive(Clone, Debug, Default)]
struct Scalers {
    generation: u64,
    open: bool,
    /// Specs of `StreamMetricSpec`, by trigger.
    streamed: BTreeMap<usize, Vec<MetricSpec>>,
}

/// When what begins next; none while it is under way or not wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    reconcile: Option<Timestamp>,
    poll: Option<Timestamp>,
    sync: Option<Timestamp>,
}

/// Triggers being read.
#[derive(Clone, Debug)]
struct Reads {
    generation: u64,
    /// One per trigger, in order.
    reads: Vec<TriggerRead>,
    started: usize,
    /// Whether the HPA's observations stand in for the scaler's answers.
    observed_by_hpa: bool,
}

/// A call that waits for its answer.
#[derive(Clone, Debug)]
struct Pending {
    caller: Caller,
    trigger: usize,
    request: Request,
}

impl Autoscaler {
    /// A ScaledObject that is created now.
    ///
    /// # Errors
    /// If KEDA would refuse it, or it uses what is not modelled.
    pub fn new(
        object: ScaledObject,
        controller: ControllerSettings,
        created: Timestamp,
    ) -> Result<Self, InvalidScaledObject> {
        object.validate()?;
        Ok(Self {
            object,
            controller,
            connection_is_shared: false,
            state: ScaleState::new(created),
            health: Health::default(),
            scalers: Scalers::default(),
            metrics: Vec::new(),
            records: BTreeMap::new(),
            hpa: None,
            streams: PushStreams::default(),
            waiting_pushes: VecDeque::new(),
            due: Due {
                reconcile: Some(created),
                ..Due::default()
            },
            restart_loop: true,
            reconcile_failures: 0,
            reconcile: None,
            poll: None,
            sync: None,
            calls: BTreeMap::new(),
            next_call: 0,
        })
    }

    /// Says that other ScaledObjects use the same connection to the scaler (the same address and
    /// TLS settings). An error then does not close it, so push streams live on.
    #[must_use]
    pub fn with_shared_connection(mut self) -> Self {
        self.connection_is_shared = true;
        self
    }

    /// When [`Self::poll`] has something to do next; none while everything waits for answers.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = [
            self.due.reconcile.filter(|_| self.reconcile.is_none()),
            self.due.poll.filter(|_| self.poll.is_none()),
            self.due.sync.filter(|_| self.sync.is_none()),
        ];
        due.into_iter().flatten().chain(self.streams.next_due()).min()
    }

    /// Begins what is due, the earliest first, and one thing at a time: a scale loop, a sync of the
    /// HPA. Call it again while [`Self::next_due`] is not later than `now`. Whoever waits for the
    /// answers in between sees them one after the other, whoever does not sees them overlap, as they
    /// can in a cluster.
    pub fn poll(&mut self, now: Timestamp, workload: &mut Workload) -> Output {
        let mut out = Output::default();
        let Some(due) = self.next_due().filter(|due| *due <= now) else {
            return out;
        };
        if self.due.reconcile == Some(due) && self.reconcile.is_none() {
            self.start_reconcile(now, workload, &mut out);
        } else if self.due.poll == Some(due) && self.poll.is_none() {
            self.start_poll(now, workload, &mut out);
        } else if self.due.sync == Some(due) {
            self.start_sync(now, workload, &mut out);
        } else {
            self.open_streams(now, &mut out);
        }
        out
    }

    /// Goes on with the answer to a call. Answers to calls that no longer matter are ignored.
    pub fn answer(&mut self, now: Timestamp, id: CallId, answer: Answer, workload: &mut Workload) -> Output {
        let mut out = Output::default();
        let Some(pending) = self.calls.remove(&id) else {
            return out;
        };
        let answer = fit(&pending.request, answer);
        match pending.caller {
            Caller::Reconcile => self.answer_reconcile(now, answer, workload, &mut out),
            Caller::Poll => self.answer_poll(now, pending.trigger, answer, workload, &mut out),
            Caller::Hpa => self.answer_sync(now, pending.trigger, answer, workload, &mut out),
            Caller::Push => {}
        }
        out
    }

    /// Takes what came over the push stream that the call `stream` opened.
    pub fn push(&mut self, now: Timestamp, stream: CallId, push: Push, workload: &mut Workload) -> Output {
        let mut out = Output::default();
        match push {
            Push::Ended { clean } => {
                self.streams.ended(now, stream, clean);
            }
            // Deactivation is for the scale loop alone.
            Push::Message(false) => {}
            Push::Message(true) => {
                if let Some(trigger) = self.streams.trigger(stream) {
                    self.activate(now, trigger, workload, &mut out);
                }
            }
        }
        out
    }

    /// Takes specs that came over `StreamMetricSpec`: from now on they stand for `GetMetricSpec`,
    /// and the HPA is brought into line. An empty message is ignored.
    pub fn specs_streamed(&mut self, now: Timestamp, trigger: usize, specs: Vec<MetricSpec>) {
        if !specs.is_empty() && trigger < self.object.spec.triggers.len() {
            self.scalers.open();
            self.scalers.streamed.insert(trigger, specs);
            self.due.reconcile = Some(now);
        }
    }

    /// Changes the ScaledObject, as `kubectl apply` would.
    ///
    /// # Errors
    /// If it would be refused; the old one stays.
    pub fn edit(&mut self, now: Timestamp, object: ScaledObject) -> Result<(), InvalidScaledObject> {
        object.validate()?;
        // Annotations do not count as a new generation.
        if object.spec != self.object.spec {
            self.restart_loop = true;
            self.scalers.replace();
            // What is under way was begun for triggers that may be gone.
            self.poll = None;
            self.reconcile = None;
            if self.sync.take().is_some() {
                self.due.sync = Some(now);
            }
            self.calls.clear();
        }
        self.object = object;
        self.due.reconcile = Some(now);
        self.reconcile_failures = 0;
        Ok(())
    }

    /// The ScaledObject.
    #[must_use]
    pub const fn scaled_object(&self) -> &ScaledObject {
        &self.object
    }

    /// The conditions of the ScaledObject.
    #[must_use]
    pub const fn conditions(&self) -> &keda::Conditions {
        &self.state.conditions
    }

    /// `status.lastActiveTime`.
    #[must_use]
    pub const fn last_active(&self) -> Option<Timestamp> {
        self.state.last_active
    }

    /// The HPA, once KEDA has created it.
    #[must_use]
    pub const fn hpa(&self) -> Option<&Hpa> {
        self.hpa.as_ref()
    }

    /// Moves the HPA's next sync, to follow the phase of a real controller.
    pub fn sync_next_at(&mut self, at: Timestamp) {
        if self.hpa.is_some() && self.sync.is_none() {
            self.due.sync = Some(at);
        }
    }

    /// Moves the scale loop's next poll, to follow the phase of a real operator.
    pub fn poll_next_at(&mut self, at: Timestamp) {
        if self.due.poll.is_some() {
            self.due.poll = Some(at);
        }
    }

    fn call(&mut self, caller: Caller, trigger: usize, request: Request, out: &mut Output) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        if caller != Caller::Push {
            self.calls.insert(
                id,
                Pending {
                    caller,
                    trigger,
                    request: request.clone(),
                },
            );
        }
        out.calls.push(Call {
            id,
            trigger,
            caller,
            request,
        });
        id
    }

    /// Forgets the calls of one path; their answers will be ignored.
    fn forget_calls(&mut self, caller: Caller) {
        self.calls.retain(|_, pending| pending.caller != caller);
    }

    /// `ClearScalersCache`: streamed specs go, and the connection too where nobody else uses it.
    fn close_scalers(&mut self, now: Timestamp, out: &mut Output) {
        self.scalers.open = false;
        self.scalers.streamed.clear();
        if !self.connection_is_shared {
            let cut = self.streams.cut(now);
            out.events
                .extend(cut.into_iter().map(|stream| Event::PushCut { at: now, stream }));
        }
    }

    fn open_streams(&mut self, now: Timestamp, out: &mut Output) {
        for trigger in self.streams.due(now) {
            if self.scalers.open || self.connection_is_shared {
                let id = self.call(Caller::Push, trigger, Request::StreamIsActive, out);
                self.streams.opened(trigger, id);
            } else {
                self.streams.failed(now, trigger);
            }
        }
    }

    /// `startPushScalers`: a `true` from a push stream.
    fn activate(&mut self, now: Timestamp, trigger: usize, workload: &mut Workload, out: &mut Output) {
        let prefix = format!("s{trigger}-");
        if !self.metrics.iter().any(|metric| metric.name.starts_with(&prefix)) {
            out.events.push(Event::PushDropped { at: now, trigger });
        } else if self.poll.is_some() {
            self.waiting_pushes.push_back(trigger);
        } else {
            let found = Activity {
                active: true,
                error: false,
                pushed: true,
            };
            self.request_scale(now, found, workload, out);
        }
    }

    /// `RequestScale` and `handleResult`.
    fn request_scale(&mut self, now: Timestamp, found: Activity, workload: &mut Workload, out: &mut Output) {
        let was_ready = self.state.conditions.ready.is_true();
        if let Some((to, cause)) = self
            .state
            .request(now, &self.object, workload.spec_replicas, found)
        {
            Self::scale(now, to, Cause::Keda(cause), workload, out);
        }
        self.observe_hpa();
        self.ready_changed(now, was_ready);
    }

    /// `checkHPAHealth`; what was seen last stays where there is no HPA to look at.
    fn observe_hpa(&mut self) {
        let Some(active) = self.hpa.as_ref().and_then(|hpa| hpa.conditions().scaling_active) else {
            return;
        };
        self.state.conditions.hpa_active = match (active.is_true, active.reason) {
            (true, _) => keda::Condition::new(Status::True, "HPAActive"),
            (false, hpa::ConditionReason::ScalingDisabled) => {
                keda::Condition::new(Status::True, "HPAScalingDisabled")
            }
            (false, _) => keda::Condition::new(Status::False, "FailedGetExternalMetric"),
        };
    }

    /// A ScaledObject that becomes Ready is reconciled again (`ScaleObjectReadyConditionPredicate`).
    fn ready_changed(&mut self, now: Timestamp, was_ready: bool) {
        if !was_ready && self.state.conditions.ready.is_true() {
            self.due.reconcile = Some(now);
        }
    }

    fn scale(now: Timestamp, to: i32, cause: Cause, workload: &mut Workload, out: &mut Output) {
        let decision = Decision {
            at: now,
            from: workload.spec_replicas,
            to,
            cause,
        };
        workload.spec_replicas = to;
        out.events.push(Event::Scaled(decision));
    }

    /// Stops polling and pushing (`DeleteScalableObject`, or before a restart).
    fn stop_loop(&mut self, now: Timestamp, out: &mut Output) {
        self.due.poll = None;
        self.poll = None;
        self.forget_calls(Caller::Poll);
        self.records.clear();
        self.waiting_pushes.clear();
        out.events.extend(
            self.streams
                .open()
                .map(|stream| Event::PushCut { at: now, stream }),
        );
        self.streams = PushStreams::default();
    }

    /// `requestScaleLoop`.
    fn start_loop(&mut self, now: Timestamp, out: &mut Output) {
        self.stop_loop(now, out);
        self.scalers.open();
        let push = |(index, trigger): (usize, &keda::Trigger)| {
            (trigger.kind == keda::TriggerType::ExternalPush).then_some(index)
        };
        self.streams = PushStreams::start(now, self.object.spec.triggers.iter().enumerate().filter_map(push));
        self.due.poll = Some(now);
    }

    fn pause(&mut self, now: Timestamp, workload: &mut Workload, out: &mut Output) {
        self.stop_loop(now, out);
        self.scalers = Scalers {
            generation: self.scalers.generation,
            ..Scalers::default()
        };
        self.hpa = None;
        self.sync = None;
        self.due.sync = None;
        self.forget_calls(Caller::Hpa);
        if let Some(count) = self
            .object
            .annotations
            .paused_replicas
            .filter(|c| *c != workload.spec_replicas)
        {
            Self::scale(now, count, Cause::Keda(ScaleCause::Paused), workload, out);
        }
        self.state.conditions.paused = keda::Condition::new(Status::True, "ScaledObjectPaused");
    }

    /// How long a failed reconcile waits (controller-runtime's default rate limiter).
    fn reconcile_delay(&self) -> Duration {
        let doublings = self.reconcile_failures.saturating_sub(1).min(30);
        Duration::from_millis(5)
            .saturating_mul(1 << doublings)
            .min(Duration::from_secs(1000))
    }
}

impl Scalers {
    /// Builds them if need be (`GetScalersCache`).
    const fn open(&mut self) -> u64 {
        if !self.open {
            self.open = true;
            self.generation += 1;
        }
        self.generation
    }

    /// New ones for a new generation of the ScaledObject; the connection survives.
    fn replace(&mut self) {
        self.generation += 1;
        self.streamed.clear();
    }

    const fn is_current(&self, generation: u64) -> bool {
        self.open && self.generation == generation
    }
}

/// The answer, or an error in its place where it answers another question.
fn fit(request: &Request, answer: Answer) -> Answer {
    let unfit = || CallError("the answer does not fit the call".to_owned());
    match (request, answer) {
        (Request::MetricSpec, answer @ Answer::MetricSpec(_))
        | (Request::Metrics { .. }, answer @ Answer::Metrics(_))
        | (Request::IsActive, answer @ Answer::IsActive(_)) => answer,
        (Request::MetricSpec, _) => Answer::MetricSpec(Err(unfit())),
        (Request::Metrics { .. }, _) => Answer::Metrics(Err(unfit())),
        (Request::IsActive | Request::StreamIsActive, _) => Answer::IsActive(Err(unfit())),
    }
}
