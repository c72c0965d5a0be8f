use rheostat_expression::{
    Declared, Direction, Expression, Kind, Names, ResultType, compile, compile_number,
};
use rheostat_reading::{Quantity, Unit};

use crate::parse::{Parser, invalid};
use crate::{EngineSignal, Load, NamedSignal, Signal, SignalUnit, TriggerError};

impl Parser<'_> {
    /// The load that an expression over `signals` gives, and the unit of its result.
    pub(crate) fn load_expression(
        &mut self,
        key: &'static str,
        text: &str,
        signals: &[NamedSignal],
    ) -> Result<(Load, SignalUnit), TriggerError> {
        let over = match self.get("over") {
            None => None,
            Some("pod") => Some(false),
            Some("workload") => Some(true),
            Some(value) => {
                return Err(invalid(
                    "over",
                    value,
                    "pod (the expression is computed for each pod, the default), workload (it is computed once, of the pods' totals)",
                ));
            }
        };
        let of_pods = signals.iter().any(|signal| signal.signal.is_per_pod());
        let over_workload = over.unwrap_or(!of_pods);
        let names = declare(key, signals, over_workload)?;
        let expression = compile_number(text, &names).map_err(|source| TriggerError::Expression {
            key: key.into(),
            source,
        })?;
        let used: Vec<&NamedSignal> = used(&expression, signals).collect();
        if used.is_empty() {
            return Err(invalid(key, text, "an expression that uses at least one signal"));
        }
        if !over_workload && let Some(whole) = used.iter().find(|signal| !signal.signal.is_per_pod()) {
            return Err(TriggerError::Missing {
                key: "over".into(),
                allowed: format!(
                    "workload, since {} ({}) is one number for the whole workload and would count once for each pod; with over: workload the other names are the sums over the pods, or for percent and latencies the mean",
                    whole.name, whole.signal
                ),
            });
        }
        let unit = match expression.result() {
            ResultType::Number(dimension) => dimension.unit().and_then(SignalUnit::of_result),
            ResultType::Condition => None,
        };
        let unit = unit.ok_or_else(|| {
            let allowed = "an expression whose result is a plain number (waiting/5 is one), requests, seconds, \
                           bytes, watts or a rate of them";
            invalid(key, text, format!("{allowed}; this one is {}", expression.result()))
        })?;
        self.expression_warnings(key, &expression, &used, over_workload);
        let load = match over_workload {
            true => Load::OverWorkload(expression),
            false => Load::PerPod(expression),
        };
        Ok((load, unit))
    }

    /// What tells whether the workload is active.
    pub(crate) fn activation_expression(
        &mut self,
        of_profile: Option<&'static str>,
        signals: &[NamedSignal],
    ) -> Result<Option<Expression>, TriggerError> {
        let key = "activationExpression";
        let Some(text) = self.get(key).or(of_profile) else {
            return Ok(None);
        };
        let names = declare(key, signals, true)?;
        let expression = compile(text, &names).map_err(|source| TriggerError::Expression {
            key: key.into(),
            source,
        })?;
        if used(&expression, signals).next().is_none() {
            return Err(invalid(key, text, "an expression that uses at least one signal"));
        }
        if expression.result() == ResultType::Condition && self.get("activation").is_some() {
            return Err(TriggerError::Conflict {
                one: "activation".into(),
                other: format!("activationExpression {text:?}"),
                hint: "a condition holds or does not, and there is nothing to compare; give one of them",
            });
        }
        Ok(Some(expression))
    }

    fn expression_warnings(
        &mut self,
        key: &'static str,
        expression: &Expression,
        used: &[&NamedSignal],
        over_workload: bool,
    ) {
        for signal in used {
            let name = &signal.name;
            match expression.direction(name) {
                Direction::Falling => {
                    self.warn(key, format!("it falls when {name} rises: more load would mean fewer replicas"));
                }
                Direction::Unknown => self.warn(
                    key,
                    format!("it may fall when {name} rises, and take replicas away under load; max, sum and products with numbers above 0 never do"),
                ),
                Direction::Growing | Direction::Constant => {}
            }
            if is_memory(signal.signal) {
                self.warn(key, format!("{name} is memory, which servers keep once they have allocated it: it says little of demand"));
            }
        }
        let saturates = used.iter().all(|signal| signal.signal.saturates());
        if saturates {
            self.warn(
                key,
                "none of its signals rises any further once a replica is full, so that a full replica and an overloaded one look the same; add engine.waiting or engine.concurrency".into(),
            );
        }
        let names_ready = expression.names().any(|name| name == READY);
        let intensity = used
            .iter()
            .find(|signal| signal.signal.is_per_pod() && signal.signal.is_intensity());
        if over_workload
            && !names_ready
            && let Some(signal) = intensity
        {
            let name = &signal.name;
            self.warn(key, format!("over the workload {name} is the mean of the pods, however many there are; {name} * ready makes a demand of it"));
        }
    }

    /// What a single signal's author should know.
    pub(crate) fn signal_warnings(&mut self, signal: Signal, said_by: Option<&'static str>) {
        if said_by != Some("signal") {
            return;
        }
        if is_memory(signal) {
            self.warn("signal", format!("{signal} says little of demand: most servers keep what they have allocated; prefer gpu.duty_cycle or gpu.utilization"));
        }
        match signal {
            Signal::Engine(EngineSignal::Running | EngineSignal::KvCacheUsage) => self.warn(
                "signal",
                format!("{signal} rises no further once a replica is full, so that a full replica and an overloaded one look the same; prefer engine.concurrency"),
            ),
            Signal::Engine(EngineSignal::PrefixCacheHitRate) => self.warn(
                "signal",
                format!("{signal} says how well the cache works, not how much there is to do"),
            ),
            Signal::Manual => {
                let annotation = crate::MANUAL_DEMAND_ANNOTATION;
                self.warn("signal", format!("manual scales by what a person writes into the annotation {annotation}, for rehearsals and tests"));
            }
            _ => {}
        }
    }
}

/// The name of the number of serving pods that an expression's values come from.
const READY: &str = "ready";
/// The name of the number of replicas.
const REPLICAS: &str = "replicas";

/// The names that an expression may use: the signals, and over the workload its sizes.
fn declare(key: &'static str, signals: &[NamedSignal], sizes: bool) -> Result<Names, TriggerError> {
    let mut names = Names::new();
    let refused = |error: rheostat_expression::NameError, name: &str| {
        let key = match name {
            READY | REPLICAS | crate::MAIN_SIGNAL => key.to_owned(),
            name => format!("signal.{name}"),
        };
        let allowed = if sizes {
            "; ready and replicas are the numbers of serving pods and of replicas"
        } else {
            ""
        };
        invalid(key, name, format!("another name: {error}{allowed}"))
    };
    for signal in signals {
        let declared = Declared {
            unit: signal.signal.base_unit(),
            kind: if signal.signal.is_intensity() {
                Kind::Intensity
            } else {
                Kind::Amount
            },
        };
        names
            .declare(&signal.name, declared)
            .map_err(|error| refused(error, &signal.name))?;
    }
    if sizes {
        let declared = Declared {
            unit: Unit::Ratio,
            kind: Kind::Amount,
        };
        for name in [READY, REPLICAS] {
            names
                .declare(name, declared)
                .map_err(|error| refused(error, name))?;
        }
    }
    Ok(names)
}

fn used<'s>(
    expression: &Expression,
    signals: &'s [NamedSignal],
) -> impl Iterator<Item = &'s NamedSignal> + use<'s> {
    let used = expression.used();
    let each = signals.iter().enumerate();
    each.filter(move |(place, _)| used.contains(*place))
        .map(|(_, signal)| signal)
}

fn is_memory(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::Gpu(Quantity::MemoryUsedPercent | Quantity::MemoryUsedBytes)
    )
}
