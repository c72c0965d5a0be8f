//! A vLLM in a closed loop: batching engines, the policy on what they report, KEDA and the HPA; all
//! of it models or pure code, on simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{Engine, EngineReport, Sleep};
use rheostat_kubescale::drive;
use rheostat_kubescale::hpa::ControllerSettings;
use rheostat_kubescale::keda::{ScaledObject, ScaledObjectSpec};
use rheostat_kubescale::{Answer, Autoscaler, CallError, Event, MetricSpec, MetricValue, Request, Workload};
use rheostat_policy::{Input, Memory, MetricType, PodInput, PodState, Trigger, Unseen, evaluate};
use rheostat_reading::{Amount, EngineQuantity, Quality, Reading, Readings, Timestamp, Unit};
use rheostat_testkit::engine::{Arrivals, Batcher, IterationTime, Lengths, ModelSettings, Pace};

const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

/// Requests that an engine runs at once.
const SLOTS: usize = 48;

/// The target of the profile `vllm`.
const TARGET: f64 = 32.0;

const COOLDOWN: Duration = Duration::from_secs(60);

/// What the engines, the policy, KEDA and the HPA do with a load, second by second.
struct Loop {
    now: Timestamp,
    trigger: Trigger,
    memory: Memory,
    autoscaler: Autoscaler,
    scale: Workload,
    pods: Vec<Pod>,
    made: usize,
    cold_start: Duration,
    arrivals: Arrivals,
    /// Replicas and requests, once a second.
    seen: Vec<Moment>,
}

struct Pod {
    name: Arc<str>,
    ready_at: Timestamp,
    engine: Batcher,
    report: Option<Arc<EngineReport>>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    second: u64,
    replicas: i32,
    ready: usize,
    waiting: usize,
    in_flight: usize,
}

impl Loop {
    /// One replica, ready; no requests.
    fn new(metadata: &[(&str, &str)], max_replicas: i32, cold_start: u64) -> Self {
        let metadata: BTreeMap<_, _> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let spec = format!(
            r#"{{"pollingInterval": 10, "cooldownPeriod": {}, "maxReplicaCount": {max_replicas},
                "advanced": {{"horizontalPodAutoscalerConfig": {{"behavior": {{
                    "scaleDown": {{"stabilizationWindowSeconds": 60}}}}}}}},
                "triggers": [{{"type": "external"}}]}}"#,
            COOLDOWN.as_secs()
        );
        let object = ScaledObject {
            spec: serde_json::from_str::<ScaledObjectSpec>(&spec).unwrap(),
            ..ScaledObject::default()
        };
        let lengths = (Lengths::Fixed(200), Lengths::Uniform(50, 150));
        let mut this = Self {
            now: START,
            trigger: Trigger::parse(&metadata).unwrap().trigger,
            memory: Memory::new(),
            autoscaler: Autoscaler::new(object, ControllerSettings::default(), START).unwrap(),
            scale: Workload::settled(1),
            pods: Vec::new(),
            made: 0,
            cold_start: Duration::from_secs(cold_start),
            arrivals: Arrivals::new(START, 0.0, Pace::Poisson, lengths.0, lengths.1, 7),
            seen: Vec::new(),
        };
        this.add(START);
        this
    }

    /// Requests per second from now on, for `seconds`.
    fn run(&mut self, rate: f64, seconds: u64) -> &mut Self {
        self.arrivals.set_rate(self.now, rate);
        for _ in 0..seconds {
            self.now = self.now.plus(Duration::from_secs(1));
            self.serve();
            self.autoscale();
            self.reconcile();
            let waiting = self.pods.iter().map(Pod::waiting).sum();
            self.seen.push(Moment {
                second: self.now.since(START).as_secs(),
                replicas: self.scale.spec_replicas,
                ready: self.ready().count(),
                waiting,
                in_flight: self.pods.iter().map(Pod::in_flight).sum(),
            });
        }
        self
    }

    /// Two pods die; their successors start cold, their requests come again.
    fn lose_two(&mut self) {
        let ready_at = self.now.plus(self.cold_start);
        let mut again = Vec::new();
        for pod in self.pods.iter_mut().take(2) {
            again.push(pod.in_flight());
            pod.engine = Batcher::new(model(), self.now).unwrap();
            pod.ready_at = ready_at;
            pod.report = None;
        }
        let request = rheostat_testkit::engine::Request {
            prompt_tokens: 200,
            output_tokens: 100,
            ..Default::default()
        };
        for _ in 0..again.iter().sum() {
            self.submit(self.now, request.clone());
        }
    }

    fn ready(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.ready_at <= self.now)
    }

    fn add(&mut self, ready_at: Timestamp) {
        self.made += 1;
        self.pods.push(Pod {
            name: format!("llm-{:04}", self.made).into(),
            ready_at,
            engine: Batcher::new(model(), self.now).unwrap(),
            report: None,
        });
    }

    fn serve(&mut self) {
        while let Some((at, request)) = self.arrivals.take(self.now) {
            self.submit(at, request);
        }
        let now = self.now;
        let scrape = now.since(START).as_secs().is_multiple_of(2);
        for pod in self.pods.iter_mut().filter(|pod| pod.ready_at <= now) {
            pod.engine.advance(now, &mut |_| {});
            if scrape || pod.report.is_none() {
                pod.report = Some(Arc::new(report(&pod.engine, now)));
            }
        }
    }

    /// To the ready engine with the fewest requests; to nobody where none is ready.
    fn submit(&mut self, at: Timestamp, request: rheostat_testkit::engine::Request) {
        let now = self.now;
        let ready = self.pods.iter_mut().filter(|pod| pod.ready_at <= now);
        if let Some(pod) = ready.min_by_key(|pod| pod.in_flight()) {
            pod.engine.submit(at, request, &mut |_| {}).unwrap();
        }
    }

    /// One second of the scaler, and what KEDA and the HPA do in it.
    fn autoscale(&mut self) {
        let now = self.now;
        let pods: Vec<PodInput> = self
            .pods
            .iter()
            .map(|pod| PodInput {
                name: Arc::clone(&pod.name),
                state: if pod.ready_at <= now {
                    PodState::Ready
                } else {
                    PodState::NotReady
                },
                devices: Ok(Vec::new()),
                engine: pod.report.clone().ok_or(Unseen::EngineNotAsked),
            })
            .collect();
        let input = Input {
            now,
            replicas: u32::try_from(self.scale.spec_replicas).unwrap(),
            status_replicas: u32::try_from(self.scale.status_replicas).unwrap(),
            pods: &pods,
            manual: None,
            outside: &[],
        };
        let evaluation = evaluate(&self.trigger, MetricType::AverageValue, &input);
        let settings = self.trigger.answer_settings(COOLDOWN);
        let answer = self.memory.step(now, &evaluation, &settings);
        let (name, target) = (self.trigger.metric_name().to_owned(), self.trigger.target());
        let error = || CallError("unavailable".to_owned());
        while self.autoscaler.next_due().is_some_and(|due| due <= now) {
            let step = drive::step(
                &mut self.autoscaler,
                now,
                &mut self.scale,
                &mut |_, call| match call.request {
                    Request::MetricSpec => {
                        Answer::MetricSpec(Ok(vec![MetricSpec::new(name.clone(), target)]))
                    }
                    Request::Metrics { .. } => Answer::Metrics(
                        answer
                            .value()
                            .map(|value| vec![MetricValue::new(value)])
                            .ok_or_else(error),
                    ),
                    _ => Answer::IsActive(answer.active().ok_or_else(error)),
                },
            );
            for event in step.events {
                assert!(
                    !matches!(&event, Event::Polled { errors, .. } if !errors.is_empty()),
                    "{event:?}"
                );
            }
        }
    }

    /// As many pods as are asked for; those that start go first.
    fn reconcile(&mut self) {
        let wanted = usize::try_from(self.scale.spec_replicas).unwrap();
        while self.pods.len() < wanted {
            self.add(self.now.plus(self.cold_start));
        }
        self.pods.sort_by_key(|pod| pod.ready_at);
        self.pods.truncate(wanted);
        self.pods.sort_by(|a, b| a.name.cmp(&b.name));
        let count = |count: usize| i32::try_from(count).unwrap();
        self.scale.status_replicas = count(self.pods.len());
        self.scale.pods = count(self.pods.len());
        self.scale.ready_pods = count(self.ready().count());
    }

    fn last(&self) -> Moment {
        *self.seen.last().unwrap()
    }

    fn since(&self, second: u64) -> impl Iterator<Item = &Moment> {
        self.seen.iter().filter(move |moment| moment.second > second)
    }

    fn most_replicas(&self) -> i32 {
        self.seen.iter().map(|moment| moment.replicas).max().unwrap()
    }
}

impl Pod {
    /// Requests for which there is no slot. Others wait too, but only for the present iteration's end.
    fn waiting(&self) -> usize {
        let occupancy = self.engine.occupancy();
        match occupancy.running {
            SLOTS.. => occupancy.waiting,
            _ => 0,
        }
    }

    fn in_flight(&self) -> usize {
        let occupancy = self.engine.occupancy();
        occupancy.waiting + occupancy.running
    }
}

/// Requests of 100 tokens take `10 s + 0.1 s` for each that runs beside it: one engine serves 2.4 a
/// second with 32 running and 3.2 with 48.
fn model() -> ModelSettings {
    ModelSettings {
        max_sequences: SLOTS,
        iteration: IterationTime {
            base: 0.1,
            per_decode_sequence: 1e-3,
            per_prefill_token: 0.0,
            per_context_token: 0.0,
            speed: 1.0,
        },
        ..ModelSettings::default()
    }
}

/// What the engine's page says now.
fn report(engine: &Batcher, now: Timestamp) -> EngineReport {
    let occupancy = engine.occupancy();
    let mut readings = Readings::new();
    for (quantity, count) in [
        (EngineQuantity::Waiting, occupancy.waiting),
        (EngineQuantity::Running, occupancy.running),
        (EngineQuantity::Concurrency, occupancy.waiting + occupancy.running),
    ] {
        let reading = Reading {
            amount: Amount::new(count as f64, Unit::Count).unwrap(),
            at: now,
            window: Duration::ZERO,
            quality: Quality::Measured,
        };
        readings.set(quantity, Ok(reading));
    }
    EngineReport {
        engine: Some(Engine::Vllm),
        answered_at: Some(now),
        failure: None,
        sleep: Sleep::Unknown,
        readings,
        notes: Vec::new(),
    }
}

const PROFILE: [(&str, &str); 1] = [("profile", "vllm")];

#[test]
fn it_settles_at_what_the_load_needs_and_goes_to_zero_after_it() {
    let mut world = Loop::new(&PROFILE, 20, 60);
    // By Little's law 113 requests are under way on four replicas: 3.5 of 32.
    world.run(1.2, 60).run(8.8, 900);
    let settled: Vec<i32> = world.since(660).map(|moment| moment.replicas).collect();
    assert!(settled.iter().all(|replicas| *replicas == 4), "{settled:?}");
    assert_eq!(world.last().waiting, 0, "the backlog of the start is gone");
    world.run(0.0, 240);
    let idle_since = world
        .seen
        .iter()
        .rfind(|moment| moment.in_flight > 0)
        .unwrap()
        .second;
    let zero_at = world
        .since(idle_since)
        .find(|moment| moment.replicas == 0)
        .expect("it goes to zero")
        .second;
    let after = Duration::from_secs(zero_at - idle_since);
    assert!(after >= COOLDOWN, "{after:?} after the last request");
    assert_eq!(world.last().replicas, 0);
}

#[test]
fn what_starts_adds_nothing_however_long_it_takes() {
    // One replica has 43 of them under way, which is more than the target and less than its slots: two
    // are needed, and the second takes ten minutes.
    let mut world = Loop::new(&PROFILE, 20, 600);
    world.run(3.0, 700);
    assert_eq!(world.most_replicas(), 2, "{:?}", world.last());
    assert_eq!(world.last().ready, 2);

    // Here requests do pile up for five minutes; they ask for what they need, and for no more.
    let mut world = Loop::new(&PROFILE, 100, 300);
    world.run(1.2, 60).run(5.0, 600);
    let most = world.seen.iter().map(|moment| moment.in_flight).max().unwrap();
    let needed = (most as f64 / TARGET).ceil() as i32;
    assert!(
        world.most_replicas() <= needed,
        "{} > {needed}",
        world.most_replicas()
    );
    let falls = world.seen.windows(2).find(|pair| {
        let [before, after] = pair else { return false };
        after.replicas < before.replicas && before.waiting > 0
    });
    assert!(falls.is_none(), "{falls:?}");
}

#[test]
fn full_load_does_not_shrink_it_nor_does_the_loss_of_pods() {
    let mut world = Loop::new(&PROFILE, 4, 60);
    // More than four replicas serve.
    world.run(14.0, 400);
    let full = world.last();
    assert_eq!((full.replicas, full.ready), (4, 4));
    assert!(full.waiting > 0);
    world.lose_two();
    world.run(14.0, 300);
    let least = world.since(400).map(|moment| moment.replicas).min();
    assert_eq!(least, Some(4));
    assert!(
        world.since(400).any(|moment| moment.ready == 2) && world.last().ready == 4,
        "two were away for a while"
    );
}

#[test]
fn a_gauge_that_ends_at_the_slots_never_asks_for_more() {
    // The obvious trigger: as many running requests as there are slots. All 48 run, however many wait.
    let mut running = Loop::new(&[("signal", "engine.running"), ("target", "48")], 20, 60);
    running.run(1.2, 60).run(8.8, 600);
    assert_eq!(running.most_replicas(), 1, "it looks just right");
    assert!(running.last().waiting > 1000, "{:?}", running.last());

    // The same target for what the profile looks at.
    let mut concurrency = Loop::new(&[("profile", "vllm"), ("target", "48")], 20, 60);
    concurrency.run(1.2, 60).run(8.8, 600);
    let last = concurrency.last();
    assert!(last.replicas >= 3 && last.waiting < SLOTS, "{last:?}");
}
