use serde::{Deserialize, Serialize};

use crate::forecast::{Forecast, Predictor};
use crate::moment::Moment;
use crate::shadow::{Arrivals, Shadow};
use crate::sliding::SlidingMax;

/// Rules that say how many replicas there should be, and how each would have fared.
///
/// A rule is a predictor, a price for lateness, and how long a replica is kept that is not needed any more.
/// Each has a [`Shadow`]; what the rules say is combined with weights that fall with what each would have
/// cost so far, lateness included (exponential weights over experts with full information).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// What each predictor and price asked for lately, for each time of keeping.
    kept: Vec<SlidingMax>,
    shadows: Vec<Shadow>,
}

/// How rules price lateness beside the workload's price. What exceeds the replicas for a while is not late at
/// once: queues and slower tokens even it out, how much of it is seen only by the shadows. So rules reach from
/// one that takes every excess for late to one that takes nearly none.
const PRICES: [f64; 4] = [0.03, 0.1, 0.33, 1.0];

/// How long replicas are kept, as multiples of a cold start: not at all, or for as long as a start is worth
/// (the break-even rule: to keep one for longer costs more than to start it again).
const KEEPS: [u64; 2] = [0, 1];

/// Costs are compared over the last day or so, in seconds.
const COMPARED: f64 = 24.0 * 3600.0;

/// How much dearer a rule must have been to count for a third: so many seconds of the whole fleet. Less
/// makes the choice hang on the last burst, more keeps bad rules in for longer.
const TEMPERATURE: f64 = 60.0;

/// What the rules say together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advice {
    /// Replicas, weighted over the rules.
    pub(crate) replicas: f64,
    /// The predictor of the rule with the least cost.
    pub(crate) best: usize,
    /// What the best rule asks for.
    pub(crate) best_replicas: u32,
}

impl Rules {
    pub(crate) fn new(replicas: u32) -> Self {
        let rules = Forecast::predictors().count() * PRICES.len() * KEEPS.len();
        Self {
            kept: vec![SlidingMax::new(1, f64::from(replicas)); rules],
            shadows: vec![Shadow::new(replicas); rules],
        }
    }

    /// Takes over what another's rules have cost; what they ask for now stays.
    pub(crate) fn adopt(&mut self, other: Self) {
        if other.shadows.len() == self.shadows.len() {
            for (mine, theirs) in self.shadows.iter_mut().zip(other.shadows) {
                (mine.paid, mine.late) = (theirs.paid, theirs.late);
            }
        }
    }

    /// Lets a step pass: what came in it, and what each rule asks for after it. `price` is that of
    /// late work, as a multiple of what the work itself takes.
    pub(crate) fn pass(
        &mut self,
        moment: Moment,
        came: Came,
        forecast: &Forecast,
        price: f64,
        bounds: (u32, u32),
    ) {
        let arrivals = Arrivals {
            seconds: moment.seconds,
            work: came.demand * moment.seconds,
            requests: came.rate * moment.seconds,
            patience: came.patience,
            keep: (-moment.seconds / COMPARED).exp(),
        };
        let step = moment.step;
        let start = moment.horizon_steps();
        let values = forecast.values(moment.now, moment.horizon);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let trusted = forecast.trusted().ceil() as u32;
        let bounds = (bounds.0, trusted.clamp(bounds.0, bounds.1.max(bounds.0)));
        for (place, value) in values.iter().enumerate() {
            let residuals = forecast.residuals(place, *value);
            for (which, factor) in PRICES.iter().enumerate() {
                let wanted = residuals.newsvendor(*value, price * factor, bounds.0, bounds.1);
                for (keep, starts) in KEEPS.iter().enumerate() {
                    let rule = (place * PRICES.len() + which) * KEEPS.len() + keep;
                    let kept = &mut self.kept[rule];
                    kept.resize(starts * start.min(LONGEST_KEEP));
                    let wanted = kept.push(step, f64::from(wanted)) as u32;
                    let shadow = &mut self.shadows[rule];
                    shadow.pass(step, &arrivals);
                    shadow.ask(wanted.clamp(bounds.0, bounds.1), step, start);
                }
            }
        }
    }

    /// What they say together where a late request costs `price` replica-seconds.
    pub(crate) fn advice(&self, price: f64) -> Advice {
        let cost = |shadow: &Shadow| shadow.paid + price * shadow.late;
        let best = self
            .shadows
            .iter()
            .enumerate()
            .min_by(|one, two| cost(one.1).total_cmp(&cost(two.1)))
            .map_or(0, |(place, _)| place);
        let least = cost(&self.shadows[best]);
        let mean = self
            .shadows
            .iter()
            .map(|shadow| f64::from(shadow.asked()))
            .sum::<f64>()
            / self.shadows.len() as f64;
        let scale = TEMPERATURE * mean.max(1.0);
        let (mut weights, mut replicas) = (0.0, 0.0);
        for shadow in &self.shadows {
            let weight = ((least - cost(shadow)) / scale).exp();
            weights += weight;
            replicas += weight * f64::from(shadow.asked());
        }
        Advice {
            replicas: replicas / weights,
            best: best / (PRICES.len() * KEEPS.len()),
            best_replicas: self.shadows[best].asked(),
        }
    }
}

/// What came in one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    /// Replicas that it keeps busy.
    pub(crate) demand: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Seconds that it may wait.
    pub(crate) patience: f64,
}

/// Nothing is kept for longer than this only because its start was slow, in steps: half an hour.
const LONGEST_KEEP: u64 = 360;

impl Advice {
    pub(crate) fn predictor(&self) -> Predictor {
        Forecast::predictors().nth(self.best).unwrap_or(Predictor::Trend)
    }
}
