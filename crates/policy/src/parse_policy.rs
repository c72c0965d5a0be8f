use std::time::Duration;

use rheostat_reading::{EngineQuantity, Quantity};

use crate::engine_selection::DEFAULT_PERIOD;
use crate::key::{Key, KeyOrigin};
use crate::parse::{MINUTE, Parser, invalid};
use crate::parse_engine::KEYS as ENGINE_KEYS;
use crate::parse_signal::is_name;
use crate::{
    EngineNeeds, Load, MAIN_SIGNAL, Needs, Quantile, Signal, SignalUnit, Source, Trigger, TriggerError,
};

/// What a trigger may say beside the policy, the engine's keys and those of [`QUEUE`]: how long to trust what.
const BESIDE: [&str; 4] = ["policy", "staleAfter", "grace", "idlePeriod"];

/// Who is asked how many requests wait in front of the workload, where no engine can tell.
const QUEUE: [&str; 5] = ["prometheus", "query", "onEmpty", "onNaN", "onMany"];

/// Why everything else is refused.
const NOT_BESIDE: &str = "the policy says what to scale by and what binds; beside policy a trigger takes \
     staleAfter, grace, idlePeriod, the keys that say which engine is asked and how, and prometheus, query, onEmpty, \
     onNaN and onMany for the requests that wait in front of the workload";

/// Towards KEDA.
const METRIC_NAME: &str = "rheostat-policy";

/// All that sizing looks at.
const ENGINE: [EngineQuantity; 32] = [
    EngineQuantity::Waiting,
    EngineQuantity::Running,
    EngineQuantity::Concurrency,
    EngineQuantity::KvCacheUsage,
    EngineQuantity::KvTokens,
    EngineQuantity::MaxSequences,
    EngineQuantity::RequestRate,
    EngineQuantity::PromptTokenRate,
    EngineQuantity::GenerationTokenRate,
    EngineQuantity::PromptTokensMean,
    EngineQuantity::GenerationTokensMean,
    EngineQuantity::PreemptionRate,
    EngineQuantity::TtftMean,
    EngineQuantity::TtftP50,
    EngineQuantity::TtftP90,
    EngineQuantity::TtftP95,
    EngineQuantity::TtftP99,
    EngineQuantity::ItlMean,
    EngineQuantity::ItlP50,
    EngineQuantity::ItlP90,
    EngineQuantity::ItlP95,
    EngineQuantity::ItlP99,
    EngineQuantity::TpotMean,
    EngineQuantity::TpotP50,
    EngineQuantity::TpotP90,
    EngineQuantity::TpotP95,
    EngineQuantity::TpotP99,
    EngineQuantity::E2eMean,
    EngineQuantity::E2eP50,
    EngineQuantity::E2eP90,
    EngineQuantity::E2eP95,
    EngineQuantity::E2eP99,
];

/// Policies decide every five seconds and take nothing for known that is older than three scrapes of this. With longer
/// ones, some pod would be unread at nearly every look, and nothing ever taken away.
const LONGEST_PERIOD: Duration = Duration::from_secs(5);

impl Parser<'_> {
    /// A trigger that leaves the replica count to the ScalingPolicy `name` of its namespace.
    pub(crate) fn policy(&mut self, name: &str) -> Result<Trigger, TriggerError> {
        for key in self.metadata.keys() {
            let keda = Key::find(key).is_some_and(|known| known.origin == KeyOrigin::Keda);
            let beside = [&BESIDE[..], &QUEUE, &ENGINE_KEYS];
            if !keda && !beside.iter().any(|keys| keys.contains(&key.as_str())) {
                return Err(TriggerError::RefusedKey {
                    key: key.clone(),
                    reason: NOT_BESIDE,
                });
            }
        }
        if !is_name(name) {
            let allowed = "the name of a ScalingPolicy in the workload's own namespace";
            return Err(invalid("policy", crate::key::shorten(name), allowed));
        }
        let selection = self.engine_selection(None)?;
        if let Some(period) = self
            .get("scrapePeriod")
            .filter(|_| selection.period > LONGEST_PERIOD)
        {
            let allowed = format!(
                "1 s to {} s beside policy, which decides as often",
                LONGEST_PERIOD.as_secs()
            );
            return Err(invalid("scrapePeriod", crate::key::shorten(period), allowed));
        }
        let stale_after = self.span("staleAfter", Duration::from_secs(1), 10 * MINUTE)?;
        let of_engine = stale_after.unwrap_or_else(|| 5 * selection.period);
        if stale_after.is_some_and(|stale_after| stale_after < 2 * selection.period) {
            let least = 2 * selection.period;
            self.warn(
                "staleAfter",
                format!("{stale_after:?} is less than two scrapes take, {least:?}: one that is late makes the engine unread"),
            );
        }
        let queue = match QUEUE.iter().any(|key| self.get(key).is_some()) {
            true => Some(self.named_signal(MAIN_SIGNAL, Signal::Prometheus, Quantile::Mean)?),
            false => None,
        };
        let outside = queue.iter().filter_map(|queue| match &queue.source {
            Source::Outside(source) => Some(source.clone()),
            _ => None,
        });
        let needs = Needs {
            outside: outside.collect(),
            gpu: vec![Quantity::Utilization, Quantity::Power],
            gpu_stale_after: stale_after
                .unwrap_or_else(|| Signal::Gpu(Quantity::Utilization).default_stale_after(DEFAULT_PERIOD)),
            engine: Some(EngineNeeds {
                selection,
                quantities: ENGINE.to_vec(),
                stale_after: of_engine,
            }),
            ..Needs::default()
        };
        Ok(Trigger {
            signals: queue.into_iter().collect(),
            load: Load::Policy(name.to_owned()),
            unit: SignalUnit::Replicas,
            target: 1.0,
            activation: 0.0,
            activation_expression: None,
            aggregation: crate::Aggregation::Avg,
            gpu_index: None,
            quorum: 1.0,
            grace: self.grace()?,
            idle_period: self.idle_period()?,
            guard: None,
            limits: crate::Schedule::default(),
            metric_name: METRIC_NAME.to_owned(),
            needs,
        })
    }
}
