//! The gRPC services that Rheostat speaks: KEDA's external scaler ([`keda`]), the kubelet's
//! PodResources ([`kubelet`]) and the agent's own stream of snapshots ([`agent`]).
//!
//! Readings ([`Reading`](rheostat_reading::Reading)) and engines ([`rheostat_engines`]) are turned into
//! messages and back here, in one place, since agent and scaler must agree on it and know nothing of
//! each other.
//!
//! The Rust code under `src/generated` is made from the `.proto` files under `proto/` by
//! `cargo xtask proto`, so that a build needs neither protoc nor a build script; a test makes it
//! again and compares.

mod engines;
mod readings;

pub use engines::{
    ENGINE_PERIODS_MILLIS, ENGINE_WINDOWS_MILLIS, LARGEST_ENGINE_LIST, LONGEST_TARGET_ID, MalformedTarget,
    ReceivedReport, engine_refusal_to_proto, engine_report_from_proto, engine_report_to_proto,
    engine_target_from_proto, engine_target_to_proto,
};
use readings::bounded;
pub use readings::{
    MalformedReading, absent_to_proto, engine_reading_from_proto, engine_reading_to_proto,
    reading_from_proto, reading_to_proto,
};

/// KEDA's external scaler contract (KEDA 2.21, wire-compatible down to 2.15).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod keda {
    include!("generated/externalscaler.rs");
}

/// The kubelet's PodResources v1.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod kubelet {
    include!("generated/v1.rs");
}

/// The agent's stream of snapshots.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod agent {
    include!("generated/rheostat.agent.v1.rs");
}
