//! Every agent's newest snapshot, by node. The only crate that knows the agents' protocol.
//!
//! A [`Fleet`] keeps one stream open to each agent and the last snapshot of each node. Silence does
//! not empty the view: a node whose agent died keeps its last snapshot, which grows old
//! ([`NodeView::age`]), for as long as the agent's endpoint stands and some minutes more. Whoever
//! reads decides what is too old.
//!
//! Times of readings are on our clock: agents send ages. What makes no sense is left out and
//! counted; what is too large is refused whole, so that a part is never taken for all.

mod decode;
mod fleet;
mod registry;
mod subscription;
mod view;

pub use fleet::{AgentEndpoint, Fleet, FleetOptions, FleetWriter, RefusedSnapshot};
pub use view::{AgentConnection, ClaimView, DeviceView, FleetView, NodeView, SourceState};
