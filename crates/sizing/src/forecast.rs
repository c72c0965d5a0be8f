use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::residuals::Residuals;
use crate::season::Season;
use crate::sliding::{SlidingMax, SlidingMean};

/// Several cheap predictors of the demand at the time when a replica that is asked for now serves, each
/// with the record of how far it has been off.
///
/// No farther than that: what comes later can still be answered later (Lu and Chen, arXiv 1112.0442:
/// looking farther ahead than the start takes is worth nothing to the cost).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecast {
    levels: Vec<f64>,
    /// The demand over days.
    usual: f64,
    /// The highest demand of late, fading over a day.
    highest: f64,
    means: Vec<SlidingMean>,
    peaks: Vec<SlidingMax>,
    /// The greatest mean of a minute within the last start's time.
    needed: SlidingMax,
    /// The demand as queues feel it.
    felt: SlidingMean,
    season: Season,
    /// Requests per second of late.
    rate: f64,
    /// What was forecast in each of the steps that lie within the horizon, the oldest first.
    past: VecDeque<Past>,
    residuals: Vec<Residuals>,
    /// Seconds that were looked at.
    seen: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Past {
    step: u64,
    values: Vec<f64>,
    usual: f64,
    rate: f64,
}

/// A predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predictor {
    /// The demand of late, with older demand fading.
    Level { fades: u64 },
    /// The greatest mean over `mean` seconds of the last `within` seconds: bursts come in clusters.
    Peak { mean: u64, within: u64 },
    /// The level and how it has changed.
    Trend,
    /// The level and how it usually changes at this time of the day.
    Day,
    /// The same of the week.
    Week,
}

/// Seconds in which levels fade.
const LEVELS: [u64; 3] = [60, 300, 1200];
/// Seconds that means are taken over before their peaks are.
const MEANS: [u64; 3] = [20, 60, 180];
/// Seconds that peaks are remembered for.
const WITHIN: [u64; 4] = [300, 900, 1800, 3600];

/// What residuals remember, as the time in which they fade: two days, so that a night does not forget the
/// day, and a changed workload is followed within a few days.
const REMEMBERED: Duration = Duration::from_secs(2 * 24 * 3600);

/// Seconds over which queues even demand out.
const FELT: u64 = 20;

/// A sample weighs at most so many usual ones: a burst counts as the requests that it has, but the rate it is
/// compared with may have been next to nothing.
const MOST_WEIGHT: f64 = 3.0;

/// Seconds after the beginning in which nothing is forecast that is judged later: levels of a few seconds are
/// no levels.
const WARM_UP: f64 = 120.0;

/// No forecast is less than this, in replicas, or than this part of the usual demand: to next to nothing,
/// everything is a multiple, and one burst after a lull would make a thousand of the next lull.
const LEAST: f64 = 0.02;
const LEAST_PART: f64 = 0.3;

impl Forecast {
    pub(crate) fn new(step: Duration) -> Self {
        let steps = |seconds: u64| (seconds / step.as_secs().max(1)).max(1);
        let count = |seconds: u64| usize::try_from(steps(seconds)).unwrap_or(1);
        Self {
            levels: vec![0.0; LEVELS.len()],
            usual: 0.0,
            highest: 0.0,
            means: MEANS.iter().map(|mean| SlidingMean::new(count(*mean))).collect(),
            peaks: MEANS
                .iter()
                .flat_map(|_| WITHIN.iter().map(|within| SlidingMax::new(steps(*within), 0.0)))
                .collect(),
            needed: SlidingMax::new(1, 0.0),
            felt: SlidingMean::new(count(FELT)),
            season: Season::new(),
            rate: 0.0,
            past: VecDeque::new(),
            residuals: vec![Residuals::new(); Self::predictors().count() * LEVELS_OF_LOAD],
            seen: 0.0,
        }
    }

    /// The predictors, in the order of [`Self::values`].
    pub(crate) fn predictors() -> impl Iterator<Item = Predictor> {
        let levels = LEVELS.iter().map(|fades| Predictor::Level { fades: *fades });
        let peaks = MEANS.iter().flat_map(|mean| {
            WITHIN.iter().map(|within| Predictor::Peak {
                mean: *mean,
                within: *within,
            })
        });
        levels
            .chain(peaks)
            .chain([Predictor::Trend, Predictor::Day, Predictor::Week])
    }

    /// Takes the demand, in replicas, and the requests per second of one step, judges what was forecast for
    /// it, and forecasts anew.
    pub(crate) fn pass(&mut self, moment: Moment, demand: f64, rate: f64) {
        let felt = self.felt.push(demand);
        self.judge(moment, felt, rate);
        self.seen += moment.seconds;
        // A mean of all that was seen, while that is little.
        let part = |fades: f64| {
            (1.0 - (-moment.seconds / fades).exp())
                .max(moment.seconds / self.seen)
                .min(1.0)
        };
        for (level, fades) in self.levels.iter_mut().zip(LEVELS) {
            *level += part(fades as f64) * (demand - *level);
        }
        self.highest = f64::max(
            self.highest * (-moment.seconds / HIGHEST_FADES).exp(),
            self.means[0].mean(),
        );
        self.usual += part(REMEMBERED.as_secs_f64()) * (demand - self.usual);
        self.rate += part(RATE_FADES) * (rate - self.rate);
        for (place, mean) in self.means.iter_mut().enumerate() {
            let mean = mean.push(demand);
            for peak in &mut self.peaks[place * WITHIN.len()..(place + 1) * WITHIN.len()] {
                peak.push(moment.step, mean);
            }
        }
        self.needed.resize(moment.horizon_steps().min(LONGEST_NEEDED));
        self.needed.push(moment.step, self.means[1].mean());
        self.season.add(moment.now, demand);
        if self.seen >= WARM_UP {
            self.past.push_back(Past {
                step: moment.step,
                values: self.values(moment.now, moment.horizon),
                usual: self.usual,
                rate: self.rate,
            });
        }
    }

    /// Forecasts whose time has come meet what came.
    fn judge(&mut self, moment: Moment, felt: f64, rate: f64) {
        let keep = (-moment.seconds / REMEMBERED.as_secs_f64()).exp();
        let (step, horizon_steps) = (moment.step, moment.horizon_steps());
        while let Some(past) = self.past.front()
            && past.step + horizon_steps <= step
        {
            // Only the one that was made for this very step; after a pause the others have no counterpart.
            if past.step + horizon_steps == step {
                let weight = (rate / past.rate.max(1e-3)).min(MOST_WEIGHT);
                for (residuals, value) in self.residuals.chunks_mut(LEVELS_OF_LOAD).zip(&past.values) {
                    residuals[level_of_load(*value, past.usual)].add(*value, felt, weight, keep);
                }
            }
            self.past.pop_front();
        }
    }

    /// What each predictor says at `now` of the demand after `horizon`.
    pub(crate) fn values(&self, now: Timestamp, horizon: Duration) -> Vec<f64> {
        let level = self.levels[1];
        let ahead = horizon.as_secs_f64().min(TREND_AHEAD);
        // The levels lag behind by what they fade in; their difference over it is the slope.
        let slope = (self.levels[1] - self.levels[2]) / (LEVELS[2] - LEVELS[1]) as f64;
        let (day, week) = self.season.change(now, now.plus(horizon));
        let day = day.unwrap_or(1.0);
        self.levels
            .iter()
            .copied()
            .chain(self.peaks.iter().map(SlidingMax::greatest))
            .chain([
                level + slope * (ahead + LEVELS[1] as f64),
                self.levels[2] * day,
                self.levels[2] * week.unwrap_or(day),
            ])
            .map(|value| value.max(LEAST).max(LEAST_PART * self.usual))
            .collect()
    }

    /// How far the predictor `place` has been off when it said something like `value`.
    pub(crate) fn residuals(&self, place: usize, value: f64) -> &Residuals {
        &self.residuals[place * LEVELS_OF_LOAD + level_of_load(value, self.usual)]
    }

    /// What was learned of how far predictors are off.
    pub(crate) fn all_residuals(&self) -> &[Residuals] {
        &self.residuals
    }

    /// The most that a forecast is trusted for: what was seen of late and half as much, and a replica. A
    /// distribution of ratios has no end; what has been shown has.
    pub(crate) fn trusted(&self) -> f64 {
        TRUSTED * self.highest + 1.0
    }

    /// The most that a minute asked for within the time that a start takes, in replicas: what was needed so
    /// lately is worth keeping, since to start it again costs as much (the break-even rule).
    pub(crate) fn needed(&self) -> f64 {
        self.needed.greatest()
    }

    /// Takes over what another has learned; what it has just seen stays.
    pub(crate) fn adopt(&mut self, residuals: Vec<Residuals>, season: Season) {
        // It comes from where others may write: tables of another shape are none of ours.
        if residuals.len() == self.residuals.len() && residuals.iter().all(Residuals::is_whole) {
            self.residuals = residuals;
        }
        if season.is_whole() {
            self.season = season;
        }
    }

    pub(crate) const fn season(&self) -> &Season {
        &self.season
    }
}

/// What is forecast of a lull, of the usual, and of a burst is off in different ways: after a lull it can only
/// become more, after a burst less. Each has its own record (Mondrian conformal prediction).
const LEVELS_OF_LOAD: usize = 3;

fn level_of_load(value: f64, usual: f64) -> usize {
    let ratio = value / usual.max(LEAST);
    usize::from(ratio > LULL) + usize::from(ratio > BURST)
}

/// Up to this part of the usual demand is a lull …
const LULL: f64 = 0.7;
/// … and from so many times of it on, it is a burst.
const BURST: f64 = 2.0;

/// Nothing counts as needed for longer than this only because starts are slow, in steps: half an hour.
const LONGEST_NEEDED: u64 = 360;

/// The highest demand fades in so many seconds …
const HIGHEST_FADES: f64 = 24.0 * 3600.0;
/// … and is believed to be surpassed by so much. A workload that grows faster within one start is met by its
/// queue, and by the next look.
const TRUSTED: f64 = 1.5;

/// The rate of requests is followed in so many seconds.
const RATE_FADES: f64 = 1200.0;

/// A trend is carried on for no longer than this, in seconds.
const TREND_AHEAD: f64 = 900.0;

impl std::fmt::Display for Predictor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Level { fades } => write!(out, "the level of the last {fades} s"),
            Self::Peak { mean, within } => {
                write!(out, "the highest {mean} s of the last {} min", within / 60)
            }
            Self::Trend => out.write_str("the trend"),
            Self::Day => out.write_str("the time of the day"),
            Self::Week => out.write_str("the time of the week"),
        }
    }
}
