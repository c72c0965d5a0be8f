//! The push streams (`externalPushScaler.runStreamIsActive`): which are open, and when a broken one
//! is tried again.

use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::calls::CallId;

const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The streams of one ScaledObject, at most one per push trigger.
#[derive(Clone, Debug, Default)]
pub(crate) struct PushStreams(Vec<PushStream>);

#[derive(Clone, Debug)]
struct PushStream {
    trigger: usize,
    open: Option<CallId>,
    retry_at: Option<Timestamp>,
    retry_after: Duration,
}

impl PushStreams {
    /// Streams for these triggers, all to be opened now.
    pub(crate) fn start(now: Timestamp, triggers: impl Iterator<Item = usize>) -> Self {
        let stream = |trigger| PushStream {
            trigger,
            open: None,
            retry_at: Some(now),
            retry_after: FIRST_RETRY,
        };
        Self(triggers.map(stream).collect())
    }

    /// When a stream is to be opened next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|stream| stream.retry_at).min()
    }

    /// Triggers whose stream is to be opened now. Each has to be followed by [`Self::opened`] or
    /// [`Self::failed`].
    pub(crate) fn due(&self, now: Timestamp) -> Vec<usize> {
        let due = |stream: &&PushStream| stream.retry_at.is_some_and(|at| at <= now);
        self.0.iter().filter(due).map(|stream| stream.trigger).collect()
    }

    /// A stream is being opened.
    pub(crate) fn opened(&mut self, trigger: usize, id: CallId) {
        if let Some(stream) = self.0.iter_mut().find(|stream| stream.trigger == trigger) {
            stream.open = Some(id);
            stream.retry_at = None;
        }
    }

    /// A stream could not even be tried, for want of a connection.
    pub(crate) fn failed(&mut self, now: Timestamp, trigger: usize) {
        if let Some(stream) = self.0.iter_mut().find(|stream| stream.trigger == trigger) {
            stream.back_off(now);
        }
    }

    /// A stream ended. Only a clean end forgets the back-off that has grown, however long the stream
    /// was healthy. False if it is not one of the open streams.
    pub(crate) fn ended(&mut self, now: Timestamp, id: CallId, clean: bool) -> bool {
        let Some(stream) = self.0.iter_mut().find(|stream| stream.open == Some(id)) else {
            return false;
        };
        if clean {
            stream.retry_after = FIRST_RETRY;
        }
        stream.back_off(now);
        true
    }

    /// The connection went away: every open stream broke. Their ids.
    pub(crate) fn cut(&mut self, now: Timestamp) -> Vec<CallId> {
        let open: Vec<CallId> = self.0.iter().filter_map(|stream| stream.open).collect();
        for id in &open {
            self.ended(now, *id, false);
        }
        open
    }

    /// The trigger of an open stream.
    pub(crate) fn trigger(&self, id: CallId) -> Option<usize> {
        self.0
            .iter()
            .find(|stream| stream.open == Some(id))
            .map(|stream| stream.trigger)
    }

    /// The ids of all open streams.
    pub(crate) fn open(&self) -> impl Iterator<Item = CallId> {
        self.0.iter().filter_map(|stream| stream.open)
    }
}

impl PushStream {
    fn back_off(&mut self, now: Timestamp) {
        self.open = None;
        self.retry_at = Some(now.plus(self.retry_after));
        self.retry_after = (self.retry_after * 2).min(LONGEST_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// external_scaler.go: runStreamIsActive.
    #[test]
    fn the_back_off_doubles_and_only_a_clean_end_resets_it() {
        let mut now = Timestamp::from_unix_nanos(1_000_000_000_000);
        let mut streams = PushStreams::start(now, std::iter::once(0));
        let mut waits = Vec::new();
        for (round, clean) in [false, false, false, false, false, false, true, false]
            .into_iter()
            .enumerate()
        {
            now = streams.next_due().unwrap();
            assert_eq!(streams.due(now), [0]);
            let id = CallId(round as u64);
            streams.opened(0, id);
            assert_eq!(streams.next_due(), None);
            // However long it was up.
            now = now.plus(Duration::from_secs(3600));
            assert!(streams.ended(now, id, clean));
            waits.push(streams.next_due().unwrap().since(now).as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 2, 4]);
        assert!(!streams.ended(now, CallId(0), true), "a stale end means nothing");
    }
}
