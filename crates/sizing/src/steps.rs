use std::time::Duration;

use crate::capacity::ReplicaCapacity;
use crate::decision::StepKind;
use crate::demand::Seen;
use crate::limits::Bounded;
use crate::observation::{Observation, Stage};

/// Weighted advice is rounded up from here.
const ROUND_UP_FROM: f64 = 0.5;

/// Advice falls to a whole number only once it lies no more than this above it.
const ROUND_DOWN_TO: f64 = 0.1;

/// The advice as a whole number: up from half a replica, down only once nearly a whole one is too many, so
/// that advice between two numbers does not make it swing.
pub(crate) fn rounded(now: u32, advice: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    let whole = |least_part: f64| (advice - least_part).ceil().max(0.0) as u32;
    let (up, down) = (whole(ROUND_UP_FROM), whole(ROUND_DOWN_TO));
    if up > now { up } else { down.min(now) }
}

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
    let serving = f64::from(found.ready);
    let left = waiting - (serving - demand).max(0.0) * horizon.as_secs_f64()
        + (demand - serving).max(0.0) * horizon.as_secs_f64();
    if left <= 0.0 {
        return;
    }
    // Drained within the time of one more start: sooner would pay for replicas that are not needed longer.
    let more = left / horizon.as_secs_f64().max(30.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    let needed = (demand + more - 1e-9).ceil().max(0.0) as u32;
    // Not more than twice what is there for a queue alone: what it says of the work is a guess.
    let needed = needed.min(2 * seen.replicas.max(1));
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

/// Whether fewer replicas than there are would still do.
pub(crate) fn consolidate(bounded: &mut Bounded, seen: &Observation, found: &Seen, lately: f64) {
    if bounded.replicas >= seen.replicas {
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    let needed = (lately - 1e-9).ceil().max(0.0) as u32;
    bounded.at_least(needed.min(seen.replicas), StepKind::Consolidation, || {
        format!("{lately:.2} were needed within the time of a start: fewer than {needed} would not do")
    });
    // Replicas that start are what the load before asked for; the ready ones carry it alone.
    let starting = seen
        .pods
        .iter()
        .filter(|pod| matches!(pod.stage, Stage::Pending | Stage::Starting))
        .count();
    if found.ready > 0 && starting > 0 {
        bounded.at_least(found.ready.min(seen.replicas), StepKind::Consolidation, || {
            "what starts goes before what serves".to_owned()
        });
    }
}
