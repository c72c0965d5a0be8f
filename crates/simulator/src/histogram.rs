use rheostat_reading::Seconds;
use rheostat_sizing::Latency;

/// Times of any number of requests in 20 kB: each is known to 0.8 %, the mean exactly.
///
/// A bucket is an exponent of two and the first six bits of the fraction, taken from the float as it lies in
/// memory.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

/// Bits of the fraction that tell buckets apart.
const FRACTION: u32 = 6;
/// The first bucket begins at 2^-20 s, about a microsecond; what is shorter is in it.
const FIRST: u64 = (1023 - 20) << FRACTION;
/// The last ends at 2^24 s, more than half a year.
const BUCKETS: usize = 44 << FRACTION;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            sum: 0.0,
        }
    }

    /// `seconds` is at least 0.
    pub(crate) fn record(&mut self, seconds: f64) {
        let bucket = (seconds.to_bits() >> (52 - FRACTION)).saturating_sub(FIRST);
        let bucket = usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1));
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    pub(crate) fn latency(&self) -> Option<Latency> {
        let quantile = |part| Seconds(self.quantile(part));
        (self.count > 0).then(|| Latency {
            mean: Seconds(self.sum / self.count as f64),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
        })
    }

    /// The middle of the bucket in which the quantile lies.
    fn quantile(&self, part: f64) -> f64 {
        let rank = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                let edge = |bucket: usize| f64::from_bits((FIRST + bucket as u64) << (52 - FRACTION));
                let start = if bucket == 0 { 0.0 } else { edge(bucket) };
                return f64::midpoint(start, edge(bucket + 1));
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let mut histogram = Histogram::new();
        for millis in 1..=10_000 {
            histogram.record(f64::from(millis) / 1e3);
        }
        let latency = histogram.latency().unwrap();
        let near = |found: Seconds, wanted: f64| (found.0 / wanted - 1.0).abs() < 0.01;
        assert!(near(latency.p50, 5.0), "{latency:?}");
        assert!(near(latency.p90, 9.0) && near(latency.p99, 9.9), "{latency:?}");
        assert!((latency.mean.0 - 5.0005).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_latency_and_any_number_a_bucket() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.latency(), None);
        for seconds in [0.0, 1e-300, 1e300, f64::INFINITY] {
            histogram.record(seconds);
        }
        assert!(histogram.latency().unwrap().p50.0 < 1e-5);
    }
}
