use std::time::Duration;

use rheostat_engines::TargetId;
use rheostat_reading::Timestamp;

use crate::view::{EngineView, FleetView};

/// Who is to read an engine, at one moment. See [`FleetView::engine_reader`].
#[derive(Clone, Debug)]
pub enum EngineReader<'a> {
    /// The agent does, and this is what it says. Whoever read in its place stops.
    Agent(&'a EngineView),
    /// The agent has been asked to a short time ago. Everybody goes on as before.
    Undecided,
    /// No agent does: read it yourself.
    NoAgent(NoAgent),
}

/// Why no agent reads an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAgent {
    /// None was heard on the node.
    #[error("no agent was heard on the node")]
    Unheard,
    /// It has said nothing for so long.
    #[error("the node's agent has been silent for {0:?}")]
    Silent(Duration),
    /// It scrapes no engines: it is told not to, or older than that.
    #[error("the node's agent scrapes no engines")]
    Off,
    /// [`crate::Fleet::set_engines`] has not named the engine for this node.
    #[error("the node's agent was not asked to read it")]
    NotWanted,
    /// It was asked to, and does not report the engine.
    #[error("the node's agent does not report it")]
    NotReported,
    /// It will not.
    #[error("the node's agent refuses to read it: {0}")]
    Refused(String),
    /// It has not asked the engine for so long, nor failed to.
    #[error("the node's agent has not asked it for {0:?}")]
    Overdue(Duration),
}

/// How long an agent may be silent, or leave an engine that it was told of unread, until somebody
/// else reads it. Agents send a snapshot a second and engines are read every two.
pub const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

impl FleetView {
    /// Who is to read the engine `target` on `node`, at `now`.
    ///
    /// The agent does as long as it lives, scrapes engines and reports this one. Somebody else does at
    /// once where there is no agent or it will not, and after [`ENGINE_PATIENCE`] where the agent is
    /// silent or does not report the engine, counted from when the engine was first wanted or the
    /// agent's present stream began. An engine that fails to answer the agent is read by the agent all
    /// the same: it would not answer others either.
    #[must_use]
    pub fn engine_reader(&self, node: &str, target: &TargetId, now: Timestamp) -> EngineReader<'_> {
        self.read_by_agent(node, target, now)
            .unwrap_or_else(EngineReader::NoAgent)
    }

    fn read_by_agent(
        &self,
        node: &str,
        target: &TargetId,
        now: Timestamp,
    ) -> Result<EngineReader<'_>, NoAgent> {
        let wanted = self.wanted.of(node).and_then(|list| list.get(target));
        let wanted = wanted.ok_or(NoAgent::NotWanted)?;
        let is_new = |since: Timestamp| now.since(since) <= ENGINE_PATIENCE;
        let Some(view) = self.node(node) else {
            let expected = self
                .agents()
                .iter()
                .any(|agent| agent.node.as_deref() == Some(node));
            return if expected && is_new(wanted.since) {
                Ok(EngineReader::Undecided)
            } else {
                Err(NoAgent::Unheard)
            };
        };
        if !view.is_live(now) {
            return Err(NoAgent::Silent(view.age(now)));
        }
        if !view.scrapes_engines {
            return Err(NoAgent::Off);
        }
        let heard = view.engine(target);
        if let Some(engine) = heard.filter(|engine| engine.refused) {
            let reason = engine.report.failure.clone().unwrap_or_default();
            return Err(NoAgent::Refused(reason));
        }
        match heard.filter(|engine| engine.was_asked()) {
            Some(engine) => {
                let unheard = engine
                    .report
                    .answered_at
                    .filter(|_| engine.report.failure.is_none())
                    .map_or(Duration::ZERO, |at| now.since(at));
                if unheard > wanted.target.endpoint.period * 2 + ENGINE_PATIENCE {
                    return Err(NoAgent::Overdue(unheard));
                }
                Ok(EngineReader::Agent(engine))
            }
            None if is_new(wanted.since.max(view.heard_since)) => Ok(EngineReader::Undecided),
            None => Err(NoAgent::NotReported),
        }
    }
}
