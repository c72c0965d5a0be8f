use crate::evaluate::{Found, Work};
use crate::hpa::{DEFAULT_TOLERANCE, hpa_desired, to_milli, value_for};
use crate::{Activity, Bound, Bounds, Hold, MetricType, Outcome, Step};

impl Work<'_> {
    /// The outcome within the bounds of running requests and schedule. A ceiling is a limit, and
    /// holds against all else.
    pub(crate) fn bounded(&mut self, found: Found) -> Outcome {
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
            self.input.replicas_for_hpa(self.metric_type),
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
            (MetricType::Value, ready) => {
                let value = demand / f64::from(ready);
                // With those that drain, "within the tolerance" is a ratio of another size than this
                // one: load that has doubled since four of eight were let go would change nothing.
                let wanted = self.by_total(demand);
                let stays = self.desired(value, DEFAULT_TOLERANCE) == self.input.replicas;
                if self.coverage.draining > 0 && stays && wanted != self.input.replicas {
                    self.bound_to(wanted)
                } else {
                    value
                }
            }
        }
    }

    /// What the HPA would make of the demand itself.
    fn by_total(&self, demand: f64) -> u32 {
        hpa_desired(
            MetricType::AverageValue,
            demand,
            self.trigger.target,
            self.input.replicas,
            0,
            DEFAULT_TOLERANCE,
        )
    }

    /// The value of which the HPA makes what is asked for now, surge or not.
    fn unchanged(&self) -> f64 {
        match self.metric_type {
            MetricType::AverageValue => self.bound_to(self.input.replicas),
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
            self.input.replicas_for_hpa(self.metric_type),
            self.coverage.ready_for_hpa(),
            tolerance,
        )
    }
}
