use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory that all pages of some fetches together may take, beyond [`SMALL`] bytes of each.
#[derive(Clone, Debug)]
pub(crate) struct Room(Option<Arc<Semaphore>>);

/// What one page has taken.
#[derive(Debug)]
pub(super) struct Taken {
    room: Room,
    permits: Option<OwnedSemaphorePermit>,
    covered: usize,
}

/// Bytes that every page may have: twice what a busy vLLM shows.
pub(super) const SMALL: usize = 256 * 1024;

/// Bytes for one permit.
const STEP: usize = 64 * 1024;

impl Room {
    /// For `bytes` in all.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Some(Arc::new(Semaphore::new(bytes / STEP))))
    }

    /// As much as each page may have.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    pub(super) fn begin(&self) -> Taken {
        Taken {
            room: self.clone(),
            permits: None,
            covered: SMALL,
        }
    }
}

impl Taken {
    /// Whether the page may have `bytes` bytes now.
    pub(super) fn cover(&mut self, bytes: usize) -> bool {
        let Some(room) = &self.room.0 else {
            return true;
        };
        while self.covered < bytes {
            let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                return false;
            };
            match &mut self.permits {
                Some(permits) => permits.merge(permit),
                none => *none = Some(permit),
            }
            self.covered += STEP;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pages_always_have_room_and_large_ones_give_it_back() {
        let room = Room::of(2 * STEP);
        let mut large = room.begin();
        assert!(large.cover(SMALL + 2 * STEP));
        let mut other = room.begin();
        assert!(other.cover(SMALL));
        assert!(!other.cover(SMALL + 1));
        drop(large);
        assert!(other.cover(SMALL + 1));
        assert!(!other.cover(SMALL + 2 * STEP + 1));
        assert!(Room::unlimited().begin().cover(usize::MAX));
    }
}
