use std::time::Duration;

use rheostat_reading::Ratio;
use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::cold_start::ColdStart;
use crate::decision::{Decision, Figures, Outcome, StepKind};
use crate::demand::Demand;
use crate::intent::{Intent, Objective};
use crate::learned::Learned;
use crate::ledger::Ledger;
use crate::limits::{Bounded, bind};
use crate::mind::Mind;
use crate::moment::{Moment, STEP};
use crate::objective::replica;
use crate::observation::Observation;
use crate::steps::{hold_while_overdue, hold_without_pods};

/// Decides how many replicas a workload needs. A plain value: it can be saved, restored and replayed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizer {
    capacity: Capacity,
    cold_start: ColdStart,
    demand: Demand,
    ledger: Ledger,
    mind: Option<Mind>,
    /// What was learned by another and is taken over at the first step.
    inherited: Option<Box<Learned>>,
}

/// From a decision to a pod: KEDA's poll and the HPA's period.
const LAG: Duration = Duration::from_secs(20);

/// A pause that is longer is a gap: what came in it is not known, and nothing is learned from it.
const LONGEST_STEP: Duration = Duration::from_secs(30);

impl Sizer {
    /// Of a workload that has not been seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many replicas there are to be. The same observations in the same order give the same decisions.
    ///
    /// It may be called as often as one likes; it looks anew every five seconds, and at once when the first request
    /// waits for a workload that is at zero. Limits bind on every call.
    pub fn decide(&mut self, intent: &Intent, seen: &Observation) -> Decision {
        self.ledger.pass(seen.now, seen.replicas, &intent.replica);
        let due = self
            .mind
            .as_ref()
            .is_none_or(|mind| seen.now.since(mind.stepped) >= STEP || mind.is_woken(seen));
        let awake = seen.awake();
        if due {
            self.cold_start.learn(seen);
            self.step(intent, &awake, seen.asleep_count());
        }
        self.conclude(intent, &awake, seen)
    }

    /// What is worth keeping over a restart.
    #[must_use]
    pub fn learned(&self) -> Learned {
        let mind = self.mind.as_ref();
        Learned {
            capacity: self.capacity.clone(),
            cold_start: self.cold_start.clone(),
            ledger: self.ledger.clone(),
            season: mind.map(|mind| mind.forecast.season().clone()),
            residuals: mind.map_or_else(Vec::new, |mind| mind.forecast.calibration().residuals().to_vec()),
            costs: mind.map_or_else(Vec::new, |mind| mind.rules.costs()),
            lateness: mind.map_or_else(Vec::new, |mind| mind.rules.lateness().seen().to_vec()),
            price: mind.map(|mind| mind.price),
            objective: mind.and_then(|mind| mind.objective),
        }
    }

    /// Takes over what another has learned of the same workload.
    pub fn adopt(&mut self, learned: Learned) {
        self.capacity = learned.capacity.clone();
        self.cold_start = learned.cold_start.clone();
        self.ledger = learned.ledger.clone();
        match &mut self.mind {
            Some(mind) => mind.adopt(learned),
            None => self.inherited = Some(Box::new(learned)),
        }
    }

    fn step(&mut self, intent: &Intent, seen: &Observation, asleep: u32) {
        let elapsed = self
            .mind
            .as_ref()
            .map_or(STEP, |mind| seen.now.since(mind.stepped));
        let gap = elapsed > LONGEST_STEP;
        if gap {
            self.demand = self.demand.after_a_gap();
        }
        // One that came early, for who waits at zero or by a clock, counts as a whole: means count looks, and what came
        // in a moment would be taken for what comes all the time.
        let seconds = elapsed.clamp(STEP, LONGEST_STEP).as_secs_f64();
        let found = self.demand.pass(seen, seconds, &intent.objective);
        let shape = &intent.replica;
        if !matches!(intent.objective, Objective::Utilization(_)) {
            self.capacity
                .learn(seen.now, shape.gpus, shape.parameters, seen.ready());
        }
        let inherited = &mut self.inherited;
        let mind = self.mind.get_or_insert_with(|| {
            let mut mind = Mind::new(seen);
            if let Some(learned) = inherited.take() {
                mind.adopt(*learned);
            }
            mind
        });
        mind.keep_to(&intent.objective, seen);
        mind.step += 1;
        mind.stepped = seen.now;
        let horizon = self.cold_start.expected(intent.cold_start, seen) + LAG;
        let replica = replica(&self.capacity, intent, seen, &found);
        let moment = Moment {
            now: seen.now,
            step: mind.step,
            seconds,
            horizon,
            asleep,
        };
        let wanted = mind.look(intent, seen, &found, replica, moment, gap);
        mind.last = Some(wanted);
    }

    /// From what the last step came to, of the pods that are `awake`, to a decision about `all`.
    fn conclude(&self, intent: &Intent, seen: &Observation, all: &Observation) -> Decision {
        let now = seen.now;
        let Some((mind, wanted)) = self
            .mind
            .as_ref()
            .and_then(|mind| Some((mind, mind.last.as_ref()?)))
        else {
            // Not reached: a step precedes it. What is there stays.
            return Decision {
                at: now,
                replicas: seen.replicas,
                active: true,
                outcome: Outcome::Unknown {
                    reason: "nothing was seen yet".to_owned(),
                },
                steps: Vec::new(),
                figures: Figures::default(),
            };
        };
        let mut bounded = Bounded {
            replicas: wanted.replicas,
            steps: wanted.steps.clone(),
        };
        if wanted.unknown.is_some() {
            bounded.at_least(seen.replicas, StepKind::Evidence, || {
                "what is not known takes nothing away".to_owned()
            });
        } else if wanted.partial {
            bounded.at_least(seen.replicas, StepKind::Evidence, || {
                "some pods are not known, or have just been replaced: nothing is taken away".to_owned()
            });
        }
        let overdue = self.cold_start.overdue(intent.cold_start, seen).count();
        hold_while_overdue(&mut bounded, seen, overdue);
        let start = self.cold_start.expected(intent.cold_start, seen);
        hold_without_pods(&mut bounded, seen, self.ledger.range(seen.now, start));
        let asleep = all.asleep_count();
        let mut active = if all.replicas > 0 && (wanted.unknown.is_some() || wanted.partial) {
            // What is not known is not idle. At zero there is nothing that could be known but who waits.
            true
        } else {
            mind.zero(intent, seen, asleep, &mut bounded)
        };
        if asleep > 0 {
            let with = bounded.replicas.saturating_add(asleep);
            bounded.to(with, StepKind::Keep, || {
                format!("{asleep} sleep, and are kept beside those that serve")
            });
        }
        let seen = all;
        if !active {
            // KEDA takes all that is not active. What a floor, a rate or a blackout keeps of nothing is to stay.
            let mut nothing = bounded.clone();
            nothing.to(0, StepKind::Zero, || "nothing is needed".to_owned());
            self.limit(&mut nothing, intent, seen);
            active = nothing.replicas > intent.min_replicas;
        }
        let mut figures = wanted.figures;
        figures.budget_left = self.limit(&mut bounded, intent, seen);
        let outcome = match &wanted.unknown {
            _ if seen.replicas == 0 && bounded.replicas == 0 => Outcome::AtZero,
            Some(reason) if seen.replicas > 0 => Outcome::Unknown {
                reason: reason.clone(),
            },
            _ => Outcome::Known,
        };
        Decision {
            at: now,
            replicas: bounded.replicas,
            active: active && bounded.replicas > 0,
            outcome,
            steps: bounded.steps,
            figures,
        }
    }

    /// Keeps to the limits, and tells what is left of the tightest budget.
    fn limit(&self, bounded: &mut Bounded, intent: &Intent, seen: &Observation) -> Option<Ratio> {
        let usual = self.capacity.usual_hardware().unwrap_or_default();
        let left = bind(bounded, intent, seen, &self.ledger, usual);
        if seen.schedule.frozen {
            bounded.to(seen.replicas, StepKind::Schedule, || {
                "a blackout of the schedule: the count stays as it is".to_owned()
            });
        }
        left
    }
}
