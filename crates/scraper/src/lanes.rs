use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::http::Room;

/// What scrapes share: turns and memory. Engines that answered last time and those that did not
/// have lanes of their own, so that the second kind takes nothing from the first.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) sound: Lane,
    pub(crate) doubtful: Lane,
}

#[derive(Debug)]
pub(crate) struct Lane {
    turns: Semaphore,
    pub(crate) room: Room,
}

/// How long a scrape holds its turn. One that takes longer goes on without: it mostly waits, and
/// must not make others wait too.
const TURN: Duration = Duration::from_millis(500);

impl Lanes {
    /// `turns` scrapes at once and `memory` bytes of large pages, of which a quarter is for doubtful
    /// engines.
    pub(crate) fn new(turns: usize, memory: usize) -> Self {
        let lane = |turns: usize, memory| Lane {
            turns: Semaphore::new(turns.clamp(1, Semaphore::MAX_PERMITS)),
            room: Room::of(memory),
        };
        Self {
            sound: lane(turns - turns / 4, memory - memory / 4),
            doubtful: lane(turns / 4, memory / 4),
        }
    }
}

impl Lane {
    /// `work` once it is its turn. Time for the work does not begin before.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        // Nobody closes the semaphore.
        let turn = self.turns.acquire().await.ok();
        let mut work = pin!(work);
        match timeout(TURN, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_hang_hold_up_nobody_for_longer_than_a_turn() {
        let lanes = Lanes::new(8, 0);
        let hang = async {
            let hangs: Vec<_> = (0..12)
                .map(|_| Box::pin(lanes.sound.run(pending::<()>())))
                .collect();
            futures_of(hangs).await;
        };
        let start = tokio::time::Instant::now();
        let quick = async {
            tokio::task::yield_now().await;
            lanes.sound.run(async {}).await;
        };
        tokio::select! {
            biased;
            () = hang => {}
            () = quick => {}
        }
        assert!(start.elapsed() <= TURN * 3, "{:?}", start.elapsed());
    }

    /// Polls all until all are done.
    async fn futures_of<F: Future + Unpin>(mut all: Vec<F>) {
        std::future::poll_fn(move |context| {
            all.retain_mut(|one| std::pin::Pin::new(one).poll(context).is_pending());
            if all.is_empty() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}
