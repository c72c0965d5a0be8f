//! What the scaler counts about itself.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tonic::{Code, Status};

/// KEDA's calls by method and outcome, and the push streams open now.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: [[AtomicU64; CODES]; METHODS.len()],
    streams: [AtomicI64; METHODS.len()],
}

/// The contract's methods, in the order of [`Calls`].
pub(crate) const METHODS: [&str; 5] = [
    "IsActive",
    "StreamIsActive",
    "GetMetricSpec",
    "GetMetrics",
    "StreamMetricSpec",
];

/// gRPC's codes are 0 to 16.
const CODES: usize = 17;

impl Calls {
    /// Counts `outcome` of `method` and hands it on.
    pub(crate) fn count<T>(&self, method: &'static str, outcome: Result<T, Status>) -> Result<T, Status> {
        let code = outcome.as_ref().err().map_or(Code::Ok, Status::code);
        if let Some(index) = index(method) {
            self.counts[index][code as usize].fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Every count above zero: method, code's name, calls.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, String, u64)> {
        METHODS.iter().zip(&self.counts).flat_map(|(method, codes)| {
            codes.iter().enumerate().filter_map(move |(code, count)| {
                let count = count.load(Ordering::Relaxed);
                let code = Code::from_i32(i32::try_from(code).unwrap_or(i32::MAX));
                (count > 0).then(|| (*method, format!("{code:?}"), count))
            })
        })
    }

    /// Streams open now of each method that has streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&'static str, i64)> {
        METHODS
            .into_iter()
            .zip(&self.streams)
            .filter(|(method, _)| method.starts_with("Stream"))
            .map(|(method, open)| (method, open.load(Ordering::Relaxed)))
    }

    pub(crate) fn stream_opened(&self, method: &'static str) {
        if let Some(index) = index(method) {
            self.streams[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stream_closed(&self, method: &'static str) {
        if let Some(index) = index(method) {
            self.streams[index].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn index(method: &str) -> Option<usize> {
    METHODS.iter().position(|name| *name == method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let calls = Calls::default();
        assert!(calls.count("IsActive", Ok(())).is_ok());
        assert!(
            calls
                .count::<()>("IsActive", Err(Status::unavailable("no data")))
                .is_err()
        );
        assert!(calls.count("GetMetrics", Ok(())).is_ok());
        let all: Vec<_> = calls.all().collect();
        assert_eq!(
            all,
            [
                ("IsActive", "Ok".to_owned(), 1),
                ("IsActive", "Unavailable".to_owned(), 1),
                ("GetMetrics", "Ok".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn streams_are_counted_by_method() {
        let calls = Calls::default();
        calls.stream_opened("StreamIsActive");
        calls.stream_opened("StreamMetricSpec");
        calls.stream_closed("StreamMetricSpec");
        let open: Vec<_> = calls.streams().collect();
        assert_eq!(open, [("StreamIsActive", 1), ("StreamMetricSpec", 0)]);
    }
}
