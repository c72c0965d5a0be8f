/// A quantile of a histogram, and how well its buckets tell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantile {
    /// The quantile, taken to lie in its bucket as if the bucket's observations were spread evenly
    /// over it, as Prometheus' `histogram_quantile` does. Of the last bucket, which has no end: where
    /// it begins.
    pub(crate) value: f64,
    /// Where its bucket begins and ends.
    pub(crate) bucket: (f64, f64),
}

impl Quantile {
    /// Of the observations of which `counts[i]` are at most `bounds[i]`; `None` where there are none,
    /// or no bound but infinity.
    pub(crate) fn of(part: f64, bounds: &[f64], counts: &[f64]) -> Option<Self> {
        let total = counts.iter().copied().fold(0.0, f64::max);
        let last = bounds.iter().copied().rev().find(|bound| bound.is_finite())?;
        if total <= 0.0 {
            return None;
        }
        let rank = part.clamp(0.0, 1.0) * total;
        let (mut lower, mut below) = (f64::NEG_INFINITY, 0.0);
        for (&upper, &count) in bounds.iter().zip(counts) {
            // A page is not written at one moment; a bucket can be a little behind a smaller one.
            let count = count.max(below);
            if count >= rank && count > below {
                // Nothing that is observed here is below zero.
                let start = if lower.is_finite() { lower } else { upper.min(0.0) };
                if upper.is_infinite() {
                    return Some(Self {
                        value: last,
                        bucket: (last, upper),
                    });
                }
                let value = start + (upper - start) * ((rank - below) / (count - below)).clamp(0.0, 1.0);
                return Some(Self {
                    value,
                    bucket: (start, upper),
                });
            }
            (lower, below) = (upper, count);
        }
        // The largest count stands before the last bucket only on a page that contradicts itself.
        None
    }

    /// Whether the bucket is too wide to tell the quantile: it has no end, it begins at nothing, or
    /// its end is more than 2.5 times its beginning (the widest step of the usual 1, 2.5, 5, 10).
    pub(crate) fn is_coarse(&self) -> bool {
        let (start, end) = self.bucket;
        end > start && (end.is_infinite() || start <= 0.0 || end > start * 2.5 * (1.0 + 1e-9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, f64::INFINITY];

    #[test]
    fn a_quantile_is_interpolated_in_its_bucket() {
        let found = Quantile::of(0.5, BOUNDS, &[0.0, 10.0, 30.0, 40.0, 40.0]).unwrap();
        assert!((found.value - 0.375).abs() < 1e-12);
        assert_eq!(found.bucket, (0.25, 0.5));
        assert!(!found.is_coarse());
        let found = Quantile::of(1.0, BOUNDS, &[0.0, 10.0, 30.0, 40.0, 40.0]).unwrap();
        assert!((found.value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_bucket_without_end_or_beginning_is_coarse() {
        let found = Quantile::of(0.99, BOUNDS, &[0.0, 0.0, 0.0, 0.0, 5.0]).unwrap();
        assert_eq!((found.value, found.bucket), (1.0, (1.0, f64::INFINITY)));
        assert!(found.is_coarse());
        let found = Quantile::of(0.5, BOUNDS, &[4.0, 4.0, 4.0, 4.0, 4.0]).unwrap();
        assert!((found.value - 0.05).abs() < 1e-12);
        assert!(found.is_coarse());
    }

    #[test]
    fn a_bucket_that_ends_at_zero_is_exact() {
        let found = Quantile::of(0.5, &[0.0, 0.1, f64::INFINITY], &[9.0, 10.0, 10.0]).unwrap();
        assert_eq!((found.value, found.bucket), (0.0, (0.0, 0.0)));
        assert!(!found.is_coarse());
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(Quantile::of(0.5, BOUNDS, &[0.0; 5]), None);
        assert_eq!(Quantile::of(0.5, &[], &[]), None);
        assert_eq!(Quantile::of(0.5, &[f64::INFINITY], &[3.0]), None);
    }
}
