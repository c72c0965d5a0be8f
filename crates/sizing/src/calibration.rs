use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How far each predictor has been off, and the margins that follow: what came stayed below them in just the part
/// of the time that is asked for.
///
/// Conformal prediction: quantiles of what came over what was forecast, whatever its distribution (Vovk, Gammerman
/// and Shafer 2005), with weights that fade, so that they follow where it changes (Barber et al. 2023,
/// arXiv 2202.13415).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// What was forecast for steps that are still to come.
    pending: VecDeque<(u64, Vec<f64>)>,
    residuals: Vec<Residuals>,
}

/// How far one predictor has been off: weights by the logarithm of what came over what it had said.
pub(crate) type Residuals = Vec<f32>;

/// Parts of the time that a margin is to cover, rising.
pub(crate) const COVERAGES: [f64; 3] = [0.9, 0.97, 0.99];

/// Steps of a tenth, from a third of the forecast to twenty times as much: beyond, all is one.
const BINS: usize = 41;
const WIDTH: f64 = 0.1;
const LEAST: f64 = -1.1;

/// A forecast is kept, and judged, every so many steps: a minute. More often, and neighbours would say the same.
const EVERY: u64 = 12;

/// Samples fade over so many: two days of minutes. Longer, and last week's noise is what is covered.
const FADES: f64 = 2.0 * 24.0 * 60.0;

/// The usual noise before anything was seen: log-normal with this deviation, with the weight of so many samples.
/// Less, and a young workload is surprised by each burst; more, and an hour of calm counts for nothing.
const USUAL: f64 = 0.3;
const PRIOR: f64 = 12.0;

/// The longest that is forecast ahead, in samples: two hours. More would only come of a start that never ends.
const MOST_PENDING: usize = 120;

impl Calibration {
    pub(crate) fn new(predictors: usize) -> Self {
        let density = |bin: usize| (-0.5 * (middle(bin) / USUAL).powi(2)).exp();
        let all: f64 = (0..BINS).map(density).sum();
        let usual: Residuals = (0..BINS).map(|bin| (PRIOR * density(bin) / all) as f32).collect();
        Self {
            pending: VecDeque::new(),
            residuals: vec![usual; predictors],
        }
    }

    /// Takes what each predictor says in `step` of the demand `ahead` steps later, and what there is.
    pub(crate) fn pass(&mut self, step: u64, ahead: u64, values: &[f64], demand: f64) {
        while let Some((due, _)) = self.pending.front()
            && *due <= step
        {
            let Some((due, said)) = self.pending.pop_front() else {
                break;
            };
            // A pause lay between: what came when it was due is not known.
            if due < step {
                continue;
            }
            for (residuals, said) in self.residuals.iter_mut().zip(said) {
                let place = ((demand.max(1e-3) / said.max(1e-3)).ln() - LEAST) / WIDTH;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "not below 0, and saturates"
                )]
                let bin = (place.max(0.0) as usize).min(BINS - 1);
                for (place, weight) in residuals.iter_mut().enumerate() {
                    *weight *= (1.0 - 1.0 / FADES) as f32;
                    if place == bin {
                        *weight += 1.0;
                    }
                }
            }
        }
        if !step.is_multiple_of(EVERY) {
            return;
        }
        // Where starts have become shorter, what was forecast for longer ones would be in the way.
        let due = step.saturating_add(ahead);
        self.pending.retain(|(other, _)| *other < due);
        if self.pending.len() < MOST_PENDING {
            self.pending.push_back((due, values.to_vec()));
        }
    }

    /// How many times a predictor's value covers what comes in the part of the time that the coverage at `place` of
    /// [`COVERAGES`] names.
    pub(crate) fn margin(&self, predictor: usize, place: usize) -> f64 {
        let (Some(residuals), Some(coverage)) = (self.residuals.get(predictor), COVERAGES.get(place)) else {
            return 1.0;
        };
        let all: f64 = residuals.iter().map(|weight| f64::from(*weight)).sum();
        // The next sample counts too, and may be the greatest.
        let needed = coverage * (all + 1.0);
        let mut below = 0.0;
        for (bin, weight) in residuals.iter().enumerate() {
            let weight = f64::from(*weight);
            if below + weight >= needed {
                let inside = if weight > 0.0 {
                    (needed - below) / weight
                } else {
                    0.0
                };
                return (LEAST + (bin as f64 + inside) * WIDTH).exp();
            }
            below += weight;
        }
        (LEAST + BINS as f64 * WIDTH).exp()
    }

    /// What was learned, to be kept over a restart.
    pub(crate) fn residuals(&self) -> &[Residuals] {
        &self.residuals
    }

    /// Takes over what another has learned.
    pub(crate) fn adopt(&mut self, residuals: &[Residuals]) {
        // It comes from where others may write: what cannot have been learned is none of ours.
        let can_be = |weights: &Residuals| {
            let each = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
            weights.len() == BINS && each && weights.iter().any(|weight| *weight > 0.0)
        };
        if residuals.len() == self.residuals.len() && residuals.iter().all(can_be) {
            self.residuals = residuals.to_vec();
        }
    }
}

/// The logarithm in the middle of a bin.
fn middle(bin: usize) -> f64 {
    LEAST + (bin as f64 + 0.5) * WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between 0 and 1, the same each time, and as good as independent from one step to the next.
    fn chance(step: u64) -> f64 {
        let mut bits = step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn a_margin_covers_the_part_of_the_time_that_it_says_whatever_the_noise() {
        for spread in [0.0, 1.0, 8.0] {
            let mut calibration = Calibration::new(1);
            let (mut judged, mut missed) = (0.0, [0.0; COVERAGES.len()]);
            for step in 0..200_000_u64 {
                // All that is known is the least there may be.
                let demand = 2.0 * (1.0 + spread * chance(step).powi(3));
                if step > 50_000 {
                    judged += 1.0;
                    for (place, missed) in missed.iter_mut().enumerate() {
                        *missed += if demand > 2.0 * calibration.margin(0, place) {
                            1.0
                        } else {
                            0.0
                        };
                    }
                }
                calibration.pass(step, 20, &[2.0], demand);
            }
            for (missed, coverage) in missed.iter().zip(COVERAGES) {
                let covered = 1.0 - missed / judged;
                assert!(
                    covered > coverage - 0.3 * (1.0 - coverage),
                    "{covered} where {coverage} was asked for, with noise of {spread}"
                );
                assert!(
                    spread == 0.0 || covered < coverage + 0.7 * (1.0 - coverage),
                    "{covered} is far more than the {coverage} that were asked for, with noise of {spread}"
                );
            }
        }
    }

    #[test]
    fn only_what_came_when_a_forecast_was_due_judges_it() {
        let fresh = Calibration::new(1);
        let mut calibration = fresh.clone();
        calibration.pass(12, 10, &[1.0], 1.0);
        // The step that it was made for was not seen.
        calibration.pass(23, 10, &[1.0], 9.0);
        assert_eq!(calibration.residuals(), fresh.residuals());
        // What was made for a start of two hours does not hide that of a minute.
        calibration.pass(24, 1440, &[1.0], 1.0);
        calibration.pass(36, 12, &[1.0], 1.0);
        calibration.pass(48, 12, &[1.0], 9.0);
        assert_ne!(calibration.residuals(), fresh.residuals());
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_cannot_be_is_not_taken_over() {
        let mut calibration = Calibration::new(2);
        for step in 0..100_000 {
            calibration.pass(step, 1 << 40, &[1.0, 2.0], 1.0);
        }
        assert_eq!(calibration.pending.len(), MOST_PENDING);
        let fresh = Calibration::new(2);
        let mut pupil = fresh.clone();
        let weights = |weight: f32| vec![vec![weight; BINS]; 2];
        for residuals in [
            vec![],
            weights(-1.0),
            weights(0.0),
            weights(f32::NAN),
            vec![vec![1.0; 3]; 2],
            vec![vec![1.0; BINS]; 3],
        ] {
            pupil.adopt(&residuals);
            assert_eq!(pupil, fresh);
        }
        pupil.adopt(&weights(1.0));
        assert_eq!(pupil.residuals(), weights(1.0));
    }
}
