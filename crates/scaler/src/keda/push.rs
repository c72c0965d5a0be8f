//! `StreamIsActive`: when to say what on one push stream.
//!
//! KEDA's push is an accelerator: polling stays the guarantee. It ignores *inactive* messages
//! since 2.18, loses an *active* one that comes before it knows the metric's name, and every
//! *active* one costs it API writes and renews the cooldown (kedacore/keda #8168,
//! http-add-on #1792). So: the present state on opening, the rising edge, and a slow repetition
//! only while there is demand and the target still stands at zero.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

/// What one stream has said, and when it speaks again.
#[derive(Debug, Default)]
pub(super) struct Push {
    last: Option<bool>,
    repeat_at: Option<Instant>,
}

/// What a stream is told of its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The answer of `IsActive`; `None` where it is an error: then nothing is said.
    pub(super) active: Option<bool>,
    /// Whether the scale target stands at zero replicas.
    pub(super) at_zero: bool,
}

/// How long until an unanswered *active* is said again. Shorter floods KEDA's API budget
/// (20 requests a second for the whole operator); longer leaves a lost message to the poll.
const REPEAT: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(10);

impl Push {
    /// What to send at `now`, given what is `seen`.
    pub(super) fn step(&mut self, now: Instant, seen: Seen) -> Option<bool> {
        let Some(active) = seen.active else {
            self.repeat_at = None;
            return None;
        };
        let wanted = active && seen.at_zero;
        let due = self.repeat_at.is_some_and(|at| now >= at);
        let send = match self.last {
            None => true,
            Some(false) => active,
            Some(true) => wanted && due,
        };
        self.last = Some(active);
        if !wanted {
            self.repeat_at = None;
        } else if send || self.repeat_at.is_none() {
            self.repeat_at = Some(now + rand::rng().random_range(REPEAT));
        }
        send.then_some(active)
    }

    /// When [`Push::step`] wants to be called again even if nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.repeat_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Seen = Seen {
        active: Some(false),
        at_zero: true,
    };
    const WAITING: Seen = Seen {
        active: Some(true),
        at_zero: true,
    };
    const RUNNING: Seen = Seen {
        active: Some(true),
        at_zero: false,
    };
    const UNKNOWN: Seen = Seen {
        active: None,
        at_zero: true,
    };

    #[tokio::test(start_paused = true)]
    async fn the_present_state_comes_first_and_edges_follow() {
        let mut push = Push::default();
        assert_eq!(push.step(Instant::now(), UNKNOWN), None);
        assert_eq!(push.step(Instant::now(), IDLE), Some(false));
        assert_eq!(push.step(Instant::now(), IDLE), None);
        assert_eq!(push.step(Instant::now(), WAITING), Some(true));
        assert_eq!(push.step(Instant::now(), WAITING), None);
        assert_eq!(push.step(Instant::now(), IDLE), None, "inactive is for the poll");
        assert_eq!(push.step(Instant::now(), WAITING), Some(true), "a new edge");
    }

    #[tokio::test(start_paused = true)]
    async fn active_is_repeated_slowly_and_only_at_zero() {
        let mut push = Push::default();
        assert_eq!(push.step(Instant::now(), WAITING), Some(true));
        let mut sent = 0;
        for _ in 0..600 {
            tokio::time::advance(Duration::from_millis(100)).await;
            sent += usize::from(push.step(Instant::now(), WAITING).is_some());
        }
        assert!((6..=12).contains(&sent), "{sent} in a minute");
        assert_eq!(push.step(Instant::now(), RUNNING), None);
        assert_eq!(push.next(), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(push.step(Instant::now(), RUNNING), None, "never while running");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_in_between_is_no_edge() {
        let mut push = Push::default();
        assert_eq!(push.step(Instant::now(), RUNNING), Some(true));
        assert_eq!(push.step(Instant::now(), UNKNOWN), None);
        assert_eq!(push.step(Instant::now(), RUNNING), None);
    }
}
