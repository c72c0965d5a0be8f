//! The cheapest plan that is found with the whole trace known: an upper bound on the optimum.
//!
//! It is simulated and scored as every policy is, so that what it spends can be spent. With the lower bound of
//! `rheostat_optimum` it tells how much of a policy's distance is for want of the future.

mod plan;

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rheostat_simulator::{Control, Scenario, simulate};
use rheostat_trace::Request;

use crate::backtest::Watch;
use crate::case::Case;
use crate::evaluate::{EvaluationError, run};
use crate::meter::Outcome;
use plan::{Plan, Planned, SLOT};

/// Its name in reports.
pub(crate) const CLAIRVOYANT: &str = "clairvoyant";

/// The first plans follow the load averaged over these times: a burst of seconds, and ever more of what is
/// around it; over all of the trace it is a static fleet.
const AVERAGES: [Duration; 6] = [
    SLOT,
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(1_000_000),
];

/// How often the first plans' margin is halved: the last step is 3 % of it.
const HALVINGS: u32 = 7;

/// First plans have from this much of what the load keeps busy to [`MOST_MARGIN`] of it.
const LEAST_MARGIN: f64 = 0.5;
const MOST_MARGIN: f64 = 16.0;

/// Parts of the trace that a try may change: short ones, which are simulated fast, and longer ones, in which
/// what is kept for long can go.
const PARTS: [Duration; 3] = [
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];

/// What is simulated after a part, so that a queue that a change leaves behind is seen.
const AFTERMATH: Duration = Duration::from_secs(180);

/// Tries in one part before the next.
const ROUND: usize = 40;

/// The whole is simulated after parts that are so many times as long as it.
const PARTS_PER_WHOLE: usize = 3;

/// By how much the price of lateness changes at most after each look at the whole. Faster, and it is gone before
/// the plan has followed.
const PRICE_STEP: f64 = 0.02;

/// The part of what may be late above which the price rises. Lower, and some of it would never be used.
const AIM: f64 = 0.97;

/// Replica-seconds that a change may cost on average: a slot. Without it, the search is caught in the first plan
/// that no single change makes cheaper; with much more, it forgets what it has found.
const HEAT: f64 = 5.0;

/// Looks at the whole without a cheaper plan after which the search goes on from the best one. Fewer, and it is
/// caught there; many more, and it wanders where nothing is found.
const ASTRAY: u32 = 40;

/// What came of the best plan for `case` that `tries` changes led to; more of them never lead to a dearer one.
/// `watch` is told of each run.
///
/// # Errors
///
/// It cannot be simulated, or `stop` was set before the end.
pub(crate) fn clairvoyant(
    case: &Case,
    tries: usize,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> Result<Outcome, EvaluationError> {
    let search = Search::new(case, watch, stop);
    let plan = search.best(tries)?;
    let control = Control::Direct(Box::new(Planned::new(plan.asked(0..plan.slots()))));
    run(case, CLAIRVOYANT, control, true, None)
}

/// What a plan costs over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spent {
    replica_seconds: f64,
    requests: u64,
    late: u64,
}

impl Spent {
    /// With `price` replica-seconds for each request that is late.
    fn with(self, price: f64) -> f64 {
        self.replica_seconds + price * self.late as f64
    }
}

/// The best so far.
struct Best {
    plan: Plan,
    spent: Spent,
    /// Looks at the whole since it was found, or since the search came back to it.
    looks: u32,
}

impl Best {
    const fn new(plan: Plan, spent: Spent) -> Self {
        Self {
            plan,
            spent,
            looks: 0,
        }
    }
}

struct Search<'a> {
    case: &'a Case,
    watch: &'a dyn Watch,
    stop: &'a AtomicBool,
    /// All slots of the trace.
    all: Range<usize>,
    /// The first that is scored: only what is after it is worth changing.
    scored: usize,
    allowed: RangeInclusive<u32>,
}

impl<'a> Search<'a> {
    fn new(case: &'a Case, watch: &'a dyn Watch, stop: &'a AtomicBool) -> Self {
        let Case {
            trace, conditions, ..
        } = case;
        Self {
            case,
            watch,
            stop,
            all: 0..slots(trace.until),
            scored: (trace.scored_from.as_nanos() / SLOT.as_nanos()) as usize,
            allowed: conditions.min_replicas..=conditions.max_replicas,
        }
    }

    /// The cheapest plan found that keeps the SLO; of none that does, the one that comes nearest.
    ///
    /// A change is kept where it costs no more than [`HEAT`] beyond what was, with a price for each request that
    /// is late, and no more are late than may be. The price rises while nearly as many are late as may be and
    /// falls while fewer are, so that lateness goes to where it saves most (Everett's Lagrange multipliers,
    /// Operations Research 11(3), 1963). The cheapest of all plans on the way counts.
    fn best(&self, tries: usize) -> Result<Plan, EvaluationError> {
        let mut best = self.first()?;
        let (mut plan, mut whole) = (best.plan.clone(), best.spent);
        let mut random = ChaCha8Rng::seed_from_u64(self.case.conditions.seed);
        let mut price = Self::first_price(whole);
        let mut simulated = 0;
        // Whole rounds, so that a longer search goes on where a shorter one ends.
        for _ in 0..tries.div_ceil(ROUND) {
            let part = self.part(&mut random);
            let around = self.around(&part, &plan);
            let mut now = self.spent(&plan, &around)?;
            for _ in 0..ROUND {
                let changed = plan.changed(&part, &self.allowed, &mut random);
                let heat = -HEAT * (1.0 - random.random::<f64>()).ln();
                if changed == plan {
                    continue;
                }
                let then = self.spent(&changed, &around)?;
                simulated += around.len();
                let late = (whole.late + then.late).saturating_sub(now.late);
                let may = then.late <= now.late || self.overdrawn(Spent { late, ..whole }) <= 1.0;
                if may && then.with(price) <= now.with(price) + heat {
                    whole.late = late;
                    (plan, now) = (changed, then);
                    if around == self.all {
                        self.keep(&mut best, &plan, now);
                    }
                }
            }
            if simulated >= PARTS_PER_WHOLE * self.all.len() {
                simulated = 0;
                whole = self.spent(&plan, &self.all)?;
                self.keep(&mut best, &plan, whole);
                best.looks += 1;
                if best.looks > ASTRAY {
                    best.looks = 0;
                    (plan, whole) = (best.plan.clone(), best.spent);
                }
                let off = (self.overdrawn(whole) - AIM) / (1.0 - AIM) / 3.0;
                price *= (PRICE_STEP * off.clamp(-1.0, 1.0)).exp();
            }
        }
        Ok(best.plan)
    }

    /// What follows the load in the cheapest way, of several ways.
    fn first(&self) -> Result<Best, EvaluationError> {
        let busy = self.case.busy(SLOT);
        let follow = |load: &[f64], margin: f64| {
            let counts = load.iter().map(|busy| self.allowed_of((busy * margin).ceil()));
            let plan = Plan::new(counts.collect(), self.case.conditions.cold_start);
            self.spent(&plan, &self.all).map(|spent| Best::new(plan, spent))
        };
        let mut best = follow(&busy, MOST_MARGIN)?;
        for average in AVERAGES {
            let load = averaged(&busy, slots(average));
            let (mut low, mut high) = (LEAST_MARGIN, MOST_MARGIN);
            for _ in 0..HALVINGS {
                let margin = (low * high).sqrt();
                let Best { plan, spent, .. } = follow(&load, margin)?;
                if self.kept(spent) {
                    high = margin;
                } else {
                    low = margin;
                }
                self.keep(&mut best, &plan, spent);
            }
        }
        Ok(best)
    }

    fn allowed_of(&self, count: f64) -> u32 {
        (count as u32).clamp(*self.allowed.start(), *self.allowed.end())
    }

    /// A late request at first costs several times what one costs on average.
    fn first_price(spent: Spent) -> f64 {
        8.0 * spent.replica_seconds / spent.requests.max(1) as f64
    }

    fn may_be_late(&self) -> f64 {
        1.0 - self.case.conditions.slo.attainment.0
    }

    /// How many are late for each that may be.
    fn overdrawn(&self, spent: Spent) -> f64 {
        spent.late as f64 / (spent.requests as f64 * self.may_be_late()).max(1.0)
    }

    fn kept(&self, spent: Spent) -> bool {
        let kept = (spent.requests - spent.late) as f64;
        spent.requests == 0 || kept / spent.requests as f64 >= self.case.conditions.slo.attainment.0
    }

    /// Remembers `plan`, which spends `spent` over the whole, if it is better.
    fn keep(&self, best: &mut Best, plan: &Plan, spent: Spent) {
        let better = match (self.kept(spent), self.kept(best.spent)) {
            (true, true) => spent.replica_seconds < best.spent.replica_seconds,
            (false, false) => spent.late < best.spent.late,
            (one, _) => one,
        };
        if better {
            *best = Best::new(plan.clone(), spent);
        }
    }

    /// A part of what is scored.
    fn part(&self, random: &mut ChaCha8Rng) -> Range<usize> {
        let scored = self.all.len() - self.scored;
        let length = slots(PARTS[random.random_range(0..PARTS.len())]).min(scored);
        let from = self.scored + random.random_range(0..=scored - length);
        from..from + length
    }

    /// What is simulated to judge a change within `part`: from before the first start that it may change until
    /// queues are gone. Where that is most of the trace, all of it, which is exact.
    fn around(&self, part: &Range<usize>, plan: &Plan) -> Range<usize> {
        let after = slots(AFTERMATH);
        let around =
            part.start.saturating_sub(2 * plan.start() + after)..(part.end + after).min(self.all.end);
        if around.len() * 2 > self.all.len() {
            return self.all.clone();
        }
        around
    }

    /// What `plan` spends over `slots`, which begin with all their replicas ready.
    fn spent(&self, plan: &Plan, slots: &Range<usize>) -> Result<Spent, EvaluationError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(EvaluationError::Stopped);
        }
        let Case { trace, scenario, .. } = self.case;
        let asked = plan.asked(slots.clone());
        let (from, until) = (
            SLOT * slots.start as u32,
            (SLOT * slots.end as u32).min(trace.until),
        );
        let warm = if slots.start == 0 { scenario.warm } else { asked[0] };
        let scenario = Scenario {
            warm,
            scored_from: trace.scored_from.saturating_sub(from),
            until: Some(until - from),
            ..scenario.clone()
        };
        let place = |at| trace.requests.partition_point(|request| request.at < at);
        let requests = &trace.requests[place(from)..place(until)];
        self.watch.ran(requests.len() as u64);
        let requests = requests.iter().map(|request| Request {
            at: request.at - from,
            ..*request
        });
        let control = Control::Direct(Box::new(Planned::new(asked)));
        let run = simulate(&scenario, requests, control, &mut ()).map_err(|source| {
            EvaluationError::Simulation {
                policy: CLAIRVOYANT.to_owned(),
                trace: trace.name.clone(),
                source,
            }
        })?;
        Ok(Spent {
            replica_seconds: run.replica_seconds.0,
            requests: run.requests,
            late: run.requests - run.kept,
        })
    }
}

/// How many slots `time` has.
fn slots(time: Duration) -> usize {
    time.as_nanos().div_ceil(SLOT.as_nanos()) as usize
}

/// The mean of each and `width - 1` around it; fewer at the ends.
fn averaged(load: &[f64], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    sums.extend(load.iter().scan(0.0, |sum, each| {
        *sum += each;
        Some(*sum)
    }));
    let mean = |place: usize| {
        let from = place.saturating_sub(width / 2);
        let to = (from + width).min(load.len());
        (sums[to] - sums[from]) / (to - from) as f64
    };
    (0..load.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rheostat_reading::Ratio;
    use rheostat_simulator::{EngineModel, Mode};
    use rheostat_sizing::Slo;

    use super::*;
    use crate::case::Conditions;
    use crate::trace_part::TracePart;

    struct Nobody;

    impl Watch for Nobody {
        fn ran(&self, _: u64) {}
        fn finished(&self, _: usize, _: usize, _: &str, _: &Case) {}
    }

    /// Ten minutes at three requests a second, with three minutes at twelve in the middle.
    fn case(attainment: f64) -> Case {
        let until = Duration::from_secs(600);
        let mut at = Duration::ZERO;
        let requests = std::iter::from_fn(|| {
            let busy = (200..380).contains(&at.as_secs());
            at += Duration::from_millis(if busy { 83 } else { 333 });
            Some(Request {
                at,
                prompt_tokens: 800,
                output_tokens: 200,
            })
        });
        let conditions = Conditions {
            engine: EngineModel::named("llama2-70b-a100-tp4").unwrap(),
            slo: Slo {
                ttft: Some(Duration::from_secs(5)),
                itl: Some(Duration::from_millis(200)),
                e2e: None,
                attainment: Ratio(attainment),
            },
            cold_start: Duration::from_secs(60),
            min_replicas: 1,
            max_replicas: 16,
            mode: Mode::Fluid,
            seed: 1,
        };
        let trace = TracePart::new("busy in between", requests, until).unwrap();
        Case::new(Arc::new(trace), conditions).unwrap()
    }

    fn planned(case: &Case, tries: usize) -> Outcome {
        clairvoyant(case, tries, &Nobody, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn it_keeps_the_slo_for_no_less_than_the_bound_and_more_tries_never_make_it_dearer() {
        let case = case(0.99);
        let mut last = f64::INFINITY;
        for tries in [0, 1, 100, 400] {
            let whole = planned(&case, tries).whole;
            assert!(whole.attainment() >= Ratio(0.99), "{tries}: {whole:?}");
            assert!(
                whole.gpu_hours <= last,
                "{tries}: {} after {last}",
                whole.gpu_hours
            );
            assert!(whole.gpu_hours >= case.optimum.gpu_hours, "{tries}: {whole:?}");
            last = whole.gpu_hours;
        }
        let first = planned(&case, 0).whole.gpu_hours;
        assert!(last < first, "the search found nothing: {last} of {first}");
    }

    #[test]
    fn the_same_seed_finds_the_same() {
        let case = case(0.9);
        assert_eq!(planned(&case, 80), planned(&case, 80));
    }

    #[test]
    fn what_nobody_can_keep_is_missed_by_as_little_as_was_found() {
        let mut case = case(0.99);
        case.conditions.max_replicas = 1;
        case.scenario.max_replicas = 1;
        case.scenario.warm = 1;
        let whole = planned(&case, 40).whole;
        assert!(whole.attainment() < Ratio(0.99), "{whole:?}");
        assert!(whole.kept > 0, "{whole:?}");
    }

    #[test]
    fn an_average_is_as_wide_as_it_says_and_narrower_at_the_ends() {
        assert_eq!(averaged(&[1.0, 2.0, 6.0], 1), [1.0, 2.0, 6.0]);
        assert_eq!(averaged(&[1.0, 2.0, 6.0, 1.0], 3), [3.0, 3.0, 3.0, 3.5]);
        assert_eq!(averaged(&[1.0, 3.0], 100), [2.0, 2.0]);
    }
}
