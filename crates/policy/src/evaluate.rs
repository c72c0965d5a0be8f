use rheostat_expression::{Expression, Value};

use crate::evaluate_workload::workload_results;
use crate::pod::pod_result;
use crate::{
    Coverage, Evaluation, GuardStep, Hold, Input, Load, MetricType, PodResult, Source, Step, Trigger,
    WorkloadResult,
};

/// Rounding that must not count as a difference.
pub(crate) const SLACK: f64 = 1e-9;

/// What `input` says of the workload behind `trigger`.
///
/// `metric_type` is the trigger's `metricType` in the ScaledObject (`AverageValue` for a
/// ScaledJob). Every input gives an evaluation; the same input gives the same one.
#[must_use]
pub fn evaluate(trigger: &Trigger, metric_type: MetricType, input: &Input<'_>) -> Evaluation {
    let pods: Vec<PodResult> = input
        .pods
        .iter()
        .map(|pod| pod_result(trigger, input.now, pod))
        .collect();
    let workload = workload_results(trigger, input);
    let coverage = Coverage::of(&pods, input.replicas);
    let known = counted(
        pods.iter()
            .filter(|pod| matches!(pod.number, Some(Ok(_))))
            .count(),
    );
    let per_pod = trigger.looks_at_pods() && !matches!(trigger.load, Load::OverWorkload(_));
    let mut work = Work {
        trigger,
        metric_type,
        input,
        pods: &pods,
        workload: &workload,
        coverage: Coverage {
            known: if per_pod { known } else { coverage.ready },
            ..coverage
        },
        guard: None,
        steps: Vec::with_capacity(4),
        load_values: Vec::new(),
        activation_values: Vec::new(),
    };
    work.guard = work.guard();
    let found = match &trigger.load {
        Load::PerPod(_) => work.per_pod(),
        Load::Signal(signal) if signal.is_per_pod() => work.per_pod(),
        Load::Signal(_) => work.single(),
        Load::OverWorkload(expression) => work.over_workload(expression),
        // Somebody else decides: `evaluate_decided`.
        Load::Policy(_) => work.missing(),
    };
    let outcome = work.bounded(found);
    Evaluation {
        at: input.now,
        outcome,
        coverage: work.coverage,
        metric_type,
        target: trigger.target,
        replicas: input.replicas,
        replicas_for_hpa: input.replicas_for_hpa(metric_type),
        steps: work.steps,
        load_values: work.load_values,
        activation_values: work.activation_values,
        undecided: None,
        workload,
        pods,
    }
}

/// An evaluation on its way. What the values of expressions are is in `evaluate_values`, whether the
/// workload is active in `evaluate_activity`, what running requests need in `evaluate_guard`, and what
/// becomes of the demand within all bounds in `evaluate_bounds`.
pub(crate) struct Work<'a> {
    pub(crate) trigger: &'a Trigger,
    pub(crate) metric_type: MetricType,
    pub(crate) input: &'a Input<'a>,
    pub(crate) pods: &'a [PodResult],
    pub(crate) workload: &'a [WorkloadResult],
    pub(crate) coverage: Coverage,
    pub(crate) guard: Option<GuardStep>,
    pub(crate) steps: Vec<Step>,
    pub(crate) load_values: Vec<Value>,
    pub(crate) activation_values: Vec<Value>,
}

/// What the signals say, before any bound.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    AtZero,
    Unknown,
    /// As many replicas as now.
    Unchanged {
        active: bool,
    },
    /// The demand of all replicas, in the unit of the target.
    Demand {
        demand: f64,
        active: bool,
    },
}

impl Work<'_> {
    /// A load that each serving pod has its own part of.
    fn per_pod(&mut self) -> Found {
        let Coverage { known, ready, .. } = self.coverage;
        let target = self.trigger.target;
        // Also while pods of the past are still going away: their load is no demand, and an
        // error at zero would tear KEDA's push stream down.
        if self.input.replicas == 0 {
            if self.trigger.activation_expression.is_some() && self.activity(0.0, 0) {
                // One replica's worth, so that there is something to divide.
                return Found::Demand {
                    demand: target,
                    active: true,
                };
            }
            self.steps.push(Step::NoReplicas);
            return Found::AtZero;
        }
        if ready == 0 {
            if self.not_ready() > 0 {
                self.steps.push(Step::Hold(Hold::NoneReady));
            } else {
                self.asleep();
            }
            let active = self.activity(0.0, 0);
            return Found::Unchanged { active };
        }
        let unread = ready - known;
        if self.below_quorum(known) {
            return Found::Unknown;
        }
        let mut numbers: Vec<f64> = self
            .pods
            .iter()
            .filter_map(|pod| pod.number.as_ref()?.as_ref().ok().copied())
            .collect();
        let busiest = numbers.iter().copied().fold(0.0, f64::max);
        let sum: f64 = numbers.iter().sum();
        self.votes(unread);
        numbers.resize(numbers.len() + unread as usize, target);
        // Below freezing is no negative demand.
        let intensity = self
            .trigger
            .aggregation
            .reduce(&mut numbers)
            .unwrap_or(target)
            .max(0.0);
        let demand = intensity * f64::from(ready);
        self.steps.push(Step::Combined {
            intensity,
            demand,
            ready,
        });
        let compared = if self.trigger.unit.is_intensity() {
            busiest
        } else {
            sum
        };
        self.settled(demand, compared, unread)
    }

    /// One signal that there is one number of.
    fn single(&mut self) -> Found {
        let trigger = self.trigger;
        let Some((signal, result)) = trigger.signals.first().zip(self.workload.first()) else {
            return Found::Unknown;
        };
        let number = match &result.number {
            Ok(number) => *number,
            Err(_) => return self.missing(),
        };
        let demand = match signal.source {
            Source::Manual => {
                let (replicas, demand) = (self.input.manual, number * trigger.target);
                self.steps.push(Step::Manual { replicas, demand });
                demand
            }
            Source::Schedule(_) => number * trigger.target,
            _ => number.max(0.0),
        };
        if !matches!(signal.source, Source::Manual) {
            self.steps.push(Step::Total { demand });
        }
        self.total(demand)
    }

    /// A demand of the whole workload that is known whatever the pods do: nothing is held.
    fn total(&mut self, demand: f64) -> Found {
        let active = self.activity(demand, 0);
        if self.input.replicas == 0 && !active {
            self.steps.push(Step::NoReplicas);
            return Found::AtZero;
        }
        Found::Demand { demand, active }
    }

    /// An expression whose result is the demand of all replicas.
    fn over_workload(&mut self, expression: &Expression) -> Found {
        let trigger = self.trigger;
        let looks_at_pods = trigger.uses_pods(expression);
        let (values, known) = self.totals(expression);
        let outcome = expression.evaluate(&values);
        self.load_values = values;
        if looks_at_pods {
            self.coverage.known = known;
            if self.input.replicas > 0 && self.below_quorum(known) {
                return Found::Unknown;
            }
        }
        let Some(number) = outcome.number() else {
            return self.missing();
        };
        let demand = number.max(0.0);
        self.steps.push(Step::Total { demand });
        if !looks_at_pods || self.input.replicas == 0 {
            return self.total(demand);
        }
        let unread = self.coverage.ready - known;
        self.votes(unread);
        self.settled(demand + f64::from(unread) * trigger.target, demand, unread)
    }

    /// What is made of the demand that serving pods show: pods that sleep are added, and the size
    /// is held while the demand says "fewer" only because it can show no more.
    fn settled(&mut self, demand: f64, compared: f64, unread: u32) -> Found {
        let target = self.trigger.target;
        let (ready, not_ready) = (self.coverage.ready, self.not_ready());
        let full = demand >= target * f64::from(ready) * (1.0 - SLACK);
        let demand = demand + self.asleep();
        let active = self.activity(compared, unread);
        let enough = demand <= target * f64::from(self.input.replicas) * (1.0 + SLACK);
        if not_ready > 0 && full && enough {
            self.steps.push(Step::Hold(match ready {
                0 => Hold::NoneReady,
                _ => Hold::SomeNotReady { not_ready },
            }));
            return Found::Unchanged { active };
        }
        Found::Demand { demand, active }
    }

    /// At zero, where nothing can be lost, nothing is asked for; otherwise nothing is concluded.
    fn missing(&mut self) -> Found {
        self.steps.push(Step::Missing);
        if self.input.replicas == 0 {
            self.steps.push(Step::NoReplicas);
            return Found::AtZero;
        }
        Found::Unknown
    }

    pub(crate) fn not_ready(&self) -> u32 {
        let Coverage {
            ready, asleep, total, ..
        } = self.coverage;
        total.saturating_sub(ready).saturating_sub(asleep)
    }

    fn below_quorum(&mut self, known: u32) -> bool {
        let quorum = self.trigger.quorum;
        let below = f64::from(known) < quorum * f64::from(self.coverage.ready) - SLACK;
        if below {
            self.steps.push(Step::BelowQuorum { quorum });
        }
        below
    }

    fn votes(&mut self, pods: u32) {
        if pods > 0 {
            let each = self.trigger.target;
            self.steps.push(Step::Votes { pods, each });
        }
    }

    /// The demand that keeps sleeping pods where they are.
    fn asleep(&mut self) -> f64 {
        let (pods, each) = (self.coverage.asleep, self.trigger.target);
        if pods > 0 {
            self.steps.push(Step::Asleep { pods, each });
        }
        f64::from(pods) * each
    }
}

pub(crate) fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
