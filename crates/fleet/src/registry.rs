use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_proto::agent;
use rheostat_reading::Timestamp;

use crate::decode::{Decoded, Limits, Refused, decode};
use crate::fleet::AgentEndpoint;
use crate::view::{AgentConnection, FleetView, NodeView};
use crate::wanted::WantedEngines;

/// What is known of all agents. Snapshots are decoded outside the lock; under it there are only
/// moves of pointers, so that nobody waits for longer than that.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    state: Mutex<State>,
}

/// One stream of an agent; later streams have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(u64);

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<Arc<str>, Node>,
    agents: BTreeMap<String, Agent>,
    streams: u64,
}

#[derive(Debug)]
struct Node {
    view: Arc<NodeView>,
    /// Who speaks for the node; `None` since its stream ended.
    speaker: Option<(StreamId, String)>,
    /// Since when no endpoint stands for the node.
    orphaned: Option<Timestamp>,
}

#[derive(Debug)]
struct Agent {
    connection: Arc<AgentConnection>,
    /// Since when its endpoint is gone.
    gone: Option<Timestamp>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    pub(crate) fn view(&self, wanted: Arc<WantedEngines>) -> FleetView {
        let state = self.state.lock();
        FleetView {
            nodes: state
                .nodes
                .iter()
                .map(|(name, node)| (Arc::clone(name), Arc::clone(&node.view)))
                .collect(),
            agents: state
                .agents
                .values()
                .map(|agent| Arc::clone(&agent.connection))
                .collect(),
            wanted,
        }
    }

    pub(crate) fn node(&self, node: &str) -> Option<Arc<NodeView>> {
        self.state
            .lock()
            .nodes
            .get(node)
            .map(|node| Arc::clone(&node.view))
    }

    /// These are the endpoints now.
    pub(crate) fn set_endpoints(&self, endpoints: &HashSet<AgentEndpoint>, now: Timestamp) {
        let mut state = self.state.lock();
        for endpoint in endpoints {
            let agent = state
                .agents
                .entry(endpoint.address.clone())
                .or_insert_with(|| Agent {
                    connection: Arc::new(AgentConnection {
                        address: endpoint.address.clone(),
                        ..Default::default()
                    }),
                    gone: None,
                });
            agent.gone = None;
            if let Some(node) = &endpoint.node {
                Arc::make_mut(&mut agent.connection).node = Some(node.as_str().into());
            }
        }
        let present: HashSet<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.address.as_str())
            .collect();
        for (address, agent) in &mut state.agents {
            if !present.contains(address.as_str()) && agent.gone.is_none() {
                agent.gone = Some(now);
                let connection = Arc::make_mut(&mut agent.connection);
                connection.connected_since = None;
                connection.last_error = Some((now, "the endpoint is gone".into()));
            }
        }
        for node in state.nodes.values_mut() {
            if node
                .speaker
                .as_ref()
                .is_some_and(|speaker| !present.contains(speaker.1.as_str()))
            {
                node.speaker = None;
            }
        }
    }

    /// Forgets agents and nodes whose endpoint has been gone for `keep`.
    pub(crate) fn sweep(&self, keep: Duration, now: Timestamp) {
        let mut state = self.state.lock();
        state
            .agents
            .retain(|_, agent| agent.gone.is_none_or(|gone| now.since(gone) < keep));
        let present = state.agents.values().filter(|agent| agent.gone.is_none());
        let spoken_for: HashSet<_> = present
            .filter_map(|agent| agent.connection.node.clone())
            .collect();
        state.nodes.retain(|name, node| {
            if spoken_for.contains(name) {
                node.orphaned = None;
            }
            spoken_for.contains(name) || now.since(*node.orphaned.get_or_insert(now)) < keep
        });
    }

    /// A stream of `address` opened.
    pub(crate) fn opened(&self, address: &str, now: Timestamp) -> StreamId {
        let mut state = self.state.lock();
        state.streams += 1;
        let stream = StreamId(state.streams);
        state.connection(address, |connection| connection.connected_since = Some(now));
        stream
    }

    /// The one stream of an agent that is known by its node's name alone.
    pub(crate) fn known(&self, node: &str, now: Timestamp) -> StreamId {
        let mut state = self.state.lock();
        state.agents.entry(node.to_owned()).or_insert_with(|| {
            let (address, connected_since) = (node.to_owned(), Some(now));
            let connection = AgentConnection {
                address,
                connected_since,
                ..Default::default()
            };
            Agent {
                connection: Arc::new(connection),
                gone: None,
            }
        });
        StreamId(0)
    }

    /// Forgets `node` and the agent of that address.
    pub(crate) fn forget(&self, node: &str) {
        let mut state = self.state.lock();
        state.nodes.remove(node);
        state.agents.remove(node);
    }

    /// The stream ended, or could not be opened (`None`), because of `reason`.
    pub(crate) fn closed(&self, address: &str, stream: Option<StreamId>, reason: String, now: Timestamp) {
        let mut state = self.state.lock();
        let mine =
            |node: &&mut Node| stream.is_some() && node.speaker.as_ref().map(|speaker| speaker.0) == stream;
        state
            .nodes
            .values_mut()
            .filter(mine)
            .for_each(|node| node.speaker = None);
        state.connection(address, |connection| {
            connection.connected_since = None;
            connection.last_error = Some((now, reason));
            connection.superseded_by = None;
        });
    }

    /// Takes a snapshot of `stream` in.
    ///
    /// Where two agents speak for one node, the stream that opened last is heard until it ends.
    pub(crate) fn take(
        &self,
        endpoint: &AgentEndpoint,
        stream: StreamId,
        snapshot: &agent::Snapshot,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let previous = self.node(&snapshot.node);
        let decoded = match &endpoint.node {
            Some(expected) if *expected != snapshot.node => Err(Refused::WrongNode {
                claimed: snapshot.node.chars().take(253).collect(),
                expected: expected.clone(),
            }),
            _ => decode(snapshot, now, self.limits, previous.as_deref()),
        };
        let mut state = self.state.lock();
        let Decoded { mut view, malformed } = match decoded {
            Ok(decoded) => decoded,
            Err(refused) => {
                state.connection(&endpoint.address, |connection| {
                    connection.malformed += 1;
                    connection.last_error = Some((now, refused.to_string()));
                });
                return Err(refused);
            }
        };
        let name = Arc::clone(&view.node);
        let known = state.nodes.get(&name);
        if let Some(known) = known.filter(|known| known.is_spoken_for_by(stream)) {
            view.heard_since = known.view.heard_since;
        }
        let view = Arc::new(view);
        let node = state.nodes.entry(Arc::clone(&name)).or_insert_with(|| Node {
            view: Arc::clone(&view),
            speaker: None,
            orphaned: None,
        });
        let newer = node
            .speaker
            .as_ref()
            .filter(|speaker| speaker.0 > stream)
            .map(|speaker| speaker.1.clone());
        if newer.is_none() {
            node.view = view;
            if !node.is_spoken_for_by(stream) {
                node.speaker = Some((stream, endpoint.address.clone()));
            }
        }
        state.connection(&endpoint.address, |connection| {
            if connection.superseded_by.is_none()
                && let Some(newer) = &newer
            {
                tracing::warn!(node = %name, older = connection.address, newer, "two agents speak for one node");
            }
            connection.node = Some(name);
            connection.last_snapshot_at = Some(now);
            connection.snapshots += 1;
            connection.malformed += malformed;
            connection.superseded_by = newer;
        });
        Ok(())
    }
}

impl Node {
    fn is_spoken_for_by(&self, stream: StreamId) -> bool {
        self.speaker.as_ref().is_some_and(|speaker| speaker.0 == stream)
    }
}

impl State {
    fn connection(&mut self, address: &str, change: impl FnOnce(&mut AgentConnection)) {
        if let Some(agent) = self.agents.get_mut(address) {
            change(Arc::make_mut(&mut agent.connection));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_nanos(second * 1_000_000_000)
    }

    fn endpoint(address: &str, node: Option<&str>) -> AgentEndpoint {
        AgentEndpoint {
            address: address.into(),
            node: node.map(str::to_owned),
        }
    }

    fn registry(endpoints: &[AgentEndpoint]) -> Registry {
        let registry = Registry::new(Limits {
            devices: 8,
            claims: 8,
            engines: 8,
        });
        registry.set_endpoints(&endpoints.iter().cloned().collect(), at(0));
        registry
    }

    fn snapshot(node: &str, sequence: u64) -> agent::Snapshot {
        agent::Snapshot {
            node: node.into(),
            sequence,
            ..Default::default()
        }
    }

    fn agent(registry: &Registry, address: &str) -> Arc<AgentConnection> {
        let view = registry.view(Arc::default());
        Arc::clone(
            view.agents()
                .iter()
                .find(|agent| agent.address == address)
                .unwrap(),
        )
    }

    #[test]
    fn of_two_agents_on_a_node_the_newer_stream_is_heard() {
        let (old, new) = (endpoint("old:1", None), endpoint("new:1", None));
        let registry = registry(&[old.clone(), new.clone()]);
        let first = registry.opened("old:1", at(0));
        registry.take(&old, first, &snapshot("n", 1), at(1)).unwrap();
        let second = registry.opened("new:1", at(2));
        registry.take(&new, second, &snapshot("n", 100), at(3)).unwrap();
        registry.take(&old, first, &snapshot("n", 2), at(4)).unwrap();
        assert_eq!(registry.node("n").unwrap().sequence, 100);
        assert_eq!(agent(&registry, "old:1").superseded_by.as_deref(), Some("new:1"));
        // The newer one dies: the older one is heard again.
        registry.closed("new:1", Some(second), "gone".into(), at(5));
        registry.take(&old, first, &snapshot("n", 3), at(6)).unwrap();
        assert_eq!(registry.node("n").unwrap().sequence, 3);
        assert_eq!(agent(&registry, "old:1").superseded_by, None);
    }

    #[test]
    fn an_agent_does_not_speak_for_another_node_than_its_endpoints() {
        let here = endpoint("a:1", Some("here"));
        let registry = registry(std::slice::from_ref(&here));
        let stream = registry.opened("a:1", at(0));
        let refused = registry
            .take(&here, stream, &snapshot("there", 1), at(1))
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the snapshot speaks for node there, but the endpoint is on node here"
        );
        assert!(registry.node("there").is_none());
        assert_eq!(agent(&registry, "a:1").malformed, 1);
    }

    #[test]
    fn a_node_is_kept_while_its_endpoint_stands_and_a_while_longer() {
        let there = endpoint("a:1", None);
        let registry = registry(std::slice::from_ref(&there));
        let stream = registry.opened("a:1", at(0));
        registry.take(&there, stream, &snapshot("n", 1), at(1)).unwrap();
        registry.closed("a:1", Some(stream), "died".into(), at(2));
        registry.sweep(KEEP, at(100_000));
        assert_eq!(
            registry.node("n").unwrap().age(at(100_000)),
            Duration::from_secs(99_999)
        );

        registry.set_endpoints(&HashSet::new(), at(100_000));
        registry.sweep(KEEP, at(100_000));
        registry.sweep(KEEP, at(100_059));
        assert!(registry.node("n").is_some());
        registry.sweep(KEEP, at(100_060));
        assert!(registry.node("n").is_none());
        assert!(registry.view(Arc::default()).agents().is_empty());
    }

    #[test]
    fn an_address_that_moved_to_another_node_lets_the_first_one_go() {
        let there = endpoint("a:1", None);
        let registry = registry(std::slice::from_ref(&there));
        let stream = registry.opened("a:1", at(0));
        registry
            .take(&there, stream, &snapshot("first", 1), at(1))
            .unwrap();
        registry
            .take(&there, stream, &snapshot("second", 1), at(2))
            .unwrap();
        registry.sweep(KEEP, at(3));
        registry.sweep(KEEP, at(63));
        assert!(registry.node("first").is_none());
        assert!(registry.node("second").is_some());
    }
}
