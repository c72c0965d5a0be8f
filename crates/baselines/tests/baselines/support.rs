//! Observations made by hand, and a cluster that is just enough to close a loop: fluid replicas with
//! slots, a start that takes a while, KEDA and the HPA where a control wants them.

use std::time::Duration;

use rheostat_baselines::{Context, Settings, find};
use rheostat_kubescale::hpa::ControllerSettings;
use rheostat_kubescale::{Answer, Autoscaler, CallError, MetricSpec, MetricValue, Request, Workload, drive};
use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp};
use rheostat_simulator::{Control, Controller, EngineModel, TriggerAnswer};
use rheostat_sizing::{Milestones, Observation, QueuedOutside, Replica, Schedule, Serving, Slo, Stage};

pub(crate) const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

pub(crate) fn at(seconds: f64) -> Timestamp {
    START.plus(Duration::from_secs_f64(seconds))
}

/// An 8B model on an H100, as in the tables of llm-d's WVA: 7 ms an iteration, 0.042 ms a sequence.
pub(crate) fn context() -> Context {
    Context {
        min_replicas: 1,
        max_replicas: 50,
        slo: Slo {
            ttft: Some(Duration::from_millis(2000)),
            itl: Some(Duration::from_millis(50)),
            e2e: None,
            attainment: Ratio(0.99),
        },
        cold_start: Duration::from_secs(60),
        engine: EngineModel {
            base: Seconds(0.007),
            per_prefill_token: Seconds(0.000_05),
            per_decode_sequence: Seconds(0.000_042),
            per_kv_token: Seconds(0.0),
            max_sequences: 64,
            max_batched_tokens: 2048,
            kv_tokens: 400_000,
            ..EngineModel::named("llama-3.1-8b-h100").unwrap()
        },
        foresight: None,
    }
}

pub(crate) fn build(name: &str, settings: &Settings) -> Control {
    find(name, &context())
        .unwrap()
        .build(settings, &context())
        .unwrap()
}

/// A controller by name; panics where the baseline acts through KEDA.
pub(crate) fn direct(name: &str, settings: &Settings) -> Box<dyn Controller> {
    match build(name, settings) {
        Control::Direct(controller) => controller,
        other => panic!("{name} is {other:?}"),
    }
}

/// What one replica's engine says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) waiting: f64,
    pub(crate) running: f64,
    pub(crate) kv_cache: f64,
    pub(crate) finished: f64,
    pub(crate) busy: f64,
}

pub(crate) const PROMPT: f64 = 500.0;
pub(crate) const OUTPUT: f64 = 200.0;

pub(crate) fn ready(index: usize, now: Timestamp, load: Load) -> Replica {
    Replica {
        name: format!("llm-{index:04}").into(),
        hardware: "H100".into(),
        created: START,
        stage: Stage::Ready,
        milestones: Milestones {
            scheduled: Some(START),
            started: Some(START),
            ready: Some(START),
        },
        serving: Some(Serving {
            taken_at: now,
            window: Duration::from_secs(60),
            waiting: Some(Count(load.waiting)),
            running: Some(Count(load.running)),
            kv_cache_usage: Some(Ratio(load.kv_cache)),
            kv_tokens: Some(Count(400_000.0)),
            max_sequences: Some(Count(64.0)),
            request_rate: Some(PerSecond(load.finished)),
            prompt_token_rate: Some(PerSecond(load.finished * PROMPT)),
            generation_token_rate: Some(PerSecond(load.finished * OUTPUT)),
            prompt_tokens_mean: (load.finished > 0.0).then_some(Count(PROMPT)),
            generation_tokens_mean: (load.finished > 0.0).then_some(Count(OUTPUT)),
            preemption_rate: Some(PerSecond(0.0)),
            ttft: None,
            itl: None,
            tpot: None,
            e2e: None,
        }),
        gpu_utilization: Some(Ratio(load.busy)),
        power: None,
    }
}

pub(crate) fn starting(index: usize) -> Replica {
    Replica {
        name: format!("llm-{index:04}").into(),
        hardware: "H100".into(),
        created: START,
        stage: Stage::Starting,
        milestones: Milestones::default(),
        serving: None,
        gpu_utilization: None,
        power: None,
    }
}

/// So many replicas asked for, of which these are ready and the rest is starting.
pub(crate) fn observation(seconds: f64, replicas: u32, loads: &[Load]) -> Observation {
    let now = at(seconds);
    let mut pods: Vec<Replica> = loads
        .iter()
        .enumerate()
        .map(|(index, load)| ready(index, now, *load))
        .collect();
    pods.extend((loads.len()..usize::try_from(replicas).unwrap()).map(starting));
    Observation {
        now,
        replicas,
        pods,
        queued_outside: QueuedOutside::Untold,
        schedule: Schedule::default(),
        pool: None,
        partner: None,
    }
}

/// What was seen in one second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) second: u64,
    pub(crate) replicas: u32,
}

/// A cluster under a control.
pub(crate) struct Cluster {
    control: Control,
    autoscaler: Option<Autoscaler>,
    scale: Workload,
    /// When each pod is ready.
    pods: Vec<(usize, Timestamp)>,
    made: usize,
    in_flight: f64,
    finished: f64,
    next_look: Timestamp,
    pub(crate) cold_start: Duration,
    /// Requests that one replica has in its batch at most.
    pub(crate) slots: f64,
    /// How long a request takes.
    pub(crate) service_seconds: f64,
    pub(crate) seen: Vec<Moment>,
}

impl Cluster {
    /// One replica, ready; no requests.
    pub(crate) fn new(control: Control) -> Self {
        let autoscaler = match &control {
            Control::Keda { object, .. } => {
                Some(Autoscaler::new((**object).clone(), ControllerSettings::default(), START).unwrap())
            }
            _ => None,
        };
        let mut cluster = Self {
            control,
            autoscaler,
            scale: Workload::settled(1),
            pods: vec![(0, START)],
            made: 1,
            in_flight: 0.0,
            finished: 0.0,
            next_look: START,
            cold_start: Duration::from_secs(60),
            slots: 64.0,
            service_seconds: 4.0,
            seen: Vec::new(),
        };
        if let Control::Static(replicas) = cluster.control {
            cluster.scale.spec_replicas = i32::try_from(replicas).unwrap();
        }
        cluster
    }

    /// Runs up to `seconds` with so many arrivals a second.
    pub(crate) fn run(&mut self, seconds: u64, arrivals: impl Fn(u64) -> f64) -> &mut Self {
        let first = self.seen.last().map_or(0, |moment| moment.second + 1);
        for second in first..seconds {
            let now = START.plus(Duration::from_secs(second));
            self.serve(now, arrivals(second));
            self.decide(now);
            self.reconcile(now);
            self.seen.push(Moment {
                second,
                replicas: u32::try_from(self.scale.spec_replicas).unwrap(),
            });
        }
        self
    }

    pub(crate) fn last(&self) -> Moment {
        *self.seen.last().unwrap()
    }

    /// The most replicas from one second to before another.
    pub(crate) fn most(&self, from: u64, to: u64) -> u32 {
        self.between(from, to)
            .map(|moment| moment.replicas)
            .max()
            .unwrap()
    }

    /// The fewest.
    pub(crate) fn least(&self, from: u64, to: u64) -> u32 {
        self.between(from, to)
            .map(|moment| moment.replicas)
            .min()
            .unwrap()
    }

    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Moment> {
        self.seen
            .iter()
            .filter(move |moment| (from..to).contains(&moment.second))
    }

    fn ready(&self, now: Timestamp) -> usize {
        self.pods.iter().filter(|(_, ready)| *ready <= now).count()
    }

    fn serve(&mut self, now: Timestamp, arrivals: f64) {
        let ready = self.ready(now) as f64;
        let running = self.in_flight.min(ready * self.slots);
        self.finished = running / self.service_seconds;
        self.in_flight += arrivals - self.finished;
    }

    fn observation(&self, now: Timestamp) -> Observation {
        let ready_pods = self.ready(now);
        let share = self.in_flight / ready_pods.max(1) as f64;
        let load = Load {
            waiting: (share - self.slots).max(0.0),
            running: share.min(self.slots),
            kv_cache: (share.min(self.slots) * (PROMPT + OUTPUT / 2.0) / 400_000.0).min(1.0),
            finished: self.finished / ready_pods.max(1) as f64,
            busy: if share > 0.05 { 1.0 } else { 0.0 },
        };
        let pods = self
            .pods
            .iter()
            .map(|(index, at)| {
                if *at <= now {
                    ready(*index, now, load)
                } else {
                    starting(*index)
                }
            })
            .collect();
        Observation {
            now,
            replicas: u32::try_from(self.scale.spec_replicas).unwrap(),
            pods,
            queued_outside: QueuedOutside::Told(Count(if ready_pods == 0 { self.in_flight } else { 0.0 })),
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        }
    }

    fn decide(&mut self, now: Timestamp) {
        let look = now >= self.next_look;
        let observation = look.then(|| self.observation(now));
        match &mut self.control {
            Control::Static(_) => {}
            Control::Direct(controller) => {
                if let Some(observation) = observation {
                    self.next_look = now.plus(controller.period());
                    if let Some(replicas) = controller.decide(&observation) {
                        self.scale.spec_replicas = i32::try_from(replicas).unwrap();
                    }
                }
            }
            Control::Keda { scaler, .. } => {
                if let Some(observation) = observation {
                    self.next_look = now.plus(scaler.period());
                    scaler.observe(&observation);
                }
                let autoscaler = self.autoscaler.as_mut().unwrap();
                while autoscaler.next_due().is_some_and(|due| due <= now) {
                    let _ = drive::step(autoscaler, now, &mut self.scale, &mut |_, call| {
                        let answer = scaler.answer(call.trigger);
                        match (&call.request, answer) {
                            (Request::MetricSpec, _) => {
                                let (name, target) = scaler.targets()[call.trigger].clone();
                                Answer::MetricSpec(Ok(vec![MetricSpec::new(name, target)]))
                            }
                            (Request::Metrics { .. }, TriggerAnswer::Value { value, .. }) => {
                                Answer::Metrics(Ok(vec![MetricValue::new(value)]))
                            }
                            (Request::Metrics { .. }, TriggerAnswer::Error(reason)) => {
                                Answer::Metrics(Err(CallError(reason)))
                            }
                            (_, TriggerAnswer::Value { active, .. }) => Answer::IsActive(Ok(active)),
                            (_, TriggerAnswer::Error(reason)) => Answer::IsActive(Err(CallError(reason))),
                        }
                    });
                }
            }
        }
    }

    /// As many pods as are asked for; those that start go first.
    fn reconcile(&mut self, now: Timestamp) {
        let wanted = usize::try_from(self.scale.spec_replicas).unwrap();
        while self.pods.len() < wanted {
            self.pods.push((self.made, now.plus(self.cold_start)));
            self.made += 1;
        }
        self.pods.sort_by_key(|(index, ready)| (*ready, *index));
        self.pods.truncate(wanted);
        let count = |count: usize| i32::try_from(count).unwrap();
        self.scale.status_replicas = count(self.pods.len());
        self.scale.pods = count(self.pods.len());
        self.scale.ready_pods = count(self.ready(now));
    }
}
