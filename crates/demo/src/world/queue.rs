use std::collections::VecDeque;

use super::demand::Arrived;

/// Requests that wait for a GPU, first come, first served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Cohort>,
    /// GPU-seconds that wait.
    backlog: f64,
    served: u64,
    late: u64,
}

/// Requests that arrived in the same second.
#[derive(Clone, Copy, Debug)]
struct Cohort {
    arrived_at: f64,
    requests: u64,
    work: f64,
}

/// A request that waits longer than this, in seconds, before a GPU turns to it is late.
pub(crate) const LATE_AFTER: f64 = 5.0;

impl Queue {
    /// Requests that arrive at `now`.
    pub(crate) fn arrive(&mut self, now: f64, arrived: Arrived) {
        if arrived.requests > 0 {
            let Arrived { requests, work } = arrived;
            self.waiting.push_back(Cohort {
                arrived_at: now,
                requests,
                work,
            });
            self.backlog += work;
        }
    }

    /// Serves at `now` as much as `capacity` GPU-seconds allow; returns how many were used.
    pub(crate) fn serve(&mut self, now: f64, capacity: f64) -> f64 {
        let mut left = capacity;
        while let Some(cohort) = self.waiting.front_mut() {
            if cohort.work > left {
                cohort.work -= left;
                left = 0.0;
                break;
            }
            left -= cohort.work;
            self.served += cohort.requests;
            if now - cohort.arrived_at > LATE_AFTER {
                self.late += cohort.requests;
            }
            self.waiting.pop_front();
        }
        let used = capacity - left;
        self.backlog = if self.waiting.is_empty() {
            0.0
        } else {
            (self.backlog - used).max(0.0)
        };
        used
    }

    /// GPU-seconds of work that wait.
    pub(crate) const fn backlog(&self) -> f64 {
        self.backlog
    }

    /// Requests that were served so far.
    pub(crate) const fn served(&self) -> u64 {
        self.served
    }

    /// Those of them that were late.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_capacity_waits_and_becomes_late() {
        let mut queue = Queue::default();
        for second in 0..10 {
            queue.arrive(
                f64::from(second),
                Arrived {
                    requests: 20,
                    work: 2.0,
                },
            );
            assert!((queue.serve(f64::from(second), 1.0) - 1.0).abs() < 1e-12);
        }
        assert!((queue.backlog() - 10.0).abs() < 1e-9);
        assert_eq!(
            (queue.served(), queue.late()),
            (100, 0),
            "at second 9 those of second 4 were served"
        );
        assert!(
            (queue.serve(10.0, 100.0) - 10.0).abs() < 1e-9,
            "only what waited is served"
        );
        assert_eq!(
            (queue.served(), queue.late()),
            (200, 0),
            "the oldest had waited for 5 s"
        );
        queue.arrive(
            10.0,
            Arrived {
                requests: 3,
                work: 0.5,
            },
        );
        assert!(queue.serve(16.0, 1.0) > 0.0);
        assert_eq!((queue.served(), queue.late(), queue.backlog()), (203, 3, 0.0));
    }
}
