use rheostat_expression::{Answer, Expression, Outcome as Computed, Value};
use rheostat_reading::{Absent, EngineQuantity, Quality, Unit};

use crate::hpa::{DEFAULT_TOLERANCE, hpa_desired, to_milli, value_for};
use crate::pod::{Judged, UNDER_WAY, pod_result, pod_values};
use crate::{
    Activity, Bound, Bounds, Coverage, Evaluation, GuardStep, Hold, Input, Load, MetricType, NamedSignal,
    Outcome, PodResult, PodState, Source, Step, Trigger, Within, WorkloadResult,
};

/// Rounding that must not count as a difference.
const SLACK: f64 = 1e-9;

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
    let count = |wanted: PodState| counted(pods.iter().filter(|pod| pod.state == wanted).count());
    let (ready, asleep) = (count(PodState::Ready), count(PodState::Asleep));
    let known = counted(
        pods.iter()
            .filter(|pod| matches!(pod.number, Some(Ok(_))))
            .count(),
    );
    let per_pod = trigger.looks_at_pods() && !matches!(trigger.load, Load::OverWorkload(_));
    let there = ready
        .saturating_add(asleep)
        .saturating_add(count(PodState::NotReady));
    let mut work = Work {
        trigger,
        metric_type,
        input,
        pods: &pods,
        workload: &workload,
        coverage: Coverage {
            known: if per_pod { known } else { ready },
            ready,
            asleep,
            total: input.replicas.max(there),
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
    };
    let outcome = work.bounded(found);
    Evaluation {
        at: input.now,
        outcome,
        coverage: work.coverage,
        metric_type,
        target: trigger.target,
        replicas: input.replicas,
        steps: work.steps,
        load_values: work.load_values,
        activation_values: work.activation_values,
        workload,
        pods,
    }
}

struct Work<'a> {
    trigger: &'a Trigger,
    metric_type: MetricType,
    input: &'a Input<'a>,
    pods: &'a [PodResult],
    workload: &'a [WorkloadResult],
    coverage: Coverage,
    guard: Option<GuardStep>,
    steps: Vec<Step>,
    load_values: Vec<Value>,
    activation_values: Vec<Value>,
}

/// What the signals say, before any bound.
#[derive(Clone, Copy)]
enum Found {
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

    fn not_ready(&self) -> u32 {
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

    /// Whether the workload is active; the reason is the step that it adds.
    fn activity(&mut self, compared: f64, unread: u32) -> bool {
        let (activity, active) = match &self.trigger.activation_expression {
            None if compared > self.trigger.activation => (Activity::Busy { compared }, true),
            None => (Activity::Idle { compared }, false),
            Some(expression) => self.condition(expression),
        };
        let requests = self.guard.map_or(0.0, |guard| guard.requests);
        let unread = unread.max(match &self.trigger.activation_expression {
            Some(expression) => self.unread_by(expression),
            None => 0,
        });
        let (activity, active) = if active {
            (activity, true)
        } else if self.input.replicas > 0 && requests > 0.0 {
            (Activity::Requests { requests }, true)
        } else if unread > 0 {
            (Activity::Unread { pods: unread }, true)
        } else if self.trigger.looks_at_pods() && self.input.replicas > 0 && self.not_ready() > 0 {
            let replicas = self.not_ready();
            (Activity::Starting { replicas }, true)
        } else {
            (activity, false)
        };
        self.steps.push(Step::Activity(activity));
        active
    }

    /// What the activation's expression says. Without a result a workload that runs is not called
    /// idle, and one at zero is not started.
    fn condition(&mut self, expression: &Expression) -> (Activity, bool) {
        let values = self.activation_values(expression);
        let outcome = expression.evaluate(&values);
        self.activation_values = values;
        match outcome {
            Computed::Known {
                answer: Answer::Condition(holds),
                ..
            } => (Activity::Condition { holds }, holds),
            Computed::Known {
                answer: Answer::Number(compared),
                ..
            } if compared > self.trigger.activation => (Activity::Busy { compared }, true),
            Computed::Known {
                answer: Answer::Number(compared),
                ..
            } => (Activity::Idle { compared }, false),
            Computed::Absent(_) => (Activity::Unclear, self.input.replicas > 0),
        }
    }

    /// Amounts of all serving pods that were read, and intensities of the busiest of them.
    fn activation_values(&self, expression: &Expression) -> Vec<Value> {
        let used = expression.used();
        let each = self.trigger.signals.iter().enumerate();
        let values = each.map(|(place, signal)| {
            if !used.contains(place) {
                return Value::Absent(Absent::NotYet);
            }
            let within = if signal.signal.is_intensity() {
                Within::Max
            } else {
                Within::Sum
            };
            self.value(
                place,
                signal,
                &mut |numbers| within.reduce(numbers.iter().copied()),
                &|_| true,
            )
        });
        values.chain(self.sizes(self.coverage.ready)).collect()
    }

    /// The values for an expression over the workload, and of how many serving pods they are.
    ///
    /// A signal that too few pods have is absent. Of the others, only pods count that have all of
    /// them, so that none is counted twice: by what it showed and by its vote.
    fn totals(&self, expression: &Expression) -> (Vec<Value>, u32) {
        let (trigger, used) = (self.trigger, expression.used());
        let serving = || self.pods.iter().filter(|pod| pod.state == PodState::Ready);
        let has = |pod: &PodResult, place: usize| {
            pod.parts
                .iter()
                .any(|part| part.signal == place && part.number.is_ok())
        };
        let present: Vec<usize> = trigger
            .signals
            .iter()
            .enumerate()
            .filter(|(place, signal)| used.contains(*place) && signal.signal.is_per_pod())
            .map(|(place, _)| place)
            .filter(|place| {
                let known = counted(serving().filter(|pod| has(pod, *place)).count());
                f64::from(known) >= trigger.quorum * f64::from(self.coverage.ready) - SLACK
            })
            .collect();
        let counts = |pod: &PodResult| present.iter().all(|place| has(pod, *place));
        let known = counted(serving().filter(|pod| counts(pod)).count());
        let each = trigger.signals.iter().enumerate();
        let values = each.map(|(place, signal)| {
            if !used.contains(place) {
                return Value::Absent(Absent::NotYet);
            }
            let per_pod = signal.signal.is_per_pod();
            if per_pod && !present.contains(&place) {
                return Value::Absent(self.reason(place));
            }
            let mut reduce = |numbers: &mut [f64]| match signal.signal.is_intensity() {
                true => trigger.aggregation.reduce(numbers),
                false => Within::Sum.reduce(numbers.iter().copied()),
            };
            self.value(place, signal, &mut reduce, &counts)
        });
        (values.chain(self.sizes(known)).collect(), known)
    }

    /// The value of one signal over the pods that `counts` takes. Where no pod serves, none has
    /// any load.
    fn value(
        &self,
        place: usize,
        signal: &NamedSignal,
        reduce: &mut dyn FnMut(&mut [f64]) -> Option<f64>,
        counts: &dyn Fn(&PodResult) -> bool,
    ) -> Value {
        if !signal.signal.is_per_pod() {
            let result = self.workload.iter().find(|result| result.signal == place);
            return match result.map(|result| &result.number) {
                Some(Ok(number)) => Value::Known {
                    number: *number,
                    quality: Quality::Measured,
                },
                Some(Err(reason)) => Value::Absent(reason.clone()),
                None => Value::Absent(Absent::NotYet),
            };
        }
        if self.coverage.ready == 0 || self.input.replicas == 0 {
            return Value::Known {
                number: 0.0,
                quality: Quality::Measured,
            };
        }
        let mut numbers = Vec::with_capacity(self.pods.len());
        let mut quality = Quality::Measured;
        for pod in self.pods.iter().filter(|pod| counts(pod)) {
            let part = pod.parts.iter().find(|part| part.signal == place);
            if let Some(Ok(number)) = part.map(|part| &part.number) {
                numbers.push(number.value);
                quality = quality.max(number.quality);
            }
        }
        match reduce(&mut numbers) {
            Some(number) => Value::Known { number, quality },
            None => Value::Absent(self.reason(place)),
        }
    }

    /// Why the first pod without it has no number of the signal at `place`.
    fn reason(&self, place: usize) -> Absent {
        let lacking = self.pods.iter().find(|pod| {
            let mut parts = pod.parts.iter();
            parts.any(|part| part.signal == place && part.number.is_err())
        });
        let values = lacking.map(|pod| pod_values(self.trigger, &pod.parts));
        match values.and_then(|values| values.into_iter().nth(place)) {
            Some(Value::Absent(reason)) => reason,
            _ => Absent::NotYet,
        }
    }

    /// The values of the names `ready` and `replicas`.
    fn sizes(&self, ready: u32) -> [Value; 2] {
        [ready, self.input.replicas].map(|size| Value::Known {
            number: f64::from(size),
            quality: Quality::Measured,
        })
    }

    /// Serving pods that lack a signal which the activation's expression uses.
    fn unread_by(&self, expression: &Expression) -> u32 {
        let used = expression.used();
        let lacking = self.pods.iter().filter(|pod| {
            let mut parts = pod.parts.iter();
            parts.any(|part| used.contains(part.signal) && part.number.is_err())
        });
        match self.input.replicas {
            0 => 0,
            _ => counted(lacking.count()),
        }
    }

    /// What the running requests need, as far as the serving engines say.
    fn guard(&self) -> Option<GuardStep> {
        let guard = self.trigger.guard?;
        let needs = self.trigger.needs.engine.as_ref()?;
        let (mut requests, mut slots) = (0.0, 0.0);
        let (mut known, mut sized, mut unread) = (0_u32, 0_u32, 0_u32);
        for (pod, result) in self.input.pods.iter().zip(self.pods) {
            if result.state != PodState::Ready {
                continue;
            }
            let read = |quantity| {
                let judged = Judged {
                    report: pod.engine.as_ref().ok()?,
                    stale_after: needs.stale_after,
                    window: needs.selection.window,
                    now: self.input.now,
                };
                Some(judged.reading(quantity).ok()?.amount.value())
            };
            // An engine that does not tell waiting requests from running ones tells one of them.
            match UNDER_WAY.into_iter().find_map(read) {
                Some(here) => {
                    requests += here;
                    known += 1;
                }
                None => unread += 1,
            }
            if let Some(most) = read(EngineQuantity::MaxSequences).filter(|most| *most > 0.0) {
                slots += most;
                sized += 1;
            }
        }
        if known == 0 {
            return None;
        }
        let slots = guard
            .slots
            .or_else(|| (sized > 0).then(|| slots / f64::from(sized)))
            .or_else(|| self.trigger.target_of_requests());
        let needed = slots.map_or(0, |slots| whole(requests / slots).saturating_add(unread));
        Some(GuardStep {
            requests,
            slots,
            unread,
            // It keeps replicas; more of them is for the load to ask.
            replicas: needed.min(self.input.replicas),
        })
    }

    /// The outcome within the bounds of running requests and schedule. A ceiling is a limit, and
    /// holds against all else.
    fn bounded(&mut self, found: Found) -> Outcome {
        let bounds = self.trigger.limits.at(self.input.now);
        let Bounds { floor, ceiling } = bounds;
        if !self.trigger.limits.is_empty() {
            self.steps.push(Step::Schedule(bounds));
        }
        let (mut value, mut active) = match found {
            Found::Demand { demand, active } => (self.value_of(demand), active),
            Found::Unchanged { active } => (self.unchanged(), active),
            // More replicas than there are can be asked for without knowing what the present
            // ones do.
            Found::AtZero | Found::Unknown => match floor.filter(|floor| *floor > self.input.replicas) {
                Some(floor) => {
                    self.scheduled(true);
                    return self.outcome(self.bound_to(floor), true, Some((Bound::Floor, floor)));
                }
                None if matches!(found, Found::AtZero) => return Outcome::AtZero,
                None => return Outcome::Unknown,
            },
        };
        if let Some(guard) = self.guard {
            if guard.requests > 0.0 || guard.unread > 0 {
                self.steps.push(Step::Guard(guard));
            }
            if self.least(value) < guard.replicas {
                value = self.bound(Bound::Guard, guard.replicas);
            }
        }
        if let Some(floor) = floor.filter(|floor| *floor > 0) {
            if self.least(value) < floor {
                value = self.bound(Bound::Floor, floor);
            }
            if !active {
                self.scheduled(true);
                active = true;
            }
        }
        if let Some(ceiling) = ceiling {
            if self.most(value) > ceiling {
                value = self.bound(Bound::Ceiling, ceiling);
            }
            if ceiling == 0 && active {
                self.scheduled(false);
                active = false;
            }
        }
        self.outcome(value, active, None)
    }

    fn outcome(&mut self, value: f64, active: bool, bound: Option<(Bound, u32)>) -> Outcome {
        if let Some((by, replicas)) = bound {
            self.steps.push(Step::Bounded { by, replicas });
        }
        if self.input.replicas == 0 && !active {
            self.steps.push(Step::NoReplicas);
            return Outcome::AtZero;
        }
        Outcome::Known {
            value: to_milli(value),
            active,
        }
    }

    fn scheduled(&mut self, active: bool) {
        self.steps.push(Step::Activity(Activity::Scheduled { active }));
    }

    fn bound(&mut self, by: Bound, replicas: u32) -> f64 {
        self.steps.push(Step::Bounded { by, replicas });
        self.bound_to(replicas)
    }

    /// The value of which the HPA makes so many replicas.
    fn bound_to(&self, replicas: u32) -> f64 {
        value_for(
            self.metric_type,
            replicas,
            self.trigger.target,
            self.input.replicas,
            self.coverage.ready_for_hpa(),
        )
    }

    /// The value of a demand. Under `Value` the HPA multiplies by the ready pods, so that it is
    /// the part of each of them.
    fn value_of(&mut self, demand: f64) -> f64 {
        match (self.metric_type, self.coverage.ready_for_hpa()) {
            (MetricType::AverageValue, _) => demand,
            (MetricType::Value, _) if self.input.replicas == 0 => demand,
            (MetricType::Value, 0) => {
                self.steps.push(Step::Hold(Hold::NoneReady));
                self.trigger.target
            }
            (MetricType::Value, ready) => demand / f64::from(ready),
        }
    }

    /// The value whose ratio to the target is exactly 1.
    fn unchanged(&self) -> f64 {
        match self.metric_type {
            MetricType::AverageValue => self.trigger.target * f64::from(self.input.replicas),
            MetricType::Value => self.trigger.target,
        }
    }

    /// The fewest replicas that the HPA makes of a value, whatever its tolerance.
    fn least(&self, value: f64) -> u32 {
        self.desired(value, 0.0)
            .min(self.desired(value, DEFAULT_TOLERANCE))
    }

    /// The most of them.
    fn most(&self, value: f64) -> u32 {
        self.desired(value, 0.0)
            .max(self.desired(value, DEFAULT_TOLERANCE))
    }

    fn desired(&self, value: f64, tolerance: f64) -> u32 {
        hpa_desired(
            self.metric_type,
            value,
            self.trigger.target,
            self.input.replicas,
            self.coverage.ready_for_hpa(),
            tolerance,
        )
    }
}

/// The numbers that there is one of, in the order of the trigger's signals.
fn workload_results(trigger: &Trigger, input: &Input<'_>) -> Vec<WorkloadResult> {
    let mut outside = input.outside.iter();
    let each = trigger.signals.iter().enumerate();
    each.filter_map(|(place, signal)| {
        let (number, at) = match &signal.source {
            Source::Gpu { .. } | Source::Engine { .. } => return None,
            Source::Manual => (Ok(input.manual.unwrap_or(0.0).max(0.0)), None),
            Source::Schedule(schedule) => {
                let floor = schedule.at(input.now).floor;
                (Ok(f64::from(floor.unwrap_or(0))), None)
            }
            Source::Outside(_) => match outside.next() {
                Some(Ok(reading)) => {
                    let age = reading.age(input.now);
                    let number = if age > signal.stale_after {
                        Err(Absent::Stale(age))
                    } else if reading.amount.unit() == Unit::Count {
                        Ok(reading.amount.value())
                    } else {
                        Err(Absent::Failed(format!("read in {}", reading.amount.unit())))
                    };
                    (number, Some(reading.at))
                }
                Some(Err(reason)) => (Err(reason.clone()), None),
                None => (Err(Absent::NotYet), None),
            },
        };
        Some(WorkloadResult {
            signal: place,
            number,
            at,
        })
    })
    .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is wanted"
)]
fn whole(replicas: f64) -> u32 {
    (replicas - SLACK).ceil() as u32
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
