use rheostat_reading::Timestamp;
use rheostat_sizing::Observation;

/// Counts the requests of a workload from what its engines say, as a frontend or a router would count them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    last: Option<(Timestamp, f64)>,
    shape: Option<(f64, f64)>,
}

/// What came and went since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    /// How long ago the last look was.
    pub(crate) seconds: f64,
    /// Requests that ended.
    pub(crate) finished: f64,
    /// Requests that came: those that ended, and those by which the requests in flight grew. The first are
    /// counted over an engine's window and the second at once, so that it may be negative after a burst;
    /// sums over a while come out right.
    pub(crate) arrived: f64,
    /// Mean length of prompts and answers of those that ended, of late where none has ended since.
    pub(crate) shape: Option<(f64, f64)>,
}

impl Traffic {
    /// Looks. The first look says nothing yet.
    pub(crate) fn observe(&mut self, observation: &Observation) -> Flow {
        let mut rate = 0.0;
        let mut prompts = 0.0;
        let mut outputs = 0.0;
        let mut weight = 0.0;
        for serving in observation.ready().filter_map(|pod| pod.serving.as_ref()) {
            let finished = serving.request_rate.map_or(0.0, |rate| rate.0);
            rate += finished;
            if let (Some(prompt), Some(output)) = (serving.prompt_tokens_mean, serving.generation_tokens_mean)
            {
                prompts += finished * prompt.0;
                outputs += finished * output.0;
                weight += finished;
            }
        }
        if weight > 0.0 {
            self.shape = Some((prompts / weight, outputs / weight));
        }
        let in_flight = in_flight(observation);
        let mut flow = Flow {
            shape: self.shape,
            ..Flow::default()
        };
        if let Some((at, before)) = self.last {
            flow.seconds = observation.now.since(at).as_secs_f64();
            flow.finished = rate * flow.seconds;
            flow.arrived = flow.finished + in_flight - before;
        }
        self.last = Some((observation.now, in_flight));
        flow
    }
}

/// Requests that wait or run, and those in front of the workload where something tells.
pub(crate) fn in_flight(observation: &Observation) -> f64 {
    let inside: f64 = observation
        .ready()
        .filter_map(|pod| pod.serving.as_ref()?.in_flight())
        .map(|count| count.0)
        .sum();
    inside + observation.queued_outside.count().map_or(0.0, |count| count.0)
}
