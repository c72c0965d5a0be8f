use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number of events since the start.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// How often values of each size were seen since the start, in buckets with fixed upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: Box<[f64]>,
    /// One for each bound and one for what is above the last.
    buckets: Box<[AtomicU64]>,
    /// An `f64`, by its bits.
    sum: AtomicU64,
}

/// A [`Histogram`] as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds of all buckets but the last, which has none. Strictly rising, finite.
    pub bounds: Vec<f64>,
    /// Values in each bucket alone (not cumulative); one more than `bounds`.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

/// Bounds that make no histogram.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BoundsError {
    /// A bound is NaN or infinite; the bucket up to infinity is always there.
    #[error("bucket bound {0} is not finite")]
    NotFinite(f64),
    /// A bound is not above the one before it.
    #[error("bucket bound {next} does not come after {previous}: bounds rise strictly")]
    NotRising {
        /// The bound before.
        previous: f64,
        /// The bound.
        next: f64,
    },
    /// The numbers of bounds and buckets do not fit.
    #[error("{bounds} bucket bounds make {} buckets, not {buckets}", bounds + 1)]
    Buckets {
        /// How many bounds there are.
        bounds: usize,
        /// How many buckets there are.
        buckets: usize,
    },
}

impl Counter {
    /// A counter that has counted nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one event.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `events` events.
    pub fn add(&self, events: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    /// How many have been counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// As [`Counter::get`], as the encoder takes it; exact up to 2^53.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.get() as f64
    }
}

impl Histogram {
    /// Buckets for times from half a millisecond to ten seconds, in seconds.
    pub const SECONDS: &'static [f64] = &[
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];

    /// A histogram with `bounds` as the upper bounds of its buckets and one bucket above them.
    pub fn new(bounds: &[f64]) -> Result<Self, BoundsError> {
        check_bounds(bounds)?;
        Ok(Self {
            bounds: bounds.into(),
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0f64.to_bits()),
        })
    }

    /// A histogram of times, with [`Histogram::SECONDS`].
    #[must_use]
    pub fn seconds() -> Self {
        Self {
            bounds: Self::SECONDS.into(),
            buckets: (0..=Self::SECONDS.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0f64.to_bits()),
        }
    }

    /// Counts `value`. NaN belongs to no bucket and would spoil the sum: it is not counted.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // The closure always gives a value, so that the update cannot fail.
        let _ = self
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                Some((f64::from_bits(bits) + value).to_bits())
            });
    }

    /// Counts a time, in seconds.
    pub fn observe_duration(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// What has been counted. The sum may lack values that are being counted at this moment.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            bounds: self.bounds.to_vec(),
            counts: self
                .buckets
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramSnapshot {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn check(&self) -> Result<(), BoundsError> {
        check_bounds(&self.bounds)?;
        if self.counts.len() == self.bounds.len() + 1 {
            Ok(())
        } else {
            Err(BoundsError::Buckets {
                bounds: self.bounds.len(),
                buckets: self.counts.len(),
            })
        }
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), BoundsError> {
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return Err(BoundsError::NotFinite(*bound));
    }
    match bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(BoundsError::NotRising {
            previous: pair[0],
            next: pair[1],
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let histogram = Histogram::new(&[1.0, 2.0]).unwrap();
        for value in [-3.0, 1.0, 1.5, 2.0, 2.000_001, f64::INFINITY] {
            histogram.observe(value);
        }
        assert_eq!(histogram.snapshot().counts, [2, 2, 2]);
        assert_eq!(histogram.snapshot().count(), 6);
    }

    #[test]
    fn nan_is_not_counted() {
        let histogram = Histogram::new(&[1.0]).unwrap();
        histogram.observe(f64::NAN);
        histogram.observe_duration(Duration::from_millis(250));
        assert_eq!(
            histogram.snapshot(),
            HistogramSnapshot {
                bounds: vec![1.0],
                counts: vec![1, 0],
                sum: 0.25
            }
        );
    }

    #[test]
    fn bounds_are_finite_and_rise() {
        assert_eq!(
            Histogram::new(&[1.0, 1.0]).err(),
            Some(BoundsError::NotRising {
                previous: 1.0,
                next: 1.0
            })
        );
        assert_eq!(
            Histogram::new(&[f64::INFINITY]).err(),
            Some(BoundsError::NotFinite(f64::INFINITY))
        );
        assert!(Histogram::new(Histogram::SECONDS).is_ok());
        assert!(Histogram::new(&[]).is_ok());
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let counter = Counter::new();
        let histogram = Histogram::new(&[0.5]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                        histogram.observe(1.0);
                    }
                });
            }
        });
        assert_eq!(counter.get(), 4000);
        assert_eq!(
            histogram.snapshot(),
            HistogramSnapshot {
                bounds: vec![0.5],
                counts: vec![0, 4000],
                sum: 4000.0
            }
        );
    }
}
