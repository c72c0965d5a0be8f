//! Every agent's newest snapshot, by node. The only crate that knows the agents' protocol.
//!
//! A [`Fleet`] keeps one stream open to each agent and the last snapshot of each node. Silence does
//! not empty the view: a node whose agent died keeps its last snapshot, which grows old
//! ([`NodeView::age`]), for as long as the agent's endpoint stands and some minutes more. Whoever
//! reads decides what is too old.
//!
//! The other way go the engines that each agent is to read ([`Fleet::set_engines`]). Who reads an engine
//! in the end, the agent or somebody in its place, [`FleetView::engine_reader`] says.
//!
//! Times of readings are on our clock: agents send ages. What makes no sense is left out and
//! counted; what is too large is refused whole, so that a part is never taken for all.

mod dcgm;
mod decode;
mod fleet;
mod reader;
mod registry;
mod subscription;
mod view;
mod wanted;

pub use dcgm::{DcgmEndpoint, DcgmOptions, DcgmSource, Exporter, dcgm_view};
pub use fleet::{AgentEndpoint, Fleet, FleetOptions, FleetWriter, RefusedSnapshot};
pub use reader::{ENGINE_PATIENCE, EngineReader, NoAgent};
pub use view::{AgentConnection, ClaimView, DeviceView, EngineView, FleetView, NodeView, SourceState};
