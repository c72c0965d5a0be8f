//! The one replica of the scaler that writes, and what it writes.
//!
//! All replicas decide; by a [`Leadership`] they agree whose decisions count. [`PolicyReport`] is what the
//! scaler has to say of a policy. [`encode_learned`] and [`decode_learned`] keep what was learned of a workload
//! in the status of its policy, where it survives restarts.

mod leadership;
mod learned;
mod report;

pub use leadership::Leadership;
pub use learned::{LearnedError, decode_learned, encode_learned};
pub use report::{PolicyReport, WorkloadReport};
