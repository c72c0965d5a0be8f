use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Picoseconds;

/// What is to happen, and when, but for arrivals and what servers do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    events: BinaryHeap<Reverse<(Picoseconds, Event, u64)>>,
    made: u64,
}

/// Something that happens. At one moment they happen in this order: first the world, then who looks at it,
/// then who acts on what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A new node can be had again.
    StockOutEnds,
    /// A node is there.
    NodeUp(u64),
    /// A node may have been empty for long enough.
    NodeIdle(u64),
    /// A node is going to be taken away.
    NodeNotice(u64),
    /// A node is taken away.
    NodeGone(u64),
    /// The scheduler looks at a pod.
    Schedule(PodId),
    /// A pod's container runs.
    Started(PodId),
    /// A pod is ready.
    Ready(PodId),
    /// Engines are scraped.
    Scrape,
    /// Whoever controls looks.
    Look,
    /// KEDA or the HPA has something to do.
    Autoscale,
    /// A sample for the timeline.
    Sample,
}

/// A pod: where it is kept, and its number, since places are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodId {
    pub(crate) serial: u64,
    pub(crate) place: usize,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Picoseconds, event: Event) {
        self.made += 1;
        self.events.push(Reverse((at, event, self.made)));
    }

    pub(crate) fn next(&self) -> Option<Picoseconds> {
        self.events.peek().map(|next| next.0.0)
    }

    pub(crate) fn take(&mut self) -> Option<(Picoseconds, Event)> {
        self.events.pop().map(|Reverse((at, event, _))| (at, event))
    }
}
