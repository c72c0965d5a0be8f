//! The fleet against agents over real gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_engines::{Endpoint, EngineChoice, Scheme, Target, View};
use rheostat_fleet::{AgentConnection, AgentEndpoint, Fleet, FleetOptions, FleetView, NodeView};
use rheostat_proto::agent;
use rheostat_proto::agent::agent_server::{Agent, AgentServer};
use rheostat_reading::{Clock, Quantity};
use rheostat_transport::{ClientSecurity, ServerSecurity, grpc_server, listen, serve_grpc};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(30);

type Snapshots = mpsc::UnboundedSender<Result<agent::Snapshot, Status>>;

/// An agent that says what the test tells it to say.
struct ScriptedAgent {
    address: SocketAddr,
    script: Script,
    _stop: oneshot::Sender<()>,
}

#[derive(Clone, Default)]
struct Script {
    /// The newest subscriber.
    subscriber: Arc<Mutex<Option<Snapshots>>>,
    /// What each subscriber hears at once.
    first: Arc<Mutex<Option<agent::Snapshot>>>,
    calls: Arc<Mutex<Vec<String>>>,
    /// The engines that each request named, in order; `None` for a request that named none.
    lists: Arc<Mutex<Vec<Option<Vec<String>>>>>,
    refuses: Arc<Mutex<bool>>,
}

#[tonic::async_trait]
impl Agent for Script {
    type WatchStream = Pin<Box<UnboundedReceiverStream<Result<agent::Snapshot, Status>>>>;

    async fn watch(
        &self,
        request: Request<Streaming<agent::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap_or_default();
        self.calls.lock().push(first.subscriber.clone());
        self.heard(&first);
        if *self.refuses.lock() {
            return Err(Status::unavailable("not today"));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        if let Some(first) = self.first.lock().clone() {
            sender.send(Ok(first)).unwrap();
        }
        *self.subscriber.lock() = Some(sender);
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                script.heard(&request);
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

impl Script {
    fn heard(&self, request: &agent::WatchRequest) {
        let names = |list: &agent::EngineList| list.targets.iter().map(|target| target.id.clone()).collect();
        self.lists.lock().push(request.engines.as_ref().map(names));
    }
}

impl ScriptedAgent {
    async fn start(first: Option<agent::Snapshot>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), first).await
    }

    async fn start_at(address: SocketAddr, first: Option<agent::Snapshot>) -> Self {
        let script = Script {
            first: Arc::new(Mutex::new(first)),
            ..Script::default()
        };
        let listener = listen(address, &ServerSecurity::Plaintext).await.unwrap();
        let address = listener.local_addr();
        let router = grpc_server().add_service(AgentServer::new(script.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        // Dropping the server cuts its streams, as the death of the process would.
        tokio::spawn(async move {
            tokio::select! {
                served = serve_grpc(listener, router, std::future::pending()) => served.unwrap(),
                _ = stopped => {}
            }
        });
        Self {
            address,
            script,
            _stop: stop,
        }
    }

    fn say(&self, snapshot: agent::Snapshot) {
        let subscriber = self.script.subscriber.lock();
        // A subscriber that is gone hears nothing.
        let _ = subscriber.as_ref().unwrap().send(Ok(snapshot));
    }

    fn endpoint(&self) -> AgentEndpoint {
        AgentEndpoint {
            address: self.address.to_string(),
            node: None,
        }
    }

    fn calls(&self) -> usize {
        self.script.calls.lock().len()
    }
}

fn hasty() -> FleetOptions {
    FleetOptions {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(30),
        seed: 7,
        ..FleetOptions::new(ClientSecurity::Plaintext)
    }
}

fn start(options: FleetOptions, agents: &[&ScriptedAgent]) -> (watch::Sender<Vec<AgentEndpoint>>, Fleet) {
    let (sender, receiver) = watch::channel(agents.iter().map(|agent| agent.endpoint()).collect());
    (sender, Fleet::start(options, Clock::system(), receiver))
}

fn snapshot(node: &str, sequence: u64, utilization: f64) -> agent::Snapshot {
    let reading = agent::Reading {
        quantity: agent::Quantity::Utilization.into(),
        value: utilization,
        ..Default::default()
    };
    let device = agent::Device {
        id: "GPU-1".into(),
        readings: vec![reading],
        ..Default::default()
    };
    agent::Snapshot {
        node: node.into(),
        sequence,
        devices: vec![device],
        ..Default::default()
    }
}

async fn until(fleet: &Fleet, what: &str, holds: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
    let waiting = async {
        loop {
            let view = fleet.view();
            if holds(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("never saw {what}: {:#?}", fleet.view()))
}

/// Waits until the agent has been sent `list` as its newest.
async fn sent(agent: &ScriptedAgent, list: &[&Arc<Target>]) {
    let mut expected: Vec<_> = list.iter().map(|target| target.id().0).collect();
    expected.sort();
    let waiting = async {
        while agent.script.lists.lock().last() != Some(&Some(expected.clone())) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("was sent {:?}, not {expected:?}", agent.script.lists.lock());
    }
}

fn engine(port: u16) -> Arc<Target> {
    Arc::new(Target {
        endpoint: Endpoint {
            address: ([10, 0, 0, 7], port).into(),
            pod_uid: "uid".into(),
            scheme: Scheme::Http,
            path: None,
            bearer: None,
            engine: EngineChoice::Recognise,
            period: Duration::from_secs(2),
        },
        view: View {
            model: None,
            adapter: None,
            window: Duration::from_secs(60),
        },
        owner: "team-a/llm-0".into(),
    })
}

fn has(view: &FleetView, node: &str, sequence: u64) -> bool {
    view.node(node).is_some_and(|node| node.sequence == sequence)
}

fn utilization(node: &NodeView) -> Option<f64> {
    node.device("GPU-1")?.readings.value(Quantity::Utilization)
}

fn only(view: &FleetView) -> &AgentConnection {
    assert_eq!(view.agents().len(), 1);
    &view.agents()[0]
}

#[tokio::test]
async fn snapshots_arrive_and_replace_each_other() {
    let agent = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    let options = FleetOptions {
        subscriber: "scaler-0".into(),
        ..hasty()
    };
    let (_endpoints, fleet) = start(options, &[&agent]);
    let first = until(&fleet, "the first", |view| has(view, "n1", 1)).await;
    assert_eq!(utilization(first.node("n1").unwrap()), Some(0.5));
    agent.say(snapshot("n1", 2, 0.9));
    let second = until(&fleet, "the second", |view| has(view, "n1", 2)).await;
    assert_eq!(utilization(second.node("n1").unwrap()), Some(0.9));
    assert_eq!(
        utilization(first.node("n1").unwrap()),
        Some(0.5),
        "a view does not change"
    );
    let connection = only(&second);
    assert!(connection.connected_since.is_some());
    assert_eq!(
        (connection.snapshots, connection.node.as_deref()),
        (2, Some("n1"))
    );
    assert_eq!(*agent.script.calls.lock(), ["scaler-0"]);
}

#[tokio::test]
async fn a_dead_agent_leaves_its_last_snapshot_to_grow_old_and_is_found_again() {
    let agent = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    let address = agent.address;
    let (_endpoints, fleet) = start(
        FleetOptions {
            keep: Duration::from_millis(1),
            ..hasty()
        },
        &[&agent],
    );
    let alive = until(&fleet, "the first", |view| has(view, "n1", 1)).await;
    drop(agent);
    let dead = until(&fleet, "the loss", |view| only(view).connected_since.is_none()).await;
    assert!(only(&dead).last_error.is_some());
    // Sweeps come and go; while the endpoint stands nothing is forgotten.
    let later = until(&fleet, "a repeated failure", |view| {
        only(view).last_error.as_ref().map(|error| error.0)
            > only(&dead).last_error.as_ref().map(|error| error.0)
    })
    .await;
    let node = later.node("n1").unwrap();
    assert_eq!(
        (utilization(node), node.received_at),
        (Some(0.5), alive.node("n1").unwrap().received_at)
    );
    let _agent = ScriptedAgent::start_at(address, Some(snapshot("n1", 9, 0.1))).await;
    until(&fleet, "the agent again", |view| {
        has(view, "n1", 9) && only(view).connected_since.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_node_is_forgotten_only_after_its_endpoint() {
    let (first, second) = (
        ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await,
        ScriptedAgent::start(Some(snapshot("n2", 1, 0.5))).await,
    );
    let options = FleetOptions {
        keep: Duration::from_millis(200),
        ..hasty()
    };
    let (endpoints, fleet) = start(options, &[&first, &second]);
    until(&fleet, "both", |view| has(view, "n1", 1) && has(view, "n2", 1)).await;
    endpoints.send(vec![second.endpoint()]).unwrap();
    let gone = until(&fleet, "n1 forgotten", |view| view.node("n1").is_none()).await;
    assert_eq!(only(&gone).node.as_deref(), Some("n2"));
    assert!(gone.node("n2").is_some());
}

#[tokio::test]
async fn a_silent_stream_is_opened_anew() {
    let agent = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    let (_endpoints, fleet) = start(
        FleetOptions {
            idle_timeout: Duration::from_millis(100),
            ..hasty()
        },
        &[&agent],
    );
    until(&fleet, "silence", |view| {
        only(view)
            .last_error
            .as_ref()
            .is_some_and(|(_, reason)| reason == "no snapshot for 100ms")
    })
    .await;
    until(&fleet, "the next stream", |view| only(view).snapshots >= 3).await;
    assert!(agent.calls() >= 3);
}

#[tokio::test]
async fn an_agent_that_refuses_is_asked_again() {
    let agent = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    *agent.script.refuses.lock() = true;
    let (_endpoints, fleet) = start(hasty(), &[&agent]);
    let refused = until(&fleet, "the refusal", |view| only(view).last_error.is_some()).await;
    let (_, reason) = only(&refused).last_error.as_ref().unwrap();
    assert!(reason.contains("not today"), "{reason}");
    assert!(
        refused.node("n1").is_none(),
        "a node that was never heard is not there"
    );
    *agent.script.refuses.lock() = false;
    until(&fleet, "the snapshot", |view| has(view, "n1", 1)).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_counted_and_what_is_too_much_is_refused() {
    let mut odd = snapshot("n1", 1, f64::NAN);
    odd.devices.push(agent::Device::default());
    let agent = ScriptedAgent::start(Some(odd)).await;
    let options = FleetOptions {
        max_devices: 2,
        max_message_bytes: 64 * 1024,
        ..hasty()
    };
    let (_endpoints, fleet) = start(options, &[&agent]);
    let seen = until(&fleet, "the odd one", |view| has(view, "n1", 1)).await;
    assert_eq!(only(&seen).malformed, 2);
    assert_eq!(utilization(seen.node("n1").unwrap()), None);

    let mut many = snapshot("n1", 2, 0.5);
    many.devices = (0..3)
        .map(|id| agent::Device {
            id: id.to_string(),
            ..Default::default()
        })
        .collect();
    agent.say(many);
    let refused = until(&fleet, "the refusal", |view| only(view).last_error.is_some()).await;
    let (_, reason) = only(&refused).last_error.as_ref().unwrap();
    assert_eq!(reason, "the snapshot has 3 devices; at most 2 are accepted");
    assert!(has(&refused, "n1", 1));
    assert!(only(&refused).connected_since.is_some(), "the stream goes on");

    let mut large = snapshot("n1", 3, 0.5);
    large.version = "x".repeat(100_000);
    agent.say(large);
    let cut = until(&fleet, "the cut", |view| {
        only(view)
            .last_error
            .as_ref()
            .is_some_and(|(_, reason)| reason.contains("too large"))
    })
    .await;
    assert!(!has(&cut, "n1", 3));
}

#[tokio::test]
async fn an_address_that_is_none_is_reported_and_harms_nobody() {
    let agent = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    let (endpoints, fleet) = start(hasty(), &[&agent]);
    let nonsense = AgentEndpoint {
        address: "not an address".into(),
        node: None,
    };
    endpoints.send(vec![agent.endpoint(), nonsense]).unwrap();
    let view = until(&fleet, "both", |view| {
        has(view, "n1", 1) && view.agents().iter().any(|agent| agent.last_error.is_some())
    })
    .await;
    let bad = view
        .agents()
        .iter()
        .find(|agent| agent.address == "not an address")
        .unwrap();
    assert!(bad.last_error.as_ref().unwrap().1.contains("not an address"));
}

#[tokio::test]
async fn an_agent_is_sent_its_own_engines_on_each_change_and_to_each_stream() {
    let first = ScriptedAgent::start(Some(snapshot("n1", 1, 0.5))).await;
    let other = ScriptedAgent::start(Some(snapshot("n2", 1, 0.5))).await;
    let (_endpoints, fleet) = start(hasty(), &[&first, &other]);
    until(&fleet, "both", |view| has(view, "n1", 1) && has(view, "n2", 1)).await;
    let (a, b, c) = (engine(1), engine(2), engine(3));
    let wanted = |on_first: &[&Arc<Target>], on_other: &[&Arc<Target>]| {
        let list = |targets: &[&Arc<Target>]| targets.iter().map(|&target| Arc::clone(target)).collect();
        fleet.set_engines(HashMap::from([
            ("n1".into(), list(on_first)),
            ("n2".into(), list(on_other)),
        ]));
    };
    wanted(&[&a, &b], &[&c]);
    sent(&first, &[&a, &b]).await;
    sent(&other, &[&c]).await;
    wanted(&[&b], &[&c]);
    sent(&first, &[&b]).await;
    wanted(&[], &[&c]);
    sent(&first, &[]).await;
    wanted(&[&a], &[&c]);
    sent(&first, &[&a]).await;
    let expected = [None, Some(vec![c.id().0])];
    assert_eq!(
        *other.script.lists.lock(),
        expected,
        "what does not change is not sent"
    );

    let address = first.address;
    drop(first);
    until(&fleet, "the loss", |view| {
        let mut agents = view.agents().iter();
        agents.any(|agent| agent.address == address.to_string() && agent.connected_since.is_none())
    })
    .await;
    let again = ScriptedAgent::start_at(address, Some(snapshot("n1", 1, 0.5))).await;
    sent(&again, &[&a]).await;
}

#[tokio::test]
async fn an_agent_whose_node_is_known_is_sent_its_engines_first() {
    let agent = ScriptedAgent::start(None).await;
    let endpoint = AgentEndpoint {
        node: Some("n1".into()),
        ..agent.endpoint()
    };
    let (endpoints, fleet) = start(hasty(), &[]);
    fleet.set_engines(HashMap::from([("n1".into(), vec![engine(1)])]));
    endpoints.send(vec![endpoint]).unwrap();
    sent(&agent, &[&engine(1)]).await;
    assert_eq!(agent.script.lists.lock().len(), 1);
}
