use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::Timestamp;

/// Values of late.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    length: Duration,
    values: VecDeque<(Timestamp, f64)>,
}

impl Window {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            values: VecDeque::new(),
        }
    }

    /// Adds a value and forgets those that are a whole length old.
    pub(crate) fn record(&mut self, now: Timestamp, value: f64) {
        self.values.push_back((now, value));
        while let Some((at, _)) = self.values.front()
            && now.since(*at) >= self.length
            && self.values.len() > 1
        {
            self.values.pop_front();
        }
    }

    /// Their mean; `None` without values.
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = self.values.len();
        (count > 0).then(|| self.values.iter().map(|(_, value)| value).sum::<f64>() / count as f64)
    }

    /// The largest; `None` without values.
    pub(crate) fn max(&self) -> Option<f64> {
        self.values.iter().map(|(_, value)| *value).reduce(f64::max)
    }
}
