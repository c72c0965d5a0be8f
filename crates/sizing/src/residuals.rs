use serde::{Deserialize, Serialize};

/// How far a forecast has been off: the distribution of what came over what was forecast, on a logarithmic
/// scale, weighted by the requests that were concerned and forgotten over time.
///
/// From it comes the part of the requests that would find more demand than `n` replicas can take: quantiles
/// that are calibrated by what happened (as conformal prediction calibrates them), of any predictor, with no
/// assumption on a distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Residuals {
    /// Weights by logarithm of the ratio, growing with time instead of decaying: all are divided now and then.
    bins: Vec<f32>,
    /// Weight of a sample that is taken now.
    unit: f64,
}

const BINS: usize = 96;
/// Ratios from 1/55 to 55 are told apart; beyond, they count as that.
const LEAST_LOG: f64 = -4.0;
const WIDTH: f64 = 8.0 / BINS as f64;

/// Before anything is known: a demand that varies by half as usual (log-normal with this deviation) …
const PRIOR_DEVIATION: f64 = 0.4;
/// … with the weight of so many samples (5 s each). More keeps young workloads dear, less lets them be
/// surprised by their first burst.
const PRIOR_WEIGHT: f64 = 12.0;

impl Residuals {
    pub(crate) fn new() -> Self {
        let density = |bin: usize| {
            let log = LEAST_LOG + (bin as f64 + 0.5) * WIDTH;
            (-0.5 * (log / PRIOR_DEVIATION).powi(2)).exp()
        };
        let total: f64 = (0..BINS).map(density).sum();
        Self {
            bins: (0..BINS)
                .map(|bin| (density(bin) * PRIOR_WEIGHT / total) as f32)
                .collect(),
            unit: 1.0,
        }
    }

    /// Whether quantiles can be taken of it, which what was read from outside need not be.
    pub(crate) fn is_whole(&self) -> bool {
        self.bins.len() == BINS
            && self.unit > 0.0
            && self.bins.iter().all(|bin| *bin >= 0.0)
            && self.bins.iter().any(|bin| *bin > 0.0)
    }

    /// Takes what came for a forecast; older samples keep `keep` of their weight.
    pub(crate) fn add(&mut self, forecast: f64, came: f64, weight: f64, keep: f64) {
        self.unit /= keep;
        let log = (came.max(1e-3) / forecast).ln();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the bins"
        )]
        let bin = ((log - LEAST_LOG) / WIDTH).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[bin] += (self.unit * weight) as f32;
        if self.unit > 1e6 {
            for bin in &mut self.bins {
                *bin = (f64::from(*bin) / self.unit) as f32;
            }
            self.unit = 1.0;
        }
    }

    /// The whole number from `least` to `most` with the least `n + price·forecast·P(demand > n)`: the
    /// newsvendor's answer where too few cost `price` times what the forecast demand alone would take, since
    /// the more demand there is, the more of it is late.
    pub(crate) fn newsvendor(&self, forecast: f64, price: f64, least: u32, most: u32) -> u32 {
        let total: f64 = self.bins.iter().map(|bin| f64::from(*bin)).sum();
        let mut best = (f64::INFINITY, least);
        let mut beyond = total;
        let mut bin = 0;
        let mut n = least;
        loop {
            // Weight beyond n replicas, with the bin that n lies in taken in part.
            let place = ((f64::from(n).max(1e-9) / forecast).ln() - LEAST_LOG) / WIDTH;
            while bin < BINS && (bin + 1) as f64 <= place {
                beyond -= f64::from(self.bins[bin]);
                bin += 1;
            }
            let inside = if bin < BINS {
                (place - bin as f64).max(0.0) * f64::from(self.bins[bin])
            } else {
                0.0
            };
            let part = ((beyond - inside) / total).max(0.0);
            let cost = f64::from(n) + price * forecast * part;
            if cost < best.0 {
                best = (cost, n);
            }
            if bin >= BINS || f64::from(n) >= best.0 || n >= most {
                return best.1;
            }
            // Beyond a hundred replicas, steps of a percent.
            n = n.saturating_add((n / 100).max(1)).min(most);
        }
    }

    /// The quantile of the demand that the forecast lets expect.
    pub(crate) fn quantile(&self, forecast: f64, part: f64) -> f64 {
        let total: f64 = self.bins.iter().map(|bin| f64::from(*bin)).sum();
        let mut sum = 0.0;
        for (place, bin) in self.bins.iter().enumerate() {
            let weight = f64::from(*bin);
            if sum + weight >= part * total {
                let inside = if weight > 0.0 {
                    (part * total - sum) / weight
                } else {
                    1.0
                };
                return forecast * (LEAST_LOG + (place as f64 + inside) * WIDTH).exp();
            }
            sum += weight;
        }
        forecast * (LEAST_LOG + 8.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_what_came() {
        let mut residuals = Residuals::new();
        for sample in 0..20_000_u32 {
            let came = 1.0 + f64::from(sample * 7919 % 1000) / 1000.0;
            residuals.add(1.0, came, 1.0, 1.0);
        }
        for part in [0.1, 0.5, 0.9, 0.99] {
            let found = residuals.quantile(1.0, part);
            assert!((found / (1.0 + part) - 1.0).abs() < 0.05, "{part}: {found}");
        }
    }

    #[test]
    fn old_samples_are_forgotten() {
        let mut residuals = Residuals::new();
        for _ in 0..1000 {
            residuals.add(1.0, 8.0, 1.0, 0.99);
        }
        for _ in 0..1000 {
            residuals.add(1.0, 1.0, 1.0, 0.99);
        }
        assert!(residuals.quantile(1.0, 0.98) < 1.2);
    }

    proptest! {
        #[test]
        fn the_newsvendor_finds_the_least_cost(price in 0.1_f64..500.0, forecast in 0.1_f64..40.0, samples in proptest::collection::vec(0.1_f64..60.0, 1..60)) {
            let mut residuals = Residuals::new();
            for came in samples {
                residuals.add(forecast, came, 1.0, 0.999);
            }
            let found = residuals.newsvendor(forecast, price, 0, 90);
            let total: f64 = residuals.bins.iter().map(|bin| f64::from(*bin)).sum();
            let cost = |n: u32| {
                let place = ((f64::from(n).max(1e-9) / forecast).ln() - LEAST_LOG) / WIDTH;
                let beyond: f64 = residuals.bins.iter().enumerate().map(|(bin, weight)| {
                    f64::from(*weight) * (bin as f64 + 1.0 - place).clamp(0.0, 1.0)
                }).sum();
                f64::from(n) + price * forecast * beyond / total
            };
            let least = (0..=90).map(cost).fold(f64::INFINITY, f64::min);
            prop_assert!(cost(found) <= least + 1e-6, "{found}: {} instead of {least}", cost(found));
        }

        #[test]
        fn a_higher_price_or_forecast_never_takes_fewer(price in 0.1_f64..100.0, forecast in 0.1_f64..20.0) {
            let residuals = Residuals::new();
            let usual = residuals.newsvendor(forecast, price, 0, 1000);
            prop_assert!(residuals.newsvendor(forecast, price * 2.0, 0, 1000) >= usual);
            prop_assert!(residuals.newsvendor(forecast * 1.5, price, 0, 1000) >= usual);
        }
    }
}
