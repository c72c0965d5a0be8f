use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tonic::Code;

/// What the agent counts of itself since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kubelet_calls: Mutex<BTreeMap<&'static str, u64>>,
    /// Snapshots that were built.
    pub(crate) snapshots: AtomicU64,
    /// Snapshots that could not be built because of a defect of ours.
    pub(crate) failed_builds: AtomicU64,
    /// Subscribers at present.
    pub(crate) subscribers: AtomicU64,
    /// Subscribers turned away because there were too many.
    pub(crate) refused_subscribers: AtomicU64,
    /// Requests of subscribers after their first that could not be read.
    pub(crate) broken_requests: AtomicU64,
}

impl Counters {
    /// Counts a call of the kubelet by how it ended.
    pub(crate) fn kubelet_called(&self, error: Option<Code>) {
        *self
            .kubelet_calls
            .lock()
            .entry(code_name(error.unwrap_or(Code::Ok)))
            .or_default() += 1;
    }

    /// Calls of the kubelet so far by gRPC code.
    pub(crate) fn kubelet_calls(&self) -> BTreeMap<&'static str, u64> {
        self.kubelet_calls.lock().clone()
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// gRPC's own name of a code, in lower case.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
