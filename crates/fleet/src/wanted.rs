use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;
use rheostat_engines::{Target, TargetId};
use rheostat_proto::{LARGEST_ENGINE_LIST, agent, engine_target_to_proto};
use rheostat_reading::Timestamp;

/// The engines that agents are to read, by node.
#[derive(Clone, Debug, Default)]
pub(crate) struct WantedEngines(HashMap<String, Arc<NodeList>>);

/// The engines that one agent is to read.
#[derive(Debug, Default)]
pub(crate) struct NodeList(BTreeMap<TargetId, Wanted>);

#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) target: Arc<Target>,
    /// Since when it has been wanted.
    pub(crate) since: Timestamp,
}

impl WantedEngines {
    /// `targets` in place of all that was wanted; `None` where nothing changes. Lists that do not
    /// change stay the very same, so that they are not sent again.
    pub(crate) fn changed_to(
        &self,
        targets: HashMap<String, Vec<Arc<Target>>>,
        now: Timestamp,
    ) -> Option<Self> {
        let mut changed = false;
        let mut lists = HashMap::with_capacity(targets.len());
        for (node, targets) in targets {
            if targets.is_empty() {
                continue;
            }
            let before = self.0.get(&node);
            let list = NodeList::new(targets, before.map(Arc::as_ref), now);
            let same = before.filter(|before| before.0.keys().eq(list.0.keys()));
            changed |= same.is_none();
            lists.insert(node, same.map_or_else(|| Arc::new(list), Arc::clone));
        }
        changed |= lists.len() != self.0.len();
        changed.then_some(Self(lists))
    }

    pub(crate) fn of(&self, node: &str) -> Option<&Arc<NodeList>> {
        self.0.get(node)
    }
}

impl NodeList {
    fn new(targets: Vec<Arc<Target>>, before: Option<&Self>, now: Timestamp) -> Self {
        let wanted = |target: Arc<Target>| {
            let id = target.id();
            let since = before
                .and_then(|before| before.get(&id))
                .map_or(now, |before| before.since);
            (id, Wanted { target, since })
        };
        Self(targets.into_iter().map(wanted).collect())
    }

    pub(crate) fn get(&self, target: &TargetId) -> Option<&Wanted> {
        self.0.get(target)
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.0.values().map(|wanted| &wanted.target)
    }

    /// As it is sent. Targets beyond the largest message are left out: the agent then does not know
    /// them, and whoever wants them sees that.
    pub(crate) fn to_proto(&self) -> agent::EngineList {
        let mut bytes = 0;
        let mut targets = Vec::with_capacity(self.0.len());
        for (id, wanted) in &self.0 {
            let target = engine_target_to_proto(id, &wanted.target);
            // With its own length and key in front.
            bytes += target.encoded_len() + 8;
            if bytes > LARGEST_ENGINE_LIST {
                let (sent, wanted) = (targets.len(), self.0.len());
                tracing::warn!(sent, wanted, "a list of engines is too large for its agent");
                break;
            }
            targets.push(target);
        }
        agent::EngineList { targets }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rheostat_engines::{Endpoint, EngineChoice, Scheme, View};

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_nanos(second * 1_000_000_000)
    }

    fn target(port: u16, ca_bytes: usize) -> Arc<Target> {
        Arc::new(Target {
            endpoint: Endpoint {
                address: ([10, 0, 0, 7], port).into(),
                pod_uid: "uid".into(),
                scheme: Scheme::Https {
                    ca_pem: Some("x".repeat(ca_bytes)),
                    server_name: None,
                    skip_verification: false,
                },
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

    fn on(node: &str, ports: &[u16]) -> (String, Vec<Arc<Target>>) {
        (
            node.to_owned(),
            ports.iter().map(|&port| target(port, 1)).collect(),
        )
    }

    #[test]
    fn only_what_changes_is_new() {
        let none = WantedEngines::default();
        let first = none
            .changed_to(HashMap::from([on("a", &[1, 2]), on("b", &[3])]), at(1))
            .unwrap();
        let same = HashMap::from([on("b", &[3]), on("a", &[2, 1, 2]), on("c", &[])]);
        assert!(first.changed_to(same, at(2)).is_none());
        let second = first
            .changed_to(HashMap::from([on("a", &[2, 4]), on("b", &[3])]), at(3))
            .unwrap();
        assert!(Arc::ptr_eq(first.of("b").unwrap(), second.of("b").unwrap()));
        let since = |port| {
            second
                .of("a")
                .unwrap()
                .get(&target(port, 1).id())
                .map(|wanted| wanted.since)
        };
        assert_eq!((since(2), since(4), since(1)), (Some(at(1)), Some(at(3)), None));
        let third = second
            .changed_to(HashMap::from([on("a", &[2, 4])]), at(4))
            .unwrap();
        assert!(third.of("b").is_none());
    }

    #[test]
    fn a_list_never_outgrows_a_message() {
        let targets = (1..=300).map(|port| target(port, 60_000)).collect();
        let list = NodeList::new(targets, None, at(1)).to_proto();
        assert!(
            list.encoded_len() <= LARGEST_ENGINE_LIST,
            "{}",
            list.encoded_len()
        );
        assert!(list.targets.len() > 50);
    }
}
