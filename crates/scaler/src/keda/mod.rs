//! KEDA's external-scaler contract, answered from memory.
//!
//! A unary call looks its trigger up in the newest [`Snapshot`](crate::snapshot::Snapshot) and
//! never waits for anything (invariant 5). `GetMetricSpec` needs only the trigger's own metadata,
//! so that it cannot fail for want of data: KEDA's fallback never fires where the spec is missing
//! (kedacore/keda #8056).

mod push;
mod reply;
mod service;
mod streams;

pub(crate) use service::KedaService;
pub use streams::StreamLimits;
