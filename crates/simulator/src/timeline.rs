use std::time::Duration;

use crate::run::{Run, Sample};

/// Samples over any length of time, in bounded memory: when there are too many, each two become one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    samples: Vec<Sample>,
    /// How many of those that come are one sample.
    merged: u32,
    open: Option<(Sample, u32)>,
}

impl Timeline {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.merged = self.merged.max(1);
        let (open, parts) = match self.open.take() {
            Some((open, parts)) => (join(&open, &sample), parts + 1),
            None => (sample, 1),
        };
        if parts < self.merged {
            self.open = Some((open, parts));
            return;
        }
        self.samples.push(open);
        if self.samples.len() >= Run::MOST_SAMPLES {
            self.samples = self.samples.chunks(2).map(all).collect();
            self.merged *= 2;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Sample> {
        self.samples.extend(self.open.map(|(open, _)| open));
        self.samples
    }
}

fn all(samples: &[Sample]) -> Sample {
    samples
        .iter()
        .copied()
        .reduce(|first, second| join(&first, &second))
        .unwrap_or_default()
}

fn join(first: &Sample, second: &Sample) -> Sample {
    let weights = (first.lasting.as_secs_f64(), second.lasting.as_secs_f64());
    let mean = |first: f64, second: f64| {
        let both = weights.0 + weights.1;
        if both > 0.0 {
            (first * weights.0 + second * weights.1) / both
        } else {
            second
        }
    };
    let lasting: Duration = first.lasting + second.lasting;
    Sample {
        at: first.at,
        lasting,
        arrivals: first.arrivals + second.arrivals,
        in_flight: first.in_flight.max(second.in_flight),
        waiting: first.waiting.max(second.waiting),
        asked: rheostat_reading::Count(mean(first.asked.0, second.asked.0)),
        ready: rheostat_reading::Count(mean(first.ready.0, second.ready.0)),
        starting: rheostat_reading::Count(mean(first.starting.0, second.starting.0)),
    }
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Count;

    use super::*;

    #[test]
    fn any_number_of_samples_becomes_a_bounded_one_and_nothing_is_lost() {
        let mut timeline = Timeline::default();
        for second in 0..70_001_u32 {
            timeline.push(Sample {
                at: Duration::from_secs(second.into()),
                lasting: Duration::from_secs(1),
                arrivals: 2,
                waiting: u64::from(second == 12_345),
                ready: Count(f64::from(second)),
                ..Sample::default()
            });
        }
        let samples = timeline.finish();
        assert!((Run::MOST_SAMPLES / 2..=Run::MOST_SAMPLES).contains(&samples.len()));
        assert_eq!(samples.iter().map(|sample| sample.arrivals).sum::<u64>(), 140_002);
        assert_eq!(samples.iter().map(|sample| sample.waiting).max(), Some(1));
        let mut next = Duration::ZERO;
        for sample in &samples {
            assert_eq!(sample.at, next);
            next += sample.lasting;
            let middle = sample.at.as_secs_f64() + (sample.lasting.as_secs_f64() - 1.0) / 2.0;
            assert!((sample.ready.0 - middle).abs() < 1e-6, "{sample:?}");
        }
    }
}
