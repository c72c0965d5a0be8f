//! Every agent's newest snapshot, by node.

mod view;

pub use view::{AgentConnection, ClaimView, DeviceView, FleetView, NodeView, SourceState};
