use std::time::Duration;

use rheostat_reading::{EngineQuantity, Quantity};

use crate::{EngineSelection, OutsideSource};

/// What a trigger needs from outside to be evaluated: no more than this has to be fetched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// What is to be read of each device of a ready pod; none where devices do not matter.
    pub gpu: Vec<Quantity>,
    /// What is to be read of each ready pod's engine; `None` where engines do not matter.
    pub engine: Option<EngineNeeds>,
    /// The numbers of the workload, in the order of [`Input::outside`](crate::Input::outside).
    pub outside: Vec<OutsideSource>,
    /// Whether the annotation of the signal `manual` is to be read.
    pub manual: bool,
    /// The longest time after which any of a trigger's GPU readings is too old: an agent that has
    /// been silent for longer knows nothing that counts.
    pub gpu_stale_after: Duration,
}

/// What is to be read of each engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineNeeds {
    /// Which engine, where and how.
    pub selection: EngineSelection,
    /// What of it.
    pub quantities: Vec<EngineQuantity>,
    /// The longest time after which any of a trigger's engine readings is too old.
    pub stale_after: Duration,
}
