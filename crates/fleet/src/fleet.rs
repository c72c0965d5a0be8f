use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::Target;
use rheostat_proto::agent;
use rheostat_reading::Clock;
use rheostat_transport::{ClientSecurity, ConnectOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::decode::Limits;
use crate::registry::Registry;
use crate::subscription::Subscription;
use crate::view::{FleetView, NodeView};
use crate::wanted::WantedEngines;

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentEndpoint {
    /// `host:port`.
    pub address: String,
    /// The node that it runs on, where that is known otherwise than from the agent. Snapshots
    /// that name another one are refused.
    pub node: Option<String>,
}

/// How agents are subscribed to.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// TLS or plaintext.
    pub security: ClientSecurity,
    /// How to dial and how to notice a dead node.
    pub connect: ConnectOptions,
    /// Who we are, for the agents' logs.
    pub subscriber: String,
    /// A stream without a snapshot for so long is opened anew. Agents send one a second.
    pub idle_timeout: Duration,
    /// Limit of the first pause after a failure; the next ones double.
    pub first_pause: Duration,
    /// Limit of every pause.
    pub longest_pause: Duration,
    /// How long a node is remembered after its agent's endpoint has gone.
    pub keep: Duration,
    /// The largest snapshot that is accepted, in bytes.
    pub max_message_bytes: usize,
    /// The most devices, partitions included, that a node may have.
    pub max_devices: usize,
    /// The most claims that a node may have.
    pub max_claims: usize,
    /// The most engines that a node may report; further ones are left out.
    pub max_engines: usize,
    /// Where the pauses' randomness starts.
    pub seed: u64,
}

impl FleetOptions {
    /// The usual ones, with `security`; the seed differs from process to process.
    ///
    /// The limits leave room for 16 GPUs of 7 partitions each, shared by dozens of pods.
    #[must_use]
    pub fn new(security: ClientSecurity) -> Self {
        Self {
            security,
            connect: ConnectOptions::default(),
            subscriber: String::from("rheostat"),
            idle_timeout: Duration::from_secs(5),
            first_pause: Duration::from_millis(500),
            // After an outage of all agents, nobody should be blind for much longer than the outage.
            longest_pause: Duration::from_secs(5),
            keep: Duration::from_secs(300),
            max_message_bytes: 4 * 1024 * 1024,
            max_devices: 512,
            max_claims: 8192,
            max_engines: 1024,
            seed: std::hash::RandomState::new().hash_one("fleet"),
        }
    }
}

/// Every agent's newest snapshot. Cheap to clone; the last clone dropped ends the subscriptions.
#[derive(Clone, Debug)]
pub struct Fleet {
    registry: Arc<Registry>,
    protected: bool,
    wanted: watch::Sender<Arc<WantedEngines>>,
    clock: Clock,
    _driver: Option<Arc<Driver>>,
}

#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fleet {
    /// Subscribes to every agent of `endpoints`, as they come and go. Needs a tokio runtime.
    #[must_use]
    pub fn start(
        options: FleetOptions,
        clock: Clock,
        endpoints: watch::Receiver<Vec<AgentEndpoint>>,
    ) -> Self {
        let limits = Limits {
            devices: options.max_devices,
            claims: options.max_claims,
            engines: options.max_engines,
        };
        let protected = !matches!(options.security, ClientSecurity::Plaintext);
        let registry = Arc::new(Registry::new(limits));
        registry.set_endpoints(&endpoints.borrow().iter().cloned().collect(), clock.now());
        let wanted = watch::Sender::default();
        let subscriptions = Subscriptions {
            options: Arc::new(options),
            registry: Arc::clone(&registry),
            wanted: wanted.subscribe(),
            clock: clock.clone(),
        };
        let driver = subscriptions.drive(endpoints);
        Self {
            registry,
            protected,
            wanted,
            clock,
            _driver: Some(Arc::new(Driver(tokio::spawn(driver)))),
        }
    }

    /// A fleet that is filled by hand, for tests, benchmarks and demonstrations.
    #[must_use]
    pub fn by_hand(clock: Clock) -> (FleetWriter, Self) {
        let registry = Arc::new(Registry::new(Limits {
            devices: usize::MAX,
            claims: usize::MAX,
            engines: usize::MAX,
        }));
        let wanted = watch::Sender::default();
        let writer = FleetWriter {
            registry: Arc::clone(&registry),
            wanted: wanted.subscribe(),
            clock: clock.clone(),
        };
        (
            writer,
            Self {
                registry,
                protected: true,
                wanted,
                clock,
                _driver: None,
            },
        )
    }

    /// All nodes and agents as they are now; about 50 µs for 1,000 nodes. Whoever evaluates many
    /// workloads takes one view for all of them.
    #[must_use]
    pub fn view(&self) -> Arc<FleetView> {
        Arc::new(self.registry.view(Arc::clone(&self.wanted.borrow())))
    }

    /// Whether what is said to agents cannot be read on the way: by TLS, or because there is no way.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.protected
    }

    /// All engines that agents are to read, by the name of their node, in place of those before. Each
    /// agent is sent its own where they have changed, and whenever its stream is opened anew; an agent
    /// that is not there yet, when it comes.
    pub fn set_engines(&self, targets: HashMap<String, Vec<Arc<Target>>>) {
        let now = self.clock.now();
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.changed_to(targets, now);
            let is_changed = changed.is_some();
            if let Some(changed) = changed {
                *wanted = Arc::new(changed);
            }
            is_changed
        });
    }

    /// What the agent on `node` last said.
    #[must_use]
    pub fn node(&self, node: &str) -> Option<Arc<NodeView>> {
        self.registry.node(node)
    }
}

/// Fills a [`Fleet`] without agents.
#[derive(Clone, Debug)]
pub struct FleetWriter {
    registry: Arc<Registry>,
    wanted: watch::Receiver<Arc<WantedEngines>>,
    clock: Clock,
}

/// A snapshot that a [`FleetWriter`] would not take.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot is refused: {0}")]
pub struct RefusedSnapshot(String);

impl FleetWriter {
    /// Takes `snapshot` as if it had just arrived from the agent of its node.
    ///
    /// # Errors
    ///
    /// The snapshot names no node.
    pub fn put(&self, snapshot: &agent::Snapshot) -> Result<(), RefusedSnapshot> {
        let now = self.clock.now();
        let stream = self.registry.known(&snapshot.node, now);
        let endpoint = AgentEndpoint {
            address: snapshot.node.clone(),
            node: None,
        };
        self.registry
            .take(&endpoint, stream, snapshot, now)
            .map_err(|refused| RefusedSnapshot(refused.to_string()))
    }

    /// The engines that the agent on `node` is to read, ordered by id: what a real one would be sent.
    #[must_use]
    pub fn engines(&self, node: &str) -> Vec<Arc<Target>> {
        let wanted = self.wanted.borrow();
        let targets = wanted.of(node).into_iter().flat_map(|list| list.targets());
        targets.map(Arc::clone).collect()
    }

    /// Forgets `node`, as if its endpoint had been gone for long.
    pub fn remove(&self, node: &str) {
        self.registry.forget(node);
    }
}

/// What all subscriptions share.
struct Subscriptions {
    options: Arc<FleetOptions>,
    registry: Arc<Registry>,
    wanted: watch::Receiver<Arc<WantedEngines>>,
    clock: Clock,
}

impl Subscriptions {
    /// Starts and ends subscriptions as endpoints come and go.
    async fn drive(self, mut endpoints: watch::Receiver<Vec<AgentEndpoint>>) {
        let mut running: HashMap<AgentEndpoint, Driver> = HashMap::new();
        let keep = self.options.keep;
        let mut sweep = tokio::time::interval((keep / 4).clamp(SHORTEST_SWEEP, LONGEST_SWEEP));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wanted: HashSet<_> = endpoints.borrow_and_update().iter().cloned().collect();
            // A subscription never ends by itself; one that did has panicked and is started again.
            running.retain(|endpoint, task| wanted.contains(endpoint) && !task.0.is_finished());
            self.registry.set_endpoints(&wanted, self.clock.now());
            let new = wanted
                .iter()
                .filter(|endpoint| !running.contains_key(*endpoint))
                .count();
            let spread = SPREAD_PER_AGENT * u32::try_from(new).unwrap_or(u32::MAX);
            for endpoint in wanted {
                running
                    .entry(endpoint)
                    .or_insert_with_key(|endpoint| self.subscribe(endpoint, spread));
            }
            self.registry.sweep(keep, self.clock.now());
            tokio::select! {
                // When nobody can change the endpoints any more, they stay as they are.
                Ok(()) = endpoints.changed() => {}
                _ = sweep.tick() => {}
            }
        }
    }

    fn subscribe(&self, endpoint: &AgentEndpoint, spread: Duration) -> Driver {
        let subscription = Subscription {
            endpoint: endpoint.clone(),
            options: Arc::clone(&self.options),
            registry: Arc::clone(&self.registry),
            wanted: self.wanted.clone(),
            clock: self.clock.clone(),
            seed: self.options.seed ^ BuildHasherDefault::<DefaultHasher>::new().hash_one(endpoint),
            spread,
        };
        Driver(tokio::spawn(subscription.run()))
    }
}

/// New agents are dialled at 500 a second: a second for 500, 20 for 10,000.
const SPREAD_PER_AGENT: Duration = Duration::from_millis(2);
const SHORTEST_SWEEP: Duration = Duration::from_millis(10);
const LONGEST_SWEEP: Duration = Duration::from_secs(10);
