use std::fmt;
use std::time::Duration;

use crate::{Amount, Timestamp};

/// A reading, or why there is none.
pub type Observed = Result<Reading, Absent>;

/// An amount that was measured: when, over what time, and how directly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What was read.
    pub amount: Amount,
    /// When it was read; the end of the window.
    pub at: Timestamp,
    /// The time that the amount covers; zero for an instantaneous one.
    pub window: Duration,
    /// How directly it was measured.
    pub quality: Quality,
}

/// How directly a reading was measured. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// As the hardware or the driver reports it.
    Measured,
    /// Computed from measured values without assumptions (a counter's rate, used/total).
    Derived,
    /// Computed with an assumption that may not hold (a shared device split by process).
    Estimated,
}

/// Why there is no reading. Never to be taken for zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// The device or its driver does not offer this quantity.
    #[error("not supported by the device or its driver")]
    NotSupported,
    /// The process may not read it.
    #[error("no permission to read it")]
    NoPermission,
    /// The device fell off the bus or needs a reset.
    #[error("the device is lost")]
    DeviceLost,
    /// There is no driver, or none that can be talked to.
    #[error("no driver: {0}")]
    NoDriver(String),
    /// A rate or window that has not had its second sample yet.
    #[error("not sampled yet")]
    NotYet,
    /// The last reading is too old to stand for the present.
    #[error("stale: last read {0:?} ago")]
    Stale(Duration),
    /// The read failed in another way.
    #[error("read failed: {0}")]
    Failed(String),
    /// The device is shared and nothing tells one sharer's part from another's.
    #[error("shared with other pods, whose parts cannot be told apart")]
    Unattributable,
    /// The engine answered, and nothing happened in the window of which this could be taken: the
    /// latency of no requests. The one absence that speaks of low demand.
    #[error("no traffic in the window")]
    NoTraffic,
}

impl Reading {
    /// How old the reading is at `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.at)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Measured => "measured",
            Self::Derived => "derived",
            Self::Estimated => "estimated",
        })
    }
}
