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
    /// What it fell to then.
    fell_to: f64,
}

/// Series that are held: 640 KiB of them. Beyond it only those of the newest page stay, of which there are
/// never more than [`crate::sample::MOST_POINTS`] of each counter and distribution.
pub(crate) const MOST_SERIES: usize = 16 << 10;

/// What a series did that only resets, or several processes, can explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// It fell.
    Down,
    /// It fell before and is back where it was, most of the way at once: so does one of two processes,
    /// and one that counts little.
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
            fell_to: value,
        });
    }

    /// To be called after each page, which had `present` series and came at `now`: takes in the new ones,
    /// and forgets those that were last seen before `oldest`. Gives whether it had to forget others too,
    /// since they were more than [`MOST_SERIES`].
    pub(crate) fn settle(&mut self, present: usize, oldest: Timestamp, now: Timestamp) -> bool {
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
        let fitting = self.known.len();
        if fitting > MOST_SERIES {
            self.known.retain(|series| series.at == now);
        }
        let crowded = self.known.len() < fitting;
        // New ones are rare but on the first page, and so are those that go.
        if self.known.capacity() > before || self.known.len() < before {
            self.known.shrink_to_fit();
        }
        crowded
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
    /// Its process was started anew and shows `value` now.
    pub(crate) fn start_anew(&mut self, value: f64, at: Timestamp) {
        (self.value, self.before, self.fell_to, self.at) = (value, value, value, at);
    }

    /// It shows `value` now. Whatever it jumped, `value` is the least that it gained then.
    pub(crate) fn show(&mut self, value: f64, at: Timestamp) -> Option<Jump> {
        let jump = if value < self.value {
            (self.before, self.fell_to) = (self.value, value);
            Some(Jump::Down)
        } else if self.before > self.value
            && value >= self.before
            && value - self.value > (self.before - self.fell_to) / 2.0
        {
            Some(Jump::Back)
        } else {
            None
        };
        self.value = value;
        self.at = at;
        jump
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    /// What a page at `seconds` leaves, which has the series `names`.
    fn page(series: &mut SeriesSet, names: std::ops::Range<u64>, seconds: u64) -> (usize, bool) {
        let present = names.clone().count();
        for name in names {
            match series.get_mut(name) {
                Some(series) => {
                    series.show(1.0, at(seconds));
                }
                None => series.add(name, 1.0, at(seconds)),
            }
        }
        let crowded = series.settle(present, at(0), at(seconds));
        assert_eq!(series.bytes(), series.len() * size_of::<Series>());
        (series.len(), crowded)
    }

    #[test]
    fn series_that_left_the_page_are_kept_as_long_as_there_is_room() {
        let most = MOST_SERIES as u64;
        let mut series = SeriesSet::default();
        assert_eq!(page(&mut series, 0..most / 2, 1), (MOST_SERIES / 2, false));
        assert_eq!(page(&mut series, most / 2..most, 2), (MOST_SERIES, false));
        assert!(series.get_mut(0).is_some());
        // One too many: only what is on the page stays.
        assert_eq!(page(&mut series, most - 1..most + 1, 3), (2, true));
        assert!(series.get_mut(0).is_none() && series.get_mut(most).is_some());
        // A page that has more of its own is not cut.
        assert_eq!(page(&mut series, 0..3 * most, 4), (3 * MOST_SERIES, false));
        assert_eq!(page(&mut series, 0..3 * most, 5), (3 * MOST_SERIES, false));
        assert_eq!(page(&mut series, 5..7, 6), (2, true));
    }
}
