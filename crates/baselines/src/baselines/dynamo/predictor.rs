use crate::autoregression::Autoregression;

/// `minimum_data_points` of the ARIMA predictor.
const ENOUGH: usize = 5;
/// Points that are kept until a first fit; it is made with the fifth unless the series stands still.
const MOST_POINTS: usize = 4096;

/// Which of its predictors (`core/load/predictors.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The last value.
    Constant,
    /// `pmdarima.auto_arima`, fitted once, then updated; here an autoregression whose order is chosen in
    /// the same place, see [`Autoregression`].
    Arima,
    /// A Kalman filter on a level and its trend.
    Kalman,
}

/// Predicts the next value of a series.
#[derive(Clone, Debug)]
pub(super) enum Predictor {
    Constant {
        last: Option<f64>,
    },
    Arima {
        /// All values until there is a model.
        points: Vec<f64>,
        model: Option<Box<Autoregression>>,
        /// Whether the model is of log(1 + x).
        logarithmic: bool,
        last: Option<f64>,
    },
    Kalman(Option<Kalman>),
}

impl Predictor {
    pub(super) const fn new(kind: Kind) -> Self {
        match kind {
            Kind::Constant => Self::Constant { last: None },
            Kind::Arima => Self::Arima {
                points: Vec::new(),
                model: None,
                logarithmic: false,
                last: None,
            },
            Kind::Kalman => Self::Kalman(None),
        }
    }

    /// `add_data_point`: zeros before the first other value are left out.
    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Constant { last } => {
                if value != 0.0 || last.is_some() {
                    *last = Some(value);
                }
            }
            Self::Arima {
                points,
                model,
                logarithmic,
                last,
            } => {
                if value == 0.0 && last.is_none() {
                    return;
                }
                let value = value.max(0.0);
                *last = Some(value);
                if let Some(model) = model {
                    model.observe(if *logarithmic { value.ln_1p() } else { value });
                } else if points.len() < MOST_POINTS {
                    points.push(value);
                }
            }
            Self::Kalman(filter) => match filter {
                None if value == 0.0 => {}
                None => *filter = Some(Kalman::new(value)),
                Some(filter) => {
                    filter.predict();
                    filter.update(value);
                }
            },
        }
    }

    /// `predict_next`; 0 before anything was seen.
    pub(super) fn next(&mut self) -> f64 {
        match self {
            Self::Constant { last } => last.unwrap_or(0.0),
            Self::Arima {
                points,
                model,
                logarithmic,
                last,
            } => {
                let last = last.unwrap_or(0.0);
                if model.is_none() {
                    let moves = points.windows(2).any(|pair| (pair[1] - pair[0]).abs() > 0.0);
                    if points.len() < ENOUGH || !moves {
                        return last;
                    }
                    let raw = Autoregression::choose(points);
                    // A model without lags would only repeat: it is fitted again to the logarithms.
                    *logarithmic = raw.is_constant();
                    *model = Some(Box::new(if *logarithmic {
                        let logarithms: Vec<f64> = points.iter().map(|value| value.ln_1p()).collect();
                        Autoregression::choose(&logarithms)
                    } else {
                        raw
                    }));
                    points.clear();
                }
                let forecast = model
                    .as_ref()
                    .and_then(|model| model.forecast(1).first().copied());
                let next = forecast
                    .filter(|next| next.is_finite())
                    .map_or(last, |next| if *logarithmic { next.exp_m1() } else { next });
                next.max(0.0)
            }
            Self::Kalman(filter) => filter.as_ref().map_or(0.0, |filter| {
                let mut ahead = filter.clone();
                ahead.predict();
                ahead.level
            }),
        }
    }
}

/// A local linear trend.
#[derive(Clone, Debug)]
pub(super) struct Kalman {
    level: f64,
    trend: f64,
    /// Covariance: of the level, of both, of the trend.
    covariance: [f64; 3],
}

impl Kalman {
    /// `kalman_q_level`, `kalman_q_trend` and `kalman_r` of `config/defaults.py`: noise of level, trend and
    /// measurement. They are in the units of the series, so they smooth a small load more than a large one.
    const LEVEL_NOISE: f64 = 1.0;
    const TREND_NOISE: f64 = 0.1;
    const MEASUREMENT_NOISE: f64 = 10.0;

    const fn new(value: f64) -> Self {
        Self {
            level: value,
            trend: 0.0,
            covariance: [1000.0, 0.0, 1000.0],
        }
    }

    fn predict(&mut self) {
        self.level += self.trend;
        let [level, both, trend] = self.covariance;
        self.covariance = [
            level + 2.0 * both + trend + Self::LEVEL_NOISE,
            both + trend,
            trend + Self::TREND_NOISE,
        ];
    }

    fn update(&mut self, value: f64) {
        let [level, both, trend] = self.covariance;
        let total = level + Self::MEASUREMENT_NOISE;
        let (gain_level, gain_trend) = (level / total, both / total);
        let surprise = value - self.level;
        self.level += gain_level * surprise;
        self.trend += gain_trend * surprise;
        self.covariance = [
            (1.0 - gain_level) * level,
            (1.0 - gain_level) * both,
            trend - gain_trend * both,
        ];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kind: Kind, values: impl IntoIterator<Item = f64>) -> f64 {
        let mut predictor = Predictor::new(kind);
        let mut next = 0.0;
        for value in values {
            predictor.add(value);
            next = predictor.next();
        }
        next
    }

    #[test]
    fn nothing_is_predicted_from_nothing_and_leading_zeros_are_nothing() {
        for kind in [Kind::Constant, Kind::Arima, Kind::Kalman] {
            assert!(after(kind, [0.0, 0.0, 0.0]).abs() < 1e-12, "{kind:?}");
            assert!((after(kind, [0.0, 0.0, 7.0]) - 7.0).abs() < 1e-9, "{kind:?}");
        }
    }

    /// "pmdarima will predict 0 for constant data, we need to correct its prediction".
    #[test]
    fn a_constant_load_is_predicted_as_it_is() {
        for kind in [Kind::Constant, Kind::Arima, Kind::Kalman] {
            assert!((after(kind, [50.0; 30]) - 50.0).abs() < 1e-6, "{kind:?}");
        }
    }

    #[test]
    fn kalman_follows_a_ramp_ahead_of_the_last_value() {
        let next = after(Kind::Kalman, (1..100).map(|step| 10.0 * f64::from(step)));
        assert!((995.0..1005.0).contains(&next), "{next}");
        let constant = after(Kind::Constant, (1..100).map(|step| 10.0 * f64::from(step)));
        assert!((constant - 990.0).abs() < 1e-9);
    }

    #[test]
    fn arima_never_predicts_below_nothing_or_what_is_no_number() {
        let falling = after(Kind::Arima, (0..20).map(|step| f64::from(40 - 2 * step).max(0.0)));
        assert!((0.0..5.0).contains(&falling), "{falling}");
        let spiky = (0..500).map(|step| if step % 37 == 0 { 1e6 } else { f64::from(step % 5) });
        let next = after(Kind::Arima, spiky);
        assert!(next.is_finite() && next >= 0.0, "{next}");
    }
}
