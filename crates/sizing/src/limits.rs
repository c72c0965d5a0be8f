use rheostat_reading::{Ratio, Watts};

use crate::cost::most_power;
use crate::decision::{Step, StepKind};
use crate::intent::{Amount, Change, Intent, Period, WhenReached};
use crate::ledger::Ledger;
use crate::moment::whole;
use crate::observation::{Observation, Replica};

/// A replica count on its way through everything that binds it.
#[derive(Clone, Debug)]
pub(crate) struct Bounded {
    pub(crate) replicas: u32,
    pub(crate) steps: Vec<Step>,
}

impl Bounded {
    /// Moves the count to at least `floor`.
    pub(crate) fn at_least(&mut self, floor: u32, kind: StepKind, why: impl FnOnce() -> String) {
        if self.replicas < floor {
            self.to(floor, kind, why);
        }
    }

    /// Moves the count to at most `ceiling`.
    pub(crate) fn at_most(&mut self, ceiling: u32, kind: StepKind, why: impl FnOnce() -> String) {
        if self.replicas > ceiling {
            self.to(ceiling, kind, why);
        }
    }

    /// Sets the count.
    pub(crate) fn to(&mut self, replicas: u32, kind: StepKind, why: impl FnOnce() -> String) {
        self.replicas = replicas;
        self.note(kind, why());
    }

    /// Says something that leaves the count as it is.
    pub(crate) fn note(&mut self, kind: StepKind, why: String) {
        self.steps.push(Step {
            kind,
            replicas: self.replicas,
            why,
        });
    }
}

/// Lets the limits bind. The order is that of who wins: rates give way to what may be spent and powered,
/// those to the pool, that to the schedule's ceiling and to the maximum. A minimum holds against rates and
/// budgets that freeze, and against no ceiling.
///
/// Returns what is left of the tightest budget.
pub(crate) fn bind(
    bounded: &mut Bounded,
    intent: &Intent,
    seen: &Observation,
    ledger: &Ledger,
    usual: &str,
) -> Option<Ratio> {
    rates(bounded, intent, seen, ledger);
    surge(bounded, intent, seen);
    bounded.at_least(intent.min_replicas, StepKind::Limit, || {
        format!("never fewer than {}", intent.min_replicas)
    });
    if let Some(floor) = seen.schedule.floor {
        bounded.at_least(floor, StepKind::Schedule, || {
            format!("the schedule asks for at least {floor}")
        });
    }
    let left = budgets(bounded, intent, seen, ledger);
    power(bounded, intent, seen, usual);
    if let Some(pool) = seen.pool {
        bounded.at_most(pool, StepKind::Pool, || {
            format!("the GPU pool leaves this workload {pool}")
        });
    }
    if let Some(ceiling) = seen.schedule.ceiling {
        bounded.at_most(ceiling, StepKind::Schedule, || {
            format!("the schedule allows at most {ceiling}")
        });
    }
    bounded.at_most(intent.max_replicas, StepKind::Limit, || {
        format!("never more than {}", intent.max_replicas)
    });
    left
}

fn rates(bounded: &mut Bounded, intent: &Intent, seen: &Observation, ledger: &Ledger) {
    let amount = |change: Change, of: u32| match change {
        Change::Replicas(replicas) => replicas,
        Change::Part(part) => {
            let replicas = whole(f64::from(of) * part.0);
            replicas.max(1)
        }
    };
    for limit in &intent.limits.up {
        // From zero, a start is never held back: there is nothing that it could be measured by.
        if let Some((least, _)) = ledger.range(seen.now, limit.within)
            && seen.replicas > 0
        {
            let most = least
                .saturating_add(amount(limit.change, least))
                .max(seen.replicas);
            bounded.at_most(most, StepKind::Limit, || {
                format!("{most} is as fast up as {:?} allow", limit.within)
            });
        }
    }
    for limit in &intent.limits.down {
        if let Some((_, most)) = ledger.range(seen.now, limit.within) {
            let least = most.saturating_sub(amount(limit.change, most)).min(seen.replicas);
            bounded.at_least(least, StepKind::Limit, || {
                format!("{least} is as fast down as {:?} allow", limit.within)
            });
        }
    }
}

fn surge(bounded: &mut Bounded, intent: &Intent, seen: &Observation) {
    if let Some(most) = intent.limits.max_unready {
        let unready = seen
            .replicas
            .saturating_sub(seen.ready_count())
            .saturating_sub(seen.asleep_count());
        let ceiling = seen.replicas.saturating_add(most.saturating_sub(unready));
        bounded.at_most(ceiling, StepKind::Limit, || {
            format!("{unready} replicas are not ready yet, and at most {most} may be")
        });
    }
}

fn budgets(bounded: &mut Bounded, intent: &Intent, seen: &Observation, ledger: &Ledger) -> Option<Ratio> {
    let mut tightest: Option<f64> = None;
    for budget in &intent.limits.budgets {
        let Some(left) = ledger.left(seen.now, budget, &intent.replica) else {
            bounded.note(
                StepKind::Limit,
                "the budget is in money, and what a GPU costs is not said: it cannot be kept".to_owned(),
            );
            continue;
        };
        tightest = Some(tightest.map_or(left, |least| least.min(left)));
        if left > 0.0 {
            continue;
        }
        let what = match budget.amount {
            Amount::GpuHours(amount) => format!("{amount} GPU-hours"),
            Amount::Money(amount) => format!("{amount} of money"),
        };
        let period = match budget.per {
            Period::Hour => "an hour",
            Period::Day => "a day",
            Period::Month => "30 days",
        };
        match budget.when_reached {
            WhenReached::Warn => {
                bounded.note(
                    StepKind::Limit,
                    format!("the budget of {what} in {period} is used up"),
                );
            }
            WhenReached::Freeze => {
                bounded.at_most(seen.replicas.max(intent.min_replicas), StepKind::Limit, || {
                    format!("the budget of {what} in {period} is used up: nothing is added")
                });
            }
            WhenReached::Fall(to) => bounded.at_most(to, StepKind::Limit, || {
                format!("the budget of {what} in {period} is used up: down to {to}")
            }),
        }
    }
    tightest.map(Ratio)
}

fn power(bounded: &mut Bounded, intent: &Intent, seen: &Observation, usual: &str) {
    let Some(Watts(most)) = intent.limits.power else {
        return;
    };
    // What replicas usually run on counts, too: those that are added may get it again.
    let known = seen.pods.iter().map(|pod| pod.hardware.as_ref());
    let sheet = known
        .chain([usual])
        .filter(|hardware| !hardware.is_empty())
        .map(|hardware| most_power(hardware, intent.replica.gpus).0)
        .reduce(f64::max)
        .unwrap_or_else(|| most_power(usual, intent.replica.gpus).0);
    // A replica can draw as much as the hungriest that works hard; as long as none does, as its data sheet allows: one
    // that rests draws a seventh of it.
    let works_hard = |pod: &Replica| pod.gpu_utilization.is_some_and(|busy| busy.0 >= WORKS_HARD);
    let drawn = |pod: &Replica| Some((pod.power?.0, works_hard(pod)));
    let told: Vec<(f64, bool)> = seen.ready().filter_map(drawn).collect();
    let hardest = told
        .iter()
        .filter(|(_, works_hard)| *works_hard)
        .map(|(watts, _)| *watts)
        .fold(0.0, f64::max);
    let each = if hardest > 0.0 {
        hardest
    } else {
        told.iter().map(|(watts, _)| *watts).fold(sheet, f64::max)
    };
    let ceiling = whole((most / each.max(1.0)).floor());
    // What serves within the limit need not go because it could draw more.
    let total: f64 = told.iter().map(|(watts, _)| watts).sum();
    let within = told.len() == seen.ready_count() as usize && total <= most;
    let ceiling = match within {
        true => ceiling.max(seen.ready_count()),
        false => ceiling,
    };
    bounded.at_most(ceiling, StepKind::Limit, || {
        format!("{most:.0} W are enough for {ceiling} replicas of {each:.0} W")
    });
}

/// GPUs that are busy for so much of their time draw about what they can.
const WORKS_HARD: f64 = 0.8;
