use std::sync::Arc;

use rheostat_reading::Timestamp;

/// Which replica of the scaler leads: its decisions count, and it alone writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// None is known to lead: at the start, and while the API server cannot be asked.
    #[default]
    Nobody,
    /// This one, by the lease.
    Leading {
        /// Since when.
        since: Timestamp,
    },
    /// Another one.
    Following {
        /// What it calls itself in the lease: its pod and something random.
        leader: Arc<str>,
        /// Its lease holds so long if it is not renewed.
        until: Timestamp,
    },
    /// There is no lease to agree by: this one decides as if it were alone.
    Alone {
        /// Why there is none.
        reason: Arc<str>,
    },
}

impl Leadership {
    /// Whether this one's decisions count, and it writes.
    #[must_use]
    pub const fn leads(&self) -> bool {
        matches!(self, Self::Leading { .. } | Self::Alone { .. })
    }
}
