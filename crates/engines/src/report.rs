use rheostat_reading::{EngineQuantity, Readings, Timestamp};

use crate::Engine;

/// What an engine said when it was last asked, through one [`crate::View`].
#[derive(Clone, Debug, PartialEq)]
pub struct EngineReport {
    /// Which engine it is, where that is known.
    pub engine: Option<Engine>,
    /// When it last answered with a page that could be read; `None` if it never did.
    pub answered_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` where it did not.
    pub failure: Option<String>,
    /// Whether it serves.
    pub sleep: Sleep,
    /// Its readings, or why they are absent. Those of the last answer, however old: their times
    /// say so.
    pub readings: Readings<EngineQuantity>,
    /// What a person should know of the readings, such as a bucket too coarse for a quantile.
    pub notes: Vec<String>,
}

/// Whether an engine has been put to sleep (vLLM's `/is_sleeping`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sleep {
    /// It cannot sleep, or could not be asked.
    #[default]
    Unknown,
    /// It serves.
    Awake,
    /// It gave its GPU memory back and serves nobody until it is woken.
    Asleep,
}
