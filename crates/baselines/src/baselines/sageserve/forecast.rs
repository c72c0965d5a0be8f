use std::time::Duration;

use crate::autoregression::Autoregression;
use crate::context::Context;
use crate::foresight::Bin;

/// `ARIMA(order=(3, 1, 2))` of `notebooks/arima_modelling_new_data.ipynb`, without its moving average.
const LAGS: usize = 3;
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Tokens of prompts that the coming minutes bring.
#[derive(Clone, Debug)]
pub(super) enum Forecast {
    /// From the minutes so far.
    Online(Box<Autoregression>),
    /// As in the notebook: the model is fitted to a whole trace, and gives its predictions for that very trace,
    /// each from the true minute before. Read an hour ahead, they know that hour.
    InSample(Vec<f64>),
}

impl Forecast {
    pub(super) fn online() -> Self {
        Self::Online(Box::new(Autoregression::new(LAGS, true)))
    }

    /// `None` without foresight.
    pub(super) fn in_sample(context: &Context) -> Option<Self> {
        let foresight = context.foresight.as_ref()?;
        let bins_each = (MINUTE.as_nanos() / foresight.width().as_nanos()).max(1) as usize;
        let minutes: Vec<f64> = foresight
            .bins()
            .chunks(bins_each)
            .map(|bins| {
                let mut sum = Bin::default();
                bins.iter().for_each(|bin| sum.add(*bin));
                sum.prompt_tokens
            })
            .collect();
        Some(Self::InSample(
            Autoregression::new(LAGS, true).in_sample(&minutes),
        ))
    }

    /// A minute has ended that brought `tokens`.
    pub(super) fn observe(&mut self, tokens: f64) {
        if let Self::Online(model) = self {
            model.observe(tokens);
        }
    }

    /// The next `minutes`, the first of which begins now, in the minute `now` of the trace.
    pub(super) fn next(&self, now: usize, minutes: usize) -> Vec<f64> {
        match self {
            Self::Online(model) => model.forecast(minutes),
            Self::InSample(all) => {
                let from = now.min(all.len());
                let to = (now + minutes).min(all.len());
                all[from..to].to_vec()
            }
        }
    }
}
