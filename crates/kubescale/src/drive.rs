//! Runs an [`Autoscaler`] against a scaler that answers at once: for tests and simulations.

use rheostat_reading::Timestamp;

use crate::autoscaler::{Autoscaler, Event, Output};
use crate::calls::{Answer, Call, CallId, Push, Request};
use crate::workload::Workload;

/// Does all that is due at `now`: makes the calls through `scaler` and feeds the answers back until
/// nothing is left. Streams that were opened are returned with their trigger; their messages go to
/// [`push`].
pub fn step(
    autoscaler: &mut Autoscaler,
    now: Timestamp,
    workload: &mut Workload,
    scaler: &mut impl FnMut(Timestamp, &Call) -> Answer,
) -> Step {
    let mut step = Step::default();
    let first = autoscaler.poll(now, workload);
    settle(autoscaler, now, workload, scaler, first, &mut step);
    step
}

/// Hands over what came on a stream, and does what follows from it.
pub fn push(
    autoscaler: &mut Autoscaler,
    now: Timestamp,
    stream: CallId,
    message: Push,
    workload: &mut Workload,
    scaler: &mut impl FnMut(Timestamp, &Call) -> Answer,
) -> Step {
    let mut step = Step::default();
    let first = autoscaler.push(now, stream, message, workload);
    settle(autoscaler, now, workload, scaler, first, &mut step);
    step
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Step {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Streams that were opened: trigger and name.
    pub streams: Vec<(usize, CallId)>,
}

fn settle(
    autoscaler: &mut Autoscaler,
    now: Timestamp,
    workload: &mut Workload,
    scaler: &mut impl FnMut(Timestamp, &Call) -> Answer,
    first: Output,
    step: &mut Step,
) {
    let mut output = first;
    let mut calls = std::collections::VecDeque::new();
    loop {
        step.events.append(&mut output.events);
        calls.extend(output.calls);
        output = match calls.pop_front() {
            Some(Call {
                id,
                trigger,
                request: Request::StreamIsActive,
                ..
            }) => {
                step.streams.push((trigger, id));
                Output::default()
            }
            Some(call) => {
                let answer = scaler(now, &call);
                autoscaler.answer(now, call.id, answer, workload)
            }
            None if autoscaler.next_due().is_some_and(|due| due <= now) => autoscaler.poll(now, workload),
            None => return,
        };
    }
}
