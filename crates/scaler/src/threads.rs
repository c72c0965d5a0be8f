//! Threads of their own, so that what takes long never stands in the way of KEDA's calls.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread for work that computes for milliseconds on end and that nobody waits for.
#[derive(Debug)]
pub(crate) struct Background {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread cannot be had, or ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The system gives none.
    #[error("the system gives no thread for {name}")]
    None {
        /// What for.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It panicked.
    #[error("the thread of {0} ended early")]
    Ended(&'static str),
}

/// What the system weighs background work with, between 0 (as all else) and 19. With as much weight
/// as all else it would run for whole time slices (some ms) while a call waits.
const NICENESS: i32 = 10;

impl Background {
    /// Starts the thread called `name`, in the caller's runtime as far as it spawns anything.
    pub(crate) fn start(name: &'static str) -> Result<Self, ThreadError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let runtime = Handle::current();
        spawn(name, move || {
            let _runtime = runtime.enter();
            // To give way is allowed to everybody.
            if let Err(error) = setpriority_process(None, NICENESS) {
                tracing::warn!(thread = name, %error, "the thread runs with the priority of all others");
            }
            while let Ok(job) = queue.recv() {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    /// Does `work` there, after what came before it; `None` where a panic has ended the thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            // Nobody waits any more when the scaler is dropped meanwhile.
            let _ = done.send(work());
        };
        self.jobs.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

/// Runs what `future` makes on a thread of its own, with a runtime of its own, which ends when the
/// caller no longer waits.
pub(crate) async fn alone<F: Future>(
    name: &'static str,
    future: impl FnOnce() -> F + Send + 'static,
) -> Result<F::Output, ThreadError>
where
    F::Output: Send + 'static,
{
    let (mut done, result) = oneshot::channel();
    spawn(name, move || {
        // Made here, since a runtime may not be dropped inside of another.
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async move {
                tokio::select! {
                    output = future() => {
                        let _ = done.send(Ok(output));
                    }
                    () = done.closed() => {}
                }
            }),
            Err(source) => {
                let _ = done.send(Err(ThreadError::None { name, source }));
            }
        }
    })?;
    result.await.unwrap_or(Err(ThreadError::Ended(name)))
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), ThreadError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|source| ThreadError::None { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_in_order_until_one_panics() {
        let background = Background::start("test").unwrap();
        assert_eq!(background.run(|| 1).await, Some(1));
        assert_eq!(
            background
                .run(|| thread::current().name().map(str::to_owned))
                .await,
            Some(Some("test".to_owned()))
        );
        let panicking: Option<()> = background.run(|| panic!("on purpose")).await;
        assert_eq!(panicking, None);
        assert_eq!(background.run(|| 2).await, None);
    }

    #[tokio::test]
    async fn background_work_gives_way_and_nothing_else_does() {
        let background = Background::start("test").unwrap();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let ours = niceness();
        assert_eq!(background.run(niceness).await, Some((ours).max(NICENESS)));
        assert_eq!(niceness(), ours);
        let elsewhere = alone("test", move || async move { niceness() }).await.unwrap();
        assert_eq!(elsewhere, ours);
    }

    #[tokio::test]
    async fn a_lone_future_ends_with_its_result_or_its_caller() {
        assert_eq!(alone("test", || async { 3 }).await.unwrap(), 3);
        let panicked = alone("test", || async { panic!("on purpose") }).await;
        let _: ThreadError = panicked.map(|(): ()| ()).unwrap_err();

        let (held, released) = oneshot::channel::<()>();
        let endless = alone("test", move || async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let waiting = tokio::spawn(endless);
        tokio::task::yield_now().await;
        waiting.abort();
        // Dropped with the future that held it.
        assert!(released.await.is_err());
    }
}
