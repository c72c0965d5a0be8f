use rheostat_reading::Ratio;
use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;

/// What a policy did over a time, as sums, so that two halves add up to the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// What is paid: from asking for a replica until it has gone.
    pub gpu_hours: f64,
    /// The part of it in which replicas were not ready yet, or never became ready.
    pub gpu_hours_starting: f64,
    /// Requests that count.
    pub requests: u64,
    /// Those that kept the SLO.
    pub kept: u64,
    /// Those that waited for their first token at the end: they count, as late.
    pub waiting: u64,
    /// Changes of the number of replicas asked for.
    pub scaling_events: u64,
    /// Time to the first token of requests that were served.
    pub ttft: Distribution,
    /// Mean time between tokens of requests that were served.
    pub itl: Distribution,
}

impl Tally {
    /// Part of the requests that kept the SLO; 1 where there was none.
    #[must_use]
    pub fn attainment(&self) -> Ratio {
        if self.requests == 0 {
            return Ratio(1.0);
        }
        Ratio(self.kept as f64 / self.requests as f64)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.gpu_hours += other.gpu_hours;
        sum.gpu_hours_starting += other.gpu_hours_starting;
        sum.requests += other.requests;
        sum.kept += other.kept;
        sum.waiting += other.waiting;
        sum.scaling_events += other.scaling_events;
        sum.ttft.merge(&other.ttft);
        sum.itl.merge(&other.itl);
        sum
    }

    /// Whether a user who asks for `attainment` would choose this over `other`: what keeps it over what does
    /// not, then the cheaper one; of two that do not keep it, the one that comes nearer.
    #[must_use]
    pub fn is_better_than(&self, other: &Self, attainment: Ratio) -> bool {
        let (mine, theirs) = (self.attainment().0, other.attainment().0);
        match (mine >= attainment.0, theirs >= attainment.0) {
            (true, false) => true,
            (false, true) => false,
            (true, true) => (self.gpu_hours, theirs) < (other.gpu_hours, mine),
            (false, false) => (theirs, self.gpu_hours) < (mine, other.gpu_hours),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(gpu_hours: f64, kept: u64) -> Tally {
        Tally {
            gpu_hours,
            requests: 1000,
            kept,
            ..Tally::default()
        }
    }

    #[test]
    fn a_promise_kept_comes_before_money() {
        let asked = Ratio(0.99);
        let better = |one: (f64, u64), other: (f64, u64)| {
            tally(one.0, one.1).is_better_than(&tally(other.0, other.1), asked)
        };
        assert!(better((10.0, 990), (1.0, 989)), "kept, though dearer");
        assert!(better((1.0, 990), (2.0, 1000)), "both keep it: cheaper");
        assert!(!better((2.0, 1000), (1.0, 990)));
        assert!(better((2.0, 1000), (2.0, 990)), "equally cheap: attainment");
        assert!(better((9.0, 980), (1.0, 970)), "neither keeps it: nearer");
        assert!(better((1.0, 970), (2.0, 970)), "equally near: cheaper");
        assert!(!better((1.0, 990), (1.0, 990)), "nothing is better than itself");
    }

    #[test]
    fn nothing_asked_is_nothing_missed() {
        assert_eq!(Tally::default().attainment(), Ratio(1.0));
    }
}
