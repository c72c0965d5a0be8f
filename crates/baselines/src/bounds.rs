use crate::context::Context;
use crate::parameter::Parameter;

/// Between how many replicas a baseline may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) floor: u32,
    pub(crate) cap: u32,
}

impl Bounds {
    /// `replicas` within the bounds.
    pub(crate) fn clamp(self, replicas: u32) -> u32 {
        replicas.clamp(self.floor, self.cap)
    }
}

/// A number of replicas from arithmetic with reals: rounded up, 0 for what is negative or no number.
pub(crate) fn round_up(replicas: f64) -> u32 {
    replicas.ceil() as u32
}

/// The floor and the cap of a workload, which every autoscaler has; a floor that is right for a workload
/// helps any rule, so each may search for its own.
pub(crate) fn bounds_parameters(context: &Context) -> [Parameter; 2] {
    let (min, max) = (context.min_replicas, context.max_replicas);
    // Dense where one replica more is much, sparse where it is little.
    let mut floors = vec![min];
    let mut floor = min.max(1);
    while floor <= max {
        floors.push(floor);
        floor += 1 + floor / 4;
    }
    let caps = [1.0, 0.75, 0.5, 0.35, 0.25, 0.15].map(|part| round_up(f64::from(max) * part).max(1));
    [
        Parameter::whole("floor", "never fewer replicas", min, (0, max), &floors),
        Parameter::whole("cap", "never more replicas", max, (1, max), &caps),
    ]
}
