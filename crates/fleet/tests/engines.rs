//! Who reads an engine: the agent, or somebody in its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{Endpoint, Engine, EngineChoice, EngineReport, Scheme, Sleep, Target, TargetId, View};
use rheostat_fleet::{EngineReader, Fleet, FleetWriter, NoAgent};
use rheostat_proto::{agent, engine_refusal_to_proto, engine_report_to_proto};
use rheostat_reading::{Clock, EngineQuantity, ManualClock, Quality, Readings, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    fleet: Fleet,
    writer: FleetWriter,
    clock: Clock,
    hand: ManualClock,
    target: Arc<Target>,
}

impl World {
    /// A fleet without agents that wants one engine on `n1`.
    fn new() -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_unix_nanos(1_000_000_000_000));
        let (writer, fleet) = Fleet::by_hand(clock.clone());
        let target = Arc::new(Target {
            endpoint: Endpoint {
                address: ([10, 0, 0, 7], 8000).into(),
                pod_uid: "uid".into(),
                scheme: Scheme::Http,
                path: None,
                bearer: None,
                engine: EngineChoice::Named(Engine::Vllm),
                period: 2 * SECOND,
            },
            view: View {
                model: None,
                adapter: None,
                window: 60 * SECOND,
            },
            owner: "team-a/llm-0".into(),
        });
        fleet.set_engines(HashMap::from([("n1".into(), vec![Arc::clone(&target)])]));
        Self {
            fleet,
            writer,
            clock,
            hand,
            target,
        }
    }

    fn says(&self, engines: Vec<agent::EngineReport>) {
        let snapshot = agent::Snapshot {
            node: "n1".into(),
            engines,
            scrapes_engines: true,
            ..Default::default()
        };
        self.writer.put(&snapshot).unwrap();
    }

    fn report(&self, answered: Option<Duration>, failure: Option<&str>) -> agent::EngineReport {
        let now = self.clock.now();
        let mut readings = Readings::new();
        if let Some(age) = answered {
            readings.put(
                EngineQuantity::Waiting,
                7.0,
                now.minus(age),
                Duration::ZERO,
                Quality::Measured,
            );
        }
        let report = EngineReport {
            engine: Some(Engine::Vllm),
            answered_at: answered.map(|age| now.minus(age)),
            failure: failure.map(str::to_owned),
            sleep: Sleep::Awake,
            readings,
            notes: Vec::new(),
        };
        engine_report_to_proto(&self.target.id().0, &report, now)
    }

    /// Who reads, in a word, and why no agent does.
    fn reader(&self) -> Result<&'static str, NoAgent> {
        self.reader_of(&self.target.id())
    }

    fn reader_of(&self, target: &TargetId) -> Result<&'static str, NoAgent> {
        match self.fleet.view().engine_reader("n1", target, self.clock.now()) {
            EngineReader::Agent(_) => Ok("agent"),
            EngineReader::Undecided => Ok("undecided"),
            EngineReader::NoAgent(why) => Err(why),
        }
    }
}

#[test]
fn a_fresh_report_is_the_agents_and_keeps_its_age() {
    let world = World::new();
    world.says(vec![world.report(Some(SECOND), None)]);
    let now = world.clock.now();
    let view = world.fleet.view();
    let EngineReader::Agent(engine) = view.engine_reader("n1", &world.target.id(), now) else {
        panic!("{:?}", world.reader());
    };
    let waiting = engine.report.readings.get(EngineQuantity::Waiting).unwrap();
    assert_eq!((waiting.amount.value(), waiting.age(now)), (7.0, SECOND));
    assert_eq!(engine.report.answered_at, Some(now.minus(SECOND)));
    assert_eq!(engine.received_at, now);
    assert_eq!(view.node("n1").unwrap().engines().len(), 1);
}

#[test]
fn where_no_agent_is_somebody_else_reads_at_once() {
    let world = World::new();
    assert_eq!(world.reader(), Err(NoAgent::Unheard));
    let other = TargetId("another".into());
    assert_eq!(world.reader_of(&other), Err(NoAgent::NotWanted));
}

#[test]
fn a_silent_agent_is_waited_for_and_comes_back() {
    let world = World::new();
    world.says(vec![world.report(Some(SECOND), None)]);
    world.hand.advance(5 * SECOND);
    assert_eq!(world.reader(), Ok("agent"));
    world.hand.advance(SECOND);
    assert_eq!(world.reader(), Err(NoAgent::Silent(6 * SECOND)));
    world.says(vec![world.report(Some(SECOND), None)]);
    assert_eq!(world.reader(), Ok("agent"));
}

#[test]
fn an_agent_that_does_not_report_the_engine_has_five_seconds() {
    let world = World::new();
    world.says(vec![]);
    assert_eq!(world.reader(), Ok("undecided"));
    world.hand.advance(4 * SECOND);
    world.says(vec![world.report(None, None)]);
    assert_eq!(world.reader(), Ok("undecided"), "named, but not asked yet");
    world.hand.advance(2 * SECOND);
    world.says(vec![world.report(None, None)]);
    assert_eq!(world.reader(), Err(NoAgent::NotReported));
    world.says(vec![world.report(Some(SECOND), None)]);
    assert_eq!(world.reader(), Ok("agent"));
}

#[test]
fn an_agent_that_will_not_is_not_waited_for() {
    let world = World::new();
    world.says(vec![engine_refusal_to_proto(
        &world.target.id().0,
        "one too many",
    )]);
    assert_eq!(world.reader(), Err(NoAgent::Refused("one too many".into())));
    let off = agent::Snapshot {
        node: "n1".into(),
        ..Default::default()
    };
    world.writer.put(&off).unwrap();
    assert_eq!(world.reader(), Err(NoAgent::Off));
}

#[test]
fn an_engine_that_fails_the_agent_stays_the_agents() {
    let world = World::new();
    world.says(vec![world.report(None, Some("connection refused"))]);
    assert_eq!(world.reader(), Ok("agent"));
    world.says(vec![world.report(Some(600 * SECOND), Some("connection refused"))]);
    assert_eq!(world.reader(), Ok("agent"));
    world.says(vec![world.report(Some(600 * SECOND), None)]);
    assert_eq!(
        world.reader(),
        Err(NoAgent::Overdue(600 * SECOND)),
        "neither answered nor failed"
    );
}

#[test]
fn by_hand_too_it_is_seen_what_an_agent_would_be_sent() {
    let world = World::new();
    assert_eq!(world.writer.engines("n1"), [Arc::clone(&world.target)]);
    assert!(world.writer.engines("n2").is_empty());
    world.fleet.set_engines(HashMap::new());
    assert!(world.writer.engines("n1").is_empty());
    world.says(vec![world.report(Some(SECOND), None)]);
    assert_eq!(world.reader(), Err(NoAgent::NotWanted));
}
