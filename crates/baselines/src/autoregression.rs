/// Most lags of a model; beyond five nobody's automatic choice goes (`pmdarima.auto_arima`: `max_p` 5).
pub(crate) const MOST_LAGS: usize = 5;

/// Above this the KPSS test takes a series for one that wanders, at 5 % (Kwiatkowski et al. 1992, table 1).
const KPSS_CRITICAL: f64 = 0.463;

/// An autoregressive model of a series, taken as it is or by its differences, fitted by least squares to
/// all that was seen.
///
/// It stands in for the ARIMA models of others. Left out are their moving-average terms: they need an
/// iterative fit, and an autoregression of a few more lags comes close to them (any invertible
/// moving average is one of infinitely many lags).
#[derive(Clone, Debug)]
pub(crate) struct Autoregression {
    lags: usize,
    differenced: bool,
    /// Values of late, newest last: one more than the lags, and one for the difference.
    recent: Vec<f64>,
    /// Sums for the normal equations: features by features, features by outcomes, outcomes by outcomes.
    gram: [[f64; MOST_LAGS + 1]; MOST_LAGS + 1],
    moments: [f64; MOST_LAGS + 1],
    squares: f64,
    rows: usize,
}

impl Autoregression {
    /// A model of `lags` lags (at most five), of the series or of its differences.
    pub(crate) fn new(lags: usize, differenced: bool) -> Self {
        Self {
            lags: lags.min(MOST_LAGS),
            differenced,
            recent: Vec::new(),
            gram: [[0.0; MOST_LAGS + 1]; MOST_LAGS + 1],
            moments: [0.0; MOST_LAGS + 1],
            squares: 0.0,
            rows: 0,
        }
    }

    /// The model with the smallest AIC for `series`; differenced where the KPSS test finds that it wanders.
    pub(crate) fn choose(series: &[f64]) -> Self {
        let differenced = wanders(series);
        let mut best: Option<(f64, Self)> = None;
        for lags in 0..=MOST_LAGS {
            let mut model = Self::new(lags, differenced);
            for value in series {
                model.observe(*value);
            }
            let Some(criterion) = model.akaike() else {
                break;
            };
            if best.as_ref().is_none_or(|(least, _)| criterion < *least) {
                best = Some((criterion, model));
            }
        }
        best.map_or_else(|| Self::new(0, differenced), |(_, model)| model)
    }

    /// Whether the model has no lags: it expects the mean, or no change.
    pub(crate) const fn is_constant(&self) -> bool {
        self.lags == 0
    }

    /// The next value of the series.
    pub(crate) fn observe(&mut self, value: f64) {
        self.remember(value);
        if let Some((features, outcome)) = self.row() {
            let count = self.lags + 1;
            for (row, left) in features.iter().take(count).enumerate() {
                for (column, right) in features.iter().take(count).enumerate() {
                    self.gram[row][column] += left * right;
                }
                self.moments[row] += left * outcome;
            }
            self.squares += outcome * outcome;
            self.rows += 1;
        }
    }

    /// The next `steps` values as expected; empty before anything was seen.
    pub(crate) fn forecast(&self, steps: usize) -> Vec<f64> {
        let Some(mut last) = self.recent.last().copied() else {
            return Vec::new();
        };
        let mut known = self.levels();
        let weights = self.weights();
        let mut expected = Vec::with_capacity(steps);
        for _ in 0..steps {
            let next = match weights {
                Some(weights) if known.len() >= self.lags => {
                    let mut next = weights[0];
                    for lag in 1..=self.lags {
                        next += weights[lag] * known[known.len() - lag];
                    }
                    next
                }
                // Too short to fit: no change.
                _ if self.differenced => 0.0,
                _ => last,
            };
            known.push(next);
            last = if self.differenced { last + next } else { next };
            expected.push(last);
        }
        expected
    }

    /// What the model, fitted to the whole of `series`, expects of each of its values from those before.
    pub(crate) fn in_sample(mut self, series: &[f64]) -> Vec<f64> {
        for value in series {
            self.observe(*value);
        }
        let mut expected = Vec::with_capacity(series.len());
        self.recent.clear();
        for value in series {
            expected.push(self.forecast(1).first().copied().unwrap_or(0.0));
            self.remember(*value);
        }
        expected
    }

    fn remember(&mut self, value: f64) {
        self.recent.push(value);
        let keep = self.lags + 2;
        if self.recent.len() > keep {
            self.recent.drain(..self.recent.len() - keep);
        }
    }

    /// What is modelled: the values, or their differences.
    fn levels(&self) -> Vec<f64> {
        if self.differenced {
            self.recent.windows(2).map(|pair| pair[1] - pair[0]).collect()
        } else {
            self.recent.clone()
        }
    }

    fn row(&self) -> Option<([f64; MOST_LAGS + 1], f64)> {
        let levels = self.levels();
        let count = levels.len();
        if count <= self.lags {
            return None;
        }
        // A drift fitted to a handful of differences would run away: those have no constant.
        let mut features = [0.0; MOST_LAGS + 1];
        features[0] = if self.differenced { 0.0 } else { 1.0 };
        for lag in 1..=self.lags {
            features[lag] = levels[count - 1 - lag];
        }
        Some((features, levels[count - 1]))
    }

    /// Least squares by elimination; `None` where there are fewer rows than weights.
    fn weights(&self) -> Option<[f64; MOST_LAGS + 1]> {
        let count = self.lags + 1;
        if self.rows < count {
            return None;
        }
        let mut gram = self.gram;
        let mut right = self.moments;
        for (index, row) in gram.iter_mut().enumerate().take(count) {
            // Keeps columns that hold nothing, or the same as another, from dividing by 0.
            row[index] += 1e-9 * (1.0 + row[index]);
        }
        for pivot in 0..count {
            let (upper, lower) = gram.split_at_mut(pivot + 1);
            let top = upper[pivot];
            for (offset, row) in lower.iter_mut().enumerate().take(count - pivot - 1) {
                let factor = row[pivot] / top[pivot];
                for (cell, above) in row.iter_mut().zip(&top).take(count).skip(pivot) {
                    *cell -= factor * above;
                }
                right[pivot + 1 + offset] -= factor * right[pivot];
            }
        }
        let mut weights = [0.0; MOST_LAGS + 1];
        for row in (0..count).rev() {
            let mut rest = right[row];
            for column in row + 1..count {
                rest -= gram[row][column] * weights[column];
            }
            weights[row] = rest / gram[row][row];
        }
        weights.iter().all(|weight| weight.is_finite()).then_some(weights)
    }

    /// Akaike's criterion; `None` where there is nothing left to judge the fit by.
    fn akaike(&self) -> Option<f64> {
        let weights = self.weights()?;
        if self.rows < self.lags + 2 {
            return None;
        }
        let explained: f64 = weights.iter().zip(&self.moments).map(|(a, b)| a * b).sum();
        let rows = self.rows as f64;
        let residual = ((self.squares - explained) / rows).max(1e-12 * (1.0 + self.squares / rows));
        Some(rows * residual.ln() + 2.0 * (self.lags as f64 + 2.0))
    }
}

/// The KPSS test for a level: whether sums of deviations from the mean grow as those of a random walk do.
fn wanders(series: &[f64]) -> bool {
    let count = series.len() as f64;
    if series.len() < 3 {
        return false;
    }
    let mean = series.iter().sum::<f64>() / count;
    let deviations: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let mut sum = 0.0;
    let mut squares = 0.0;
    for deviation in &deviations {
        sum += deviation;
        squares += sum * sum;
    }
    let lags = (4.0 * (count / 100.0).powf(0.25)) as usize;
    let covariance = |lag: usize| -> f64 {
        deviations
            .iter()
            .zip(deviations.iter().skip(lag))
            .map(|(a, b)| a * b)
            .sum::<f64>()
            / count
    };
    let mut variance = covariance(0);
    for lag in 1..=lags {
        let weight = 1.0 - lag as f64 / (lags as f64 + 1.0);
        variance += 2.0 * weight * covariance(lag);
    }
    variance > 0.0 && squares / (count * count * variance) > KPSS_CRITICAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(lags: usize, differenced: bool, series: impl IntoIterator<Item = f64>) -> Autoregression {
        let mut model = Autoregression::new(lags, differenced);
        for value in series {
            model.observe(value);
        }
        model
    }

    #[test]
    fn a_first_order_series_is_recovered() {
        // x(t) = 3 + 0.5 x(t-1), from 20: it goes to 6.
        let mut value = 20.0;
        let model = fitted(
            1,
            false,
            (0..30).map(|_| {
                value = 3.0 + 0.5 * value;
                value
            }),
        );
        let next = model.forecast(40);
        assert!((next[0] - (3.0 + 0.5 * value)).abs() < 1e-6, "{}", next[0]);
        assert!((next[39] - 6.0).abs() < 1e-3, "{}", next[39]);
    }

    #[test]
    fn a_ramp_goes_on_by_its_differences() {
        let model = fitted(1, true, (0..20).map(f64::from));
        let next = model.forecast(3);
        for (step, value) in next.iter().enumerate() {
            assert!((value - (20.0 + step as f64)).abs() < 1e-6, "{next:?}");
        }
    }

    #[test]
    fn a_ramp_wanders_and_noise_around_a_level_does_not() {
        let ramp: Vec<f64> = (0..50).map(f64::from).collect();
        assert!(wanders(&ramp));
        let level: Vec<f64> = (0..50).map(|i| f64::from((i * 7919) % 13)).collect();
        assert!(!wanders(&level));
    }

    #[test]
    fn the_order_is_chosen_by_what_it_explains() {
        let alternating: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 10.0 } else { 2.0 }).collect();
        let model = Autoregression::choose(&alternating);
        assert!(!model.is_constant());
        assert!((model.forecast(1)[0] - 10.0).abs() < 1e-3);
        let constant = Autoregression::choose(&[4.0; 10]);
        assert!((constant.forecast(1)[0] - 4.0).abs() < 1e-6);
    }

    #[test]
    fn in_sample_each_value_is_expected_from_those_before_it() {
        let series: Vec<f64> = (0..30).map(f64::from).collect();
        let expected = Autoregression::new(1, true).in_sample(&series);
        assert_eq!(expected.len(), 30);
        assert!(expected[0].abs() < 1e-12, "nothing is before the first");
        for (value, expected) in series.iter().zip(&expected).skip(3) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn little_is_known_from_little() {
        assert!(Autoregression::new(2, false).forecast(2).is_empty());
        assert_eq!(fitted(2, false, [5.0]).forecast(2), [5.0, 5.0]);
        assert_eq!(fitted(2, true, [5.0]).forecast(2), [5.0, 5.0]);
    }
}
