use serde::{Deserialize, Serialize};

/// A fleet that was never there: how a rule would have fared with the requests that really came.
///
/// Requests come whether or not there are replicas for them, so that every rule can be judged by what was
/// seen, without being tried: its replicas are started and paid for as real ones, and its queue grows and
/// drains as a real one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shadow {
    /// Replicas that the rule asks for.
    asked: u32,
    /// Those that serve.
    ready: u32,
    /// Those that start: the step in which they are ready, and how many; in order.
    starting: Vec<(u64, u32)>,
    /// Work that waits, in replica-seconds.
    backlog: f64,
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
}

impl Shadow {
    pub(crate) fn new(replicas: u32) -> Self {
        Self {
            asked: replicas,
            ready: replicas,
            ..Self::default()
        }
    }

    pub(crate) const fn asked(&self) -> u32 {
        self.asked
    }

    /// Asks for `wanted` replicas in `step`; new ones serve `cold_start` steps later. What is not needed any
    /// more is taken from the youngest.
    pub(crate) fn ask(&mut self, wanted: u32, step: u64, cold_start: u64) {
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

    /// Lets one step pass.
    pub(crate) fn pass(&mut self, step: u64, came: &Arrivals) {
        while let Some(&(at, count)) = self.starting.first()
            && at <= step
        {
            self.ready += count;
            self.starting.remove(0);
        }
        self.backlog += came.work;
        self.backlog -= self.backlog.min(f64::from(self.ready) * came.seconds);
        let late = self.backlog > came.patience * f64::from(self.ready) && came.requests > 0.0;
        self.paid = self.paid * came.keep + f64::from(self.asked) * came.seconds;
        self.late = self.late * came.keep + if late { came.requests } else { 0.0 };
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
    };

    #[test]
    fn too_few_replicas_make_requests_late_and_enough_of_them_drain_the_queue() {
        let mut shadow = Shadow::new(1);
        for step in 1..=3 {
            shadow.pass(step, &SECOND);
        }
        assert!(shadow.late.abs() < 1e-12, "three seconds of work may wait");
        shadow.pass(4, &SECOND);
        assert!((shadow.late - 4.0).abs() < 1e-12);
        shadow.ask(5, 4, 2);
        shadow.pass(5, &SECOND);
        assert!((shadow.late - 8.0).abs() < 1e-12, "they start");
        shadow.pass(6, &SECOND);
        assert!((shadow.late - 8.0).abs() < 1e-12, "they serve");
        assert!(
            (shadow.paid - (4.0 + 5.0 + 5.0)).abs() < 1e-12,
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
