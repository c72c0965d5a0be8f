use std::time::Duration;

use rheostat_proto::agent;
use rheostat_reading::Timestamp;

/// How a source of the snapshot fares: the driver, or the kubelet.
///
/// What a source said last stays in the snapshot while it is stale; how old that is, and whether it
/// still counts, is the subscriber's judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// The last read succeeded.
    Current {
        /// When it was read.
        at: Timestamp,
    },
    /// It was read once; the last read failed.
    Stale {
        /// When it was last read.
        at: Timestamp,
        /// Why it cannot be read now.
        reason: String,
    },
    /// It was never read since the agent started.
    Unknown {
        /// Why not.
        reason: String,
    },
}

impl SourceState {
    /// The state after a read that failed.
    #[must_use]
    pub fn failed(&self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        match self.read_at() {
            Some(at) => Self::Stale { at, reason },
            None => Self::Unknown { reason },
        }
    }

    /// The state at `now`, where a source must be read at least every `limit`: a read that hangs
    /// fails nothing, so it shows only in the age of the last one.
    #[must_use]
    pub fn at(&self, now: Timestamp, limit: Duration) -> Self {
        match self {
            Self::Current { at } if now.since(*at) > limit => Self::Stale {
                at: *at,
                reason: format!("not read within {limit:?}"),
            },
            other => other.clone(),
        }
    }

    /// When it was last read with success.
    #[must_use]
    pub fn read_at(&self) -> Option<Timestamp> {
        match self {
            Self::Current { at } | Self::Stale { at, .. } => Some(*at),
            Self::Unknown { .. } => None,
        }
    }

    /// Why it is not current.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Current { .. } => None,
            Self::Stale { reason, .. } | Self::Unknown { reason } => Some(reason),
        }
    }

    /// Whether the last read succeeded.
    #[must_use]
    pub fn is_current(&self) -> bool {
        matches!(self, Self::Current { .. })
    }

    /// `current`, `stale` or `unknown`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Current { .. } => "current",
            Self::Stale { .. } => "stale",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// As it is sent at `now`.
    #[must_use]
    pub fn to_proto(&self, now: Timestamp) -> agent::Source {
        let state = match self {
            Self::Current { .. } => agent::source::State::Current,
            Self::Stale { .. } => agent::source::State::Stale,
            Self::Unknown { .. } => agent::source::State::Unknown,
        };
        let age = self.read_at().map_or(Duration::ZERO, |at| now.since(at));
        agent::Source {
            state: state.into(),
            age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            reason: self.reason().unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_failure_keeps_the_time_of_the_last_success() {
        let start = Timestamp::from_unix_nanos(1_000_000_000);
        let never = SourceState::Unknown {
            reason: "starting".into(),
        };
        assert_eq!(
            never.failed("refused"),
            SourceState::Unknown {
                reason: "refused".into()
            }
        );
        let stale = SourceState::Current { at: start }
            .failed("refused")
            .failed("timed out");
        assert_eq!(
            stale,
            SourceState::Stale {
                at: start,
                reason: "timed out".into()
            }
        );
        let sent = stale.to_proto(start.plus(3 * SECOND));
        assert_eq!(
            (sent.state(), sent.age_millis),
            (agent::source::State::Stale, 3000)
        );
        assert_eq!(sent.reason, "timed out");
    }

    #[test]
    fn a_read_that_hangs_becomes_stale() {
        let start = Timestamp::from_unix_nanos(1_000_000_000);
        let current = SourceState::Current { at: start };
        assert!(current.at(start.plus(3 * SECOND), 3 * SECOND).is_current());
        assert_eq!(
            current.at(start.plus(4 * SECOND), 3 * SECOND).reason(),
            Some("not read within 3s")
        );
    }
}
