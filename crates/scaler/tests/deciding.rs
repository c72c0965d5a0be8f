//! Deciding by ScalingPolicies, by itself: a small world in which every answer is carried out at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{Pod, PolicyId, ScalingPolicy, Store, StoreWriter, TargetProblem, Workload};
use rheostat_decisions::{DecisionLog, Reader, replay};
use rheostat_fleet::{Fleet, FleetWriter};
use rheostat_policy::{Answer, Basis};
use rheostat_prometheus::{Answered, Data, Failed, QueryId, QueryResult, Sample, ServersFile};
use rheostat_reading::{Clock, ManualClock, Timestamp};
use rheostat_scaler::{Evaluator, Findings, PolicyState, Snapshot, Sources};
use rheostat_sizing::StartStage;
use rheostat_steward::{Leadership, encode_learned};
use serde_json::{Value, json};
use support::{pod, snapshot, workload};

/// A pod that serves, of whose start nothing is known.
fn ready(workload: &str, place: u32) -> Arc<Pod> {
    let mut pod = pod("team-a", &format!("{workload}-{place}"), Some("node-1"), true);
    pod.ready_since = Some(pod.created_at);
    Arc::new(pod)
}

struct World {
    clock: Clock,
    hand: ManualClock,
    cluster: StoreWriter,
    store: Store,
    agent: FleetWriter,
    fleet: Fleet,
    log: Arc<DecisionLog>,
    evaluator: Evaluator,
    leadership: Leadership,
    findings: Findings,
    /// Each workload, how much it has to do in replicas, and how many there are.
    running: Vec<(Workload, f64, u32)>,
    answers: Snapshot,
}

impl World {
    fn new(log: DecisionLog) -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_800_000_000_000_000_000));
        let (cluster, store) = Store::new();
        let (agent, fleet) = Fleet::by_hand(clock.clone());
        let log = Arc::new(log);
        Self {
            clock,
            hand,
            cluster,
            store,
            agent,
            fleet,
            evaluator: Evaluator::new(Arc::clone(&log)),
            log,
            leadership: Leadership::default(),
            findings: Findings::default(),
            running: Vec::new(),
            answers: Snapshot::default(),
        }
    }

    fn policy(&mut self, name: &str, spec: Value, status: Value) {
        self.cluster.apply_policy(ScalingPolicy {
            id: PolicyId {
                namespace: "team-a".into(),
                name: name.into(),
            },
            uid: format!("uid-{name}"),
            generation: 1,
            spec,
            status,
        });
    }

    /// A workload of so many replicas whose policy has its own name, and which has so much to do.
    fn run(&mut self, name: &str, replicas: u32, load: f64) {
        let mut workload = workload("team-a", name, replicas, &[("policy", name), ("grace", "10s")]);
        workload.min_replicas = 1;
        workload.pods = (0..replicas).map(|place| ready(name, place)).collect();
        self.running.push((workload, load, replicas));
    }

    /// Lets so many seconds pass. The count that is answered is there a second later.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.hand.advance(Duration::from_secs(1));
            let mut busy = Vec::new();
            for (workload, load, replicas) in &mut self.running {
                if let Ok(target) = workload.target.as_mut()
                    && (target.spec_replicas, workload.pods.len()) != (*replicas, *replicas as usize)
                {
                    (target.spec_replicas, target.status_replicas) = (*replicas, *replicas);
                    let name = &workload.id.name;
                    workload.pods = (0..*replicas).map(|place| ready(name, place)).collect();
                }
                let each = (*load / f64::from((*replicas).max(1))).min(1.0);
                busy.extend(workload.pods.iter().map(|pod| (pod.name.clone(), each)));
            }
            let busy: Vec<_> = busy
                .iter()
                .map(|(pod, each)| ("team-a", pod.as_str(), *each))
                .collect();
            self.agent.put(&snapshot("node-1", &busy)).unwrap();
            self.cluster
                .apply_all(self.running.iter().map(|(workload, ..)| workload.clone()));
            self.evaluate();
            for (workload, _, replicas) in &mut self.running {
                let state = self
                    .answers
                    .workloads()
                    .iter()
                    .find(|state| state.workload.id == workload.id);
                if let Some(value) = state.unwrap().triggers[0].answer.value() {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
                    let wanted = value as u32;
                    *replicas = wanted.clamp(workload.min_replicas, workload.max_replicas);
                }
            }
        }
    }

    /// The same, no faster than the log of `chat` is written: what it cannot take at once it drops.
    fn pass_logged(&mut self, seconds: u32) {
        for _ in 0..seconds / 100 {
            self.pass(100);
            let last = self
                .log
                .recent("team-a/chat")
                .last()
                .map_or(0, |record| record.sequence + 1);
            let mut looks = 0;
            while self.log.stats().written < last {
                let stats = self.log.stats();
                assert!(stats.lost == 0 && looks < 60_000, "{last}: {stats:?}");
                std::thread::park_timeout(Duration::from_millis(1));
                looks += 1;
            }
        }
    }

    fn evaluate(&mut self) {
        let sources = Sources {
            cluster: &self.store.snapshot(),
            fleet: &self.fleet.view(),
            findings: &self.findings,
            leadership: &self.leadership,
        };
        self.answers = self.evaluator.evaluate(self.clock.now(), &sources);
    }

    /// What the only query there is is answered, from now on.
    fn answer_query(&mut self, query: &QueryId, waiting: Result<f64, &str>) {
        let now = self.clock.now();
        let result = match waiting {
            Ok(number) => QueryResult {
                answered: Some(Arc::new(Answered {
                    asked_at: now,
                    answered_at: now,
                    answer: rheostat_prometheus::Answer {
                        data: Data::Scalar(Sample {
                            at: now,
                            value: number,
                        }),
                        warnings: Vec::new(),
                        infos: Vec::new(),
                    },
                })),
                failed: None,
            },
            Err(reason) => QueryResult {
                answered: None,
                failed: Some(Failed {
                    since: now,
                    last: now,
                    attempts: 1,
                    reason: reason.to_owned(),
                }),
            },
        };
        self.findings.queries = Arc::new([(query.clone(), Arc::new(result))].into());
    }

    fn replicas(&self, name: &str) -> u32 {
        let found = self
            .running
            .iter()
            .find(|(workload, ..)| workload.id.name == name);
        found.unwrap().2
    }

    fn answer(&self) -> &Answer {
        &self.answers.workloads()[0].triggers[0].answer
    }

    fn state(&self) -> PolicyState {
        self.answers.workloads()[0].triggers[0]
            .policy
            .as_deref()
            .unwrap()
            .clone()
    }
}

#[test]
fn the_count_follows_the_load_and_what_was_logged_can_be_decided_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(DecisionLog::on_disk(directory.path(), 64 * 1024 * 1024).unwrap());
    world.policy("chat", json!({"utilization": "50%"}), Value::Null);
    world.run("chat", 2, 0.5);
    world.pass(60);
    assert_eq!(world.replicas("chat"), 2, "just met: what is there is kept");
    world.running[0].1 = 2.5;
    world.pass_logged(200);
    let high = world.replicas("chat");
    assert!(
        high >= 5,
        "a load of 2.5 at half: {high}, {:?}",
        world.state().decision
    );
    world.running[0].1 = 1.0;
    world.pass_logged(4000);
    let low = world.replicas("chat");
    assert!((2..high).contains(&low), "a load of 1 at half: {low}");
    drop(world);
    let again = replay(Reader::open(directory.path()).unwrap()).unwrap();
    assert!(again.is_equal(), "{again}");
    assert!(again.decisions > 800, "a decision every five seconds: {again}");
}

#[test]
fn a_pool_is_shared_by_weight_and_priority() {
    let mut world = World::new(DecisionLog::in_memory());
    let member = |priority: i32, weight: f64| json!({"utilization": "50%", "pool": {"name": "gpus", "gpus": 9, "priority": priority, "weight": weight}});
    world.policy("one", member(0, 1.0), Value::Null);
    world.policy("two", member(0, 2.0), Value::Null);
    world.run("one", 2, 20.0);
    world.run("two", 2, 20.0);
    world.pass(120);
    assert_eq!((world.replicas("one"), world.replicas("two")), (3, 6));
    world.policy("one", member(5, 1.0), Value::Null);
    world.pass(60);
    assert_eq!(
        (world.replicas("one"), world.replicas("two")),
        (8, 1),
        "the minimum stays"
    );
}

#[test]
fn a_scaler_that_has_just_started_takes_no_more_of_a_pool_than_there_is() {
    let mut world = World::new(DecisionLog::in_memory());
    let member = json!({"utilization": "50%", "pool": {"name": "gpus", "gpus": 4}});
    for name in ["one", "two"] {
        world.policy(name, member.clone(), Value::Null);
        world.run(name, 2, 20.0);
    }
    for _ in 0..60 {
        world.pass(1);
        assert!(world.replicas("one") + world.replicas("two") <= 4);
    }
}

#[test]
fn nobody_grows_into_gpus_of_a_workload_that_is_not_decided_for() {
    let member = |utilization: &str| json!({"utilization": utilization, "pool": {"name": "gpus", "gpus": 5}});
    let grown = |utilization: &str, target: Option<TargetProblem>| {
        let mut world = World::new(DecisionLog::in_memory());
        world.policy("one", member("50%"), Value::Null);
        world.policy("two", member(utilization), Value::Null);
        world.run("one", 2, 20.0);
        world.run("two", 2, 0.1);
        if let Some(problem) = target {
            (world.running[1].0.target, world.running[1].0.pods) = (Err(problem), [].into());
        }
        world.pass(30);
        world.replicas("one")
    };
    assert_eq!(grown("50", None), 3, "its policy means nothing: it keeps its two");
    let unread = TargetProblem::NotYet { what: "it is" };
    assert_eq!(grown("50%", Some(unread)), 2, "what it has is not known");
    let gone = TargetProblem::NotFound {
        kind: "Deployment".into(),
        name: "two".into(),
        namespace: "team-a".into(),
    };
    assert_eq!(grown("50%", Some(gone)), 5, "it has none");
}

#[test]
fn nobody_grows_into_gpus_of_a_workload_that_is_not_decided_for_any_more() {
    let member = |priority: i32| json!({"utilization": "50%", "pool": {"name": "gpus", "gpus": 8, "priority": priority}});
    let grown = |breaks: &dyn Fn(&mut World)| {
        let mut world = World::new(DecisionLog::in_memory());
        world.policy("one", member(0), Value::Null);
        world.policy("two", member(10), Value::Null);
        world.run("one", 6, 2.9);
        world.run("two", 2, 0.5);
        world.pass(30);
        assert_eq!((world.replicas("one"), world.replicas("two")), (6, 2));
        breaks(&mut world);
        world.pass(3);
        world.running[1].1 = 20.0;
        world.pass(60);
        world.replicas("two")
    };
    let policy = |spec: Value| move |world: &mut World| world.policy("one", spec.clone(), Value::Null);
    let mistyped = json!({"utilization": "50", "pool": {"name": "gpus", "gpus": 8}});
    assert_eq!(
        grown(&|_| ()),
        7,
        "of one that is decided for all but the minimum"
    );
    assert_eq!(grown(&policy(mistyped)), 2, "its policy means nothing");
    let nameless = json!({"utilization": "50%", "pool": {"nmae": "gpus", "gpus": 8}});
    assert_eq!(grown(&policy(nameless)), 2, "it was in the pool");
    let beside = |world: &mut World| {
        let metadata = &mut world.running[0].0.triggers[0].metadata;
        metadata.insert("target".into(), "5".into());
    };
    assert_eq!(grown(&beside), 2, "a key beside its policy is wrong");
    let unread = |world: &mut World| {
        world.running[0].0.target = Err(TargetProblem::Failed {
            kind: "Deployment".into(),
            name: "one".into(),
            reason: "forbidden".into(),
        });
    };
    assert_eq!(grown(&unread), 2, "what it has is not known");
    let blind = |world: &mut World| {
        let workload = &mut world.running[0].0;
        let elsewhere = workload.pods.iter().map(|pod| {
            let mut pod = (**pod).clone();
            pod.node = Some("node-2".into());
            Arc::new(pod)
        });
        workload.pods = elsewhere.collect();
    };
    assert_eq!(grown(&blind), 2, "no agent tells of its pods");
}

/// Claims (DRA) do not say how many GPUs they stand for, and no agent tells of these.
#[test]
fn gpus_of_a_workload_that_is_not_decided_for_are_remembered_and_not_guessed() {
    let grown = |status: Value, gpu: Value| {
        let mut world = World::new(DecisionLog::in_memory());
        let pool = json!({"name": "gpus", "gpus": 9});
        let mistyped = json!({"utilization": "50", "pool": pool, "gpu": gpu});
        world.policy("one", mistyped, status);
        world.policy("two", json!({"utilization": "50%", "pool": pool}), Value::Null);
        world.run("one", 2, 0.9);
        world.run("two", 1, 20.0);
        let workload = &mut world.running[0].0;
        let claiming = workload.pods.iter().map(|pod| {
            let mut pod = (**pod).clone();
            (pod.gpus_requested, pod.resource_claims) = (0, 1);
            pod.node = Some("node-2".into());
            Arc::new(pod)
        });
        workload.pods = claiming.collect();
        world.pass(30);
        world.replicas("two")
    };
    let seen = json!({"workloads": [{"name": "one", "gpus": 3.0}]});
    assert_eq!(grown(Value::Null, json!({})), 1, "nobody knows");
    assert_eq!(
        grown(seen.clone(), json!({})),
        3,
        "as many as an earlier scaler saw"
    );
    assert_eq!(
        grown(seen, json!({"perReplica": 2})),
        5,
        "what the policy says counts"
    );
}

/// At zero no pod tells how many GPUs a replica takes.
#[test]
fn a_workload_that_comes_from_zero_takes_no_more_gpus_of_a_pool_than_it_has() {
    let first = |status: Value, per_replica: Option<u32>| {
        let mut world = World::new(DecisionLog::in_memory());
        let mut spec = json!({"utilization": "50%", "replicas": {"min": 0},
            "pool": {"name": "gpus", "gpus": 16}, "schedule": ["floor 8 from 0 8 * * * to 0 20 * * *"]});
        if let Some(gpus) = per_replica {
            spec["gpu"] = json!({"perReplica": gpus});
        }
        world.policy("big", spec, status);
        world.run("big", 0, 0.0);
        world.running[0].0.min_replicas = 0;
        // What the pool leaves is known from the second look on.
        world.pass(2);
        world.state().decision.unwrap().replicas
    };
    let seen = |gpus: f64| json!({"workloads": [{"name": "big", "gpus": gpus}]});
    assert_eq!(first(Value::Null, None), 1, "the first one shows it");
    assert_eq!(first(seen(8.0), None), 2, "as many as an earlier scaler saw");
    assert_eq!(first(seen(-3.0), None), 1, "nonsense is not taken over");
    assert_eq!(first(seen(2.0), Some(4)), 4, "what the policy says counts");
}

#[test]
fn a_pair_keeps_its_ratio_and_does_not_hold_itself_up() {
    let mut world = World::new(DecisionLog::in_memory());
    let part = |part: &str, partner: &str| json!({"utilization": "50%", "role": {"part": part, "partner": partner, "prefillPerDecode": 0.5}});
    world.policy("decode", part("decode", "prefill"), Value::Null);
    world.policy("prefill", part("prefill", "decode"), Value::Null);
    world.run("decode", 2, 4.0);
    world.run("prefill", 1, 0.0);
    world.pass(120);
    let (decode, prefill) = (world.replicas("decode"), world.replicas("prefill"));
    assert!(decode >= 8 && prefill * 2 >= decode, "{decode} and {prefill}");
    world.running[0].1 = 0.5;
    world.pass(4000);
    let (decode, prefill) = (world.replicas("decode"), world.replicas("prefill"));
    assert!(decode <= 3 && prefill <= 2, "{decode} and {prefill}");
}

#[test]
fn whoever_follows_answers_what_the_leader_decided_and_goes_on_alone_when_it_is_gone() {
    let mut world = World::new(DecisionLog::in_memory());
    let written = |leader: &str, desired: u32| json!({"leader": leader, "workloads": [{"name": "chat", "desired": desired, "active": true}]});
    let status = |desired| written("scaler-0_ab", desired);
    world.policy("chat", json!({"utilization": "50%"}), status(7));
    world.run("chat", 2, 0.5);
    world.leadership = Leadership::Following {
        leader: "scaler-0_ab".into(),
        until: world.clock.now().plus(Duration::from_secs(30)),
    };
    world.pass(3);
    assert_eq!(world.answer().value(), Some(7.0));
    let state = world.state();
    assert_eq!(&*state.followed.unwrap().leader, "scaler-0_ab");
    assert!(state.decision.is_some(), "it decides by itself all the same");
    // An earlier leader's word, who knows how old, adds nothing and takes nothing away.
    for desired in [16, 1] {
        let earlier = written("scaler-1_cd", desired);
        world.policy("chat", json!({"utilization": "50%"}), earlier);
        world.pass(1);
        assert_eq!(world.answer().value(), Some(7.0), "as many as there are");
        let state = world.state();
        assert!(state.decision.unwrap().replicas < 7, "its own count");
        assert_eq!(
            (state.followed, state.awaited),
            (None, Some("scaler-0_ab".into()))
        );
    }
    // Whatever is written there, the workload's own limits hold.
    world.policy(
        "chat",
        json!({"utilization": "50%", "replicas": {"max": 5}}),
        status(90),
    );
    world.pass(1);
    assert_eq!(world.answer().value(), Some(5.0));
    let dark = json!({"utilization": "50%", "schedule": ["ceiling 4 from 0 8 * * * to 0 20 * * *"]});
    world.policy("chat", dark, status(90));
    world.pass(1);
    assert_eq!(world.answer().value(), Some(4.0), "the schedule's ceiling, too");
    world.policy("chat", json!({"utilization": "50%"}), status(90));
    world.pass(40);
    let state = world.state();
    assert_eq!(state.followed, None, "the lease is over");
    let own = f64::from(state.decision.unwrap().replicas);
    assert_eq!(world.answer().value(), Some(own), "{}", world.answer());
}

#[test]
fn whoever_follows_says_what_the_leader_does_not_know_instead_of_a_count() {
    let mut world = World::new(DecisionLog::in_memory());
    let status = |unknown: Value| json!({"leader": "scaler-0_ab", "workloads": [{"name": "chat", "desired": 2, "active": true, "unknown": unknown}]});
    let write =
        |world: &mut World, status: Value| world.policy("chat", json!({"utilization": "50%"}), status);
    write(&mut world, status(Value::Null));
    world.run("chat", 2, 0.5);
    world.leadership = Leadership::Following {
        leader: "scaler-0_ab".into(),
        until: world.clock.now().plus(Duration::from_secs(3600)),
    };
    world.pass(3);
    assert_eq!(world.answer().value(), Some(2.0));
    write(&mut world, status(json!("the gateway tells nothing")));
    world.pass(1);
    assert_eq!(world.answer().value(), Some(2.0), "nothing is taken away at once");
    let held = |answer: &Answer| {
        matches!(
            answer,
            Answer::Value {
                basis: Basis::Held { .. },
                ..
            }
        )
    };
    assert!(held(world.answer()), "{:?}", world.answer());
    world.pass(600);
    match world.answer() {
        Answer::Error { reason, .. } => assert!(
            reason.contains("scaler-0_ab has decided: the gateway tells nothing"),
            "{reason}"
        ),
        other => panic!("it knows enough itself, and still answers as the leader does: {other:?}"),
    }
    write(&mut world, status(Value::Null));
    world.pass(1);
    assert_eq!(world.answer().value(), Some(2.0));
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut world = World::new(DecisionLog::in_memory());
    let spec = json!({"utilization": "50%"});
    world.policy("chat", spec.clone(), Value::Null);
    world.run("chat", 1, 0.2);
    world.pass(2);
    // A pod that takes 90 s to become ready, and is gone when the scaler starts again.
    let began = world.clock.now();
    let mut started = pod("team-a", "chat-1", Some("node-1"), true);
    started.created_at = began;
    started.ready_since = Some(began.plus(Duration::from_secs(90)));
    world.running[0].0.pods = [Arc::new(started)].into();
    world.hand.advance(Duration::from_secs(100));
    world.pass(70);
    let starts = |state: &PolicyState| -> Vec<(StartStage, u64)> {
        let learned = state.learned.as_ref().unwrap().cold_start().learned();
        learned
            .map(|(_, time)| (time.stage, time.p50.as_secs()))
            .collect()
    };
    let before = starts(&world.state());
    assert!(before.contains(&(StartStage::Total, 90)), "{before:?}");
    let text = encode_learned(world.state().learned.as_ref().unwrap()).unwrap();

    let mut after = World::new(DecisionLog::in_memory());
    let status = json!({"workloads": [{"name": "chat", "learned": text}]});
    after.policy("chat", spec.clone(), status);
    after.run("chat", 1, 0.2);
    after.pass(2);
    assert_eq!(starts(&after.state()), before);

    // What cannot be read is learned anew, and harms nothing.
    let mut broken = World::new(DecisionLog::in_memory());
    broken.policy(
        "chat",
        spec,
        json!({"workloads": [{"name": "chat", "learned": "v1:AAAA"}]}),
    );
    broken.run("chat", 1, 0.2);
    broken.pass(2);
    assert!(starts(&broken.state()).is_empty());
    assert!(matches!(
        broken.answer(),
        Answer::Value {
            basis: Basis::Current | Basis::Watching { .. },
            ..
        }
    ));
}

#[test]
fn a_mistake_beside_the_policy_costs_nothing_that_was_learned_and_gives_no_new_budget() {
    let mut world = World::new(DecisionLog::in_memory());
    let budget = json!({"gpuHours": 0.2, "per": "day"});
    let spec = json!({"utilization": "50%", "limits": {"budgets": [budget]}});
    world.policy("chat", spec, Value::Null);
    world.run("chat", 2, 0.9);
    world.pass(600);
    let left = |world: &World| world.state().decision.unwrap().figures.budget_left.unwrap().0;
    assert!(left(&world) <= 0.0, "{}", left(&world));
    let before = world.running[0].0.triggers[0].metadata.clone();
    world.running[0].0.triggers[0]
        .metadata
        .insert("target".into(), "5".into());
    world.pass(3);
    assert!(
        matches!(world.answer(), Answer::Error { .. }),
        "{}",
        world.answer()
    );
    let reports = world
        .evaluator
        .policy_reports(&world.answers, &world.store.snapshot());
    let problem = reports[0].workloads[0].decision.as_ref().unwrap_err();
    assert!(problem.contains("target"), "{problem}");
    world.running[0].0.triggers[0].metadata = before;
    world.pass(1);
    assert!(left(&world) <= 0.0, "spent is spent: {}", left(&world));
}

#[test]
fn every_policy_is_reported_with_what_uses_it_and_what_is_wrong() {
    let mut world = World::new(DecisionLog::in_memory());
    world.policy("chat", json!({"utilization": "50%"}), Value::Null);
    world.policy("bad", json!({"utilization": "50"}), Value::Null);
    world.policy("idle", json!({"concurrency": 8}), Value::Null);
    world.run("chat", 2, 0.5);
    world.run("bad", 2, 0.5);
    world.pass(7);
    let reports = world
        .evaluator
        .policy_reports(&world.answers, &world.store.snapshot());
    let names: Vec<_> = reports
        .iter()
        .map(|report| report.policy.id.name.as_str())
        .collect();
    assert_eq!(names, ["bad", "chat", "idle"]);
    let problem = reports[0].problem.as_deref().unwrap();
    assert!(problem.contains("spec.utilization is \"50\""), "{problem}");
    let told = reports[0].workloads[0].decision.as_ref().unwrap_err();
    assert!(told.contains("spec.utilization"), "{told}");
    assert_eq!(reports[1].problem, None);
    let chat = &reports[1].workloads[0];
    assert_eq!((&*chat.name, &*chat.uid), ("chat", "uid-team-a-chat"));
    assert_eq!(chat.decision.as_ref().unwrap().replicas, 2);
    assert!(chat.learned.is_some());
    assert_eq!(chat.gpus, Some(1.0));
    assert!(reports[2].workloads.is_empty());
}

#[test]
fn a_workload_with_a_minimum_goes_to_zero_only_where_keda_may_take_it_there() {
    let idles = |idle_replicas: Option<u32>| {
        let mut world = World::new(DecisionLog::in_memory());
        let spec = json!({"utilization": "50%", "replicas": {"scaleToZeroAfter": "6m"}});
        world.policy("chat", spec, Value::Null);
        world.run("chat", 3, 0.5);
        (world.running[0].0.min_replicas, world.running[0].0.idle_replicas) = (3, idle_replicas);
        world.pass(60);
        assert_eq!(world.answer().active(), Some(true));
        world.running[0].1 = 0.0;
        world.pass(1200);
        world.answer().active() == Some(false)
    };
    assert!(idles(Some(0)));
    assert!(!idles(None), "KEDA would take nothing");
    assert!(!idles(Some(1)));
}

/// At zero there is nobody to ask but who stands in front of the workload.
#[test]
fn what_waits_in_front_of_a_workload_wakes_it_and_is_not_taken_for_nothing_while_it_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.yaml");
    std::fs::write(&file, "main: {url: \"http://127.0.0.1:9\"}\n").unwrap();
    let servers = ServersFile::new(&file).poll().unwrap().unwrap();
    let query = servers.bind("main", "team-a", "sum(waiting)").unwrap();

    let mut world = World::new(DecisionLog::default());
    world.findings.servers = Arc::new(servers);
    let spec = json!({"concurrency": 8, "replicas": {"min": 0, "scaleToZeroAfter": "10m"}});
    world.policy("chat", spec, Value::Null);
    let asks = [
        ("policy", "chat"),
        ("prometheus", "main"),
        ("query", "sum(waiting)"),
        ("grace", "10s"),
    ];
    let mut chat = workload("team-a", "chat", 0, &asks);
    (chat.min_replicas, chat.max_replicas, chat.pods) = (0, 20, [].into());
    world.running.push((chat, 0.0, 0));

    for waiting in [Ok(0.0), Err("refused"), Ok(0.0)] {
        world.answer_query(&query, waiting);
        world.pass(7);
        let answer = world.answer();
        assert_eq!(
            (answer.value(), answer.active(), world.replicas("chat")),
            (Some(0.0), Some(false), 0),
            "{waiting:?}: inactive at zero, and no error"
        );
    }
    // Between two steps, which are five seconds apart: it must not wait for the next one.
    world.answer_query(&query, Ok(44.0));
    world.pass(1);
    assert_eq!(world.answer().active(), Some(true));
    let woken = world.replicas("chat");
    assert!(
        (3..=6).contains(&woken),
        "44 requests, 8 each, those that come first are gone when the last are served: {woken}"
    );

    // Here only GPUs are read, and no engines: they rest, and still nobody knows whether requests wait.
    let spec = json!({"utilization": "50%", "replicas": {"min": 0, "scaleToZeroAfter": "10m"}});
    world.policy("chat", spec, Value::Null);
    world.answer_query(&query, Err("connection refused"));
    world.pass(2000);
    assert_eq!(world.replicas("chat"), woken, "nothing is taken away");
    match world.answer() {
        Answer::Error { reason, .. } => assert!(
            reason.contains("in front of the workload") && reason.contains("connection refused"),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
}
