use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// Times of the lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTiming {
    /// Others may take the lease when it was not renewed for so long, at least a second. Longer leaves policies
    /// longer without a leader when one dies; shorter makes leaders give up over a slow API server.
    pub duration: Duration,
    /// Time between two looks at the lease, and between two renewals.
    pub period: Duration,
    /// A leader that could not renew for so long leads no more. It must leave the rest of `duration` for what
    /// it has begun to write ([`Self::request`]): else two write at once.
    pub give_up: Duration,
    /// A request of the leader's ends after so long.
    pub request: Duration,
}

impl Default for LeaseTiming {
    /// 15 s, with a look every 2 s, as other controllers of Kubernetes have it.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            period: Duration::from_secs(2),
            give_up: Duration::from_secs(10),
            request: Duration::from_secs(4),
        }
    }
}

/// Who holds the lease, by what was seen of it and when. Pure: time is an argument.
///
/// The times that stand in the lease are those of its holder's clock, and are compared with nothing but
/// themselves: a lease has run out when it did not change for its duration by our own clock.
#[derive(Debug)]
pub(crate) struct Election {
    identity: Arc<str>,
    timing: LeaseTiming,
    seen: Option<Seen>,
    /// When the request was begun with which this one took or renewed the lease last.
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    holder: Option<Arc<str>>,
    renew_time: Option<MicroTime>,
    duration: Duration,
    /// When it was first seen as it stands here.
    since: Instant,
}

/// Who leads at some moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Us,
    Other { name: Arc<str>, until: Instant },
    Nobody,
}

/// Nobody may keep a lease for longer than this without renewing it: an absurd duration in it would keep
/// everybody from leading.
const LONGEST_DURATION: i32 = 300;

impl Election {
    pub(crate) fn new(identity: Arc<str>, timing: LeaseTiming) -> Self {
        Self {
            identity,
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// Takes what the lease is at `now`; `None` where there is none.
    pub(crate) fn see(&mut self, lease: Option<&LeaseSpec>, now: Instant) {
        let Some(lease) = lease else {
            self.seen = None;
            self.renewed = None;
            return;
        };
        let holder = lease.holder_identity.as_deref().filter(|name| !name.is_empty());
        if holder != Some(&*self.identity) {
            self.renewed = None;
        }
        let same = |seen: &Seen| seen.holder.as_deref() == holder && seen.renew_time == lease.renew_time;
        if self.seen.as_ref().is_some_and(same) {
            return;
        }
        let seconds = lease
            .lease_duration_seconds
            .unwrap_or(0)
            .clamp(1, LONGEST_DURATION);
        self.seen = Some(Seen {
            holder: holder.map(Into::into),
            renew_time: lease.renew_time.clone(),
            duration: Duration::from_secs(u64::from(seconds.unsigned_abs())),
            since: now,
        });
    }

    /// What the lease is to become, where this one may take or renew it at `now`; `wall` goes into it for
    /// others to read.
    pub(crate) fn claim(
        &self,
        lease: Option<&LeaseSpec>,
        now: Instant,
        wall: MicroTime,
    ) -> Option<LeaseSpec> {
        if matches!(self.holder(now), Holder::Other { .. }) {
            return None;
        }
        let before = lease.cloned().unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(&*self.identity);
        let duration = i32::try_from(self.timing.duration.as_secs()).unwrap_or(LONGEST_DURATION);
        let transitions = before.lease_transitions.unwrap_or(0);
        Some(LeaseSpec {
            holder_identity: Some(self.identity.to_string()),
            lease_duration_seconds: Some(duration.max(1)),
            acquire_time: match before.acquire_time {
                Some(since) if ours => Some(since),
                _ => Some(wall.clone()),
            },
            lease_transitions: Some(match ours || lease.is_none() {
                true => transitions,
                false => transitions.saturating_add(1),
            }),
            renew_time: Some(wall),
            ..before
        })
    }

    /// The lease was written as [`claim`](Self::claim) made it, by a request that began at `begun`.
    pub(crate) fn claimed(&mut self, lease: &LeaseSpec, begun: Instant) {
        self.see(Some(lease), begun);
        self.renewed = Some(begun);
    }

    /// Who leads at `now`.
    pub(crate) fn holder(&self, now: Instant) -> Holder {
        if self.leads_until().is_some_and(|until| now < until) {
            return Holder::Us;
        }
        let Some(seen) = &self.seen else {
            return Holder::Nobody;
        };
        let until = seen.since + seen.duration;
        match &seen.holder {
            Some(name) if *name != self.identity && now < until => Holder::Other {
                name: Arc::clone(name),
                until,
            },
            _ => Holder::Nobody,
        }
    }

    /// When [`holder`](Self::holder) changes if nothing more is seen; `None` where it does not.
    pub(crate) fn changes_at(&self, now: Instant) -> Option<Instant> {
        match self.holder(now) {
            Holder::Us => self.leads_until(),
            Holder::Other { until, .. } => Some(until),
            Holder::Nobody => None,
        }
    }

    fn leads_until(&self) -> Option<Instant> {
        Some(self.renewed? + self.timing.give_up)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    /// Two replicas and a lease, in a time that the test moves. Their clocks are hours apart.
    struct Stage {
        lease: Option<LeaseSpec>,
        now: Instant,
        began: Instant,
        ours: [Election; 2],
    }

    impl Stage {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                lease: None,
                now,
                began: now,
                ours: ["a", "b"].map(|name| Election::new(name.into(), LeaseTiming::default())),
            }
        }

        /// One of the two looks and takes the lease if it may.
        fn round(&mut self, which: usize) {
            let election = &mut self.ours[which];
            election.see(self.lease.as_ref(), self.now);
            let hours_apart = 10_000 * i64::try_from(which).unwrap();
            let seconds = i64::try_from((self.now - self.began).as_secs()).unwrap();
            let wall = MicroTime(Timestamp::from_second(1_800_000_000 + hours_apart + seconds).unwrap());
            if let Some(claim) = election.claim(self.lease.as_ref(), self.now, wall) {
                election.claimed(&claim, self.now);
                self.lease = Some(claim);
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn holders(&self) -> [Holder; 2] {
            [0, 1].map(|which| self.ours[which].holder(self.now))
        }
    }

    fn is(holder: &Holder, wanted: &str) -> bool {
        matches!(holder, Holder::Other { name, .. } if **name == *wanted)
    }

    #[test]
    fn the_first_leads_and_the_other_follows() {
        let mut stage = Stage::new();
        stage.round(0);
        for _ in 0..20 {
            stage.round(1);
            stage.round(0);
            let [first, second] = stage.holders();
            assert_eq!(first, Holder::Us);
            assert!(is(&second, "a"), "{second:?}");
            stage.pass(2);
        }
        let lease = stage.lease.unwrap();
        assert_eq!(lease.lease_transitions, Some(0));
        assert!(lease.acquire_time < lease.renew_time);
    }

    #[test]
    fn who_dies_is_replaced_after_the_duration_by_the_others_clock() {
        let mut stage = Stage::new();
        stage.round(0);
        stage.round(1);
        for _ in 0..7 {
            stage.pass(2);
            stage.round(1);
            assert!(is(&stage.holders()[1], "a"), "after {:?}", stage.now);
        }
        stage.pass(1);
        stage.round(1);
        assert_eq!(stage.holders(), [Holder::Nobody, Holder::Us]);
        assert_eq!(stage.lease.as_ref().unwrap().lease_transitions, Some(1));
        // The dead one is back.
        stage.round(0);
        assert!(is(&stage.holders()[0], "b"));
    }

    #[test]
    fn a_leader_that_cannot_renew_gives_up_before_another_may_lead() {
        let mut stage = Stage::new();
        stage.round(0);
        stage.round(1);
        stage.pass(9);
        assert_eq!(stage.holders()[0], Holder::Us);
        stage.pass(1);
        let [first, second] = stage.holders();
        assert_eq!(first, Holder::Nobody);
        assert!(is(&second, "a"));
        // It may lead again as long as nobody else has taken the lease.
        stage.round(0);
        assert_eq!(stage.holders()[0], Holder::Us);
    }

    #[test]
    fn an_old_lease_of_somebody_unknown_is_waited_for_once() {
        let mut stage = Stage::new();
        stage.lease = Some(LeaseSpec {
            holder_identity: Some("gone".into()),
            lease_duration_seconds: Some(i32::MAX),
            renew_time: Some(MicroTime(Timestamp::from_second(1).unwrap())),
            ..LeaseSpec::default()
        });
        stage.round(0);
        assert!(is(&stage.holders()[0], "gone"));
        stage.pass(300);
        stage.round(0);
        assert_eq!(stage.holders()[0], Holder::Us);
    }

    #[test]
    fn a_lease_that_was_given_back_is_free_at_once() {
        let mut stage = Stage::new();
        stage.round(0);
        stage.round(1);
        stage.lease.as_mut().unwrap().holder_identity = None;
        stage.round(1);
        assert_eq!(stage.holders()[1], Holder::Us);
        stage.round(0);
        assert!(is(&stage.holders()[0], "b"), "{:?}", stage.holders());
    }
}
