use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::scenario::SimulationError;
use crate::time::{Picoseconds, from_seconds, picoseconds, seconds};

/// What the start of a replica takes, stage by stage; the time to provision a node is the pool's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdStart {
    /// From being asked for until it has a node, where one has room.
    pub schedule: Delay,
    /// Until its image is there; nothing on a node that has run a replica before.
    pub image: Delay,
    /// Until the weights are in the GPUs.
    pub weights: Delay,
    /// Until the engine serves: compilation, graphs, the probe.
    pub engine: Delay,
}

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delay {
    /// The same time always.
    Fixed(Duration),
    /// Log-normally distributed.
    LogNormal {
        /// Half are shorter.
        median: Duration,
        /// Nine of ten are shorter.
        p90: Duration,
    },
}

/// No single stage takes longer, whatever was drawn: a distribution's tail is no measurement.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The 90th percentile of the standard normal distribution.
const NORMAL_P90: f64 = 1.281_551_565_544_6;

impl ColdStart {
    /// `total`, always.
    #[must_use]
    pub const fn fixed(total: Duration) -> Self {
        const NONE: Delay = Delay::Fixed(Duration::ZERO);
        Self {
            schedule: NONE,
            image: NONE,
            weights: Delay::Fixed(total),
            engine: NONE,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SimulationError> {
        self.schedule.check("cold_start.schedule")?;
        self.image.check("cold_start.image")?;
        self.weights.check("cold_start.weights")?;
        self.engine.check("cold_start.engine")
    }
}

impl Delay {
    pub(crate) fn check(&self, key: &'static str) -> Result<(), SimulationError> {
        let fits = match *self {
            Self::Fixed(span) => span <= LONGEST,
            Self::LogNormal { median, p90 } => median > Duration::ZERO && median <= p90 && p90 <= LONGEST,
        };
        if fits {
            return Ok(());
        }
        Err(SimulationError::Scenario {
            key,
            value: format!("{self:?}"),
            allowed: "at most 24 h, with a median above 0 and at most p90",
        })
    }

    /// Draws one. It takes two numbers from `random` in any case, so that what else is drawn does not
    /// depend on the kind.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> Picoseconds {
        let (first, second): (f64, f64) = (random.random(), random.random());
        match *self {
            Self::Fixed(span) => picoseconds(span),
            Self::LogNormal { median, p90 } => {
                // Box and Muller; 1 - u is never 0.
                let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos();
                let (median, p90) = (seconds(picoseconds(median)), seconds(picoseconds(p90)));
                let deviation = (p90 / median).ln() / NORMAL_P90;
                from_seconds(median * (deviation * normal).exp()).min(picoseconds(LONGEST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn what_is_drawn_has_the_quantiles_that_were_asked_for() {
        let delay = Delay::LogNormal {
            median: Duration::from_secs(60),
            p90: Duration::from_secs(150),
        };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut drawn: Vec<f64> = (0..20_001).map(|_| seconds(delay.draw(&mut random))).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[10_000] / 60.0 - 1.0).abs() < 0.03, "{}", drawn[10_000]);
        assert!((drawn[18_000] / 150.0 - 1.0).abs() < 0.03, "{}", drawn[18_000]);
    }

    #[test]
    fn a_median_beyond_the_90th_percentile_is_refused() {
        let delay = Delay::LogNormal {
            median: Duration::from_secs(60),
            p90: Duration::from_secs(50),
        };
        assert!(delay.check("x").is_err());
    }
}
