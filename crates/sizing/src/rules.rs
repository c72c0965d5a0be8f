use serde::{Deserialize, Serialize};

use crate::calibration::COVERAGES;
use crate::forecast::{Forecast, Predictor};
use crate::lateness::Lateness;
use crate::moment::{Moment, whole};
use crate::shadow::{Arrivals, Queue, Shadow};
use crate::sliding::SlidingMax;

/// Rules that say how many replicas there should be, and how each would have fared.
///
/// Each has a [`Shadow`]; what they say is averaged with weights that fall with what each would have cost,
/// lateness included (exponential weights over experts with full information).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// What each rule that follows asked for lately.
    kept: Vec<SlidingMax>,
    shadows: Vec<Shadow>,
    lateness: Lateness,
    /// The most replicas that what was seen so far can ask for.
    trusted: u32,
    /// Whether levels have a say.
    levels: bool,
}

/// A way to choose a replica count. Nothing in it is tuned: there is one of each, and what came tells which
/// of them was right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// What a predictor says with a margin, and for so many starts after it was needed.
    Follow {
        predictor: Predictor,
        margin: Margin,
        keep: u64,
    },
    /// Always the same.
    Level(u32),
}

/// What is laid on a forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Margin {
    /// So many times as much.
    Times(f64),
    /// As much as covers what comes in a part of the time: the place among the [`COVERAGES`].
    Covering(usize),
}

/// From "what is forecast is what comes" to four times as much, in steps that one replica in ten makes.
const MARGINS: [f64; 9] = [1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0];

/// How long replicas are kept, as multiples of a start: not at all, or for as long as a start is worth (the
/// break-even rule: to keep one for longer costs more than to start it again).
const KEEPS: [u64; 2] = [0, 1];

/// Fleets that stay as they are: what bursts need that come without a sign.
const LEVELS: [u32; 22] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 30, 35, 40, 50, 64,
];

/// How much dearer a rule must have been to count for a third: so many seconds of the whole fleet. Less makes
/// the choice hang on the last burst, more keeps bad rules in for longer.
const TEMPERATURE: f64 = 60.0;

/// Before anything was seen, each rule is taken to have been late for what comes in so many seconds, as far as
/// its margin would not have covered usual noise. More makes young workloads dear, less careless.
const DOUBTED: f64 = 20.0;

/// What is taken for usual noise: log-normal with a deviation of 0.3, of which a margin `m` leaves about
/// `1 / (1 + m^(1.7 / 0.3))` uncovered (the logistic approximation of the normal distribution).
const STEEPNESS: f64 = 1.7 / 0.3;

/// A peak lies above the mean by about so much already, with that noise.
const PEAK_MARGIN: f64 = 1.4;

/// Nothing is kept for longer than this only because its start was slow, in steps: half an hour.
const LONGEST_KEEP: u64 = 360;

/// What the rules say together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advice {
    /// Replicas, weighted over the rules.
    pub(crate) replicas: f64,
    /// The rule with the least cost.
    pub(crate) best: Rule,
    /// What it asks for.
    pub(crate) best_replicas: u32,
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
    /// Replicas that served it.
    pub(crate) ready: u32,
    /// Whether more waits than may.
    pub(crate) queued: bool,
    /// Whether requests are known, and not only how busy GPUs are.
    pub(crate) levels: bool,
    /// Whether it says anything of what rules are good for.
    pub(crate) counts: bool,
    /// Requests that engines tell the latencies of, and how many of them were late; `None` where they tell none.
    pub(crate) late: Option<(f64, f64)>,
    /// Requests per second over hours.
    pub(crate) usual_rate: f64,
}

impl Rule {
    /// All of them, in the order of their shadows.
    fn all() -> impl Iterator<Item = Self> {
        let follow = Forecast::predictors().flat_map(|predictor| {
            Margin::all().flat_map(move |margin| {
                KEEPS.iter().map(move |keep| Self::Follow {
                    predictor,
                    margin,
                    keep: *keep,
                })
            })
        });
        follow.chain(LEVELS.iter().map(|level| Self::Level(*level)))
    }

    /// The part of what comes that it is taken to be late for while nothing was seen, where `usual` is the
    /// demand of late.
    fn doubt(self, usual: f64) -> f64 {
        let margin = match self {
            Self::Level(level) => f64::from(level) / usual.max(1e-3),
            Self::Follow {
                margin: Margin::Covering(place),
                ..
            } => return COVERAGES.get(place).map_or(1.0, |coverage| 1.0 - coverage),
            Self::Follow {
                predictor: Predictor::Peak { .. },
                margin: Margin::Times(margin),
                ..
            } => margin * PEAK_MARGIN,
            Self::Follow {
                margin: Margin::Times(margin),
                ..
            } => margin,
        };
        1.0 / (1.0 + margin.powf(STEEPNESS))
    }
}

impl Margin {
    fn all() -> impl Iterator<Item = Self> {
        let times = MARGINS.iter().copied().map(Self::Times);
        times.chain((0..COVERAGES.len()).map(Self::Covering))
    }
}

impl Rules {
    pub(crate) fn new(replicas: u32) -> Self {
        let shadows = vec![Shadow::new(replicas); Rule::all().count()];
        Self {
            kept: vec![SlidingMax::new(1, f64::from(replicas)); shadows.len() - LEVELS.len()],
            shadows,
            lateness: Lateness::new(replicas),
            trusted: replicas,
            levels: true,
        }
    }

    /// What is known of lateness.
    pub(crate) const fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// What each rule has cost: replica-seconds and late requests.
    pub(crate) fn costs(&self) -> Vec<(f64, f64)> {
        let shadows = self.shadows.iter();
        shadows.map(|shadow| (shadow.paid, shadow.late)).collect()
    }

    /// Takes over what another's rules have cost, and what it has seen of lateness; what they ask for now stays.
    pub(crate) fn adopt(&mut self, costs: &[(f64, f64)], lateness: &[(f64, f64)]) {
        self.lateness.adopt(lateness);
        // It comes from where others may write: what no fleet can have cost is none of ours.
        let cost = |number: &f64| number.is_finite() && *number >= 0.0;
        let whole = costs.iter().all(|(paid, late)| cost(paid) && cost(late));
        if costs.len() == self.shadows.len() && whole {
            for (shadow, (paid, late)) in self.shadows.iter_mut().zip(costs) {
                (shadow.paid, shadow.late) = (*paid, *late);
            }
        }
    }

    /// Lets a step pass: what came in it, and what each rule asks for after it, within `bounds`.
    pub(crate) fn pass(&mut self, moment: Moment, came: Came, forecast: &Forecast, bounds: (u32, u32)) {
        let arrivals = Arrivals {
            seconds: moment.seconds,
            work: came.demand * moment.seconds,
            requests: came.rate * moment.seconds,
            patience: came.patience,
            keep: moment.keep(),
            counts: came.counts,
        };
        let (step, start) = (moment.step, moment.horizon_steps());
        let curve = self.lateness.pass(step, &arrivals, &came);
        let bounds = (bounds.0, bounds.1.max(bounds.0));
        let trusted = whole(forecast.trusted()).clamp(bounds.0, bounds.1);
        let queue = Queue {
            demand: forecast.felt(),
            most: bounds.1,
        };
        self.trusted = trusted;
        self.levels = came.levels;
        let values = forecast.values(moment.now, moment.horizon);
        let each = Margin::all().count() * KEEPS.len();
        for (place, (rule, shadow)) in Rule::all().zip(&mut self.shadows).enumerate() {
            let wanted = match (rule, self.kept.get_mut(place), values.get(place / each)) {
                (Rule::Follow { margin, keep, .. }, Some(kept), Some(value)) => {
                    let margin = match margin {
                        Margin::Times(margin) => margin,
                        Margin::Covering(coverage) => forecast.calibration().margin(place / each, coverage),
                    };
                    kept.resize(keep * start.min(LONGEST_KEEP));
                    whole(kept.push(step, (value * margin).ceil())).min(trusted)
                }
                (Rule::Level(level), ..) => level.min(trusted),
                (Rule::Follow { .. }, ..) => bounds.0,
            };
            shadow.pass(step, &arrivals, curve);
            shadow.follow(wanted.clamp(bounds.0, bounds.1), step, &arrivals, start, queue);
        }
    }

    /// What they say together where a late request costs `price` replica-seconds, `rate` come each second of
    /// late, and keep `usual` replicas busy.
    pub(crate) fn advice(&self, price: f64, rate: f64, usual: f64) -> Advice {
        let costs: Vec<f64> = Rule::all()
            .zip(&self.shadows)
            .map(|(rule, shadow)| shadow.paid + price * (shadow.late + DOUBTED * rate * rule.doubt(usual)))
            .collect();
        // Levels that nothing ever called for have no say, and none where only GPUs tell: that they were as busy as
        // they may be is no reason to keep as many for an hour.
        let say = |rule: Rule| match rule {
            Rule::Level(level) => level <= self.trusted && self.levels,
            Rule::Follow { .. } => true,
        };
        let places: Vec<usize> = Rule::all()
            .enumerate()
            .filter_map(|(place, rule)| say(rule).then_some(place))
            .collect();
        let best = places
            .iter()
            .copied()
            .min_by(|one, two| costs[*one].total_cmp(&costs[*two]))
            .unwrap_or(0);
        let advised = |place: usize| f64::from(self.shadows[place].advised());
        let mean = (0..costs.len()).map(advised).sum::<f64>() / costs.len() as f64;
        let scale = TEMPERATURE * mean.max(1.0);
        let (mut weights, mut replicas) = (0.0, 0.0);
        for place in places {
            let weight = ((costs[best] - costs[place]) / scale).exp();
            weights += weight;
            replicas += weight * advised(place);
        }
        Advice {
            replicas: replicas / weights,
            best: Rule::all().nth(best).unwrap_or(Rule::Level(0)),
            best_replicas: self.shadows[best].advised(),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Follow {
                predictor,
                margin,
                keep,
            } => {
                match margin {
                    Margin::Times(margin) => write!(out, "{margin} times {predictor}")?,
                    Margin::Covering(place) => {
                        let coverage = COVERAGES.get(*place).map_or(0.0, |coverage| 100.0 * coverage);
                        write!(out, "what {predictor} covers {coverage:.0} % of the time")?;
                    }
                }
                if *keep > 0 {
                    out.write_str(", kept for as long as a start takes")?;
                }
                Ok(())
            }
            Self::Level(level) => write!(out, "always {level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Arrivals = Arrivals {
        seconds: 5.0,
        work: 0.0,
        requests: 0.0,
        patience: 5.0,
        keep: 1.0,
        counts: true,
    };

    #[test]
    fn doubt_falls_with_the_margin_and_is_half_without_one() {
        let of = |margin| {
            Rule::Follow {
                predictor: Predictor::Trend,
                margin: Margin::Times(margin),
                keep: 0,
            }
            .doubt(2.0)
        };
        assert!((of(1.0) - 0.5).abs() < 1e-12);
        assert!(of(1.5) < 0.1 && of(2.0) < 0.02 && of(4.0) > 0.0);
        assert!((Rule::Level(4).doubt(2.0) - of(2.0)).abs() < 1e-12);
    }

    #[test]
    fn what_would_have_been_late_loses_to_what_would_have_been_in_time() {
        let mut rules = Rules::new(3);
        rules.trusted = 64;
        let place = |wanted| Rule::all().position(|rule| rule == Rule::Level(wanted)).unwrap();
        // Two replicas are late for a tenth, four for nobody; all others are far dearer.
        let costs: Vec<_> = (0..rules.costs().len()).map(|_| (1e9, 0.0)).collect();
        rules.adopt(&costs, &[]);
        for (level, late) in [(2, 360.0), (4, 0.0)] {
            let shadow = &mut rules.shadows[place(level)];
            (shadow.paid, shadow.late) = (f64::from(level) * 3600.0, late);
            shadow.follow(
                level,
                1,
                &IDLE,
                1,
                Queue {
                    demand: 0.0,
                    most: 64,
                },
            );
        }
        let cheap = rules.advice(0.1, 1.0, 1.0);
        assert_eq!((cheap.best, cheap.best_replicas), (Rule::Level(2), 2));
        assert!((cheap.replicas - 2.0).abs() < 1e-3, "{cheap:?}");
        let dear = rules.advice(100.0, 1.0, 1.0);
        assert_eq!((dear.best, dear.best_replicas), (Rule::Level(4), 4));
        assert!((dear.replicas - 4.0).abs() < 1e-3, "{dear:?}");
    }
}
