use std::time::Duration;

use crate::capacity::ReplicaCapacity;
use crate::decision::StepKind;
use crate::demand::Seen;
use crate::limits::Bounded;
use crate::moment::whole;
use crate::observation::{Observation, Stage};
use crate::shadow::{Supply, drained};

/// Replicas for what waits already, where it would still be there when they serve.
pub(crate) fn backlog(
    bounded: &mut Bounded,
    seen: &Observation,
    found: &Seen,
    replica: ReplicaCapacity,
    horizon: Duration,
    demand: f64,
) {
    if found.waiting <= 0.0 {
        return;
    }
    // Replica-seconds of usable time.
    let waiting = found.waiting * replica.work / replica.usable;
    let seconds = horizon.as_secs_f64();
    let serving = Supply {
        replicas: f64::from(found.ready),
        after: 0.0,
    };
    let starting = seen
        .pods
        .iter()
        .filter(|pod| matches!(pod.stage, Stage::Pending | Stage::Starting))
        .map(|pod| Supply {
            replicas: 1.0,
            after: seconds - seen.now.since(pod.created).as_secs_f64().min(seconds),
        });
    let needed = drained(waiting, demand, seconds, starting.chain([serving]));
    // Not more than twice what is there for a queue alone: what it says of the work is a guess. From zero, it
    // is all that there is to go by.
    let needed = match seen.replicas {
        0 => needed,
        there => needed.min(there.saturating_mul(2)),
    };
    if needed == 0 {
        return;
    }
    bounded.at_least(needed, StepKind::Backlog, || {
        format!(
            "{:.0} requests wait, and would still when more replicas serve",
            found.waiting
        )
    });
}

/// A queue must have stood for so long, in seconds, before it keeps replicas: two looks, since one may find a
/// burst that is over in a moment.
const QUEUED_FOR: f64 = 10.0;

/// While requests queue, nothing is taken away, whatever the rules expect: what they expect is not there yet.
pub(crate) fn keep_while_queued(bounded: &mut Bounded, seen: &Observation, found: &Seen) {
    if found.queued >= QUEUED_FOR {
        bounded.at_least(seen.replicas, StepKind::Backlog, || {
            format!(
                "{:.0} requests wait, and some have for {:.0} s: nothing is taken away",
                found.waiting, found.queued
            )
        });
    }
}

/// Where more replicas should serve by now and do not than do, more of them would not either: no node has room, an
/// image cannot be pulled, an engine fails. What was asked for is asked for still.
pub(crate) fn hold_while_overdue(bounded: &mut Bounded, seen: &Observation, overdue: usize) {
    if overdue > seen.ready_count() as usize {
        bounded.at_most(seen.replicas, StepKind::Keep, || {
            format!("{overdue} replicas should serve by now and do not: no more are asked for until they do")
        });
    }
}

/// Replicas for which there has been no pod for the time of a start get none: a quota is used up, or something refuses
/// them. `asked` is how many there were to be meanwhile, at least and at most.
pub(crate) fn hold_without_pods(bounded: &mut Bounded, seen: &Observation, asked: Option<(u32, u32)>) {
    let pods = u32::try_from(seen.pods.len()).unwrap_or(u32::MAX);
    let missing = asked.map_or(0, |(least, _)| least.min(seen.replicas).saturating_sub(pods));
    if missing > 0 {
        bounded.at_most(seen.replicas, StepKind::Keep, || {
            format!("of {missing} replicas no pod has come to be: no more are asked for until they do")
        });
    }
}

/// Whether fewer replicas than are `there` for the load would still do, of which there was so much `lately` and is so
/// much `now`.
pub(crate) fn consolidate(
    bounded: &mut Bounded,
    there: u32,
    seen: &Observation,
    found: &Seen,
    (lately, now): (f64, f64),
) {
    if bounded.replicas >= there {
        return;
    }
    bounded.at_least(whole(now - 1e-9).min(there), StepKind::Consolidation, || {
        format!("there is work for {now:.2} now: fewer would have more to do than they should")
    });
    let needed = whole(lately - 1e-9);
    bounded.at_least(needed.min(there), StepKind::Consolidation, || {
        format!("{lately:.2} were needed within the time of a start: fewer than {needed} would not do")
    });
    // Replicas that start are what the load before asked for; the ready ones carry it alone.
    let starting = seen
        .pods
        .iter()
        .filter(|pod| matches!(pod.stage, Stage::Pending | Stage::Starting))
        .count();
    if found.ready > 0 && starting > 0 {
        bounded.at_least(found.ready.min(there), StepKind::Consolidation, || {
            "what starts goes before what serves".to_owned()
        });
    }
}
