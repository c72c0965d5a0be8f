use crate::time::Picoseconds;

/// Iterations one after the other, each longer than the one before by the same time.
///
/// The k-th, from 0, takes `first + k * growth`; the first `n` of them take
/// `n * first + growth * n (n - 1) / 2`. All of it is in whole numbers, so that this is exactly what they
/// take one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// When the first begins.
    pub(crate) start: Picoseconds,
    /// What it takes.
    pub(crate) first: Picoseconds,
    pub(crate) growth: Picoseconds,
    /// How many there are, at least one.
    pub(crate) count: u64,
}

impl Span {
    pub(crate) const fn end(&self) -> Picoseconds {
        self.start + self.lasts(self.count)
    }

    /// What the first `count` take.
    pub(crate) const fn lasts(&self, count: u64) -> Picoseconds {
        let pairs = if count.is_multiple_of(2) {
            count / 2 * count.saturating_sub(1)
        } else {
            count * (count.saturating_sub(1) / 2)
        };
        count * self.first + self.growth * pairs
    }

    /// Ends with the iteration that runs at `now`, or that ends just then; with the first at the earliest.
    pub(crate) fn end_after(&mut self, now: Picoseconds) {
        if self.count > 1 {
            let over = self.over(now);
            let whole = self.start + self.lasts(over) == now;
            self.count = self.count.min((over + u64::from(!whole)).max(1));
        }
    }

    /// Takes away the iterations that are over at `now`, if there are any and they are not all.
    pub(crate) fn split(&mut self, now: Picoseconds) -> Option<Self> {
        let over = self.over(now).min(self.count - 1);
        if over == 0 {
            return None;
        }
        let done = Self { count: over, ..*self };
        self.start += done.lasts(over);
        self.first += self.growth * over;
        self.count -= over;
        Some(done)
    }

    /// Iterations that are over at `now`, were there any number of them.
    pub(crate) fn over(&self, now: Picoseconds) -> u64 {
        let time = now.saturating_sub(self.start);
        if time < self.first {
            return 0;
        }
        // The root of the closed form, in the form that loses nothing where the growth is small.
        let (growth, middle) = (self.growth as f64, self.first as f64 - self.growth as f64 / 2.0);
        let root = (middle * middle + 2.0 * growth * time as f64).sqrt();
        let mut over = (2.0 * time as f64 / (middle + root)) as u64;
        // Floats are off by a little at most; whole numbers decide.
        while self.lasts(over) > time {
            over -= 1;
        }
        while self.lasts(over + 1) <= time {
            over += 1;
        }
        over
    }

    /// Tells what the iterations take, in parts within which they differ by at most a thirtieth: when the
    /// part ends, its mean, how many.
    pub(crate) fn gaps(&self, mut tell: impl FnMut(Picoseconds, Picoseconds, u64)) {
        let mut rest = *self;
        while rest.count > 0 {
            let alike = (rest.first / 30).checked_div(rest.growth).unwrap_or(rest.count);
            let part = rest.count.min(alike + 1);
            let lasts = rest.lasts(part);
            rest.start += lasts;
            tell(rest.start, lasts / part, part);
            rest.first += rest.growth * part;
            rest.count -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_closed_form_is_the_sum(
            first in 1_u64..100_000_000_000,
            growth in 0_u64..50_000_000,
            count in 1_u64..3000,
            part in 0.0..1.2_f64,
        ) {
            let growth = growth.min(first);
            let span = Span { start: 17, first, growth, count };
            let mut ends = vec![17];
            for k in 0..count {
                ends.push(ends[k as usize] + first + k * growth);
            }
            prop_assert_eq!(span.end(), ends[count as usize]);
            let now = 17 + ((span.end() - 17) as f64 * part) as u64;
            let over = ends.iter().filter(|end| **end <= now).count() as u64 - 1;
            prop_assert_eq!(span.over(now).min(count), over);

            let mut rest = span;
            let done = rest.split(now);
            prop_assert_eq!(done.map_or(0, |done| done.count), over.min(count - 1));
            prop_assert_eq!(rest.end(), span.end());

            let mut cut = span;
            cut.end_after(now);
            let running = ends.iter().position(|end| *end >= now).unwrap_or(count as usize).max(1);
            prop_assert_eq!(cut.count, running as u64);

            let (mut iterations, mut time) = (0, 0);
            span.gaps(|end, mean, count| {
                iterations += count;
                time += mean * count;
                assert_eq!(end, ends[iterations as usize]);
            });
            prop_assert_eq!(iterations, count);
            prop_assert!(span.end() - 17 - time < count);
        }
    }
}
