use std::collections::BTreeSet;
use std::time::Duration;

use rheostat_reading::{EngineQuantity, Quantity, Unit};

use crate::pod::{COVERING, UNDER_WAY};
use crate::{EngineSelection, EngineSignal, Guard, NamedSignal, OutsideSource, Signal, Source};

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

impl Needs {
    /// What has to be fetched for these signals.
    pub(crate) fn new(
        signals: &[NamedSignal],
        engine: Option<EngineSelection>,
        guard: Option<Guard>,
    ) -> Self {
        let mut needs = Self::default();
        let mut quantities = BTreeSet::new();
        let mut engine_stale_after = engine.as_ref().map_or(Duration::ZERO, |engine| {
            Signal::Engine(EngineSignal::Concurrency).default_stale_after(engine.period)
        });
        for signal in signals {
            match &signal.source {
                Source::Gpu { quantity, .. } => {
                    needs.gpu.push(*quantity);
                    needs.gpu_stale_after = needs.gpu_stale_after.max(signal.stale_after);
                }
                Source::Engine { quantity } => {
                    quantities.insert(*quantity);
                    if covers_requests(*quantity) {
                        // They tell an idle engine from one that hangs, where there is no latency.
                        quantities.extend(UNDER_WAY);
                        quantities.extend(COVERING);
                    }
                    engine_stale_after = engine_stale_after.max(signal.stale_after);
                }
                Source::Outside(source) => needs.outside.push(source.clone()),
                Source::Manual => needs.manual = true,
                Source::Schedule(_) => {}
            }
        }
        needs.gpu.sort_unstable();
        needs.gpu.dedup();
        if guard.is_some() {
            quantities.extend(UNDER_WAY);
            quantities.insert(EngineQuantity::MaxSequences);
        }
        needs.engine = engine.map(|selection| EngineNeeds {
            selection,
            quantities: quantities.into_iter().collect(),
            stale_after: engine_stale_after,
        });
        needs
    }
}

/// Whether there is none of it without requests: a latency, or a ratio of what they brought.
fn covers_requests(quantity: EngineQuantity) -> bool {
    quantity.unit() == Unit::Seconds || quantity == EngineQuantity::PrefixCacheHitRate
}
