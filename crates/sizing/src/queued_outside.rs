use std::sync::Arc;

use rheostat_reading::Count;
use serde::{Deserialize, Serialize};

/// Requests that wait in front of a workload, outside of its pods: all that there is to go by while it has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuedOutside {
    /// Nothing in front of the workload tells.
    #[default]
    Untold,
    /// So many.
    Told(Count),
    /// Something should tell and does not, for this reason. It is not taken for none.
    Unknown(Arc<str>),
}

impl QueuedOutside {
    /// How many, where that is known.
    #[must_use]
    pub const fn count(&self) -> Option<Count> {
        match self {
            Self::Told(count) => Some(*count),
            Self::Untold | Self::Unknown(_) => None,
        }
    }

    /// Whether any are known to wait.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.count().is_some_and(|count| count.0 > 0.0)
    }

    /// What part of the requests in flight it is, in words; nothing where that is not known.
    pub(crate) fn part_in_words(&self) -> String {
        match self.count() {
            Some(count) => format!(", {:.0} of them in front of the workload", count.0),
            None => String::new(),
        }
    }

    /// What somebody has to know who wonders why a workload stays at zero.
    pub(crate) fn silence_in_words(&self) -> String {
        match self {
            Self::Told(_) => String::new(),
            Self::Untold => {
                "; nothing tells who waits in front of the workload: the trigger's query could, otherwise \
                             another trigger or the schedule has to start it"
                    .to_owned()
            }
            Self::Unknown(reason) => {
                format!("; who waits in front of the workload is not known: {reason}")
            }
        }
    }
}

impl From<Option<Count>> for QueuedOutside {
    /// `None` where nothing in front of the workload tells.
    fn from(told: Option<Count>) -> Self {
        told.map_or(Self::Untold, Self::Told)
    }
}
