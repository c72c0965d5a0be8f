use serde::{Deserialize, Serialize};

/// What a late request is worth, learned from how well the objective is kept.
///
/// The cheapest plan that is late for at most a part 1-p of the requests is the one that is cheapest when
/// each late request costs a price, for the right price (Lagrange; the bound in the `optimum` crate is found
/// the same way). Here the price is found while it goes: it falls while fewer are late than may be, and
/// rises while more are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Price {
    /// Late requests, fading.
    late: f64,
    /// All requests, fading.
    requests: f64,
    /// Requests per second over hours.
    rate: f64,
    /// What the past says of the price's logarithm.
    learned: f64,
    seen: f64,
}

/// Late requests are remembered for so long, in seconds: what a day saw counts in the next one.
const REMEMBERED: f64 = 24.0 * 3600.0;
/// Seconds of usual requests that are taken for on target before any were seen.
const PRIOR: f64 = 3600.0;
/// How fast the price learns: a day on which nobody is late lowers it to 0.4, one with twice as many late
/// requests as there may be raises it to 2.4. Faster, and it follows single bursts.
const LEARNING: f64 = 1e-5;
/// Bounds of the logarithm of the price beside its beginning.
const LEAST: f64 = -3.0;
const MOST: f64 = 4.0;
/// The long-run rate is a mean of so many seconds.
const RATE_FADES: f64 = 2.0 * 3600.0;

impl Price {
    pub(crate) const fn new() -> Self {
        Self {
            late: 0.0,
            requests: 0.0,
            rate: 0.0,
            learned: 0.0,
            seen: 0.0,
        }
    }

    /// Takes a step: its length in seconds, requests, the late ones among them, and the part that may be late.
    pub(crate) fn pass(&mut self, seconds: f64, requests: f64, late: f64, allowed: f64) {
        let keep = (-seconds / REMEMBERED).exp();
        self.late = self.late * keep + late;
        self.requests = self.requests * keep + requests;
        self.seen += seconds;
        // A mean of all that was seen while that is little.
        let part = (seconds / self.seen.min(RATE_FADES).max(seconds)).min(1.0);
        self.rate += part * (requests / seconds.max(1e-9) - self.rate);
        let excess = (late - allowed * requests) / (allowed * self.rate.max(0.01));
        self.learned = (self.learned + LEARNING * excess).clamp(LEAST, MOST);
    }

    /// The price of all requests being late for the part of the time that may be, in replicas: 1 says that
    /// it is worth a replica.
    pub(crate) fn level(&self, allowed: f64) -> f64 {
        let budget = allowed * (self.requests + self.rate * PRIOR);
        let overdrawn = if budget > 0.0 {
            (self.late - allowed * self.requests) / budget
        } else {
            0.0
        };
        (overdrawn.clamp(-2.0, 3.0) + self.learned).exp()
    }

    /// The price of one late request, in replica-seconds.
    pub(crate) fn of_request(&self, allowed: f64) -> f64 {
        self.level(allowed) / (allowed * self.rate.max(0.01))
    }

    /// The part of the requests of late that kept the objective; `None` before any came.
    pub(crate) fn attainment(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| (1.0 - self.late / self.requests).clamp(0.0, 1.0))
    }

    /// Requests per second over hours.
    pub(crate) const fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_rises_while_too_many_are_late_and_falls_while_too_few_are() {
        let allowed = 0.01;
        let after = |late: f64| {
            let mut price = Price::new();
            for _ in 0..3600 {
                price.pass(5.0, 20.0, 20.0 * late, allowed);
            }
            price
        };
        let usual = after(allowed).level(allowed);
        assert!((usual - 1.0).abs() < 1e-6, "{usual}");
        assert!(after(0.0).level(allowed) < 0.8);
        assert!(after(0.03).level(allowed) > 2.0);
        let attainment = after(0.03).attainment().unwrap();
        assert!((attainment - 0.97).abs() < 1e-9, "{attainment}");
        assert!((after(0.0).rate() - 4.0).abs() < 1e-9);
    }
}
