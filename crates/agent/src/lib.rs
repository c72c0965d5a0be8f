//! The node's eyes: reads the GPUs, asks the kubelet who holds them, streams snapshots.
//!
//! Two loops run on their own: the GPU sampler (`rheostat-gpu`) and the kubelet's
//! (its PodResources API). Once each period the publisher joins what they last found into a
//! [`NodeSnapshot`], which the gRPC stream and `/metrics` then answer from: no request ever calls
//! NVML or the kubelet. Neither source can take the other down; each has a [`SourceState`] that
//! says how far it is to be trusted.
//!
//! Subscribers name the engines of the node's pods that they want read. Each is scraped once for all
//! of them (`rheostat-scraper`), and what it said goes to those who named it.

pub mod attribution;
mod counters;
mod engines;
mod http;
mod liveness;
pub mod metrics;
mod options;
mod podresources;
mod publisher;
mod run;
mod service;
mod snapshot;
mod source;

pub use engines::{EngineOptions, ScrapedEngine};
pub use metrics::MetricNames;
pub use options::{AgentOptions, GRPC_PORT, HTTP_PORT, KUBELET_SOCKET};
pub use podresources::{PodResourcesOptions, PodResourcesView};
pub use run::{Agent, AgentError, GpuSource, run};
pub use snapshot::NodeSnapshot;
pub use source::SourceState;
