use serde::{Deserialize, Serialize};

use crate::lateness::Curve;
use crate::moment::whole;

/// A fleet that was never there: how a rule would have fared with the requests that really came.
///
/// Requests come whether or not there are replicas for them, so that every rule can be judged by what was
/// seen, without being tried: its replicas are started and paid for as real ones, and its queue grows and
/// drains as a real one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shadow {
    /// Replicas that the rule says, whatever waits.
    advised: u32,
    /// Replicas that are asked for: with those that a queue takes.
    asked: u32,
    /// Those that serve.
    ready: u32,
    /// Those that start: the step in which they are ready, and how many; in order.
    starting: Vec<(u64, u32)>,
    /// Work that waits, in replica-seconds.
    backlog: f64,
    /// How loaded its replicas have been lately.
    load: f64,
    /// What was paid, decayed, in replica-seconds.
    pub(crate) paid: f64,
    /// Requests that were late, decayed.
    pub(crate) late: f64,
}

/// What came in one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    /// Length of the step, seconds.
    pub(crate) seconds: f64,
    /// Work, in replica-seconds of usable time.
    pub(crate) work: f64,
    /// Requests.
    pub(crate) requests: f64,
    /// How long work may wait, seconds.
    pub(crate) patience: f64,
    /// What older cost and lateness keep.
    pub(crate) keep: f64,
    /// Whether cost and lateness count.
    pub(crate) counts: bool,
}

/// What a queue is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// Replicas that are busy of late.
    pub(crate) demand: f64,
    /// Replicas that are allowed.
    pub(crate) most: u32,
}

/// Replicas that serve after so many seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supply {
    pub(crate) replicas: f64,
    pub(crate) after: f64,
}

/// Replicas that take `demand`, and what of `waiting` replica-seconds is left when one that is asked for now
/// serves, `horizon` seconds later; 0 where nothing is left. It is drained within the time of one more start:
/// sooner would pay for replicas that are not needed for longer.
pub(crate) fn drained(waiting: f64, demand: f64, horizon: f64, supply: impl Iterator<Item = Supply>) -> u32 {
    let served: f64 = supply
        .map(|supply| supply.replicas * (horizon - supply.after).max(0.0))
        .sum();
    let left = waiting + demand * horizon - served;
    if left <= 0.0 {
        return 0;
    }
    whole(demand + left / horizon.max(SHORTEST_DRAIN) - 1e-9)
}

/// No queue is drained within less, in seconds: what is asked for takes as long to be seen.
const SHORTEST_DRAIN: f64 = 30.0;

/// Nobody waits for longer, in seconds: whoever asked has given up. Without an end, one look that found far too much
/// would keep a fleet that was never there late for days.
const LONGEST_QUEUE: f64 = 600.0;

/// No fleet counts for less, in replicas: with none, all load would be without end.
const LEAST_SERVED: f64 = 0.01;

impl Shadow {
    pub(crate) fn new(replicas: u32) -> Self {
        Self {
            advised: replicas,
            asked: replicas,
            ready: replicas,
            ..Self::default()
        }
    }

    /// Serves with just so many replicas from now on, and asks for no others.
    pub(crate) fn serve_with(&mut self, replicas: u32) {
        (self.advised, self.asked, self.ready) = (replicas, replicas, replicas);
        self.starting.clear();
    }

    /// What the rule says, without what its queue takes.
    pub(crate) const fn advised(&self) -> u32 {
        self.advised
    }

    /// Does what the rule says, and what its queue takes beside that, as a real fleet does; a start takes
    /// `start` steps.
    pub(crate) fn follow(&mut self, wanted: u32, step: u64, came: &Arrivals, start: u64, queue: Queue) {
        self.advised = wanted;
        let needed = if self.is_late(came.patience) {
            let horizon = start as f64 * came.seconds;
            let soon = self.starting.iter().map(|(at, count)| Supply {
                replicas: f64::from(*count),
                after: at.saturating_sub(step) as f64 * came.seconds,
            });
            let now = Supply {
                replicas: f64::from(self.ready),
                after: 0.0,
            };
            drained(self.backlog, queue.demand, horizon, soon.chain([now])).min(2 * self.asked.max(1))
        } else {
            0
        };
        self.ask(wanted.max(needed.min(queue.most)), step, start);
    }

    fn is_late(&self, patience: f64) -> bool {
        self.backlog > patience * f64::from(self.ready)
    }

    /// Asks for `wanted` replicas in `step`; new ones serve `cold_start` steps later. What is not needed any
    /// more is taken from the youngest.
    fn ask(&mut self, wanted: u32, step: u64, cold_start: u64) {
        if wanted > self.asked {
            self.starting.push((step + cold_start, wanted - self.asked));
        }
        let mut surplus = self.asked.saturating_sub(wanted);
        while surplus > 0 {
            let Some((_, youngest)) = self.starting.last_mut() else {
                self.ready -= surplus.min(self.ready);
                break;
            };
            let taken = surplus.min(*youngest);
            *youngest -= taken;
            surplus -= taken;
            if *youngest == 0 {
                self.starting.pop();
            }
        }
        self.asked = wanted;
    }

    /// How loaded its replicas have been as the requests of late have felt it: what came and what waited, as a
    /// multiple of what they do in the same time.
    pub(crate) const fn load(&self) -> f64 {
        self.load
    }

    /// Lets one step pass; `curve` says what part of the requests is late.
    pub(crate) fn pass(&mut self, step: u64, came: &Arrivals, curve: &Curve) {
        while let Some(&(at, count)) = self.starting.first()
            && at <= step
        {
            self.ready += count;
            self.starting.remove(0);
        }
        self.backlog += came.work;
        let served = f64::from(self.ready) * came.seconds;
        let load = self.backlog / served.max(LEAST_SERVED * came.seconds);
        self.load += curve.share * (load - self.load);
        let most = LONGEST_QUEUE * f64::from(self.ready.max(1));
        self.backlog = (self.backlog - self.backlog.min(served)).min(most);
        if !came.counts {
            return;
        }
        self.paid = self.paid * came.keep + f64::from(self.asked) * came.seconds;
        self.late = self.late * came.keep + came.requests * curve.at(self.load);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Arrivals = Arrivals {
        seconds: 1.0,
        work: 2.0,
        requests: 4.0,
        patience: 3.0,
        keep: 1.0,
        counts: true,
    };

    #[test]
    fn too_few_replicas_make_requests_late_and_enough_of_them_drain_the_queue() {
        // Late from two and a half times what the replicas do in a second.
        let curve = Curve::of(|load| if load > 2.5 { 1.0 } else { 0.0 });
        let mut shadow = Shadow::new(1);
        shadow.pass(1, &SECOND, &curve);
        assert!(shadow.late.abs() < 1e-12, "a second's work may wait");
        shadow.pass(2, &SECOND, &curve);
        assert!((shadow.late - 4.0).abs() < 1e-12);
        shadow.ask(5, 2, 2);
        shadow.pass(3, &SECOND, &curve);
        assert!((shadow.late - 8.0).abs() < 1e-12, "they start");
        shadow.pass(4, &SECOND, &curve);
        assert!((shadow.late - 8.0).abs() < 1e-12, "they serve");
        assert!(
            (shadow.paid - (1.0 + 1.0 + 5.0 + 5.0)).abs() < 1e-12,
            "and were paid for from the beginning"
        );
    }

    #[test]
    fn what_is_given_back_is_what_started_last() {
        let mut shadow = Shadow::new(2);
        shadow.ask(5, 1, 10);
        shadow.ask(6, 2, 10);
        shadow.ask(4, 3, 10);
        assert_eq!(
            (shadow.ready, shadow.starting.as_slice()),
            (2, [(11, 2)].as_slice())
        );
        shadow.ask(1, 4, 10);
        assert_eq!((shadow.ready, shadow.starting.len(), shadow.asked), (1, 0, 1));
    }
}
