use serde::{Deserialize, Serialize};

use crate::rules::Came;
use crate::shadow::{Arrivals, Shadow};

/// What part of the requests is late, by how loaded replicas are: learned from what engines tell.
///
/// What a replica can do is known from means. Requests that are short beside the prompts of others, batches
/// that are filled unevenly and routers that know little make some of them late long before the mean is. So
/// a [`Shadow`] with just the replicas that there really are tells how loaded those were, and engines tell how
/// many were late then; what is late at which load is what all other shadows are judged by.
///
/// Nothing is learned of replicas that come while a queue stands until it is gone: everything in it is late, however
/// much they can do, since nobody takes a request out of another's queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lateness {
    mirror: Shadow,
    /// Requests that came at about each of the [`LOADS`], and how many of them were late; fading.
    seen: Vec<(f64, f64)>,
    curve: Curve,
    /// Requests of the last [`FELT`] seconds.
    recent: f64,
    /// Ready replicas in the step before.
    ready: u32,
    /// Whether replicas came while a queue stood that still does.
    relieved: bool,
    /// Nothing is learned before this step.
    blind_until: u64,
}

/// What a step does to requests, by the load that they meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The part that is late at each of the [`LOADS`]; never falls.
    late: Vec<f64>,
    /// The share of the last half minute's requests that came in this step.
    pub(crate) share: f64,
}

/// Steps after a queue in which latencies still tell of it: engines tell over a minute.
const AFTER_QUEUE: u64 = 12;

/// Engines tell latencies over a minute, in which requests of half a minute ago count as much as new ones; loads
/// are taken over as much, in seconds, or bursts and what they made late would not meet.
const FELT: f64 = 30.0;

/// Loads at which lateness is kept: work of a step and what waits before it, as a multiple of what the replicas do
/// in a step. In steps of a tenth from 0.05 on: coarser, and what nine of ten replicas do would blur what ten do.
const LOADS: usize = 55;
const LEAST: f64 = 0.05;
const STEPS: f64 = 1.1;

/// Before anything was seen, and where nothing is: nobody is late as long as what waits takes less than half of the
/// patience there is, and everybody once it takes all of it. That counts as much as what comes in so many seconds.
const PRIOR: f64 = 60.0;

impl Lateness {
    pub(crate) fn new(replicas: u32) -> Self {
        Self {
            mirror: Shadow::new(replicas),
            seen: vec![(0.0, 0.0); LOADS],
            curve: Curve {
                late: vec![0.0; LOADS],
                share: 0.0,
            },
            recent: 0.0,
            ready: replicas,
            relieved: false,
            blind_until: 0,
        }
    }

    /// What was seen at each load, to be kept over a restart.
    pub(crate) fn seen(&self) -> &[(f64, f64)] {
        &self.seen
    }

    /// The part that is late however little load there is.
    pub(crate) fn unavoidable(&self) -> f64 {
        self.curve.late.first().copied().unwrap_or(0.0)
    }

    /// Takes over what another has seen.
    pub(crate) fn adopt(&mut self, seen: &[(f64, f64)]) {
        // It comes from where others may write: what nobody can have seen is none of ours.
        let can_be = |(requests, late): &(f64, f64)| requests.is_finite() && (0.0..=*requests).contains(late);
        if seen.len() == LOADS && seen.iter().all(can_be) {
            self.seen = seen.to_vec();
        }
    }

    /// Lets a step pass: learns from what came in it.
    pub(crate) fn pass(&mut self, step: u64, arrivals: &Arrivals, came: &Came) -> &Curve {
        self.recent = self.recent * (-arrivals.seconds / FELT).exp() + arrivals.requests;
        self.curve.share = if self.recent > 0.0 {
            arrivals.requests / self.recent
        } else {
            0.0
        };
        self.mirror.serve_with(came.ready);
        self.mirror.pass(step, arrivals, &self.curve);
        self.relieved = came.queued && (self.relieved || came.ready > self.ready);
        self.ready = came.ready;
        if self.relieved || !came.counts {
            self.blind_until = step + AFTER_QUEUE;
        }
        for (requests, late) in &mut self.seen {
            *requests *= arrivals.keep;
            *late *= arrivals.keep;
        }
        if let Some((requests, late)) = came.late
            && step >= self.blind_until
        {
            let (low, part) = place(self.mirror.load());
            if let Some(seen) = self.seen.get_mut(low + usize::from(part >= 0.5)) {
                seen.0 += requests;
                seen.1 += late.min(requests);
            }
        }
        self.curve.late = parts(
            &self.seen,
            came.usual_rate * PRIOR,
            arrivals.patience / arrivals.seconds,
        );
        &self.curve
    }
}

impl Curve {
    /// By a rule, with all requests in one step.
    #[cfg(test)]
    pub(crate) fn of(late: impl Fn(f64) -> f64) -> Self {
        Self {
            late: loads().map(late).collect(),
            share: 1.0,
        }
    }

    /// The part of the requests that is late at `load`.
    pub(crate) fn at(&self, load: f64) -> f64 {
        let (low, part) = place(load);
        let of = |place: usize| self.late.get(place).copied().unwrap_or(1.0);
        of(low) + part * (of(low + 1) - of(low))
    }
}

/// The loads, rising.
fn loads() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(LEAST), |load| Some(load * STEPS)).take(LOADS)
}

/// The last of the loads that is no more than `load`, and how far it is to the next.
fn place(load: f64) -> (usize, f64) {
    let steps = (load.max(LEAST) / LEAST).ln() / STEPS.ln();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below 0, and saturates"
    )]
    let low = (steps as usize).min(LOADS - 1);
    (low, (steps - low as f64).min(1.0))
}

/// The part that is late at each load, of what was `seen` and of `prior` requests at each that are late once what
/// waits takes `patience` steps. More load makes no fewer late: where what was seen says so, it is pooled (isotonic
/// regression by pooling adjacent violators; Ayer et al. 1955).
fn parts(seen: &[(f64, f64)], prior: f64, patience: f64) -> Vec<f64> {
    // Runs of loads: requests, late ones, how many loads.
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(LOADS);
    let prior = prior.max(1.0);
    for ((requests, late), load) in seen.iter().zip(loads()) {
        let waits = (load - 1.0) / patience.max(0.2);
        let expected = (2.0 * waits - 1.0).clamp(0.0, 1.0);
        let mut pool = (requests + prior, late + prior * expected, 1);
        while let Some(last) = pools.last()
            && last.1 * pool.0 > pool.1 * last.0
        {
            pool = (pool.0 + last.0, pool.1 + last.1, pool.2 + last.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let pooled = pools.iter();
    pooled
        .flat_map(|(requests, late, loads)| std::iter::repeat_n(late / requests, *loads))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bursts that need 1 to 6 replicas meet 4 of which each does `truth` of what it is taken to; what is late is told,
    /// or not.
    fn learned(truth: f64, told: bool) -> Lateness {
        let (mut lateness, mut real) = (Lateness::new(4), Shadow::new(4));
        let exact = Lateness::new(4).curve;
        for step in 1..=20_000 {
            let demand = if step % 20 < 4 {
                1.0 + (step / 20 * 7 % 12) as f64 / 2.0
            } else {
                0.5
            };
            let arrivals = Arrivals {
                seconds: 5.0,
                work: demand * 5.0,
                requests: demand * 10.0,
                patience: 5.0,
                keep: 1.0,
                counts: true,
            };
            let share = lateness.curve.share;
            real.serve_with(4);
            let slower = Arrivals {
                work: arrivals.work / truth,
                ..arrivals
            };
            real.pass(
                step,
                &slower,
                &Curve {
                    share,
                    ..exact.clone()
                },
            );
            let late = if real.load() > 1.5 { arrivals.requests } else { 0.0 };
            let came = Came {
                demand,
                rate: demand * 2.0,
                patience: 5.0,
                ready: 4,
                queued: false,
                levels: true,
                counts: true,
                late: told.then_some((arrivals.requests, late)),
                usual_rate: 2.0,
            };
            lateness.pass(step, &arrivals, &came);
        }
        lateness
    }

    #[test]
    fn replicas_that_do_less_than_they_are_taken_to_make_requests_late_at_less() {
        let half = |lateness: &Lateness| {
            let loads = (1..900).map(|load| f64::from(load) / 100.0);
            loads
                .into_iter()
                .find(|load| lateness.curve.at(*load) >= 0.5)
                .unwrap()
        };
        let (slow, right, untold) = (learned(0.5, true), learned(1.0, true), learned(0.5, false));
        assert!(
            half(&slow) < 0.6 * half(&right),
            "{} and {}",
            half(&slow),
            half(&right)
        );
        assert!((1.3..1.8).contains(&half(&right)), "{}", half(&right));
        // Half and all of a patience of one step: nobody told anything.
        assert!((1.6..1.9).contains(&half(&untold)), "{}", half(&untold));
    }

    #[test]
    fn more_load_never_makes_fewer_late() {
        let seen: Vec<_> = (0..LOADS)
            .map(|place| (50.0, (place * 7 % 5) as f64 * 10.0))
            .collect();
        let late = parts(&seen, 1.0, 3.0);
        assert_eq!(late.len(), LOADS);
        assert!(late.windows(2).all(|pair| pair[0] <= pair[1]), "{late:?}");
        let (all, pooled) = (
            seen.iter().map(|(_, late)| late).sum::<f64>(),
            late.iter().map(|part| 50.0 * part).sum::<f64>(),
        );
        assert!(
            (all - pooled).abs() < 0.1 * all,
            "nothing is lost: {all} and {pooled}"
        );
    }

    #[test]
    fn what_nobody_can_have_seen_is_not_taken_over() {
        let mut lateness = Lateness::new(1);
        for (requests, late) in [(1.0, 2.0), (-1.0, 0.0), (f64::INFINITY, 1.0), (1.0, f64::NAN)] {
            lateness.adopt(&vec![(requests, late); LOADS]);
            assert_eq!(lateness, Lateness::new(1));
        }
        lateness.adopt(&[(2.0, 1.0)]);
        assert_eq!(lateness, Lateness::new(1), "another shape");
        lateness.adopt(&vec![(2.0, 1.0); LOADS]);
        assert_eq!(lateness.seen()[3], (2.0, 1.0));
    }
}
