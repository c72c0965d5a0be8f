//! Stand-ins for what surrounds Rheostat, for tests, the demo and benchmarks.

pub mod engine;
/// The kubelet's PodResources API.
pub mod kubelet;
