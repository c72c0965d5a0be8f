//! The one replica of the scaler that writes, and what it writes.
//!
//! All replicas decide; by a Lease they agree whose decisions count ([`Leadership`]). The one that leads keeps
//! the status of each ScalingPolicy, from the [`PolicyReport`]s of its scaler, and tells of what changes by
//! Kubernetes Events. [`encode_learned`] and [`decode_learned`] keep what was learned of a workload in that
//! status, where it survives restarts. A [`Steward`] does all of it.
//!
//! # Permissions
//!
//! | group | resources | verbs |
//! |---|---|---|
//! | `coordination.k8s.io` | `leases` (the scaler's own namespace) | get, create, update |
//! | `rheostat.dev` | `scalingpolicies/status` | patch |
//! | `events.k8s.io` | `events` | create, patch |

mod conditions;
mod election;
mod leadership;
mod learned;
mod lease;
mod notices;
mod reason;
mod recorder;
mod report;
mod stats;
mod status;
mod steward;
mod upkeep;
mod writer;

pub use election::LeaseTiming;
pub use leadership::Leadership;
pub use learned::{LearnedError, decode_learned, encode_learned};
pub use lease::{LEASE_NAME, LeaseError};
pub use reason::deciding_reason;
pub use report::{PolicyReport, WorkloadReport};
pub use stats::Stats;
pub use steward::{Steward, StewardOptions};
pub use upkeep::WritePace;
pub use writer::StatusError;

/// Another number in each process and on each call: for pauses that must not fall in step, and for names that
/// must not be taken.
fn seed_of(name: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name)
}

/// An error with its causes, for the log and for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
