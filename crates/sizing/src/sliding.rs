use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The greatest value of the last so many steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlidingMax {
    steps: u64,
    /// Values that could still become the greatest, with their steps; falling.
    candidates: VecDeque<(u64, f64)>,
}

impl SlidingMax {
    /// Over `steps` steps, filled with `before`: what came before is not known to have been less.
    pub(crate) fn new(steps: u64, before: f64) -> Self {
        Self {
            steps: steps.max(1),
            candidates: VecDeque::from([(0, before)]),
        }
    }

    /// Takes the value of `step` and returns the greatest. Steps are numbered from 1 and only grow.
    pub(crate) fn push(&mut self, step: u64, value: f64) -> f64 {
        while self.candidates.back().is_some_and(|(_, last)| *last <= value) {
            self.candidates.pop_back();
        }
        self.candidates.push_back((step, value));
        while self
            .candidates
            .front()
            .is_some_and(|(at, _)| at + self.steps <= step)
        {
            self.candidates.pop_front();
        }
        self.greatest()
    }

    /// The greatest now.
    pub(crate) fn greatest(&self) -> f64 {
        self.candidates.front().map_or(0.0, |(_, value)| *value)
    }

    /// Over so many steps from now on; what is gone stays gone.
    pub(crate) fn resize(&mut self, steps: u64) {
        self.steps = steps.max(1);
    }
}

/// The mean of the last so many steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlidingMean {
    values: VecDeque<f64>,
    steps: usize,
    sum: f64,
}

impl SlidingMean {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            values: VecDeque::new(),
            steps: steps.max(1),
            sum: 0.0,
        }
    }

    /// Takes a value and returns the mean.
    pub(crate) fn push(&mut self, value: f64) -> f64 {
        self.values.push_back(value);
        self.sum += value;
        if self.values.len() > self.steps
            && let Some(old) = self.values.pop_front()
        {
            self.sum -= old;
            // A sum that is carried on for months must not gather rounding errors.
            if old == 0.0 || self.sum < 0.0 {
                self.sum = self.values.iter().sum();
            }
        }
        self.mean()
    }

    /// Over so many steps from now on.
    pub(crate) fn resize(&mut self, steps: usize) {
        self.steps = steps.max(1);
        while self.values.len() > self.steps {
            self.values.pop_front();
        }
        self.sum = self.values.iter().sum();
    }

    /// Whether as many steps were seen as it covers.
    pub(crate) fn is_full(&self) -> bool {
        self.values.len() >= self.steps
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.values.is_empty() {
            return 0.0;
        }
        self.sum.max(0.0) / self.values.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_greatest_is_that_of_the_window(values in proptest::collection::vec(0.0_f64..100.0, 1..80), steps in 1_u64..20) {
            let mut sliding = SlidingMax::new(steps, 0.0);
            for (place, value) in values.iter().enumerate() {
                let from = (place + 1).saturating_sub(usize::try_from(steps).unwrap());
                let wanted = values[from..=place].iter().copied().fold(0.0, f64::max);
                let found = sliding.push(place as u64 + 1, *value);
                prop_assert!((found - wanted).abs() < 1e-12);
            }
        }

        #[test]
        fn the_mean_is_that_of_the_window(values in proptest::collection::vec(0.0_f64..100.0, 1..80), steps in 1_usize..20) {
            let mut sliding = SlidingMean::new(steps);
            for (place, value) in values.iter().enumerate() {
                let window = &values[(place + 1).saturating_sub(steps)..=place];
                let wanted = window.iter().sum::<f64>() / window.len() as f64;
                prop_assert!((sliding.push(*value) - wanted).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn what_came_before_counts_until_the_window_is_full() {
        let mut sliding = SlidingMax::new(3, 5.0);
        assert!((sliding.push(1, 1.0) - 5.0).abs() < 1e-12);
        assert!((sliding.push(2, 2.0) - 5.0).abs() < 1e-12);
        assert!((sliding.push(3, 1.0) - 2.0).abs() < 1e-12);
    }
}
