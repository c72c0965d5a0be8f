use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Targets;
use super::list::CheckedList;

/// What all subscribers want, and those who left a short time ago, together.
#[derive(Debug)]
pub(crate) struct Lists {
    present: BTreeMap<StreamId, Arc<CheckedList>>,
    /// Lists of streams that have ended, the oldest first, with the time to forget them.
    left: VecDeque<(Instant, Arc<CheckedList>)>,
    targets: Targets,
    max_targets: usize,
    grace: Duration,
}

/// A subscriber's stream; later ones have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) u64);

/// Lists of ended streams that are kept: who opens streams and leaves again must not fill our memory.
const MOST_LEFT: usize = 32;

impl Lists {
    pub(crate) fn new(max_targets: usize, grace: Duration) -> Self {
        Self {
            present: BTreeMap::new(),
            left: VecDeque::new(),
            targets: Targets::default(),
            max_targets,
            grace,
        }
    }

    /// All different targets, at most as many as are allowed: those of present subscribers first, who
    /// came first before who came later.
    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The list of `stream`.
    pub(crate) fn of(&self, stream: StreamId) -> Option<Arc<CheckedList>> {
        self.present.get(&stream).map(Arc::clone)
    }

    /// How many targets of present lists are not scraped.
    pub(crate) fn refused(&self) -> usize {
        let refused = |list: &Arc<CheckedList>| {
            let too_many = list.targets().filter(|(id, _)| !self.targets.contains_key(id));
            list.malformed().count() + too_many.count()
        };
        self.present.values().map(refused).sum()
    }

    /// `list` in place of the list of `stream`. Tells whether the targets changed.
    pub(crate) fn set(&mut self, stream: StreamId, list: CheckedList) -> bool {
        self.present.insert(stream, Arc::new(list));
        self.unite()
    }

    /// `stream` has ended: what it named is kept for the grace.
    pub(crate) fn leave(&mut self, stream: StreamId, now: Instant) {
        if let Some(list) = self.present.remove(&stream) {
            self.left.push_back((now + self.grace, list));
            if self.left.len() > MOST_LEFT {
                self.left.pop_front();
            }
        }
    }

    /// Forgets lists whose grace is over. Tells whether the targets changed.
    pub(crate) fn forget(&mut self, now: Instant) -> bool {
        let before = self.left.len();
        self.left.retain(|(until, _)| *until > now);
        self.left.len() != before && self.unite()
    }

    fn unite(&mut self) -> bool {
        let mut targets = BTreeMap::new();
        let left = self.left.iter().rev().map(|(_, list)| list);
        for (id, target) in self.present.values().chain(left).flat_map(|list| list.targets()) {
            if targets.len() < self.max_targets && !targets.contains_key(id) {
                targets.insert(id.clone(), Arc::clone(target));
            }
        }
        // Equal ids stand for equal targets.
        let changed = !targets.keys().eq(self.targets.keys());
        if changed {
            self.targets = Arc::new(targets);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::{list, wire};
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);
    const FIRST: StreamId = StreamId(1);
    const SECOND: StreamId = StreamId(2);

    fn checked(ports: impl IntoIterator<Item = u32>) -> CheckedList {
        CheckedList::new(
            &list(ports.into_iter().map(|port| wire(&port.to_string(), port))),
            100,
        )
    }

    fn ports(lists: &Lists) -> Vec<u16> {
        let targets = lists.targets().values();
        targets.map(|target| target.endpoint.address.port()).collect()
    }

    #[test]
    fn lists_are_united_and_forgotten_after_the_grace() {
        let mut lists = Lists::new(100, GRACE);
        assert!(lists.set(FIRST, checked([1, 2])));
        assert!(lists.set(SECOND, checked([2, 3])));
        assert!(!lists.set(SECOND, checked([3, 2])), "the same in another order");
        assert_eq!(ports(&lists), [1, 2, 3]);

        let now = Instant::now();
        lists.leave(FIRST, now);
        assert!(!lists.forget(now + GRACE / 2));
        assert_eq!(ports(&lists), [1, 2, 3]);
        assert!(lists.forget(now + GRACE));
        assert_eq!(ports(&lists), [2, 3]);
    }

    #[test]
    fn who_comes_back_within_the_grace_changes_nothing() {
        let mut lists = Lists::new(100, GRACE);
        lists.set(FIRST, checked([1, 2]));
        lists.leave(FIRST, Instant::now());
        assert!(!lists.set(SECOND, checked([1, 2])));
        assert!(!lists.forget(Instant::now() + GRACE));
        assert_eq!(ports(&lists), [1, 2]);
    }

    #[test]
    fn one_too_many_gets_its_turn_when_there_is_room() {
        let mut lists = Lists::new(2, Duration::ZERO);
        lists.set(FIRST, checked([1, 2]));
        assert!(!lists.set(SECOND, checked([3])));
        assert_eq!((ports(&lists), lists.refused()), (vec![1, 2], 1));
        assert!(lists.set(FIRST, checked([2])));
        assert_eq!((ports(&lists), lists.refused()), (vec![2, 3], 0));
    }

    #[test]
    fn who_comes_and_goes_fills_no_memory() {
        let mut lists = Lists::new(1000, GRACE);
        for stream in 0..1000 {
            lists.set(StreamId(stream.into()), checked([stream + 1]));
            lists.leave(StreamId(stream.into()), Instant::now());
        }
        assert_eq!(lists.left.len(), MOST_LEFT);
    }
}
