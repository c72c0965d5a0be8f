use rheostat_reading::Seconds;
use serde::{Deserialize, Serialize};

/// How often each latency occurred, in buckets that are 3 % wide, so that several can be added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u64)>", into = "Vec<(u32, u64)>")]
pub struct Distribution {
    /// Dense, beginning with bucket 0.
    counts: Vec<u64>,
}

/// Buckets of one doubling. Fewer would make quantiles coarser, and stored results unreadable for others.
const PER_DOUBLING: u32 = 32;
/// Bits of a mantissa below those that choose the bucket.
const SHIFT: u32 = 52 - PER_DOUBLING.ilog2();
/// What is shorter counts as this, seconds: no engine is as fast.
const SHORTEST: f64 = 1.0 / 16_384.0;
/// What is longer counts as this, seconds: 194 days.
const LONGEST: f64 = 16_777_216.0;

impl Distribution {
    /// Counts one more.
    pub fn add(&mut self, latency: Seconds) {
        let bucket = bucket(latency.0);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// Counts all of `other` too.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency that the part `part` (0 to 1) does not exceed, right to 1.6 %; `None` of nothing.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Seconds> {
        let count = self.count();
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, more) in self.counts.iter().enumerate() {
            below += more;
            if below >= rank {
                return Some(Seconds(f64::midpoint(lower(bucket), lower(bucket + 1))));
            }
        }
        None
    }

    /// Points of the cumulative distribution: latency, and the part that it does not exceed.
    pub fn cumulative(&self) -> impl Iterator<Item = (Seconds, f64)> {
        let all = self.count().max(1) as f64;
        let mut below = 0;
        let buckets = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        buckets.map(move |(bucket, count)| {
            below += count;
            (Seconds(lower(bucket + 1)), below as f64 / all)
        })
    }
}

/// The bucket of `seconds`: the exponent and the first bits of the mantissa, which are as they are on every
/// machine.
fn bucket(seconds: f64) -> usize {
    let seconds = if seconds > SHORTEST {
        seconds.min(LONGEST)
    } else {
        SHORTEST
    };
    ((seconds.to_bits() >> SHIFT) - (SHORTEST.to_bits() >> SHIFT)) as usize
}

/// Where `bucket` begins, seconds.
fn lower(bucket: usize) -> f64 {
    f64::from_bits((bucket as u64 + (SHORTEST.to_bits() >> SHIFT)) << SHIFT)
}

impl From<Vec<(u32, u64)>> for Distribution {
    fn from(pairs: Vec<(u32, u64)>) -> Self {
        let mut one = Self::default();
        let last = bucket(LONGEST);
        for (bucket, count) in pairs {
            let bucket = (bucket as usize).min(last);
            if bucket >= one.counts.len() {
                one.counts.resize(bucket + 1, 0);
            }
            one.counts[bucket] += count;
        }
        one
    }
}

impl From<Distribution> for Vec<(u32, u64)> {
    fn from(one: Distribution) -> Self {
        let counts = (0..).zip(one.counts);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_out_of_bounds_is_counted_at_the_bound() {
        let mut one = Distribution::default();
        for latency in [0.0, -1.0, f64::NAN, 1e-9, f64::INFINITY] {
            one.add(Seconds(latency));
        }
        assert_eq!(one.count(), 5);
        assert!(one.quantile(0.1).unwrap().0 < 1e-4 && one.quantile(1.0).unwrap().0 > 1e7);
    }

    proptest! {
        #[test]
        fn quantiles_are_near(mut latencies in prop::collection::vec(1e-4_f64..1e5, 1..200), part in 0.0_f64..1.0) {
            let mut one = Distribution::default();
            for latency in &latencies {
                one.add(Seconds(*latency));
            }
            latencies.sort_by(f64::total_cmp);
            let rank = ((part * latencies.len() as f64).ceil() as usize).max(1);
            let (exact, found) = (latencies[rank - 1], one.quantile(part).unwrap().0);
            prop_assert!((found / exact - 1.0).abs() < 0.017, "{} {}", found, exact);
        }

        #[test]
        fn the_sum_is_that_of_all(first in prop::collection::vec(0.0_f64..1e3, 0..50), second in prop::collection::vec(0.0_f64..1e3, 0..50)) {
            let of = |latencies: &[f64]| {
                let mut one = Distribution::default();
                for latency in latencies {
                    one.add(Seconds(*latency));
                }
                one
            };
            let mut sum = of(&first);
            sum.merge(&of(&second));
            prop_assert_eq!(&sum, &of(&[first, second].concat()));
            let text = serde_json::to_string(&sum).unwrap();
            prop_assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap().count(), sum.count());
        }
    }
}
