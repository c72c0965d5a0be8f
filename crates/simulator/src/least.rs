/// Which of many places has the smallest key: a tournament whose winner is known at once, and which costs
/// one round for each doubling of the places when a key changes.
#[derive(Clone, Debug)]
pub(crate) struct Least {
    keys: Vec<u64>,
    /// The winner of each match, the final first; the places themselves follow.
    winners: Vec<u32>,
}

impl Least {
    /// The key of a place that takes no part.
    pub(crate) const ABSENT: u64 = u64::MAX;

    pub(crate) fn new() -> Self {
        let mut this = Self {
            keys: Vec::new(),
            winners: Vec::new(),
        };
        this.resize(16);
        this
    }

    /// Gives `place` a key.
    pub(crate) fn set(&mut self, place: usize, key: u64) {
        if place >= self.keys.len() {
            self.resize((place + 1).next_power_of_two());
        }
        self.keys[place] = key;
        let mut node = (place + self.keys.len()) / 2;
        while node > 0 {
            self.winners[node] = self.winner(node);
            node /= 2;
        }
    }

    /// The key of `place`, if it takes part.
    pub(crate) fn key(&self, place: usize) -> Option<u64> {
        self.keys.get(place).copied().filter(|key| *key != Self::ABSENT)
    }

    /// The place with the smallest key, the first of several; `None` where none takes part.
    pub(crate) fn first(&self) -> Option<(usize, u64)> {
        let place = self.winners[1] as usize;
        let key = self.keys[place];
        (key != Self::ABSENT).then_some((place, key))
    }

    /// Who wins the match `node` between those two that won the matches before.
    fn winner(&self, node: usize) -> u32 {
        let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
        if self.keys[right as usize] < self.keys[left as usize] {
            right
        } else {
            left
        }
    }

    fn resize(&mut self, places: usize) {
        self.keys.resize(places, Self::ABSENT);
        self.winners = vec![0; places];
        self.winners.extend((0..places).map(|place| place as u32));
        for node in (1..places).rev() {
            self.winners[node] = self.winner(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_smallest_wins_whatever_changes(
            changes in prop::collection::vec((0_usize..70, 0_u64..50), 1..200),
        ) {
            let mut least = Least::new();
            let mut keys = vec![Least::ABSENT; 70];
            prop_assert_eq!(least.first(), None);
            for (place, key) in changes {
                let key = if key == 0 { Least::ABSENT } else { key };
                least.set(place, key);
                keys[place] = key;
                let smallest = keys.iter().copied().enumerate().min_by_key(|(_, key)| *key);
                prop_assert_eq!(least.first(), smallest.filter(|(_, key)| *key != Least::ABSENT));
            }
        }
    }
}
