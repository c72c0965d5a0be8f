use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Residuals};
use crate::moment::Moment;
use crate::rules::Rule;
use crate::season::Season;
use crate::sliding::{SlidingMax, SlidingMean};

/// Several cheap predictors of the demand at the time when a replica that is asked for now serves.
///
/// No farther than that: what comes later can still be answered later (Lu and Chen, arXiv 1112.0442:
/// looking farther ahead than the start takes is worth nothing to the cost).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecast {
    levels: Vec<f64>,
    /// The highest demand of late, fading over a day.
    highest: f64,
    means: Vec<SlidingMean>,
    peaks: Vec<SlidingMax>,
    /// The greatest mean of a minute within the last start's time.
    needed: SlidingMax,
    season: Season,
    calibration: Calibration,
    /// Seconds that were looked at.
    seen: f64,
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

/// No forecast is less than this, in replicas: next to nothing is no size to multiply.
const LEAST: f64 = 0.02;

impl Forecast {
    pub(crate) fn new(step: Duration) -> Self {
        let steps = |seconds: u64| (seconds / step.as_secs().max(1)).max(1);
        let count = |seconds: u64| usize::try_from(steps(seconds)).unwrap_or(1);
        Self {
            levels: vec![0.0; LEVELS.len()],
            highest: 0.0,
            means: MEANS.iter().map(|mean| SlidingMean::new(count(*mean))).collect(),
            peaks: MEANS
                .iter()
                .flat_map(|_| WITHIN.iter().map(|within| SlidingMax::new(steps(*within), 0.0)))
                .collect(),
            needed: SlidingMax::new(1, 0.0),
            season: Season::new(),
            calibration: Calibration::new(Self::predictors().count()),
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

    /// Takes the demand of one step, in replicas.
    pub(crate) fn pass(&mut self, moment: Moment, demand: f64) {
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
        for (place, mean) in self.means.iter_mut().enumerate() {
            let mean = mean.push(demand);
            for peak in &mut self.peaks[place * WITHIN.len()..(place + 1) * WITHIN.len()] {
                peak.push(moment.step, mean);
            }
        }
        self.needed.resize(moment.horizon_steps().min(LONGEST_NEEDED));
        self.needed.push(moment.step, self.means[1].mean());
        self.season.add(moment.now, demand);
        let values = self.values(moment.now, moment.horizon);
        let felt = self.felt();
        self.calibration
            .pass(moment.step, moment.horizon_steps(), &values, felt);
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
            .map(|value| value.max(LEAST))
            .collect()
    }

    /// The demand after `horizon` that is not exceeded nine times of ten, by the predictor of `rule`; by the level of
    /// late where it has none.
    pub(crate) fn expected(&self, rule: Rule, now: Timestamp, horizon: Duration) -> f64 {
        let of = match rule {
            Rule::Level(_) => Predictor::Level { fades: LEVELS[1] },
            Rule::Follow { predictor, .. } => predictor,
        };
        Self::predictors()
            .zip(self.values(now, horizon))
            .enumerate()
            .find(|(_, (predictor, _))| *predictor == of)
            .map_or(0.0, |(place, (_, value))| {
                value * self.calibration.margin(place, 0)
            })
    }

    /// How far the predictors have been off.
    pub(crate) const fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The demand of the last minutes.
    pub(crate) fn level(&self) -> f64 {
        self.levels[LEVELS.len() - 1]
    }

    /// The demand as a queue feels it: of the last 20 s.
    pub(crate) fn felt(&self) -> f64 {
        self.means[0].mean()
    }

    /// The most that a forecast is trusted for: what was seen of late and half as much, and a replica. A
    /// margin knows no end; what has been shown does.
    pub(crate) fn trusted(&self) -> f64 {
        TRUSTED * self.highest + 1.0
    }

    /// The most that a minute asked for within the time that a start takes, in replicas: what was needed so
    /// lately is worth keeping, since to start it again costs as much (the break-even rule).
    pub(crate) fn needed(&self) -> f64 {
        self.needed.greatest()
    }

    /// Takes over what another has learned; what it has just seen stays.
    pub(crate) fn adopt(&mut self, season: Option<Season>, residuals: &[Residuals]) {
        self.calibration.adopt(residuals);
        // It comes from where others may write: tables of another shape are none of ours.
        if let Some(season) = season.filter(Season::is_whole) {
            self.season = season;
        }
    }

    pub(crate) const fn season(&self) -> &Season {
        &self.season
    }
}

/// Nothing counts as needed for longer than this only because starts are slow, in steps: half an hour.
const LONGEST_NEEDED: u64 = 360;

/// The highest demand fades in so many seconds. With an hour, bursts that come each forty minutes are news each
/// time …
const HIGHEST_FADES: f64 = 24.0 * 3600.0;
/// … and is believed to be surpassed by so much. A workload that grows faster within one start is met by its
/// queue, and by the next look.
const TRUSTED: f64 = 1.5;

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
