use std::collections::VecDeque;

/// Which beginnings of prompts an engine still has in its KV cache, the least used first to go.
///
/// Blocks of finished requests stay readable until others need them, and engines count them as
/// free: so do we, and keep as many tokens of beginnings as the KV cache has room for.
#[derive(Debug)]
pub(super) struct Prefixes {
    capacity: u64,
    stored: u64,
    /// Number and length, the one used last at the end.
    by_use: VecDeque<(u64, u32)>,
}

impl Prefixes {
    /// Room for `capacity` tokens; with none it remembers nothing.
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            stored: 0,
            by_use: VecDeque::new(),
        }
    }

    /// Whether there is room at all.
    pub(super) fn are_kept(&self) -> bool {
        self.capacity > 0
    }

    /// How many tokens of the beginning `id` are there.
    pub(super) fn find(&mut self, id: u64) -> u32 {
        match self.take(id) {
            Some(tokens) => {
                self.store(id, tokens);
                tokens
            }
            None => 0,
        }
    }

    /// Keeps `tokens` tokens of the beginning `id`.
    pub(super) fn store(&mut self, id: u64, tokens: u32) {
        let tokens = self.take(id).unwrap_or(0).max(tokens);
        if u64::from(tokens) > self.capacity {
            return;
        }
        self.by_use.push_back((id, tokens));
        self.stored += u64::from(tokens);
        while self.stored > self.capacity
            && let Some((_, tokens)) = self.by_use.pop_front()
        {
            self.stored -= u64::from(tokens);
        }
    }

    fn take(&mut self, id: u64) -> Option<u32> {
        let place = self.by_use.iter().position(|(stored, _)| *stored == id)?;
        let (_, tokens) = self.by_use.remove(place)?;
        self.stored -= u64::from(tokens);
        Some(tokens)
    }
}
