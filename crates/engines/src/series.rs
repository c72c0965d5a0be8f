use std::mem::take;

use rheostat_reading::Timestamp;

/// What each series showed last.
#[derive(Debug, Default)]
pub(crate) struct SeriesSet {
    /// In the order of their names; there are hundreds for each engine, so that a table of hashes
    /// would cost twice as much.
    known: Vec<Series>,
    /// Those that the page has had for the first time, in the page's order.
    new: Vec<Series>,
}

/// What one series showed last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    name: u64,
    pub(crate) value: f64,
    pub(crate) at: Timestamp,
    /// More than `value` where it fell: what it was before.
    before: f64,
}

/// What a series did that only resets, or several processes, can explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// It fell.
    Down,
    /// It fell before and is back where it was: these are two series of two processes.
    Back,
}

impl SeriesSet {
    /// The series of this name, where it is known.
    pub(crate) fn get_mut(&mut self, name: u64) -> Option<&mut Series> {
        let place = self
            .known
            .binary_search_by_key(&name, |series| series.name)
            .ok()?;
        self.known.get_mut(place)
    }

    /// One more series. It is known after [`SeriesSet::settle`].
    pub(crate) fn add(&mut self, name: u64, value: f64, at: Timestamp) {
        self.new.push(Series {
            name,
            value,
            at,
            before: value,
        });
    }

    /// To be called after each page, which had `present` series: takes in the new ones, and forgets
    /// those that were last seen before `oldest`.
    pub(crate) fn settle(&mut self, present: usize, oldest: Timestamp) {
        let before = self.known.len() + self.new.len();
        if !self.new.is_empty() {
            let new = take(&mut self.new);
            if self.known.is_empty() {
                self.known = new;
            } else {
                self.known.extend(new);
            }
            self.known.sort_unstable_by_key(|series| series.name);
            self.known.dedup_by_key(|series| series.name);
        }
        if self.known.len() > present {
            self.known.retain(|series| series.at >= oldest);
        }
        // New ones are rare but on the first page, and so are those that go.
        if self.known.capacity() > before || self.known.len() < before {
            self.known.shrink_to_fit();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        (self.known.capacity() + self.new.capacity()) * size_of::<Series>()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Series {
    /// It shows `value` now. Whatever it jumped, `value` is the least that it gained then.
    pub(crate) fn show(&mut self, value: f64, at: Timestamp) -> Option<Jump> {
        let jump = if value < self.value {
            self.before = self.value;
            Some(Jump::Down)
        } else if self.before > self.value && value >= self.before {
            Some(Jump::Back)
        } else {
            None
        };
        self.value = value;
        self.at = at;
        jump
    }
}
