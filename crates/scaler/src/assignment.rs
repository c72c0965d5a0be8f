//! Who asks which engine: the agent of its node wherever one can, else this scaler.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{Target, TargetId};
use rheostat_reading::Timestamp;

/// Remembers since when each engine has been whose.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    known: HashMap<TargetId, Known>,
}

/// An engine that is wanted, and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) id: TargetId,
    pub(crate) target: Arc<Target>,
    pub(crate) node: String,
}

/// Who reads an engine by the agents' side of it; see `FleetView::engine_reader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The agent does.
    Agent,
    /// The agent was asked to a short time ago.
    Undecided,
    /// No agent does.
    Nobody,
}

/// Who is to ask what now.
#[derive(Debug, Default)]
pub(crate) struct Assigned {
    /// For each node what its agent is told; nodes without a live agent too, for when it comes back.
    pub(crate) agents: HashMap<String, Vec<Arc<Target>>>,
    /// What this scaler asks itself.
    pub(crate) own: Vec<(TargetId, Arc<Target>)>,
}

#[derive(Debug, Default)]
struct Known {
    /// Since when its agent has reported of it without a break; `None` while it does not.
    agent_since: Option<Timestamp>,
    /// Whether this scaler asks it.
    own: bool,
}

/// How long the agent must have reported before this scaler ends its own scrapes: until then only the
/// scaler's samples span enough time for rates.
const OVERLAP: Duration = Duration::from_secs(10);

impl Assignment {
    /// Decides for all `wanted` engines at `now`.
    pub(crate) fn decide(
        &mut self,
        now: Timestamp,
        wanted: &[Wanted],
        reader: impl Fn(&Wanted) -> Reader,
    ) -> Assigned {
        let mut assigned = Assigned::default();
        let mut known = HashMap::with_capacity(wanted.len());
        for one in wanted {
            if known.contains_key(&one.id) {
                continue;
            }
            let mut entry = self.known.remove(&one.id).unwrap_or_default();
            entry.follow(now, reader(one));
            if entry.own {
                assigned.own.push((one.id.clone(), Arc::clone(&one.target)));
            }
            assigned
                .agents
                .entry(one.node.clone())
                .or_default()
                .push(Arc::clone(&one.target));
            known.insert(one.id.clone(), entry);
        }
        self.known = known;
        assigned
    }
}

impl Known {
    fn follow(&mut self, now: Timestamp, reader: Reader) {
        match reader {
            Reader::Agent => {
                let since = *self.agent_since.get_or_insert(now);
                self.own = self.own && now.since(since) < OVERLAP;
            }
            Reader::Undecided => self.agent_since = None,
            Reader::Nobody => {
                self.agent_since = None;
                self.own = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rheostat_engines::{Endpoint, EngineChoice, Scheme, View};

    use super::*;

    fn wanted(port: u16) -> Wanted {
        let target = Target {
            endpoint: Endpoint {
                address: SocketAddr::from(([10, 0, 0, 1], port)),
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
            owner: "a/pod".into(),
        };
        Wanted {
            id: target.id(),
            target: Arc::new(target),
            node: "node-1".into(),
        }
    }

    /// Whether the scaler asks the engine itself, second by second.
    fn owns(story: &[(u64, Reader)]) -> Vec<bool> {
        let mut assignment = Assignment::default();
        let wanted = [wanted(8000)];
        story
            .iter()
            .map(|&(second, reader)| {
                let now = Timestamp::from_unix_nanos((1000 + second) * 1_000_000_000);
                let assigned = assignment.decide(now, &wanted, |_| reader);
                let told = assigned.agents.get("node-1").map(Vec::len);
                assert_eq!(told, Some(1), "the agent is always told");
                !assigned.own.is_empty()
            })
            .collect()
    }

    #[test]
    fn what_an_agent_leaves_is_taken_over_and_handed_back_with_an_overlap() {
        use Reader::{Agent, Nobody, Undecided};
        assert_eq!(owns(&[(0, Undecided), (2, Agent), (60, Agent)]), [false; 3]);
        assert_eq!(
            owns(&[(0, Nobody)]),
            [true],
            "where there is no agent nobody is waited for"
        );
        let story = [
            (0, Agent),
            (10, Nobody),
            (20, Undecided),
            (21, Agent),
            (30, Agent),
            (31, Agent),
            (40, Undecided),
        ];
        assert_eq!(owns(&story), [false, true, true, true, true, false, false]);
    }

    #[test]
    fn the_same_engine_is_assigned_once_and_what_nobody_wants_is_forgotten() {
        let mut assignment = Assignment::default();
        let now = Timestamp::from_unix_nanos(1_000_000_000_000);
        let two = [wanted(8000), wanted(8000), wanted(8001)];
        let assigned = assignment.decide(now, &two, |_| Reader::Nobody);
        assert_eq!(assigned.own.len(), 2);
        assert_eq!(assigned.agents.get("node-1").map(Vec::len), Some(2));
        assert!(assignment.decide(now, &[], |_| Reader::Nobody).agents.is_empty());
        assert!(assignment.known.is_empty());
    }
}
