use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Timestamp};
use serde::{Deserialize, Serialize};

use crate::capacity::{ReplicaCapacity, slo_of};
use crate::decision::{Figures, StepKind};
use crate::demand::{Gone, IDLE, Seen};
use crate::forecast::Forecast;
use crate::intent::{Intent, Objective, Part};
use crate::learned::Learned;
use crate::limits::Bounded;
use crate::moment::{Moment, STEP, whole};
use crate::objective::{allowed, capacity_in_words, demand, patience, weight};
use crate::observation::Observation;
use crate::price::{Price, Requests};
use crate::queued_outside::QueuedOutside;
use crate::reluctance::Reluctance;
use crate::rules::{Advice, Came, Rules};
use crate::steps::{backlog, consolidate, keep_while_queued};

/// What begins with the first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mind {
    began: Timestamp,
    pub(crate) stepped: Timestamp,
    pub(crate) step: u64,
    pub(crate) forecast: Forecast,
    pub(crate) rules: Rules,
    pub(crate) price: Price,
    reluctance: Reluctance,
    /// Whether there have been enough replicas for the time of a start once. How a workload was switched on is
    /// nobody's merit and nobody's fault: until then, no cost and no lateness count.
    caught_up: bool,
    /// Since when there have been enough, until it has caught up.
    enough_since: Option<Timestamp>,
    /// When there was a request last.
    busy: Timestamp,
    /// What was to be kept so far: replicas, lateness and its price are told apart by it.
    #[serde(default)]
    pub(crate) objective: Option<Objective>,
    /// Replicas that were there at the beginning: what somebody thought right, until more is known.
    first: u32,
    pub(crate) last: Option<Wanted>,
}

/// What the last step came to, before the limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) replicas: u32,
    pub(crate) steps: Vec<crate::decision::Step>,
    pub(crate) figures: Figures,
    /// What is missing, where too little is known to conclude anything.
    pub(crate) unknown: Option<String>,
    /// Some of the ready pods are not known.
    pub(crate) partial: bool,
}

/// Ready pods that must be known for anything to be concluded.
const QUORUM: f64 = 0.5;

/// A workload that was only just met keeps its size for at least so long: what it is needed for is not
/// known yet.
const YOUNG: Duration = Duration::from_secs(600);

/// What had a request within so long is active, however soon all may go: KEDA asks every 30 s where nothing else is
/// set, and one that comes between two of its questions must be there to see at the next.
const QUIET: Duration = Duration::from_secs(60);

impl Mind {
    pub(crate) fn new(seen: &Observation) -> Self {
        Self {
            began: seen.now,
            stepped: seen.now,
            step: 0,
            forecast: Forecast::new(STEP),
            rules: Rules::new(seen.replicas),
            price: Price::new(),
            reluctance: Reluctance::default(),
            caught_up: false,
            enough_since: None,
            busy: seen.now,
            objective: None,
            first: seen.replicas,
            last: None,
        }
    }

    pub(crate) fn adopt(&mut self, learned: Learned) {
        // What another has learned of what was to be kept before says nothing of now.
        if let (Some(theirs), Some(ours)) = (learned.objective, self.objective)
            && theirs != ours
        {
            return;
        }
        self.objective = learned.objective.or(self.objective);
        self.forecast.adopt(learned.season, &learned.residuals);
        self.rules.adopt(&learned.costs, &learned.lateness);
        if let Some(price) = learned.price {
            self.price = price;
        }
    }

    /// Begins anew where another objective is to be kept from now on: what a replica can do within it is another thing,
    /// and so is who was late. What is there is kept meanwhile, as of a workload that was only just met.
    pub(crate) fn keep_to(&mut self, objective: &Objective, seen: &Observation) {
        match &self.objective {
            Some(before) if before == objective => {}
            // For another part of the same requests, the same is demanded of a replica.
            Some(Objective::Slo(before)) if matches!(objective, Objective::Slo(now) if now.is_like(before)) =>
            {
                self.price = Price::new();
            }
            Some(_) => {
                *self = Self {
                    busy: self.busy,
                    stepped: self.stepped,
                    last: self.last.take(),
                    ..Self::new(seen)
                };
            }
            None => {}
        }
        self.objective = Some(*objective);
    }

    /// One step: learns from what was seen, and says how many replicas that takes before any limit.
    pub(crate) fn look(
        &mut self,
        intent: &Intent,
        seen: &Observation,
        found: &Seen,
        replica: ReplicaCapacity,
        moment: Moment,
        gap: bool,
    ) -> Wanted {
        let Moment { horizon, seconds, .. } = moment;
        let demand = demand(intent, found, replica);
        let mut figures = Figures {
            cold_start: Some(horizon),
            attainment: self.price.attainment().map(Ratio),
            ..Figures::default()
        };
        let unknown = |reason: String, figures: Figures| Wanted {
            replicas: seen.replicas,
            steps: Vec::new(),
            figures,
            unknown: Some(reason),
            partial: true,
        };
        let works = match intent.objective {
            Objective::Utilization(_) => found.busy.is_some_and(|busy| busy > IDLE),
            Objective::Slo(_) | Objective::Concurrency(_) => false,
        };
        // At zero nothing can be taken away, and what is not known wakes nobody.
        let untold = match &seen.queued_outside {
            QueuedOutside::Unknown(reason) if seen.replicas + moment.asleep > 0 => Some(format!(
                "what waits in front of the workload is not known: {reason}"
            )),
            _ => (found.gone == Some(Gone::Unready))
                .then(|| "no pod is ready any more, and there was something to do when one was".to_owned()),
        };
        // What was there is gone with its pods; those that take their place may be asked for as much.
        let replaced = match found.gone {
            Some(Gone::For(seconds)) => seconds < horizon.max(QUIET).as_secs_f64(),
            Some(Gone::Unready) | None => false,
        };
        if found.in_flight > 0.0 || found.rate > 0.0 || works || untold.is_some() || replaced {
            self.busy = seen.now;
        }
        let Some(demand) = demand else {
            let what = match intent.objective {
                Objective::Utilization(_) => "none of the ready pods' GPUs tells how busy it is",
                _ => "none of the ready pods' engines tells how many requests it has",
            };
            return unknown(what.to_owned(), figures);
        };
        if f64::from(found.known) < QUORUM * f64::from(found.awaited) {
            let reason = format!("only {} of {} ready pods are known", found.known, found.ready);
            return unknown(reason, figures);
        }
        let allowed = allowed(intent, self.price.aim());
        let rate = weight(intent, found);
        let patience = patience(intent, found.lengths);
        // With nobody to serve them, requests are late that come.
        let told = if seen.replicas > 0 && found.ready == 0 {
            Some((rate * seconds, rate * seconds))
        } else {
            let kept = found.kept;
            kept.map(|(requests, kept)| (requests * seconds, requests * seconds * (1.0 - kept)))
        };
        let late = told.map_or_else(
            || {
                if demand > f64::from(found.ready) {
                    rate * seconds
                } else {
                    0.0
                }
            },
            |(_, late)| late,
        );
        let queued = found.waiting >= f64::from(found.ready);
        if !self.caught_up {
            let enough = found.ready > 0 && !queued && demand <= f64::from(found.ready);
            self.enough_since = self
                .enough_since
                .filter(|_| enough)
                .or_else(|| enough.then_some(seen.now));
            let held = self
                .enough_since
                .is_some_and(|since| seen.now.since(since) >= horizon);
            self.caught_up = held || !self.is_young(seen, horizon);
        }
        if !gap && self.caught_up {
            let came = Requests {
                all: rate.max(found.kept.map_or(0.0, |kept| kept.0)) * seconds,
                late,
                unavoidable: self.rules.lateness().unavoidable(),
            };
            self.price.pass(moment, demand, came, allowed);
        }
        if !gap {
            self.forecast.pass(moment, demand);
        }
        // Rules are held to what is kept anyway, or they would be blamed for what they had no part in; but for the
        // reserve, which is added to what they say, and for those that sleep.
        let last = u32::from(intent.scale_to_zero_after.is_none() && moment.asleep == 0);
        let least = intent
            .min_replicas
            .saturating_sub(moment.asleep)
            .max(self.kept_while_young(seen, horizon))
            .saturating_sub(intent.headroom)
            .max(last)
            .min(intent.max_replicas);
        if !gap {
            let came = Came {
                demand,
                rate,
                patience,
                ready: found.ready,
                queued,
                levels: !matches!(intent.objective, Objective::Utilization(_)),
                counts: self.caught_up,
                late: told,
                usual_rate: self.price.rate(),
            };
            self.rules
                .pass(moment, came, &self.forecast, (least, intent.max_replicas));
        }
        let advice = self.rules.advice(
            self.price.of_request(allowed),
            self.price.rate(),
            self.forecast.level(),
        );
        figures.in_flight = Some(Count(found.in_flight));
        figures.arrival_rate = Some(PerSecond(found.rate));
        figures.demand = Some(Count(demand));
        figures.expected_demand = Some(Count(self.forecast.expected(advice.best, seen.now, horizon)));
        if slo_of(&intent.objective).is_some() {
            figures.usable = Some(Ratio(replica.usable));
            figures.capacity = Some(PerSecond(replica.usable / replica.work));
            figures.confidence = Some(Ratio(replica.confidence));
        }
        // What is kept in reserve comes on top, and is not what the load needs.
        let there = seen.replicas.saturating_sub(intent.headroom);
        let size = self.reluctance.settle(moment, there, advice.replicas);
        let bounded = self.size(intent, seen, found, replica, (&advice, size), &figures);
        Wanted {
            replicas: bounded.replicas,
            unknown: untold,
            steps: bounded.steps,
            figures,
            partial: found.known < found.ready || replaced,
        }
    }

    /// Whether requests wait for a workload at zero for which none waited at the last look.
    pub(crate) fn is_woken(&self, seen: &Observation) -> bool {
        let before = self.last.as_ref().and_then(|last| last.figures.in_flight);
        seen.replicas == 0 && seen.queued_outside.is_any() && before.is_some_and(|count| count.0 <= 0.0)
    }

    fn is_young(&self, seen: &Observation, horizon: Duration) -> bool {
        seen.now.since(self.began) < YOUNG.max(2 * horizon)
    }

    /// Replicas that stay because somebody wanted them before the workload was met; 0 once it is known.
    fn kept_while_young(&self, seen: &Observation, horizon: Duration) -> u32 {
        if self.is_young(seen, horizon) {
            self.first
        } else {
            0
        }
    }

    /// From the advice to a replica count.
    fn size(
        &self,
        intent: &Intent,
        seen: &Observation,
        found: &Seen,
        replica: ReplicaCapacity,
        (advice, size): (&Advice, u32),
        figures: &Figures,
    ) -> Bounded {
        let there = seen.replicas.saturating_sub(intent.headroom);
        let horizon = figures.cold_start.unwrap_or_default();
        let demand = figures.demand.map_or(0.0, |count| count.0);
        let mut bounded = Bounded {
            replicas: seen.replicas,
            steps: Vec::new(),
        };
        bounded.note(
            StepKind::Demand,
            format!(
                "{:.1} requests in flight{}, {:.2} more each second: work for {demand:.2} replicas",
                found.in_flight,
                seen.queued_outside.part_in_words(),
                found.rate
            ),
        );
        if slo_of(&intent.objective).is_some() {
            bounded.note(StepKind::Capacity, capacity_in_words(replica, found));
        }
        bounded.note(
            StepKind::Forecast,
            format!(
                "in {:.0} s, when a replica asked for now serves: up to {:.2}, nine times of ten",
                horizon.as_secs_f64(),
                figures.expected_demand.map_or(0.0, |count| count.0)
            ),
        );
        bounded.to(size, StepKind::Size, || {
            format!(
                "{:.2} by the rules that would have cost least, lateness included (the best alone: {}, {})",
                advice.replicas, advice.best_replicas, advice.best
            )
        });
        backlog(&mut bounded, seen, found, replica, horizon, self.forecast.felt());
        let now = match intent.objective {
            // A rate is never that of one moment: what comes in bursts need not be served as fast as it comes.
            Objective::Slo(_) => 0.0,
            Objective::Concurrency(_) | Objective::Utilization(_) => demand,
        };
        consolidate(&mut bounded, there, seen, found, (self.forecast.needed(), now));
        if let (Some(role), Some(partner)) = (&intent.role, seen.partner)
            && let Some(ratio) = role.prefill_per_decode
        {
            let (replicas, of) = match role.part {
                Part::Prefill => (f64::from(partner) * ratio, "decode"),
                Part::Decode => (f64::from(partner) / ratio.max(1e-9), "prefill"),
            };
            let replicas = whole(replicas - 1e-9);
            bounded.at_least(replicas, StepKind::Size, || {
                format!("{partner} {of} replicas need {replicas} of these")
            });
        }
        if intent.headroom > 0 && bounded.replicas > 0 {
            let with = bounded.replicas.saturating_add(intent.headroom);
            bounded.to(with, StepKind::Headroom, || {
                format!("{} are kept in reserve", intent.headroom)
            });
        }
        let kept = self.kept_while_young(seen, horizon).min(seen.replicas);
        bounded.at_least(kept, StepKind::Keep, || {
            "only just met: what was there is kept until more is known".to_owned()
        });
        if self.price.is_missed(allowed(intent, self.price.aim())) {
            bounded.at_least(seen.replicas, StepKind::Keep, || {
                "more requests are late than is aimed at: nothing is taken away".to_owned()
            });
        }
        keep_while_queued(&mut bounded, seen, found);
        bounded
    }

    /// To zero and back; whether there is demand, or was not long enough ago. What is there stays until KEDA takes all
    /// of it: it waits for the rest of the time, its cooldown, and a request that comes meanwhile finds the replicas.
    /// Where some sleep, none need be awake.
    pub(crate) fn zero(
        &self,
        intent: &Intent,
        seen: &Observation,
        asleep: u32,
        bounded: &mut Bounded,
    ) -> bool {
        let idle = seen.now.since(self.busy);
        let queued = seen.queued_outside.is_any();
        if queued {
            bounded.at_least(1, StepKind::Zero, || {
                "requests wait in front of the workload".to_owned()
            });
            return true;
        }
        match intent.scale_to_zero_after {
            Some(_) if seen.replicas + asleep == 0 => {
                bounded.at_most(0, StepKind::Zero, || {
                    format!(
                        "at zero, and nobody asks{}",
                        seen.queued_outside.silence_in_words()
                    )
                });
                false
            }
            Some(after) if idle >= after.max(QUIET) && intent.min_replicas == 0 => {
                bounded.at_most(seen.replicas, StepKind::Zero, || {
                    format!(
                        "no request for {:.0} s{}: all may go",
                        idle.as_secs_f64(),
                        seen.queued_outside.silence_in_words()
                    )
                });
                false
            }
            _ if seen.replicas == 0 && asleep > 0 => {
                bounded.at_most(0, StepKind::Zero, || {
                    format!(
                        "all that are there sleep, and nobody asks{}",
                        seen.queued_outside.silence_in_words()
                    )
                });
                true
            }
            Some(_) => {
                bounded.at_least(1, StepKind::Zero, || "not idle for long enough".to_owned());
                true
            }
            None => {
                bounded.at_least(1, StepKind::Zero, || "the last replica is kept".to_owned());
                true
            }
        }
    }
}
